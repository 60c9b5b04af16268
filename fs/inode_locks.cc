#include "fs/inode_locks.h"

#include <algorithm>
#include <cerrno>

namespace terracefs::fs {

using io::Result;
using io::Status;

Result<LockedInode> LockedInode::Lock(InodeTable& table, InodeNumber ino, bool may_wait,
                                      LockMode mode) {
  InodeRef ref = TRY(table.Get(ino, may_wait));
  InodeLock& lock = ref->lock;
  if (mode == LockMode::kShared) {
    if (may_wait) {
      lock.LockShared();
    } else if (!lock.TryLockSharedBriefly()) {
      return Status::WouldBlock();
    }
  } else {
    if (may_wait) {
      lock.Lock();
    } else if (!lock.TryLockBriefly()) {
      return Status::WouldBlock();
    }
  }
  LockedInode locked(std::move(ref), mode);
  if (locked.inode().state() == Inode::State::kGone) return Status::Posix(ESTALE);
  return locked;
}

Result<LockedInode> LockedInode::Shared(InodeTable& table, InodeNumber ino, bool may_wait) {
  return Lock(table, ino, may_wait, LockMode::kShared);
}

Result<LockedInode> LockedInode::Exclusive(InodeTable& table, InodeNumber ino, bool may_wait) {
  return Lock(table, ino, may_wait, LockMode::kExclusive);
}

void LockedInode::Release() {
  if (!ref_) return;
  if (mode_ == LockMode::kShared) {
    ref_->lock.UnlockShared();
  } else {
    ref_->lock.Unlock();
  }
  ref_.Reset();
}

Inode* LockSet::Find(InodeNumber ino) const {
  for (size_t i = 0; i < count_; ++i) {
    if (refs_[i]->ino == ino) return &*refs_[i];
  }
  return nullptr;
}

Inode& LockSet::operator[](InodeNumber ino) const {
  Inode* inode = Find(ino);
  CHECK(inode != nullptr);
  return *inode;
}

void LockSet::Release() {
  while (count_ > 0) {
    --count_;
    refs_[count_]->lock.Unlock();
    refs_[count_].Reset();
  }
  highest_ = InodeNumber{};
}

Result<bool> LockSet::Add(InodeNumber ino) {
  if (Holds(ino)) return true;
  CHECK(count_ < kCountMax);
  InodeRef ref = TRY(table_.Get(ino, may_wait_));
  if (!may_wait_) {
    if (!ref->lock.TryLockBriefly()) return Status::WouldBlock();
  } else if (ino > highest_) {
    ref->lock.Lock();
  } else if (!ref->lock.TryLock()) {
    return false;
  }
  const bool gone = ref->state() == Inode::State::kGone;
  refs_[count_++] = std::move(ref);
  highest_ = std::max(highest_, ino);
  if (gone) return Status::Posix(ESTALE);
  return true;
}

Status LockSet::LockMany(std::span<const InodeNumber> inos) {
  Release();
  CHECK(inos.size() <= kCountMax);
  std::array<InodeNumber, kCountMax> sorted{};
  std::copy(inos.begin(), inos.end(), sorted.begin());
  const auto end = sorted.begin() + static_cast<ptrdiff_t>(inos.size());
  std::sort(sorted.begin(), end);
  for (auto at = sorted.begin(); at != end; ++at) {
    Result<bool> added = Add(*at);
    if (!added.ok()) {
      Release();
      return std::move(added).status();
    }
    CHECK(*added);  // ascending order never has to give way
  }
  return Status::Ok();
}

Result<bool> LockSet::Extend(std::span<const InodeNumber> inos) {
  CHECK(inos.size() <= kCountMax);
  std::array<InodeNumber, kCountMax> sorted{};
  std::copy(inos.begin(), inos.end(), sorted.begin());
  const auto end = sorted.begin() + static_cast<ptrdiff_t>(inos.size());
  std::sort(sorted.begin(), end);
  for (auto at = sorted.begin(); at != end; ++at) {
    Result<bool> added = Add(*at);
    if (!added.ok() || !*added) {
      Release();
      return added;
    }
  }
  return true;
}

}  // namespace terracefs::fs
