#include "lsm/compaction/job.h"

#include <gtest/gtest.h>

#include "io/base/random.h"
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
    bytes_ = std::make_unique<JobBytes>();
    const MergeJob job{plan,        shape_, ComputeLevelTargets(bench_.options(), *shape_.version),
                       snapshot,    777,    [this] { return Step(); },
                       bytes_.get()};
    MergeResult result = TRY(RunMerge(bench_.environment(), job, &counters_));
    skipped_count_ = result.skipped_count;
    return std::move(result.edit);
  }
  io::Status Step() { return ++steps_ >= stop_after_ ? io::Status::Cancelled() : io::Status::Ok(); }
  io::Result<VersionEdit> Flush(const MemTable& table, SequenceNumber snapshot = 1000) {
    return RunFlush(
        bench_.environment(), table, shape_, snapshot, [this] { return Step(); }, &counters_);
  }
  uint64_t Dropped(DropRule rule) const {
    return counters_.dropped[static_cast<size_t>(rule)].load();
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
  std::unique_ptr<JobBytes> bytes_;
  size_t skipped_count_ = 0;
  std::atomic<uint64_t> steps_{0};
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
  EXPECT_EQ(Dropped(DropRule::kHidden), 3U);
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
  testing::FaultRule rule;  // H1, Q9: not even made and removed again
  rule.operation = testing::FaultOperation::kCreate;
  rule.fault_count = testing::kFaultForever;
  bench_.storage().faults().Add(rule);
  const auto edit = Merge(Plan(1, 2, {source}, {target}));
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  EXPECT_TRUE(edit->added_files.empty());
  EXPECT_EQ(edit->removed_files.size(), 2U);
  EXPECT_EQ(bench_.TableNames().size(), 2U) << "only the inputs";
  EXPECT_EQ(Dropped(DropRule::kTombstone), 2U);
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
  EXPECT_LT(steps_.load(), 20U) << "stepped through the dead run";
}

