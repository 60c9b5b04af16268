#include "lsm/drop_ranges.h"

#include <algorithm>

namespace terracefs::lsm {

std::vector<DropRange> JoinRanges(std::vector<DropRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const DropRange& a, const DropRange& b) { return a.begin < b.begin; });
  std::vector<DropRange> joined;
  for (DropRange& range : ranges) {
    if (range.begin >= range.end) continue;
    if (joined.empty() || joined.back().end < range.begin) {
      joined.push_back(std::move(range));
      continue;
    }
    DropRange& last = joined.back();
    if (last.end < range.end) last.end = std::move(range.end);
    last.sequence = std::max(last.sequence, range.sequence);
    last.seconds = std::min(last.seconds, range.seconds);
  }
  return joined;
}

void DropRangeSet::Add(std::string_view begin, std::string_view end) {
  if (begin >= end) return;
  std::string new_begin(begin);
  std::string new_end(end);
  // The first interval that could touch [begin, end): the one before begin, if it reaches it.
  auto it = intervals_.upper_bound(begin);
  if (it != intervals_.begin() && std::prev(it)->second >= begin) {
    --it;
    new_begin = it->first;
  }
  while (it != intervals_.end() && it->first <= new_end) {
    if (it->second > new_end) new_end = std::move(it->second);
    it = intervals_.erase(it);
  }
  intervals_.emplace_hint(it, std::move(new_begin), std::move(new_end));
}

void DropRangeSet::Add(const DropRangeSet& other) {
  for (const auto& [begin, end] : other.intervals_) Add(begin, end);
}

std::optional<std::string_view> DropRangeSet::CoveringEnd(std::string_view user_key) const {
  auto it = intervals_.upper_bound(user_key);
  if (it == intervals_.begin()) return std::nullopt;
  --it;
  if (user_key < it->second) return it->second;
  return std::nullopt;
}

bool DropRangeSet::CoversAll(std::string_view smallest, std::string_view largest) const {
  const std::optional<std::string_view> end = CoveringEnd(smallest);
  return end && largest < *end;
}

bool DropRangeSet::ForEachIn(
    std::string_view smallest, std::string_view largest,
    const std::function<bool(std::string_view, std::string_view)>& visit) const {
  auto it = intervals_.upper_bound(smallest);
  if (it != intervals_.begin() && smallest < std::prev(it)->second) --it;
  for (; it != intervals_.end() && it->first <= largest; ++it) {
    if (!visit(it->first, it->second)) return false;
  }
  return true;
}

}  // namespace terracefs::lsm
