#include "lsm/db.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "io/base/clock.h"
#include "io/base/log.h"
#include "io/base/random.h"
#include "lsm/auto_rate.h"
#include "lsm/file_names.h"
#include "lsm/table/table_format.h"
#include "tests/lsm/db_fixture.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using testing::CrashMode;
using testing::FaultOperation;

class DbTest : public ::testing::Test, protected DbFixture {
 protected:
  DbTest() {
    options_.dynamic_levels = false;
    Create();
  }

  io::Status Put(const std::string& key, const std::string& value, bool durable = false) {
    WriteBatch batch;
    batch.Put(key, value);
    return db_->Write(std::move(batch), durable);
  }
  io::Status Delete(const std::string& key) {
    WriteBatch batch;
    batch.Delete(key);
    return db_->Write(std::move(batch));
  }
  void Fill(const std::string& prefix, int count, size_t value_bytes) {
    for (int i = 0; i < count; ++i) {
      std::string value = std::to_string(i);
      io::Random random(static_cast<uint64_t>(i));
      while (value.size() < value_bytes) io::PutFixed64(&value, random.Next());
      ASSERT_TRUE(Put(prefix + std::to_string(1000 + i), value).ok());
    }
  }
  std::string Get(const std::string& key, SequenceNumber snapshot = kSequenceMax) {
    ReadOptions options;
    options.snapshot = snapshot;
    const auto found = db_->Get(options, key);
    if (!found.ok()) return "error: " + std::string(io::StatusCodeName(found.status().code()));
    return *found ? std::string((*found)->view()) : "none";
  }
  std::string Scan(SequenceNumber snapshot = kSequenceMax) {
    ReadOptions options;
    options.snapshot = snapshot;
    const std::unique_ptr<Iterator> it = db_->NewIterator(options);
    std::string text;
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      text += std::string(it->key()) + "=" + std::string(it->value()) + " ";
    }
    return text + it->status().ToString();
  }
  io::Status Compact(int level = -1) { return db_->Compact({level}, never_, nullptr); }
  std::set<std::string> TableNames() { return NamesIn(*storage_, ".sst"); }
};

TEST_F(DbTest, CreateAndOpenTellWhatIsThere) {
  EXPECT_TRUE(Db::Create(options_, *storage_).Is(io::StatusCode::kBusy));
  testing::SimStorage empty;
  EXPECT_TRUE(Db::Open(options_, empty).status().Is(io::StatusCode::kNotFound));
}

TEST_F(DbTest, ReadsSeeTheNewestWriteWhereverItLies) {
  EXPECT_EQ(Get("a"), "none");
  for (int round = 0; round < 3; ++round) {
    const std::string value = "v" + std::to_string(round);
    ASSERT_TRUE(Put("a", value).ok());
    EXPECT_EQ(Get("a"), value);
    ASSERT_TRUE(db_->Flush().ok());
    EXPECT_EQ(Get("a"), value);
  }
  ASSERT_TRUE(Delete("a").ok());
  EXPECT_EQ(Get("a"), "none");
  ASSERT_TRUE(db_->Flush().ok());
  EXPECT_EQ(Get("a"), "none");
  ASSERT_TRUE(Compact().ok());
  EXPECT_EQ(Get("a"), "none");
  EXPECT_TRUE(Eventually([&] { return TableNames().empty(); })) << "nothing is left of it";
}

TEST_F(DbTest, ABatchIsOneChange) {
  WriteBatch batch;
  batch.Put("a", "1");
  batch.Put("a", "2");
  batch.Delete("b");
  batch.AddCounter(4, -7);
  ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  EXPECT_EQ(Get("a"), "2");
  EXPECT_EQ(db_->Counter(4), -7);
  EXPECT_EQ(db_->LastSequence(), 4U);
  ASSERT_TRUE(db_->Write(WriteBatch()).ok());
  EXPECT_EQ(db_->LastSequence(), 4U);
}

