#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace terracefs::io {

// Time as it is passed in, so that a test can own it. All methods are safe from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds since the Unix epoch; may jump.
  virtual int64_t WallNs() const = 0;
  // Nanoseconds since an unspecified point; never goes back.
  virtual int64_t SteadyNs() const = 0;
};

// The machine's clocks; one object for the whole process.
const Clock& SystemClock();

// A clock that moves only when told to.
class ManualClock : public Clock {
 public:
  explicit ManualClock(int64_t start_ns) : now_ns_(start_ns) {}
  int64_t WallNs() const override { return now_ns_.load(); }
  int64_t SteadyNs() const override { return now_ns_.load(); }
  void AdvanceNs(int64_t ns) { now_ns_.fetch_add(ns); }

 private:
  std::atomic<int64_t> now_ns_;
};

}  // namespace terracefs::io
