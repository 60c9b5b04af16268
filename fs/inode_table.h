#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "fs/inode_lock.h"
#include "fs/schema/inode_number.h"
#include "fs/schema/records.h"
#include "io/base/mutex.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

// An inode in memory: its lock and its record, which always equals the stored one (write-through).
// Invariants:
//   1. There is at most one object per inode number while anyone holds an InodeRef to it.
//   2. The record changes only by Publish and MarkGone, called with `lock` held exclusively after
//   the
//      batch that stores the change was written; so a holder of `lock` in any mode may use
//      record(), and anyone else a copy through Peek.
//   3. Once gone (removed from the store), an object never comes back to life.
class Inode {
 public:
  enum class State : uint8_t { kUnloaded, kLive, kGone };

  explicit Inode(InodeNumber number) : ino(number) {}
  Inode(const Inode&) = delete;
  Inode& operator=(const Inode&) = delete;

  const InodeNumber ino;
  InodeLock lock;

  // Acquire: who sees kLive sees the record that Load published.
  State state() const { return state_.load(std::memory_order_acquire); }
  // Requires `lock` in any mode and a state other than kUnloaded; good until it is unlocked.
  const InodeRecord& record() const NO_THREAD_SAFETY_ANALYSIS { return record_; }
  // Calls `use(record)` on a consistent record, without `lock`. Requires a state other than
  // kUnloaded. `use` must be short.
  template <typename Use>
  auto Peek(const Use& use) const EXCLUDES(mutex_) {
    io::MutexLock hold(mutex_);
    return use(record_);
  }

  // What the store says; does nothing unless the state is kUnloaded: by invariant 2 nobody can have
  // changed the stored record before that.
  void Load(InodeRecord&& record) EXCLUDES(mutex_);
  // Require `lock` held exclusively.
  void Publish(InodeRecord&& record) EXCLUDES(mutex_);
  void MarkGone() EXCLUDES(mutex_);

  // Of a directory: no entry has a smaller cookie. At least what the record says, more once a
  // listing has met what was removed. Requires `lock` in any mode.
  uint64_t first_cookie() const {
    return std::max(record().first_cookie, first_cookie_met_.load(std::memory_order_relaxed));
  }
  // A listing has met no entry below `cookie`. Requires `lock` in any mode. Stays true for ever:
  // cookies that are free are never given to an entry again.
  void RaiseFirstCookie(uint64_t cookie) {
    uint64_t met = first_cookie_met_.load(std::memory_order_relaxed);
    while (met < cookie &&
           !first_cookie_met_.compare_exchange_weak(met, cookie, std::memory_order_relaxed)) {
    }
  }

 private:
  mutable io::Mutex mutex_;
  InodeRecord record_ GUARDED_BY(mutex_);
  // Relaxed: any value that was ever stored is a bound, whatever else is seen of the directory.
  std::atomic<uint64_t> first_cookie_met_{0};
  std::atomic<State> state_{State::kUnloaded};
};

class InodeTable;

// Keeps an Inode in memory. Movable.
class InodeRef {
 public:
  InodeRef() = default;
  InodeRef(InodeRef&& other) noexcept
      : table_(other.table_), inode_(std::exchange(other.inode_, nullptr)) {}
  InodeRef& operator=(InodeRef&& other) noexcept {
    std::swap(table_, other.table_);
    std::swap(inode_, other.inode_);
    return *this;
  }
  ~InodeRef() { Reset(); }

  void Reset();
  explicit operator bool() const { return inode_ != nullptr; }
  Inode& operator*() const { return *inode_; }
  Inode* operator->() const { return inode_; }

 private:
  friend class InodeTable;  // the only one who makes them
  InodeRef(InodeTable* table, Inode* inode) : table_(table), inode_(inode) {}

  InodeTable* table_ = nullptr;
  Inode* inode_ = nullptr;
};

// The inodes in memory: all that are in use, and a bounded number of recently used ones. Safe from
// any thread.
class InodeTable {
 public:
  // `cached_count_max`: how many unused ones are kept.
  InodeTable(lsm::Db& db, size_t cached_count_max);
  ~InodeTable();
  InodeTable(const InodeTable&) = delete;
  InodeTable& operator=(const InodeTable&) = delete;

  // The inode, loaded. Posix(ESTALE) if there is none; WouldBlock if `may_wait` is false and its
  // record is not in memory. It may be gone before the caller has locked it.
  io::Result<InodeRef> Get(InodeNumber ino, bool may_wait);
  // An inode that was just stored, whose number nobody else knows yet.
  void Insert(InodeNumber ino, InodeRecord&& record);
  // Calls `use(record)` if the inode is in memory and live, without waiting for any lock that is
  // held for long; false if not.
  template <typename Use>
  bool PeekCached(InodeNumber ino, const Use& use) {
    Shard& shard = ShardOf(ino);
    io::MutexLock hold(shard.mutex);
    Node* node = FindLocked(shard, ino);
    if (node == nullptr || node->state() != Inode::State::kLive) return false;
    node->Peek(use);
    return true;
  }
  // A copy of the record, from memory or from the store. Errors as Get.
  io::Result<InodeRecord> ReadRecord(InodeNumber ino, bool may_wait);

 private:
  friend class InodeRef;

  static constexpr size_t kShardCount = 32;
  static constexpr size_t kBucketCount = 1024;  // per shard

  struct Node : Inode {
    explicit Node(InodeNumber number) : Inode(number) {}
    Node* next_in_bucket = nullptr;
    // In the list of unused ones while ref_count is 0.
    Node* newer = nullptr;
    Node* older = nullptr;
    uint32_t ref_count = 0;
  };
  struct Shard {
    io::Mutex mutex;
    std::array<Node*, kBucketCount> buckets GUARDED_BY(mutex){};
    Node* newest GUARDED_BY(mutex) = nullptr;
    Node* oldest GUARDED_BY(mutex) = nullptr;
    size_t unused_count GUARDED_BY(mutex) = 0;
  };

  Shard& ShardOf(InodeNumber ino) { return shards_[ino.value % kShardCount]; }
  static size_t BucketIndex(InodeNumber ino) { return ino.value / kShardCount % kBucketCount; }
  static Node* FindLocked(Shard& shard, InodeNumber ino) REQUIRES(shard.mutex);
  static void LinkLocked(Shard& shard, Node* node) REQUIRES(shard.mutex);
  static void UnlinkLocked(Shard& shard, Node* node) REQUIRES(shard.mutex);
  static void PushUnusedLocked(Shard& shard, Node* node) REQUIRES(shard.mutex);
  static void PopUnusedLocked(Shard& shard, Node* node) REQUIRES(shard.mutex);
  InodeRef Pin(InodeNumber ino);
  void Unpin(Inode* inode);
  io::Result<InodeRecord> ReadStored(InodeNumber ino, bool may_wait);

  lsm::Db& db_;
  const size_t shard_cached_count_max_;
  std::array<Shard, kShardCount> shards_;
};

inline void InodeRef::Reset() {
  if (inode_ != nullptr) table_->Unpin(std::exchange(inode_, nullptr));
}

}  // namespace terracefs::fs
