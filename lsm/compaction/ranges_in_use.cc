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

bool RangesInUse::Conflicts(const CompactionPlan& plan) const {
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) {
      if (InUse(file->number)) return true;
    }
  }
  const Range hull = HullOf(plan);
  for (const int level : {plan.level, plan.output_level}) {
    for (const Range& range : ranges_[static_cast<size_t>(level)]) {
      if (range.smallest <= hull.largest && hull.smallest <= range.largest) return true;
    }
  }
  return false;
}

void RangesInUse::Register(const CompactionPlan& plan) {
  const Range hull = HullOf(plan);
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) files_.insert(file->number);
  }
  ranges_[static_cast<size_t>(plan.level)].push_back(hull);
  ranges_[static_cast<size_t>(plan.output_level)].push_back(hull);
}

void RangesInUse::Unregister(const CompactionPlan& plan) {
  const Range hull = HullOf(plan);
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) CHECK(files_.erase(file->number) == 1);
  }
  for (const int level : {plan.level, plan.output_level}) {
    std::vector<Range>& ranges = ranges_[static_cast<size_t>(level)];
    const auto it = std::find(ranges.begin(), ranges.end(), hull);
    CHECK(it != ranges.end());
    ranges.erase(it);
  }
}

}  // namespace terracefs::lsm
