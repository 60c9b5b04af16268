#pragma once

#include <chrono>

#include "io/base/mutex.h"
#include "io/base/status.h"

namespace terracefs::lsm {

// How somebody steers a job that runs in another thread. Safe from any thread.
class JobControl {
 public:
  // The job ends soon with Cancelled, also while it is paused. For good.
  void Cancel() EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    cancelled_ = true;
    changed_.NotifyAll();
  }
  // The job stands still between two entries until Resume.
  void Pause() EXCLUDES(mutex_) { SetPaused(true); }
  void Resume() EXCLUDES(mutex_) { SetPaused(false); }

  bool cancelled() const EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    return cancelled_;
  }
  bool paused() const EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    return paused_ && !cancelled_;
  }
  // Returns when not paused, cancelled, or after `at_most`, whichever is first.
  void WaitWhilePaused(std::chrono::nanoseconds at_most) EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    if (paused_ && !cancelled_) changed_.WaitFor(mutex_, at_most);
  }

 private:
  void SetPaused(bool paused) EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    paused_ = paused;
    changed_.NotifyAll();
  }

  mutable io::Mutex mutex_;
  io::CondVar changed_;
  bool cancelled_ GUARDED_BY(mutex_) = false;
  bool paused_ GUARDED_BY(mutex_) = false;
};

}  // namespace terracefs::lsm
