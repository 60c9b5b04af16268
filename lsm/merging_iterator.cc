#include "lsm/merging_iterator.h"

#include <cstdint>
#include <utility>

#include "io/base/check.h"
#include "lsm/key.h"

namespace terracefs::lsm {
namespace {

// A binary heap of the children that are on an entry. Invariant: between calls either status_ is an
// error, or heap_ holds exactly the valid children, each with its current key, and the others are
// at their end without an error.
class MergingIterator final : public Iterator {
 public:
  explicit MergingIterator(std::vector<std::unique_ptr<Iterator>> children)
      : children_(std::move(children)) {
    heap_.reserve(children_.size());
  }

  bool Valid() const override { return !heap_.empty(); }
  std::string_view key() const override { return heap_.front().key; }
  std::string_view value() const override { return heap_.front().child->value(); }
  io::Status status() const override { return status_; }

  void SeekToFirst() override {
    Rebuild([](Iterator& child) { child.SeekToFirst(); });
  }
  void Seek(std::string_view target) override {
    Rebuild([target](Iterator& child) { child.Seek(target); });
  }

  void Next() override {
    DCHECK(Valid());
    Entry& top = heap_.front();
    top.child->Next();
    if (top.child->Valid()) {
      top.key = top.child->key();
    } else {
      io::Status status = top.child->status();
      if (!status.ok()) return Fail(std::move(status));
      top = heap_.back();
      heap_.pop_back();
    }
    SiftDown(0);
  }

 private:
  struct Entry {
    std::string_view key;
    Iterator* child = nullptr;
    size_t rank = 0;  // position among the children
  };

  static bool Before(const Entry& a, const Entry& b) {
    const int order = CompareInternal(a.key, b.key);
    return order < 0 || (order == 0 && a.rank < b.rank);
  }

  template <typename Position>
  void Rebuild(Position position) {
    heap_.clear();
    status_ = io::Status::Ok();
    for (size_t rank = 0; rank < children_.size(); ++rank) {
      Iterator& child = *children_[rank];
      position(child);
      if (child.Valid()) {
        heap_.push_back({child.key(), &child, rank});
        continue;
      }
      io::Status status = child.status();
      if (!status.ok()) return Fail(std::move(status));
    }
    for (size_t i = heap_.size() / 2; i-- > 0;) SiftDown(i);
  }

  void SiftDown(size_t index) {
    if (index >= heap_.size()) return;
    const Entry moving = heap_[index];
    for (;;) {
      size_t child = 2 * index + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && Before(heap_[child + 1], heap_[child])) ++child;
      if (!Before(heap_[child], moving)) break;
      heap_[index] = heap_[child];
      index = child;
    }
    heap_[index] = moving;
  }

  void Fail(io::Status status) {
    heap_.clear();
    status_ = std::move(status);
  }

  const std::vector<std::unique_ptr<Iterator>> children_;
  std::vector<Entry> heap_;
  io::Status status_;
};

}  // namespace

std::unique_ptr<Iterator> NewMergingIterator(std::vector<std::unique_ptr<Iterator>> children) {
  if (children.size() == 1) return std::move(children.front());
  return std::make_unique<MergingIterator>(std::move(children));
}

}  // namespace terracefs::lsm