TEST_F(DbTest, WhatNoTableTakesIsRefusedBeforeItIsLogged) {
  const std::string longest(kTableKeyBytesMax - kKeyTrailerBytes, 'k');
  EXPECT_TRUE(Put(longest + "k", "v").Is(io::StatusCode::kInvalidArgument));
  EXPECT_TRUE(Delete(longest + "k").Is(io::StatusCode::kInvalidArgument));
  EXPECT_TRUE(
      Put("k", std::string(kTableValueBytesMax + 1, 'v')).Is(io::StatusCode::kInvalidArgument));
  EXPECT_EQ(db_->LastSequence(), 0U);
  ASSERT_TRUE(Put(longest, "v").ok());
  ASSERT_TRUE(db_->Flush().ok());
  EXPECT_EQ(Get(longest), "v");
  Reopen();
  EXPECT_EQ(Get(longest), "v");
}

TEST_F(DbTest, SyncedWritesSurviveACrashAndOthersAreAPrefix) {
  ASSERT_TRUE(Put("a", "1", true).ok());
  EXPECT_EQ(db_->DurableSequence(), 1U);
  ASSERT_TRUE(Put("b", "2").ok());
  EXPECT_EQ(db_->DurableSequence(), 1U);
  CrashAndOpen();
  EXPECT_EQ(Scan(), "a=1 ok");
  EXPECT_EQ(db_->LastSequence(), 1U);
  ASSERT_TRUE(Put("c", "3").ok());
  ASSERT_TRUE(db_->Sync().ok());
  CrashAndOpen();
  EXPECT_EQ(Scan(), "a=1 c=3 ok");
}

TEST_F(DbTest, CloseMakesEverythingDurable) {
  ASSERT_TRUE(Put("a", "1").ok());
  ASSERT_TRUE(db_->Close().ok());
  CrashAndOpen();
  EXPECT_EQ(Get("a"), "1");
}

TEST_F(DbTest, TheCommitIntervalMakesWritesDurable) {
  db_->SetCommitInterval(1000);
  ASSERT_TRUE(Put("a", "1").ok());
  EXPECT_TRUE(Eventually([&] {
    clock_.AdvanceNs(100'000'000);
    return db_->DurableSequence() == 1;
  }));
}

TEST_F(DbTest, ASnapshotStaysTheSameThroughEverything) {
  ASSERT_TRUE(Put("a", "1").ok());
  ASSERT_TRUE(Put("b", "1").ok());
  const SequenceNumber snapshot = db_->AcquireSnapshot();
  const std::unique_ptr<Iterator> iterator = db_->NewIterator({});
  ASSERT_TRUE(Put("a", "2").ok());
  ASSERT_TRUE(Delete("b").ok());
  ASSERT_TRUE(Put("c", "2").ok());
  for (int step = 0; step < 4; ++step) {
    EXPECT_EQ(Scan(snapshot), "a=1 b=1 ok") << step;
    EXPECT_EQ(Get("b", snapshot), "1");
    EXPECT_EQ(Scan(), "a=2 c=2 ok");
    ASSERT_TRUE(step % 2 == 0 ? db_->Flush().ok() : Compact().ok());
  }
  db_->ReleaseSnapshot(snapshot);
  ASSERT_TRUE(Compact().ok());
  EXPECT_EQ(Scan(), "a=2 c=2 ok");
  std::string keys;
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) keys += iterator->key();
  EXPECT_EQ(keys, "ab") << "an iterator reads as of its making";
}

// The table cache used to close a table whose missing blocks were about to be read together.
TEST_F(DbTest, ABatchOfReadsKeepsItsTablesOpen) {
  options_.open_table_count_max = 1;
  options_.block_cache_bytes = 0;
  Reopen();
  Fill("k", 1000, 200);
  ASSERT_TRUE(Compact().ok());
  ASSERT_GT(TableNames().size(), 8U);
  std::vector<std::string> keys;
  for (int i = 0; i < 1000; i += 20) keys.push_back("k" + std::to_string(1000 + i));
  const auto values = db_->MultiGet({}, keys);
  ASSERT_TRUE(values.ok()) << values.status().ToString();
  for (const auto& value : *values) EXPECT_TRUE(value);
}

