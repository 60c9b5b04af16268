#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lsm/compaction/level_targets.h"
#include "lsm/compaction/ranges_in_use.h"
#include "lsm/compaction/value_garbage.h"
#include "lsm/db.h"
#include "lsm/manifest/version_set.h"
#include "lsm/options.h"

namespace terracefs::lsm {

// Everything a pick depends on. The pickers are pure: no I/O, no locks, no clock.
struct PickContext {
  PickContext(const Shape& shape_in, const Options& options_in, const RangesInUse& in_use_in)
      : shape(shape_in),
        options(options_in),
        in_use(in_use_in),
        targets(ComputeLevelTargets(options_in, *shape_in.version)),
        garbage_ratio(options_in.garbage_ratio) {}

  const Version& version() const { return *shape.version; }
  // Whether an automatic job must not have `file` as input: it is in use, or damaged.
  bool IsTaken(const FileMeta& file) const {
    return in_use.InUse(file.number) ||
           (quarantined != nullptr && quarantined->contains(file.number));
  }
  bool AnyTaken(const std::vector<FileRef>& files) const;

  const Shape& shape;
  const Options& options;
  const RangesInUse& in_use;
  const LevelTargets targets;
  double garbage_ratio;
  int64_t now_seconds = 0;        // wall
  int64_t delete_deadline_s = 0;  // everything deleted is due well before it (garbage.h)
  SequenceNumber smallest_snapshot = kSequenceMax;
  // Damaged tables, which automatic compaction leaves alone; null: none.
  const std::set<FileNumber>* quarantined = nullptr;
  const CompactPointers* compact_pointers = nullptr;  // null: from the start
  const ValueScope* values = nullptr;                 // null: no value file is looked at
  // Only what relieves level 0, or costs nothing: the other workers are on long jobs (B5).
  bool level0_only = false;
};

// Score of a level: >= 1 means it wants to be compacted into the next (A1, A2). Files in use count
// as gone (D3). Level 0 is judged by its depth, and by its bytes, as tables that overlap no other
// make no depth.
double LevelScore(const PickContext& context, int level);
// Bytes above the levels' targets: what compaction has yet to move.
uint64_t PendingBytes(const PickContext& context);
// When the budget of wasted reads of a table is spent (A3): the reads have cost as much as merging
// it into the next level would (Q21).
uint64_t WastedReadsMax(const Options& options, const FileMeta& file);

// The most urgent compaction, if any is due. In this order: wholly dead tables; level 0 while it
// slows writers down; what the deletion deadline calls for; level 0, merged in itself (C8) if its
// way down is blocked; value files to be vacuumed (or, if that helps them more, level 0 early);
// levels by score adjusted by the next level's (B6); tables full of garbage; tables that cost
// reads; in a quiet store, values that lie scattered.
std::optional<CompactionPlan> PickCompaction(const PickContext& context);
// The wall time at which PickCompaction may have work only because time went by; nothing if never.
std::optional<int64_t> NextDueSeconds(const PickContext& context);

// A slice of a manual compaction of one level. The plan may conflict with `context.in_use`: the
// caller waits.
struct ManualSlice {
  int level = 0;
  bool in_place = false;              // the result stays on the level (K)
  bool only_garbage = false;          // leave out tables without any
  FileNumber limit = kFileNumberMax;  // only tables with smaller numbers, but on level 0 (K2)
  const std::vector<KeyRange>* ranges = nullptr;  // only tables that meet one; null or empty: all
  // Only tables that begin after this user key; nothing: from the start (J2).
  std::optional<std::string> cursor;
};
std::optional<CompactionPlan> PickManual(const PickContext& context, const ManualSlice& slice);
// The tables that PickManual would go through, and what of the output level they meet.
CompactionPlan ManualExtent(const PickContext& context, const ManualSlice& slice);

// Vacuum by hand: a slice of moving the values out of every file whose garbage is at least
// `share_min` of it and whose number is below `limit` (made before the request), on levels >= 1;
// nothing when that is done. Values that level 0 or memtables refer to stay. Like PickManual, it
// may conflict with `context.in_use`, though not if there is something to do elsewhere. Needs
// `context.values`.
std::optional<CompactionPlan> PickManualVacuum(const PickContext& context, double share_min,
                                               FileNumber limit);

// "level 3": what a pass over a level is called.
std::string PassName(int level);
// Whether the table meets one of `ranges`, or there are none.
bool MeetsRanges(const std::vector<KeyRange>& ranges, const FileMeta& file);

// For a reclaim goal: the job that gives back the most garbage now, in `ranges`; nothing if there
// is none or what there is cannot be dropped yet. May conflict, too.
std::optional<CompactionPlan> PickReclaim(const PickContext& context,
                                          const std::vector<KeyRange>& ranges);

}  // namespace terracefs::lsm
