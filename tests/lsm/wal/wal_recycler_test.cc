#include "lsm/wal/wal_recycler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "io/base/clock.h"
#include "io/base/units.h"
#include "io/rate_limiter.h"
#include "lsm/file_names.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using testing::CrashMode;
using testing::FaultOperation;
using testing::FaultRule;
using Names = std::vector<std::string>;
using Numbers = std::vector<FileNumber>;

constexpr uint64_t kLogBytes = 2 * io::kMiB + 4096;  // not a multiple of the zero write

class WalRecyclerTest : public ::testing::Test {
 protected:
  FileNumber NewNumber() {
    const FileNumber number = next_number_.fetch_add(1);
    if (before_use_) before_use_(number);
    return number;
  }
  Names Files() { return storage_.List().value(); }
  // Takes a log and gives it back as obsolete, so that it becomes a spare.
  FileNumber MakeSpare() {
    WalRecycler::ReadyLog log = recycler_.Take().value();
    log.file.reset();
    EXPECT_TRUE(recycler_.Recycle(log.number).ok());
    return log.number;
  }
  void Fail(FaultOperation operation, io::Status status = io::Status::IoError("injected", {}, 5)) {
    storage_.faults().Clear();
    storage_.faults().Add({.operation = operation, .name_part = {}, .status = std::move(status)});
  }

  testing::SimStorage storage_;
  std::atomic<FileNumber> next_number_{1};
  std::function<void(FileNumber)> before_use_;
  WalRecycler recycler_{storage_, kLogBytes, [this] { return NewNumber(); }};
};

TEST_F(WalRecyclerTest, PreparedLogIsZeroesAndDurable) {
  ASSERT_TRUE(recycler_.Prepare().ok());
  const auto clone = storage_.CrashClone(1, CrashMode::kLoseAllUnsynced);
  EXPECT_EQ(clone->Contents("000001.wal").value(), std::string(kLogBytes, '\0'));
  const auto log = recycler_.Take();
  ASSERT_TRUE(log.ok());
  EXPECT_EQ(log->number, 1u);
  EXPECT_TRUE(log->file->direct());
  EXPECT_EQ(log->file->SizeBytes().value(), kLogBytes);
}

TEST_F(WalRecyclerTest, WritingOutIsChargedAndDoesNotHoldUpWhoNeedsALogNow) {
  const io::ManualClock clock(0);
  io::RateLimiter limiter(io::kMiB, clock);  // time stands still: the burst is all there is
  WalRecycler recycler(
      storage_, kLogBytes, [this] { return NewNumber(); }, &limiter);
  io::Status prepared;
  std::thread background([&] { prepared = recycler.Prepare(); });
  while (limiter.stats().waiting_count == 0) std::this_thread::yield();
  EXPECT_TRUE(recycler.Take().ok());
  EXPECT_TRUE(recycler.Prepare(WalRecycler::NewFile::kAllocated).ok());
  EXPECT_TRUE(recycler.has_ready());
  limiter.SetRate(0);
  background.join();
  EXPECT_TRUE(prepared.ok()) << prepared.ToString();
  EXPECT_EQ(limiter.stats().bytes_by_priority[static_cast<size_t>(io::IoPriority::kLogFile)],
            kLogBytes);
}

TEST_F(WalRecyclerTest, WritingOutStopsForAFullDiskAndForTheEnd) {
  for (const bool stop : {false, true}) {
    const io::ManualClock clock(0);
    io::RateLimiter limiter(io::kMiB, clock);
    WalRecycler recycler(
        storage_, kLogBytes, [this] { return NewNumber(); }, &limiter);
    io::Status prepared;
    std::thread background([&] { prepared = recycler.Prepare(); });
    while (limiter.stats().waiting_count == 0) std::this_thread::yield();
    stop ? recycler.Stop() : recycler.ReleaseSpace();
    limiter.Shutdown();
    background.join();
    EXPECT_TRUE(prepared.Is(io::StatusCode::kShuttingDown));
    EXPECT_TRUE(Files().empty());
    EXPECT_TRUE(recycler.KeptNumbers().empty());
  }
}

TEST_F(WalRecyclerTest, PrepareDoesNothingIfALogIsReady) {
  ASSERT_TRUE(recycler_.Prepare().ok());
  const uint64_t io_count = storage_.io_count();
  ASSERT_TRUE(recycler_.Prepare().ok());
  EXPECT_EQ(storage_.io_count(), io_count);
  EXPECT_EQ(Files(), Names{"000001.wal"});
}

TEST_F(WalRecyclerTest, LogMadeOnTheSpotIsDurableToo) {
  const auto log = recycler_.Take();
  ASSERT_TRUE(log.ok()) << log.status().ToString();
  const auto clone = storage_.CrashClone(1, CrashMode::kLoseAllUnsynced);
  EXPECT_EQ(clone->Contents("000001.wal").value().size(), kLogBytes);
}

