#include "lsm/auto_rate.h"

#include <algorithm>
#include <cmath>

namespace terracefs::lsm {
namespace {

constexpr double kTickSeconds = 0.1;  // factors below are per so long
constexpr double kCutFactor = 0.7;
constexpr double kGrowFactor = 1.1;
constexpr double kGrowFactorIdle = 1.5;

// A tick is quiet if the background moved less than this per second.
constexpr double kQuietRate = 1.25 * static_cast<double>(AutoRate::kRateMin);
// Fewer samples than this in a tick say nothing about a p99, but still something.
constexpr double kSamplesForFullWeight = 20;
constexpr double kBaselineSeconds = 3;  // quiet time to learn a baseline anew
// The same if the little that went on may still be felt.
constexpr double kBaselineSecondsActive = 30;
constexpr double kBaselineAgingSeconds = 120;  // without a quiet tick it follows this slowly
constexpr double kCurrentSeconds = 0.3;
constexpr double kSampleKeptSeconds = 1;    // latencies count as long without new ones
constexpr double kBaselineOldSeconds = 30;  // then it is looked at again
constexpr double kProbeSeconds = 0.5;
constexpr double kCutPauseSeconds = 0.15;  // a cut has to show its effect first
// Latencies below this are nothing that storage has a part in.
constexpr double kLatencyNsMin = 20'000;

constexpr double kForegroundIdleSeconds = 1;
constexpr uint64_t kForegroundIdleBytes = 64 * io::kKiB;
constexpr double kWrittenDecaySeconds = 2;
constexpr double kAmplificationSeconds = 60;
constexpr double kAmplificationMin = 4;
constexpr double kAmplificationMax = 30;
constexpr double kFlushHeadroom = 2;
constexpr double kDeadlineHeadroom = 2;
// From here to there the floor rises to where it has to be.
constexpr double kFlushFullnessBegin = 0.5;
constexpr double kFlushFullnessEnd = 0.9;
constexpr double kLevel0FullnessBegin = 0.5;
// Room left, in reserves, below which space is hurried up.
constexpr double kRoomReserves = 3;

double Decay(double seconds, double time_constant) { return std::exp(-seconds / time_constant); }

// From `low` at 0 to `high` at 1, by equal factors.
double Between(double low, double high, double position) {
  return low * std::pow(high / low, std::clamp(position, 0.0, 1.0));
}

}  // namespace

uint64_t AutoRate::Update(const Tick& tick) {
  const double seconds = std::max(tick.seconds, 1e-3);
  const double background_rate = static_cast<double>(tick.background_bytes) / seconds;
  const bool quiet = !tick.background_active || background_rate < kQuietRate;
  const double harm = Harm(tick, quiet);
  const double floor = Floor(tick);

  bool seen = tick.foreground_bytes > kForegroundIdleBytes;
  for (const LatencyWindow::Sample& sample : tick.latency) seen |= sample.count > 0;
  foreground_age_s_ = seen ? 0 : foreground_age_s_ + seconds;
  cut_age_s_ += seconds;

  // Growth per tick is per time in truth: ticks also come early, when a memtable ends.
  const double steps = std::min(seconds / kTickSeconds, 10.0);
  if (foreground_age_s_ > kForegroundIdleSeconds) {
    rate_ *= std::pow(kGrowFactorIdle, steps);
  } else if (harm > kHarmRatio && !quiet) {
    if (cut_age_s_ >= kCutPauseSeconds) {
      // What is not used cannot be what does harm: cut from what is.
      rate_ = std::min(rate_, std::max(background_rate, floor)) * kCutFactor;
      cut_age_s_ = 0;
    }
  } else if (harm < kGoodRatio && background_rate > 0.7 * rate_) {
    rate_ *= std::pow(kGrowFactor, steps);
  }
  rate_ = std::clamp(rate_, std::min(floor, static_cast<double>(kRateMax)),
                     static_cast<double>(kRateMax));

  // A look at how the foreground would be without the background, if nobody knows any more.
  bool wanted = false;
  for (const Kind& kind : kinds_) {
    wanted |=
        kind.current_ns > 0 && (kind.baseline_ns == 0 || kind.baseline_age_s > kBaselineOldSeconds);
  }
  if (probe_left_s_ > 0) {
    probe_left_s_ -= seconds;
  } else if (wanted && !quiet) {
    probe_left_s_ = kProbeSeconds;
    for (Kind& kind : kinds_) kind.baseline_age_s = 0;
  }
  if (probe_left_s_ > 0) {
    return static_cast<uint64_t>(std::min(floor, static_cast<double>(kRateMax)));
  }
  return rate();
}

double AutoRate::Harm(const Tick& tick, bool quiet) {
  double harm = 0;
  for (size_t i = 0; i < kOperationCount; ++i) {
    Kind& kind = kinds_[i];
    const LatencyWindow::Sample& sample = tick.latency[i];
    kind.baseline_age_s += tick.seconds;
    kind.current_age_s += tick.seconds;
    if (sample.count > 0) {
      const double weight =
          std::min(1.0, static_cast<double>(sample.count) / kSamplesForFullWeight);
      const double latency_ns = std::max(static_cast<double>(sample.p99_ns), kLatencyNsMin);
      // Averages of logarithms: one long sync among many short ones is no trend.
      const auto follow = [&](double value, double time_constant) {
        const double part = weight * (1 - Decay(tick.seconds, time_constant));
        return value == 0 ? latency_ns : value * std::pow(latency_ns / value, part);
      };
      kind.current_ns = follow(kind.current_ns, kCurrentSeconds);
      kind.current_age_s = 0;
      if (quiet) {
        kind.baseline_ns =
            follow(kind.baseline_ns,
                   tick.background_bytes == 0 ? kBaselineSeconds : kBaselineSecondsActive);
        kind.baseline_age_s = 0;
      } else if (kind.baseline_ns > 0) {
        kind.baseline_ns = follow(kind.baseline_ns, kBaselineAgingSeconds);
      }
    } else if (kind.current_age_s > kSampleKeptSeconds) {
      kind.current_ns = 0;
    }
    if (kind.current_ns > 0 && kind.baseline_ns > 0) {
      harm = std::max(harm, kind.current_ns / kind.baseline_ns);
    }
  }
  return harm;
}

double AutoRate::Floor(const Tick& tick) {
  const double seconds = std::max(tick.seconds, 1e-3);
  constexpr auto kMost = static_cast<double>(kRateMax);
  const double written = static_cast<double>(tick.foreground_bytes) / seconds;
  written_per_second_ =
      std::max(written, written_per_second_ * Decay(seconds, kWrittenDecaySeconds));
  const double kept = Decay(seconds, kAmplificationSeconds);
  foreground_bytes_ = foreground_bytes_ * kept + static_cast<double>(tick.foreground_bytes);
  background_bytes_ = background_bytes_ * kept + static_cast<double>(tick.background_bytes);
  const double amplification = std::clamp(background_bytes_ / std::max(foreground_bytes_, 1.0),
                                          kAmplificationMin, kAmplificationMax);

  double floor = std::max(static_cast<double>(kRateMin), kFlushHeadroom * written_per_second_);
  if (tick.level0_fullness > kLevel0FullnessBegin) {
    const double wanted = std::max(floor, amplification * written_per_second_);
    const double position =
        (tick.level0_fullness - kLevel0FullnessBegin) / (1 - kLevel0FullnessBegin);
    floor = Between(floor, wanted, position);
    // Beyond the trigger writers are being delayed already.
    if (position > 1) floor = Between(floor, std::max(floor, kMost), position - 1);
  }
  if (tick.due_bytes > 0) {
    floor = std::max(floor, kDeadlineHeadroom * static_cast<double>(tick.due_bytes) /
                                std::max(tick.due_seconds, 1.0));
  }
  floor = std::max(floor, static_cast<double>(tick.pending_bytes) / kPendingSeconds);
  floor = std::min(floor, kMost);
  if (tick.pending_bytes + tick.due_bytes > 0 && tick.reserve_bytes > 0) {
    const double reserves =
        static_cast<double>(tick.room_bytes) / static_cast<double>(tick.reserve_bytes);
    if (reserves < kRoomReserves) floor = Between(floor, kMost, 1 - reserves / kRoomReserves);
  }
  if (tick.flush_fullness > kFlushFullnessBegin) {
    floor = Between(
        floor, kMost,
        (tick.flush_fullness - kFlushFullnessBegin) / (kFlushFullnessEnd - kFlushFullnessBegin));
  }
  return floor;
}

}  // namespace terracefs::lsm
