#include "lsm/compaction/job.h"

#include <gtest/gtest.h>

#include "lsm/write_batch.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

using Strings = std::vector<std::string>;

class JobTest : public ::testing::Test {
 protected:
  // The version holds the plan's inputs and `others`.
  void SetVersion(const std::vector<std::pair<int, FileRef>>& tables) {
    VersionEdit edit;
    for (const auto& [level, file] : tables) edit.added_files.push_back({level, file});
    auto version = Version::Apply(*Version::Empty(), edit);
    ASSERT_TRUE(version.ok()) << version.status().ToString();
    shape_.version = *version;
  }
  void SetDrop(const std::string& begin, const std::string& end, SequenceNumber sequence) {
    auto drops = std::make_shared<DropRangeSet>();
    drops->Add(begin, end);
    shape_.drops = drops;
    shape_.drop_sequence = sequence;
  }
  static CompactionPlan Plan(int level, int output_level, std::vector<FileRef> source,
                             std::vector<FileRef> target = {}) {
    CompactionPlan plan;
    plan.level = level;
    plan.output_level = output_level;
    plan.inputs = {std::move(source), std::move(target)};
    return plan;
  }
  io::Result<VersionEdit> Merge(const CompactionPlan& plan, SequenceNumber snapshot = 1000) {
    return RunMerge(
        bench_.environment(), plan, shape_, snapshot,
        [this] {
          ++steps_;
          return steps_ >= stop_after_ ? io::Status::Cancelled() : io::Status::Ok();
        },
        &counters_);
  }
  Strings Contents(const VersionEdit& edit) {
    std::vector<FileRef> files;
    for (const VersionEdit::AddedFile& added : edit.added_files) files.push_back(added.file);
    return bench_.Read(files);
  }
  static MemTable& Fill(MemTable& table, const std::function<void(WriteBatch&)>& write,
                        SequenceNumber first_sequence) {
    WriteBatch batch;
    write(batch);
    const uint32_t count = batch.count();
    table.Apply(batch.TakeRepresentation(), count, first_sequence, 500);
    return table;
  }

  JobBench bench_;
  Shape shape_{Version::Empty(), std::make_shared<DropRangeSet>(), 0};
  JobCounters counters_;
  std::atomic<uint64_t> flushed_bytes_{0};
  uint64_t steps_ = 0;
  uint64_t stop_after_ = UINT64_MAX;
};

TEST_F(JobTest, MergeKeepsTheNewestVersionsInOneEdit) {
  const FileRef newer = bench_.WriteTable({{"a", 9, "new"}, {"c", 8, "new"}});
  const FileRef older = bench_.WriteTable({{"a", 5, "old"}, {"b", 6, "old"}});
  const FileRef target = bench_.WriteTable({{"a", 1, "oldest"}, {"c", 2, "oldest"}, {"d", 3, "x"}});
  SetVersion({{0, newer}, {0, older}, {1, target}});
  const auto edit = Merge(Plan(0, 1, {newer, older}, {target}));
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  EXPECT_EQ(Contents(*edit), (Strings{"a@9=new", "b@6=old", "c@8=new", "d@3=x"}));
  ASSERT_EQ(edit->removed_files.size(), 3U);
  EXPECT_EQ(edit->removed_files[0].level, 0);
  EXPECT_EQ(edit->removed_files[2].level, 1);
  EXPECT_EQ(edit->removed_files[2].number, target->number);
  for (const auto& added : edit->added_files) EXPECT_EQ(added.level, 1);
  EXPECT_EQ(counters_.dropped[static_cast<size_t>(DropRule::kHidden)].load(), 3U);
  EXPECT_TRUE(Version::Apply(*shape_.version, *edit).ok());
}

TEST_F(JobTest, MergeKeepsWhatASnapshotSees) {
  const FileRef source = bench_.WriteTable({{"a", 9, "-"}, {"a", 5, "five"}, {"a", 3, "three"}});
  SetVersion({{1, source}});
  const auto edit = Merge(Plan(1, 2, {source}), 6);
  ASSERT_TRUE(edit.ok());
  EXPECT_EQ(Contents(*edit), (Strings{"a@9=-", "a@5=five"}));
}

TEST_F(JobTest, AMergeOfGarbageLeavesNoTable) {
  const FileRef source = bench_.WriteTable({{"a", 9, "-"}, {"b", 8, "-"}});
  const FileRef target = bench_.WriteTable({{"a", 5, "x"}, {"b", 4, "x"}});
  SetVersion({{1, source}, {2, target}});
  const auto edit = Merge(Plan(1, 2, {source}, {target}));
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  EXPECT_TRUE(edit->added_files.empty());
  EXPECT_EQ(edit->removed_files.size(), 2U);
  EXPECT_EQ(bench_.TableNames().size(), 2U) << "only the inputs";
  EXPECT_EQ(counters_.dropped[static_cast<size_t>(DropRule::kTombstone)].load(), 2U);
}

TEST_F(JobTest, OutputsAreCutWithoutSplittingAUserKey) {
  bench_.options().table_bytes = 4096;
  std::vector<TestEntry> entries;
  for (int i = 0; i < 60; ++i) {
    const std::string key = "key" + std::to_string(100 + i);
    for (SequenceNumber version = 3; version > 0; --version) {
      entries.push_back({key, version, std::string(200, 'v')});
    }
  }
  const FileRef source = bench_.WriteTable(entries);
  SetVersion({{0, source}});
  const auto edit = Merge(Plan(0, 1, {source}), 0);  // a snapshot at 0 keeps every version
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  EXPECT_GT(edit->added_files.size(), 3U);
  EXPECT_EQ(Contents(*edit).size(), entries.size());
  EXPECT_TRUE(Version::Apply(*shape_.version, *edit).ok()) << "disjoint in user keys";
}

