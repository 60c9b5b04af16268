// The engine on a disk that loses power, fails requests or fills up, at every I/O there is.
// Whatever happened, the next open must show a prefix of history that includes all that was made
// durable.
//
// The engine has threads of its own, so the n-th I/O is not the same one in every run, and a
// failure may take several runs to come back: SEED=n replays the workload and the crashes, not the
// timing. CRASH_SECONDS (default 8, per sweep) makes the sweeps denser.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "io/base/clock.h"
#include "io/base/log.h"
#include "io/base/mutex.h"
#include "tests/crash/db_history.h"
#include "tests/support/environment.h"

namespace terracefs::lsm::crash_test {
namespace {

using testing::CrashMode;
using testing::FaultEffect;
using testing::FaultOperation;
using testing::FaultRule;
using testing::FromEnvironment;
using testing::SimStorage;

const char* ModeName(CrashMode mode) {
  switch (mode) {
    case CrashMode::kLoseAllUnsynced:
      return "lose all";
    case CrashMode::kRandom:
      return "random";
    case CrashMode::kKeepAll:
      return "keep all";
  }
  return "?";
}

class DbCrashTest : public ::testing::Test {
 protected:
  DbCrashTest() : seed_(FromEnvironment("SEED", static_cast<uint64_t>(std::time(nullptr)))) {
    std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed_));
    std::fflush(stdout);
    // Hundreds of injected errors are expected.
    io::LsmLog().set_level(spdlog::level::off);
  }
  ~DbCrashTest() override { io::LsmLog().set_level(spdlog::level::info); }

  // Calls `run` with numbers that cover [0, count) evenly, first coarsely, then finer, until time
  // is up or all were used.
  void Sweep(uint64_t count, const std::function<void(uint64_t)>& run) {
    const int64_t end_ns =
        io::SystemClock().SteadyNs() +
        static_cast<int64_t>(FromEnvironment("CRASH_SECONDS", 8)) * 1'000'000'000;
    uint64_t step = 1;
    while (step < count) step *= 2;
    uint64_t done = 0;
    for (bool first = true; step > 0; step /= 2, first = false) {
      for (uint64_t i = first ? 0 : step; i < count; i += first ? step : 2 * step) {
        if (io::SystemClock().SteadyNs() > end_ns) {
          std::printf("ran %llu of %llu\n", static_cast<unsigned long long>(done),
                      static_cast<unsigned long long>(count));
          return;
        }
        run(i);
        ++done;
        if (HasFailure()) {
          std::printf("failed at %llu of %llu\n", static_cast<unsigned long long>(i),
                      static_cast<unsigned long long>(count));
          return;
        }
      }
    }
    std::printf("ran all %llu\n", static_cast<unsigned long long>(count));
  }

  const uint64_t seed_;
};

// ---- One life of an engine
// ------------------------------------------------------------------------

// An engine on `storage` from Create to Close, with a random workload. Stops at the first error,
// unless told otherwise.
class Life {
 public:
  Life(SimStorage& storage, uint64_t seed, uint64_t step_count)
      : storage_(storage),
        author_(seed),
        random_(seed + 1),
        options_(SmallOptions(seed)),
        step_count_(step_count) {}

  // `after_step` (may be null) is called between steps.
  io::Status Go(const std::function<void()>& after_step = nullptr) {
    TRY(Db::Create(options_, storage_));
    created_ = true;
    for (uint64_t i = 0; i < step_count_; ++i) {
      if (!db_) db_ = TRY(Db::Open(options_, storage_));
      TRY(Step(i));
      if (after_step) after_step();
    }
    return CloseDb();
  }

  const History& history() const { return history_; }
  History& history() { return history_; }
  const Options& options() const { return options_; }
  bool created() const { return created_; }
  Db* db() { return db_.get(); }
  std::unique_ptr<Db> TakeDb() { return std::move(db_); }
  Author& author() { return author_; }

 private:
  io::Status Step(uint64_t index) {
    // A little of everything early, so that short runs have it too.
    const uint64_t dice = index % 16 == 7 ? 90 + index / 16 % 10 : random_.Uniform(100);
    if (dice < 80) return Write(false);
    if (dice < 88) return Write(true);
    if (dice < 93) return Durably([this] { return db_->Sync(); });
    if (dice < 96) return Durably([this] { return db_->Flush(); });
    if (dice < 98) {
      CompactionRequest request;
      if (random_.OneIn(2)) request.level = static_cast<int>(random_.Uniform(kLevelCount));
      request.self_level = random_.OneIn(3);
      request.vacuum = random_.OneIn(2);
      return Durably([this, request] { return db_->Compact(request, never_, nullptr); });
    }
    return CloseDb();
  }
  io::Status CloseDb() {
    const std::unique_ptr<Db> closing = std::move(db_);
    return closing ? Durably([&] { return closing->Close(); }) : io::Status::Ok();
  }