TEST_F(DbTest, ATableStaysAsLongAsAnIteratorNeedsIt) {
  Fill("k", 300, 100);
  ASSERT_TRUE(db_->Flush().ok());
  const std::set<std::string> old_tables = TableNames();
  std::unique_ptr<Iterator> iterator = db_->NewIterator({});
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(Delete("k" + std::to_string(1000 + i)).ok());
  ASSERT_TRUE(Compact().ok());
  EXPECT_EQ(Scan(), "ok");
  EXPECT_TRUE(Eventually([&] { return TableNames() == old_tables; }));
  int count = 0;
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) ++count;
  EXPECT_TRUE(iterator->status().ok()) << iterator->status().ToString();
  EXPECT_EQ(count, 300);
  iterator.reset();
  ASSERT_TRUE(Compact().ok());  // purges
  EXPECT_TRUE(Eventually([&] { return TableNames().empty(); }));
}

TEST_F(DbTest, CacheOnlyReadsDoNotWaitForTheDisk) {
  ASSERT_TRUE(Put("a", "1").ok());
  ReadOptions cache_only;
  cache_only.cache_only = true;
  EXPECT_TRUE(db_->Get(cache_only, "a").ok()) << "in the memtable";
  ASSERT_TRUE(db_->Flush().ok());
  Reopen();
  const std::string keys[] = {"a", "zz"};
  EXPECT_TRUE(db_->Get(cache_only, "a").status().Is(io::StatusCode::kWouldBlock));
  EXPECT_TRUE(db_->MultiGet(cache_only, keys).status().Is(io::StatusCode::kWouldBlock));
  const std::unique_ptr<Iterator> iterator = db_->NewIterator(cache_only);
  iterator->SeekToFirst();
  EXPECT_TRUE(iterator->status().Is(io::StatusCode::kWouldBlock));
  const auto both = db_->MultiGet({}, keys);
  ASSERT_TRUE(both.ok());
  ASSERT_TRUE((*both)[0]);
  EXPECT_EQ((*both)[0]->view(), "1");
  EXPECT_FALSE((*both)[1]);
  ASSERT_TRUE(db_->Get(cache_only, "a").ok());
  ASSERT_TRUE(*db_->Get(cache_only, "a"));
}

TEST_F(DbTest, AReadOnlyEngineSeesEverythingAndChangesNothing) {
  ASSERT_TRUE(Put("a", "1").ok());
  ASSERT_TRUE(db_->Flush().ok());
  ASSERT_TRUE(Put("b", "2").ok());
  WriteBatch counter;
  counter.AddCounter(1, 5);
  ASSERT_TRUE(db_->Write(std::move(counter), true).ok());
  auto left = storage_->CrashClone(1, CrashMode::kLoseAllUnsynced);
  db_.reset();
  storage_ = std::move(left);
  options_.read_only = true;
  const uint64_t io_count = storage_->io_count();
  Open();
  EXPECT_EQ(Scan(), "a=1 b=2 ok");
  EXPECT_EQ(db_->Counter(1), 5);
  EXPECT_TRUE(Put("c", "3").Is(io::StatusCode::kInvalidArgument));
  EXPECT_FALSE(Compact().ok());
  EXPECT_TRUE(db_->VerifyInvariants(true).ok());
  db_->Stats();
  ASSERT_TRUE(db_->Close().ok());
  EXPECT_EQ(storage_->io_count(), io_count);
}

TEST_F(DbTest, DeadRangesVanishFromEveryLevel) {
  Fill("d", 300, 100);
  Fill("e", 20, 100);
  ASSERT_TRUE(Compact(0).ok());
  ASSERT_TRUE(Compact(1).ok());
  WriteBatch drop;
  drop.DropRange("d", "e");
  ASSERT_TRUE(db_->Write(std::move(drop)).ok());
  const uint64_t before = db_->Stats().live_table_bytes;
  ASSERT_TRUE(Compact().ok());
  EXPECT_LT(db_->Stats().live_table_bytes, before / 5);
  EXPECT_GT(db_->Stats().dropped["drop_range"] + db_->Stats().delete_only, 0U);
  EXPECT_EQ(Get("e1001").substr(0, 1), "1");
  Reopen();
  EXPECT_EQ(Get("d1001"), "none");
  EXPECT_TRUE(db_->VerifyInvariants(true).ok());
}

