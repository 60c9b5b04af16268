#pragma once

#include <array>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lsm/key.h"
#include "lsm/manifest/file_meta.h"
#include "lsm/options.h"

namespace terracefs::lsm {

// A compaction as planned: what is read, where the result goes.
struct CompactionPlan {
  enum class Kind : uint8_t {
    kMerge,     // read the inputs, write new tables
    kMove,      // the inputs change their level, nothing is read
    kDropOnly,  // the inputs are wholly dead: removed, nothing is read
  };
  Kind kind = Kind::kMerge;
  int level = 0;  // of inputs[0]
  int output_level =
      0;  // of inputs[1], and where the result goes; equal to level for a rewrite in place
  std::array<std::vector<FileRef>, 2> inputs;
  std::vector<FileRef> grandparents;  // at output_level + 1, overlapping the inputs
  const char* reason = "";
  // Values of the inputs that are rewritten to new value files: those that lie in these files, or
  // all. Only of a merge.
  std::set<FileNumber> moved_value_files;
  bool moves_all_values = false;

  bool MovesValues() const { return moves_all_values || !moved_value_files.empty(); }
  uint64_t InputBytes() const;
  // Hull of all inputs, user keys, inclusive.
  std::string_view smallest_user_key() const;
  std::string_view largest_user_key() const;
};

// Which tables and key ranges jobs are working on, so that no two jobs touch the same table, or
// write into the same range of a level, or past each other. A job holds the hull of its inputs on
// every level from below its source (itself, if that is not level 0) to its output: nothing newer
// may pass below what is on its way there. On level 0 whose tables overlap anyway it holds its
// tables only. Not thread-safe: its owner's lock guards it.
class RangesInUse {
 public:
  // Whether `plan` meets a registered one: a shared input, or overlapping hulls at a shared level.
  bool Conflicts(const CompactionPlan& plan) const;
  bool InUse(FileNumber number) const { return files_.contains(number); }
  void Register(const CompactionPlan& plan);
  void Unregister(const CompactionPlan& plan);
  bool empty() const;

 private:
  struct Range {
    std::string smallest;
    std::string largest;
    bool operator==(const Range&) const = default;
  };
  static Range HullOf(const CompactionPlan& plan);
  static size_t FirstLevel(const CompactionPlan& plan);
  static size_t LastLevel(const CompactionPlan& plan);

  std::set<FileNumber> files_;
  std::array<std::vector<Range>, kLevelCount> ranges_;
};

}  // namespace terracefs::lsm