TEST_F(WalRecyclerTest, KeepsTwoSparesAndRemovesTheRest) {
  std::vector<WalRecycler::ReadyLog> logs;
  for (int i = 0; i < 4; ++i) logs.push_back(recycler_.Take().value());
  for (const auto& log : logs) ASSERT_TRUE(recycler_.Recycle(log.number).ok());
  EXPECT_EQ(recycler_.KeptNumbers(), (Numbers{1, 2}));
  EXPECT_EQ(Files(), (Names{"000001.wal", "000002.wal"}));
}

TEST_F(WalRecyclerTest, RecyclingTwiceKeepsOneSpare) {
  const FileNumber spare = MakeSpare();
  ASSERT_TRUE(recycler_.Recycle(spare).ok());
  EXPECT_EQ(recycler_.KeptNumbers(), Numbers{spare});
}

TEST_F(WalRecyclerTest, LogsOfAnotherSizeAreRemoved) {
  storage_.PutContents("000050.wal", std::string(kLogBytes + 4096, 'x'));
  storage_.PutContents("000051.wal", std::string(kLogBytes - 4096, 'x'));
  storage_.PutContents("000052.wal", "");
  for (const FileNumber number : {50u, 51u, 52u}) ASSERT_TRUE(recycler_.Recycle(number).ok());
  EXPECT_TRUE(recycler_.KeptNumbers().empty());
  EXPECT_TRUE(Files().empty());
}

TEST_F(WalRecyclerTest, RecyclingAMissingLogIsFine) {
  EXPECT_TRUE(recycler_.Recycle(77).ok());
  EXPECT_TRUE(recycler_.KeptNumbers().empty());
}

TEST_F(WalRecyclerTest, SpareGetsANewNumberDurablyBeforeItIsHandedOut) {
  const FileNumber spare = MakeSpare();
  ASSERT_TRUE(recycler_.Prepare().ok());
  EXPECT_EQ(recycler_.KeptNumbers(), Numbers{spare + 1});
  EXPECT_EQ(Files(), Names{"000002.wal"});
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(storage_.CrashClone(seed)->List().value(), Names{"000002.wal"});
  }
  EXPECT_EQ(recycler_.Take().value().number, spare + 1);
  EXPECT_TRUE(recycler_.KeptNumbers().empty());
}

TEST_F(WalRecyclerTest, TakeUsesASpareToo) {
  const FileNumber spare = MakeSpare();
  const auto log = recycler_.Take();
  ASSERT_TRUE(log.ok());
  EXPECT_GT(log->number, spare);
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_EQ(storage_.CrashClone(1, CrashMode::kLoseAllUnsynced)->List().value(), Files());
}

