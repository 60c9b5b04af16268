#pragma once

#include <functional>
#include <vector>

#include "io/base/result.h"
#include "lsm/compaction/picker.h"
#include "lsm/compaction/table_set_writer.h"

namespace terracefs::lsm {

// What the passes of a manual compaction would do to the tables of `context`: the tables' metadata
// say what would be read; how much of it would survive is found out by merging samples of their
// contents in memory, pass by pass, with the real drop rules. Samples are spread over the tables by
// size; a small store is read as a whole. Reads are charged at the lowest priority; `stop` is asked
// between samples. Does not cover what is only in memory.
io::Result<CompactionEstimate> EstimatePasses(const JobEnvironment& environment,
                                              const PickContext& context,
                                              const std::vector<ManualSlice>& passes,
                                              const std::function<io::Status()>& stop);

// The same for a reclaim goal, from the metadata.
CompactionEstimate EstimateReclaim(const JobEnvironment& environment, const PickContext& context,
                                   const std::vector<KeyRange>& ranges, uint64_t goal_bytes);

}  // namespace terracefs::lsm
