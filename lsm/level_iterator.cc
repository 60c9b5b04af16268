#include "lsm/level_iterator.h"

#include <algorithm>

namespace terracefs::lsm {
namespace {

class ErrorIterator final : public Iterator {
 public:
  explicit ErrorIterator(io::Status status) : status_(std::move(status)) {}
  bool Valid() const override { return false; }
  void SeekToFirst() override {}
  void Seek(std::string_view) override {}
  void Next() override { UNREACHABLE(); }
  std::string_view key() const override { UNREACHABLE(); }
  std::string_view value() const override { UNREACHABLE(); }
  io::Status status() const override { return status_; }

 private:
  const io::Status status_;
};

class LevelIterator final : public Iterator {
 public:
  LevelIterator(std::vector<FileRef> files, TableIteratorFactory open, std::string_view upper_bound)
      : files_(std::move(files)), open_(std::move(open)), upper_bound_(upper_bound) {}

  bool Valid() const override { return table_ && table_->Valid(); }

  void SeekToFirst() override {
    OpenTable(0);
    if (table_) table_->SeekToFirst();
    SkipEmptyTables();
  }

  void Seek(std::string_view target) override {
    const auto it = std::partition_point(files_.begin(), files_.end(), [&](const FileRef& file) {
      return CompareInternal(file->info.largest, target) < 0;
    });
    const auto index = static_cast<size_t>(it - files_.begin());
    if (!table_ || index != index_ || !table_->status().ok()) OpenTable(index);
    if (table_) table_->Seek(target);
    SkipEmptyTables();
  }

  void Next() override {
    table_->Next();
    SkipEmptyTables();
  }

  std::string_view key() const override { return table_->key(); }
  std::string_view value() const override { return table_->value(); }
  io::Status status() const override { return table_ ? table_->status() : io::Status::Ok(); }

 private:
  void OpenTable(size_t index) {
    index_ = index;
    table_.reset();
    if (index >= files_.size()) return;
    if (!upper_bound_.empty() && files_[index]->smallest_user_key() >= upper_bound_) return;
    table_ = open_(files_[index]);
  }

  // Goes on to the next table at the end of one, but never past an error (Q3).
  void SkipEmptyTables() {
    while (table_ && !table_->Valid() && table_->status().ok()) {
      OpenTable(index_ + 1);
      if (table_) table_->SeekToFirst();
    }
  }

  const std::vector<FileRef> files_;
  const TableIteratorFactory open_;
  const std::string_view upper_bound_;
  size_t index_ = 0;
  std::unique_ptr<Iterator> table_;
};

}  // namespace

std::unique_ptr<Iterator> NewLevelIterator(std::vector<FileRef> files, TableIteratorFactory open,
                                           std::string_view upper_bound) {
  return std::make_unique<LevelIterator>(std::move(files), std::move(open), upper_bound);
}

std::unique_ptr<Iterator> NewErrorIterator(io::Status status) {
  return std::make_unique<ErrorIterator>(std::move(status));
}

}  // namespace terracefs::lsm
