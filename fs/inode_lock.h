#pragma once

#include <atomic>
#include <cstdint>

namespace terracefs::fs {

enum class LockMode : uint8_t { kShared, kExclusive };

// A reader-writer lock of four bytes that can be tried. A waiting writer keeps new readers out, so
// readers do not starve it; therefore no thread may take the same lock twice. Not annotated for
// clang: which inodes an operation locks is known only at run time, in LockSet.
class InodeLock {
 public:
  InodeLock() = default;
  InodeLock(const InodeLock&) = delete;
  InodeLock& operator=(const InodeLock&) = delete;

  void Lock();
  bool TryLock();
  // Tries for about 20 microseconds: long enough for a holder that only computes, far too short
  // for one that waits for the disk.
  bool TryLockBriefly();
  void Unlock();

  void LockShared();
  bool TryLockShared();
  bool TryLockSharedBriefly();
  void UnlockShared();

 private:
  // The number of readers, plus: held by a writer; a writer waits. The writer that gets the lock
  // clears the latter, and those that still wait set it again when they wake. Acquire on taking
  // pairs with release on letting go. Every release that frees the lock notifies.
  static constexpr uint32_t kExclusive = uint32_t{1} << 31;
  static constexpr uint32_t kWriterWaits = uint32_t{1} << 30;
  std::atomic<uint32_t> state_{0};
};

}  // namespace terracefs::fs
