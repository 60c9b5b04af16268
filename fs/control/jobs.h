#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "io/base/clock.h"
#include "io/base/mutex.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

inline constexpr size_t kRunningJobsMax = 4;
inline constexpr size_t kFinishedJobsMax = 64;

// Values are those of the ioctl interface.
enum class JobState : uint32_t { kRunning = 1, kDone = 2, kFailed = 3, kCancelled = 4 };

struct JobPass {
  std::string name;
  uint64_t bytes_done = 0;  // of this pass's input
  uint64_t bytes_total = 0;
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  uint64_t nanoseconds = 0;
};

// A job as it stood at one moment.
struct JobReport {
  uint64_t id = 0;
  JobState state = JobState::kRunning;
  std::vector<JobPass> passes;
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  uint64_t bytes_reclaimed = 0;
  uint64_t nanoseconds = 0;
  std::string message;  // why it failed
};

// Long-running jobs by id, each in a thread of its own. Remembers the last kFinishedJobsMax that
// have ended. Safe from any thread.
class Jobs {
 public:
  // `db` and `clock` are borrowed.
  Jobs(lsm::Db& db, const io::Clock& clock);
  // Shutdown.
  ~Jobs();
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  // Returns the job's id; ids start at 1. Busy if kRunningJobsMax are running, ShuttingDown after
  // Shutdown.
  io::Result<uint64_t> StartCompaction(const lsm::CompactionRequest& request) EXCLUDES(mutex_);
  // Nothing if there is no such job, or none at all for 0, which is the newest.
  std::optional<JobReport> Find(uint64_t id) const EXCLUDES(mutex_);
  // Asks the job to end; it does so soon, unless it ends by itself before. False: no such job.
  bool Cancel(uint64_t id) EXCLUDES(mutex_);
  // Cancels everything and waits for its end. No job starts afterwards.
  void Shutdown() EXCLUDES(mutex_);

 private:
  struct Job {
    lsm::JobControl control;
    std::thread thread;
    bool joinable = false;  // its thread has nothing left to do
    uint64_t started_ns = 0;
    uint64_t pass_started_ns = 0;
    uint64_t pass_start_read = 0;  // of the whole job when the pass began
    uint64_t pass_start_written = 0;
    JobReport report;
  };

  void Run(Job& job, const lsm::CompactionRequest& request) noexcept EXCLUDES(mutex_);
  void TakeProgress(Job& job, const lsm::CompactionProgress& progress) EXCLUDES(mutex_);
  // Ends the time of the current pass.
  static void ClosePass(Job& job, uint64_t now_ns);
  std::vector<std::unique_ptr<Job>> TakeOldJobsLocked() REQUIRES(mutex_);
  const Job* FindLocked(uint64_t id) const REQUIRES(mutex_);
  uint64_t NowNs() const { return static_cast<uint64_t>(clock_.SteadyNs()); }

  lsm::Db& db_;
  const io::Clock& clock_;
  mutable io::Mutex mutex_;
  // In order of id. The members of a Job, but for `control`, are guarded too.
  std::deque<std::unique_ptr<Job>> jobs_ GUARDED_BY(mutex_);
  uint64_t next_id_ GUARDED_BY(mutex_) = 1;
  bool shutdown_ GUARDED_BY(mutex_) = false;
};

}  // namespace terracefs::fs
