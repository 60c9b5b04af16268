#include "lsm/write_pacer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "io/base/units.h"

namespace terracefs::lsm {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1000 * kMs;
constexpr uint64_t kBegin = 160 * io::kMiB;
constexpr uint64_t kLimit = 256 * io::kMiB;
constexpr uint64_t kAverage = 16 * io::kMiB;

// Writers who write as fast as they may, against a drain of a steady rate.
struct Outcome {
  double admitted_rate = 0;  // over the last half of the time
  double backlog_max = 0;
  int64_t delay_ns_max = 0;
  int64_t stops = 0;  // how often the limit was hit
};

struct Scene {
  double drain_rate = 8 << 20;
  uint64_t batch_bytes = 4096;
  int64_t write_ns = 10'000;  // what a write takes without a delay
  int writers = 1;
  double drained_per_written = 1;
};

Outcome Play(const Scene& scene, int64_t duration_ns) {
  WritePacer pacer(kAverage);
  Outcome outcome;
  double written = 0;
  double drained = 0;
  double written_at_half = 0;
  int64_t drained_at_ns = 0;
  std::vector<int64_t> free_ns(static_cast<size_t>(scene.writers), 0);
  for (;;) {
    const auto writer = std::min_element(free_ns.begin(), free_ns.end());
    const int64_t now_ns = *writer;
    if (now_ns >= duration_ns) break;
    drained = std::min(
        written, drained + scene.drain_rate / 1e9 * static_cast<double>(now_ns - drained_at_ns));
    drained_at_ns = now_ns;
    const double backlog = written - drained;
    outcome.backlog_max = std::max(outcome.backlog_max, backlog);
    if (backlog + static_cast<double>(scene.batch_bytes) > static_cast<double>(kLimit)) {
      ++outcome.stops;
      *writer += 50 * kMs;
      continue;
    }
    WritePacer::Load load;
    load.backlog_bytes = static_cast<uint64_t>(backlog);
    load.begin_bytes = kBegin;
    load.limit_bytes = kLimit;
    pacer.Observe(now_ns, static_cast<uint64_t>(drained * scene.drained_per_written), backlog > 0);
    const int64_t delay_ns = pacer.Delay(now_ns, load, scene.batch_bytes);
    outcome.delay_ns_max = std::max(outcome.delay_ns_max, delay_ns);
    written += static_cast<double>(scene.batch_bytes);
    if (now_ns < duration_ns / 2) written_at_half = written;
    *writer += delay_ns + scene.write_ns;
  }
  outcome.admitted_rate =
      (written - written_at_half) * 1e9 / (static_cast<double>(duration_ns) / 2);
  return outcome;
}

TEST(WritePacerTest, AdmitsWhatIsDrainedInSmallDelays) {
  for (const double rate : {2e6, 8e6, 50e6, 300e6}) {
    for (const uint64_t batch : {uint64_t{200}, uint64_t{4096}, 128 * io::kKiB}) {
      Scene scene;
      scene.drain_rate = rate;
      scene.batch_bytes = batch;
      scene.write_ns = static_cast<int64_t>(batch) * 2 / 3 + 300;  // 1.5 GB/s unthrottled, or less
      const Outcome outcome = Play(scene, 100 * kSecond);
      // Writers that are slower than the drain are not delayed.
      const double unthrottled =
          static_cast<double>(batch) * 1e9 / static_cast<double>(scene.write_ns);
      EXPECT_NEAR(outcome.admitted_rate / std::min(rate, unthrottled), 1, 0.05)
          << rate << " " << batch;
      EXPECT_EQ(outcome.stops, 0) << rate << " " << batch;
      // 128 KiB at 2 MB/s are 66 ms, whoever does the sums.
      EXPECT_LE(outcome.delay_ns_max, rate < 4e6 && batch > 4096 ? 120 * kMs : 50 * kMs)
          << rate << " " << batch;
    }
  }
}

TEST(WritePacerTest, ManyWritersShareOneSchedule) {
  Scene scene;
  scene.writers = 16;
  scene.drain_rate = 8e6;
  const Outcome outcome = Play(scene, 100 * kSecond);
  EXPECT_NEAR(outcome.admitted_rate / 8e6, 1, 0.05);
  EXPECT_EQ(outcome.stops, 0);
  EXPECT_LE(outcome.delay_ns_max, 50 * kMs);
}

TEST(WritePacerTest, LargeBatchesAndASlowDrainWaitAsLongAsTheyMust) {
  Scene scene;
  scene.batch_bytes = io::kMiB;
  scene.drain_rate = 8e6;
  scene.writers = 2;
  scene.write_ns = 1 * kMs;
  const Outcome outcome = Play(scene, 100 * kSecond);
  EXPECT_NEAR(outcome.admitted_rate / 8e6, 1, 0.1);
  EXPECT_EQ(outcome.stops, 0);
  EXPECT_LE(outcome.delay_ns_max, 400 * kMs);
}

TEST(WritePacerTest, ScalesThatDoNotMatchOnlyMoveTheBalance) {
  for (const double scale : {0.5, 3.0}) {
    Scene scene;
    scene.drain_rate = 20e6;
    scene.drained_per_written = scale;
    const Outcome outcome = Play(scene, 60 * kSecond);
    EXPECT_NEAR(outcome.admitted_rate / 20e6, 1, 0.05) << scale;
    EXPECT_EQ(outcome.stops, 0) << scale;
    EXPECT_LT(outcome.backlog_max, 0.95 * static_cast<double>(kLimit));
  }
}

TEST(WritePacerTest, NobodyIsDelayedBelowTheThresholdAndDelaysGrowSmoothlyAboveIt) {
  int64_t before_ns = 0;
  for (uint64_t backlog = 0; backlog <= kLimit; backlog += io::kMiB) {
    WritePacer pacer(kAverage);
    const int64_t delay_ns = pacer.Delay(kSecond, {backlog, kBegin, kLimit}, 256 * io::kKiB);
    if (backlog <= kBegin) {
      EXPECT_EQ(delay_ns, 0);
    }
    EXPECT_GE(delay_ns, before_ns) << backlog;
    EXPECT_LE(delay_ns, WritePacer::kDelayNsHardMax);
    if (backlog > kBegin && backlog < kBegin + (kLimit - kBegin) * 3 / 4) {
      EXPECT_LT(delay_ns - before_ns, 3 * kMs) << backlog;
    }
    before_ns = delay_ns;
  }
  EXPECT_GT(before_ns, 300 * kMs);
}

TEST(WritePacerTest, IdleTimesDoNotCountAsSlowDrains) {
  WritePacer pacer(kAverage);
  int64_t now_ns = kSecond;
  uint64_t drained = 0;
  for (int job = 0; job < 10; ++job) {
    pacer.Observe(now_ns, drained, true);
    now_ns += 5 * kMs;
    drained += 500'000;
    pacer.Observe(now_ns, drained, false);
    now_ns += 3600 * kSecond;
  }
  EXPECT_NEAR(pacer.drain_rate(), 100e6, 1e6);
}

TEST(WritePacerTest, FollowsAChangedRateWithinSomeTimeConstants) {
  WritePacer pacer(kAverage);
  uint64_t drained = 0;
  for (int64_t ms = 0; ms < 3000; ms += 10) {
    pacer.Observe(ms * kMs, drained, true);
    drained += 1'000'000;
  }
  EXPECT_NEAR(pacer.drain_rate(), 100e6, 5e6);
  for (int64_t ms = 3000; ms < 7000; ms += 10) {
    pacer.Observe(ms * kMs, drained, true);
    drained += 100'000;
  }
  EXPECT_NEAR(pacer.drain_rate(), 10e6, 3e6);
}

TEST(WritePacerTest, ADrainThatStandsStillDelaysButNeverForEver) {
  WritePacer pacer(kAverage);
  int64_t now_ns = kSecond;
  for (int i = 0; i < 1000; ++i) {
    pacer.Observe(now_ns, 0, true);
    const int64_t delay_ns = pacer.Delay(now_ns, {kLimit, kBegin, kLimit}, io::kMiB);
    EXPECT_LE(delay_ns, WritePacer::kDelayNsHardMax);
    now_ns += delay_ns + kMs;
  }
  EXPECT_EQ(pacer.drain_rate(), WritePacer::kDrainRateMin);
}

}  // namespace
}  // namespace terracefs::lsm
