#pragma once

#include <string>
#include <vector>

#include "io/base/random.h"
#include "tests/compare/side.h"

namespace terracefs::compare {

// A kind of operation: how often it comes, and how one is made up. Everything about it follows from
// the random numbers alone, never from earlier results, so a seed replays.
struct OperationKind {
  const char* name;
  const char* group;  // what --only and --without choose by
  unsigned weight;
  Operation (*make)(io::Random& random);
};

const std::vector<OperationKind>& AllOperationKinds();

// Closes a slot on one side, after a look at the content of a file that nothing else shows any
// more.
Operation CloseSlot(int slot);

}  // namespace terracefs::compare
