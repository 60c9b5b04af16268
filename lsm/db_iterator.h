#pragma once

#include <memory>
#include <string_view>

#include "lsm/iterator.h"
#include "lsm/key.h"

namespace terracefs::lsm {

// The user's view of `input` (internal keys) at `snapshot`: the newest visible version of each key,
// deleted keys left out, ending before user key `upper_bound` (empty: no bound; the caller keeps
// its memory). `owner` is kept alive with it. Seek takes a user key.
std::unique_ptr<Iterator> NewDbIterator(std::unique_ptr<Iterator> input, SequenceNumber snapshot,
                                        std::string_view upper_bound,
                                        std::shared_ptr<const void> owner);

}  // namespace terracefs::lsm
