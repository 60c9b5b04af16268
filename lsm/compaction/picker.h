#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "lsm/compaction/ranges_in_use.h"
#include "lsm/manifest/version_set.h"
#include "lsm/options.h"

namespace terracefs::lsm {

// Everything a pick depends on. The picker is pure: no I/O, no locks, no clock.
struct PickContext {
  const Shape& shape;
  const Options& options;
  const RangesInUse& in_use;
  int64_t now_seconds = 0;        // wall
  int64_t delete_deadline_s = 0;  // tombstones and dead ranges are due at half of it
  SequenceNumber smallest_snapshot = kSequenceMax;
  // Damaged tables, which automatic compaction leaves alone; null: none.
  const std::set<FileNumber>* quarantined = nullptr;
};

// Score of a level: >= 1 means it wants to be compacted into the next (A1, A2). Files in use count
// as gone (D3).
double LevelScore(const PickContext& context, int level);
// Bytes above the levels' targets: what compaction has yet to move.
uint64_t PendingBytes(const PickContext& context);
uint64_t LevelTargetBytes(const Options& options, int level);

// The most urgent compaction, if any is due: wholly dead tables, then levels by score adjusted by
// the next level's (B6), then tables whose tombstones or dead entries approach the deadline.
std::optional<CompactionPlan> PickCompaction(const PickContext& context);

// A slice of a manual compaction of `level`: the tables after user key `cursor` (empty: from the
// start), or nothing at the end. With `in_place` only tables that hold garbage are taken, one at a
// time, and rewritten on their level. The plan may conflict with `context.in_use`: the caller
// waits.
std::optional<CompactionPlan> PickManual(const PickContext& context, int level, bool in_place,
                                         const std::string& cursor);

}  // namespace terracefs::lsm
