#include "lsm/compaction/garbage.h"

#include <gtest/gtest.h>

#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

// A table of ten entries and 1000 bytes.
TableSpec Spec() {
  TableSpec spec;
  spec.number = 1;
  spec.smallest = "a";
  spec.largest = "z";
  return spec;
}

TEST(GarbageTest, IsTombstonesHiddenVersionsOrADropThatReachesIn) {
  EXPECT_FALSE(HasGarbage(*MakeTable(Spec())));
  TableSpec spec = Spec();
  spec.tombstone_count = 1;
  EXPECT_TRUE(HasGarbage(*MakeTable(spec)));
  spec = Spec();
  spec.hidden_count = 1;
  EXPECT_TRUE(HasGarbage(*MakeTable(spec)));
  spec = Spec();
  spec.drop_pending_since_seconds = 1;
  EXPECT_TRUE(HasGarbage(*MakeTable(spec)));
  spec = Spec();
  spec.dead_bytes = 100;
  EXPECT_FALSE(HasGarbage(*MakeTable(spec))) << "an old estimate, the drop was found to be done";
}

TEST(GarbageTest, BytesAreTheDeadOnesAndTheShareOfUselessEntries) {
  TableSpec spec = Spec();
  EXPECT_EQ(GarbageBytes(*MakeTable(spec)), 0U);
  spec.tombstone_count = 2;
  spec.hidden_count = 1;
  EXPECT_EQ(GarbageBytes(*MakeTable(spec)), 300U);
  spec.dead_bytes = 250;
  EXPECT_EQ(GarbageBytes(*MakeTable(spec)), 550U);
  spec.dead_bytes = 900;
  EXPECT_EQ(GarbageBytes(*MakeTable(spec)), 1000U) << "not more than there is";
}

TEST(GarbageTest, TombstonesAreDenseByEntriesOrByBlocks) {
  TableSpec spec = Spec();
  EXPECT_FALSE(IsTombstoneDense(*MakeTable(spec), 0.0)) << "there is none";
  spec.tombstone_count = 2;
  EXPECT_FALSE(IsTombstoneDense(*MakeTable(spec), 0.3));
  spec.tombstone_count = 3;
  EXPECT_TRUE(IsTombstoneDense(*MakeTable(spec), 0.3));
  // Few, but all in the same blocks, through which every scan has to go.
  spec.tombstone_count = 2;
  spec.tombstone_block_bytes = 299;
  EXPECT_FALSE(IsTombstoneDense(*MakeTable(spec), 0.3));
  spec.tombstone_block_bytes = 300;
  EXPECT_TRUE(IsTombstoneDense(*MakeTable(spec), 0.3));
}

TEST(GarbageTest, HiddenVersionsAreDenseByEntries) {
  TableSpec spec = Spec();
  EXPECT_FALSE(IsHiddenDense(*MakeTable(spec), 0.0));
  spec.hidden_count = 2;
  EXPECT_FALSE(IsHiddenDense(*MakeTable(spec), 0.3));
  spec.hidden_count = 3;
  EXPECT_TRUE(IsHiddenDense(*MakeTable(spec), 0.3));
}

LevelTargets BaseAt(int level) {
  LevelTargets targets;
  targets.base_level = level;
  return targets;
}

TEST(TombstoneAgeTest, HalfOfTheDeadlineIsSharedOutOverTheLevels) {
  // Levels 0, 1, 2, 3 wait 1, 2, 4, 8 fifteenths of half the deadline; level 4 is the last.
  const LevelTargets targets = BaseAt(1);
  EXPECT_EQ(TombstoneAgeMax(targets, 4, 0, 3000), 100);
  EXPECT_EQ(TombstoneAgeMax(targets, 4, 1, 3000), 300);
  EXPECT_EQ(TombstoneAgeMax(targets, 4, 2, 3000), 700);
  EXPECT_EQ(TombstoneAgeMax(targets, 4, 3, 3000), 1500);
  EXPECT_EQ(TombstoneAgeMax(targets, 4, 4, 3000), 1500);
}

TEST(TombstoneAgeTest, LevelsThatAreNotThereTakeNoShare) {
  EXPECT_EQ(TombstoneAgeMax(BaseAt(5), 6, 0, 600), 100);
  EXPECT_EQ(TombstoneAgeMax(BaseAt(5), 6, 5, 600), 300);
  EXPECT_EQ(TombstoneAgeMax(BaseAt(6), 6, 0, 600), 300) << "straight to the last level";
  EXPECT_EQ(TombstoneAgeMax(BaseAt(1), 0, 0, 600), 300) << "nothing below level 0";
}

