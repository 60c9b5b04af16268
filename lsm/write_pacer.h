#pragma once

#include <cstdint>

namespace terracefs::lsm {

// How long a writer has to be delayed so that what waits to be drained (flushed, say) does not grow
// to its limit. Pure arithmetic: time and loads are passed in, nothing waits here.
//
// The drain rate is measured, as an exponentially weighted average over about as long as it takes
// to drain `average_bytes`: what is long depends on how soon the limit can be reached. With x = how
// far the backlog is from where delays begin (0) to the limit (1), writers are admitted at the
// drain rate times (1 - x) / x: any rate at 0, exactly the drain rate in the middle, next to
// nothing at the limit. So there is no cliff, and the backlog settles where as much is admitted as
// is drained, also if a byte written is not quite a byte drained.
//
// All writers share one schedule: a batch is admitted when those before it are paid for. One delay
// is at most kDelayNsMax / (1 - x), and never more than kDelayNsHardMax; what is owed beyond that
// is forgiven (batches far smaller than what is drained in that time never get there). Delays too
// short to sleep are saved up. Not thread-safe.
class WritePacer {
 public:
  static constexpr int64_t kDelayNsMin = 1'000'000;
  static constexpr int64_t kDelayNsMax = 25'000'000;
  static constexpr int64_t kDelayNsHardMax = 1'000'000'000;
  static constexpr double kDrainRateGuess = 32 << 20;  // before anything was measured
  static constexpr double kDrainRateMin = 1 << 20;

  struct Load {
    uint64_t backlog_bytes = 0;
    uint64_t begin_bytes = 0;  // delays begin beyond this backlog
    uint64_t limit_bytes = 0;  // at this one writers stop; above begin_bytes
  };

  explicit WritePacer(uint64_t average_bytes)
      : average_bytes_(static_cast<double>(average_bytes)) {}

  // `drained_bytes` in all are drained by now, and from now on somebody is at work on it or not:
  // other times do not count. What is drained again after a failure counts once.
  void Observe(int64_t now_ns, uint64_t drained_bytes, bool draining);
  // For a batch of `batch_bytes` that is about to be written; 0 = at once.
  int64_t Delay(int64_t now_ns, const Load& load, uint64_t batch_bytes);
  double drain_rate() const { return drain_rate_; }  // bytes per second

 private:
  const double average_bytes_;
  double drain_rate_ = kDrainRateGuess;
  bool measured_ = false;
  bool was_draining_ = false;
  int64_t observed_ns_ = 0;
  uint64_t observed_bytes_ = 0;
  // Not part of a sample yet.
  int64_t busy_ns_ = 0;
  uint64_t busy_bytes_ = 0;
  int64_t paid_until_ns_ = 0;
};

}  // namespace terracefs::lsm
