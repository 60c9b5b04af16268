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
  TableSetWriter writer(bench_.environment(), 1, io::IoPriority::kCompaction, 0);
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
    TableSetWriter writer(bench_.environment(), 1, io::IoPriority::kCompaction, 77);
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
    TableSetWriter writer(bench_.environment(), 1, io::IoPriority::kCompaction, 0);
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
      TableSetWriter writer(bench_.environment(), 1, io::IoPriority::kCompaction, 0);
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

TEST_F(TableSetWriterTest, DeepLevelsAreCompressed) {
  EXPECT_EQ(TableOptionsFor(Options(), 0).zstd_level, 0);
  EXPECT_EQ(TableOptionsFor(Options(), 1).zstd_level, 0);
  EXPECT_GT(TableOptionsFor(Options(), 2).zstd_level, 0);
  EXPECT_GT(TableOptionsFor(Options(), 6).zstd_level, 0);
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
