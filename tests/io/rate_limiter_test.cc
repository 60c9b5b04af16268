#include "io/rate_limiter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "io/base/units.h"

namespace terracefs::io {
namespace {

// The arithmetic is tested in token_bucket_test.cc; here it is who gets the tokens, and who wakes.
// A clock that stands still makes the tokens scarce for as long as a test wants. Rates are high, so
// that a waiter, which sleeps in real time, looks often.
constexpr uint64_t kRate = kGiB;
constexpr uint64_t kBurst = kRate / 100;

TEST(RateLimiterTest, WithinTheBurstNobodyWaits) {
  const ManualClock clock(0);
  RateLimiter limiter(kRate, clock);
  limiter.Acquire(kBurst / 2, IoPriority::kScrub);
  limiter.Acquire(kBurst / 2, IoPriority::kL0);
  limiter.Acquire(0, IoPriority::kL0);
  EXPECT_EQ(limiter.stats().bytes, kBurst / 2 * 2);
  EXPECT_EQ(limiter.stats().waited_ns, 0U);
  EXPECT_EQ(limiter.stats().rate, kRate);
}

TEST(RateLimiterTest, UnlimitedAndShutDownLetEverythingThrough) {
  const ManualClock clock(0);
  RateLimiter unlimited(0, clock);
  unlimited.Acquire(kGiB * 1024, IoPriority::kScrub);
  RateLimiter limiter(kRate, clock);
  limiter.Shutdown();
  limiter.Acquire(kGiB * 1024, IoPriority::kScrub);
  EXPECT_EQ(limiter.stats().bytes, kGiB * 1024);
}

TEST(RateLimiterTest, FlushNeverWaitsButTheOthersPayForIt) {
  ManualClock clock(0);
  RateLimiter limiter(kRate, clock);
  limiter.Acquire(kBurst + kRate / 2, IoPriority::kFlush);
  std::atomic<bool> granted{false};
  std::thread waiter([&] {
    limiter.Acquire(1, IoPriority::kL0);
    granted = true;
  });
  clock.AdvanceNs(499'999'999);
  EXPECT_FALSE(granted);
  clock.AdvanceNs(10'000'000);
  waiter.join();
  EXPECT_EQ(limiter.stats().bytes, kBurst + kRate / 2 + 1);
}

TEST(RateLimiterTest, MoreThanTheBurstIsGrantedInParts) {
  ManualClock clock(0);
  RateLimiter limiter(kRate, clock);
  std::atomic<bool> granted{false};
  std::thread waiter([&] {
    limiter.Acquire(10 * kBurst, IoPriority::kVacuum);
    granted = true;
  });
  while (!granted) {
    // Until all the time for it has passed, less is granted than was asked for.
    if (clock.SteadyNs() < 90'000'000) {
      EXPECT_LT(limiter.stats().bytes, 10 * kBurst);
    }
    EXPECT_LE(static_cast<double>(limiter.stats().bytes),
              static_cast<double>(kBurst) +
                  static_cast<double>(kRate) * static_cast<double>(clock.SteadyNs()) / 1e9);
    clock.AdvanceNs(1'000'000);
    std::this_thread::yield();
  }
  waiter.join();
  EXPECT_GT(limiter.stats().waited_ns, 0U);
}

TEST(RateLimiterTest, ShutdownAndANewRateReachThoseWhoWait) {
  for (const bool shut_down : {true, false}) {
    const ManualClock clock(0);
    RateLimiter limiter(1, clock);  // a byte per second, and time stands still
    limiter.Acquire(256 * kKiB, IoPriority::kL0);
    std::vector<std::thread> waiters;
    for (int i = 0; i < 4; ++i) {
      waiters.emplace_back([&] { limiter.Acquire(kMiB, IoPriority::kCompaction); });
    }
    if (shut_down) {
      limiter.Shutdown();
    } else {
      limiter.SetRate(0);
    }
    for (std::thread& waiter : waiters) waiter.join();
    EXPECT_EQ(limiter.stats().bytes, 256 * kKiB + 4 * kMiB);
  }
}

// Blocks waiters of several priorities, then gives tokens for one request at a time and notes the
// order in which they are served.
class ServiceOrder {
 public:
  void Add(IoPriority priority, int count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, priority] {
        limiter_.Acquire(kRequestBytes, priority);
        MutexLock lock(mutex_);
        served_.push_back(priority);
      });
    }
  }
  std::vector<IoPriority> Run() {
    const size_t count = threads_.size();
    while (limiter_.stats().waiting_count < count) std::this_thread::yield();
    for (size_t served = 0; served < count;) {
      clock_.AdvanceNs(kRequestNs);
      ++served;
      for (;;) {
        MutexLock lock(mutex_);
        if (served_.size() >= served) break;
        lock.Unlock();
        std::this_thread::yield();
        lock.Lock();
      }
    }
    for (std::thread& thread : threads_) thread.join();
    MutexLock lock(mutex_);
    return served_;
  }

  ServiceOrder() { limiter_.Acquire(kBurst, IoPriority::kFlush); }

 private:
  static constexpr uint64_t kRequestBytes = 1 << 20;
  static constexpr int64_t kRequestNs = 1'000'000'000 / 1024 + 1;  // what they take at the rate

  ManualClock clock_{0};
  RateLimiter limiter_{kRate, clock_};
  std::vector<std::thread> threads_;
  Mutex mutex_;
  std::vector<IoPriority> served_ GUARDED_BY(mutex_);
};

TEST(RateLimiterTest, HigherPrioritiesGoFirstAndOneInTenIsForTheRest) {
  ServiceOrder order;
  order.Add(IoPriority::kScrub, 3);
  order.Add(IoPriority::kL0, 30);
  const std::vector<IoPriority> served = order.Run();
  ASSERT_EQ(served.size(), 33U);
  int low_among_high = 0;
  for (size_t i = 0; i < 30; ++i) low_among_high += served[i] == IoPriority::kScrub ? 1 : 0;
  // Three turns of ten come up while high ones wait: nobody starves, and nobody jumps the queue.
  EXPECT_EQ(low_among_high, 3);
}

TEST(RateLimiterTest, WorksWithTheRealClockAndManyThreads) {
  RateLimiter limiter(200 * kMiB, SystemClock());
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 5; ++t) {
    threads.emplace_back([&limiter, t] {
      for (int i = 0; i < 20; ++i) {
        limiter.Acquire(200'000 + static_cast<uint64_t>(i), static_cast<IoPriority>(t));
        if (t == 4 && i % 5 == 0) {
          limiter.SetRate((100 + 20 * static_cast<uint64_t>(i)) * kMiB);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(limiter.stats().bytes, 5 * (20 * 200'000 + 190));
}

}  // namespace
}  // namespace terracefs::io