  io::Status Write(bool durable) {
    TRY(db_->Write(history_.Append(author_.NextBatch()), durable));
    if (durable) history_.MarkDurable();
    return io::Status::Ok();
  }
  template <typename Call>
  io::Status Durably(Call call) {
    TRY(call());
    history_.MarkDurable();
    return io::Status::Ok();
  }

  SimStorage& storage_;
  Author author_;
  io::Random random_;
  const Options options_;
  const uint64_t step_count_;
  lsm::JobControl never_;
  bool created_ = false;
  History history_;
  std::unique_ptr<Db> db_;
};

// ---- After the crash --------------------------------------------------------------------------

struct Aftermath {
  bool created = true;    // Db::Create had returned ok
  bool also_use = false;  // go on with the store: compact, write, close, open
  uint64_t seed = 0;
};

// Opens what a crash left and checks everything that must hold.
void CheckStore(SimStorage& storage, const History& history, Options options,
                const Aftermath& what) {
  options.disable_automatic_compaction = true;
  auto opened = Db::Open(options, storage);
  if (!what.created && opened.status().Is(io::StatusCode::kNotFound)) {
    ASSERT_TRUE(Db::Create(options, storage).ok());
    opened = Db::Open(options, storage);
  }
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  std::unique_ptr<Db> db = std::move(opened).value();
  CheckFiles(*db, storage, options);
  History reached = history;
  const uint64_t count = reached.Check(*db);
  const io::Status verified = db->VerifyInvariants(true);
  ASSERT_TRUE(verified.ok()) << verified.ToString();
  if (::testing::Test::HasFailure()) return;
  if (what.also_use) {
    while (reached.attempted_count() > count) reached.TakeBack();
    lsm::JobControl never;
    CompactionRequest request;
    request.vacuum = what.seed % 2 == 0;
    const io::Status compacted = db->Compact(request, never, nullptr);
    ASSERT_TRUE(compacted.ok()) << compacted.ToString();
    EXPECT_EQ(reached.Check(*db), count) << "after compaction";
    Author author(what.seed);
    for (int i = 0; i < 10; ++i) {
      std::vector<Change> changes = author.NextBatch();
      // Its groups are not this history's.
      std::erase_if(changes, [](const Change& change) {
        return change.kind == Change::Kind::kDropGroup || change.key.starts_with("g");
      });
      ASSERT_TRUE(db->Write(reached.Append(std::move(changes)), i == 5).ok());
    }
    ASSERT_TRUE(db->Close().ok());
    reached.MarkDurable();
    db.reset();
    opened = Db::Open(options, storage);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    db = std::move(opened).value();
    reached.Check(*db);
  }
  const io::Status closed = db->Close();
  EXPECT_TRUE(closed.ok()) << closed.ToString();
}

void CheckAllCrashes(const SimStorage& storage, const History& history, const Options& options,
                     bool created, uint64_t seed) {
  struct Case {
    CrashMode mode;
    uint64_t seed;
  };
  const Case cases[] = {{CrashMode::kLoseAllUnsynced, 1},
                        {CrashMode::kKeepAll, 1},
                        {CrashMode::kRandom, seed},
                        {CrashMode::kRandom, seed + 1}};
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string("crash: ") + ModeName(c.mode) + ", seed " + std::to_string(c.seed));
    const std::unique_ptr<SimStorage> left = storage.CrashClone(c.seed, c.mode);
    CheckStore(*left, history, options, {created, (c.seed + seed) % 4 == 0, c.seed});
    if (::testing::Test::HasFailure()) return;
  }
}

constexpr uint64_t kStepCount = 150;

// How many changes a run without faults makes; runs differ a little.
uint64_t CountIos(uint64_t seed) {
  SimStorage storage(seed);
  Life life(storage, seed, kStepCount);
  const io::Status status = life.Go();
  EXPECT_TRUE(status.ok()) << status.ToString();
  return storage.io_count();
}

