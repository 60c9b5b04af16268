#include "lsm/write_pacer.h"

#include <algorithm>
#include <cmath>

#include "io/base/check.h"

namespace terracefs::lsm {
namespace {

constexpr double kNsPerSecond = 1e9;
// Samples of shorter times say more about the size of a write than about a rate.
constexpr int64_t kSampleNsMin = 20'000'000;
constexpr double kTimeConstantSecondsMax = 10;
// A writer that sleeps longer than it was told to may catch up by as much.
constexpr int64_t kCatchUpNsMax = 2'000'000;
// Close to the limit the price stays finite: the rest is for the writers' hard stop.
constexpr double kFullnessMax = 0.98;

}  // namespace

void WritePacer::Observe(int64_t now_ns, uint64_t drained_bytes, bool draining) {
  if (was_draining_) {
    busy_ns_ += now_ns - observed_ns_;
    busy_bytes_ += drained_bytes - std::min(drained_bytes, observed_bytes_);
  }
  was_draining_ = draining;
  observed_ns_ = now_ns;
  observed_bytes_ = std::max(observed_bytes_, drained_bytes);
  if (busy_ns_ < kSampleNsMin) return;
  const double seconds = static_cast<double>(busy_ns_) / kNsPerSecond;
  const double rate = static_cast<double>(busy_bytes_) / seconds;
  const double time_constant_s = std::min(average_bytes_ / drain_rate_, kTimeConstantSecondsMax);
  const double weight = measured_ ? 1 - std::exp(-seconds / time_constant_s) : 1;
  drain_rate_ = std::max(kDrainRateMin, drain_rate_ + weight * (rate - drain_rate_));
  measured_ = true;
  busy_ns_ = 0;
  busy_bytes_ = 0;
}

int64_t WritePacer::Delay(int64_t now_ns, const Load& load, uint64_t batch_bytes) {
  DCHECK(load.limit_bytes > load.begin_bytes);
  if (load.backlog_bytes <= load.begin_bytes) return 0;
  const double fullness =
      std::min(kFullnessMax, static_cast<double>(load.backlog_bytes - load.begin_bytes) /
                                 static_cast<double>(load.limit_bytes - load.begin_bytes));
  const double cost_ns =
      static_cast<double>(batch_bytes) * kNsPerSecond / drain_rate_ * fullness / (1 - fullness);
  const auto delay_ns_max = static_cast<int64_t>(std::min(
      static_cast<double>(kDelayNsHardMax), static_cast<double>(kDelayNsMax) / (1 - fullness)));
  const int64_t begin_ns = std::max(paid_until_ns_, now_ns - kCatchUpNsMax);
  paid_until_ns_ = static_cast<int64_t>(std::min(static_cast<double>(begin_ns - now_ns) + cost_ns,
                                                 static_cast<double>(delay_ns_max))) +
                   now_ns;
  const int64_t delay_ns = paid_until_ns_ - now_ns;
  return delay_ns < kDelayNsMin ? 0 : delay_ns;
}

}  // namespace terracefs::lsm
