#include "io/thread_pool.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "io/base/check.h"
#include "io/base/log.h"

namespace terracefs::io {
namespace {

constexpr size_t kPoolNameLengthMax = 12;
constexpr size_t kThreadNameLengthMax = 15;  // the kernel's limit

}  // namespace

void SetThreadName(const std::string& name) {
  // It only fails for names that are too long.
  pthread_setname_np(pthread_self(), name.substr(0, kThreadNameLengthMax).c_str());
}

void SetThreadNice(int nice) {
  // On Linux this concerns one thread only, if it is called by its id.
  if (setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), nice) == 0) return;
  static std::atomic<bool> said{false};
  if (!said.exchange(true)) {
    IoLog().warn("cannot make background threads nicer: {}",
                 std::generic_category().message(errno));
  }
}

ThreadPool::ThreadPool(const std::string& name, size_t thread_count, size_t queue_count_max)
    : queue_count_max_(queue_count_max) {
  CHECK(thread_count > 0);
  CHECK(queue_count_max > 0);
  const std::string prefix = name.substr(0, kPoolNameLengthMax);
  threads_.reserve(thread_count);
  for (size_t index = 0; index < thread_count; ++index) {
    threads_.emplace_back([this, thread_name = prefix + std::to_string(index)] {
      SetThreadName(thread_name);
      Run();
    });
  }
}

ThreadPool::~ThreadPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    work_ready_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Submit(std::function<void()> work) {
  MutexLock lock(mutex_);
  while (queue_.size() >= queue_count_max_) room_ready_.Wait(mutex_);
  queue_.push_back(std::move(work));
  work_ready_.NotifyOne();
}

void ThreadPool::Drain() {
  MutexLock lock(mutex_);
  while (!queue_.empty() || running_count_ > 0) idle_.Wait(mutex_);
}

void ThreadPool::Run() noexcept {
  for (;;) {
    std::function<void()> work;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) work_ready_.Wait(mutex_);
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
      ++running_count_;
      room_ready_.NotifyOne();
    }
    work();
    // What the work holds on to is let go before anybody hears that it is over.
    work = nullptr;
    MutexLock lock(mutex_);
    --running_count_;
    if (queue_.empty() && running_count_ == 0) idle_.NotifyAll();
  }
}

}  // namespace terracefs::io
