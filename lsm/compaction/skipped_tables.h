#pragma once

#include <vector>

#include "lsm/compaction/ranges_in_use.h"
#include "lsm/compaction/table_set_writer.h"

namespace terracefs::lsm {

// C6: which tables of the target side of `plan` need not be rewritten, ascending: those of at least
// Options::skipped_table_bytes_min, without garbage, into whose range no source table has a key.
// Reads a block where the indexes cannot tell; what cannot be read counts as having a key. On the
// version that the plan was made from, under no lock (Q25).
std::vector<FileRef> FindSkippedTables(const JobEnvironment& environment,
                                       const CompactionPlan& plan);

}  // namespace terracefs::lsm
