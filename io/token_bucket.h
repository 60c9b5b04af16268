#pragma once

#include <cstdint>

namespace terracefs::io {

// The arithmetic of RateLimiter. Time is passed in and must not go back; nothing here waits.
// Invariants:
// 1. 0 <= tokens <= burst, so at most rate * w + burst bytes are taken in any window of w seconds.
//    While the rate changes, `rate * w` is its integral, and the burst that of the highest rate.
// 2. No token is lost or made by rounding: fractions are carried from one refill to the next.
// A rate of 0 means unlimited: the bucket is then never empty.
// Not thread-safe; a value.
class TokenBucket {
 public:
  TokenBucket(uint64_t bytes_per_second, int64_t now_ns);

  uint64_t rate() const { return rate_; }
  // The most that can be taken at once: 10 ms of the rate, but at least 256 KiB. Smaller, a thread
  // that wakes a few milliseconds late would lose tokens for good.
  uint64_t burst() const;
  // What is left is kept as far as the new burst allows. A bucket that was unlimited starts full.
  void SetRate(uint64_t bytes_per_second, int64_t now_ns);
  // Takes `bytes`, at most the burst, if they are there.
  bool TryTake(uint64_t bytes, int64_t now_ns);
  // How long until TryTake of as many will succeed if nobody takes any before; 0 = now.
  int64_t NsUntil(uint64_t bytes, int64_t now_ns);

 private:
  void Refill(int64_t now_ns);

  uint64_t rate_;
  uint64_t tokens_;
  uint64_t carried_ = 0;  // fraction of a token, in 1e-9
  int64_t refilled_at_ns_;
};

}  // namespace terracefs::io
