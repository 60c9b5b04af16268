#include "lsm/compaction/table_set_writer.h"

#include <gtest/gtest.h>

#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

using testing::CrashMode;
using testing::FaultOperation;

std::string Key(const std::string& user_key, SequenceNumber sequence = 1) {
  return MakeInternalKey(user_key, sequence, EntryKind::kValue);
}

class TableSetWriterTest : public ::testing::Test {
 protected:
  void FailNext(FaultOperation operation, io::Status status) {
    testing::FaultRule rule;
    rule.operation = operation;
    rule.status = std::move(status);
    bench_.storage().faults().Add(rule);
  }

  JobBench bench_;
};

TEST_F(TableSetWriterTest, WithoutEntriesThereIsNoFile) {
  TableSetWriter writer(bench_.environment(), {}, io::IoPriority::kCompaction, 0);
  EXPECT_TRUE(writer.Cut().ok());
  EXPECT_FALSE(writer.has_open_table());
  const auto files = writer.Finish();
  ASSERT_TRUE(files.ok());
  EXPECT_TRUE(files->empty());
  EXPECT_TRUE(bench_.TableNames().empty());
}

TEST_F(TableSetWriterTest, FinishedTablesAreDurableAndDescribed) {
  std::vector<FileRef> finished;
  {
    TableSetWriter writer(bench_.environment(), {}, io::IoPriority::kCompaction, 77);
    ASSERT_TRUE(writer.Add(Key("a", 9), "1").ok());
    ASSERT_TRUE(writer.Add(Key("b", 3), "2").ok());
    ASSERT_TRUE(writer.Cut().ok());
    EXPECT_FALSE(writer.has_open_table());
    ASSERT_TRUE(writer.Add(Key("c"), "3").ok());
    EXPECT_TRUE(writer.has_open_table());
    auto files = writer.Finish();
    ASSERT_TRUE(files.ok()) << files.status().ToString();
    EXPECT_EQ(writer.entry_count(), 3U);
    finished = *files;
  }
  ASSERT_EQ(finished.size(), 2U);
  EXPECT_LT(finished[0]->number, finished[1]->number);
  EXPECT_EQ(finished[0]->smallest_user_key(), "a");
  EXPECT_EQ(finished[0]->largest_user_key(), "b");
  EXPECT_EQ(finished[0]->info.smallest_sequence, 3U);
  EXPECT_EQ(finished[0]->info.largest_sequence, 9U);
  EXPECT_EQ(finished[0]->drop_sequence, 77U);
  EXPECT_EQ(bench_.Read(finished), (std::vector<std::string>{"a@9=1", "b@3=2", "c@1=3"}));
  const auto after_crash = bench_.storage().CrashClone(1, CrashMode::kLoseAllUnsynced);
  for (const FileRef& file : finished) {
    const auto contents = after_crash->Contents(FileName(FileKind::kTable, file->number));
    ASSERT_TRUE(contents.ok());
    EXPECT_EQ(contents->size(), file->info.file_bytes);
  }
}

TEST_F(TableSetWriterTest, WhatIsNotHandedOutIsRemoved) {
  {
    TableSetWriter writer(bench_.environment(), {}, io::IoPriority::kCompaction, 0);
    ASSERT_TRUE(writer.Add(Key("a"), "1").ok());
    ASSERT_TRUE(writer.Cut().ok());
    ASSERT_TRUE(writer.Add(Key("b"), "1").ok());
    EXPECT_EQ(bench_.TableNames().size(), 2U);
  }
  EXPECT_TRUE(bench_.TableNames().empty());
}

TEST_F(TableSetWriterTest, AnyFailureIsReportedAndLeavesNothing) {
  for (const FaultOperation operation :
       {FaultOperation::kCreate, FaultOperation::kWrite, FaultOperation::kSync,
        FaultOperation::kOpen, FaultOperation::kRead, FaultOperation::kSyncDirectory}) {
    SCOPED_TRACE("operation " + std::to_string(static_cast<int>(operation)));
    FailNext(operation, io::Status::NoSpace("injected"));
    {
      TableSetWriter writer(bench_.environment(), {}, io::IoPriority::kCompaction, 0);
      const auto write = [&]() -> io::Result<std::vector<FileRef>> {
        TRY(writer.Add(Key("a"), "1"));
        return writer.Finish();
      };
      const auto files = write();
      ASSERT_FALSE(files.ok());
      EXPECT_TRUE(files.status().Is(io::StatusCode::kNoSpace)) << files.status().ToString();
    }
    EXPECT_TRUE(bench_.TableNames().empty());
    bench_.storage().faults().Clear();
  }
}

