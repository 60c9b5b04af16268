#include "lsm/table/table_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/lsm/table/table_fixture.h"

namespace terracefs::lsm::table_test {
namespace {

// Lets one thread through at a time, when the test says so.
class Gate {
 public:
  void Pass() {
    io::MutexLock lock(mutex_);
    ++waiting_;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(mutex_);
  }
  void AwaitOne() {
    io::MutexLock lock(mutex_);
    while (waiting_ == 0) changed_.Wait(mutex_);
  }
  void Open() {
    io::MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  io::Mutex mutex_;
  io::CondVar changed_;
  int waiting_ GUARDED_BY(mutex_) = 0;
  bool open_ GUARDED_BY(mutex_) = false;
};

TEST(TableCacheTest, OpensATableOnce) {
  MemoryStorage storage;
  ASSERT_TRUE(WriteTable(storage, 1, Pages(10)).ok());
  BlockCache blocks(1 << 20);
  TableCache tables(storage, blocks, 100);
  const int before = storage.open_count();
  const auto first = tables.Get(1);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(tables.Get(1).value(), first.value());
  EXPECT_EQ(tables.Get(1, false).value(), first.value());
  EXPECT_EQ(storage.open_count() - before, 1);
  tables.Evict(1);
  EXPECT_NE(tables.Get(1).value(), first.value());
  EXPECT_EQ(storage.open_count() - before, 2);
}

TEST(TableCacheTest, WithoutWaitingAClosedTableWouldBlock) {
  MemoryStorage storage;
  ASSERT_TRUE(WriteTable(storage, 1, Pages(10)).ok());
  BlockCache blocks(1 << 20);
  TableCache tables(storage, blocks, 100);
  EXPECT_TRUE(tables.Get(1, false).status().Is(io::StatusCode::kWouldBlock));
  ASSERT_TRUE(tables.Get(1).ok());
  EXPECT_TRUE(tables.Get(1, false).ok());
}

TEST(TableCacheTest, MissingTableIsDamageNotAbsence) {
  MemoryStorage storage;
  BlockCache blocks(1 << 20);
  TableCache tables(storage, blocks, 100);
  EXPECT_TRUE(tables.Get(1).status().Is(io::StatusCode::kCorruption));
  EXPECT_TRUE(tables.Get(1).status().Is(io::StatusCode::kCorruption));
  EXPECT_TRUE(tables.Get(1, false).status().Is(io::StatusCode::kWouldBlock));
}

TEST(TableCacheTest, FailedOpenLeavesNothingBehind) {
  MemoryStorage storage;
  ASSERT_TRUE(WriteTable(storage, 1, Pages(10)).ok());
  BlockCache blocks(1 << 20);
  TableCache tables(storage, blocks, 100);
  storage.FailRequest(0);
  EXPECT_TRUE(tables.Get(1).status().Is(io::StatusCode::kIoError));
  EXPECT_TRUE(tables.Get(1).ok());
}

TEST(TableCacheTest, WaitersOfAFailedOpenGetTheirOwnAnswer) {
  MemoryStorage storage;
  ASSERT_TRUE(WriteTable(storage, 1, Pages(10)).ok());
  BlockCache blocks(1 << 20);
  TableCache tables(storage, blocks, 100);
  Gate gate;
  storage.on_open = [&gate] { gate.Pass(); };
  storage.FailRequest(0);
  std::atomic<int> failed{0};
  std::atomic<int> succeeded{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] { ++(tables.Get(1).ok() ? succeeded : failed); });
  }
  gate.AwaitOne();
  EXPECT_TRUE(tables.Get(1, false).status().Is(io::StatusCode::kWouldBlock));
  gate.Open();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed.load(), 1);
  EXPECT_EQ(succeeded.load(), 5);
}

TEST(TableCacheTest, EvictWhileOpeningLeavesNothingBehind) {
  MemoryStorage storage;
  ASSERT_TRUE(WriteTable(storage, 1, Pages(10)).ok());
  BlockCache blocks(1 << 20);
  TableCache tables(storage, blocks, 100);
  Gate gate;
  storage.on_open = [&gate] { gate.Pass(); };
  std::thread opener([&] { EXPECT_TRUE(tables.Get(1).ok()); });
  gate.AwaitOne();
  tables.Evict(1);
  gate.Open();
  opener.join();
  EXPECT_TRUE(tables.Get(1, false).status().Is(io::StatusCode::kWouldBlock));
  EXPECT_TRUE(tables.Get(1).ok());
}

TEST(TableCacheTest, TheLeastRecentlyUsedAreClosedUnlessTheyAreRead) {
  MemoryStorage storage;
  for (FileNumber number = 1; number <= 5; ++number) {
    ASSERT_TRUE(WriteTable(storage, number, Pages(10)).ok());
  }
  BlockCache blocks(1 << 20);
  TableCache tables(storage, blocks, 2);
  const auto held = tables.Get(1);
  ASSERT_TRUE(held.ok());
  ASSERT_TRUE(tables.Get(2).ok());
  ASSERT_TRUE(tables.Get(3).ok());  // 1 is the oldest, but somebody reads it
  EXPECT_TRUE(tables.Get(1, false).ok());
  EXPECT_TRUE(tables.Get(2, false).status().Is(io::StatusCode::kWouldBlock));
  EXPECT_TRUE(tables.Get(3, false).ok());
  const auto also_held = tables.Get(4);
  ASSERT_TRUE(also_held.ok());
  ASSERT_TRUE(tables.Get(5).ok());
  EXPECT_EQ(tables.open_count(), 3U) << "two that are read, and the one just asked for";
  EXPECT_TRUE(tables.Get(2).ok());
  EXPECT_EQ(tables.open_count(), 3U);
  EXPECT_TRUE(tables.Get(5, false).status().Is(io::StatusCode::kWouldBlock));
}

TEST(TableCacheTest, ThreadsMayShareIt) {
  MemoryStorage storage;
  for (FileNumber number = 1; number <= 8; ++number) {
    ASSERT_TRUE(WriteTable(storage, number, Pages(10)).ok());
  }
  BlockCache blocks(1 << 20);
  TableCache tables(storage, blocks, 3);
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&tables, thread] {
      io::Random random(thread);
      for (int i = 0; i < 500; ++i) {
        const FileNumber number = 1 + random.Uniform(8);
        if (random.OneIn(10)) tables.Evict(number);
        const auto table = tables.Get(number);
        ASSERT_TRUE(table.ok());
        ASSERT_EQ(table.value()->number(), number);
        const uint64_t page = random.Uniform(10);
        const auto found = table.value()->Get({}, PageKey(page), kSequenceMax, nullptr);
        ASSERT_TRUE(found.ok());
        ASSERT_TRUE(found.value().has_value());
        ASSERT_EQ(found.value()->entry.value, PageValue(page));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace terracefs::lsm::table_test
