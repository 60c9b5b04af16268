// What starts a compaction, who runs it and what stops it, on a whole engine: what the pickers
// alone (tests/lsm/compaction/) cannot show.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "io/base/log.h"
#include "io/base/mutex.h"
#include "io/base/random.h"
#include "lsm/db.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using testing::FaultOperation;

// Stops jobs in the middle: merges ask it, as their compaction filter, about each newest value.
class Gate {
 public:
  // The next thread that comes to it, and all that follow, wait for Open.
  void Shut() { Set(true, {}); }
  void Open() { Set(false, {}); }
  // Open, but each entry takes so long.
  void OpenSlowly(std::chrono::microseconds each) { Set(false, each); }
  int waiting() const {
    const io::MutexLock lock(mutex_);
    return waiting_;
  }
  int passed() const {
    const io::MutexLock lock(mutex_);
    return passed_;
  }

  void Pass() {
    io::MutexLock lock(mutex_);
    ++waiting_;
    while (shut_) changed_.Wait(mutex_);
    --waiting_;
    ++passed_;
    const std::chrono::microseconds each = each_;
    lock.Unlock();
    if (each.count() > 0) std::this_thread::sleep_for(each);
    lock.Lock();
  }

 private:
  void Set(bool shut, std::chrono::microseconds each) {
    const io::MutexLock lock(mutex_);
    shut_ = shut;
    each_ = each;
    changed_.NotifyAll();
  }

  mutable io::Mutex mutex_;
  io::CondVar changed_;
  bool shut_ GUARDED_BY(mutex_) = false;
  std::chrono::microseconds each_ GUARDED_BY(mutex_){};
  int waiting_ GUARDED_BY(mutex_) = 0;
  int passed_ GUARDED_BY(mutex_) = 0;
};

