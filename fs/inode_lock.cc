#include "fs/inode_lock.h"

namespace terracefs::fs {
namespace {

// A pause is 10 to 50 ns on the processors at hand.
constexpr int kBriefTries = 600;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace

bool InodeLock::TryLock() {
  uint32_t state = state_.load(std::memory_order_relaxed);
  return (state & ~kWriterWaits) == 0 &&
         state_.compare_exchange_strong(state, kExclusive, std::memory_order_acquire,
                                        std::memory_order_relaxed);
}

void InodeLock::Lock() {
  while (!TryLock()) {
    uint32_t state = state_.load(std::memory_order_relaxed);
    if ((state & ~kWriterWaits) == 0) continue;
    if ((state & kWriterWaits) == 0) {
      if (!state_.compare_exchange_weak(state, state | kWriterWaits, std::memory_order_relaxed)) {
        continue;
      }
      state |= kWriterWaits;
    }
    state_.wait(state, std::memory_order_relaxed);
  }
}

void InodeLock::Unlock() {
  state_.fetch_and(~kExclusive, std::memory_order_release);
  state_.notify_all();
}

bool InodeLock::TryLockShared() {
  uint32_t state = state_.load(std::memory_order_relaxed);
  while ((state & (kExclusive | kWriterWaits)) == 0) {
    if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

void InodeLock::LockShared() {
  while (!TryLockShared()) {
    const uint32_t state = state_.load(std::memory_order_relaxed);
    if ((state & (kExclusive | kWriterWaits)) != 0) {
      state_.wait(state, std::memory_order_relaxed);
    }
  }
}

void InodeLock::UnlockShared() {
  const uint32_t before = state_.fetch_sub(1, std::memory_order_release);
  if ((before & ~kWriterWaits) == 1) state_.notify_all();
}

bool InodeLock::TryLockBriefly() {
  for (int i = 0; i < kBriefTries; ++i) {
    if (TryLock()) return true;
    Pause();
  }
  return false;
}

bool InodeLock::TryLockSharedBriefly() {
  for (int i = 0; i < kBriefTries; ++i) {
    if (TryLockShared()) return true;
    Pause();
  }
  return false;
}

}  // namespace terracefs::fs
