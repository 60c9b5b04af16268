#include "lsm/auto_rate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace terracefs::lsm {
namespace {

using Operation = AutoRate::Operation;
using Tick = AutoRate::Tick;
constexpr size_t kSync = static_cast<size_t>(Operation::kSync);
constexpr size_t kRead = static_cast<size_t>(Operation::kRead);
constexpr uint64_t kMin = AutoRate::kRateMin;
constexpr uint64_t kMax = AutoRate::kRateMax;

// A quiet world with plenty of room; scenes change what they are about.
Tick Calm() {
  Tick tick;
  tick.room_bytes = 100 * io::kGiB;
  tick.reserve_bytes = io::kGiB;
  return tick;
}
Tick Syncing(int64_t p99_ns) {
  Tick tick = Calm();
  tick.latency[kSync] = {100, p99_ns};
  return tick;
}
// Background work takes all that the rate allows.
void Busy(uint64_t rate, Tick* tick) {
  tick->background_active = true;
  tick->background_bytes = static_cast<uint64_t>(static_cast<double>(rate) * tick->seconds);
}

// A device whose syncs take 1 ms and `harm` times as long at a full GiB per second of background
// work, in proportion.
int64_t DeviceNs(uint64_t rate, double harm) {
  return static_cast<int64_t>(
      1e6 * (1 + (harm - 1) * static_cast<double>(rate) / static_cast<double>(io::kGiB)));
}

uint64_t Play(AutoRate& controller, int ticks, const std::function<Tick(uint64_t rate)>& next) {
  uint64_t rate = controller.rate();
  for (int i = 0; i < ticks; ++i) rate = controller.Update(next(rate));
  return rate;
}

TEST(AutoRateTest, AnIdleForegroundGivesEverything) {
  AutoRate controller;
  const auto idle = [](uint64_t rate) {
    Tick tick = Calm();
    Busy(rate, &tick);
    return tick;
  };
  EXPECT_EQ(Play(controller, 30, idle), kMax);
}

TEST(AutoRateTest, FindsTheRateThatTheForegroundHardlyFeels) {
  for (const double harm : {3.0, 10.0, 100.0}) {
    AutoRate controller;
    Play(controller, 50, [](uint64_t) { return Syncing(1'000'000); });
    EXPECT_NEAR(controller.baseline_ns(Operation::kSync), 1e6, 5e4);
    double sum = 0;
    int count = 0;
    int high = 0;
    Play(controller, 600, [&](uint64_t rate) {
      Tick tick = Syncing(DeviceNs(rate, harm));
      Busy(rate, &tick);
      if (++count > 100) {
        sum += static_cast<double>(rate);
        high += tick.latency[kSync].p99_ns > 2'200'000 ? 1 : 0;
      }
      return tick;
    });
    // 1.2 to 1.5 times the baseline is where it settles, or the least rate if even that is felt.
    const double gib = static_cast<double>(io::kGiB);
    const double least = static_cast<double>(kMin);
    EXPECT_GT(sum / 500, 0.7 * std::max(least, 0.2 / (harm - 1) * gib)) << harm;
    EXPECT_LT(sum / 500, std::max(1.3 * least, 0.7 / (harm - 1) * gib)) << harm;
    if (harm < 50) {
      EXPECT_LT(high, 25) << harm;
    }
  }
}

TEST(AutoRateTest, HarmCutsWithinATickAndReliefGivesItBack) {
  AutoRate controller;
  Play(controller, 50, [](uint64_t) { return Syncing(1'000'000); });
  const auto busy = [](int64_t p99_ns) {
    return [p99_ns](uint64_t rate) {
      Tick tick = Syncing(p99_ns);
      Busy(rate, &tick);
      return tick;
    };
  };
  const uint64_t before = Play(controller, 10, busy(1'000'000));
  EXPECT_LT(Play(controller, 4, busy(10'000'000)), before);
  EXPECT_LE(Play(controller, 40, busy(10'000'000)), kMin * 5 / 4);
  EXPECT_GT(Play(controller, 80, busy(1'000'000)), 20 * kMin);
}

TEST(AutoRateTest, ReadsCountLikeSyncsAndEachAgainstItsOwnBaseline) {
  AutoRate controller;
  const auto tick_of = [](int64_t read_ns) {
    Tick tick = Syncing(5'000'000);
    tick.latency[kRead] = {50, read_ns};
    return tick;
  };
  Play(controller, 50, [&](uint64_t) { return tick_of(100'000); });
  const uint64_t rate = Play(controller, 50, [&](uint64_t r) {
    Tick tick = tick_of(400'000);  // four times as long, though syncs take longer still
    Busy(r, &tick);
    return tick;
  });
  EXPECT_EQ(rate, kMin);
}

TEST(AutoRateTest, NeverLeavesItsBounds) {
  AutoRate controller;
  uint64_t seed = 1;
  const auto random = [&seed](uint64_t n) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    return (seed >> 33) % n;
  };
  for (int i = 0; i < 20000; ++i) {
    Tick tick;
    tick.seconds = static_cast<double>(random(3000)) / 1000;
    tick.latency[kSync] = {random(50), static_cast<int64_t>(random(1) + random(100'000'000))};
    tick.latency[kRead] = {random(2), static_cast<int64_t>(random(100'000'000))};
    tick.foreground_bytes = random(uint64_t{1} << random(34));
    tick.background_bytes = random(uint64_t{1} << random(34));
    tick.background_active = random(2) == 0;
    tick.pending_bytes = random(uint64_t{1} << random(45));
    tick.level0_fullness = static_cast<double>(random(40)) / 10;
    tick.flush_fullness = static_cast<double>(random(20)) / 10;
    tick.room_bytes = random(uint64_t{1} << random(40));
    tick.reserve_bytes = random(uint64_t{1} << 30);
    tick.due_bytes = random(2) * random(uint64_t{1} << random(45));
    tick.due_seconds = static_cast<double>(random(1000)) - 100;
    const uint64_t rate = controller.Update(tick);
    ASSERT_GE(rate, kMin);
    ASSERT_LE(rate, kMax);
  }
}

TEST(AutoRateTest, FlushAlwaysHasWhatTheForegroundWritesAndMore) {
  AutoRate controller;
  // Crushed to the least by harm first.
  Play(controller, 50, [](uint64_t) { return Syncing(1'000'000); });
  const auto harmed = [](uint64_t written) {
    return [written](uint64_t rate) {
      Tick tick = Syncing(50'000'000);
      Busy(rate, &tick);
      tick.foreground_bytes = written;
      return tick;
    };
  };
  EXPECT_EQ(Play(controller, 50, harmed(0)), kMin);
  EXPECT_GE(Play(controller, 1, harmed(20'000'000)), 400'000'000U);  // 200 MB/s
  // A backlog that grows all the same opens the limiter before anybody is delayed.
  const uint64_t open = Play(controller, 1, [&](uint64_t rate) {
    Tick tick = harmed(20'000'000)(rate);
    tick.flush_fullness = 0.9;
    return tick;
  });
  EXPECT_EQ(open, kMax);
}

TEST(AutoRateTest, Level0NearItsTriggerGetsWhatTheWritesCost) {
  AutoRate controller;
  Play(controller, 50, [](uint64_t) { return Syncing(1'000'000); });
  const auto at = [&](double fullness) {
    return Play(controller, 100, [&](uint64_t rate) {
      Tick tick = Syncing(50'000'000);
      tick.background_active = true;
      tick.background_bytes = static_cast<uint64_t>(static_cast<double>(rate) / 10);
      tick.foreground_bytes = 2'000'000;  // 20 MB/s
      tick.level0_fullness = fullness;
      return tick;
    });
  };
  EXPECT_LT(at(0.4), 45'000'000U);
  const uint64_t near = at(1.0);
  EXPECT_GE(near, 80'000'000U);  // at least four times
  EXPECT_LT(near, 700'000'000U);
  EXPECT_EQ(at(2.0), kMax);
}

TEST(AutoRateTest, TheDeadlineAndTheFullDiskAndThePileAreHurried) {
  const auto rate_of = [](const std::function<void(Tick*)>& change) {
    AutoRate controller;
    Play(controller, 50, [](uint64_t) { return Syncing(1'000'000); });
    return Play(controller, 50, [&](uint64_t rate) {
      Tick tick = Syncing(50'000'000);
      Busy(rate, &tick);
      change(&tick);
      return tick;
    });
  };
  EXPECT_EQ(rate_of([](Tick*) {}), kMin);
  EXPECT_EQ(rate_of([](Tick* tick) {
              tick->due_bytes = 10 * io::kGiB;
              tick->due_seconds = 100;
            }),
            io::kGiB / 5);
  EXPECT_EQ(rate_of([](Tick* tick) {
              tick->due_bytes = 10 * io::kGiB;
              tick->due_seconds = -5;
            }),
            kMax);
  EXPECT_EQ(rate_of([](Tick* tick) {
              tick->pending_bytes = io::kMiB;
              tick->room_bytes = 0;
            }),
            kMax);
  EXPECT_EQ(rate_of([](Tick* tick) { tick->room_bytes = 0; }), kMin);  // nothing to be had
  EXPECT_EQ(rate_of([](Tick* tick) { tick->pending_bytes = 60 * io::kGiB; }), io::kGiB / 10);
}

TEST(AutoRateTest, ABackgroundThatNeverRestsStillGetsABaseline) {
  AutoRate controller;
  // Never a quiet tick, and harm from the first: ten times at 256 MiB/s.
  const uint64_t rate = Play(controller, 300, [](uint64_t r) {
    Tick tick = Syncing(DeviceNs(r, 37));
    Busy(r, &tick);
    return tick;
  });
  EXPECT_GT(controller.baseline_ns(Operation::kSync), 0);
  EXPECT_LT(controller.baseline_ns(Operation::kSync), 2e6);
  EXPECT_LT(rate, 40 * io::kMiB);
}

TEST(AutoRateTest, ASlowerDeviceBecomesTheNewNormal) {
  AutoRate controller;
  Play(controller, 50, [](uint64_t) { return Syncing(1'000'000); });
  // Ten times slower, whatever the background does.
  const auto slow = [](uint64_t rate) {
    Tick tick = Syncing(10'000'000);
    Busy(rate, &tick);
    return tick;
  };
  EXPECT_LE(Play(controller, 20, slow), kMin * 5 / 4);
  // At the least rate the ticks count as quiet, so the baseline follows.
  EXPECT_GT(Play(controller, 1500, slow), 10 * kMin);
}

TEST(LatencyWindowTest, GivesTheNinetyNinthOfAHundredSinceTheLastLook) {
  LatencyWindow window;
  EXPECT_EQ(window.Take().count, 0U);
  EXPECT_EQ(window.Take().p99_ns, 0);
  for (int i = 0; i < 199; ++i) window.Record(100'000);
  window.Record(50'000'000);
  LatencyWindow::Sample sample = window.Take();
  EXPECT_EQ(sample.count, 200U);
  EXPECT_GE(sample.p99_ns, 100'000);
  EXPECT_LE(sample.p99_ns, 115'000);
  for (const int64_t ns : {int64_t{-5}, int64_t{0}, int64_t{7}, int64_t{8}, int64_t{15},
                           int64_t{1'000'003}, int64_t{1} << 38, INT64_MAX}) {
    window.Record(ns);
    sample = window.Take();
    EXPECT_EQ(sample.count, 1U);
    if (ns < (int64_t{1} << 39)) {
      EXPECT_GE(sample.p99_ns, ns);
      EXPECT_LE(sample.p99_ns, std::max<int64_t>(0, ns + ns / 8));
    }
  }
}

}  // namespace
}  // namespace terracefs::lsm
