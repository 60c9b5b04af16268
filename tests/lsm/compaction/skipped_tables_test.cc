#include "lsm/compaction/skipped_tables.h"

#include <gtest/gtest.h>

#include "io/base/random.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

class SkippedTablesTest : public ::testing::Test {
 protected:
  SkippedTablesTest() { bench_.options().skipped_table_bytes_min = 4096; }

  FileRef Table(const std::vector<uint64_t>& keys, SequenceNumber sequence) {
    std::vector<TestEntry> entries;
    for (const uint64_t key : keys) entries.push_back({KeyOf(key), sequence, "value"});
    return bench_.WriteTable(entries);
  }
  std::vector<FileNumber> Skipped(std::vector<FileRef> source, std::vector<FileRef> target) {
    CompactionPlan plan;
    plan.level = 1;
    plan.output_level = 2;
    plan.inputs = {std::move(source), std::move(target)};
    return Numbers(FindSkippedTables(bench_.environment(), plan));
  }

  JobBench bench_;
};

TEST_F(SkippedTablesTest, AreThoseWithoutAKeyOfTheSource) {
  const FileRef source = Table({10, 20, 40}, 9);
  const FileRef target[] = {Table({11, 19}, 1), Table({20}, 1), Table({21, 39}, 1),
                            Table({40, 41}, 1)};
  EXPECT_EQ(Skipped({source}, {target[0], target[1], target[2], target[3]}),
            (std::vector<FileNumber>{target[0]->number, target[2]->number}));
}

// A range is inclusive at both ends.
TEST_F(SkippedTablesTest, AKeyAtEitherEndCounts) {
  const FileRef target = Table({10, 20}, 1);
  EXPECT_TRUE(Skipped({Table({5, 10, 30}, 9)}, {target}).empty());
  EXPECT_TRUE(Skipped({Table({5, 20, 30}, 9)}, {target}).empty());
  EXPECT_TRUE(Skipped({Table({5, 15, 30}, 9)}, {target}).empty());
  EXPECT_EQ(Skipped({Table({5, 9, 21, 30}, 9)}, {target}).size(), 1U);
}

TEST_F(SkippedTablesTest, EverySourceTableIsAsked) {
  const FileRef target = Table({10, 20}, 1);
  EXPECT_EQ(Skipped({Table({5, 30}, 9), Table({1, 40}, 8)}, {target}).size(), 1U);
  EXPECT_TRUE(Skipped({Table({5, 30}, 9), Table({1, 12, 40}, 8)}, {target}).empty());
}

// Small ones are merged anyway, so that their number does not grow without bound.
TEST_F(SkippedTablesTest, SmallTablesAreRewritten) {
  const FileRef source = Table({5, 30}, 9);
  const FileRef target = Table({10, 20}, 1);
  EXPECT_EQ(Skipped({source}, {target}).size(), 1U);
  bench_.options().skipped_table_bytes_min = target->info.file_bytes + 1;
  EXPECT_TRUE(Skipped({source}, {target}).empty());
}

TEST_F(SkippedTablesTest, TablesWithGarbageAreRewritten) {
  const FileRef source = Table({5, 30}, 9);
  const FileRef target = Table({10, 20}, 1);
  target->drop_pending_since_seconds = 1;
  EXPECT_TRUE(Skipped({source}, {target}).empty());
}

TEST_F(SkippedTablesTest, WhatCannotBeReadCountsAsHavingAKey) {
  const FileRef source = Table({5, 30}, 9);
  const FileRef target = Table({10, 20}, 1);
  testing::FaultRule rule;
  rule.operation = testing::FaultOperation::kRead;
  rule.fault_count = testing::kFaultForever;
  bench_.storage().faults().Add(rule);
  EXPECT_TRUE(Skipped({source}, {target}).empty()) << "a block";
  bench_.tables().Evict(source->number);
  EXPECT_TRUE(Skipped({source}, {target}).empty()) << "the index";
  bench_.storage().faults().Clear();
  EXPECT_EQ(Skipped({source}, {target}).size(), 1U);
}

TEST_F(SkippedTablesTest, AgreeWithLookingAtEveryKey) {
  ForEachSeed(1, 150, [this](uint64_t seed) {
    io::Random random(seed);
    const auto some_keys = [&random](uint64_t begin, uint64_t count_max) {
      std::vector<uint64_t> keys;
      uint64_t key = begin;
      for (uint64_t n = 1 + random.Uniform(count_max); n > 0; --n) {
        keys.push_back(key);
        key += 1 + random.Uniform(random.OneIn(6) ? 80 : 5);
      }
      return keys;
    };
    std::vector<FileRef> source;
    std::set<uint64_t> source_keys;
    for (uint64_t n = 1 + random.Uniform(3); n > 0; --n) {
      const std::vector<uint64_t> keys = some_keys(random.Uniform(200), 100);
      source_keys.insert(keys.begin(), keys.end());
      source.push_back(Table(keys, 10 + n));
    }
    std::vector<FileRef> target;
    std::vector<FileNumber> expected;
    for (uint64_t at = random.Uniform(50); target.size() < 12;) {
      const std::vector<uint64_t> keys = some_keys(at, 6);
      target.push_back(Table(keys, 1));
      const auto met = source_keys.lower_bound(keys.front());
      if (met == source_keys.end() || *met > keys.back()) {
        expected.push_back(target.back()->number);
      }
      at = keys.back() + 1 + random.Uniform(30);
    }
    EXPECT_EQ(Skipped(source, target), expected);
  });
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
