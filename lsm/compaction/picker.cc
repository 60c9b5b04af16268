#include "lsm/compaction/picker.h"

#include <algorithm>

namespace terracefs::lsm {
namespace {

// Input of one automatic merge below level 0 is at most this many output tables' worth.
constexpr uint64_t kMergeBytesMaxFactor = 25;
constexpr uint64_t kGrandparentBytesMaxFactor = 10;

bool HasGarbage(const FileMeta& file) {
  return file.info.tombstone_count > 0 ||
         file.drop_pending_since_seconds.load(std::memory_order_relaxed) != 0;
}

// Whether `file` must not be an input of an automatic job.
bool IsTaken(const PickContext& context, const FileMeta& file) {
  return context.in_use.InUse(file.number) ||
         (context.quarantined != nullptr && context.quarantined->contains(file.number));
}

bool MayRun(const PickContext& context, const CompactionPlan& plan) {
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) {
      if (IsTaken(context, *file)) return false;
    }
  }
  return !context.in_use.Conflicts(plan);
}

// Whether tombstones or dead entries of `file` have waited for half the deadline. Tombstones that a
// snapshot still needs are left alone: rewriting could not drop them.
bool IsDue(const PickContext& context, const FileMeta& file) {
  const int64_t due_age_s = context.delete_deadline_s / 2;
  const int64_t pending_since = file.drop_pending_since_seconds.load(std::memory_order_relaxed);
  if (pending_since != 0 && context.now_seconds - pending_since >= due_age_s) return true;
  return file.info.tombstone_count > 0 && file.info.largest_sequence <= context.smallest_snapshot &&
         context.now_seconds - file.info.oldest_tombstone_seconds >= due_age_s;
}

void FindGrandparents(const PickContext& context, CompactionPlan* plan) {
  if (plan->output_level + 1 >= kLevelCount) return;
  plan->grandparents = context.shape.version->Overlapping(
      plan->output_level + 1, plan->smallest_user_key(), plan->largest_user_key());
}

uint64_t TotalBytes(const std::vector<FileRef>& files) {
  uint64_t bytes = 0;
  for (const FileRef& file : files) bytes += file->info.file_bytes;
  return bytes;
}

// Level-0 tables may overlap each other: `seed` pulls in every one it meets, transitively (C2).
std::vector<FileRef> GrowLevel0(const Version& version, const FileRef& seed) {
  std::string smallest(seed->smallest_user_key());
  std::string largest(seed->largest_user_key());
  for (;;) {
    std::vector<FileRef> files = version.Overlapping(0, smallest, largest);
    bool grown = false;
    for (const FileRef& file : files) {
      if (file->smallest_user_key() < smallest) {
        smallest = file->smallest_user_key();
        grown = true;
      }
      if (file->largest_user_key() > largest) {
        largest = file->largest_user_key();
        grown = true;
      }
    }
    if (!grown) return files;
  }
}

// Completes a plan whose source side is chosen: the target side, the kind, the grandparents.
CompactionPlan CompletePlan(const PickContext& context, int level, std::vector<FileRef> source,
                            const char* reason) {
  CompactionPlan plan;
  plan.level = level;
  plan.output_level = level + 1;
  plan.reason = reason;
  plan.inputs[0] = std::move(source);
  plan.inputs[1] = context.shape.version->Overlapping(level + 1, plan.smallest_user_key(),
                                                      plan.largest_user_key());
  FindGrandparents(context, &plan);
  const bool clean = std::none_of(plan.inputs[0].begin(), plan.inputs[0].end(),
                                  [](const FileRef& file) { return HasGarbage(*file); });
  // H9, with H10's several tables: nothing to merge with, nothing to drop, and the next merge stays
  // affordable. Level-0 tables must also not overlap each other.
  const bool alone = level > 0 || plan.inputs[0].size() == 1;
  if (plan.inputs[1].empty() && clean && alone &&
      TotalBytes(plan.grandparents) <= kGrandparentBytesMaxFactor * context.options.table_bytes) {
    plan.kind = CompactionPlan::Kind::kMove;
  }
  return plan;
}

CompactionPlan InPlacePlan(const PickContext& context, int level, const FileRef& file,
                           const char* reason) {
  CompactionPlan plan;
  plan.level = plan.output_level = level;
  plan.reason = reason;
  plan.inputs[0] = {file};
  FindGrandparents(context, &plan);
  return plan;
}

std::optional<CompactionPlan> PickDead(const PickContext& context) {
  if (context.shape.drops->empty()) return std::nullopt;
  for (int level = 0; level < kLevelCount; ++level) {
    CompactionPlan plan;
    plan.kind = CompactionPlan::Kind::kDropOnly;
    plan.level = plan.output_level = level;
    plan.reason = "dead range";
    for (const FileRef& file : context.shape.version->files(level)) {
      if (file->drop_pending_since_seconds.load(std::memory_order_relaxed) == 0 ||
          IsTaken(context, *file) ||
          !context.shape.drops->CoversAll(file->smallest_user_key(), file->largest_user_key())) {
        continue;
      }
      // One table a plan: its hull must not sweep over tables in use between dead ones.
      plan.inputs[0] = {file};
      if (MayRun(context, plan)) return plan;
    }
  }
  return std::nullopt;
}

// Level 0 into level 1: all tables that the oldest one pulls in.
std::optional<CompactionPlan> PickLevel0(const PickContext& context, const char* reason) {
  const std::vector<FileRef>& files = context.shape.version->files(0);
  for (auto seed = files.rbegin(); seed != files.rend(); ++seed) {
    if (IsTaken(context, **seed)) continue;
    CompactionPlan plan =
        CompletePlan(context, 0, GrowLevel0(*context.shape.version, *seed), reason);
    if (MayRun(context, plan)) return plan;
  }
  return std::nullopt;
}

