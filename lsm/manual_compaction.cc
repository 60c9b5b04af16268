// Compactions that somebody asked for: passes made of slices, each a job like a worker's, in the
// caller's thread.
#include <algorithm>
#include <chrono>

#include "lsm/compaction/estimate.h"
#include "lsm/db_impl.h"

namespace terracefs::lsm {
namespace {

constexpr std::chrono::milliseconds kConflictPoll{50};  // somebody may cancel meanwhile
constexpr std::chrono::milliseconds kPausePoll{100};
constexpr int64_t kReportIntervalNs = 50'000'000;
// A job that is paused in the middle of a slice lets go of its tables after this.
constexpr int64_t kPauseHoldNs = 2'000'000'000;
// With CompactionRequest::vacuum, files with less garbage than this stay.
constexpr double kVacuumShareMin = 0.05;
constexpr const char* kVacuumPassName = "value files";

// Values cannot be told apart by level, and a range of keys has no value files of its own.
bool VacuumsToo(const CompactionRequest& request) {
  return request.vacuum || (request.level < 0 && !request.self_level && request.ranges.empty());
}

}  // namespace

struct DbImpl::ManualJob {
  ManualJob(const CompactionRequest& request_in, JobControl& control_in,
            const std::function<void(const CompactionProgress&)>& on_progress_in)
      : request(request_in), control(control_in), on_progress(on_progress_in) {}

  const CompactionRequest& request;
  JobControl& control;
  const std::function<void(const CompactionProgress&)>& on_progress;
  const std::thread::id thread = std::this_thread::get_id();
  CompactionProgress progress;
  uint64_t slices_done_bytes = 0;  // of the pass
  uint64_t live_bytes_begin = 0;
  int64_t reported_ns = 0;

