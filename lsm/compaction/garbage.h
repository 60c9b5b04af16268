#pragma once

#include <cstdint>

#include "lsm/compaction/level_targets.h"
#include "lsm/drop_ranges.h"
#include "lsm/manifest/version.h"
#include "lsm/table/table_reader.h"

namespace terracefs::lsm {

// What of a table is of no use to anybody, judged from its metadata. Pure functions.

// Whether a rewrite could drop anything: tombstones, hidden versions, or a dead range that may
// reach into it.
bool HasGarbage(const FileMeta& file);
// Estimate of the bytes that are garbage.
uint64_t GarbageBytes(const FileMeta& file);
// Whether tombstones or hidden versions make up `ratio` of it, or of its blocks (a few dense blocks
// cost a scan more than many thin ones).
bool IsTombstoneDense(const FileMeta& file, double ratio);
bool IsHiddenDense(const FileMeta& file, double ratio);

// How old (seconds) a tombstone may become at `level` before it has to move on: half of the
// deadline, shared out over the levels above the last one in use, each level with twice the time of
// the one above it (after Lethe's FADE, Sarkar et al., SIGMOD 2020, with a gentler growth: by the
// size ratio, the first levels would get a hundredth). The other half is for doing it.
int64_t TombstoneAgeMax(const LevelTargets& targets, int deepest, int level, int64_t deadline_s);

// Looks for the dead ranges `drops` (all up to `drop_sequence`) in a table: sets dead_bytes, and
// clean_sequence if they touch no entry of it; else it is pending since `now_seconds` at the
// latest. Reads at most a few blocks; what cannot be read counts as touched. One caller at a time.
void EstimateDeadBytes(const DropRangeSet& drops, SequenceNumber drop_sequence, TableReader& table,
                       int64_t now_seconds, FileMeta* file);

}  // namespace terracefs::lsm
