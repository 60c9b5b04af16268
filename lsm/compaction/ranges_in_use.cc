#include "lsm/compaction/ranges_in_use.h"

#include <algorithm>

namespace terracefs::lsm {

uint64_t CompactionPlan::InputBytes() const {
  uint64_t bytes = 0;
  for (const auto& side : inputs) {
    for (const FileRef& file : side) bytes += file->info.file_bytes;
  }
  return bytes;
}

std::string_view CompactionPlan::smallest_user_key() const {
  std::string_view smallest = inputs[0].front()->smallest_user_key();
  for (const auto& side : inputs) {
    for (const FileRef& file : side) smallest = std::min(smallest, file->smallest_user_key());
  }
  return smallest;
}

std::string_view CompactionPlan::largest_user_key() const {
  std::string_view largest = inputs[0].front()->largest_user_key();
  for (const auto& side : inputs) {
    for (const FileRef& file : side) largest = std::max(largest, file->largest_user_key());
  }
  return largest;
}

RangesInUse::Range RangesInUse::HullOf(const CompactionPlan& plan) {
  return {std::string(plan.smallest_user_key()), std::string(plan.largest_user_key())};
}

size_t RangesInUse::FirstLevel(const CompactionPlan& plan) {
  return static_cast<size_t>(std::max(plan.level, 1));
}
size_t RangesInUse::LastLevel(const CompactionPlan& plan) {
  return static_cast<size_t>(plan.output_level);
}

bool RangesInUse::Conflicts(const CompactionPlan& plan) const {
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) {
      if (InUse(file->number)) return true;
    }
  }
  const Range hull = HullOf(plan);
  for (size_t level = FirstLevel(plan); level <= LastLevel(plan); ++level) {
    for (const Range& range : ranges_[level]) {
      if (range.smallest <= hull.largest && hull.smallest <= range.largest) return true;
    }
  }
  return false;
}

bool RangesInUse::empty() const {
  return files_.empty() && std::all_of(ranges_.begin(), ranges_.end(),
                                       [](const auto& ranges) { return ranges.empty(); });
}

void RangesInUse::Register(const CompactionPlan& plan) {
  const Range hull = HullOf(plan);
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) files_.insert(file->number);
  }
  for (size_t level = FirstLevel(plan); level <= LastLevel(plan); ++level) {
    ranges_[level].push_back(hull);
  }
}

void RangesInUse::Unregister(const CompactionPlan& plan) {
  const Range hull = HullOf(plan);
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) CHECK(files_.erase(file->number) == 1);
  }
  for (size_t level = FirstLevel(plan); level <= LastLevel(plan); ++level) {
    std::vector<Range>& ranges = ranges_[level];
    const auto it = std::find(ranges.begin(), ranges.end(), hull);
    CHECK(it != ranges.end());
    ranges.erase(it);
  }
}

}  // namespace terracefs::lsm
