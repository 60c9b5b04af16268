#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "io/base/units.h"
#include "lsm/latency_window.h"

namespace terracefs::lsm {

// The rate of background work for `compaction_rate=auto`: what the foreground leaves. Fed about
// every 100 ms with what happened since the last time. No thread, no clock, no lock of its own.
//
// What the foreground feels: for each kind of operation there is a baseline, the latency in ticks
// with little background work, which ages slowly. While some kind takes longer than kHarmRatio
// times its baseline the rate is cut; while all are close to it, or nobody is there, the rate grows
// (faster if nobody is there). If the background never rests and the baseline gets old, the rate
// goes down to the least for a moment, to look.
//
// What the background must have all the same, whatever the foreground feels: the floor is the
// largest of
//  - kRateMin;
//  - twice what the foreground writes, so that flush, which goes first, never falls behind, from
//    there up to kRateMax as the flush backlog nears the point where writers are delayed;
//  - what the foreground writes times the write amplification, as level 0 nears its slow-down
//    trigger;
//  - what is due for the deletion deadline per second left, twice;
//  - up to kRateMax as the disk fills, if there is something to be reclaimed;
//  - all pending compaction and vacuum in kPendingSeconds.
class AutoRate {
 public:
  static constexpr uint64_t kRateMin = 16 * io::kMiB;
  static constexpr uint64_t kRateMax = 4 * io::kGiB;
  static constexpr uint64_t kRateStart = 256 * io::kMiB;
  static constexpr double kHarmRatio = 1.5;
  static constexpr double kGoodRatio = 1.2;
  static constexpr double kPendingSeconds = 600;

  enum class Operation : uint8_t { kSync = 0, kRead = 1 };
  static constexpr size_t kOperationCount = 2;

  // What happened since the last tick, and how things are now.
  struct Tick {
    double seconds = 0.1;                                          // since the last tick
    std::array<LatencyWindow::Sample, kOperationCount> latency{};  // by Operation, foreground only
    uint64_t foreground_bytes = 0;                                 // written
    uint64_t background_bytes = 0;                                 // granted by the limiter
    bool background_active = false;                                // a job ran or waits
    uint64_t pending_bytes = 0;                                    // PendingBytes, and vacuum's
    double level0_fullness = 0;                                    // tables / slow-down trigger
    double flush_fullness = 0;                                     // backlog / where delays begin
    uint64_t room_bytes = 0;                                       // Db::RoomBytes
    uint64_t reserve_bytes = 0;                                    // what is kept beside it
    uint64_t due_bytes = 0;  // to be rewritten for the deletion deadline
    double due_seconds = 0;  // until it; with due_bytes
  };

  // The new rate, bytes per second.
  uint64_t Update(const Tick& tick);
  uint64_t rate() const { return static_cast<uint64_t>(rate_); }
  // Latency in a quiet tick; 0 = not known.
  double baseline_ns(Operation operation) const {
    return kinds_[static_cast<size_t>(operation)].baseline_ns;
  }

 private:
  struct Kind {
    double baseline_ns = 0;
    double baseline_age_s = 0;  // since a quiet tick
    double current_ns = 0;      // smoothed
    double current_age_s = 0;
  };
  // The largest ratio of latency to baseline; 0 = nothing known.
  double Harm(const Tick& tick, bool quiet);
  double Floor(const Tick& tick);

  std::array<Kind, kOperationCount> kinds_{};
  double rate_ = kRateStart;
  double written_per_second_ = 0;  // by the foreground, decaying maximum
  double foreground_bytes_ = 0;    // decaying sums, for the write amplification
  double background_bytes_ = 0;
  double foreground_age_s_ = 1e9;  // since it did anything
  double probe_left_s_ = 0;        // of a look at the baseline
  double cut_age_s_ = 1e9;
};

}  // namespace terracefs::lsm
