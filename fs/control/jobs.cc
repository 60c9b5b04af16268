#include "fs/control/jobs.h"

#include <algorithm>

#include "fs/control/path_ranges.h"
#include "io/base/log.h"
#include "io/thread_pool.h"

namespace terracefs::fs {
namespace {

constexpr std::string_view kFlushPass = "flush";  // as the engine calls it

}  // namespace

Jobs::Jobs(lsm::Db& db, const io::Clock& clock) : db_(db), clock_(clock) {}

Jobs::~Jobs() { Shutdown(); }

io::Result<uint64_t> Jobs::StartCompaction(const CompactionJob& compaction) {
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
  job.report.is_estimate = compaction.dry_run;
  job.started_ns = NowNs();
  const uint64_t id = job.report.id;
  // The job is not removed before its thread has ended, so the reference stays good.
  job.thread = std::thread([this, &job, compaction] { Run(job, compaction); });
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

io::Status Jobs::Work(Job& job, const CompactionJob& compaction) {
  lsm::CompactionRequest request = compaction.request;
  const auto report = [&](const lsm::CompactionProgress& progress) { TakeProgress(job, progress); };
  if (compaction.top) {
    report({.pass = "walk"});
    request.ranges = TRY(KeyRangesOf(db_, *compaction.top, job.control));
  }
  if (compaction.dry_run) {
    TakeEstimate(job, TRY(db_.EstimateCompaction(request, job.control)));
    return io::Status::Ok();
  }
  return db_.Compact(request, job.control, report);
}

void Jobs::Run(Job& job, const CompactionJob& compaction) noexcept {
  io::SetThreadName("fs-job");
  const uint64_t live_bytes_before = db_.Stats().live_table_bytes;
  const uint64_t value_bytes_before = ValueBytes(0);
  {
    io::MutexLock lock(mutex_);
    job.live_bytes_before = live_bytes_before;
    job.value_bytes_before = value_bytes_before;
  }
  const io::Status status = Work(job, compaction);
  const uint64_t live_bytes_after = db_.Stats().live_table_bytes;
  const uint64_t value_bytes_after = ValueBytes(value_bytes_before);

  io::MutexLock lock(mutex_);
  const uint64_t now_ns = NowNs();
  if (!compaction.dry_run) {
    ClosePass(job, now_ns);
    TakeReclaimed(job, live_bytes_after, value_bytes_after);
  }
  job.report.nanoseconds = now_ns - job.started_ns;
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

void Jobs::TakeReclaimed(Job& job, uint64_t live_bytes, uint64_t value_bytes) {
  const uint64_t before = job.live_bytes_before + job.value_bytes_before;
  const uint64_t now = live_bytes + value_bytes;
  job.report.bytes_reclaimed = before > now ? before - now : 0;
}

uint64_t Jobs::ValueBytes(uint64_t otherwise) {
  const io::Result<lsm::SpaceStats> space = db_.Space();
  return space.ok() ? space->value_bytes + space->value_garbage_bytes : otherwise;
}

void Jobs::TakeEstimate(Job& job, const lsm::CompactionEstimate& estimate) {
  io::MutexLock lock(mutex_);
  ClosePass(job, NowNs());
  for (const lsm::CompactionEstimate::Pass& pass : estimate.passes) {
    job.report.passes.push_back(
        {.name = pass.name, .bytes_read = pass.bytes_read, .bytes_written = pass.bytes_written});
  }
  job.report.bytes_read = estimate.bytes_read;
  job.report.bytes_written = estimate.bytes_written;
  job.report.bytes_reclaimed = estimate.bytes_reclaimed;
}

void Jobs::TakeProgress(Job& job, const lsm::CompactionProgress& progress) {
  const uint64_t live_bytes = db_.Stats().live_table_bytes;
  io::MutexLock lock(mutex_);
  const uint64_t now_ns = NowNs();
  JobReport& report = job.report;
  if (report.passes.empty() || report.passes.back().name != progress.pass) {
    ClosePass(job, now_ns);
    // What a flush adds to the tables was on the disk before, in logs: it is not for the
    // compaction to make up for.
    if (!report.passes.empty() && report.passes.back().name == kFlushPass) {
      job.live_bytes_before = live_bytes;
    }
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
  TakeReclaimed(job, live_bytes, job.value_bytes_before);
  report.nanoseconds = now_ns - job.started_ns;
}

JobReport Jobs::ReportOf(const Job& job) {
  JobReport report = job.report;
  if (report.state == JobState::kRunning && job.control.paused()) report.state = JobState::kPaused;
  return report;
}

Jobs::Job* Jobs::FindLocked(uint64_t id) const {
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
  return ReportOf(*job);
}

std::optional<JobReport> Jobs::FindNext(uint64_t id) const {
  io::MutexLock lock(mutex_);
  for (const std::unique_ptr<Job>& job : jobs_) {
    if (job->report.id > id) return ReportOf(*job);
  }
  return std::nullopt;
}

bool Jobs::Steer(uint64_t id, void (lsm::JobControl::*how)()) {
  io::MutexLock lock(mutex_);
  Job* const job = id == 0 ? nullptr : FindLocked(id);
  if (job == nullptr) return false;
  (job->control.*how)();
  return true;
}

bool Jobs::Cancel(uint64_t id) { return Steer(id, &lsm::JobControl::Cancel); }
bool Jobs::Pause(uint64_t id) { return Steer(id, &lsm::JobControl::Pause); }
bool Jobs::Resume(uint64_t id) { return Steer(id, &lsm::JobControl::Resume); }

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
