#include "lsm/write_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "io/base/units.h"
#include "lsm/file_names.h"
#include "lsm/wal/wal_reader.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using testing::CrashMode;
using testing::FaultOperation;

class WriteQueueTest : public ::testing::Test {
 protected:
  struct Rotated {
    std::shared_ptr<MemTable> table;
    SequenceNumber last_sequence = 0;
    FileNumber next_log = 0;
  };

  WriteQueueTest() : recycler_(storage_, kLogBytes, [this] { return next_number_.fetch_add(1); }) {
    Start(io::kMiB, 10, {});
  }
  void Start(uint64_t memtable_bytes, SequenceNumber last_sequence,
             const std::array<int64_t, kCounterCount>& counters) {
    queue_ = std::make_unique<WriteQueue>(
        WriteQueue::Settings{memtable_bytes, kLogSecret, nullptr, nullptr}, recycler_,
        io::SystemClock(), last_sequence, counters,
        [this](std::shared_ptr<MemTable> full, std::shared_ptr<MemTable> fresh, SequenceNumber last,
               FileNumber next_log) {
          EXPECT_TRUE(fresh->empty());
          rotated_.push_back({std::move(full), last, next_log});
        });
    ASSERT_TRUE(queue_->Start().ok());
  }

  static WriteBatch Batch(const std::string& key, size_t value_bytes = 10) {
    WriteBatch batch;
    batch.Put(key, std::string(value_bytes, 'v'));
    return batch;
  }
  // The last sequence that a crash would leave.
  SequenceNumber Replayed(CrashMode mode, uint64_t seed = 1) {
    const auto left = storage_.CrashClone(seed, mode);
    std::vector<FileNumber> logs;
    const auto names = left->List();
    for (const std::string& name : *names) {
      if (const auto parsed = ParseFileName(name)) logs.push_back(parsed->number);
    }
    std::sort(logs.begin(), logs.end());
    const auto result = ReplayLogs(
        *left, logs, kLogSecret, 10,
        [](FileNumber, SequenceNumber, uint32_t, std::string_view) { return io::Status::Ok(); });
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    return result.ok() ? result->last_sequence : 0;
  }
  void FailOnce(FaultOperation operation, io::Status status, uint64_t pass_count = 0) {
    storage_.faults().Add({operation, ".wal", pass_count, 1, std::move(status)});
  }

  static constexpr uint64_t kLogBytes = 4 * io::kMiB;
  static constexpr uint64_t kLogSecret = 0x5ec4e7;
  testing::SimStorage storage_;
  std::atomic<FileNumber> next_number_{1};
  WalRecycler recycler_;
  std::vector<Rotated> rotated_;
  std::unique_ptr<WriteQueue> queue_;
};

TEST_F(WriteQueueTest, ABatchIsVisibleAtOnceAndDurableAfterSync) {
  EXPECT_EQ(queue_->last_sequence(), 10U);
  WriteBatch batch = Batch("a");
  batch.Put("b", "2");
  ASSERT_TRUE(queue_->Write(std::move(batch)).ok());
  EXPECT_EQ(queue_->last_sequence(), 12U);
  EXPECT_EQ(queue_->durable_sequence(), 10U);
  EXPECT_TRUE(queue_->active_memtable()->Get("a", 11));
  EXPECT_FALSE(queue_->active_memtable()->Get("b", 11)) << "later in history";
  EXPECT_EQ(Replayed(CrashMode::kLoseAllUnsynced), 10U);
  ASSERT_TRUE(queue_->Sync().ok());
  EXPECT_EQ(queue_->durable_sequence(), 12U);
  EXPECT_EQ(Replayed(CrashMode::kLoseAllUnsynced), 12U);
}

TEST_F(WriteQueueTest, SyncOfNothingIsFree) {
  const uint64_t io_count = storage_.io_count();
  ASSERT_TRUE(queue_->Sync().ok());
  ASSERT_TRUE(queue_->Write(Batch("a")).ok());
  ASSERT_TRUE(queue_->Sync().ok());
  ASSERT_TRUE(queue_->Sync().ok());
  EXPECT_EQ(storage_.io_count(), io_count + 1);
}

TEST_F(WriteQueueTest, CountersGoOnFromTheirStart) {
  Start(io::kMiB, 10, {100, 0, -5});
  WriteBatch batch;
  batch.AddCounter(0, 7);
  batch.AddCounter(2, -1);
  ASSERT_TRUE(queue_->Write(std::move(batch)).ok());
  EXPECT_EQ(queue_->counter(0), 107);
  EXPECT_EQ(queue_->counter(1), 0);
  EXPECT_EQ(queue_->counter(2), -6);
}