TEST_F(JobTest, AStoppedMergeLeavesItsInputsAndNothingElse) {
  std::vector<TestEntry> entries;
  for (int i = 0; i < 500; ++i) entries.push_back({"k" + std::to_string(1000 + i), 1, "v"});
  bench_.options().table_bytes = 4096;
  const FileRef source = bench_.WriteTable(entries);
  SetVersion({{1, source}});
  stop_after_ = 10;
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

TEST_F(JobTest, FlushWritesLevel0WithItsDeadRanges) {
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
  const auto edit = Flush(table);
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
  EXPECT_GT(counters_.flushed_bytes.load(), 0U);
}

TEST_F(JobTest, AFlushOfNothingButADropAddsTheDrop) {
  MemTable table;
  Fill(
      table, [](WriteBatch& batch) { batch.DropRange("d", "e"); }, 10);
  const auto edit = Flush(table);
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
  EXPECT_FALSE(Flush(table).ok());
  EXPECT_TRUE(bench_.TableNames().empty());
  const auto again = Flush(table);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(Contents(*again), (Strings{"a@10=1"}));
}

// G7 for flushes: the tables of a domain that goes as a whole are whole from the start.
TEST_F(JobTest, AFlushIsCutAtDomains) {
  bench_.options().domain_of = [](std::string_view key) { return key.substr(0, 1); };
  bench_.options().table_bytes = 1;
  MemTable table;
  Fill(
      table,
      [](WriteBatch& batch) {
        for (const char* key : {"a1", "a2", "b1", "c1", "c2", "c3"}) batch.Put(key, "v");
      },
      10);
  const auto edit = Flush(table);
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  ASSERT_EQ(edit->added_files.size(), 3U) << "at domains and nowhere else";
  EXPECT_EQ(edit->added_files[0].file->largest_user_key(), "a2");
  EXPECT_EQ(edit->added_files[1].file->largest_user_key(), "b1");
  EXPECT_EQ(edit->added_files[2].file->smallest_user_key(), "c1");
  const auto version = Version::Apply(*shape_.version, *edit);
  ASSERT_TRUE(version.ok());
  EXPECT_EQ((*version)->level0_depth(), 1);
}

TEST_F(JobTest, AStoppedFlushLeavesNothing) {
  MemTable table;
  Fill(
      table,
      [](WriteBatch& batch) {
        for (uint64_t i = 0; i < 200; ++i) batch.Put(KeyOf(i), "v");
      },
      10);
  stop_after_ = 3;
  const auto edit = Flush(table);
  ASSERT_FALSE(edit.ok());
  EXPECT_TRUE(edit.status().Is(io::StatusCode::kCancelled));
  EXPECT_TRUE(bench_.TableNames().empty());
}

// The key that came back in dgraph #1422: its tombstone lies in a target table that reaches beyond
// the source, its value deeper.
TEST_F(JobTest, ATombstoneOfTheTargetBeyondTheSourceStaysAboveItsValue) {
  const FileRef source = bench_.WriteTable({{"b", 9, "x"}, {"c", 9, "x"}});
  const FileRef target = bench_.WriteTable({{"a", 5, "-"}, {"c", 5, "x"}, {"k", 5, "-"}});
  const FileRef deeper = bench_.WriteTable({{"k", 1, "old"}});
  SetVersion({{2, source}, {3, target}, {4, deeper}});
  const auto edit = Merge(Plan(2, 3, {source}, {target}));
  ASSERT_TRUE(edit.ok());
  EXPECT_EQ(Contents(*edit), (Strings{"b@9=x", "c@9=x", "k@5=-"}));
}

// R4: every entry of the inputs is written or counted as dropped by one rule.
TEST_F(JobTest, EntriesInAreEntriesOutAndEntriesDropped) {
  const FileRef source = bench_.WriteTable(
      {{"a", 19, "-"}, {"b", 18, "b"}, {"b", 12, "b"}, {"d1", 17, "dead"}, {"d2", 16, "dead"}});
  const FileRef target = bench_.WriteTable({{"a", 5, "a"}, {"b", 4, "b"}, {"e", 3, "e"}});
  SetVersion({{1, source}, {2, target}});
  SetDrop("d", "e", 50);
  const auto edit = Merge(Plan(1, 2, {source}, {target}));
  ASSERT_TRUE(edit.ok());
  EXPECT_EQ(Contents(*edit).size(), 2U);
  EXPECT_EQ(Dropped(DropRule::kTombstone), 1U);
  EXPECT_EQ(Dropped(DropRule::kHidden), 3U);
  EXPECT_EQ(Dropped(DropRule::kDropRange), 2U);
  EXPECT_EQ(Dropped(DropRule::kFiltered), 0U);
  EXPECT_GE(bytes_->read.load(), 1000U);
  EXPECT_EQ(bytes_->read.load(), counters_.bytes_read.load());
  EXPECT_EQ(bytes_->written.load(), edit->added_files[0].file->info.file_bytes);
  EXPECT_EQ(bytes_->written.load(), counters_.bytes_written.load());
}

// Q3: an input that cannot be read to its end is no short input.
TEST_F(JobTest, AReadErrorAnywhereInAnInputFailsTheMergeAndKeepsTheInputs) {
  std::vector<TestEntry> entries;
  for (uint64_t i = 0; i < 100; ++i) {
    entries.push_back({KeyOf(i), 1, std::string(100 * io::kKiB, 'v')});
  }
  const FileRef source = bench_.WriteTable(entries);
  const FileRef target = bench_.WriteTable({{KeyOf(5), 1, "old"}});
  SetVersion({{1, source}, {2, target}});
  ASSERT_TRUE(bench_.tables().Get(source->number).ok());
  int injected = 0;
  for (uint64_t pass = 0; pass < 100; ++pass) {
    testing::FaultRule rule;
    rule.operation = testing::FaultOperation::kRead;
    rule.name_part = FileName(FileKind::kTable, source->number);
    rule.pass_count = pass;
    bench_.storage().faults().Add(rule);
    const auto edit = Merge(Plan(1, 2, {source}, {target}));
    if (bench_.storage().faults().injected_count() == 0) {
      EXPECT_TRUE(edit.ok()) << edit.status().ToString();
      break;
    }
    ++injected;
    ASSERT_FALSE(edit.ok()) << "read " << pass;
    EXPECT_TRUE(edit.status().Is(io::StatusCode::kIoError)) << edit.status().ToString();
    EXPECT_EQ(bench_.TableNames().size(), 2U) << "the inputs, and no output";
    bench_.storage().faults().Clear();
  }
  EXPECT_GE(injected, 9) << "a read of a mebibyte each";
}

// H2.
TEST_F(JobTest, AnOutputThatDoesNotReadBackFailsTheMerge) {
  const FileRef source = bench_.WriteTable({{"a", 9, "x"}, {"b", 8, "y"}});
  SetVersion({{0, source}});
  testing::FaultRule rule;  // a disk that says it wrote all, and lost the second half
  rule.operation = testing::FaultOperation::kWrite;
  rule.name_part = FileName(FileKind::kTable, source->number + 1);
  rule.status = io::Status::Ok();
  rule.effect = testing::FaultEffect::kHalf;
  bench_.storage().faults().Add(rule);
  const auto edit = Merge(Plan(0, 1, {source}));
  ASSERT_FALSE(edit.ok());
  EXPECT_TRUE(edit.status().Is(io::StatusCode::kCorruption)) << edit.status().ToString();
  EXPECT_EQ(bench_.TableNames(), Strings{FileName(FileKind::kTable, source->number)});
}

// E6 through the whole job: the tombstone is written where an older version may be deeper, with the
// job's one time.
TEST_F(JobTest, WhatTheFilterDeletesIsATombstoneOrNothing) {
  bench_.options().compaction_filter = [](std::string_view, std::string_view value,
                                          int64_t now_seconds) {
    return now_seconds == 777 && value == "expired" ? Options::FilterDecision::kDelete
                                                    : Options::FilterDecision::kKeep;
  };
  const FileRef source =
      bench_.WriteTable({{"a", 9, "expired"}, {"b", 8, "y"}, {"c", 7, "expired"}, {"c", 6, "old"}});
  const FileRef deeper = bench_.WriteTable({{"c", 1, "oldest"}});
  SetVersion({{1, source}, {3, deeper}});
  const auto edit = Merge(Plan(1, 2, {source}));
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  EXPECT_EQ(Contents(*edit), (Strings{"b@8=y", "c@7=-"}));
  EXPECT_EQ(edit->added_files[0].file->info.oldest_tombstone_seconds, 777);
  EXPECT_EQ(Dropped(DropRule::kFiltered), 1U);
}

// A merge of level 0 in itself: one table per domain whatever its size, and tombstones stay for
// what the other tables of level 0 hold.
TEST_F(JobTest, ALevel0OutputIsOneTableAndKeepsTombstonesForTheRest) {
  bench_.options().table_bytes = 1;
  bench_.options().subcompactions_max = 4;
  const FileRef newest = bench_.WriteTable({{"a", 30, "-"}, {"d", 31, "-"}, {"e", 32, "new"}});
  const FileRef middle = bench_.WriteTable({{"a", 20, "x"}, {"c", 21, "x"}});
  const FileRef oldest = bench_.WriteTable({{"d", 10, "old"}, {"e", 11, "old"}});
  SetVersion({{0, newest}, {0, middle}, {0, oldest}});
  const auto edit = Merge(Plan(0, 0, {newest, middle}));
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  ASSERT_EQ(edit->added_files.size(), 1U);
  EXPECT_EQ(edit->added_files[0].level, 0);
  EXPECT_EQ(Contents(*edit), (Strings{"c@21=x", "d@31=-", "e@32=new"}));
  const auto version = Version::Apply(*shape_.version, *edit);
  ASSERT_TRUE(version.ok());
  EXPECT_EQ(Numbers((*version)->files(0)).back(), oldest->number) << "its place in history";
}

// ---- Subcompactions ----------------------------------------------------------------------------

TEST(SplitPointsTest, PartsAreDisjointAndLargeEnough) {
  ForEachSeed(1, 2000, [](uint64_t seed) {
    io::Random random(seed);
    Options options;
    options.table_bytes = 1000;
    std::vector<FileRef> files;
    uint64_t total = 0;
    const uint64_t count = 1 + random.Uniform(40);
    for (FileNumber number = 1; number <= count; ++number) {
      const uint64_t begin = random.Uniform(500);
      const uint64_t bytes = 1 + random.Uniform(random.OneIn(5) ? 10'000 : 1500);
      files.push_back(MakeTable({number, KeyOf(begin), KeyOf(begin + random.Uniform(50)), bytes}));
      total += bytes;
    }
    const int parts_max = 1 + static_cast<int>(random.Uniform(8));
    const std::vector<std::string> points = SplitPoints(options, files, parts_max);
    EXPECT_LT(points.size(), static_cast<size_t>(parts_max));
    // What begins in a part, by the points around it.
    std::vector<uint64_t> parts(points.size() + 1, 0);
    for (const FileRef& file : files) {
      const auto part = std::upper_bound(points.begin(), points.end(), file->smallest_user_key()) -
                        points.begin();
      parts[static_cast<size_t>(part)] += file->info.file_bytes;
    }
    for (size_t i = 1; i < points.size(); ++i) EXPECT_LT(points[i - 1], points[i]);
    if (points.empty()) return;
    for (const uint64_t bytes : parts) {
      EXPECT_GE(bytes, 2 * options.table_bytes) << parts.size() << " parts of " << total;
    }
  });
}

TEST(SplitPointsTest, ASmallMergeOrOneThreadIsOnePart) {
  Options options;
  options.table_bytes = 1000;
  std::vector<FileRef> files;
  for (FileNumber i = 1; i <= 3; ++i) files.push_back(MakeTable({i, KeyOf(i), KeyOf(i), 1000}));
  EXPECT_TRUE(SplitPoints(options, files, 4).empty()) << "not two tables' worth for each";
  for (FileNumber i = 4; i <= 8; ++i) files.push_back(MakeTable({i, KeyOf(i), KeyOf(i), 1000}));
  EXPECT_TRUE(SplitPoints(options, files, 1).empty());
  EXPECT_EQ(SplitPoints(options, files, 4), (Strings{KeyOf(3), KeyOf(5), KeyOf(7)}));
  EXPECT_EQ(SplitPoints(options, files, 2), (Strings{KeyOf(5)}));
}

class SubcompactionTest : public JobTest {
 protected:
  // Source and target tables with overwritten, deleted and dead keys.
  void MakeTree(uint64_t seed) {
    io::Random random(seed);
    bench_.options().table_bytes = 4096;
    SequenceNumber sequence = 5000;
    for (const size_t side : {size_t{0}, size_t{1}}) {
      sequence -= 2500;
      for (uint64_t table = 0; table < 8; ++table) {
        std::vector<TestEntry> entries;
        for (uint64_t i = 0; i < 50; ++i) {
          if (random.OneIn(4)) continue;
          const std::string key = KeyOf(100 * table + 2 * i);
          const uint64_t versions = random.OneIn(5) ? 3 : 1;
          for (uint64_t version = versions; version > 0; --version) {
            entries.push_back({key, sequence + 4 * i + version,
                               random.OneIn(4) ? "-" : std::string(random.Uniform(200), 'v')});
          }
        }
        files_[side].push_back(bench_.WriteTable(entries));
      }
    }
    std::vector<std::pair<int, FileRef>> placed;
    for (const FileRef& file : files_[0]) placed.emplace_back(2, file);
    for (const FileRef& file : files_[1]) placed.emplace_back(3, file);
    placed.emplace_back(5, bench_.WriteTable({{KeyOf(0), 1, "deep"}, {KeyOf(120), 1, "deep"}}));
    SetVersion(placed);
    SetDrop(KeyOf(250), KeyOf(420), 6000);
  }
  CompactionPlan WholePlan() const { return Plan(2, 3, files_[0], files_[1]); }

  std::array<std::vector<FileRef>, 2> files_;
};

TEST_F(SubcompactionTest, FourPartsComeToTheSameAsOne) {
  MakeTree(3);
  const auto one = Merge(WholePlan(), 4000);
  ASSERT_TRUE(one.ok()) << one.status().ToString();
  const std::array dropped_by_one = {Dropped(DropRule::kHidden), Dropped(DropRule::kTombstone)};
  const size_t tables_before = bench_.TableNames().size();
  bench_.options().subcompactions_max = 4;
  ASSERT_EQ(SplitPoints(bench_.options(), shape_.version->files(3), 4).size(), 3U);
  const auto four = Merge(WholePlan(), 4000);
  ASSERT_TRUE(four.ok()) << four.status().ToString();
  EXPECT_EQ(Contents(*four), Contents(*one));
  EXPECT_EQ(Dropped(DropRule::kHidden), 2 * dropped_by_one[0]);
  EXPECT_EQ(Dropped(DropRule::kTombstone), 2 * dropped_by_one[1]);
  EXPECT_EQ(bench_.TableNames().size(), tables_before + four->added_files.size());
  EXPECT_TRUE(Version::Apply(*shape_.version, *four).ok()) << "disjoint and in order";
}

TEST_F(SubcompactionTest, AnErrorInOnePartRemovesTheOutputsOfAll) {
  MakeTree(4);
  bench_.options().subcompactions_max = 4;
  const size_t tables_before = bench_.TableNames().size();
  // The last source table belongs to the last part only.
  bench_.storage().CorruptByte(FileName(FileKind::kTable, files_[0].back()->number), 700);
  const auto edit = Merge(WholePlan());
  ASSERT_FALSE(edit.ok());
  EXPECT_TRUE(edit.status().Is(io::StatusCode::kCorruption)) << edit.status().ToString();
  EXPECT_EQ(bench_.TableNames().size(), tables_before);
}

TEST_F(SubcompactionTest, ACountThatIsWrongInOnePartFailsTheWhole) {
  MakeTree(5);
  bench_.options().subcompactions_max = 4;
  shape_.drops = std::make_shared<DropRangeSet>();  // a run passed over unread is not counted
  ++files_[0][6]->info.entry_count;
  const size_t tables_before = bench_.TableNames().size();
  const auto edit = Merge(WholePlan());
  ASSERT_FALSE(edit.ok());
  EXPECT_TRUE(edit.status().Is(io::StatusCode::kCorruption)) << edit.status().ToString();
  EXPECT_EQ(bench_.TableNames().size(), tables_before);
}

TEST_F(SubcompactionTest, StoppingEndsEveryPart) {
  MakeTree(6);
  bench_.options().subcompactions_max = 4;
  stop_after_ = 8;
  const size_t tables_before = bench_.TableNames().size();
  const auto edit = Merge(WholePlan());
  ASSERT_FALSE(edit.ok());
  EXPECT_TRUE(edit.status().Is(io::StatusCode::kCancelled));
  EXPECT_EQ(bench_.TableNames().size(), tables_before);
}

// ---- Skipped tables ----------------------------------------------------------------------------

class SkippingJobTest : public JobTest {
 protected:
  SkippingJobTest() { bench_.options().skipped_table_bytes_min = 1; }
};

// C6, G5.
TEST_F(SkippingJobTest, ATableWithoutAKeyOfTheSourceStaysAndNoOutputLiesOverIt) {
  const FileRef source = bench_.WriteTable({{"a", 9, "new"}, {"z", 8, "new"}});
  const FileRef first = bench_.WriteTable({{"a", 5, "old"}, {"b", 4, "old"}});
  const FileRef between = bench_.WriteTable({{"m", 3, "old"}, {"n", 2, "old"}});
  const FileRef last = bench_.WriteTable({{"y", 1, "old"}});
  SetVersion({{1, source}, {2, first}, {2, between}, {2, last}});
  const auto edit = Merge(Plan(1, 2, {source}, {first, between, last}));
  ASSERT_TRUE(edit.ok()) << edit.status().ToString();
  EXPECT_EQ(skipped_count_, 2U);
  EXPECT_EQ(counters_.tables_skipped.load(), 2U);
  EXPECT_EQ(Contents(*edit), (Strings{"a@9=new", "b@4=old", "z@8=new"}));
  std::vector<FileNumber> removed;
  for (const auto& file : edit->removed_files) removed.push_back(file.number);
  EXPECT_EQ(removed, (std::vector<FileNumber>{source->number, first->number}));
  const auto version = Version::Apply(*shape_.version, *edit);
  ASSERT_TRUE(version.ok()) << version.status().ToString();
  EXPECT_EQ((*version)->files(2).size(), 4U);
  EXPECT_EQ(bench_.Read((*version)->files(2)),
            (Strings{"a@9=new", "b@4=old", "m@3=old", "n@2=old", "y@1=old", "z@8=new"}));
}

// Random tables of two levels, with and without the mechanism: what a reader finds is the same.
TEST_F(SkippingJobTest, LeavesTheSameContentsAsARewrite) {
  ForEachSeed(1, 60, [this](uint64_t seed) {
    io::Random random(seed);
    bench_.options().skipped_table_bytes_min = 1;
    bench_.options().table_bytes = 4096;
    bench_.options().subcompactions_max = 1 + static_cast<int>(random.Uniform(4));
    std::array<std::vector<FileRef>, 2> files;
    std::vector<std::pair<int, FileRef>> placed;
    SequenceNumber sequence = 10'000;
    for (const size_t side : {size_t{0}, size_t{1}}) {
      sequence -= 5000;
      uint64_t at = random.Uniform(20);
      const uint64_t table_count = 2 + random.Uniform(8);
      for (uint64_t n = 0; n < table_count; ++n) {
        std::vector<TestEntry> entries;
        const uint64_t entry_count = 1 + random.Uniform(12);
        for (uint64_t i = 0; i < entry_count; ++i) {
          entries.push_back({KeyOf(at), sequence + at, side == 0 && random.OneIn(3) ? "-" : "v"});
          at += 1 + random.Uniform(random.OneIn(4) ? 60 : 4);
        }
        files[side].push_back(bench_.WriteTable(entries));
        placed.emplace_back(static_cast<int>(side) + 2, files[side].back());
        at += random.Uniform(40);
      }
    }
    placed.emplace_back(5, bench_.WriteTable({{KeyOf(10), 1, "deep"}, {KeyOf(60), 1, "deep"}}));
    SetVersion(placed);
    const CompactionPlan plan = Plan(2, 3, files[0], files[1]);
    const auto found = [&]() -> Strings {
      const auto edit = Merge(plan);
      EXPECT_TRUE(edit.ok()) << edit.status().ToString();
      if (!edit.ok()) return {};
      const auto version = Version::Apply(*shape_.version, *edit);
      EXPECT_TRUE(version.ok()) << version.status().ToString();
      return version.ok() ? bench_.Read((*version)->files(3)) : Strings();
    };
    const Strings skipping = found();
    bench_.options().skipped_table_bytes_min = UINT64_MAX;
    EXPECT_EQ(found(), skipping);
    EXPECT_EQ(skipped_count_, 0U);
  });
  EXPECT_GT(counters_.tables_skipped.load(), 10U) << "the test must meet some";
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
