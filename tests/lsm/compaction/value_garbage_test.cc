#include "lsm/compaction/value_garbage.h"

#include <gtest/gtest.h>

#include "io/base/units.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

class ValueGarbageTest : public ::testing::Test {
 protected:
  // Each uses some bytes of some files.
  static PlacedTable Table(int level, FileNumber number, const std::string& key,
                           const std::vector<ValueUse>& uses) {
    TableSpec spec{number, key, key};
    spec.value_uses = uses;
    return {level, spec};
  }
  void Set(const std::map<FileNumber, uint64_t>& file_bytes,
           const std::vector<PlacedTable>& tables) {
    for (const auto& [number, bytes] : file_bytes)
      held_.push_back(store_.files().Add(number, bytes));
    version_ = MakeVersion(tables);
    store_.Attach(*version_);
  }
  ValueGarbage Measure(double ratio = 0.3, uint64_t smallest_full_bytes = 0) {
    scope_.newer_bytes = NewerValueBytes(*version_, scope_.unflushed);
    return MeasureValueGarbage(*version_, scope_, ratio, smallest_full_bytes);
  }

  ValueStore store_;
  std::vector<ValueFileRef> held_;
  std::shared_ptr<const Version> version_ = Version::Empty();
  ValueScope scope_;
};

TEST_F(ValueGarbageTest, UsesOfAllTablesAddUp) {
  EXPECT_TRUE(MeasureValueFiles(*version_).empty());
  Set({{5, 1000}, {6, 500}},
      {Table(0, 1, "a", {{5, 100, 0}}), Table(0, 2, "a", {{5, 50, 0}, {6, 500, 0}}),
       Table(3, 3, "a", {{5, 300, 0}}), Table(4, 4, "a", {})});
  const std::vector<ValueFileGarbage> files = MeasureValueFiles(*version_);
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].file, 5U);
  EXPECT_EQ(files[0].file_bytes, 1000U);
  EXPECT_EQ(files[0].used_bytes, 450U);
  EXPECT_EQ(files[0].GarbageBytes(), 550U);
  EXPECT_EQ(files[1].file, 6U);
  EXPECT_EQ(files[1].GarbageBytes(), 0U);
  EXPECT_EQ(ValueBytes(*version_->files(3)[0]), 300U);
}

TEST_F(ValueGarbageTest, AFileThatIsUsedMoreThanItIsLongHasNoGarbage) {
  Set({{5, 100}}, {Table(1, 1, "a", {{5, 150, 0}})});
  EXPECT_EQ(MeasureValueFiles(*version_)[0].GarbageBytes(), 0U);
  scope_.unflushed[5] = 100;
  EXPECT_EQ(Measure().known_bytes, 0U);
}

TEST_F(ValueGarbageTest, WhatMemtablesReferToIsNoGarbage) {
  Set({{5, 1000}, {6, 1000}}, {Table(1, 1, "a", {{5, 300, 0}}), Table(1, 2, "b", {{6, 1000, 0}})});
  EXPECT_EQ(Measure().known_bytes, 700U);
  EXPECT_EQ(Measure().live_bytes, 1300U);
  scope_.unflushed = {{5, 500}, {9, 5000}};  // no table knows 9 yet
  EXPECT_EQ(Measure().known_bytes, 200U);
  EXPECT_EQ(Measure().live_bytes, 6800U);
}

TEST_F(ValueGarbageTest, FilesBeingWrittenAndFilesToAvoidHaveNoGarbage) {
  Set({{5, 1000}, {6, 1000}, {7, 1000}},
      {Table(1, 1, "a", {{5, 300, 0}, {6, 300, 0}, {7, 300, 0}})});
  scope_.writing = {5};
  scope_.avoided = {6};
  EXPECT_EQ(Measure().known_bytes, 700U);
  EXPECT_EQ(Measure().live_bytes, 300U + 1000U + 300U) << "nothing can be done about 6";
}