// The table of `level` whose move down rewrites the fewest bytes of the next level per byte moved.
std::optional<CompactionPlan> PickByRatio(const PickContext& context, int level) {
  std::optional<CompactionPlan> best;
  double best_cost = 0;
  for (const FileRef& file : context.shape.version->files(level)) {
    if (IsTaken(context, *file)) continue;
    const uint64_t overlap = TotalBytes(context.shape.version->Overlapping(
        level + 1, file->smallest_user_key(), file->largest_user_key()));
    const double cost = static_cast<double>(overlap) /
                        static_cast<double>(std::max<uint64_t>(file->info.file_bytes, 1));
    if (best && cost >= best_cost) continue;
    CompactionPlan plan = CompletePlan(context, level, {file}, "size");
    if (!MayRun(context, plan)) continue;
    best = std::move(plan);
    best_cost = cost;
  }
  return best;
}

// A table past half the deadline: tombstones sink one level, and are dropped on the spot where
// nothing lies below; dead entries need no sinking and are dropped in place.
std::optional<CompactionPlan> PickDue(const PickContext& context) {
  const Version& version = *context.shape.version;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : version.files(level)) {
      if (IsTaken(context, *file) || !IsDue(context, *file)) continue;
      if (level == 0) {
        CompactionPlan plan = CompletePlan(context, 0, GrowLevel0(version, file), "deadline");
        if (MayRun(context, plan)) return plan;
        continue;
      }
      bool deeper = false;
      for (int below = level + 1; below < kLevelCount && !deeper; ++below) {
        deeper = !version.Overlapping(below, file->smallest_user_key(), file->largest_user_key())
                      .empty();
      }
      const bool sink = file->info.tombstone_count > 0 && deeper;
      CompactionPlan plan = sink ? CompletePlan(context, level, {file}, "deadline")
                                 : InPlacePlan(context, level, file, "deadline");
      if (MayRun(context, plan)) return plan;
    }
  }
  return std::nullopt;
}

}  // namespace

uint64_t LevelTargetBytes(const Options& options, int level) {
  uint64_t target = options.level1_bytes;
  for (int i = 1; i < level; ++i) target *= static_cast<uint64_t>(options.level_multiplier);
  return target;
}

double LevelScore(const PickContext& context, int level) {
  uint64_t count = 0;
  uint64_t bytes = 0;
  for (const FileRef& file : context.shape.version->files(level)) {
    if (IsTaken(context, *file)) continue;
    ++count;
    bytes += file->info.file_bytes;
  }
  if (level == 0) {
    return static_cast<double>(count) / context.options.l0_compaction_trigger;
  }
  return static_cast<double>(bytes) / static_cast<double>(LevelTargetBytes(context.options, level));
}

uint64_t PendingBytes(const PickContext& context) {
  uint64_t pending = 0;
  if (LevelScore(context, 0) >= 1) pending += context.shape.version->LevelBytes(0);
  for (int level = 1; level < kLevelCount - 1; ++level) {
    const uint64_t bytes = context.shape.version->LevelBytes(level);
    const uint64_t target = LevelTargetBytes(context.options, level);
    if (bytes > target) pending += bytes - target;
  }
  return pending;
}

std::optional<CompactionPlan> PickCompaction(const PickContext& context) {
  if (auto plan = PickDead(context)) return plan;
  struct Candidate {
    int level;
    double urgency;
  };
  std::vector<Candidate> candidates;
  for (int level = 0; level < kLevelCount - 1; ++level) {  // the last level has nowhere to go (Q11)
    const double score = LevelScore(context, level);
    if (score < 1) continue;
    const double next = level + 2 < kLevelCount ? LevelScore(context, level + 1) : 0;
    candidates.push_back({level, score / std::max(0.01, next)});
  }
  // Level 0 first: writers wait for it.
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    if ((a.level == 0) != (b.level == 0)) return a.level == 0;
    return a.urgency > b.urgency;
  });
  for (const Candidate& candidate : candidates) {
    auto plan = candidate.level == 0 ? PickLevel0(context, "level 0")
                                     : PickByRatio(context, candidate.level);
    if (plan) return plan;
  }
  return PickDue(context);
}

std::optional<CompactionPlan> PickManual(const PickContext& context, int level, bool in_place,
                                         const std::string& cursor) {
  const Version& version = *context.shape.version;
  const std::vector<FileRef>& files = version.files(level);
  if (files.empty()) return std::nullopt;
  if (level == 0) {
    // All of level 0 at once: its tables overlap, and the cursor could not tell them apart.
    if (!cursor.empty()) return std::nullopt;
    CompactionPlan plan = CompletePlan(context, 0, files, "manual");
    plan.kind = CompactionPlan::Kind::kMerge;
    return plan;
  }
  std::vector<FileRef> source;
  uint64_t bytes = 0;
  for (const FileRef& file : files) {
    if (!cursor.empty() && file->smallest_user_key() <= cursor) continue;
    if (in_place) {
      if (HasGarbage(*file)) return InPlacePlan(context, level, file, "manual");
      continue;
    }
    source.push_back(file);
    bytes += file->info.file_bytes;
    if (bytes >= kMergeBytesMaxFactor * context.options.table_bytes / 5) break;
  }
  if (source.empty()) return std::nullopt;
  return CompletePlan(context, level, std::move(source), "manual");
}

}  // namespace terracefs::lsm
