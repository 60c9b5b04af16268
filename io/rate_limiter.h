#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/base/clock.h"
#include "io/base/mutex.h"
#include "io/token_bucket.h"

namespace terracefs::io {

// Order of service: a smaller number goes first.
enum class IoPriority : uint8_t { kFlush = 0, kL0 = 1, kCompaction = 2, kVacuum = 3, kScrub = 4 };
inline constexpr size_t kIoPriorityCount = 5;

struct RateLimiterStats {
  uint64_t bytes = 0;          // granted in all
  uint64_t flush_bytes = 0;    // of these, to IoPriority::kFlush
  uint64_t waited_ns = 0;      // sum over callers
  uint64_t rate = 0;           // bytes per second now; 0 = unlimited
  uint64_t waiting_count = 0;  // callers blocked now
};

// A token bucket for every byte that background work reads or writes. In any window of w seconds
// at most rate * w + burst bytes are granted, where burst = max(rate / 100, 256 KiB). A request
// larger than the burst is granted in parts. Flush never waits (the foreground would wait behind
// it): its bytes are taken from the bucket as debt, so that everything else makes room; the window
// bound holds for all other priorities together with it as long as flush alone stays below the
// rate. Debt is forgotten beyond one second of the rate, so that the others come back soon after
// flush calms down. Waiting callers are served by priority; one in ten grants goes to the longest
// waiter of a lower priority so that none starves. Event-driven: a waiter sleeps until its tokens
// are there or the rate changes. Safe from any thread.
class RateLimiter {
 public:
  RateLimiter(uint64_t bytes_per_second, const Clock& clock);

  // Blocks until `bytes` may move. Returns at once if unlimited or shut down.
  void Acquire(uint64_t bytes, IoPriority priority) EXCLUDES(mutex_);
  // Takes effect at once, also for callers already waiting. 0 = unlimited.
  void SetRate(uint64_t bytes_per_second) EXCLUDES(mutex_);
  // Lets every waiter through from now on.
  void Shutdown() EXCLUDES(mutex_);
  RateLimiterStats stats() const EXCLUDES(mutex_);

 private:
  // One blocked caller of Acquire; lives on its stack.
  struct Waiter {
    uint64_t left_bytes = 0;
    IoPriority priority = IoPriority::kFlush;
  };
  bool OpenLocked() const REQUIRES(mutex_) { return shutdown_ || bucket_.rate() == 0; }
  Waiter* NextLocked() const REQUIRES(mutex_);
  uint64_t PartBytesLocked(const Waiter& waiter) const REQUIRES(mutex_);
  void GrantLocked() REQUIRES(mutex_);

  const Clock& clock_;
  mutable Mutex mutex_;
  CondVar changed_;
  TokenBucket bucket_ GUARDED_BY(mutex_);
  bool shutdown_ GUARDED_BY(mutex_) = false;
  uint64_t grant_count_ GUARDED_BY(mutex_) = 0;
  uint64_t granted_bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t flush_bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t waited_ns_ GUARDED_BY(mutex_) = 0;
  // In order of arrival. As many as there are background threads, so a walk is cheap.
  std::vector<Waiter*> waiting_ GUARDED_BY(mutex_);
};

}  // namespace terracefs::io
