#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "fs/file_system.h"
#include "fs/fuse/reply.h"
#include "io/base/mutex.h"
#include "io/thread_pool.h"

namespace terracefs::fs {

// The answer to a request that is done once what it did is durable.
struct DurableReply {
  Reply reply;
  // Given the reply and the sync's outcome; null for what has nothing to say but that.
  std::function<void(Reply&, const io::Status&)> answer;

  void WithStatus(const io::Status& status);
};

// Answers fsync requests and synchronous writes. Any sync makes everything before it durable, so
// all that wait share one, and however many wait, they keep at most kSyncersMax threads of the
// pool. Safe from any thread.
class SyncQueue {
 public:
  // Both borrowed.
  SyncQueue(FileSystem& file_system, io::ThreadPool& pool)
      : file_system_(file_system), pool_(pool) {}

  // Answers `reply` once everything done so far is durable, or with the error.
  void Add(DurableReply reply) EXCLUDES(mutex_);

 private:
  // More than one, so that a second group commit is on its way while the first is waited for.
  static constexpr int kSyncersMax = 4;

  void Run() EXCLUDES(mutex_);

  FileSystem& file_system_;
  io::ThreadPool& pool_;
  io::Mutex mutex_;
  std::vector<DurableReply> waiting_ GUARDED_BY(mutex_);
  int syncer_count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace terracefs::fs
