#include "lsm/db_iterator.h"

#include <gtest/gtest.h>

#include "tests/lsm/test_iterators.h"

namespace terracefs::lsm {
namespace {

struct Version {
  std::string user_key;
  SequenceNumber sequence;
  std::string value;  // "-": deleted
};

std::unique_ptr<Iterator> NewIterator(const std::vector<Version>& versions, SequenceNumber snapshot,
                                      std::string_view upper_bound = {},
                                      size_t fail_at = ListIterator::kNever) {
  ListIterator::Entries entries;
  for (const auto& [user_key, sequence, value] : versions) {
    entries.emplace_back(
        MakeInternalKey(user_key, sequence, value == "-" ? EntryKind::kDelete : EntryKind::kValue),
        value);
  }
  return NewVisibleIterator(std::make_unique<ListIterator>(std::move(entries), fail_at), snapshot,
                            upper_bound, nullptr, nullptr);
}

std::string Rest(Iterator& it) {
  std::string text;
  for (; it.Valid(); it.Next()) text += std::string(it.key()) + "=" + std::string(it.value()) + " ";
  return text + (it.status().ok() ? "." : "!");
}

const std::vector<Version> kVersions = {{"a", 9, "a9"}, {"a", 5, "a5"}, {"b", 7, "-"},
                                        {"b", 3, "b3"}, {"c", 8, "c8"}, {"c", 6, "-"},
                                        {"c", 2, "c2"}, {"d", 4, "d4"}};

TEST(DbIteratorTest, ShowsEachKeyAsOfTheSnapshot) {
  const std::pair<SequenceNumber, const char*> cases[] = {
      {9, "a=a9 c=c8 d=d4 ."},
      {8, "a=a5 c=c8 d=d4 ."},
      {7, "a=a5 d=d4 ."},
      {6, "a=a5 b=b3 d=d4 ."},
      {5, "a=a5 b=b3 c=c2 d=d4 ."},
      {4, "b=b3 c=c2 d=d4 ."},
      {2, "c=c2 ."},
      {1, "."},
      {kSequenceMax, "a=a9 c=c8 d=d4 ."},
  };
  for (const auto& [snapshot, expected] : cases) {
    const auto it = NewIterator(kVersions, snapshot);
    EXPECT_FALSE(it->Valid());
    it->SeekToFirst();
    EXPECT_EQ(Rest(*it), expected) << snapshot;
  }
}

TEST(DbIteratorTest, SeekLandsOnTheFirstVisibleKeyAtOrAfterTheTarget) {
  const auto it = NewIterator(kVersions, 9);
  it->Seek("a");
  EXPECT_EQ(Rest(*it), "a=a9 c=c8 d=d4 .");
  it->Seek("b");
  EXPECT_EQ(Rest(*it), "c=c8 d=d4 .");
  it->Seek("c");  // back and forth: nothing is left of the last position
  EXPECT_EQ(Rest(*it), "c=c8 d=d4 .");
  it->Seek("aa");
  EXPECT_EQ(Rest(*it), "c=c8 d=d4 .");
  it->Seek("e");
  EXPECT_EQ(Rest(*it), ".");
  it->Seek("");
  EXPECT_EQ(Rest(*it), "a=a9 c=c8 d=d4 .");
}

TEST(DbIteratorTest, EndsBeforeTheBound) {
  const auto it = NewIterator(kVersions, 9, "c");
  it->SeekToFirst();
  EXPECT_EQ(Rest(*it), "a=a9 .");
  it->Seek("d");
  EXPECT_EQ(Rest(*it), ".");
}

TEST(DbIteratorTest, AnErrorIsNotTheEnd) {
  const auto it = NewIterator(kVersions, 9, {}, 4);
  it->SeekToFirst();
  EXPECT_EQ(Rest(*it), "a=a9 !");
  it->Seek("a");
  EXPECT_TRUE(it->Valid());
  EXPECT_TRUE(it->status().ok()) << "the error belongs to where it was met";
  it->Seek("d");
  EXPECT_EQ(Rest(*it), "!");
}

TEST(DbIteratorTest, EntriesOfUnknownKindsAreErrors) {
  for (const EntryKind kind : {EntryKind::kCounter, static_cast<EntryKind>(77)}) {
    ListIterator::Entries entries = {{MakeInternalKey("a", 5, kind), ""}};
    const auto it = NewVisibleIterator(std::make_unique<ListIterator>(std::move(entries)), 9, {},
                                       nullptr, nullptr);
    it->SeekToFirst();
    EXPECT_FALSE(it->Valid());
    EXPECT_FALSE(it->status().ok());
  }
}

TEST(DbIteratorTest, KeepsItsViewAlive) {
  auto view = std::make_shared<const View>();
  const std::weak_ptr<const View> watch = view;
  auto it = NewVisibleIterator(std::make_unique<ListIterator>(ListIterator::Entries()), 9, {},
                               std::move(view), nullptr);
  EXPECT_FALSE(watch.expired());
  it.reset();
  EXPECT_TRUE(watch.expired());
}

class CountingSampler : public ReadSampler {
 public:
  void Sample(const View&, std::string_view) override { ++samples; }
  void CrossedGarbage(const View&, std::string_view user_key, uint64_t entry_count) override {
    crossed.emplace_back(user_key, entry_count);
  }
  uint64_t samples = 0;
  std::vector<std::pair<std::string, uint64_t>> crossed;
};

// A4: the mean distance of the samples is a mebibyte.
TEST(DbIteratorTest, SamplesOnceInAMebibyte) {
  ListIterator::Entries entries;
  constexpr int kEntryCount = 3000;
  for (int i = 0; i < kEntryCount; ++i) {
    entries.emplace_back(MakeInternalKey(std::to_string(10000 + i), 1, EntryKind::kValue),
                         std::string(64 << 10, 'v'));
  }
  CountingSampler sampler;
  const auto it = NewVisibleIterator(std::make_unique<ListIterator>(std::move(entries)), 9, {},
                                     std::make_shared<const View>(), &sampler);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
  }
  EXPECT_GT(sampler.samples, kEntryCount / 16 / 2);
  EXPECT_LT(sampler.samples, kEntryCount / 16 * 2);
  EXPECT_TRUE(sampler.crossed.empty());
}

TEST(DbIteratorTest, TellsOfTheGarbageThatItHadToPass) {
  ListIterator::Entries entries;
  for (int i = 0; i < 1000; ++i) {
    entries.emplace_back(MakeInternalKey(std::to_string(1000 + i), 1, EntryKind::kDelete), "");
  }
  entries.emplace_back(MakeInternalKey("9", 1, EntryKind::kValue), "v");
  CountingSampler sampler;
  const auto it = NewVisibleIterator(std::make_unique<ListIterator>(std::move(entries)), 9, {},
                                     std::make_shared<const View>(), &sampler);
  it->SeekToFirst();
  ASSERT_TRUE(it->Valid());
  EXPECT_EQ(it->key(), "9");
  EXPECT_EQ(sampler.crossed, (std::vector<std::pair<std::string, uint64_t>>{{"1999", 1000}}));
}

}  // namespace
}  // namespace terracefs::lsm
