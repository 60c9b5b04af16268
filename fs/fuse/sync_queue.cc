#include "fs/fuse/sync_queue.h"

#include <utility>

namespace terracefs::fs {

void DurableReply::WithStatus(const io::Status& status) {
  if (answer) return answer(reply, status);
  reply.WithStatus(status);
}

void SyncQueue::Add(DurableReply reply) {
  {
    io::MutexLock lock(mutex_);
    waiting_.push_back(std::move(reply));
    if (syncer_count_ == kSyncersMax) return;
    ++syncer_count_;
  }
  pool_.Submit([this] { Run(); });
}

void SyncQueue::Run() {
  for (;;) {
    std::vector<DurableReply> group;
    {
      io::MutexLock lock(mutex_);
      if (waiting_.empty()) {
        --syncer_count_;
        return;
      }
      group.swap(waiting_);
    }
    const io::Status status = file_system_.Sync();
    for (DurableReply& reply : group) reply.WithStatus(status);
  }
}

}  // namespace terracefs::fs
