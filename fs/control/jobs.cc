#include "fs/control/jobs.h"

#include <algorithm>

#include "io/base/log.h"
#include "io/thread_pool.h"

namespace terracefs::fs {

Jobs::Jobs(lsm::Db& db, const io::Clock& clock) : db_(db), clock_(clock) {}

Jobs::~Jobs() { Shutdown(); }

io::Result<uint64_t> Jobs::StartCompaction(const lsm::CompactionRequest& request) {
  std::vector<std::unique_ptr<Job>> old;  // joined after the lock is gone
  io::MutexLock lock(mutex_);
  if (shutdown_) return io::Status::ShuttingDown();
  const auto running = std::count_if(jobs_.begin(), jobs_.end(), [](const auto& job) {
    return job->report.state == JobState::kRunning;
  });
  if (static_cast<size_t>(running) >= kRunningJobsMax) {
    return io::Status::Busy("as many jobs as may are running already");
  }
  old = TakeOldJobsLocked();
  jobs_.push_back(std::make_unique<Job>());
  Job& job = *jobs_.back();
  job.report.id = next_id_++;
  job.started_ns = NowNs();
  const uint64_t id = job.report.id;
  // The job is not removed before its thread has ended, so the reference stays good.
  job.thread = std::thread([this, &job, request] { Run(job, request); });
  lock.Unlock();
  for (const std::unique_ptr<Job>& ended : old) ended->thread.join();
  return id;
}

std::vector<std::unique_ptr<Jobs::Job>> Jobs::TakeOldJobsLocked() {
  std::vector<std::unique_ptr<Job>> old;
  auto finished = static_cast<size_t>(
      std::count_if(jobs_.begin(), jobs_.end(), [](const auto& job) { return job->joinable; }));
  for (auto it = jobs_.begin(); it != jobs_.end() && finished > kFinishedJobsMax;) {
    if (!(*it)->joinable) {
      ++it;
      continue;
    }
    old.push_back(std::move(*it));
    it = jobs_.erase(it);
    --finished;
  }
  return old;
}

void Jobs::Run(Job& job, const lsm::CompactionRequest& request) noexcept {
  io::SetThreadName("fs-job");
  const uint64_t live_before = db_.Stats().live_table_bytes;
  const io::Status status =
      db_.Compact(request, job.control, [&](const auto& progress) { TakeProgress(job, progress); });
  const uint64_t live_after = db_.Stats().live_table_bytes;

  io::MutexLock lock(mutex_);
  const uint64_t now_ns = NowNs();
  ClosePass(job, now_ns);
  job.report.nanoseconds = now_ns - job.started_ns;
  job.report.bytes_reclaimed = live_before > live_after ? live_before - live_after : 0;
  if (status.ok()) {
    job.report.state = JobState::kDone;
  } else if (status.Is(io::StatusCode::kCancelled)) {
    job.report.state = JobState::kCancelled;
  } else {
    job.report.state = JobState::kFailed;
    job.report.message = status.ToString();
  }
  const uint64_t id = job.report.id;
  job.joinable = true;
  lock.Unlock();  // from here on `job` may be gone, but for its thread
  if (!status.ok()) io::FsLog().warn("job {}: {}", id, status.ToString());
}

void Jobs::ClosePass(Job& job, uint64_t now_ns) {
  if (job.report.passes.empty()) return;
  job.report.passes.back().nanoseconds = now_ns - job.pass_started_ns;
}

void Jobs::TakeProgress(Job& job, const lsm::CompactionProgress& progress) {
  io::MutexLock lock(mutex_);
  const uint64_t now_ns = NowNs();
  JobReport& report = job.report;
  if (report.passes.empty() || report.passes.back().name != progress.pass) {
    ClosePass(job, now_ns);
    report.passes.push_back({});
    report.passes.back().name = progress.pass;
    job.pass_started_ns = now_ns;
    job.pass_start_read = report.bytes_read;
    job.pass_start_written = report.bytes_written;
  }
  report.bytes_read = progress.bytes_read;
  report.bytes_written = progress.bytes_written;
  JobPass& pass = report.passes.back();
  pass.bytes_done = progress.bytes_done;
  pass.bytes_total = progress.bytes_total;
  pass.bytes_read = progress.bytes_read - job.pass_start_read;
  pass.bytes_written = progress.bytes_written - job.pass_start_written;
  ClosePass(job, now_ns);
  report.nanoseconds = now_ns - job.started_ns;
}

const Jobs::Job* Jobs::FindLocked(uint64_t id) const {
  if (id == 0) return jobs_.empty() ? nullptr : jobs_.back().get();
  for (const std::unique_ptr<Job>& job : jobs_) {
    if (job->report.id == id) return job.get();
  }
  return nullptr;
}

std::optional<JobReport> Jobs::Find(uint64_t id) const {
  io::MutexLock lock(mutex_);
  const Job* job = FindLocked(id);
  if (job == nullptr) return std::nullopt;
  return job->report;
}

bool Jobs::Cancel(uint64_t id) {
  io::MutexLock lock(mutex_);
  for (const std::unique_ptr<Job>& job : jobs_) {
    if (job->report.id != id) continue;
    job->control.Cancel();
    return true;
  }
  return false;
}

void Jobs::Shutdown() {
  std::deque<std::unique_ptr<Job>> all;
  {
    io::MutexLock lock(mutex_);
    shutdown_ = true;
    for (const std::unique_ptr<Job>& job : jobs_) job->control.Cancel();
    all.swap(jobs_);
  }
  // The threads reach their jobs by reference, not through jobs_.
  for (const std::unique_ptr<Job>& job : all) job->thread.join();
}

}  // namespace terracefs::fs