  void Report() {
    progress.bytes_total = std::max(progress.bytes_total, progress.bytes_done);
    if (on_progress) on_progress(progress);
  }
};

// Between two slices nothing is held: a pause may last.
io::Status DbImpl::WaitToGoOn(JobControl& control) const {
  for (;;) {
    if (control.cancelled()) return io::Status::Cancelled();
    if (stop_jobs_.load(std::memory_order_relaxed)) return io::Status::ShuttingDown();
    if (!control.paused()) return io::Status::Ok();
    control.WaitWhilePaused(kPausePoll);
  }
}

// In a slice: Ok, Cancelled, ShuttingDown, or WouldBlock: paused for so long, or so much in the
// way, that a slice is to be given up and done again.
io::Status DbImpl::MayGoOn(ManualJob& job) const {
  int64_t paused_since_ns = 0;
  for (;;) {
    if (job.control.cancelled()) return io::Status::Cancelled();
    if (stop_jobs_.load(std::memory_order_relaxed)) return io::Status::ShuttingDown();
    if (!job.control.paused()) return io::Status::Ok();
    const int64_t now_ns = options_.clock->SteadyNs();
    if (paused_since_ns == 0) paused_since_ns = now_ns;
    if (now_ns - paused_since_ns >= kPauseHoldNs || WriteWouldStall()) {
      return io::Status::WouldBlock();
    }
    job.control.WaitWhilePaused(kPausePoll);
  }
}

io::Status DbImpl::RunSlice(ManualJob& job, JobSlot& slot) {
  const uint64_t read_before = job.progress.bytes_read;
  const uint64_t written_before = job.progress.bytes_written;
  const auto count = [&] {
    job.progress.bytes_read = read_before + slot.bytes().read.load();
    job.progress.bytes_written = written_before + slot.bytes().written.load();
  };
  const auto stop = [&]() -> io::Status {
    TRY(MayGoOn(job));
    // Parts of a large merge run in threads of their own.
    if (std::this_thread::get_id() != job.thread) return io::Status::Ok();
    const int64_t now_ns = options_.clock->SteadyNs();
    if (now_ns - job.reported_ns > kReportIntervalNs) {
      job.reported_ns = now_ns;
      count();
      job.progress.bytes_done = job.slices_done_bytes + slot.bytes().read.load();
      job.Report();
    }
    return io::Status::Ok();
  };
  const io::Status status = RunPlan(slot, stop);
  count();
  TRY(status);
  job.slices_done_bytes += slot.plan().InputBytes();
  job.progress.bytes_done = job.slices_done_bytes;
  job.Report();
  return io::Status::Ok();
}

// Runs what `pick` says, if it says something: `*last_key` is the largest user key of its source
// then. WouldBlock: it is to be asked again.
io::Status DbImpl::RunPicked(ManualJob& job, const ManualPick& pick,
                             std::optional<std::string>* last_key) {
  last_key->reset();
  std::unique_ptr<JobSlot> slot;
  {
    io::MutexLock lock(jobs_mutex_);
    const PickInputs inputs = PickInputsLocked();
    std::optional<CompactionPlan> plan = pick(ContextLocked(inputs.shape, &inputs.values));
    if (!plan) return io::Status::Ok();
    if (in_use_.Conflicts(*plan)) {
      job_done_.WaitFor(jobs_mutex_, kConflictPoll);
      return io::Status::WouldBlock();
    }
    slot = std::make_unique<JobSlot>(*this, std::move(*plan));
  }
  TRY(RunSlice(job, *slot));
  last_key->emplace();
  for (const FileRef& file : slot->plan().inputs[0]) {
    *last_key = std::max(**last_key, std::string(file->largest_user_key()));
  }
  // What the slice let go of is on the disk as long as somebody holds it.
  slot.reset();
  PurgeObsolete();
  return io::Status::Ok();
}

io::Status DbImpl::CompactSlices(ManualJob& job, ManualSlice slice) {
  for (;;) {
    TRY(WaitToGoOn(job.control));
    std::optional<std::string> last_key;
    const io::Status status = RunPicked(
        job, [&](const PickContext& context) { return PickManual(context, slice); }, &last_key);
    if (status.Is(io::StatusCode::kWouldBlock)) continue;
    TRY(status);
    if (!last_key) return io::Status::Ok();
    slice.cursor = std::move(last_key);
  }
}

// Value files made before the request: those that are garbage by at least `share_min`.
io::Status DbImpl::Vacuum(ManualJob& job, double share_min, FileNumber limit) {
  for (;;) {
    TRY(WaitToGoOn(job.control));
    std::optional<std::string> last_key;
    const io::Status status = RunPicked(
        job,
        [&](const PickContext& context) { return PickManualVacuum(context, share_min, limit); },
        &last_key);
    if (status.Is(io::StatusCode::kWouldBlock)) continue;
    TRY(status);
    if (!last_key) return io::Status::Ok();
  }
}

uint64_t DbImpl::TableAndValueBytes() const {
  const std::shared_ptr<const Version> version = versions_.current();
  uint64_t bytes = 0;
  for (int level = 0; level < kLevelCount; ++level) bytes += version->LevelBytes(level);
  for (const ValueFileGarbage& file : MeasureValueFiles(*version)) bytes += file.file_bytes;
  return bytes;
}

io::Status DbImpl::Reclaim(ManualJob& job) {
  const auto is_done = [&] {
    const uint64_t live = TableAndValueBytes();
    job.progress.bytes_done = job.live_bytes_begin > live ? job.live_bytes_begin - live : 0;
    return job.progress.bytes_done >= job.request.reclaim_bytes;
  };
  const FileNumber limit = versions_.NewFileNumber();
  const bool any_key = job.request.ranges.empty();
  // Tables first: what they drop empties value files.
  while (!is_done()) {
    TRY(WaitToGoOn(job.control));
    std::optional<std::string> last_key;
    const io::Status status = RunPicked(
        job,
        [&](const PickContext& context) {
          auto plan = PickReclaim(context, job.request.ranges);
          return plan || !any_key ? plan : PickManualVacuum(context, kVacuumShareMin, limit);
        },
        &last_key);
    if (status.Is(io::StatusCode::kWouldBlock)) continue;
    TRY(status);
    if (!last_key) break;
  }
  job.Report();
  return io::Status::Ok();
}

std::vector<ManualSlice> DbImpl::PassesOf(const CompactionRequest& request, const Version& version,
                                          FileNumber limit) const {
  const int base = ComputeLevelTargets(options_, version).base_level;
  const int deepest = std::max(version.DeepestLevel(), base);
  std::vector<ManualSlice> passes;
  for (int level = 0; level < kLevelCount; ++level) {
    if (request.level >= 0 ? level != request.level
                           : level != 0 && (level < base || level > deepest)) {
      continue;
    }
    ManualSlice slice;
    slice.level = level;
    slice.ranges = &request.ranges;
    // The deepest level has nothing below to merge with: what holds garbage is rewritten in place.
    slice.in_place =
        request.self_level || level == kLevelCount - 1 || (request.level < 0 && level == deepest);
    slice.only_garbage = slice.in_place && !request.self_level;
    if (request.self_level) slice.limit = limit;
    passes.push_back(std::move(slice));
  }
  return passes;
}

double DbImpl::VacuumShare(const CompactionRequest& request) const {
  return request.vacuum ? kVacuumShareMin : garbage_ratio_.load();
}

// The values that are to be moved; the tables that refer to them are little beside them.
CompactionEstimate DbImpl::EstimateVacuum(const CompactionRequest& request) const {
  CompactionEstimate estimate;
  for (const ValueFileGarbage& file : MeasureValueFiles(*versions_.current())) {
    if (static_cast<double>(file.GarbageBytes()) <
        VacuumShare(request) * static_cast<double>(file.file_bytes)) {
      continue;
    }
    estimate.bytes_read += file.used_bytes;
    estimate.bytes_written += file.used_bytes;
    estimate.bytes_reclaimed += file.GarbageBytes();
  }
  estimate.passes.push_back({kVacuumPassName, estimate.bytes_read, estimate.bytes_written});
  return estimate;
}

io::Status DbImpl::VacuumPass(ManualJob& job, FileNumber limit) {
  ++job.progress.pass_index;
  job.progress.pass = kVacuumPassName;
  job.progress.bytes_done = job.slices_done_bytes = job.progress.bytes_total = 0;
  job.progress.bytes_total = EstimateVacuum(job.request).bytes_read;
  job.Report();
  TRY(Vacuum(job, VacuumShare(job.request), limit));
  job.progress.bytes_done = job.progress.bytes_total;
  job.Report();
  return io::Status::Ok();
}

io::Status DbImpl::Compact(const CompactionRequest& request, JobControl& control,
                           const std::function<void(const CompactionProgress&)>& on_progress) {
  TRY(CheckRequest(request));
  ManualJob job(request, control, on_progress);
  // Tables made from here on are none of its business (K2), but for those of its own flush.
  job.progress.pass = "flush";
  job.progress.pass_count = 1;
  job.progress.bytes_total = Stats().memtable_bytes;
  job.Report();
  TRY(WaitToGoOn(control));
  const uint64_t flushed_before = counters_.flushed_bytes.load();
  TRY(Flush());
  job.progress.bytes_written = counters_.flushed_bytes.load() - flushed_before;
  job.progress.bytes_done = job.progress.bytes_total;
  job.Report();

  RefreshGarbage();
  // What is being written cannot be vacuumed.
  if (VacuumsToo(request)) TRY(value_log_->EndFile());

  const FileNumber limit = versions_.NewFileNumber();
  std::vector<ManualSlice> passes;
  job.live_bytes_begin = TableAndValueBytes();
  {
    // Not longer: whoever holds a version keeps its tables on the disk.
    const std::shared_ptr<const Version> version = versions_.current();
    passes = PassesOf(request, *version, limit);
  }
  if (request.reclaim_bytes > 0) {
    job.progress.pass_count = 2;
    ++job.progress.pass_index;
    job.progress.pass = "reclaim";
    job.progress.bytes_done = 0;
    job.progress.bytes_total = request.reclaim_bytes;
    TRY(Reclaim(job));
  } else {
    const bool with_values = VacuumsToo(request);
    job.progress.pass_count = 1 + static_cast<int>(passes.size()) + (with_values ? 1 : 0);
    for (const ManualSlice& pass : passes) {
      ++job.progress.pass_index;
      job.progress.pass = PassName(pass.level);
      job.progress.bytes_done = job.slices_done_bytes = 0;
      {
        io::MutexLock lock(jobs_mutex_);
        const Shape shape = versions_.shape();
        job.progress.bytes_total = ManualExtent(ContextLocked(shape, nullptr), pass).InputBytes();
      }
      job.Report();
      TRY(CompactSlices(job, pass));
      job.progress.bytes_done = job.progress.bytes_total;
      job.Report();
    }
    if (with_values) TRY(VacuumPass(job, limit));
  }
  return io::Status::Ok();
}

io::Status DbImpl::CheckRequest(const CompactionRequest& request) const {
  if (!queue_) return io::Status::InvalidArgument("the engine was opened read-only");
  if (request.level < -1 || request.level >= kLevelCount) {
    return io::Status::InvalidArgument("no such level", std::to_string(request.level));
  }
  if (request.reclaim_bytes > 0 && (request.level >= 0 || request.self_level)) {
    return io::Status::InvalidArgument("a reclaim goal goes over all levels");
  }
  return io::Status::Ok();
}

io::Result<CompactionEstimate> DbImpl::EstimateCompaction(const CompactionRequest& request,
                                                          JobControl& control) {
  TRY(CheckRequest(request));
  const auto stop = [&] { return WaitToGoOn(control); };
  TRY(stop());
  // Otherwise what was deleted just now would not count.
  TRY(Flush());
  RefreshGarbage();
  CompactionEstimate estimate;
  estimate.passes.push_back({"flush", 0, 0});

  const Shape shape = versions_.shape();
  const RangesInUse nothing_in_use;
  PickContext context(shape, options_, nothing_in_use);
  context.now_seconds = NowSeconds();
  context.smallest_snapshot = SmallestSnapshot();
  CompactionEstimate tables;
  if (request.reclaim_bytes > 0) {
    tables = EstimateReclaim(environment_, context, request.ranges, request.reclaim_bytes);
  } else {
    const std::vector<ManualSlice> passes = PassesOf(request, *shape.version, kFileNumberMax);
    tables = TRY(EstimatePasses(environment_, context, passes, stop));
  }
  std::vector<CompactionEstimate> parts = {std::move(tables)};
  if (request.reclaim_bytes == 0 && VacuumsToo(request)) parts.push_back(EstimateVacuum(request));
  for (const CompactionEstimate& part : parts) {
    estimate.passes.insert(estimate.passes.end(), part.passes.begin(), part.passes.end());
    estimate.bytes_read += part.bytes_read;
    estimate.bytes_written += part.bytes_written;
    estimate.bytes_reclaimed += part.bytes_reclaimed;
  }
  return estimate;
}

}  // namespace terracefs::lsm
