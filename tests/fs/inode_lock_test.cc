#include "fs/inode_lock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace terracefs::fs {
namespace {

TEST(InodeLockTest, ReadersShareAndAWriterDoesNot) {
  InodeLock lock;
  EXPECT_TRUE(lock.TryLockShared());
  EXPECT_TRUE(lock.TryLockShared());
  EXPECT_FALSE(lock.TryLock());
  lock.UnlockShared();
  EXPECT_FALSE(lock.TryLockBriefly());
  lock.UnlockShared();
  EXPECT_TRUE(lock.TryLock());
  EXPECT_FALSE(lock.TryLock());
  EXPECT_FALSE(lock.TryLockShared());
  EXPECT_FALSE(lock.TryLockSharedBriefly());
  lock.Unlock();
  EXPECT_TRUE(lock.TryLockShared());
  lock.UnlockShared();
}

TEST(InodeLockTest, AWaitingWriterKeepsNewReadersOut) {
  InodeLock lock;
  lock.LockShared();
  std::thread writer([&] {
    lock.Lock();
    lock.Unlock();
  });
  while (lock.TryLockShared()) lock.UnlockShared();  // until the writer waits
  lock.UnlockShared();
  writer.join();
  EXPECT_TRUE(lock.TryLockShared());
  lock.UnlockShared();
}

TEST(InodeLockTest, ExcludesUnderContention) {
  InodeLock lock;
  int64_t value = 0;  // guarded by the lock
  std::atomic<int64_t> added{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 3000; ++i) {
        if ((i + t) % 3 == 0) {
          lock.LockShared();
          EXPECT_GE(value, 0);
          lock.UnlockShared();
          continue;
        }
        if (i % 2 == 0) {
          lock.Lock();
        } else if (!lock.TryLockBriefly()) {
          continue;
        }
        ++value;
        added.fetch_add(1);
        lock.Unlock();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(value, added.load());
}

}  // namespace
}  // namespace terracefs::fs
