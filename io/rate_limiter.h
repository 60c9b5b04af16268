#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/base/clock.h"
#include "io/base/mutex.h"
#include "io/token_bucket.h"

namespace terracefs::io {

// Order of service: a smaller number goes first. kLogFile: writing out log files ahead of need.
enum class IoPriority : uint8_t {
  kFlush = 0,
  kL0 = 1,
  kCompaction = 2,
  kVacuum = 3,
  kScrub = 4,
  kLogFile = 5,
};
inline constexpr size_t kIoPriorityCount = 6;

struct RateLimiterStats {
  uint64_t bytes = 0;                                          // granted in all
  std::array<uint64_t, kIoPriorityCount> bytes_by_priority{};  // of these, by IoPriority
  uint64_t waited_ns = 0;                                      // sum over callers
  uint64_t rate = 0;           // bytes per second now; 0 = unlimited
  uint64_t waiting_count = 0;  // callers blocked now
};

// A token bucket for every byte that background work reads or writes, flush included. In any window
// of w seconds at most rate * w + max(rate / 100, 256 KiB) bytes are granted; less would cost what
// late wake-ups miss. A caller that moves what it was granted in requests of RequestBytesMax lags
// by less than one of them, so that a device sees at most rate * w + burst with burst = max(rate /
// 50, 512 KiB) from up to two callers at a time.
//
// Requests are granted in parts of at most 64 KiB. The highest priority goes first, but whenever it
// has got nine parts' worth of bytes, one part goes to the lower ones, if any waits. Among equals,
// and among all lower ones, parts go in turn. So nobody starves, and of two callers with the same
// priority neither gets more by asking for more at a time.
//
// Event-driven: a waiter sleeps until its tokens are there, but at least a millisecond, in which
// nothing is lost because the bucket takes ten; or until the rate changes. Safe from any thread.
class RateLimiter {
 public:
  RateLimiter(uint64_t bytes_per_second, const Clock& clock);

  // Blocks until `bytes` may move. Returns at once if unlimited or shut down.
  void Acquire(uint64_t bytes, IoPriority priority) EXCLUDES(mutex_);
  // Takes effect at once, also for callers already waiting. 0 = unlimited.
  void SetRate(uint64_t bytes_per_second) EXCLUDES(mutex_);
  // Lets every waiter through from now on.
  void Shutdown() EXCLUDES(mutex_);
  // How much to ask for, and move, at a time; at least kRequestBytesMin.
  uint64_t RequestBytesMax() const EXCLUDES(mutex_);
  static constexpr uint64_t kRequestBytesMin = 128 << 10;
  RateLimiterStats stats() const EXCLUDES(mutex_);
  // Bytes granted to IoPriority::kFlush so far: how far a flush is. Lock-free.
  uint64_t flush_bytes() const { return flush_bytes_.load(std::memory_order_relaxed); }

 private:
  // One blocked caller of Acquire; lives on its stack.
  struct Waiter {
    uint64_t left_bytes = 0;
    IoPriority priority = IoPriority::kFlush;
  };
  // Who is next, as a position in `waiting_`.
  struct Turn {
    size_t index = 0;
    bool others_wait = false;  // of lower priority than the highest
    bool is_lower = false;
  };
  bool OpenLocked() const REQUIRES(mutex_) { return shutdown_ || bucket_.rate() == 0; }
  Turn NextLocked() const REQUIRES(mutex_);
  void CountLocked(uint64_t bytes, IoPriority priority) REQUIRES(mutex_);
  void GrantLocked() REQUIRES(mutex_);

  const Clock& clock_;
  mutable Mutex mutex_;
  CondVar changed_;
  TokenBucket bucket_ GUARDED_BY(mutex_);
  bool shutdown_ GUARDED_BY(mutex_) = false;
  // What the highest priority got since the lower ones had their last part, while these waited.
  uint64_t ahead_bytes_ GUARDED_BY(mutex_) = 0;
  std::array<uint64_t, kIoPriorityCount> granted_bytes_ GUARDED_BY(mutex_){};
  uint64_t waited_ns_ GUARDED_BY(mutex_) = 0;
  // In order of arrival or of the last part. As many as there are background threads, so a walk is
  // cheap.
  std::vector<Waiter*> waiting_ GUARDED_BY(mutex_);
  // Written under the lock; relaxed, it orders nothing.
  std::atomic<uint64_t> flush_bytes_{0};
};

}  // namespace terracefs::io
