#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "lsm/compaction/drop_rules.h"
#include "lsm/compaction/level_targets.h"
#include "lsm/compaction/ranges_in_use.h"
#include "lsm/compaction/table_set_writer.h"
#include "lsm/manifest/version_set.h"
#include "lsm/memtable/memtable.h"

namespace terracefs::lsm {

// Running totals of background work, since open. Relaxed: they order nothing.
struct JobCounters {
  std::atomic<uint64_t> bytes_read{0};     // by merges
  std::atomic<uint64_t> bytes_written{0};  // by merges
  std::atomic<uint64_t> flushed_bytes{0};
  std::atomic<uint64_t> tables_skipped{0};
  std::atomic<uint64_t> moved_value_bytes{0};  // written to value files by merges
  std::array<std::atomic<uint64_t>, kDropRuleCount> dropped{};
};

// Bytes that one job has moved so far; relaxed.
struct JobBytes {
  std::atomic<uint64_t> read{0};
  std::atomic<uint64_t> written{0};
};

// What a merge is to do beside its plan.
struct MergeJob {
  const CompactionPlan& plan;
  const Shape& shape;  // the version that the plan was made from, or a later one
  LevelTargets targets;
  SequenceNumber smallest_snapshot = 0;
  int64_t now_seconds = 0;  // wall, for the filter
  // Asked between entries, from several threads; an error ends the job with it.
  std::function<io::Status()> stop;
  JobBytes* bytes = nullptr;  // counts as it goes
  // Gets the value files with values that could not be read, if the merge fails; may be null.
  std::set<FileNumber>* unreadable_value_files = nullptr;
};

struct MergeResult {
  VersionEdit edit;  // swaps inputs and outputs; the outputs are durable
  size_t skipped_count = 0;
  uint64_t hidden_value_bytes = 0;  // in value files, of entries that were dropped as hidden
};

// Merges the inputs of a plan of kind kMerge into tables of its output level. Whatever goes wrong,
// no output is left behind and the inputs stay. Runs in the calling thread and, for large jobs, in
// further ones (Options::subcompactions_max) that end before it returns.
io::Result<MergeResult> RunMerge(const JobEnvironment& environment, const MergeJob& job,
                                 JobCounters* counters);

// User keys at which a merge of `files` (sorted or not) is split into at most `count_max` parts of
// about the same size, each of at least two tables' worth; ascending, the first part begins before
// all of them.
std::vector<std::string> SplitPoints(const Options& options, const std::vector<FileRef>& files,
                                     int count_max);

// Writes `table` (immutable; everything older is in `shape`) to level-0 tables, one per domain. The
// edit adds them and the table's drop ranges. `stop` as in MergeJob, `hidden_value_bytes` (may be
// null) as in MergeResult.
io::Result<VersionEdit> RunFlush(const JobEnvironment& environment, const MemTable& table,
                                 const Shape& shape, SequenceNumber smallest_snapshot,
                                 const std::function<io::Status()>& stop, JobCounters* counters,
                                 uint64_t* hidden_value_bytes = nullptr);

}  // namespace terracefs::lsm
