#include "lsm/merging_iterator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "io/base/random.h"
#include "lsm/key.h"

namespace terracefs::lsm {
namespace {

using Entries = std::vector<std::pair<std::string, std::string>>;

bool EntryBefore(const Entries::value_type& a, const Entries::value_type& b) {
  return CompareInternal(a.first, b.first) < 0;
}

// Over a vector; fails when it would reach entry `fail_at`.
class VectorIterator final : public Iterator {
 public:
  explicit VectorIterator(Entries entries, size_t fail_at = ~size_t{0})
      : entries_(std::move(entries)), fail_at_(fail_at), at_(entries_.size()) {}
  bool Valid() const override { return status_.ok() && at_ < entries_.size(); }
  void SeekToFirst() override { MoveTo(0); }
  void Seek(std::string_view target) override {
    const auto found = std::lower_bound(entries_.begin(), entries_.end(), std::string(target),
                                        [](const auto& entry, const std::string& key) {
                                          return CompareInternal(entry.first, key) < 0;
                                        });
    MoveTo(static_cast<size_t>(found - entries_.begin()));
  }
  void Next() override {
    ASSERT_TRUE(Valid());
    MoveTo(at_ + 1);
  }
  std::string_view key() const override { return entries_[at_].first; }
  std::string_view value() const override { return entries_[at_].second; }
  io::Status status() const override { return status_; }

 private:
  void MoveTo(size_t at) {
    at_ = at;
    status_ = at >= fail_at_ ? io::Status::IoError("injected", "child", 5) : io::Status::Ok();
  }

  const Entries entries_;
  const size_t fail_at_;
  size_t at_;
  io::Status status_;
};

std::string Key(std::string_view user_key, SequenceNumber sequence = 1) {
  return MakeInternalKey(user_key, sequence, EntryKind::kValue);
}

std::unique_ptr<Iterator> Merge(const std::vector<Entries>& children) {
  std::vector<std::unique_ptr<Iterator>> iterators;
  for (const Entries& child : children) {
    iterators.push_back(std::make_unique<VectorIterator>(child));
  }
  return NewMergingIterator(std::move(iterators));
}

Entries Rest(Iterator& iterator) {
  Entries rest;
  for (; iterator.Valid(); iterator.Next()) {
    rest.emplace_back(iterator.key(), iterator.value());
  }
  return rest;
}

TEST(MergingIteratorTest, NoChildrenNoEntries) {
  const auto merged = Merge({});
  merged->SeekToFirst();
  EXPECT_FALSE(merged->Valid());
  merged->Seek(Key("a"));
  EXPECT_FALSE(merged->Valid());
  EXPECT_TRUE(merged->status().ok());
}

TEST(MergingIteratorTest, OfEqualKeysTheEarlierChildComesFirst) {
  const auto merged = Merge(
      {{{Key("b"), "0"}}, {{Key("a"), "1"}, {Key("b"), "1"}}, {{Key("b"), "2"}, {Key("c"), "2"}}});
  merged->SeekToFirst();
  std::string order;
  for (const auto& [key, value] : Rest(*merged)) order += std::string(UserKey(key)) + value + " ";
  EXPECT_EQ(order, "a1 b0 b1 b2 c2 ");
}

TEST(MergingIteratorTest, NewerVersionsComeFirst) {
  const auto merged =
      Merge({{{Key("a", 3), "3"}, {Key("a", 1), "1"}}, {{Key("a", 4), "4"}, {Key("a", 2), "2"}}});
  merged->SeekToFirst();
  std::string order;
  for (const auto& [key, value] : Rest(*merged)) order += value;
  EXPECT_EQ(order, "4321");
  merged->Seek(MakeSeekKey("a", 2));
  ASSERT_TRUE(merged->Valid());
  EXPECT_EQ(merged->value(), "2");
}

TEST(MergingIteratorTest, AgreesWithASortedList) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("SEED=" + std::to_string(seed));
    io::Random random(seed);
    std::vector<Entries> children(random.Uniform(9));
    Entries all;  // children in order, so that a stable sort ranks equal keys
    for (size_t child = 0; child < children.size(); ++child) {
      const uint64_t count = random.Uniform(40);
      for (uint64_t i = 0; i < count; ++i) {
        const std::string user_key = "key" + std::to_string(random.Uniform(50));
        children[child].emplace_back(Key(user_key, random.Uniform(5)), std::to_string(child));
      }
      auto& entries = children[child];
      std::sort(entries.begin(), entries.end(), EntryBefore);
      entries.erase(std::unique(entries.begin(), entries.end(),
                                [](const auto& a, const auto& b) { return a.first == b.first; }),
                    entries.end());
      all.insert(all.end(), entries.begin(), entries.end());
    }
    std::stable_sort(all.begin(), all.end(), EntryBefore);
    const auto merged = Merge(children);
    merged->SeekToFirst();
    ASSERT_EQ(Rest(*merged), all);
    ASSERT_TRUE(merged->status().ok());
    for (int i = 0; i < 20; ++i) {
      const std::string target = MakeSeekKey("key" + std::to_string(random.Uniform(60)), 3);
      merged->Seek(target);
      const auto begin =
          std::lower_bound(all.begin(), all.end(), Entries::value_type{target, ""}, EntryBefore);
      ASSERT_EQ(Rest(*merged), Entries(begin, all.end()));
    }
  }
}

// An error anywhere ends the merge at once: the missing entries might be the ones that hide others.
TEST(MergingIteratorTest, ErrorOfAnyChildIsNeverTheEndOfData) {
  Entries left;
  Entries right;
  for (int i = 100; i < 120; ++i) {
    (i % 2 == 0 ? left : right).emplace_back(Key("k" + std::to_string(i)), "value");
  }
  for (const bool fail_left : {false, true}) {
    for (size_t fail_at = 0; fail_at <= 10; ++fail_at) {
      std::vector<std::unique_ptr<Iterator>> children;
      children.push_back(std::make_unique<VectorIterator>(left, fail_left ? fail_at : 1000));
      children.push_back(std::make_unique<VectorIterator>(right, fail_left ? 1000 : fail_at));
      children.push_back(std::make_unique<VectorIterator>(Entries{}));
      const auto merged = NewMergingIterator(std::move(children));
      merged->SeekToFirst();
      const size_t shown = Rest(*merged).size();
      EXPECT_FALSE(merged->Valid());
      EXPECT_TRUE(merged->status().Is(io::StatusCode::kIoError));
      // All in front of the entry that could not be read, and nothing behind it.
      EXPECT_EQ(shown, fail_at == 0 ? 0 : 2 * fail_at - (fail_left ? 1 : 0));
      merged->SeekToFirst();
      EXPECT_EQ(merged->Valid(), fail_at != 0);
    }
  }
}

TEST(MergingIteratorTest, SeekStartsAfreshAfterAnError) {
  Entries entries = {{Key("a"), "1"}, {Key("b"), "2"}};
  std::vector<std::unique_ptr<Iterator>> children;
  children.push_back(std::make_unique<VectorIterator>(entries, 1));
  children.push_back(std::make_unique<VectorIterator>(Entries{{Key("c"), "3"}}));
  const auto merged = NewMergingIterator(std::move(children));
  merged->Seek(Key("b"));
  EXPECT_TRUE(merged->status().Is(io::StatusCode::kIoError));
  merged->SeekToFirst();
  EXPECT_TRUE(merged->status().ok());
  ASSERT_TRUE(merged->Valid());
  EXPECT_EQ(merged->value(), "1");
}

}  // namespace
}  // namespace terracefs::lsm