TEST_F(WriteQueueTest, FullChunksAreWrittenInTheBackgroundAndSyncedAsAPrefix) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(queue_->Write(Batch("k" + std::to_string(i), kWalChunkBytesTarget)).ok());
  }
  ASSERT_TRUE(queue_->WaitForChunks(1).ok());
  EXPECT_EQ(queue_->durable_sequence(), 10U) << "written is not durable";
  EXPECT_EQ(Replayed(CrashMode::kLoseAllUnsynced), 10U);
  ASSERT_TRUE(queue_->Write(Batch("last")).ok());
  ASSERT_TRUE(queue_->Sync().ok());
  EXPECT_EQ(queue_->durable_sequence(), 14U);
  EXPECT_EQ(Replayed(CrashMode::kLoseAllUnsynced), 14U);
}

TEST_F(WriteQueueTest, AFullMemtableOrLogIsRotated) {
  const FileNumber first_log = queue_->active_log();
  int count = 0;
  while (rotated_.empty()) {
    ASSERT_TRUE(queue_->Write(Batch("k" + std::to_string(count++), 100'000)).ok());
    ASSERT_LT(count, 100);
  }
  EXPECT_EQ(rotated_[0].last_sequence, queue_->last_sequence() - 1);
  EXPECT_EQ(rotated_[0].next_log, queue_->active_log());
  EXPECT_GT(queue_->active_log(), first_log);
  EXPECT_TRUE(rotated_[0].table->Get("k0", kSequenceMax));
  EXPECT_FALSE(queue_->active_memtable()->Get("k0", kSequenceMax));
  ASSERT_TRUE(queue_->Sync().ok());
  EXPECT_EQ(Replayed(CrashMode::kLoseAllUnsynced), queue_->last_sequence());
  EXPECT_TRUE(queue_->WaitForLogIdle(first_log));
}

TEST_F(WriteQueueTest, ALogNeverOutgrowsItsFile) {
  Start(uint64_t{1} << 40, 10, {});
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(queue_->Write(Batch("k", 1 + static_cast<size_t>(i * 7919 % 60'000))).ok());
    if (i % 3 == 0) {
      ASSERT_TRUE(queue_->Sync().ok());
    }
  }
  ASSERT_TRUE(queue_->Sync().ok());
  EXPECT_GT(rotated_.size(), 1U);
  const auto names = storage_.List();
  for (const std::string& name : *names) {
    EXPECT_EQ(storage_.Contents(name)->size(), kLogBytes) << name;
  }
}

TEST_F(WriteQueueTest, RotateEndsWhateverIsInTheMemtable) {
  ASSERT_TRUE(queue_->Rotate().ok());
  EXPECT_TRUE(rotated_.empty()) << "nothing in it";
  WriteBatch counter;
  counter.AddCounter(1, 5);
  ASSERT_TRUE(queue_->Write(std::move(counter)).ok());
  ASSERT_TRUE(queue_->Rotate().ok());
  ASSERT_EQ(rotated_.size(), 1U);
  EXPECT_EQ(rotated_[0].table->counter_deltas()[1], 5);
  WriteBatch drop;
  drop.DropRange("a", "b");
  ASSERT_TRUE(queue_->Write(std::move(drop)).ok());
  ASSERT_TRUE(queue_->Rotate().ok());
  ASSERT_EQ(rotated_.size(), 2U);
  EXPECT_EQ(rotated_[1].last_sequence, 12U);
}

TEST_F(WriteQueueTest, MarkDurableMovesOnlyForward) {
  ASSERT_TRUE(queue_->Write(Batch("a")).ok());
  ASSERT_TRUE(queue_->Rotate().ok());
  ASSERT_TRUE(queue_->Write(Batch("b")).ok());
  queue_->MarkDurable(11);
  EXPECT_EQ(queue_->durable_sequence(), 11U);
  queue_->MarkDurable(5);
  EXPECT_EQ(queue_->durable_sequence(), 11U);
  ASSERT_TRUE(queue_->Sync().ok());
  EXPECT_EQ(queue_->durable_sequence(), 12U);
}

TEST_F(WriteQueueTest, AFailedLogWriteIsSticky) {
  ASSERT_TRUE(queue_->Write(Batch("a")).ok());
  ASSERT_TRUE(queue_->Sync().ok());
  FailOnce(FaultOperation::kWrite, io::Status::NoSpace("injected"));
  ASSERT_TRUE(queue_->Write(Batch("b")).ok());
  const io::Status failed = queue_->Sync();
  EXPECT_TRUE(failed.Is(io::StatusCode::kNoSpace));
  EXPECT_EQ(queue_->Sync().ToString(), failed.ToString());
  EXPECT_EQ(queue_->Write(Batch("c")).ToString(), failed.ToString());
  EXPECT_EQ(queue_->Rotate().ToString(), failed.ToString());
  EXPECT_EQ(queue_->WaitForChunks(1).ToString(), failed.ToString());
  EXPECT_FALSE(queue_->WaitForLogIdle(queue_->active_log()));
  EXPECT_EQ(queue_->last_sequence(), 12U) << "readers keep what they saw";
  EXPECT_EQ(queue_->durable_sequence(), 11U);
}

TEST_F(WriteQueueTest, ABackgroundFailureReachesTheNextCaller) {
  FailOnce(FaultOperation::kWrite, io::Status::IoError("injected", {}, EIO));
  ASSERT_TRUE(queue_->Write(Batch("a", kWalChunkBytesTarget)).ok());
  EXPECT_TRUE(queue_->WaitForChunks(1).Is(io::StatusCode::kIoError));
  EXPECT_TRUE(queue_->Write(Batch("b")).Is(io::StatusCode::kIoError));
  EXPECT_TRUE(queue_->Sync().Is(io::StatusCode::kIoError));
  EXPECT_EQ(queue_->durable_sequence(), 10U);
}

TEST_F(WriteQueueTest, AFailedSyncIsStickyEvenIfALaterOneWouldSucceed) {
  ASSERT_TRUE(queue_->Write(Batch("a", kWalChunkBytesTarget)).ok());
  ASSERT_TRUE(queue_->WaitForChunks(1).ok());
  FailOnce(FaultOperation::kSync, io::Status::IoError("injected", {}, EIO));
  EXPECT_FALSE(queue_->Sync().ok());
  EXPECT_FALSE(queue_->Sync().ok());
  EXPECT_EQ(queue_->durable_sequence(), 10U);
  EXPECT_EQ(Replayed(CrashMode::kLoseAllUnsynced), 10U);
}

TEST_F(WriteQueueTest, WithoutRoomForALogNothingHappens) {
  ASSERT_TRUE(queue_->Write(Batch("a")).ok());
  FailOnce(FaultOperation::kAllocate, io::Status::NoSpace("injected"));
  EXPECT_TRUE(queue_->Rotate().Is(io::StatusCode::kNoSpace));
  EXPECT_TRUE(rotated_.empty());
  ASSERT_TRUE(queue_->Write(Batch("b")).ok());
  ASSERT_TRUE(queue_->Sync().ok());
  ASSERT_TRUE(queue_->Rotate().ok());
  EXPECT_EQ(rotated_.size(), 1U);
}

// A chunk that was written but never synced, whose contents have reached the tables: its log must
// become free although nobody syncs.
TEST_F(WriteQueueTest, ALogIsIdleOnceItsContentsAreInTables) {
  const FileNumber log = queue_->active_log();
  ASSERT_TRUE(queue_->Write(Batch("a", kWalChunkBytesTarget)).ok());
  ASSERT_TRUE(queue_->Write(Batch("b")).ok());
  ASSERT_TRUE(queue_->Rotate().ok());
  ASSERT_TRUE(queue_->WaitForChunks(1).ok());
  queue_->MarkDurable(12);
  EXPECT_TRUE(queue_->WaitForLogIdle(log));
}

TEST_F(WriteQueueTest, ManyThreadsWriteAndSyncOneHistory) {
  constexpr int kThreadCount = 8;
  constexpr int kBatchCount = 60;
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreadCount; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kBatchCount; ++i) {
        const bool large = (i + t) % 20 == 0;
        ASSERT_TRUE(queue_
                        ->Write(Batch("t" + std::to_string(t) + "-" + std::to_string(i),
                                      large ? kWalChunkBytesTarget : 500))
                        .ok());
        const SequenceNumber seen = queue_->last_sequence();
        if (i % 3 == t % 3) {
          ASSERT_TRUE(queue_->Sync().ok());
          ASSERT_GE(queue_->durable_sequence(), seen);
        }
      }
    });
  }
  // Meanwhile what is durable only grows, and a crash keeps all of it.
  std::thread watcher([&] {
    for (uint64_t seed = 1; !done.load(); ++seed) {
      const SequenceNumber durable = queue_->durable_sequence();
      ASSERT_GE(Replayed(CrashMode::kLoseAllUnsynced), durable);
      ASSERT_GE(Replayed(CrashMode::kRandom, seed), durable);
    }
  });
  for (std::thread& thread : threads) thread.join();
  done.store(true);
  watcher.join();
  EXPECT_EQ(queue_->last_sequence(), 10U + kThreadCount * kBatchCount);
  ASSERT_TRUE(queue_->Sync().ok());
  EXPECT_EQ(Replayed(CrashMode::kLoseAllUnsynced), queue_->last_sequence());
}

}  // namespace
}  // namespace terracefs::lsm
