#include "lsm/compaction/output_cutter.h"

namespace terracefs::lsm {
namespace {

// Limits the cost of the next compaction of the output (G2).
constexpr uint64_t kGrandparentBytesMaxFactor = 10;

}  // namespace

bool OutputCutter::PassesGrandparents(std::string_view user_key) {
  while (grandparent_index_ < grandparents_.size() &&
         user_key > grandparents_[grandparent_index_]->largest_user_key()) {
    // Those before the output's first key do not count: no later merge of it reads them.
    if (has_key_) grandparent_bytes_ += grandparents_[grandparent_index_]->info.file_bytes;
    ++grandparent_index_;
  }
  return grandparent_bytes_ > kGrandparentBytesMaxFactor * options_.table_bytes;
}

bool OutputCutter::PassesSkipped(std::string_view user_key) {
  bool passed = false;
  while (skipped_index_ < skipped_.size() &&
         user_key > skipped_[skipped_index_]->largest_user_key()) {
    passed = true;
    ++skipped_index_;
  }
  return passed;
}

bool OutputCutter::ShouldCutBefore(std::string_view user_key, uint64_t file_bytes) {
  if (has_key_ && user_key == last_user_key_) return false;
  const bool passes = PassesGrandparents(user_key);
  const bool passes_skipped = PassesSkipped(user_key);
  bool cut = false;
  if (has_key_) {
    const auto differs = [&](std::string_view (*part_of)(std::string_view)) {
      return part_of != nullptr && part_of(user_key) != part_of(last_user_key_);
    };
    cut = passes || passes_skipped || differs(options_.domain_of) ||
          (level_ > 0 && (file_bytes >= options_.table_bytes ||
                          (file_bytes >= options_.table_bytes / 2 && differs(options_.group_of))));
  }
  has_key_ = true;
  last_user_key_.assign(user_key);
  return cut;
}

void OutputCutter::Restart() { grandparent_bytes_ = 0; }

}  // namespace terracefs::lsm