// ---- Power cuts -------------------------------------------------------------------------------

TEST_F(DbCrashTest, PowerCutAtAnyIoLeavesAPrefixWithAllThatWasDurable) {
  const uint64_t workload_count = 8;
  for (uint64_t workload = 0; workload < workload_count && !HasFailure(); ++workload) {
    CountIos(seed_ + workload);  // nothing fails without faults
  }
  const uint64_t io_count = CountIos(seed_);
  Sweep(io_count * workload_count, [&](uint64_t i) {
    // Neighbouring numbers are cuts of different workloads.
    const uint64_t seed = seed_ + i % workload_count;
    const uint64_t cut = i / workload_count;
    SCOPED_TRACE("cut at " + std::to_string(cut) + " of workload " + std::to_string(seed));
    SimStorage storage(seed);
    storage.CrashAtIo(cut, i % 2 == 0);
    Life life(storage, seed, kStepCount);
    life.Go().IgnoreError("the power is cut");
    life.TakeDb().reset();
    CheckAllCrashes(storage, life.history(), life.options(), life.created(), i);
  });
}

// The same, but the crash is taken while the engine is running and all its threads are busy.
TEST_F(DbCrashTest, CrashWhileRunningLeavesAPrefixWithAllThatWasDurable) {
  Sweep(64, [&](uint64_t i) {
    const uint64_t seed = seed_ + 1000 + i;
    SCOPED_TRACE("workload " + std::to_string(seed));
    SimStorage storage(seed);
    Life life(storage, seed, 4 * kStepCount);
    uint64_t step = 0;
    const io::Status status = life.Go([&] {
      if (++step % 29 != 0 || HasFailure()) return;
      CheckAllCrashes(storage, life.history(), life.options(), true, seed + step);
    });
    EXPECT_TRUE(status.ok()) << status.ToString();
  });
}

TEST_F(DbCrashTest, PowerCutDuringRecoveryLosesNothing) {
  Sweep(1024, [&](uint64_t i) {
    const uint64_t seed = seed_ + 2000 + i / 8;
    SimStorage storage(seed);
    storage.CrashAtIo(100 + io::Random(i).Uniform(1500));
    Life life(storage, seed, kStepCount);
    life.Go().IgnoreError("the power is cut");
    life.TakeDb().reset();
    History history = life.history();
    std::unique_ptr<SimStorage> left = storage.CrashClone(i, CrashMode::kRandom);
    // What the first recovery found is what all later ones must find: it may have said so.
    for (uint64_t cut = i % 8; cut < 60; cut += 8) {
      SCOPED_TRACE("recovery cut at " + std::to_string(cut));
      std::unique_ptr<SimStorage> again = left->CrashClone(1, CrashMode::kKeepAll);
      again->CrashAtIo(cut);
      if (auto db = Db::Open(life.options(), *again); db.ok()) {
        (*db)->Close().IgnoreError("the power may be cut");
      }
      CheckAllCrashes(*again, history, life.options(), life.created(), i + cut);
      if (HasFailure()) return;
    }
  });
}

