#include "fs/control/id_ranges.h"

#include <algorithm>
#include <iterator>
#include <vector>

namespace terracefs::fs {

void IdRanges::Add(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  // The first range that the new one touches, and all others that it reaches.
  auto at = ranges_.upper_bound(begin);
  if (at != ranges_.begin() && std::prev(at)->second >= begin) --at;
  while (at != ranges_.end() && at->first <= end) {
    begin = std::min(begin, at->first);
    end = std::max(end, at->second);
    at = ranges_.erase(at);
  }
  ranges_.emplace_hint(at, begin, end);
  if (ranges_.size() > count_max_) Thin();
}

void IdRanges::Thin() {
  std::vector<uint64_t> gaps;
  gaps.reserve(ranges_.size());
  for (auto at = std::next(ranges_.begin()); at != ranges_.end(); ++at) {
    gaps.push_back(at->first - std::prev(at)->second);
  }
  const auto middle = gaps.begin() + static_cast<ptrdiff_t>(gaps.size() / 2);
  std::nth_element(gaps.begin(), middle, gaps.end());
  const uint64_t largest_filled = *middle;
  for (auto at = std::next(ranges_.begin()); at != ranges_.end();) {
    const auto before = std::prev(at);
    if (at->first - before->second > largest_filled) {
      ++at;
      continue;
    }
    before->second = at->second;
    at = ranges_.erase(at);
  }
}

}  // namespace terracefs::fs
