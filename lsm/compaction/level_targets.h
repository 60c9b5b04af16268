#pragma once

#include <array>
#include <cstdint>

#include "lsm/manifest/version.h"
#include "lsm/options.h"

namespace terracefs::lsm {

// How large each level should be, and where level 0 goes.
struct LevelTargets {
  int base_level = 1;                         // the output level of level 0
  std::array<uint64_t, kLevelCount> bytes{};  // of levels >= base_level but the last
};

// With Options::dynamic_levels (B7; RocksDB's level_compaction_dynamic_level_bytes): the last level
// holds nearly everything, each level above it a level_multiplier-th, and levels that would be
// smaller than level1_bytes do not exist, so a small store has one level and every tombstone is
// soon at the bottom. The base level is never below a level that has tables: what goes past them
// would lie under older data (dgraph #2143). A level that the size no longer calls for has a target
// of one byte and drains.
LevelTargets ComputeLevelTargets(const Options& options, const Version& version);

// H3: level 0 and the level it goes into (unless that is the last) are rewritten soon and stay
// uncompressed.
inline bool IsCompressedLevel(int level, int base_level) {
  return level > base_level || level == kLevelCount - 1;
}

}  // namespace terracefs::lsm