// Long keys make the manifest outgrow its limit within a short run.
TEST_F(DbCrashTest, PowerCutWhileTheManifestIsReplacedLosesNothing) {
  const auto go = [&](SimStorage& storage, History* history, bool* created,
                      Options options) -> io::Status {
    TRY(Db::Create(options, storage));
    *created = true;
    const std::unique_ptr<Db> db = TRY(Db::Open(options, storage));
    for (int i = 0; i < 90; ++i) {
      std::vector<Change> changes;
      for (const char* edge : {"p", "q"}) {
        std::string key = edge + std::to_string(i % 7);
        key.resize(60'000, 'x');
        changes.push_back({Change::Kind::kPut, key, std::to_string(i), 0, 0});
      }
      TRY(db->Write(history->Append(std::move(changes))));
      TRY(db->Flush());
      history->MarkDurable();
    }
    return db->Close();
  };
  Options options = SmallOptions(seed_);
  options.log_file_bytes = 256 * io::kKiB;
  options.memtable_bytes = io::kMiB;
  options.l0_compaction_trigger = 2;
  options.table_bytes = io::kMiB;
  options.level1_bytes = 4 * io::kMiB;
  SimStorage whole(seed_);
  History whole_history;
  bool whole_created = false;
  const io::Status status = go(whole, &whole_history, &whole_created, options);
  ASSERT_TRUE(status.ok()) << status.ToString();
  // Create makes the first manifest, Open the second; a larger number shows a third.
  const auto current = whole.Contents(kCurrentFileName);
  ASSERT_TRUE(current.ok());
  ASSERT_EQ(current->find("MANIFEST-000001"), std::string::npos);
  ASSERT_EQ(current->find("MANIFEST-000002"), std::string::npos) << "manifest was not replaced";

  const uint64_t io_count = whole.io_count();
  Sweep(io_count, [&](uint64_t cut) {
    SCOPED_TRACE("cut at " + std::to_string(cut));
    SimStorage storage(seed_ + cut);
    storage.CrashAtIo(cut);
    History history;
    bool created = false;
    go(storage, &history, &created, options).IgnoreError("the power is cut");
    CheckAllCrashes(storage, history, options, created, cut);
  });
}

// ---- Many writers -----------------------------------------------------------------------------

// Threads write and sync at once; crashes are taken meanwhile. History is one sequence: whatever
// had returned before a batch was begun must be there if the batch is.
class Writers {
 public:
  static constexpr int kThreadCount = 4;

  Writers(Db& db, uint64_t seed) : db_(db), seed_(seed) {}

  void Start() {
    for (int t = 0; t < kThreadCount; ++t) threads_.emplace_back([this, t] { Work(t); });
  }
  void Stop() {
    stop_.store(true);
    for (std::thread& thread : threads_) thread.join();
  }

  struct Known {
    std::array<uint64_t, kThreadCount> count{};  // batches of each thread
  };
  Known durable() {
    io::MutexLock lock(mutex_);
    return durable_;
  }

  // `found`: how many batches of each thread a store holds that crashed after `durable` was asked.
  void Check(const Known& found, const Known& durable) {
    io::MutexLock lock(mutex_);
    uint64_t newest_begin = 0;
    for (size_t t = 0; t < kThreadCount; ++t) {
      EXPECT_GE(found.count[t], durable.count[t]) << "thread " << t << " lost what was durable";
      ASSERT_LE(found.count[t], begins_[t].size());
      if (found.count[t] > 0) newest_begin = std::max(newest_begin, begins_[t][found.count[t] - 1]);
    }
    for (size_t t = 0; t < kThreadCount; ++t) {
      for (uint64_t i = found.count[t]; i < ends_[t].size(); ++i) {
        EXPECT_GT(ends_[t][i], newest_begin)
            << "batch " << i + 1 << " of thread " << t << " is missing, a later one is there";
      }
    }
  }

  static std::string Key(size_t thread) { return "t" + std::to_string(thread); }

 private:
  void Work(int thread) {
    const auto t = static_cast<size_t>(thread);
    io::Random random(seed_ + t);
    for (uint64_t n = 1; !stop_.load(); ++n) {
      WriteBatch batch;
      batch.Put(Key(t), std::to_string(n));
      batch.Put("x" + std::to_string(random.Uniform(50)), std::string(random.Uniform(3000), 'v'));
      if (random.OneIn(300)) batch.Put("y", std::string(1'200'000, 'w'));  // a chunk by itself
      batch.AddCounter(static_cast<uint8_t>(t), 1);
      Known before;
      {
        io::MutexLock lock(mutex_);
        begins_[t].push_back(++ticket_);
        before = Acknowledged();
      }
      const bool durable = random.OneIn(4);
      EXPECT_TRUE(db_.Write(std::move(batch), durable).ok());
      {
        io::MutexLock lock(mutex_);
        ends_[t].push_back(++ticket_);
        if (durable) {
          before.count[t] = n;
          NoteDurable(before);
        }
        before = Acknowledged();
      }
      if (random.OneIn(10)) {
        EXPECT_TRUE(db_.Sync().ok());
        io::MutexLock lock(mutex_);
        NoteDurable(before);
      }
    }
  }
  Known Acknowledged() REQUIRES(mutex_) {
    Known known;
    for (size_t t = 0; t < kThreadCount; ++t) known.count[t] = ends_[t].size();
    return known;
  }
  void NoteDurable(const Known& known) REQUIRES(mutex_) {
    for (size_t t = 0; t < kThreadCount; ++t) {
      durable_.count[t] = std::max(durable_.count[t], known.count[t]);
    }
  }

  Db& db_;
  const uint64_t seed_;
  std::atomic<bool> stop_{false};
  io::Mutex mutex_;
  uint64_t ticket_ GUARDED_BY(mutex_) = 0;
  std::array<std::vector<uint64_t>, kThreadCount> begins_ GUARDED_BY(mutex_);
  std::array<std::vector<uint64_t>, kThreadCount> ends_ GUARDED_BY(mutex_);
  Known durable_ GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

TEST_F(DbCrashTest, ConcurrentWritersLoseNothingDurableAndKeepTheirOrder) {
  Options options = SmallOptions(seed_);
  options.log_file_bytes = 4 * io::kMiB;
  options.memtable_bytes = 3 * io::kMiB;
  options.table_bytes = 256 * io::kKiB;
  options.level1_bytes = io::kMiB;
  SimStorage storage(seed_);
  ASSERT_TRUE(Db::Create(options, storage).ok());
  auto opened = Db::Open(options, storage);
  ASSERT_TRUE(opened.ok());
  Writers writers(**opened, seed_);
  writers.Start();
  Sweep(200, [&](uint64_t i) {
    const Writers::Known durable = writers.durable();
    const CrashMode mode = i % 3 == 0   ? CrashMode::kLoseAllUnsynced
                           : i % 3 == 1 ? CrashMode::kRandom
                                        : CrashMode::kKeepAll;
    SCOPED_TRACE(ModeName(mode));
    const std::unique_ptr<SimStorage> left = storage.CrashClone(seed_ + i, mode);
    auto db = Db::Open(options, *left);
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    Writers::Known found;
    for (size_t t = 0; t < Writers::kThreadCount; ++t) {
      const auto value = (*db)->Get(ReadOptions(), Writers::Key(t));
      ASSERT_TRUE(value.ok());
      found.count[t] = *value ? std::stoull(std::string((*value)->view())) : 0;
      EXPECT_EQ((*db)->Counter(static_cast<uint8_t>(t)), static_cast<int64_t>(found.count[t]));
    }
    writers.Check(found, durable);
    EXPECT_TRUE((*db)->VerifyInvariants(true).ok());
  });
  writers.Stop();
  EXPECT_TRUE((*opened)->Close().ok());
}

// ---- Errors -----------------------------------------------------------------------------------

// One operation fails, once. What the caller was told is true afterwards: acknowledged data is in
// the running engine and, if durable, in the next one.
void CheckOneFault(uint64_t seed, const FaultRule& rule, bool* injected) {
  SimStorage storage(seed);
  storage.faults().Add(rule);
  Life life(storage, seed, kStepCount);
  const io::Status status = life.Go();
  *injected = storage.faults().injected_count() > 0;
  if (!*injected) {
    EXPECT_TRUE(status.ok()) << status.ToString();
    return;
  }
  if (Db* const db = life.db(); db != nullptr && !status.ok()) {
    // The engine goes on serving reads; what was written before the error is there.
    History seen = life.history();
    seen.Check(*db);
    EXPECT_FALSE(status.message().empty());
  }
  // Closing may report the error again; it must not hang or lose anything.
  life.TakeDb().reset();
  CheckAllCrashes(storage, life.history(), life.options(), life.created(), seed);
}

class DbFaultTest : public DbCrashTest {
 protected:
  void SweepFaults(uint64_t seed, const io::Status& error) {
    const uint64_t count = CountIos(seed) * 3 / 2;  // reads count too
    Sweep(count, [&](uint64_t i) {
      FaultRule rule;
      rule.pass_count = i;
      rule.status = error;
      rule.effect = static_cast<FaultEffect>(i % 3);
      SCOPED_TRACE("fault at operation " + std::to_string(i) + ", effect " + std::to_string(i % 3) +
                   ", workload " + std::to_string(seed + i % 4));
      bool injected = false;
      CheckOneFault(seed + i % 4, rule, &injected);
    });
  }
};

TEST_F(DbFaultTest, OneIoErrorAnywhereLosesNothingDurable) {
  SweepFaults(seed_, io::Status::IoError("injected fault", {}, EIO));
}

TEST_F(DbFaultTest, OneFullDiskAnywhereLosesNothingDurable) {
  SweepFaults(seed_ + 100, io::Status::NoSpace("injected fault"));
}

// Writes a batch, again and again while the disk is full: nothing may happen until it is not, and
// what failed in the background is tried again within a second.
void WriteWithPatience(Db& db, Author& author, History& history) {
  io::Status written = db.Write(history.Append(author.NextBatch()));
  for (int retry = 0; retry < 300 && written.Is(io::StatusCode::kNoSpace); ++retry) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    history.TakeBack();
    written = db.Write(history.Append(author.NextBatch()));
  }
  ASSERT_TRUE(written.ok()) << written.ToString();
}

// A disk that is full for tables only: whatever fails may be asked for again.
TEST_F(DbFaultTest, NoSpaceForATableIsNotSticky) {
  Sweep(40, [&](uint64_t i) {
    SCOPED_TRACE("fault " + std::to_string(i));
    const Options options = SmallOptions(seed_ + i);
    SimStorage storage(seed_);
    ASSERT_TRUE(Db::Create(options, storage).ok());
    auto opened = Db::Open(options, storage);
    ASSERT_TRUE(opened.ok());
    std::unique_ptr<Db> db = std::move(opened).value();
    FaultRule rule;
    rule.operation = FaultOperation::kWrite;
    rule.name_part = ".sst";
    rule.pass_count = i;
    rule.fault_count = 2;
    rule.status = io::Status::NoSpace("injected fault");
    rule.effect = static_cast<FaultEffect>(i % 3);
    storage.faults().Add(rule);
    Author author(seed_);
    History history;
    for (int n = 0; n < 60; ++n) {
      ASSERT_NO_FATAL_FAILURE(WriteWithPatience(*db, author, history));
      if (n % 10 != 9) continue;
      io::Status flushed = db->Flush();
      if (flushed.Is(io::StatusCode::kNoSpace)) flushed = db->Flush();
      if (flushed.Is(io::StatusCode::kNoSpace)) flushed = db->Flush();
      ASSERT_TRUE(flushed.ok()) << flushed.ToString();
    }
    const io::Status synced = db->Sync();
    ASSERT_TRUE(synced.ok()) << synced.ToString();
    history.MarkDurable();
    EXPECT_EQ(history.Check(*db), history.attempted_count());
    const io::Status closed = db->Close();
    ASSERT_TRUE(closed.ok()) << closed.ToString();
    db.reset();
    CheckAllCrashes(storage, history, options, true, i);
  });
}

// The whole disk is full, then there is room again. No write may be half done in between, and the
// engine goes on without being opened again, unless the log itself says that its end is unknown.
TEST_F(DbFaultTest, AFullDiskEmptiesItselfOrRecoversWhenThereIsRoom) {
  Sweep(12, [&](uint64_t i) {
    SCOPED_TRACE("workload " + std::to_string(seed_ + i));
    const Options options = SmallOptions(seed_ + i);
    SimStorage storage(seed_);
    ASSERT_TRUE(Db::Create(options, storage).ok());
    auto opened = Db::Open(options, storage);
    ASSERT_TRUE(opened.ok());
    std::unique_ptr<Db> db = std::move(opened).value();
    storage.SetCapacityBytes(storage.UsedBytes() + 300'000 + 7'777 * i);
    Author author(seed_ + i);
    History history;
    bool full = false;
    for (int n = 0; n < 5000 && !full; ++n) {
      const io::Status written = db->Write(history.Append(author.NextBatch()));
      if (written.ok()) continue;
      ASSERT_TRUE(written.Is(io::StatusCode::kNoSpace)) << written.ToString();
      history.TakeBack();
      full = true;
    }
    // Most of what is written is overwritten or dead: a disk may also never become full.
    const io::Status synced = db->Sync();
    ASSERT_TRUE(synced.ok()) << synced.ToString();
    history.MarkDurable();
    EXPECT_EQ(history.Check(*db), history.attempted_count()) << "while the disk is full";
    storage.SetCapacityBytes(uint64_t{1} << 40);
    for (int n = 0; n < 30; ++n) {
      ASSERT_NO_FATAL_FAILURE(WriteWithPatience(*db, author, history));
    }
    io::Status flushed = db->Flush();
    // One that was under way when there was no room yet may fail first.
    if (flushed.Is(io::StatusCode::kNoSpace)) flushed = db->Flush();
    ASSERT_TRUE(flushed.ok()) << flushed.ToString();
    history.MarkDurable();
    EXPECT_EQ(history.Check(*db), history.attempted_count()) << "with room again";
    ASSERT_TRUE(db->Close().ok());
    db.reset();
    CheckAllCrashes(storage, history, options, true, i);
  });
}

}  // namespace
}  // namespace terracefs::lsm::crash_test
