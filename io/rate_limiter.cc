#include "io/rate_limiter.h"

#include <algorithm>
#include <chrono>

#include "io/base/check.h"
#include "io/base/units.h"

namespace terracefs::io {
namespace {

constexpr uint64_t kPartBytesMax = 64 * kKiB;
constexpr uint64_t kHighPartsPerLowPart = 9;
constexpr int64_t kWaitNsMin = 1'000'000;
// A wait looks again at least this often, whatever the arithmetic says.
constexpr int64_t kWaitNsMax = 1'000'000'000;

}  // namespace

RateLimiter::RateLimiter(uint64_t bytes_per_second, const Clock& clock)
    : clock_(clock), bucket_(bytes_per_second, clock.SteadyNs()) {}

void RateLimiter::Acquire(uint64_t bytes, IoPriority priority) {
  MutexLock lock(mutex_);
  if (bytes == 0 || OpenLocked()) {
    CountLocked(bytes, priority);
    return;
  }
  Waiter waiter{bytes, priority};
  waiting_.push_back(&waiter);
  const int64_t begin_ns = clock_.SteadyNs();
  GrantLocked();
  while (waiter.left_bytes > 0) {
    // All wait for the tokens of the one that is next. Whoever wakes first grants them, and a
    // finished waiter hears of it through `changed_`.
    const uint64_t part_bytes = std::min(waiting_[NextLocked().index]->left_bytes, kPartBytesMax);
    const int64_t until_ns = bucket_.NsUntil(part_bytes, clock_.SteadyNs());
    changed_.WaitFor(mutex_,
                     std::chrono::nanoseconds(std::clamp(until_ns, kWaitNsMin, kWaitNsMax)));
    GrantLocked();
  }
  waited_ns_ += static_cast<uint64_t>(clock_.SteadyNs() - begin_ns);
}

void RateLimiter::SetRate(uint64_t bytes_per_second) {
  MutexLock lock(mutex_);
  if (bytes_per_second == bucket_.rate()) return;
  bucket_.SetRate(bytes_per_second, clock_.SteadyNs());
  GrantLocked();
  // Also without a grant: sleepers have to reckon with the new rate.
  changed_.NotifyAll();
}

void RateLimiter::Shutdown() {
  MutexLock lock(mutex_);
  shutdown_ = true;
  GrantLocked();
}

uint64_t RateLimiter::RequestBytesMax() const {
  MutexLock lock(mutex_);
  return OpenLocked() ? UINT64_MAX : std::max(bucket_.burst() / 4, kRequestBytesMin);
}

RateLimiterStats RateLimiter::stats() const {
  MutexLock lock(mutex_);
  RateLimiterStats stats;
  stats.bytes_by_priority = granted_bytes_;
  for (const uint64_t bytes : granted_bytes_) stats.bytes += bytes;
  stats.waited_ns = waited_ns_;
  stats.rate = bucket_.rate();
  stats.waiting_count = waiting_.size();
  return stats;
}

// The first of the highest priority, or of all those below it if they are due.
RateLimiter::Turn RateLimiter::NextLocked() const {
  CHECK(!waiting_.empty());
  size_t top = 0;
  for (size_t i = 1; i < waiting_.size(); ++i) {
    if (waiting_[i]->priority < waiting_[top]->priority) top = i;
  }
  size_t lower = 0;
  while (lower < waiting_.size() && waiting_[lower]->priority == waiting_[top]->priority) ++lower;
  if (lower == waiting_.size()) return {top, false, false};
  const uint64_t part_bytes = std::min(waiting_[lower]->left_bytes, kPartBytesMax);
  const bool lower_is_due = ahead_bytes_ >= kHighPartsPerLowPart * part_bytes;
  return {lower_is_due ? lower : top, true, lower_is_due};
}

void RateLimiter::CountLocked(uint64_t bytes, IoPriority priority) {
  granted_bytes_[static_cast<size_t>(priority)] += bytes;
  if (priority == IoPriority::kFlush) flush_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

// Grants parts, in the order of NextLocked, until tokens or waiters run out.
void RateLimiter::GrantLocked() {
  bool any_finished = false;
  const int64_t now_ns = clock_.SteadyNs();
  while (!waiting_.empty()) {
    const Turn turn = NextLocked();
    Waiter* const waiter = waiting_[turn.index];
    const uint64_t bytes =
        OpenLocked() ? waiter->left_bytes : std::min(waiter->left_bytes, kPartBytesMax);
    if (!OpenLocked() && !bucket_.TryTake(bytes, now_ns)) break;
    if (turn.is_lower) {
      ahead_bytes_ -= std::min(ahead_bytes_, kHighPartsPerLowPart * bytes);
    } else {
      ahead_bytes_ = turn.others_wait ? ahead_bytes_ + bytes : 0;
    }
    CountLocked(bytes, waiter->priority);
    waiter->left_bytes -= bytes;
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(turn.index));
    if (waiter->left_bytes > 0) {
      waiting_.push_back(waiter);
    } else {
      any_finished = true;
    }
  }
  if (any_finished) changed_.NotifyAll();
}

}  // namespace terracefs::io
