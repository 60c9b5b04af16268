#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>

#include "lsm/compaction/drop_rules.h"
#include "lsm/compaction/ranges_in_use.h"
#include "lsm/compaction/table_set_writer.h"
#include "lsm/manifest/version_set.h"
#include "lsm/memtable/memtable.h"

namespace terracefs::lsm {

// Running totals of background work, since open. Relaxed: they order nothing. What merges read is
// known by the limiter, which grants each read before it is made.
struct JobCounters {
  std::atomic<uint64_t> bytes_written{0};
  std::array<std::atomic<uint64_t>, kDropRuleCount> dropped{};
};

// Merges the inputs of `plan` (kind kMerge) into tables of its output level and returns the edit
// that swaps them; the new tables are durable. `stop` is asked between entries; its error ends the
// job. Whatever goes wrong, no output is left behind and the inputs stay. Runs in the calling
// thread.
io::Result<VersionEdit> RunMerge(const JobEnvironment& environment, const CompactionPlan& plan,
                                 const Shape& shape, SequenceNumber smallest_snapshot,
                                 const std::function<io::Status()>& stop, JobCounters* counters);

// Writes `table` (immutable; everything older is in `shape`) to level-0 tables. The edit adds
// them and the table's drop ranges. `flushed_bytes` counts what was written.
io::Result<VersionEdit> RunFlush(const JobEnvironment& environment, const MemTable& table,
                                 const Shape& shape, SequenceNumber smallest_snapshot,
                                 std::atomic<uint64_t>* flushed_bytes, JobCounters* counters);

}  // namespace terracefs::lsm
