#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "io/base/result.h"
#include "lsm/drop_ranges.h"
#include "lsm/manifest/file_meta.h"
#include "lsm/manifest/version_edit.h"
#include "lsm/options.h"

namespace terracefs::lsm {

// An immutable set of tables by level. Level 0 is ordered newest first by largest sequence and its
// tables may overlap; deeper levels are ordered by key, their tables disjoint in user keys.
// Readers, iterators and jobs share it. Safe from any thread.
class Version {
 public:
  const std::vector<FileRef>& files(int level) const { return levels_[static_cast<size_t>(level)]; }
  uint64_t LevelBytes(int level) const;
  // Drop ranges that tables in this version may still need (the manifest's list).
  const std::vector<DropRange>& drops() const { return *drops_; }

  // Files whose user key range meets [begin, end] (inclusive), in level order.
  std::vector<FileRef> Overlapping(int level, std::string_view begin, std::string_view end) const;
  // Index of the first file of a level >= 1 whose largest user key is at or after `user_key`.
  size_t FindFile(int level, std::string_view user_key) const;
  // Whether some file of a level deeper than `level` (-1: of any level) may hold `user_key`.
  bool DeeperMayContain(int level, std::string_view user_key) const;
  // The most level-0 tables that a read of one key may have to look into (sublevels): 0 if level 0
  // is empty.
  int level0_depth() const { return level0_depth_; }
  // The deepest level that has files; 0 if none.
  int DeepestLevel() const;

  // `base` with `edit` applied. Corruption if the edit removes what is not there, adds a number
  // twice, or breaks the order or disjointness of a level.
  static io::Result<std::shared_ptr<const Version>> Apply(const Version& base,
                                                          const VersionEdit& edit);
  static std::shared_ptr<const Version> Empty();

 private:
  Version() = default;

  std::array<std::vector<FileRef>, kLevelCount> levels_;
  int level0_depth_ = 0;
  std::shared_ptr<const std::vector<DropRange>> drops_ =
      std::make_shared<const std::vector<DropRange>>();
};

// The length of the longest chain of level-0 tables of which each overlaps an older one of the
// chain: an upper bound of how many hold one key.
int Level0Depth(const std::vector<FileRef>& newest_first);

}  // namespace terracefs::lsm
