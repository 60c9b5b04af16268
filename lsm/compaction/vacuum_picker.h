#pragma once

#include <optional>

#include "lsm/compaction/picker.h"

namespace terracefs::lsm {

// Plans that rewrite tables in place to move their values. A value file goes away when nothing
// refers to any value in it, so a partly empty one is vacuumed by moving what is still in it, in
// slices: some tables at a time. A file whose vacuum has begun has more garbage than before, so the
// next slices go on with it. Pure functions; nothing without `context.values`.

// The next slice of a vacuum, if one is due: garbage presses (MeasureValueGarbage), or a file is
// nearly all garbage, or the store is quiet and a file is garbage by garbage_ratio. While garbage
// presses and the files with most of it wait for level 0, that is merged down instead, also before
// its time.
std::optional<CompactionPlan> PickVacuum(const PickContext& context);

// While the store is quiet: neighbouring tables of the deepest level whose values lie scattered, so
// that reading them in order takes many small reads. All their values are moved.
std::optional<CompactionPlan> PickScattered(const PickContext& context);

}  // namespace terracefs::lsm
