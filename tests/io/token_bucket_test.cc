#include "io/token_bucket.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <vector>

#include "io/base/random.h"
#include "io/base/units.h"

namespace terracefs::io {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

struct Grant {
  int64_t at_ns;
  uint64_t bytes;
};

// compaction_mechanisms.md, section R, invariant 10: bytes in any window <= rate * window + burst.
void ExpectWithinBound(const std::vector<Grant>& grants, uint64_t rate, uint64_t burst) {
  std::vector<double> sums(grants.size() + 1, 0);
  for (size_t i = 0; i < grants.size(); ++i) {
    sums[i + 1] = sums[i] + static_cast<double>(grants[i].bytes);
  }
  // All windows in one pass: the bound is broken iff the excess over the rate ever rises by more
  // than the burst above its lowest value so far.
  double lowest = 0;
  for (size_t i = 0; i < grants.size(); ++i) {
    const double paid =
        static_cast<double>(rate) * static_cast<double>(grants[i].at_ns) / kSecondNs;
    lowest = i == 0 ? -paid : std::min(lowest, sums[i] - paid);
    ASSERT_LE(sums[i + 1] - paid - lowest, static_cast<double>(burst) + 1) << i;
  }
}

TEST(TokenBucketTest, NoWindowExceedsRateTimesWindowPlusBurst) {
  Random random(1);
  for (int round = 0; round < 300; ++round) {
    const uint64_t rate = uint64_t{1} << random.Uniform(36);
    int64_t now_ns = static_cast<int64_t>(random.Uniform(1'000'000'000'000));
    TokenBucket bucket(rate, now_ns);
    std::vector<Grant> grants;
    const uint64_t first_ns = static_cast<uint64_t>(now_ns);
    for (int step = 0; step < 1000; ++step) {
      // Steps of nanoseconds as well as of minutes: rounding must not make tokens.
      now_ns += static_cast<int64_t>(random.Uniform(uint64_t{1} << random.Uniform(34)));
      const uint64_t bytes = 1 + random.Uniform(uint64_t{1} << random.Uniform(30)) % bucket.burst();
      if (bucket.TryTake(bytes, now_ns)) {
        grants.push_back({now_ns - static_cast<int64_t>(first_ns), bytes});
      }
    }
    ExpectWithinBound(grants, rate, bucket.burst());
  }
}

TEST(TokenBucketTest, NothingIsLostToRounding) {
  Random random(2);
  for (const uint64_t rate : {1'000'003UL, 5'000'011UL}) {
    TokenBucket bucket(rate, 0);
    ASSERT_TRUE(bucket.TryTake(bucket.burst(), 0));
    int64_t now_ns = 0;
    uint64_t taken = 0;
    while (now_ns < kSecondNs) {
      now_ns = std::min(now_ns + 1 + static_cast<int64_t>(random.Uniform(3000)), kSecondNs);
      while (bucket.TryTake(1, now_ns)) ++taken;
    }
    EXPECT_EQ(taken, rate);
  }
}

TEST(TokenBucketTest, NsUntilIsExactlyWhenTheTokensAreThere) {
  Random random(3);
  for (int round = 0; round < 2000; ++round) {
    const uint64_t rate = 1 + random.Uniform(uint64_t{1} << random.Uniform(40));
    TokenBucket bucket(rate, 0);
    const uint64_t bytes = 1 + random.Uniform(bucket.burst());
    ASSERT_TRUE(bucket.TryTake(random.Uniform(bucket.burst() + 1), 0));
    const int64_t start_ns = static_cast<int64_t>(random.Uniform(1'000'000));
    const int64_t wait_ns = bucket.NsUntil(bytes, start_ns);
    if (wait_ns > 0) {
      TokenBucket early = bucket;
      EXPECT_FALSE(early.TryTake(bytes, start_ns + wait_ns - 1));
    }
    EXPECT_TRUE(bucket.TryTake(bytes, start_ns + wait_ns));
  }
}

TEST(TokenBucketTest, ChangingTheRateKeepsWhatIsThereAndTheNewBound) {
  TokenBucket bucket(1000 * kMiB, 0);
  EXPECT_EQ(bucket.burst(), 10 * kMiB);
  bucket.SetRate(kMiB, 0);
  EXPECT_EQ(bucket.burst(), 256 * kKiB);
  EXPECT_TRUE(bucket.TryTake(256 * kKiB, 0));
  EXPECT_FALSE(bucket.TryTake(1, 0));
  bucket.SetRate(1000 * kMiB, 0);  // raising it gives no tokens at once
  EXPECT_FALSE(bucket.TryTake(1, 0));
  EXPECT_TRUE(bucket.TryTake(kMiB, kSecondNs / 1000));
}

TEST(TokenBucketTest, UnlimitedNeverRefuses) {
  TokenBucket bucket(0, 0);
  EXPECT_TRUE(bucket.TryTake(bucket.burst(), 0));
  EXPECT_TRUE(bucket.TryTake(bucket.burst(), 0));
  EXPECT_EQ(bucket.NsUntil(bucket.burst(), 0), 0);
  bucket.SetRate(kMiB, 0);
  EXPECT_TRUE(bucket.TryTake(bucket.burst(), 0));
  EXPECT_FALSE(bucket.TryTake(1, 0));
}

TEST(TokenBucketTest, TimeThatStandsStillOrGoesBackMakesNothing) {
  TokenBucket bucket(kGiB, 1000);
  ASSERT_TRUE(bucket.TryTake(bucket.burst(), 1000));
  EXPECT_FALSE(bucket.TryTake(1, 1000));
  EXPECT_FALSE(bucket.TryTake(1, 0));
  EXPECT_TRUE(bucket.TryTake(1, 1001));
}

TEST(TokenBucketTest, AgesOfIdlenessDoNotOverflow) {
  TokenBucket bucket(UINT64_MAX, 0);
  ASSERT_TRUE(bucket.TryTake(bucket.burst(), 0));
  EXPECT_TRUE(bucket.TryTake(bucket.burst(), INT64_MAX));
  EXPECT_FALSE(bucket.TryTake(bucket.burst(), INT64_MAX));
}

}  // namespace
}  // namespace terracefs::io
