#pragma once

#include <thread>
#include <vector>

#include "fs/inode_table.h"
#include "fs/lookup_counts.h"
#include "fs/recovery_report.h"
#include "fs/schema/inode_number.h"
#include "fs/transaction.h"
#include "io/base/mutex.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

// Adds to `transaction` what removes `inode` for good: its record, xattrs, pages or entries, and
// with `recorded` its orphan record. O(1) bytes. Requires `inode` locked exclusively, without
// links, and known to nobody.
void StageRemoval(Inode& inode, bool recorded, Transaction* transaction);

// Pages of all inodes that are recorded as orphans. Damaged ones do not count.
io::Result<uint64_t> OrphanPageCount(lsm::Db& db);

// Inodes without links that the kernel still knew: collected when it forgets them, or at the next
// mount. Owns a thread for what must not be done where Forget runs. Safe from any thread.
class Orphans {
 public:
  Orphans(lsm::Db& db, InodeTable& table, LookupCounts& counts);
  // Collects everything, also what is still looked up: the kernel is gone. Errors are logged; the
  // next mount tries again.
  ~Orphans();
  Orphans(const Orphans&) = delete;
  Orphans& operator=(const Orphans&) = delete;

  // Collects what the last run of the daemon left; what is damaged stays. For mounting, before
  // anything else runs.
  static RecoveryReport Recover(lsm::Db& db, InodeTable& table);

  // The kernel's last reference to an inode that was recorded as an orphan is gone. Collects it
  // at once if that needs no wait, else a little later. The caller holds no inode lock.
  void Released(InodeNumber ino) EXCLUDES(mutex_);

 private:
  static io::Status Collect(lsm::Db& db, InodeTable& table, InodeNumber ino, bool may_wait);
  void Run() noexcept EXCLUDES(mutex_);

  lsm::Db& db_;
  InodeTable& table_;
  LookupCounts& counts_;
  io::Mutex mutex_;
  io::CondVar wake_;
  // At most as long as the orphans that the kernel has ever held at once.
  std::vector<InodeNumber> pending_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace terracefs::fs
