#include "io/rate_limiter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <thread>
#include <vector>

#include "io/base/random.h"
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

TEST(RateLimiterTest, FlushWaitsLikeEverybodyElse) {
  ManualClock clock(0);
  RateLimiter limiter(kRate, clock);
  limiter.Acquire(kBurst, IoPriority::kL0);
  std::atomic<bool> granted{false};
  std::thread waiter([&] {
    limiter.Acquire(kRate / 2, IoPriority::kFlush);
    granted = true;
  });
  for (int64_t ms = 0; ms < 490; ++ms) {
    EXPECT_FALSE(granted);
    clock.AdvanceNs(1'000'000);
    while (limiter.stats().bytes + 64 * kKiB < kBurst + kRate / 1000 * static_cast<uint64_t>(ms)) {
      std::this_thread::yield();
    }
  }
  while (!granted) {
    clock.AdvanceNs(1'000'000);
    std::this_thread::yield();
  }
  waiter.join();
  EXPECT_EQ(limiter.stats().bytes, kBurst + kRate / 2);
  EXPECT_EQ(limiter.flush_bytes(), kRate / 2);
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

// Threads that ask again and again, and a clock that moves only when all of them wait: what they
// get depends on the limiter alone.
class Contest {
 public:
  struct Grant {
    int64_t at_ns = 0;
    uint64_t bytes = 0;  // sum so far, of all
  };
  explicit Contest(uint64_t rate) : limiter_(rate, clock_) {}
  ~Contest() {
    over_ = true;
    limiter_.Shutdown();
    for (std::thread& thread : threads_) thread.join();
  }

  // Asks for bytes_min to bytes_max at a time.
  void Add(IoPriority priority, uint64_t bytes_min, uint64_t bytes_max) {
    got_.emplace_back();
    std::atomic<uint64_t>* const got = &got_.back();
    threads_.emplace_back([this, priority, bytes_min, bytes_max, got, seed = threads_.size()] {
      Random random(seed);
      while (!over_) {
        const uint64_t bytes = bytes_min + random.Uniform(bytes_max - bytes_min + 1);
        limiter_.Acquire(bytes, priority);
        got->fetch_add(bytes);
      }
    });
  }
  // Lets `ns` pass. With somebody waiting all the time, tokens are taken as soon as they are there.
  void Step(int64_t ns) {
    clock_.AdvanceNs(ns);
    for (;;) {
      // A thread that was granted everything is on its way to ask again.
      const RateLimiterStats before = limiter_.stats();
      if (before.waiting_count == threads_.size()) {
        std::this_thread::sleep_for(std::chrono::microseconds(1500));
        const RateLimiterStats after = limiter_.stats();
        if (after.waiting_count == threads_.size() && after.bytes == before.bytes) break;
      }
      std::this_thread::yield();
    }
    grants_.push_back({clock_.SteadyNs(), limiter_.stats().bytes});
  }
  uint64_t got(size_t index) const { return got_[index]; }
  RateLimiter& limiter() { return limiter_; }
  const std::vector<Grant>& grants() const { return grants_; }

 private:
  ManualClock clock_{0};
  RateLimiter limiter_;
  std::atomic<bool> over_{false};
  std::deque<std::atomic<uint64_t>> got_;
  std::vector<std::thread> threads_;
  std::vector<Grant> grants_;
};

TEST(RateLimiterTest, NoWindowOfAnyPrioritiesExceedsRateTimesWindowPlusBurst) {
  Contest contest(32 * kMiB);
  uint64_t rate = 32 * kMiB;
  for (int i = 0; i < 6; ++i) {
    contest.Add(static_cast<IoPriority>(i), 1, uint64_t{1} << (12 + 2 * i));
  }
  Random random(7);
  // Bytes that the rate has allowed by the time of each grant, the burst apart.
  std::vector<double> allowed{0};
  double paid = 0;
  uint64_t burst_max = 0;
  contest.Step(0);
  std::vector<double> given{static_cast<double>(contest.grants().back().bytes)};
  for (int step = 0; step < 300; ++step) {
    if (step % 40 == 39) {
      rate = 8 * kMiB << random.Uniform(6);
      contest.limiter().SetRate(rate);
    }
    burst_max = std::max({burst_max, rate / 100, 256 * kKiB});
    const auto ns = static_cast<int64_t>(1 + random.Uniform(8'000'000));
    paid += static_cast<double>(rate) * static_cast<double>(ns) / 1e9;
    contest.Step(ns);
    allowed.push_back(paid);
    given.push_back(static_cast<double>(contest.grants().back().bytes));
  }
  const auto count = allowed.size();
  for (size_t begin = 0; begin < count; ++begin) {
    for (size_t end = begin + 1; end < count; ++end) {
      // The window from just before `begin` was granted to just after `end` was.
      const double before = begin == 0 ? 0 : given[begin - 1];
      ASSERT_LE(given[end] - before,
                allowed[end] - allowed[begin] + static_cast<double>(burst_max) + 1)
          << begin << " to " << end;
    }
  }
  // And nearly all of what was allowed was used, although the sleepers' clock is not ours.
  EXPECT_GT(given.back(), 0.9 * allowed.back());
  for (size_t i = 0; i < 6; ++i) EXPECT_GT(contest.got(i), 0U) << i;
}

TEST(RateLimiterTest, TheLowerPrioritiesShareATenthWhateverTheSizes) {
  Contest contest(64 * kMiB);
  contest.Add(IoPriority::kFlush, kMiB, kMiB);
  contest.Add(IoPriority::kL0, 4 * kKiB, 4 * kKiB);
  contest.Add(IoPriority::kScrub, kMiB, kMiB);
  for (int i = 0; i < 500; ++i) contest.Step(1'000'000);
  const RateLimiterStats stats = contest.limiter().stats();
  const auto share = [&](IoPriority priority) {
    return static_cast<double>(stats.bytes_by_priority[static_cast<size_t>(priority)]) /
           static_cast<double>(stats.bytes);
  };
  // A little less than nine tenths: what is there while a thread is about to ask again, others get.
  EXPECT_NEAR(share(IoPriority::kFlush), 0.88, 0.03);
  EXPECT_GT(share(IoPriority::kScrub), 0.03);
  EXPECT_GT(share(IoPriority::kL0), 0.003);
}

TEST(RateLimiterTest, AskingForMoreAtATimeGetsNoMore) {
  Contest contest(64 * kMiB);
  contest.Add(IoPriority::kCompaction, kMiB, kMiB);
  contest.Add(IoPriority::kCompaction, 64 * kKiB, 64 * kKiB);
  for (int i = 0; i < 300; ++i) contest.Step(1'000'000);
  const double ratio = static_cast<double>(contest.got(0)) / static_cast<double>(contest.got(1));
  EXPECT_GT(ratio, 0.6);
  EXPECT_LT(ratio, 1.7);
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