Gate* gate = nullptr;  // a filter is a plain function

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
    gate = &gate_;
  }
  ~DbCompactionTest() override {
    gate_.Open();
    db_.reset();
    gate = nullptr;
    io::LsmLog().set_level(spdlog::level::info);
  }

  void UseGate() {
    options_.compaction_filter = [](std::string_view, std::string_view, int64_t) {
      gate->Pass();
      return Options::FilterDecision::kKeep;
    };
  }
  // A compaction of everything, in a thread of its own, that stands in the middle of its merge.
  std::future<io::Status> StartJobAtTheGate(JobControl& control) {
    gate_.Shut();
    auto job = std::async(std::launch::async,
                          [this, &control] { return db_->Compact({}, control, nullptr); });
    EXPECT_TRUE(Eventually([&] { return gate_.waiting() == 1; }));
    EXPECT_EQ(db_->Stats().jobs_running, 1U);
    return job;
  }

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
  // Calls `condition` until it is true; by default for at most ten seconds.
  template <typename Condition>
  static bool Eventually(Condition condition, int times = 2000) {
    for (int i = 0; i < times; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  static constexpr int kLast = kLevelCount - 1;

  Gate gate_;
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
  // A table over all of it, with the same keys in its filter only by chance: the keys are looked
  // for at a sequence that it does not have.
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

// A9, A10: a domain that is declared dead is purged on every level, unread where whole tables are
// in it, and rewritten in place where it is most of a table.
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
  UseGate();
  OpenWithoutAutomaticCompaction();
  Fill(0, 500, 200);
  std::future<io::Status> job = StartJobAtTheGate(control_);
  std::atomic<int> flushed{0};
  std::thread writer([&] {
    for (int round = 0; round < 3; ++round) {
      Fill(1000, 1100, 50);
      Flush();
      ++flushed;
    }
  });
  EXPECT_TRUE(Eventually([&] { return flushed == 3; }));
  EXPECT_EQ(gate_.waiting(), 1);
  gate_.Open();
  writer.join();
  EXPECT_TRUE(job.get().ok());
}

// B4: as many jobs run beside each other as there are workers, and workers come and go while the
// engine runs.
TEST_F(DbCompactionTest, WorkersComeAndGoLive) {
  for (const bool more : {true, false}) {
    SCOPED_TRACE(more ? "from 1 to 4" : "from 4 to 1");
    testing::SimStorage storage;
    options_.dynamic_levels = false;
    options_.delete_deadline_ms = 1'000'000'000;
    options_.garbage_ratio = 1;
    options_.compaction_workers = more ? 1 : 4;
    options_.compaction_filter = nullptr;
    options_.disable_automatic_compaction = true;
    ASSERT_TRUE(Db::Create(options_, storage).ok());
    const auto open = [&] {
      auto db = Db::Open(options_, storage);
      ASSERT_TRUE(db.ok());
      db_ = std::move(db).value();
    };
    open();
    Fill(0, 1500, 200);
    Compact({.level = 0});
    ASSERT_GT(Level(1).files, 10U);
    WriteBatch batch;
    for (int i = 0; i < 1500; i += 20) batch.DropRange(Key(i), Key(i + 10));
    ASSERT_TRUE(db_->Write(std::move(batch)).ok());
    Flush();
    Close();
    UseGate();
    options_.disable_automatic_compaction = false;
    open();
    gate_.Shut();
    db_->SetCompactionWorkers(more ? 4 : 1);
    EXPECT_EQ(db_->Stats().compaction_workers, more ? 4 : 1);
    db_->SetGarbageRatio(0.1);
    // The last of several is for level 0.
    const int jobs = more ? 3 : 1;
    EXPECT_TRUE(Eventually([&] { return gate_.waiting() == jobs; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_EQ(gate_.waiting(), jobs);
    gate_.Open();
    db_->WaitForQuiescence();
    ASSERT_TRUE(db_->VerifyInvariants(true).ok());
    for (int i = 10; i < 1500; i += 20) EXPECT_TRUE(Exists(Key(i)));
    Close();
  }
}

// B8: a paused job stands still between two entries, and goes on where it was.
TEST_F(DbCompactionTest, APausedJobStandsStillBetweenEntries) {
  UseGate();
  OpenWithoutAutomaticCompaction();
  Fill(0, 3000, 300);
  std::future<io::Status> job = StartJobAtTheGate(control_);
  control_.Pause();
  gate_.Open();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(gate_.passed(), 100);
  EXPECT_EQ(db_->Stats().jobs_running, 1U);
  control_.Resume();
  EXPECT_TRUE(job.get().ok());
  EXPECT_EQ(gate_.passed(), 3000) << "nothing was done again";
  EXPECT_EQ(Level(0).files, 0U);
}

// Nor does it begin while paused.
TEST_F(DbCompactionTest, APausedJobDoesNotBegin) {
  OpenWithoutAutomaticCompaction();
  Fill(0, 500, 300);
  control_.Pause();
  auto job = std::async(std::launch::async, [this] { return db_->Compact({}, control_, nullptr); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(Level(0).files, 0U) << "not even flushed";
  EXPECT_EQ(db_->Stats().compaction_bytes_written, 0U);
  control_.Resume();
  EXPECT_TRUE(job.get().ok());
  EXPECT_GT(db_->Stats().compaction_bytes_written, 0U);
}

// A pause may last: the job lets go of its tables, so that others may have them.
TEST_F(DbCompactionTest, ALongPauseLetsGoOfTheTables) {
  UseGate();
  OpenWithoutAutomaticCompaction();
  Fill(0, 3000, 300);
  std::future<io::Status> job = StartJobAtTheGate(control_);
  control_.Pause();
  gate_.Open();
  EXPECT_FALSE(Eventually([&] { return gate_.passed() > 100; }, 40));
  clock_.AdvanceNs(3'000'000'000);
  const bool let_go = Eventually([&] { return db_->Stats().jobs_running == 0; });
  EXPECT_TRUE(let_go);
  if (let_go) {
    JobControl other;
    EXPECT_TRUE(db_->Compact({}, other, nullptr).ok());
    EXPECT_EQ(Level(0).files, 0U);
  }
  control_.Resume();
  EXPECT_TRUE(job.get().ok());
  ASSERT_TRUE(db_->VerifyInvariants(true).ok());
}

// J4: cancelled between two entries, it leaves everything as it was.
TEST_F(DbCompactionTest, ACancelledJobEndsBetweenTwoEntries) {
  UseGate();
  OpenWithoutAutomaticCompaction();
  Fill(0, 3000, 300);
  std::future<io::Status> job = StartJobAtTheGate(control_);
  const uint64_t files = Level(0).files;
  EXPECT_GT(files, 0U);
  control_.Cancel();
  gate_.Open();
  const io::Status status = job.get();
  EXPECT_TRUE(status.Is(io::StatusCode::kCancelled)) << status.ToString();
  EXPECT_LT(gate_.passed(), 100);
  EXPECT_EQ(Level(0).files, files);
  EXPECT_EQ(Level(kLast).files, 0U);
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
  EXPECT_TRUE(db_->Compact(request, control_, nullptr).Is(io::StatusCode::kInvalidArgument));
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
    near("written", estimate->bytes_written,
         after.compaction_bytes_written - before.compaction_bytes_written);
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
  OpenWithoutAutomaticCompaction();
  for (int round = 0; round < 6; ++round) {
    Fill(0, 3000, 300);
    Flush();
  }
  UseGate();
  gate_.OpenSlowly(std::chrono::milliseconds(1));
  OpenWithAutomaticCompaction();
  EXPECT_TRUE(Eventually([&] { return gate_.passed() > 0; }));
  Close();
  EXPECT_LT(gate_.passed(), 3000);
  gate_.Open();
  OpenWithoutAutomaticCompaction();
  EXPECT_EQ(Level(kLast).files, 0U);
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

TEST_F(DbCompactionTest, EachSliceOfAJobCountsOnce) {
  options_.dynamic_levels = false;
  OpenWithoutAutomaticCompaction();
  Fill(0, 500, 100);
  Compact({.level = 0});
  Compact({.level = 1});
  Fill(0, 500, 100);
  Close();
  Open();
  uint64_t read_in_progress = 0;
  ASSERT_TRUE(db_->Compact({}, control_,
                           [&](const CompactionProgress& progress) {
                             read_in_progress = progress.bytes_read;
                           })
                  .ok());
  const DbStats stats = db_->Stats();
  EXPECT_EQ(stats.levels[1].jobs, 1U);
  EXPECT_EQ(stats.levels[2].jobs, 1U);
  EXPECT_EQ(stats.levels[1].bytes_read + stats.levels[2].bytes_read, stats.compaction_bytes_read);
  EXPECT_EQ(stats.levels[1].bytes_written + stats.levels[2].bytes_written,
            stats.compaction_bytes_written);
  EXPECT_EQ(read_in_progress, stats.compaction_bytes_read);
}

}  // namespace
}  // namespace terracefs::lsm
