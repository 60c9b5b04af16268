#include "lsm/compaction/level_targets.h"

#include <algorithm>

namespace terracefs::lsm {
namespace {

LevelTargets StaticTargets(const Options& options) {
  LevelTargets targets;
  uint64_t bytes = options.level1_bytes;
  for (int level = 1; level < kLevelCount - 1; ++level) {
    targets.bytes[static_cast<size_t>(level)] = bytes;
    bytes *= static_cast<uint64_t>(options.level_multiplier);
  }
  return targets;
}

}  // namespace

LevelTargets ComputeLevelTargets(const Options& options, const Version& version) {
  if (!options.dynamic_levels) return StaticTargets(options);
  constexpr int kLast = kLevelCount - 1;
  uint64_t bytes = 0;
  int first_in_use = kLast;
  for (int level = kLast; level >= 1; --level) {
    bytes = std::max(bytes, version.LevelBytes(level));
    if (!version.files(level).empty()) first_in_use = level;
  }
  LevelTargets targets;
  targets.base_level = kLast;
  for (int level = kLast - 1; level >= 1; --level) {
    bytes /= static_cast<uint64_t>(options.level_multiplier);
    // A level that is there is kept until it is far too small, so that a store at the border does
    // not fill and drain it in turn.
    const uint64_t least = level >= first_in_use ? options.level1_bytes / 2 : options.level1_bytes;
    if (bytes < least) break;
    targets.base_level = level;
    targets.bytes[static_cast<size_t>(level)] = bytes;
  }
  for (int level = first_in_use; level < targets.base_level; ++level) {
    targets.bytes[static_cast<size_t>(level)] = 1;
  }
  targets.base_level = std::min(targets.base_level, first_in_use);
  return targets;
}

}  // namespace terracefs::lsm
