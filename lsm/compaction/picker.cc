#include "lsm/compaction/picker.h"

#include <algorithm>

#include "lsm/compaction/garbage.h"
#include "lsm/compaction/input_growth.h"
#include "lsm/compaction/vacuum_picker.h"

namespace terracefs::lsm {
namespace {

// A manual slice of a level >= 1 has about this much of the source level.
constexpr uint64_t kManualSliceTables = 5;
constexpr uint64_t kSelfLevelSliceTables = 4;  // K2
// Level 0 is merged in itself once it is this much deeper than what starts a compaction.
constexpr double kIntraLevel0Score = 1.5;
// Rewriting a table sets free so many times its own bytes in value files: always worth it.
constexpr uint64_t kDeadValuesPerTableByte = 8;
// Never taken for worn out by reads before this many (A3).
constexpr uint64_t kWastedReadsMin = 100;

// What a table is due for, and since when.
enum class Need : uint8_t {
  kNone,
  kSink,     // its tombstones have to reach what they shadow
  kInPlace,  // what is garbage goes by rewriting it where it is
};

bool AnyDeeper(const Version& version, int level, const FileMeta& file) {
  for (int below = std::max(level + 1, 1); below < kLevelCount; ++below) {
    if (!version.Overlapping(below, file.smallest_user_key(), file.largest_user_key()).empty()) {
      return true;
    }
  }
  return false;
}

// Whether rewriting would drop every tombstone and hidden version of the table for certain.
bool SnapshotsAllow(const PickContext& context, const FileMeta& file) {
  return file.info.largest_sequence <= context.smallest_snapshot;
}

// When the deletion deadline calls for the table, in wall seconds, and for what; nothing: never.
struct Due {
  int64_t at_seconds = 0;
  Need need = Need::kNone;
};
std::optional<Due> DueOf(const PickContext& context, int level, int deepest, const FileMeta& file) {
  std::optional<Due> due;
  const int64_t since = file.drop_pending_since_seconds.load(std::memory_order_relaxed);
  if (since != 0) due = Due{since + context.delete_deadline_s / 2, Need::kInPlace};
  // A snapshot that still needs them: rewriting could not drop them.
  if (file.info.tombstone_count > 0 && SnapshotsAllow(context, file)) {
    const bool deeper = AnyDeeper(context.version(), level, file);
    const int64_t age_max =
        TombstoneAgeMax(context.targets, deepest, level, context.delete_deadline_s);
    const int64_t at = file.info.oldest_tombstone_seconds + age_max;
    if (!due || at <= due->at_seconds) due = Due{at, deeper ? Need::kSink : Need::kInPlace};
  }
  return due;
}

// C9: a table that shrinks by the rewrite takes its neighbours on the right in, as long as all
// together make one table.
std::vector<FileRef> JoinNeighbours(const PickContext& context, int level, size_t index) {
  const std::vector<FileRef>& files = context.version().files(level);
  std::vector<FileRef> joined = {files[index]};
  if (level == 0) return joined;
  const auto domain_of = [&](std::string_view key) {
    return context.options.domain_of == nullptr ? std::string_view()
                                                : context.options.domain_of(key);
  };
  const auto left_of = [](const FileMeta& file) {
    return file.info.file_bytes - GarbageBytes(file);
  };
  uint64_t bytes = left_of(*files[index]);
  for (size_t i = index + 1; i < files.size(); ++i) {
    bytes += left_of(*files[i]);
    if (bytes > context.options.table_bytes || context.IsTaken(*files[i]) ||
        domain_of(files[i]->smallest_user_key()) != domain_of(joined.back()->largest_user_key())) {
      break;
    }
    joined.push_back(files[i]);
  }
  return joined;
}

std::optional<CompactionPlan> PlanFor(const PickContext& context, int level, size_t index,
                                      Need need, const char* reason) {
  const FileRef& file = context.version().files(level)[index];
  CompactionPlan plan;
  if (level == 0) {
    plan = CompletePlan(context, 0, GrowLevel0(context.version(), file), reason);
  } else if (need == Need::kSink) {
    plan = CompletePlan(context, level, {file}, reason);
  } else {
    plan = InPlacePlan(context, level, JoinNeighbours(context, level, index), reason);
    if (!MayRun(context, plan)) plan = InPlacePlan(context, level, {file}, reason);
  }
  if (!MayRun(context, plan)) return std::nullopt;
  return plan;
}

std::optional<CompactionPlan> PickDead(const PickContext& context) {
  if (context.shape.drops->empty()) return std::nullopt;
  for (int level = 0; level < kLevelCount; ++level) {
    CompactionPlan plan;
    plan.kind = CompactionPlan::Kind::kDropOnly;
    plan.level = plan.output_level = level;
    plan.reason = "dead range";
    for (const FileRef& file : context.version().files(level)) {
      if (file->drop_pending_since_seconds.load(std::memory_order_relaxed) == 0 ||
          context.IsTaken(*file) ||
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

std::optional<CompactionPlan> PickDue(const PickContext& context) {
  const int deepest = context.version().DeepestLevel();
  for (int level = 0; level < kLevelCount; ++level) {
    const std::vector<FileRef>& files = context.version().files(level);
    for (size_t i = 0; i < files.size(); ++i) {
      if (context.IsTaken(*files[i])) continue;
      const std::optional<Due> due = DueOf(context, level, deepest, *files[i]);
      if (!due || due->at_seconds > context.now_seconds) continue;
      if (auto plan = PlanFor(context, level, i, due->need, "deadline")) return plan;
    }
  }
  return std::nullopt;
}

// What full of garbage a table is, if anything. (A level-0 table is young; its turn comes soon,
// unless it keeps much in value files.)
Need GarbageNeed(const PickContext& context, int level, const FileMeta& file, const char** reason) {
  if (DeadValueBytes(file) >= kDeadValuesPerTableByte * file.info.file_bytes) {
    *reason = "dead values";
    return Need::kInPlace;
  }
  if (level == 0) return Need::kNone;
  const double ratio = context.garbage_ratio;
  if (static_cast<double>(file.dead_bytes.load(std::memory_order_relaxed)) >=
          ratio * static_cast<double>(file.info.file_bytes) &&
      file.drop_pending_since_seconds.load(std::memory_order_relaxed) != 0) {
    *reason = "garbage";
    return Need::kInPlace;
  }
  if (!SnapshotsAllow(context, file)) return Need::kNone;
  const bool tombstones = IsTombstoneDense(file, ratio);
  if (tombstones && AnyDeeper(context.version(), level, file)) {
    *reason = "tombstones";
    return Need::kSink;
  }
  if (tombstones || IsHiddenDense(file, ratio)) {
    *reason = "elision";  // a snapshot had kept them
    return Need::kInPlace;
  }
  return Need::kNone;
}

std::optional<CompactionPlan> PickGarbage(const PickContext& context) {
  std::optional<CompactionPlan> best;
  uint64_t best_bytes = 0;
  for (int level = 0; level < kLevelCount; ++level) {
    const std::vector<FileRef>& files = context.version().files(level);
    for (size_t i = 0; i < files.size(); ++i) {
      if (!HasGarbage(*files[i]) || context.IsTaken(*files[i])) continue;
      const char* reason = "";
      const Need need = GarbageNeed(context, level, *files[i], &reason);
      const uint64_t bytes = GarbageBytes(*files[i]);
      if (need == Need::kNone || (best && bytes <= best_bytes)) continue;
      auto plan = PlanFor(context, level, i, need, reason);
      if (!plan) continue;
      best = std::move(plan);
      best_bytes = bytes;
    }
  }
  return best;
}

std::optional<CompactionPlan> PickWastedReads(const PickContext& context) {
  for (int level = 0; level < kLevelCount - 1; ++level) {
    const std::vector<FileRef>& files = context.version().files(level);
    for (size_t i = 0; i < files.size(); ++i) {
      if (context.IsTaken(*files[i]) ||
          files[i]->wasted_reads.load(std::memory_order_relaxed) <
              WastedReadsMax(context.options, *files[i]) ||
          !AnyDeeper(context.version(), level, *files[i])) {
        continue;
      }
      if (auto plan = PlanFor(context, level, i, Need::kSink, "reads")) return plan;
    }
  }
  return std::nullopt;
}

// Levels above their target, most urgent first.
std::vector<int> LevelsByUrgency(const PickContext& context) {
  struct Candidate {
    int level;
    double urgency;
  };
  std::vector<Candidate> candidates;
  for (int level = 1; level < kLevelCount - 1; ++level) {  // the last has nowhere to go (Q11)
    const double score = LevelScore(context, level);
    if (score < 1) continue;
    const double next = level + 2 < kLevelCount ? LevelScore(context, level + 1) : 0;
    candidates.push_back({level, score / std::max(0.01, next)});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.urgency > b.urgency; });
  std::vector<int> levels;
  for (const Candidate& candidate : candidates) levels.push_back(candidate.level);
  return levels;
}

bool IsWanted(const ManualSlice& slice, const FileMeta& file) {
  return (slice.level == 0 || file.number < slice.limit) &&
         (!slice.cursor || file.smallest_user_key() > *slice.cursor) &&
         (!slice.only_garbage || HasGarbage(file)) &&
         (slice.ranges == nullptr || MeetsRanges(*slice.ranges, file));
}

std::vector<FileRef> Level0Slice(const PickContext& context, const ManualSlice& slice) {
  // All at once: they overlap, and a cursor could not tell them apart. In place, too: only whole
  // runs of history may be merged.
  if (slice.cursor) return {};
  const std::vector<FileRef>& files = context.version().files(0);
  const bool any = std::any_of(files.begin(), files.end(),
                               [&](const FileRef& file) { return IsWanted(slice, *file); });
  if (!any || slice.in_place) return any ? files : std::vector<FileRef>();
  std::set<FileNumber> numbers;
  for (const FileRef& file : files) {
    if (!IsWanted(slice, *file) || numbers.contains(file->number)) continue;
    for (const FileRef& other : GrowLevel0(context.version(), file)) numbers.insert(other->number);
  }
  std::vector<FileRef> source;
  for (const FileRef& file : files) {
    if (numbers.contains(file->number)) source.push_back(file);
  }
  return source;
}

}  // namespace

double LevelScore(const PickContext& context, int level) {
  uint64_t bytes = 0;
  bool any_taken = false;
  std::vector<FileRef> free;
  for (const FileRef& file : context.version().files(level)) {
    if (context.IsTaken(*file)) {
      any_taken = true;
      continue;
    }
    bytes += file->info.file_bytes;
    if (level == 0) free.push_back(file);
  }
  if (level == 0) {
    const int depth = any_taken ? Level0Depth(free) : context.version().level0_depth();
    const auto trigger = static_cast<uint64_t>(context.options.l0_compaction_trigger);
    const uint64_t target =
        std::max(context.options.level1_bytes, trigger * context.options.memtable_bytes);
    return std::max(static_cast<double>(depth) / static_cast<double>(trigger),
                    static_cast<double>(bytes) / static_cast<double>(target));
  }
  const uint64_t target = context.targets.bytes[static_cast<size_t>(level)];
  return target == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(target);
}

uint64_t PendingBytes(const PickContext& context) {
  uint64_t pending = 0;
  if (LevelScore(context, 0) >= 1) pending += context.version().LevelBytes(0);
  for (int level = 1; level < kLevelCount - 1; ++level) {
    const uint64_t bytes = context.version().LevelBytes(level);
    const uint64_t target = context.targets.bytes[static_cast<size_t>(level)];
    if (target != 0 && bytes > target) pending += bytes - target;
  }
  return pending;
}

uint64_t WastedReadsMax(const Options& options, const FileMeta& file) {
  const auto fanout = static_cast<uint64_t>(options.level_multiplier);
  return std::max(kWastedReadsMin, 2 * (1 + fanout) * file.info.file_bytes /
                                       std::max<uint64_t>(options.block_bytes, 1));
}

std::optional<CompactionPlan> PickCompaction(const PickContext& context) {
  if (auto plan = PickDead(context)) return plan;
  const double level0_score = LevelScore(context, 0);
  const auto pick_level0 = [&]() -> std::optional<CompactionPlan> {
    if (level0_score < 1) return std::nullopt;
    if (auto plan = PickLevel0(context)) return plan;
    return level0_score >= kIntraLevel0Score ? PickIntraLevel0(context) : std::nullopt;
  };
  const bool writers_slowed =
      context.version().level0_depth() >= context.options.l0_slowdown_trigger;
  if (writers_slowed || context.level0_only) {
    if (auto plan = pick_level0()) return plan;
  }
  if (context.level0_only) return std::nullopt;
  if (auto plan = PickDue(context)) return plan;
  if (auto plan = pick_level0()) return plan;
  if (auto plan = PickVacuum(context)) return plan;
  for (const int level : LevelsByUrgency(context)) {
    auto plan = context.options.picking == Options::Picking::kRatio
                    ? PickByRatio(context, level)
                    : PickRoundRobin(context, level);
    if (plan) return plan;
  }
  if (auto plan = PickGarbage(context)) return plan;
  if (auto plan = PickWastedReads(context)) return plan;
  return PickScattered(context);
}

std::optional<int64_t> NextDueSeconds(const PickContext& context) {
  const int deepest = context.version().DeepestLevel();
  std::optional<int64_t> next;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : context.version().files(level)) {
      if (context.IsTaken(*file)) continue;  // the end of its job is an event of its own
      const std::optional<Due> due = DueOf(context, level, deepest, *file);
      if (due && (!next || due->at_seconds < *next)) next = due->at_seconds;
    }
  }
  return next;
}

std::string PassName(int level) { return "level " + std::to_string(level); }

bool MeetsRanges(const std::vector<KeyRange>& ranges, const FileMeta& file) {
  // The first range that ends after the table begins; they are sorted and disjoint.
  const auto range = std::partition_point(ranges.begin(), ranges.end(), [&](const KeyRange& r) {
    return !r.end.empty() && r.end <= file.smallest_user_key();
  });
  return ranges.empty() || (range != ranges.end() && range->begin <= file.largest_user_key());
}

CompactionPlan ManualExtent(const PickContext& context, const ManualSlice& slice) {
  std::vector<FileRef> source;
  if (slice.level == 0) {
    source = Level0Slice(context, slice);
  } else {
    for (const FileRef& file : context.version().files(slice.level)) {
      if (IsWanted(slice, *file)) source.push_back(file);
    }
  }
  if (source.empty()) return {};
  return slice.in_place ? InPlacePlan(context, slice.level, std::move(source), "manual")
                        : CompletePlan(context, slice.level, std::move(source), "manual");
}

std::optional<CompactionPlan> PickManual(const PickContext& context, const ManualSlice& slice) {
  std::vector<FileRef> source;
  if (slice.level == 0) {
    source = Level0Slice(context, slice);
  } else {
    const uint64_t bytes_max =
        context.options.table_bytes * (slice.in_place ? kSelfLevelSliceTables : kManualSliceTables);
    uint64_t bytes = 0;
    for (const FileRef& file : context.version().files(slice.level)) {
      if (!IsWanted(slice, *file)) {
        // Only neighbours: nothing in between is to be rewritten.
        if (source.empty()) continue;
        break;
      }
      source.push_back(file);
      bytes += file->info.file_bytes;
      if (bytes >= bytes_max) break;
    }
  }
  if (source.empty()) return std::nullopt;
  if (slice.in_place) return InPlacePlan(context, slice.level, std::move(source), "manual");
  CompactionPlan plan = CompletePlan(context, slice.level, std::move(source), "manual");
  // Level-0 tables are as flushed: whoever asks for a compaction wants them cut to size. And a
  // filter is to be asked.
  if (slice.level == 0 || context.options.compaction_filter != nullptr) {
    plan.kind = CompactionPlan::Kind::kMerge;
  }
  return plan;
}

std::optional<CompactionPlan> PickReclaim(const PickContext& context,
                                          const std::vector<KeyRange>& ranges) {
  struct Candidate {
    int level = 0;
    FileRef file;
    Need need = Need::kNone;
    uint64_t bytes = 0;
  };
  std::optional<Candidate> best;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : context.version().files(level)) {
      if (!HasGarbage(*file) || !MeetsRanges(ranges, *file)) continue;
      if (context.quarantined != nullptr && context.quarantined->contains(file->number)) continue;
      Candidate candidate{level, file, Need::kNone, GarbageBytes(*file)};
      if (candidate.bytes == 0) continue;
      const bool pending = file->drop_pending_since_seconds.load(std::memory_order_relaxed) != 0;
      if (SnapshotsAllow(context, *file)) {
        const bool sink =
            file->info.tombstone_count > 0 && AnyDeeper(context.version(), level, *file);
        candidate.need = sink ? Need::kSink : Need::kInPlace;
      } else if (pending) {
        candidate.need = Need::kInPlace;
      }
      if (candidate.need == Need::kNone) continue;
      if (!best || candidate.bytes > best->bytes) best = candidate;
    }
  }
  if (!best) return std::nullopt;
  if (best->level == 0) {
    return CompletePlan(context, 0, GrowLevel0(context.version(), best->file), "reclaim");
  }
  return best->need == Need::kSink ? CompletePlan(context, best->level, {best->file}, "reclaim")
                                   : InPlacePlan(context, best->level, {best->file}, "reclaim");
}

}  // namespace terracefs::lsm
