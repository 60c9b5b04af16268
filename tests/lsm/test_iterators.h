#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lsm/iterator.h"
#include "lsm/key.h"

namespace terracefs::lsm {

// Over a list of internal keys and values; fails at entry number `fail_at` (if it has so many, or
// at its end), as a table does whose block cannot be read.
class ListIterator final : public Iterator {
 public:
  using Entries = std::vector<std::pair<std::string, std::string>>;
  static constexpr size_t kNever = SIZE_MAX;

  explicit ListIterator(Entries entries, size_t fail_at = kNever)
      : entries_(std::move(entries)), fail_at_(fail_at), position_(entries_.size()) {}

  bool Valid() const override { return position_ < entries_.size() && position_ < fail_at_; }
  void SeekToFirst() override {
    moved_ = true;
    position_ = 0;
  }
  void Seek(std::string_view target) override {
    moved_ = true;
    position_ =
        static_cast<size_t>(std::partition_point(entries_.begin(), entries_.end(),
                                                 [&](const auto& entry) {
                                                   return CompareInternal(entry.first, target) < 0;
                                                 }) -
                            entries_.begin());
  }
  void Next() override { ++position_; }
  std::string_view key() const override { return entries_[position_].first; }
  std::string_view value() const override { return entries_[position_].second; }
  io::Status status() const override {
    return moved_ && position_ >= fail_at_ ? io::Status::IoError("injected", "list", 5)
                                           : io::Status::Ok();
  }

 private:
  const Entries entries_;
  const size_t fail_at_;
  size_t position_;
  bool moved_ = false;
};

}  // namespace terracefs::lsm
