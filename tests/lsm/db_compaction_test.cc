// What starts a compaction, who runs it and what stops it, on a whole engine: what the pickers alone
// (tests/lsm/compaction/) cannot show.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "io/base/log.h"
#include "io/base/random.h"
#include "lsm/db.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using testing::FaultOperation;

class DbCompactionTest : public ::testing::Test {
 protected:
  DbCompactionTest() {
    options_.memtable_bytes = io::kMiB;
    options_.log_file_bytes = io::kMiB;
    options_.block_cache_bytes = io::kMiB;
    options_.block_bytes = 512;
    options_.table_bytes = 16 * io::kKiB;
    options_.level1_bytes = io::kMiB;
    options_.commit_interval_ms = 0;
    options_.clock = &clock_;
    EXPECT_TRUE(Db::Create(options_, storage_).ok());
    io::LsmLog().set_level(spdlog::level::off);
  }
  ~DbCompactionTest() override { io::LsmLog().set_level(spdlog::level::info); }

  void Open() {
    auto db = Db::Open(options_, storage_);
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    db_ = std::move(db).value();
  }
  void Close() {
    ASSERT_TRUE(db_->Close().ok());
    db_.reset();
  }
  void OpenWithoutAutomaticCompaction() {
    options_.disable_automatic_compaction = true;
    Open();
  }
  void OpenWithAutomaticCompaction() {
    if (db_) Close();
    options_.disable_automatic_compaction = false;
    Open();
  }
  void Put(const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.Put(key, value);
    ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  }
  void Delete(const std::string& key) {
    WriteBatch batch;
    batch.Delete(key);
    ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  }
  static std::string Key(int i) { return "k" + std::to_string(10000 + i); }
  void Fill(int begin, int end, size_t value_bytes) {
    for (int i = begin; i < end; ++i) {
      std::string value;
      io::Random random(static_cast<uint64_t>(i));
      while (value.size() < value_bytes) io::PutFixed64(&value, random.Next());
      Put(Key(i), value);
    }
  }
  void Flush() { ASSERT_TRUE(db_->Flush().ok()); }
  void Compact(const CompactionRequest& request = {}) {
    const io::Status status = db_->Compact(request, control_, nullptr);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  LevelStats Level(int level) { return db_->Stats().levels[static_cast<size_t>(level)]; }
  uint64_t LiveBytes() { return db_->Stats().live_table_bytes; }
  uint64_t JobsFor(const std::string& reason) {
    const auto jobs = db_->Stats().jobs_by_reason;
    const auto found = jobs.find(reason);
    return found == jobs.end() ? 0 : found->second;
  }
  bool Exists(const std::string& key) {
    const auto found = db_->Get({}, key);
    EXPECT_TRUE(found.ok()) << found.status().ToString();
    return found.ok() && found->has_value();
  }
  // Calls `condition` until it is true, for at most ten seconds.
  template <typename Condition>
  static bool Eventually(Condition condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  static constexpr int kLast = kLevelCount - 1;

  io::ManualClock clock_{1'700'000'000'000'000'000};
  JobControl control_;
  Options options_;
  testing::SimStorage storage_;
  std::unique_ptr<Db> db_;
};

TEST_F(DbCompactionTest, Level0GoesStraightToTheLastLevelOfASmallStore) {
  OpenWithoutAutomaticCompaction();
  Fill(0, 200, 100);
  Compact();
  EXPECT_GT(Level(kLast).files, 0U);
  EXPECT_EQ(Level(1).files, 0U);
  // So a tombstone meets the bottom in its first merge.
  for (int i = 0; i < 200; ++i) Delete(Key(i));
  Compact();
  EXPECT_EQ(LiveBytes(), 0U);
  EXPECT_EQ(db_->Stats().dropped["tombstone"], 200U);
  EXPECT_EQ(db_->Stats().dropped["hidden"], 200U);
}

// A6: what a shutdown left undone is done after the next open, without any write.
TEST_F(DbCompactionTest, OpeningStartsWhatIsDue) {
  OpenWithoutAutomaticCompaction();
  for (int round = 0; round < 5; ++round) {
    Fill(0, 50, 100);
    Flush();
  }
  EXPECT_EQ(Level(0).files, 5U);
  OpenWithAutomaticCompaction();
  EXPECT_TRUE(Eventually([&] { return Level(0).files == 0 && Level(kLast).files > 0; }));
  EXPECT_EQ(JobsFor("level 0"), 1U);
}

// A7: a job that overfills the next level is followed by one that relieves it.
TEST_F(DbCompactionTest, AJobStartsTheNext) {
  options_.dynamic_levels = false;
  options_.level1_bytes = 32 * io::kKiB;
  options_.level_multiplier = 2;
  OpenWithoutAutomaticCompaction();
  for (int round = 0; round < 4; ++round) {
    Fill(0, 800, 300);
    Flush();
  }
  OpenWithAutomaticCompaction();
  db_->WaitForQuiescence();
  EXPECT_GT(db_->Stats().jobs_done, 2U) << "from level 0 to 1, from 1 to 2, from 2 to 3";
  EXPECT_EQ(Level(0).files, 0U);
  for (int level = 0; level < kLast; ++level) EXPECT_LE(Level(level).score, 1) << level;
}

// A3: reads that look into a table in vain wear it out.
TEST_F(DbCompactionTest, WastedReadsStartACompaction) {
  options_.dynamic_levels = false;
  options_.l0_compaction_trigger = 100;
  OpenWithoutAutomaticCompaction();
  Fill(0, 200, 100);
  Compact({.level = 0});
  Compact({.level = 1});
  // A table over all of it, with the same keys in its filter only by chance: the keys are looked for
  // at a sequence that it does not have.
  const SequenceNumber snapshot = db_->AcquireSnapshot();
  Fill(0, 200, 100);
  Compact({.level = 0});
  ASSERT_GT(Level(1).files, 0U);
  ASSERT_GT(Level(2).files, 0U);
  db_->ReleaseSnapshot(snapshot);
  OpenWithAutomaticCompaction();
  db_->WaitForQuiescence();
  ASSERT_EQ(JobsFor("reads"), 0U);
  ReadOptions options;
  options.snapshot = snapshot;
  for (int round = 0; round < 400 && JobsFor("reads") == 0; ++round) {
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(db_->Get(options, Key(i)).ok());
  }
  EXPECT_TRUE(Eventually([&] { return JobsFor("reads") > 0; }));
}

// A4: so do scans that have to pass many dead entries, or read from several tables.
TEST_F(DbCompactionTest, ScansOverGarbageStartACompaction) {
  options_.l0_compaction_trigger = 100;
  options_.garbage_ratio = 1;
  options_.delete_deadline_ms = 1'000'000'000;
  OpenWithoutAutomaticCompaction();
  Fill(0, 1000, 20);
  Compact();
  for (int i = 0; i < 999; ++i) Delete(Key(i));
  Flush();
  OpenWithAutomaticCompaction();
  for (int i = 0; i < 3000 && JobsFor("reads") == 0; ++i) {
    const std::unique_ptr<Iterator> it = db_->NewIterator({});
    it->SeekToFirst();
    ASSERT_TRUE(it->Valid());
    ASSERT_EQ(it->key(), Key(999));
  }
  EXPECT_TRUE(Eventually([&] { return JobsFor("reads") > 0; }));
  db_->WaitForQuiescence();
  EXPECT_EQ(Level(kLast).tombstones + Level(0).tombstones, 0U);
}

// Q4: tombstones in a quiet level go by the deadline, with nobody writing. The clock alone moves.
TEST_F(DbCompactionTest, TombstonesOfAQuietStoreGoByTheDeadline) {
  options_.delete_deadline_ms = 60'000;
  options_.l0_compaction_trigger = 100;
  OpenWithoutAutomaticCompaction();
  Fill(0, 500, 100);
  Compact();
  for (int i = 0; i < 100; ++i) Delete(Key(5 * i));
  Flush();
  OpenWithAutomaticCompaction();
  db_->WaitForQuiescence();
  EXPECT_EQ(Level(0).tombstones, 100U) << "not due yet";
  clock_.AdvanceNs(59'000'000'000);
  db_->WaitForQuiescence();
  EXPECT_EQ(Level(0).tombstones, 0U);
  EXPECT_EQ(Level(kLast).tombstones, 0U);
  EXPECT_EQ(JobsFor("deadline"), 1U);
  EXPECT_FALSE(Exists(Key(5)));
  EXPECT_TRUE(Exists(Key(6)));
}

// What a snapshot kept at the bottom goes when the snapshot goes, with nobody writing.
TEST_F(DbCompactionTest, ReleasingASnapshotStartsTheElision) {
  OpenWithoutAutomaticCompaction();
  Fill(0, 200, 100);
  Flush();
  OpenWithAutomaticCompaction();
  const SequenceNumber snapshot = db_->AcquireSnapshot();
  for (int i = 0; i < 200; ++i) Delete(Key(i));
  Compact();
  db_->WaitForQuiescence();
  EXPECT_GT(LiveBytes(), 200U * 100);
  ReadOptions options;
  options.snapshot = snapshot;
  const auto old = db_->Get(options, Key(7));
  ASSERT_TRUE(old.ok() && *old);
  db_->ReleaseSnapshot(snapshot);
  EXPECT_TRUE(Eventually([&] { return LiveBytes() == 0; }));
  EXPECT_GT(JobsFor("elision"), 0U);
}

// A9, A10: a domain that is declared dead is purged on every level, unread where whole tables are in
// it, and rewritten in place where it is most of a table.
TEST_F(DbCompactionTest, ADeadDomainIsPurgedOnEveryLevel) {
  options_.dynamic_levels = false;
  options_.delete_deadline_ms = 1'000'000'000;
  OpenWithoutAutomaticCompaction();
  for (int level = 3; level >= 0; --level) {
    Fill(100, 300, 200);
    Put("a", "1");
    Put("z", "1");
    Flush();
    for (int from = 0; from < level; ++from) Compact({.level = from});
  }
  for (int level = 0; level <= 3; ++level) ASSERT_GT(Level(level).files, 0U) << level;
  OpenWithAutomaticCompaction();
  WriteBatch batch;
  batch.DropRange("k", "l");
  ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  Flush();
  const bool gone = Eventually([&] {
    uint64_t below = 0;
    for (int level = 1; level < kLevelCount; ++level) below += Level(level).bytes;
    return below < 40 * io::kKiB;
  });
  EXPECT_TRUE(gone);
  EXPECT_GT(db_->Stats().delete_only, 0U);
  EXPECT_GT(JobsFor("garbage"), 0U);
  EXPECT_TRUE(Exists("a"));
  EXPECT_TRUE(Exists("z"));
}

// A table is not rewritten for a dead range that lies between two of its keys.
TEST_F(DbCompactionTest, ADeadRangeBetweenTheKeysOfATableCostsNothing) {
  options_.delete_deadline_ms = 20'000;
  OpenWithoutAutomaticCompaction();
  Fill(0, 100, 100);
  Fill(200, 300, 100);
  Compact();
  OpenWithAutomaticCompaction();
  WriteBatch batch;
  batch.DropRange(Key(150), Key(160));
  ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  Flush();
  std::this_thread::sleep_for(std::chrono::milliseconds(600));  // upkeep looks at it
  clock_.AdvanceNs(40'000'000'000);
  db_->WaitForQuiescence();
  EXPECT_EQ(db_->Stats().jobs_done, 0U);
}

// B1, Q1: a flush does not wait for a compaction, however slow that is.
TEST_F(DbCompactionTest, FlushNeverWaitsForACompaction) {
  options_.clock = &io::SystemClock();
  OpenWithoutAutomaticCompaction();
  for (int round = 0; round < 5; ++round) {
    Fill(0, 500, 200);
    Flush();
  }
  OpenWithAutomaticCompaction();
  ASSERT_TRUE(Eventually([&] { return db_->Stats().jobs_running == 1 || JobsFor("level 0") > 0; }));
  JobControl paused;
  paused.Pause();
  std::thread job([&] { ASSERT_TRUE(db_->Compact({}, paused, nullptr).ok()); });
  for (int round = 0; round < 3; ++round) {
    Fill(1000, 1100, 50);
    Flush();
  }
  paused.Resume();
  job.join();
}

// B4: workers can be added while the engine runs; they share the work without touching each other's.
TEST_F(DbCompactionTest, WorkersAreAddedLive) {
  options_.dynamic_levels = false;
  options_.level1_bytes = 16 * io::kKiB;
  options_.level_multiplier = 2;
  OpenWithAutomaticCompaction();
  db_->SetCompactionWorkers(4);
  EXPECT_EQ(db_->Stats().compaction_workers, 4);
  for (int round = 0; round < 6; ++round) {
    Fill(0, 1500, 200);
    Flush();
  }
  db_->SetCompactionWorkers(1);
  db_->WaitForQuiescence();
  ASSERT_TRUE(db_->VerifyInvariants(true).ok());
  for (int i = 0; i < 1500; i += 13) EXPECT_TRUE(Exists(Key(i)));
}

// A job that stands still between two entries goes on, or ends, when told; and lets go of its tables
// when the pause gets long.
TEST_F(DbCompactionTest, AJobCanBePausedResumedAndCancelled) {
  options_.clock = &io::SystemClock();
  OpenWithoutAutomaticCompaction();
  Fill(0, 3000, 300);
  Flush();
  Fill(0, 3000, 300);
  JobControl control;
  control.Pause();
  std::atomic<bool> ended{false};
  io::Status status;
  std::thread job([&] {
    status = db_->Compact({}, control, nullptr);
    ended = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_FALSE(ended);
  EXPECT_EQ(db_->Stats().compaction_bytes_written, 0U);
  control.Resume();
  EXPECT_TRUE(Eventually([&] { return ended.load(); }));
  job.join();
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(Level(0).files, 0U);

  JobControl cancelled;
  std::thread second([&] { status = db_->Compact({.self_level = true}, cancelled, nullptr); });
  cancelled.Pause();
  cancelled.Cancel();
  second.join();
  EXPECT_TRUE(status.ok() || status.Is(io::StatusCode::kCancelled)) << status.ToString();
  ASSERT_TRUE(db_->VerifyInvariants(true).ok());
}

TEST_F(DbCompactionTest, ALongPauseLetsGoOfTheTables) {
  options_.clock = &io::SystemClock();
  OpenWithoutAutomaticCompaction();
  for (int round = 0; round < 2; ++round) {
    Fill(0, 3000, 300);
    Flush();
  }
  JobControl control;
  io::Status status;
  bool paused = false;
  std::thread job([&] {
    status = db_->Compact({}, control, [&](const CompactionProgress& progress) {
      if (progress.pass == "level 0" && !std::exchange(paused, true)) control.Pause();
    });
  });
  ASSERT_TRUE(Eventually([&] { return control.paused(); }));
  EXPECT_TRUE(Eventually([&] { return db_->Stats().jobs_running == 0; })) << "held for ever";
  // Another job may have them meanwhile.
  Compact();
  control.Resume();
  job.join();
  EXPECT_TRUE(status.ok()) << status.ToString();
  ASSERT_TRUE(db_->VerifyInvariants(true).ok());
}

// K: everything is rewritten, nothing sinks, nothing comes back.
TEST_F(DbCompactionTest, SelfLevelRewritesWithoutSinking) {
  options_.dynamic_levels = false;
  OpenWithoutAutomaticCompaction();
  for (int level = 3; level >= 0; --level) {
    Fill(0, 300, 100);
    for (int i = level; i < 300; i += 10) Delete(Key(i));
    Flush();
    for (int from = 0; from < level; ++from) Compact({.level = from});
  }
  std::vector<bool> before;
  for (int i = 0; i < 300; ++i) before.push_back(Exists(Key(i)));
  std::array<uint64_t, kLevelCount> files{};
  for (int level = 0; level < kLevelCount; ++level) {
    files[static_cast<size_t>(level)] = Level(level).files;
  }
  const uint64_t written = db_->Stats().compaction_bytes_written;
  const uint64_t bytes = LiveBytes();
  Compact({.self_level = true});
  EXPECT_GE(db_->Stats().compaction_bytes_written - written, bytes / 2);
  for (int level = 0; level < kLevelCount; ++level) {
    EXPECT_EQ(Level(level).files > 0, files[static_cast<size_t>(level)] > 0) << level;
  }
  for (int i = 0; i < 300; ++i) EXPECT_EQ(Exists(Key(i)), before[static_cast<size_t>(i)]) << i;
  ASSERT_TRUE(db_->VerifyInvariants(true).ok());
}

TEST_F(DbCompactionTest, ARangeLeavesTheRestAlone) {
  options_.dynamic_levels = false;
  OpenWithoutAutomaticCompaction();
  Fill(0, 2000, 200);
  Compact({.level = 0});
  const uint64_t files = Level(1).files;
  ASSERT_GT(files, 10U);
  CompactionRequest request;
  request.level = 1;
  request.ranges = {{Key(0), Key(100)}, {Key(1900), Key(1901)}};
  Compact(request);
  EXPECT_GT(Level(2).files, 1U);
  EXPECT_LT(Level(2).files, files / 2);
  EXPECT_EQ(Level(1).files + Level(2).files, files) << "moved";
}

TEST_F(DbCompactionTest, AReclaimGoalStopsWhenItIsReached) {
  options_.dynamic_levels = false;
  OpenWithoutAutomaticCompaction();
  Fill(0, 3000, 200);
  Compact({.level = 0});
  for (int i = 0; i < 3000; ++i) {
    if (i % 3 != 0) Delete(Key(i));
  }
  Flush();
  const uint64_t live = LiveBytes();
  CompactionRequest request;
  request.reclaim_bytes = live / 5;
  Compact(request);
  EXPECT_LE(LiveBytes(), live - live / 5);
  request.reclaim_bytes = UINT64_MAX;
  Compact(request);
  EXPECT_LE(LiveBytes(), live / 2);
  request.level = 1;
  EXPECT_TRUE(
      db_->Compact(request, control_, nullptr).Is(io::StatusCode::kInvalidArgument));
}

// The estimate is what then happens, to 20 %.
TEST_F(DbCompactionTest, TheEstimateIsWhatHappens) {
  for (const bool dynamic : {true, false}) {
    SCOPED_TRACE(dynamic ? "dynamic" : "static");
    testing::SimStorage storage;
    options_.dynamic_levels = dynamic;
    // What is not entries must be as little as it is in tables of the real size.
    options_.table_bytes = 256 * io::kKiB;
    options_.block_bytes = 4096;
    options_.disable_automatic_compaction = true;
    ASSERT_TRUE(Db::Create(options_, storage).ok());
    auto opened = Db::Open(options_, storage);
    ASSERT_TRUE(opened.ok());
    db_ = std::move(opened).value();
    Fill(0, 4000, 300);
    Compact();
    Fill(1000, 3000, 300);
    for (int i = 0; i < 4000; i += 4) Delete(Key(i));
    WriteBatch batch;
    batch.DropRange(Key(3500), Key(3900));
    ASSERT_TRUE(db_->Write(std::move(batch)).ok());
    Flush();
    const uint64_t live = LiveBytes();
    const DbStats before = db_->Stats();
    const auto estimate = db_->EstimateCompaction({}, control_);
    ASSERT_TRUE(estimate.ok()) << estimate.status().ToString();
    EXPECT_EQ(db_->Stats().compaction_bytes_written, before.compaction_bytes_written);
    EXPECT_EQ(LiveBytes(), live);
    Compact();
    const DbStats after = db_->Stats();
    const auto near = [](const char* what, uint64_t estimated, uint64_t actual) {
      SCOPED_TRACE(what);
      EXPECT_GE(static_cast<double>(estimated), 0.8 * static_cast<double>(actual));
      EXPECT_LE(static_cast<double>(estimated), 1.2 * static_cast<double>(actual));
    };
    near("read", estimate->bytes_read, after.compaction_bytes_read - before.compaction_bytes_read);
    near("written", estimate->bytes_written, after.compaction_bytes_written - before.compaction_bytes_written);
    near("reclaimed", estimate->bytes_reclaimed, live - LiveBytes());
    Close();
  }
}

// E8: an expired value goes at a compaction, and never uncovers an older one.
TEST_F(DbCompactionTest, ExpiredValuesGo) {
  options_.dynamic_levels = false;
  options_.compaction_filter = [](std::string_view, std::string_view value, int64_t now_seconds) {
    return value.starts_with("until ") && std::stoll(std::string(value.substr(6))) < now_seconds
               ? Options::FilterDecision::kDelete
               : Options::FilterDecision::kKeep;
  };
  OpenWithoutAutomaticCompaction();
  const int64_t now = clock_.WallNs() / 1'000'000'000;
  Put("a", "for ever");
  Put("b", "for ever");
  Compact({.level = 0});
  Compact({.level = 1});
  Put("a", "until " + std::to_string(now - 10));
  Put("b", "until " + std::to_string(now + 10));
  Put("c", "until " + std::to_string(now - 10));
  Compact({.level = 0});
  EXPECT_FALSE(Exists("a"));
  EXPECT_TRUE(Exists("b"));
  EXPECT_FALSE(Exists("c"));
  EXPECT_EQ(db_->Stats().dropped["filtered"], 1U) << "c; a has become a tombstone";
  Compact({.level = 1});
  EXPECT_FALSE(Exists("a"));
  clock_.AdvanceNs(20'000'000'000);
  Compact({.level = 2});
  EXPECT_FALSE(Exists("b"));
}

// P1: closing does not wait for jobs, and installs nothing that is half done.
TEST_F(DbCompactionTest, ClosingEndsAJobBetweenTwoEntries) {
  options_.clock = &io::SystemClock();
  OpenWithoutAutomaticCompaction();
  for (int round = 0; round < 6; ++round) {
    Fill(0, 3000, 300);
    Flush();
  }
  OpenWithAutomaticCompaction();
  ASSERT_TRUE(Eventually([&] { return JobsFor("level 0") > 0; }));
  Close();
  OpenWithoutAutomaticCompaction();
  ASSERT_TRUE(db_->VerifyInvariants(true).ok());
  for (int i = 0; i < 3000; i += 7) EXPECT_TRUE(Exists(Key(i)));
}

// P3, Q10: a failed job holds nothing, and is done again.
TEST_F(DbCompactionTest, AFailedJobHoldsNothing) {
  OpenWithoutAutomaticCompaction();
  for (int round = 0; round < 2; ++round) {
    Fill(0, 500, 100);
    Flush();
  }
  storage_.faults().Add(
      {FaultOperation::kWrite, ".sst", 0, 1, io::Status::IoError("injected", {}, EIO)});
  EXPECT_TRUE(db_->Compact({}, control_, nullptr).Is(io::StatusCode::kIoError));
  ASSERT_TRUE(db_->VerifyInvariants(true).ok());
  Compact();
  EXPECT_EQ(Level(0).files, 0U);
}

// I: what each level cost, and why.
TEST_F(DbCompactionTest, StatisticsAreKeptByLevelAndReason) {
  OpenWithoutAutomaticCompaction();
  Fill(0, 500, 100);
  Flush();
  Fill(0, 500, 100);
  Compact();
  const DbStats stats = db_->Stats();
  const LevelStats& last = stats.levels[kLast];
  EXPECT_EQ(last.jobs, 1U);
  EXPECT_EQ(last.bytes_read, stats.compaction_bytes_read);
  EXPECT_EQ(last.bytes_written, stats.compaction_bytes_written);
  EXPECT_GT(last.bytes_read, 2 * 500U * 100);
  EXPECT_EQ(stats.jobs_by_reason, (std::map<std::string, uint64_t>{{"manual", 1}}));
  EXPECT_EQ(stats.dropped.at("hidden"), 500U);
}

}  // namespace
}  // namespace terracefs::lsm
