#pragma once

#include <optional>
#include <vector>

#include "lsm/compaction/picker.h"

namespace terracefs::lsm {

// How the inputs of a compaction grow from a first table. Pure functions over a version's lists.

// What the input of an automatic merge is kept below.
uint64_t MergeBytesMax(const Options& options);
uint64_t TotalBytes(const std::vector<FileRef>& files);

// Level-0 tables may overlap each other: `seed` pulls in every one it meets, transitively (C2).
std::vector<FileRef> GrowLevel0(const Version& version, const FileRef& seed);

// Completes a plan whose source side is chosen: the target side, the kind (H9, H10), the
// grandparents.
CompactionPlan CompletePlan(const PickContext& context, int level, std::vector<FileRef> source,
                            const char* reason);
// A rewrite on the same level; sources of a level >= 1 are neighbours.
CompactionPlan InPlacePlan(const PickContext& context, int level, std::vector<FileRef> source,
                           const char* reason);
// Whether nothing of the plan is taken or in somebody's range.
bool MayRun(const PickContext& context, const CompactionPlan& plan);

// C5, after Badger: the table of `level` (>= 1) with the most bytes per byte of the next level that
// it meets; one that meets nothing beats all others. Then neighbours to the left and to the right
// are taken in while the ratio of the whole is better than the first table's, nothing is left out
// in between, and the input stays below the limit.
std::optional<CompactionPlan> PickByRatio(const PickContext& context, int level);
// C1, C4, after LevelDB: the first table that ends after the level's compact pointer, or the first
// of all; then neighbours that add nothing to the target side.
std::optional<CompactionPlan> PickRoundRobin(const PickContext& context, int level);
// Level 0 into the base level: a move if there is one, else the deepest pile of tables.
std::optional<CompactionPlan> PickLevel0(const PickContext& context);
// C8: at least four tables of level 0, adjacent in history and free, into as few as may be.
std::optional<CompactionPlan> PickIntraLevel0(const PickContext& context);

}  // namespace terracefs::lsm