TEST_F(JobTest, DeadRunsAreSkippedWithoutReadingThemAndRecorded) {
  std::vector<TestEntry> entries;
  entries.push_back({"a", 1, "alive"});
  for (int i = 0; i < 5000; ++i) {
    entries.push_back({"d" + std::to_string(10000 + i), 2, std::string(100, 'x')});
  }
  entries.push_back({"e", 3, "alive"});
  const FileRef source = bench_.WriteTable(entries);
  SetVersion({{2, source}, {5, bench_.WriteTable({{"d10000", 1, "deeper"}})}});
  SetDrop("d", "e", 50);
  const auto edit = Merge(Plan(2, 2, {source}));
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  EXPECT_EQ(Contents(*edit), (Strings{"a@1=alive", "e@3=alive"}));
  EXPECT_EQ(edit->added_files[0].file->drop_sequence, 50U);
  EXPECT_LT(steps_, 200U) << "stepped through the dead run";
}

TEST_F(JobTest, AStoppedMergeLeavesItsInputsAndNothingElse) {
  std::vector<TestEntry> entries;
  for (int i = 0; i < 500; ++i) entries.push_back({"k" + std::to_string(1000 + i), 1, "v"});
  bench_.options().table_bytes = 4096;
  const FileRef source = bench_.WriteTable(entries);
  SetVersion({{1, source}});
  stop_after_ = 400;
  const auto edit = Merge(Plan(1, 2, {source}));
  ASSERT_FALSE(edit.ok());
  EXPECT_TRUE(edit.status().Is(io::StatusCode::kCancelled));
  EXPECT_EQ(bench_.TableNames().size(), 1U);
  EXPECT_EQ(bench_.Read({source}).size(), 500U);
}

TEST_F(JobTest, ADamagedInputEndsTheMergeWithCorruption) {
  std::vector<TestEntry> entries;
  for (int i = 0; i < 200; ++i) entries.push_back({"k" + std::to_string(1000 + i), 1, "value"});
  const FileRef source = bench_.WriteTable(entries);
  SetVersion({{1, source}});
  bench_.storage().CorruptByte(FileName(FileKind::kTable, source->number), 700);
  const auto edit = Merge(Plan(1, 2, {source}));
  ASSERT_FALSE(edit.ok());
  EXPECT_TRUE(edit.status().Is(io::StatusCode::kCorruption)) << edit.status().ToString();
  EXPECT_EQ(bench_.TableNames().size(), 1U);
}

// The manifest says how many entries a table has; a reader that sees fewer has lost some.
TEST_F(JobTest, AnInputWithFewerEntriesThanTheManifestSaysIsCorruption) {
  const FileRef source = bench_.WriteTable({{"a", 1, "x"}, {"b", 2, "y"}});
  SetVersion({{1, source}});
  source->info.entry_count = 3;
  const auto edit = Merge(Plan(1, 2, {source}));
  ASSERT_FALSE(edit.ok());
  EXPECT_TRUE(edit.status().Is(io::StatusCode::kCorruption)) << edit.status().ToString();
}

TEST_F(JobTest, FlushWritesOneLevel0TableWithItsDeadRanges) {
  MemTable table;
  Fill(
      table,
      [](WriteBatch& batch) {
        batch.Put("a", "1");
        batch.Put("d1", "dead");
        batch.Delete("old");
        batch.Delete("gone");
        batch.DropRange("d", "e");
        batch.DropRange("e", "f");
        batch.AddCounter(1, 5);
      },
      10);
  SetVersion({{3, bench_.WriteTable({{"old", 1, "x"}})}});
  const auto edit =
      RunFlush(bench_.environment(), table, shape_, 1000, &flushed_bytes_, &counters_);
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  ASSERT_EQ(edit->added_files.size(), 1U);
  EXPECT_EQ(edit->added_files[0].level, 0);
  EXPECT_EQ(Contents(*edit), (Strings{"a@10=1", "old@12=-"}));
  ASSERT_EQ(edit->added_drops.size(), 1U);  // joined
  EXPECT_EQ(edit->added_drops[0].begin, "d");
  EXPECT_EQ(edit->added_drops[0].end, "f");
  EXPECT_EQ(edit->added_drops[0].sequence, 15U);
  EXPECT_EQ(edit->added_drops[0].seconds, 500);
  EXPECT_EQ(edit->added_files[0].file->drop_sequence, 15U);
  EXPECT_GT(flushed_bytes_.load(), 0U);
}

TEST_F(JobTest, AFlushOfNothingButADropAddsTheDrop) {
  MemTable table;
  Fill(
      table, [](WriteBatch& batch) { batch.DropRange("d", "e"); }, 10);
  const auto edit =
      RunFlush(bench_.environment(), table, shape_, 1000, &flushed_bytes_, &counters_);
  ASSERT_TRUE(edit.ok());
  EXPECT_TRUE(edit->added_files.empty());
  EXPECT_EQ(edit->added_drops.size(), 1U);
}

TEST_F(JobTest, AFailedFlushLeavesNothing) {
  MemTable table;
  Fill(
      table, [](WriteBatch& batch) { batch.Put("a", "1"); }, 10);
  testing::FaultRule rule;
  rule.operation = testing::FaultOperation::kSync;
  rule.status = io::Status::NoSpace("injected");
  bench_.storage().faults().Add(rule);
  EXPECT_FALSE(
      RunFlush(bench_.environment(), table, shape_, 1000, &flushed_bytes_, &counters_).ok());
  EXPECT_TRUE(bench_.TableNames().empty());
  const auto again =
      RunFlush(bench_.environment(), table, shape_, 1000, &flushed_bytes_, &counters_);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(Contents(*again), (Strings{"a@10=1"}));
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
