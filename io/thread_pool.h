#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "io/base/mutex.h"

namespace terracefs::io {

// A fixed number of named threads and a bounded queue. The destructor runs what is queued, then
// joins. One pool belongs to one layer. Safe from any thread.
class ThreadPool {
 public:
  // `name` shows in /proc; at most 12 characters are kept, the thread's index follows.
  ThreadPool(const std::string& name, size_t thread_count, size_t queue_count_max);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Blocks while the queue is full. `work` must not throw.
  void Submit(std::function<void()> work) EXCLUDES(mutex_);
  // Blocks until nothing is queued or running.
  void Drain() EXCLUDES(mutex_);

 private:
  void Run() noexcept EXCLUDES(mutex_);

  const size_t queue_count_max_;
  Mutex mutex_;
  CondVar work_ready_;
  CondVar room_ready_;
  CondVar idle_;
  std::deque<std::function<void()>> queue_ GUARDED_BY(mutex_);
  size_t running_count_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// Names the calling thread for ps, top and gdb; at most 15 characters are kept.
void SetThreadName(const std::string& name);
// Lets the calling thread stand back for others: a nice value of 0 to 19. Without the right to,
// things stay as they are; the first time, the log says so.
void SetThreadNice(int nice);

}  // namespace terracefs::io