TEST(TombstoneAgeTest, NeverShrinksOnTheWayDownAndEndsAtHalfOfTheDeadline) {
  for (int base = 1; base < kLevelCount; ++base) {
    for (int deepest = 0; deepest < kLevelCount; ++deepest) {
      for (const int64_t deadline : {0, 1, 10, 600, 100'000'000}) {
        int64_t last = 0;
        for (int level = 0; level < kLevelCount; ++level) {
          const int64_t age = TombstoneAgeMax(BaseAt(base), deepest, level, deadline);
          EXPECT_GE(age, last);
          EXPECT_LE(age, deadline / 2);
          last = age;
        }
        EXPECT_EQ(last, deadline / 2) << base << " " << deepest;
      }
    }
  }
}

class DeadBytesTest : public ::testing::Test {
 protected:
  // Keys 0, 2 ... 1998 of 100 bytes each, in blocks of 256.
  DeadBytesTest() {
    std::vector<TestEntry> entries;
    for (uint64_t i = 0; i < 1000; ++i) {
      entries.push_back({KeyOf(2 * i), 1, std::string(100, 'v')});
    }
    file_ = bench_.WriteTable(entries);
  }
  void Estimate(const DropRangeSet& drops, SequenceNumber sequence = 50, int64_t now = 900) {
    const auto table = bench_.tables().Get(file_->number);
    ASSERT_TRUE(table.ok());
    EstimateDeadBytes(drops, sequence, **table, now, file_.get());
    EXPECT_EQ(file_->dead_known_sequence.load(), sequence);
  }
  int64_t pending_since() const { return file_->drop_pending_since_seconds.load(); }

  JobBench bench_;
  FileRef file_;
};

TEST_F(DeadBytesTest, CountsWhatLiesInTheRanges) {
  DropRangeSet drops;
  drops.Add(KeyOf(100), KeyOf(300));
  drops.Add(KeyOf(1000), KeyOf(1200));
  file_->drop_pending_since_seconds = 500;
  Estimate(drops);
  EXPECT_NEAR(static_cast<double>(file_->dead_bytes.load()), 200 * 125, 2500);
  EXPECT_EQ(pending_since(), 500) << "the earlier time holds";
  EXPECT_EQ(file_->clean_sequence.load(), 0U);
}

TEST_F(DeadBytesTest, ATouchedTableIsPendingSinceNowAtTheLatest) {
  DropRangeSet drops;
  drops.Add(KeyOf(100), KeyOf(300));
  Estimate(drops);
  EXPECT_EQ(pending_since(), 900);
  EXPECT_EQ(file_->applied_drop_sequence(), 0U);
}

TEST_F(DeadBytesTest, RangesBetweenTwoKeysAreAppliedByLooking) {
  DropRangeSet drops;
  drops.Add(KeyOf(101), KeyOf(102));
  drops.Add(KeyOf(1001), KeyOf(1002));
  file_->drop_pending_since_seconds = 500;
  Estimate(drops);
  EXPECT_EQ(file_->dead_bytes.load(), 0U);
  EXPECT_EQ(pending_since(), 0);
  EXPECT_EQ(file_->applied_drop_sequence(), 50U) << "the drop may retire";
}

TEST_F(DeadBytesTest, OneKeyInTheMiddleOfABlockIsSeen) {
  for (uint64_t key : {100U, 102U, 104U}) {
    DropRangeSet one;
    one.Add(KeyOf(key), KeyOf(key) + "x");
    file_->drop_pending_since_seconds = 0;
    Estimate(one);
    EXPECT_EQ(pending_since(), 900) << key;
    EXPECT_EQ(file_->clean_sequence.load(), 0U);
  }
}

TEST_F(DeadBytesTest, TheWholeTableIsAtMostTheWholeTable) {
  DropRangeSet drops;
  drops.Add("", "z");
  Estimate(drops);
  EXPECT_LE(file_->dead_bytes.load(), file_->info.file_bytes);
  EXPECT_GT(file_->dead_bytes.load(), file_->info.file_bytes / 2);
}

TEST_F(DeadBytesTest, WhatCannotBeReadCountsAsTouched) {
  DropRangeSet drops;
  drops.Add(KeyOf(101), KeyOf(102));
  testing::FaultRule rule;
  rule.operation = testing::FaultOperation::kRead;
  rule.fault_count = testing::kFaultForever;
  bench_.storage().faults().Add(rule);
  Estimate(drops);
  EXPECT_EQ(pending_since(), 900);
  EXPECT_EQ(file_->clean_sequence.load(), 0U);
}

// More ranges than it looks into: never taken for clean by not having looked.
TEST_F(DeadBytesTest, ManyRangesBetweenKeysCountAsTouched) {
  DropRangeSet drops;
  for (uint64_t i = 0; i < 100; ++i) drops.Add(KeyOf(2 * i + 1), KeyOf(2 * i + 2));
  Estimate(drops);
  EXPECT_EQ(pending_since(), 900);
  EXPECT_EQ(file_->clean_sequence.load(), 0U);
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
