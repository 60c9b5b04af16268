#pragma once

#include <cstdint>

#include "fs/inode_lock.h"
#include "fs/schema/inode_number.h"
#include "io/base/mutex.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

// Numbers for inodes and data ids; each is given out once in the life of the store. A stored bound
// runs ahead of them: it is raised, in a batch of its own, before the first number beyond it is
// given out. Recovery is a prefix of history, so no number that survives a crash lies beyond the
// bound that survives with it. The rest of a block is skipped at the next mount. Safe from any
// thread.
class InodeAllocator {
 public:
  static constexpr uint64_t kBlockCount = 1024;

  // `bound`: as stored; every number below it may have been used.
  InodeAllocator(lsm::Db& db, uint64_t bound) : db_(db), next_(bound), bound_(bound) {}

  // WouldBlock if `may_wait` is false and a new block would need a wait.
  io::Result<uint64_t> Allocate(bool may_wait) EXCLUDES(mutex_);

 private:
  // Zero if the block is used up.
  uint64_t TakeFromBlock() EXCLUDES(mutex_);
  io::Status Refill(bool may_wait) EXCLUDES(mutex_);

  lsm::Db& db_;
  InodeLock refill_lock_;  // held across the write of the bound
  io::Mutex mutex_;
  uint64_t next_ GUARDED_BY(mutex_);
  uint64_t bound_ GUARDED_BY(mutex_);
};

}  // namespace terracefs::fs