// H2: a table is opened again before anybody relies on it.
TEST_F(TableSetWriterTest, ATableThatDoesNotReadBackFailsTheJob) {
  TableSetWriter writer(bench_.environment(), {}, io::IoPriority::kCompaction, 0);
  ASSERT_TRUE(writer.Add(Key("a"), "1").ok());
  // The write says that it was done, and was done by half.
  testing::FaultRule rule;
  rule.operation = FaultOperation::kWrite;
  rule.status = io::Status::Ok();
  rule.effect = testing::FaultEffect::kHalf;
  bench_.storage().faults().Add(rule);
  const auto files = writer.Finish();
  ASSERT_FALSE(files.ok());
  EXPECT_TRUE(files.status().Is(io::StatusCode::kCorruption));
}

// H3: of level 0 and the level that it goes into, nothing lives long.
TEST_F(TableSetWriterTest, WhatIsRewrittenSoonIsNotCompressed) {
  for (int base = 1; base < kLevelCount; ++base) {
    for (int level = 0; level < kLevelCount; ++level) {
      if (level > 0 && level < base) continue;
      const bool compressed = TableOptionsFor(Options(), level, base, 6).zstd_level > 0;
      EXPECT_EQ(compressed, level > base || level == kLevelCount - 1) << base << " " << level;
    }
  }
}

// H4: a level that is level_multiplier times smaller affords so many times fewer false positives.
TEST_F(TableSetWriterTest, FiltersGetBetterFromTheBottomUp) {
  const auto bits = [](int level) {
    return TableOptionsFor(Options(), level, 3, 6).filter_bits_per_key;
  };
  EXPECT_DOUBLE_EQ(bits(6), 10);
  EXPECT_NEAR(bits(5), 14.8, 0.05);
  EXPECT_NEAR(bits(4), 19.6, 0.05);
  EXPECT_DOUBLE_EQ(bits(3), 20) << "the most that is worth the probes";
  EXPECT_DOUBLE_EQ(bits(0), 20);
  EXPECT_DOUBLE_EQ(TableOptionsFor(Options(), 0, 6, 6).filter_bits_per_key, bits(5));
  EXPECT_DOUBLE_EQ(TableOptionsFor(Options(), 0, 1, 0).filter_bits_per_key, 10) << "nothing below";
}

TEST_F(TableSetWriterTest, FalsePositivesByLevelAreAsPlanned) {
  constexpr uint64_t kKeys = 20'000;
  constexpr uint64_t kProbes = 200'000;
  const struct {
    int level;
    double least;
    double most;
  } cases[] = {{6, 0.004, 0.02}, {5, 0.0002, 0.003}, {4, 0, 0.0006}};
  double last = 1;
  for (const auto& c : cases) {
    bench_.table_options() = TableOptionsFor(Options(), c.level, 4, 6);
    std::vector<TestEntry> entries;
    for (uint64_t i = 0; i < kKeys; ++i) entries.push_back({KeyOf(2 * i), 1, "v"});
    const FileRef file = bench_.WriteTable(entries);
    const auto table = bench_.tables().Get(file->number);
    ASSERT_TRUE(table.ok());
    uint64_t found = 0;
    for (uint64_t i = 0; i < kProbes; ++i) {
      // Between two keys, so that the range does not rule it out.
      const std::string absent = KeyOf(2 * (i % (kKeys - 1))) + "x" + std::to_string(i);
      if ((*table)->MayContain(absent)) ++found;
    }
    const double rate = static_cast<double>(found) / kProbes;
    EXPECT_GE(rate, c.least) << "level " << c.level;
    EXPECT_LE(rate, c.most) << "level " << c.level;
    EXPECT_LT(rate, last);
    last = rate;
  }
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
