#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include "fs/inode_lock.h"
#include "fs/inode_table.h"
#include "fs/schema/inode_number.h"
#include "io/base/result.h"

namespace terracefs::fs {

// One inode, pinned, live, and locked until this object goes. Movable. The order of locks is in
// fs/LOCKING.md: a thread that holds one inode takes another only through LockSet.
class LockedInode {
 public:
  // Posix(ESTALE): no such inode. `may_wait` false: WouldBlock where it would wait for the disk or
  // for whoever holds the lock.
  static io::Result<LockedInode> Shared(InodeTable& table, InodeNumber ino, bool may_wait);
  static io::Result<LockedInode> Exclusive(InodeTable& table, InodeNumber ino, bool may_wait);
  LockedInode(LockedInode&& other) noexcept = default;
  LockedInode& operator=(LockedInode&& other) = delete;
  ~LockedInode() { Release(); }

  // Not after Release().
  Inode& inode() const { return *ref_; }
  const InodeRecord& record() const { return ref_->record(); }
  void Release();

 private:
  LockedInode(InodeRef ref, LockMode mode) : ref_(std::move(ref)), mode_(mode) {}
  static io::Result<LockedInode> Lock(InodeTable& table, InodeNumber ino, bool may_wait,
                                      LockMode mode);

  InodeRef ref_;
  LockMode mode_;
};

// Exclusive locks on a few inodes, all released when this object goes. Deadlock-free because locks
// are waited for in ascending order of inode numbers only; out of order they are tried.
class LockSet {
 public:
  // Rename: two directories, what their names stand for, and what they stood for in the round
  // before.
  static constexpr size_t kCountMax = 6;

  LockSet(InodeTable& table, bool may_wait) : table_(table), may_wait_(may_wait) {}
  ~LockSet() { Release(); }
  LockSet(const LockSet&) = delete;
  LockSet& operator=(const LockSet&) = delete;

  // Locks exactly `inos` (repeated ones once), in order; whatever was held is let go first. On
  // error nothing is held. Posix(ESTALE): one of them does not exist.
  io::Status LockMany(std::span<const InodeNumber> inos);
  // Locks more. True: all is held, and what was held was never let go. False: that would have been
  // out of order, and nothing is held now; call LockMany with everything, and check again what led
  // to `inos`.
  io::Result<bool> Extend(std::span<const InodeNumber> inos);
  // Requires that it is held.
  Inode& operator[](InodeNumber ino) const;
  bool Holds(InodeNumber ino) const { return Find(ino) != nullptr; }
  void Release();

 private:
  Inode* Find(InodeNumber ino) const;
  // Locks `ino` if that is in order or free; false if neither. Posix(ESTALE), WouldBlock.
  io::Result<bool> Add(InodeNumber ino);

  InodeTable& table_;
  const bool may_wait_;
  std::array<InodeRef, kCountMax> refs_;
  size_t count_ = 0;
  InodeNumber highest_;
};

}  // namespace terracefs::fs
