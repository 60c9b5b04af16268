#include "lsm/compaction/skipped_tables.h"

#include <algorithm>

#include "lsm/compaction/garbage.h"

namespace terracefs::lsm {
namespace {

// Whether `file` has a key in [smallest, largest].
bool MayHaveKeyIn(const JobEnvironment& environment, const FileMeta& file,
                  std::string_view smallest, std::string_view largest) {
  if (file.largest_user_key() < smallest || largest < file.smallest_user_key()) return false;
  const auto table = environment.tables.Get(file.number);
  if (!table.ok()) return true;
  const std::string end = std::string(largest) + '\0';
  // Different blocks: the last key of the first one is in between.
  if ((*table)->ApproximateBytes(smallest, end) > 0) return true;
  ReadOptions options;
  options.fill_cache = false;
  options.upper_bound = end;
  environment.limiter.Acquire(environment.options.block_bytes, io::IoPriority::kCompaction);
  const std::unique_ptr<Iterator> entries = (*table)->NewIterator(options);
  entries->Seek(MakeSeekKey(smallest, kSequenceMax));
  return entries->Valid() || !entries->status().ok();
}

}  // namespace

std::vector<FileRef> FindSkippedTables(const JobEnvironment& environment,
                                       const CompactionPlan& plan) {
  std::vector<FileRef> skipped;
  for (const FileRef& target : plan.inputs[1]) {
    if (target->info.file_bytes < environment.options.skipped_table_bytes_min ||
        HasGarbage(*target)) {
      continue;
    }
    const bool met =
        std::any_of(plan.inputs[0].begin(), plan.inputs[0].end(), [&](const FileRef& source) {
          return MayHaveKeyIn(environment, *source, target->smallest_user_key(),
                              target->largest_user_key());
        });
    if (!met) skipped.push_back(target);
  }
  return skipped;
}

}  // namespace terracefs::lsm