TEST_F(ValueGarbageTest, WhatLiesAboveTheDeepestLevelHidesWhatIsBelow) {
  Set({{5, 1000}, {6, 1000}, {7, 10'000}},
      {Table(0, 1, "a", {{5, 1000, 0}}), Table(2, 2, "a", {{6, 1000, 0}}),
       Table(4, 3, "a", {{7, 10'000, 0}})});
  EXPECT_EQ(Measure().unknown_bytes, 0U);
  scope_.hidden_share = 0.5;
  EXPECT_EQ(Measure().unknown_bytes, 1000U);
  EXPECT_EQ(Measure().live_bytes, 11'000U);
  EXPECT_EQ(Measure().known_bytes, 0U);
  scope_.unflushed = {{7, 3000}};
  EXPECT_EQ(Measure().unknown_bytes, 2500U) << "what memtables refer to hides, too";
}

TEST_F(ValueGarbageTest, Level0IsNeverTheBottom) {
  Set({{5, 1000}}, {Table(0, 1, "a", {{5, 1000, 0}})});
  scope_.hidden_share = 0.25;
  EXPECT_EQ(Measure().unknown_bytes, 250U);
}

// Live 9000, garbage 1000: 0.3 * 0.62 of all are 1860.
TEST_F(ValueGarbageTest, TheLimitIsAShareOfAllBytes) {
  Set({{5, 10'000}}, {Table(1, 1, "a", {{5, 9000, 0}})});
  EXPECT_EQ(Measure(0.3).limit_bytes, 1860U);
  EXPECT_FALSE(Measure(0.3).presses);
  EXPECT_EQ(Measure(0.1).limit_bytes, 620U);
  EXPECT_TRUE(Measure(0.1).presses);
  EXPECT_EQ(Measure(0.1).slows, 1);
  EXPECT_EQ(Measure(0.1, 500).limit_bytes, 4000U) << "small stores have a floor";
  EXPECT_FALSE(Measure(0.1, 500).presses);
}

TEST_F(ValueGarbageTest, VacuumBeginsFirstAndThenWritersAreDelayedMoreAndMore) {
  const auto at = [&](uint64_t garbage) {
    version_ = Version::Empty();
    held_.clear();
    store_.files().TakeObsolete();
    store_.files().Forget(5);
    Set({{5, 100'000}}, {Table(1, 1, "a", {{5, 100'000 - garbage, 0}})});
    return Measure(0.1, 125);  // the limit is 6200
  };
  EXPECT_EQ(at(4650).limit_bytes, 6200U);
  EXPECT_FALSE(at(4650).presses);
  EXPECT_TRUE(at(4651).presses);
  EXPECT_EQ(at(4960).slows, 0);
  EXPECT_NEAR(at(5580).slows, 0.5, 0.01);
  EXPECT_NEAR(at(6200).slows, 1, 0.001);
  EXPECT_EQ(at(50'000).slows, 1);
}

// The limit is 0.1 * 0.62 of 30'000, and vacuum begins at 1395.
TEST_F(ValueGarbageTest, WhatHasToBeMovedIsWhatIsLeftInTheWorstFiles) {
  Set({{5, 10'000}, {6, 10'000}, {7, 10'000}},
      {Table(1, 1, "a", {{5, 9000, 0}, {6, 6000, 0}, {7, 5000, 0}})});
  EXPECT_TRUE(Measure(0.1).presses);
  EXPECT_EQ(Measure(0.1).pending_bytes, 11'000U) << "two set 9000 free, of 10'000 less 1395";
  EXPECT_EQ(Measure(0.3).pending_bytes, 11'000U) << "of 10'000 less 4185";
  scope_.avoided = {7};
  EXPECT_EQ(Measure(0.1).pending_bytes, 6000U) << "of 5000 less 1395";
  scope_.avoided.clear();
  scope_.writing = {6};
  EXPECT_EQ(Measure(0.1).pending_bytes, 5000U) << "4605 are wanted";
  EXPECT_EQ(Measure(1).pending_bytes, 0U) << "nothing presses";
}

TEST_F(ValueGarbageTest, WhatMergesHaveToFindIsNotMoved) {
  Set({{5, 10'000}, {6, 10'000}},
      {Table(1, 1, "a", {{5, 10'000, 0}}), Table(2, 2, "a", {{6, 10'000, 0}})});
  scope_.hidden_share = 0.5;
  EXPECT_TRUE(Measure(0.1).presses);
  EXPECT_EQ(Measure(0.1).pending_bytes, 0U);
}

TEST_F(ValueGarbageTest, AnEmptyStoreHasNothing) {
  const ValueGarbage garbage = Measure(0.3, 0);
  EXPECT_EQ(garbage.live_bytes + garbage.GarbageBytes() + garbage.limit_bytes, 0U);
  EXPECT_FALSE(garbage.presses);
  EXPECT_EQ(garbage.slows, 0);
}

TEST(ValueGarbageSizeTest, FullFilesFollowTheStore) {
  constexpr uint64_t kMax = 256 * io::kMiB;
  EXPECT_EQ(FullValueFileBytes(0, kMax), 32 * io::kMiB);
  EXPECT_EQ(FullValueFileBytes(io::kGiB, kMax), 32 * io::kMiB);
  EXPECT_EQ(FullValueFileBytes(4 * io::kGiB, kMax), 128 * io::kMiB);
  EXPECT_EQ(FullValueFileBytes(100 * io::kGiB, kMax), kMax);
  EXPECT_EQ(FullValueFileBytes(100 * io::kGiB, io::kMiB), io::kMiB);
  EXPECT_EQ(FullValueFileBytes(0, io::kMiB), io::kMiB) << "the largest one wins";
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
