#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "fs/control/control.h"
#include "fs/control/op_stats.h"
#include "fs/file_system.h"
#include "fs/fuse/sync_queue.h"
#include "io/base/clock.h"
#include "io/thread_pool.h"
#include "lsm/db.h"

namespace terracefs::fs {

inline constexpr size_t kWaiterThreads = 16;

// All borrowed.
struct ServiceTargets {
  FileSystem& file_system;
  lsm::Db& db;
  Control& control;
  OpStats& op_stats;
  const io::Clock& clock;
  bool read_only = false;
  bool writeback = false;  // the kernel's write-back cache
  bool acl = true;         // the kernel checks ACLs, and may know of them
  // What makes, moves or removes names, or changes attributes, answers once that is durable.
  bool sync_names = false;
  bool sync_attributes = false;
};

// What the request callbacks work with: the filesystem, and the threads on which they may wait for
// the disk. Safe from any thread.
class Service {
 public:
  explicit Service(const ServiceTargets& targets);

  const ServiceTargets& targets() const { return targets_; }
  // Runs `work`, which may wait, on a thread of the pool. Blocks if more requests wait than the
  // kernel sends over io_uring at once.
  void Defer(std::function<void()> work) { pool_.Submit(std::move(work)); }
  // Makes the kernel write back what it holds dirty of bytes [begin, end) of an inode (`end` 0: of
  // all from `begin` on), and forget these pages; then runs `work` on a thread of the pool. For a
  // request for an open file of that inode that waits for its answer.
  //
  // What waits for the kernel's writes is a thread that does nothing else: those of the pool may be
  // needed to answer them, and over io_uring a thread that has ever answered takes in requests that
  // the kernel can only hand to that thread.
  void FlushThen(InodeNumber ino, uint64_t begin, uint64_t end, std::function<void()> work);
  SyncQueue& syncs() { return syncs_; }
  // Returns when every deferred request has been answered.
  void WaitForDeferred();

  // Called once, from a transport thread, when the kernel and this process have agreed on terms.
  std::function<void()> on_init;
  // Makes the kernel ask for an inode's attributes before it uses them again. From any thread that
  // holds no lock, while a request for an open file of that inode waits for its answer: so the
  // kernel does not drop the inode meanwhile, which might wait for us.
  std::function<void(InodeNumber)> invalidate_attributes;
  // Of FlushThen, which alone calls it. Waits for the writes.
  std::function<void(InodeNumber, uint64_t begin, uint64_t end)> flush_pages;
  // What the kernel agreed to; set before any other request comes.
  bool can_skip_open = false;
  bool can_skip_opendir = false;

 private:
  const ServiceTargets targets_;
  io::ThreadPool pool_;
  io::ThreadPool flush_pool_;
  // Work given to FlushThen that has not been done.
  std::atomic<uint64_t> flush_count_{0};
  SyncQueue syncs_;
};

}  // namespace terracefs::fs
