#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lsm/key.h"

namespace terracefs::lsm {

// A range of user keys [begin, end) that WriteBatch::DropRange declared dead, as kept in the
// manifest.
struct DropRange {
  std::string begin;
  std::string end;
  SequenceNumber sequence = 0;  // of the newest drop in it
  int64_t seconds = 0;          // wall time of the oldest
};

// Joins ranges that touch or overlap: the result is sorted by begin and disjoint. A joined range
// has the newest sequence (a table must have been written after all of it was known) and the oldest
// time (the deadline of its oldest part holds for all).
std::vector<DropRange> JoinRanges(std::vector<DropRange> ranges);

// Dead user keys as disjoint intervals. Because a dead range is dead for good, whatever the
// sequence of an entry (Tair's ShouldDrop, compaction_mechanisms E7), neighbours join, and deleting
// everything collapses to a few intervals. Not thread-safe; a value.
class DropRangeSet {
 public:
  void Add(std::string_view begin, std::string_view end);
  void Add(const DropRangeSet& other);
  // The end of the interval that covers `user_key`; nothing if it is alive. The view is good until
  // the next Add.
  std::optional<std::string_view> CoveringEnd(std::string_view user_key) const;
  bool Covers(std::string_view user_key) const { return CoveringEnd(user_key).has_value(); }
  // Whether every key in [smallest, largest], both inclusive, is dead.
  bool CoversAll(std::string_view smallest, std::string_view largest) const;
  // Calls `visit` for each interval that meets [smallest, largest], both inclusive, in order; ends
  // when it returns false, and returns whether it never did.
  bool ForEachIn(
      std::string_view smallest, std::string_view largest,
      const std::function<bool(std::string_view begin, std::string_view end)>& visit) const;
  bool empty() const { return intervals_.empty(); }
  size_t size() const { return intervals_.size(); }

 private:
  std::map<std::string, std::string, std::less<>> intervals_;  // begin -> end
};

}  // namespace terracefs::lsm
