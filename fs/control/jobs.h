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

#include "fs/schema/inode_number.h"
#include "io/base/clock.h"
#include "io/base/mutex.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

inline constexpr size_t kRunningJobsMax = 4;
inline constexpr size_t kFinishedJobsMax = 64;

// Values are those of the ioctl interface.
enum class JobState : uint32_t {
  kRunning = 1,
  kDone = 2,
  kFailed = 3,
  kCancelled = 4,
  kPaused = 5
};

struct CompactionJob {
  lsm::CompactionRequest request = {};
  // Limits it to what belongs to this inode: a file, or a directory with the tree below it. The
  // request's ranges are then worked out by the job's first pass, "walk".
  std::optional<InodeNumber> top = {};
  bool dry_run = false;  // only say what it would do
};

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
  // By how much the tables have shrunk since they were flushed and, once the job is over, the value
  // files.
  uint64_t bytes_reclaimed = 0;
  uint64_t nanoseconds = 0;
  bool is_estimate = false;  // a dry run: the bytes are what would be
  std::string message;       // why it failed
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
  io::Result<uint64_t> StartCompaction(const CompactionJob& compaction) EXCLUDES(mutex_);
  // Nothing if there is no such job, or none at all for 0, which is the newest.
  std::optional<JobReport> Find(uint64_t id) const EXCLUDES(mutex_);
  // The first one after `id`; so all are listed, from 0 on.
  std::optional<JobReport> FindNext(uint64_t id) const EXCLUDES(mutex_);
  // Asks the job to end, to stand still or to go on; it does so soon, unless it ends by itself
  // before. False: no such job.
  bool Cancel(uint64_t id) EXCLUDES(mutex_);
  bool Pause(uint64_t id) EXCLUDES(mutex_);
  bool Resume(uint64_t id) EXCLUDES(mutex_);
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
    uint64_t live_bytes_before = 0;   // in tables, when there was nothing more to flush
    uint64_t value_bytes_before = 0;  // of value files, garbage included
    JobReport report;
  };

  void Run(Job& job, const CompactionJob& compaction) noexcept EXCLUDES(mutex_);
  io::Status Work(Job& job, const CompactionJob& compaction) EXCLUDES(mutex_);
  void TakeProgress(Job& job, const lsm::CompactionProgress& progress) EXCLUDES(mutex_);
  void TakeEstimate(Job& job, const lsm::CompactionEstimate& estimate) EXCLUDES(mutex_);
  // Ends the time of the current pass.
  static void ClosePass(Job& job, uint64_t now_ns);
  static void TakeReclaimed(Job& job, uint64_t live_bytes, uint64_t value_bytes);
  // Of all value files; `otherwise` if that cannot be told.
  uint64_t ValueBytes(uint64_t otherwise);
  static JobReport ReportOf(const Job& job);
  // False: no such job.
  bool Steer(uint64_t id, void (lsm::JobControl::*how)()) EXCLUDES(mutex_);
  std::vector<std::unique_ptr<Job>> TakeOldJobsLocked() REQUIRES(mutex_);
  Job* FindLocked(uint64_t id) const REQUIRES(mutex_);
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
