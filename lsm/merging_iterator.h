#pragma once

#include <memory>
#include <vector>

#include "lsm/iterator.h"

namespace terracefs::lsm {

// Merges iterators over internal keys into one, in the order of CompareInternal; of equal keys the
// earlier child's comes first, and none is left out. As soon as any child has an error the merge is
// invalid with that error, whatever the others still hold: the missing entries might be the ones
// that hide theirs. A Seek starts afresh.
std::unique_ptr<Iterator> NewMergingIterator(std::vector<std::unique_ptr<Iterator>> children);

}  // namespace terracefs::lsm