TEST_F(DbTest, TombstonesAreGoneWithinTheDeadline) {
  options_.disable_automatic_compaction = false;
  options_.l0_compaction_trigger = 100;
  options_.delete_deadline_ms = 100'000;
  Reopen();
  Fill("k", 200, 100);
  ASSERT_TRUE(Compact(0).ok());
  ASSERT_TRUE(Compact(1).ok());
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(Delete("k" + std::to_string(1000 + i)).ok());
  db_->WaitForQuiescence();
  EXPECT_GT(db_->Stats().live_table_bytes, 10'000U);
  clock_.AdvanceNs(60'000'000'000);  // beyond half of it, where the work begins
  EXPECT_TRUE(Eventually([&] { return db_->Stats().live_table_bytes == 0; }));
  db_->WaitForQuiescence();
  EXPECT_TRUE(Eventually([&] { return TableNames().empty(); }));
}

TEST_F(DbTest, ManualCompactionReportsAndCanBeCancelled) {
  Fill("k", 500, 100);
  ASSERT_TRUE(db_->Flush().ok());
  JobControl cancelled;
  cancelled.Cancel();
  EXPECT_TRUE(db_->Compact({}, cancelled, nullptr).Is(io::StatusCode::kCancelled));
  std::vector<std::string> passes;
  const auto progress = [&](const CompactionProgress& p) {
    EXPECT_LE(p.bytes_done, p.bytes_total);
    EXPECT_LT(p.pass_index, p.pass_count);
    if (passes.empty() || passes.back() != p.pass) passes.push_back(p.pass);
  };
  ASSERT_TRUE(db_->Compact({}, never_, progress).ok());
  EXPECT_EQ(passes, (std::vector<std::string>{"flush", "level 0", "level 1", "value files"}));
  EXPECT_TRUE(Compact(kLevelCount).Is(io::StatusCode::kInvalidArgument));
  EXPECT_TRUE(Compact(-2).Is(io::StatusCode::kInvalidArgument));
  const DbStats stats = db_->Stats();
  EXPECT_EQ(stats.levels[0].files, 0U);
  EXPECT_GT(stats.levels[1].files, 1U);
  EXPECT_GT(stats.compaction_bytes_read, 0U);
  EXPECT_GT(stats.compaction_bytes_written, 0U);
}

TEST_F(DbTest, ClosingInterruptsAThrottledCompaction) {
  options_.disable_automatic_compaction = false;
  options_.l0_compaction_trigger = 2;
  options_.clock = &io::SystemClock();
  Reopen();
  db_->SetCompactionRate(64 * io::kKiB);
  for (int round = 0; round < 3; ++round) {
    Fill("k", 400, 500);
    ASSERT_TRUE(db_->Sync().ok());
  }
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(db_->Close().ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500));
  db_.reset();
  Open();
  EXPECT_EQ(Get("k1399").substr(0, 3), "399");
}

TEST_F(DbTest, TheAutomaticRateFollowsTheForegroundUntilAFixedOneIsSet) {
  options_.compaction_rate = kRateAuto;
  options_.clock = &io::SystemClock();
  Reopen();
  EXPECT_TRUE(db_->Stats().rate_auto);
  ASSERT_TRUE(Put("a", "1", true).ok());
  // Nobody is there for a while: the background gets everything.
  EXPECT_TRUE(Eventually([&] { return db_->Stats().limiter.rate == AutoRate::kRateMax; }));
  db_->SetCompactionRate(20 * io::kMiB);
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  EXPECT_FALSE(db_->Stats().rate_auto);
  EXPECT_EQ(db_->Stats().limiter.rate, 20 * io::kMiB);
  db_->SetCompactionRate(kRateAuto);
  EXPECT_TRUE(db_->Stats().rate_auto);
  EXPECT_EQ(db_->Stats().limiter.rate, AutoRate::kRateStart);
}

TEST_F(DbTest, OpenIsNotLimited) {
  Fill("k", 1000, 500);  // 500 KB, twice the burst
  ASSERT_TRUE(db_->Sync().ok());
  options_.clock = &io::SystemClock();
  options_.compaction_rate = 1;  // a byte per second
  const auto begin = std::chrono::steady_clock::now();
  CrashAndOpen();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(Get("k1999").substr(0, 3), "999");
  EXPECT_EQ(db_->Stats().limiter.rate, 1U);
}

TEST_F(DbTest, AFailedLogWriteIsStickyButReadsGoOn) {
  ASSERT_TRUE(Put("a", "1", true).ok());
  // The log in use; the next one is being prepared.
  std::vector<std::string> logs = storage_->List().value();
  std::erase_if(logs, [](const std::string& name) { return !name.ends_with(".wal"); });
  std::sort(logs.begin(), logs.end());
  storage_->faults().Add(
      {FaultOperation::kWrite, logs.front(), 0, 1, io::Status::IoError("injected", {}, EIO)});
  EXPECT_TRUE(Put("b", "2", true).Is(io::StatusCode::kIoError));
  EXPECT_TRUE(Put("c", "3").Is(io::StatusCode::kIoError));
  EXPECT_TRUE(db_->Sync().Is(io::StatusCode::kIoError));
  EXPECT_EQ(Get("a"), "1");
  EXPECT_TRUE(db_->Close().Is(io::StatusCode::kIoError));
  db_.reset();
  Open();
  EXPECT_EQ(Get("a"), "1");
  EXPECT_TRUE(Put("c", "3", true).ok());
}

TEST_F(DbTest, AFullDiskFailsAFlushButNotTheNextOne) {
  ASSERT_TRUE(Put("a", "1").ok());
  storage_->faults().Add({FaultOperation::kCreate, ".sst", 0, testing::kFaultForever,
                          io::Status::NoSpace("injected")});
  EXPECT_TRUE(db_->Flush().Is(io::StatusCode::kNoSpace));
  EXPECT_EQ(Get("a"), "1");
  storage_->faults().Clear();
  EXPECT_TRUE(db_->Flush().ok()) << "asked again, it tries again";
  EXPECT_EQ(Get("a"), "1");
}

TEST_F(DbTest, AFailedManifestWriteIsStickyAndRemovesNothing) {
  ASSERT_TRUE(Put("a", "1").ok());
  storage_->faults().Add(
      {FaultOperation::kSync, "MANIFEST", 0, 1, io::Status::IoError("injected", {}, EIO)});
  EXPECT_FALSE(db_->Flush().ok());
  EXPECT_FALSE(db_->Flush().ok());
  EXPECT_GE(TableNames().size(), 1U) << "the manifest may name it";
  EXPECT_EQ(Get("a"), "1");
  EXPECT_TRUE(Put("b", "2", true).ok()) << "the log is fine";
  EXPECT_FALSE(db_->Close().ok());
  for (const CrashMode mode : {CrashMode::kLoseAllUnsynced, CrashMode::kKeepAll}) {
    CrashAndOpen(mode);
    EXPECT_EQ(Scan(), "a=1 b=2 ok");
    ASSERT_TRUE(db_->Close().ok());
  }
}

TEST_F(DbTest, DamageInATableFailsItsKeysAndNothingElse) {
  Fill("a", 100, 100);
  ASSERT_TRUE(db_->Flush().ok());
  ASSERT_EQ(TableNames().size(), 1U);
  const std::string damaged = *TableNames().begin();
  Fill("b", 100, 100);
  ASSERT_TRUE(db_->Flush().ok());
  storage_->CorruptByte(damaged, 100);
  Reopen();
  EXPECT_EQ(Get("a1000"), "error: " + std::string(io::StatusCodeName(io::StatusCode::kCorruption)));
  EXPECT_EQ(Get("a1099").substr(0, 2), "99");
  EXPECT_EQ(Get("b1050").substr(0, 2), "50");
  EXPECT_TRUE(db_->VerifyInvariants(true).Is(io::StatusCode::kCorruption));
  EXPECT_TRUE(db_->VerifyInvariants(false).ok());
  EXPECT_TRUE(Compact().Is(io::StatusCode::kCorruption));
  EXPECT_EQ(Get("a1099").substr(0, 2), "99") << "a failed compaction changes nothing";
}

}  // namespace
}  // namespace terracefs::lsm
