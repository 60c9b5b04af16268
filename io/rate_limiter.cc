#include "io/rate_limiter.h"

#include <algorithm>
#include <chrono>

#include "io/base/check.h"

namespace terracefs::io {
namespace {

constexpr uint64_t kGrantsPerLowTurn = 10;
// A wait looks again at least this often, whatever the arithmetic says.
constexpr int64_t kWaitNsMax = 1'000'000'000;

}  // namespace

RateLimiter::RateLimiter(uint64_t bytes_per_second, const Clock& clock)
    : clock_(clock), bucket_(bytes_per_second, clock.SteadyNs()) {}

void RateLimiter::Acquire(uint64_t bytes, IoPriority priority) {
  MutexLock lock(mutex_);
  if (bytes == 0 || OpenLocked() || priority == IoPriority::kFlush) {
    granted_bytes_ += bytes;
    if (priority == IoPriority::kFlush) flush_bytes_ += bytes;
    bucket_.TakeAsDebt(bytes, clock_.SteadyNs());
    return;
  }
  Waiter waiter{bytes, priority};
  waiting_.push_back(&waiter);
  const int64_t begin_ns = clock_.SteadyNs();
  GrantLocked();
  while (waiter.left_bytes > 0) {
    // All wait for the tokens of the one that is next. Whoever wakes first grants them, and a
    // finished waiter hears of it through `changed_`.
    const int64_t until_ns = bucket_.NsUntil(PartBytesLocked(*NextLocked()), clock_.SteadyNs());
    changed_.WaitFor(mutex_,
                     std::chrono::nanoseconds(std::clamp<int64_t>(until_ns, 1, kWaitNsMax)));
    GrantLocked();
  }
  waited_ns_ += static_cast<uint64_t>(clock_.SteadyNs() - begin_ns);
}

void RateLimiter::SetRate(uint64_t bytes_per_second) {
  MutexLock lock(mutex_);
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

RateLimiterStats RateLimiter::stats() const {
  MutexLock lock(mutex_);
  return {granted_bytes_, flush_bytes_, waited_ns_, bucket_.rate(), waiting_.size()};
}

// The first of the highest priority; in one turn of ten the first of all those below it.
RateLimiter::Waiter* RateLimiter::NextLocked() const {
  CHECK(!waiting_.empty());
  const auto top =
      std::min_element(waiting_.begin(), waiting_.end(),
                       [](const Waiter* a, const Waiter* b) { return a->priority < b->priority; });
  if (grant_count_ % kGrantsPerLowTurn != kGrantsPerLowTurn - 1) return *top;
  const auto lower = std::find_if(waiting_.begin(), waiting_.end(), [top](const Waiter* waiter) {
    return waiter->priority > (*top)->priority;
  });
  return lower == waiting_.end() ? *top : *lower;
}

uint64_t RateLimiter::PartBytesLocked(const Waiter& waiter) const {
  return std::min(waiter.left_bytes, bucket_.burst());
}

// Grants parts, in the order of NextLocked, until tokens or waiters run out.
void RateLimiter::GrantLocked() {
  bool any_finished = false;
  const int64_t now_ns = clock_.SteadyNs();
  while (!waiting_.empty()) {
    Waiter* const waiter = NextLocked();
    const uint64_t bytes = OpenLocked() ? waiter->left_bytes : PartBytesLocked(*waiter);
    if (!OpenLocked() && !bucket_.TryTake(bytes, now_ns)) break;
    ++grant_count_;
    granted_bytes_ += bytes;
    waiter->left_bytes -= bytes;
    if (waiter->left_bytes > 0) continue;
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), waiter));
    any_finished = true;
  }
  if (any_finished) changed_.NotifyAll();
}

}  // namespace terracefs::io
