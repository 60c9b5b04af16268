#include "fs/inode_allocator.h"

#include <utility>

#include "fs/schema/keys.h"
#include "fs/schema/records.h"

namespace terracefs::fs {

using io::Result;
using io::Status;

uint64_t InodeAllocator::TakeFromBlock() {
  io::MutexLock hold(mutex_);
  return next_ < bound_ ? next_++ : 0;
}

Result<uint64_t> InodeAllocator::Allocate(bool may_wait) {
  for (;;) {
    const uint64_t number = TakeFromBlock();
    if (number != 0) return number;
    if (may_wait) {
      refill_lock_.Lock();
    } else if (!refill_lock_.TryLockBriefly()) {
      return Status::WouldBlock();
    }
    Status status = Refill(may_wait);
    refill_lock_.Unlock();
    if (!status.ok()) return status;
  }
}

Status InodeAllocator::Refill(bool may_wait) {
  uint64_t new_bound = 0;
  {
    io::MutexLock hold(mutex_);
    if (next_ < bound_) return Status::Ok();  // somebody else did it
    new_bound = bound_ + kBlockCount;
  }
  if (!may_wait && db_.WriteWouldStall()) return Status::WouldBlock();
  lsm::WriteBatch batch;
  batch.Put(AllocatorKey(), EncodeAllocatorBound(new_bound));
  TRY(db_.Write(std::move(batch)));
  io::MutexLock hold(mutex_);
  bound_ = new_bound;
  return Status::Ok();
}

}  // namespace terracefs::fs