TEST_F(WalRecyclerTest, FullDiskLeavesNoHalfMadeLog) {
  storage_.SetCapacityBytes(kLogBytes / 2);
  EXPECT_TRUE(recycler_.Prepare().Is(io::StatusCode::kNoSpace));
  EXPECT_TRUE(recycler_.Take().status().Is(io::StatusCode::kNoSpace));
  EXPECT_TRUE(Files().empty());
  EXPECT_TRUE(recycler_.KeptNumbers().empty());
  storage_.SetCapacityBytes(10 * kLogBytes);
  EXPECT_TRUE(recycler_.Prepare().ok());
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(WalRecyclerTest, FullDiskStillHasItsSpares) {
  MakeSpare();
  storage_.SetCapacityBytes(storage_.UsedBytes());
  EXPECT_TRUE(recycler_.Prepare().ok());
  EXPECT_TRUE(recycler_.Take().ok());
}

TEST_F(WalRecyclerTest, EachFailureOfANewLogLeavesNothingAndPasses) {
  for (const FaultOperation operation :
       {FaultOperation::kCreate, FaultOperation::kAllocate, FaultOperation::kWrite,
        FaultOperation::kSync, FaultOperation::kSyncDirectory}) {
    Fail(operation);
    EXPECT_TRUE(recycler_.Prepare().Is(io::StatusCode::kIoError)) << static_cast<int>(operation);
    EXPECT_TRUE(Files().empty());
    EXPECT_TRUE(recycler_.KeptNumbers().empty());
  }
  EXPECT_TRUE(recycler_.Prepare().ok());
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_EQ(recycler_.KeptNumbers().size(), 1u);
}

TEST_F(WalRecyclerTest, EachFailureOfARenamedSpareKeepsItASpare) {
  for (const FaultOperation operation :
       {FaultOperation::kRename, FaultOperation::kSyncDirectory, FaultOperation::kOpen}) {
    for (const bool take : {false, true}) {
      storage_.faults().Clear();
      if (recycler_.KeptNumbers().empty()) MakeSpare();
      Fail(operation);
      const io::Status status = take ? recycler_.Take().status() : recycler_.Prepare();
      EXPECT_TRUE(status.Is(io::StatusCode::kIoError)) << static_cast<int>(operation);
      const Numbers kept = recycler_.KeptNumbers();
      ASSERT_EQ(kept.size(), 1u);
      EXPECT_EQ(Files(), Names{FileName(FileKind::kLog, kept[0])});
    }
  }
  storage_.faults().Clear();
  EXPECT_TRUE(recycler_.Prepare().ok());
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(WalRecyclerTest, SpareThatIsGoneIsForgotten) {
  const FileNumber spare = MakeSpare();
  ASSERT_TRUE(storage_.Remove(FileName(FileKind::kLog, spare)).ok());
  EXPECT_FALSE(recycler_.Prepare().ok());
  EXPECT_TRUE(recycler_.Prepare().ok());
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(WalRecyclerTest, ForeignFileOfTheSameNumberIsLeftAlone) {
  storage_.PutContents("000001.wal", "precious");
  EXPECT_FALSE(recycler_.Prepare().ok());
  EXPECT_EQ(storage_.Contents("000001.wal").value(), "precious");
}

TEST_F(WalRecyclerTest, LogsBeingMadeAreKept) {
  bool seen = false;
  const FileNumber spare = MakeSpare();
  // Any change of the storage finds both names in the list.
  before_use_ = [&](FileNumber) { seen = true; };
  ASSERT_TRUE(recycler_.Prepare().ok());
  EXPECT_TRUE(seen);
  EXPECT_EQ(recycler_.KeptNumbers(), Numbers{spare + 1});
}

// While Prepare works on a log, Take makes one on the spot: it has the larger number. The prepared
// one must not be handed out after it under its smaller number, or replay would read them in
// the wrong order.
TEST_F(WalRecyclerTest, LogsComeInAscendingOrderThoughOneOvertakesAnother) {
  Numbers taken;
  bool armed = true;
  before_use_ = [&](FileNumber) {
    if (!armed) return;
    armed = false;  // Prepare has number 1; this Take gets 2
    taken.push_back(recycler_.Take().value().number);
  };
  ASSERT_TRUE(recycler_.Prepare().ok());
  for (int i = 0; i < 3; ++i) taken.push_back(recycler_.Take().value().number);
  EXPECT_EQ(taken[0], 2u);
  EXPECT_TRUE(std::is_sorted(taken.begin(), taken.end()));
  EXPECT_EQ(Files().size(), taken.size());  // the overtaken file was used, under a new number
}

// The other way round: Prepare has the smaller number and is done while Take is still at work.
TEST_F(WalRecyclerTest, ReadyLogThatWasOvertakenGetsANewNumber) {
  std::atomic<bool> prepare_has_number{false};
  std::atomic<bool> take_has_number{false};
  std::thread preparer;
  before_use_ = [&](FileNumber number) {
    if (number == 1) {
      prepare_has_number = true;
      prepare_has_number.notify_all();
      take_has_number.wait(false);
    } else if (number == 2) {
      take_has_number = true;
      take_has_number.notify_all();
      preparer.join();
    }
  };
  preparer = std::thread([&] { EXPECT_TRUE(recycler_.Prepare().ok()); });
  prepare_has_number.wait(false);
  Numbers taken;
  for (int i = 0; i < 3; ++i) taken.push_back(recycler_.Take().value().number);
  EXPECT_EQ(taken, (Numbers{2, 3, 4}));
  EXPECT_EQ(Files(), (Names{"000002.wal", "000003.wal", "000004.wal"}));  // 1 was renamed to 3
}

TEST_F(WalRecyclerTest, ThreadsGetDifferentLogs) {
  std::atomic<bool> stop{false};
  std::thread preparer([&] {
    while (!stop) ASSERT_TRUE(recycler_.Prepare().ok());
  });
  std::thread lister([&] {
    while (!stop) EXPECT_LE(recycler_.KeptNumbers().size(), WalRecycler::kSpareCountMax + 5);
  });
  FileNumber last = 0;
  for (int i = 0; i < 60; ++i) {
    WalRecycler::ReadyLog log = recycler_.Take().value();
    EXPECT_GT(log.number, last);
    last = log.number;
    log.file.reset();
    ASSERT_TRUE(recycler_.Recycle(log.number).ok());
  }
  stop = true;
  preparer.join();
  lister.join();
  EXPECT_LE(Files().size(), WalRecycler::kSpareCountMax + 2);
  Names kept;
  for (const FileNumber number : recycler_.KeptNumbers()) {
    kept.push_back(FileName(FileKind::kLog, number));
  }
  EXPECT_EQ(Files(), kept);
}

}  // namespace
}  // namespace terracefs::lsm
