// The engine's threads: one flushes memtables, some compact, one looks after what is due by time.
#include <algorithm>
#include <chrono>

#include "io/base/log.h"
#include "io/thread_pool.h"
#include "lsm/db_impl.h"
#include "lsm/file_names.h"

namespace terracefs::lsm {
namespace {

constexpr std::chrono::milliseconds kUpkeepInterval{250};
constexpr std::chrono::milliseconds kRateTickInterval{100};
constexpr int kRateTicksPerUpkeep = 3;
// Compactions leave the processors to whom somebody waits for; flushes do not, for writers do.
constexpr int kWorkerNice = 5;
constexpr std::chrono::seconds kRetryInterval{1};
constexpr int64_t kMergeRetryMinNs = 1'000'000'000;
constexpr int64_t kMergeRetryMaxNs = 32 * kMergeRetryMinNs;
constexpr std::chrono::milliseconds kManualPoll{20};
// Deletions wait at most this long in the active memtable before it is flushed for their sake.
constexpr int64_t kDeletionFlushMaxSeconds = 15;

}  // namespace

void DbImpl::StartThreads() {
  threads_.emplace_back([this] { FlushLoop(); });
  for (int i = 0; i < options_.compaction_workers; ++i) {
    threads_.emplace_back([this] { WorkerLoop(); });
  }
  threads_.emplace_back([this] { UpkeepLoop(); });
  threads_.emplace_back([this] { LogFileLoop(); });
  threads_.emplace_back([this] { CommitLoop(); });
}

void DbImpl::StopThreads() {
  {
    io::MutexLock lock(jobs_mutex_);
    stopping_ = true;
    stop_jobs_.store(true);
    flush_wanted_.NotifyAll();
    work_wanted_.NotifyAll();
    upkeep_wanted_.NotifyAll();
    commit_wanted_.NotifyAll();
    job_done_.NotifyAll();
  }
  if (recycler_) recycler_->Stop();
  limiter_.Shutdown();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

io::Status DbImpl::Close() {
  if (closed_.exchange(true)) return io::Status::Ok();
  io::Status status;
  if (queue_) status = queue_->Sync();
  StopThreads();
  queue_.reset();
  if (status.ok()) status = versions_.error();
  if (!options_.read_only) PurgeObsolete();
  return status;
}

// ---- Flush -------------------------------------------------------------------------------------

// Called under the write queue's lock.
void DbImpl::OnRotate(std::shared_ptr<MemTable> full, std::shared_ptr<MemTable> fresh,
                      SequenceNumber last_sequence, FileNumber next_log) {
  io::MutexLock lock(jobs_mutex_);
  auto view = std::make_shared<View>();
  {
    io::MutexLock view_lock(view_mutex_);
    view->version = view_->version;
    view->active = std::move(fresh);
    view->immutables.push_back(full);
    view->immutables.insert(view->immutables.end(), view_->immutables.begin(),
                            view_->immutables.end());
    view_ = std::move(view);
  }
  immutables_.push_back({std::move(full), last_sequence, active_log_, next_log});
  active_log_ = next_log;
  immutable_count_.store(immutables_.size(), std::memory_order_relaxed);
  flush_wanted_.NotifyAll();
  upkeep_wanted_.NotifyAll();
}

void DbImpl::FlushLoop() noexcept {
  io::SetThreadName("lsm-flush");
  io::MutexLock lock(jobs_mutex_);
  while (!stopping_) {
    if (immutables_.empty()) {
      flush_wanted_.Wait(jobs_mutex_);
      continue;
    }
    lock.Unlock();
    const io::Status status = FlushOldest();
    if (!status.ok()) io::LsmLog().error("flush: {}", status.ToString());
    if (status.Is(io::StatusCode::kNoSpace)) recycler_->ReleaseSpace();
    lock.Lock();
    flush_error_ = status;
    job_done_.NotifyAll();
    if (!status.ok() && !stopping_) flush_wanted_.WaitFor(jobs_mutex_, kRetryInterval);
  }
}

// Writes one memtable out and installs it; everything older is in tables already.
io::Status DbImpl::FlushOne(const Immutable& immutable) {
  const Shape shape = versions_.shape();
  VersionEdit edit = TRY(RunFlush(environment_, *immutable.table, shape, SmallestSnapshot(),
                                  &flushed_bytes_, &counters_));
  edit.last_sequence = immutable.last_sequence;
  edit.counters = versions_.counters();
  for (size_t id = 0; id < kCounterCount; ++id) {
    (*edit.counters)[id] += immutable.table->counter_deltas()[id];
  }
  if (immutable.next_log != 0) edit.log_number = immutable.next_log;
  return Install(std::move(edit), immutable.table.get());
}

io::Status DbImpl::FlushOldest() {
  Immutable oldest;
  {
    io::MutexLock lock(jobs_mutex_);
    oldest = immutables_.front();
    ++flushing_count_;
  }
  flush_begin_bytes_.store(limiter_.flush_bytes(), std::memory_order_relaxed);
  flushing_bytes_.store(oldest.table->memory_bytes(), std::memory_order_relaxed);
  ObserveFlush(true);
  const io::Status status = FlushOne(oldest);
  flushing_bytes_.store(0, std::memory_order_relaxed);
  if (status.ok()) flush_count_.fetch_add(1, std::memory_order_relaxed);
  {
    io::MutexLock lock(jobs_mutex_);
    --flushing_count_;
    if (status.ok()) {
      immutables_.pop_front();
      immutable_count_.store(immutables_.size(), std::memory_order_relaxed);
    }
    work_wanted_.NotifyAll();
    job_done_.NotifyAll();
  }
  TRY(status);
  queue_->MarkDurable(oldest.last_sequence);
  // A chunk still on its way to the old log must not land in the file's next life.
  if (queue_->WaitForLogIdle(oldest.log)) {
    recycler_->Recycle(oldest.log).IgnoreError("the next open finds it again");
  }
  ObserveFlush(false);
  RefreshRoom();
  return io::Status::Ok();
}

// Makes `edit` current. `flushed`: the memtable whose contents it adds leaves the view in the same
// moment.
io::Status DbImpl::Install(VersionEdit edit, const MemTable* flushed) {
  std::vector<FileRef> added;
  for (const VersionEdit::AddedFile& file : edit.added_files) {
    const bool moved = std::any_of(edit.removed_files.begin(), edit.removed_files.end(),
                                   [&](const VersionEdit::RemovedFile& removed) {
                                     return removed.number == file.file->number;
                                   });
    if (!moved) added.push_back(file.file);
  }
  const io::Status status =
      versions_.LogAndApply(std::move(edit), [&](const std::shared_ptr<const Version>& version) {
        // Here, where installs are in order: an older version's count must not stay.
        UpdatePressure(*version);
        auto view = std::make_shared<View>();
        view->version = version;
        io::MutexLock lock(view_mutex_);
        view->active = view_->active;
        for (const auto& table : view_->immutables) {
          if (table.get() != flushed) view->immutables.push_back(table);
        }
        view_ = std::move(view);
      });
  if (!status.ok()) {
    // After a failed manifest write nobody knows whether the edit is on disk: nothing is removed.
    if (versions_.error().ok()) RemoveTables(environment_, added);
    return status;
  }
  PurgeObsolete();
  return io::Status::Ok();
}

void DbImpl::PurgeObsolete() {
  if (!versions_.error().ok()) return;
  for (const FileNumber number : versions_.obsolete_tables()->TakeAll()) {
    table_cache_.Evict(number);
    storage_.Remove(FileName(FileKind::kTable, number))
        .IgnoreError("no version names it; the next open removes it");
  }
}

io::Status DbImpl::Flush() {
  if (!queue_) return io::Status::Ok();
  TRY(queue_->Rotate());
  io::MutexLock lock(jobs_mutex_);
  if (immutables_.empty()) return io::Status::Ok();
  // What others write meanwhile is not waited for.
  const SequenceNumber last_sequence = immutables_.back().last_sequence;
  // An earlier failure says nothing about now: the flush thread tries again at once.
  flush_error_ = io::Status::Ok();
  flush_wanted_.NotifyAll();
  while (!immutables_.empty() && immutables_.front().last_sequence <= last_sequence) {
    if (stopping_) return io::Status::ShuttingDown();
    TRY(flush_error_);
    job_done_.Wait(jobs_mutex_);
  }
  return io::Status::Ok();
}

// ---- Compaction --------------------------------------------------------------------------------

std::optional<CompactionPlan> DbImpl::PickLocked(const Shape& shape) {
  if (options_.disable_automatic_compaction) return std::nullopt;
  PickContext context{shape, options_, in_use_};
  context.now_seconds = NowSeconds();
  context.delete_deadline_s = delete_deadline_ms_.load() / 1000;
  context.smallest_snapshot = SmallestSnapshot();
  context.quarantined = &quarantined_;
  return PickCompaction(context);
}

void DbImpl::WorkerLoop() noexcept {
  io::SetThreadName("lsm-compact");
  io::SetThreadNice(kWorkerNice);
  const auto stop = [this]() -> io::Status {
    return stop_jobs_.load(std::memory_order_relaxed) ? io::Status::ShuttingDown()
                                                      : io::Status::Ok();
  };
  // After a failure that is no damage (a full disk, say) merges are tried again less and less
  // often; what needs no space goes on.
  int64_t retry_delay_ns = 0;
  int64_t retry_at_ns = 0;
  io::MutexLock lock(jobs_mutex_);
  while (!stopping_) {
    const std::optional<CompactionPlan> plan = PickLocked(versions_.shape());
    if (!plan) {
      work_wanted_.Wait(jobs_mutex_);
      continue;
    }
    if (plan->kind == CompactionPlan::Kind::kMerge && retry_delay_ns > 0 &&
        options_.clock->SteadyNs() < retry_at_ns) {
      work_wanted_.WaitFor(jobs_mutex_, kRetryInterval);
      continue;
    }
    in_use_.Register(*plan);
    ++running_count_;
    lock.Unlock();
    const io::Status status = RunPlan(*plan, stop);
    lock.Lock();
    in_use_.Unregister(*plan);
    --running_count_;
    job_done_.NotifyAll();
    work_wanted_.NotifyAll();
    if (stopping_) continue;
    compaction_error_ = status;
    if (status.ok()) {
      if (plan->kind == CompactionPlan::Kind::kMerge) retry_delay_ns = 0;
      continue;
    }
    lock.Unlock();
    io::LsmLog().error("compaction of level {}: {}", plan->level, status.ToString());
    lock.Lock();
    if (status.Is(io::StatusCode::kCorruption)) {
      // Damage in these tables must not keep the rest from being compacted.
      for (const auto& side : plan->inputs) {
        for (const FileRef& file : side) quarantined_.insert(file->number);
      }
    } else {
      retry_delay_ns = std::clamp(2 * retry_delay_ns, kMergeRetryMinNs, kMergeRetryMaxNs);
      retry_at_ns = options_.clock->SteadyNs() + retry_delay_ns;
    }
  }
}

io::Status DbImpl::RunPlan(const CompactionPlan& plan, const std::function<io::Status()>& stop) {
  const int64_t begin_ns = options_.clock->SteadyNs();
  VersionEdit edit;
  if (plan.kind == CompactionPlan::Kind::kMerge) {
    edit =
        TRY(RunMerge(environment_, plan, versions_.shape(), SmallestSnapshot(), stop, &counters_));
  } else {
    for (const FileRef& file : plan.inputs[0]) {
      edit.removed_files.push_back({plan.level, file->number});
      if (plan.kind == CompactionPlan::Kind::kMove) {
        edit.added_files.push_back({plan.output_level, file});
      }
    }
  }
  size_t output_count = edit.added_files.size();
  TRY(Install(std::move(edit), nullptr));
  {
    io::MutexLock lock(jobs_mutex_);
    ++jobs_done_;
    if (plan.kind == CompactionPlan::Kind::kMove) trivial_moves_ += plan.inputs[0].size();
    if (plan.kind == CompactionPlan::Kind::kDropOnly) delete_only_ += plan.inputs[0].size();
  }
  io::LsmLog().debug("compaction ({}): {}+{} tables, {} bytes, level {} -> {}: {} tables in {} ms",
                     plan.reason, plan.inputs[0].size(), plan.inputs[1].size(), plan.InputBytes(),
                     plan.level, plan.output_level, output_count,
                     (options_.clock->SteadyNs() - begin_ns) / 1'000'000);
  return io::Status::Ok();
}

// One pass of a manual compaction, in slices; each runs in this thread like a worker's job.
io::Status DbImpl::CompactLevel(int level, bool in_place, JobControl& control,
                                const std::function<void(uint64_t bytes_done)>& on_progress) {
  const auto stop = [&]() -> io::Status {
    if (control.cancelled()) return io::Status::Cancelled();
    if (stop_jobs_.load(std::memory_order_relaxed)) return io::Status::ShuttingDown();
    return io::Status::Ok();
  };
  std::string cursor;
  uint64_t bytes_done = 0;
  for (;;) {
    TRY(stop());
    std::optional<CompactionPlan> plan;
    {
      io::MutexLock lock(jobs_mutex_);
      const Shape shape = versions_.shape();
      plan = PickManual(PickContext{shape, options_, in_use_}, level, in_place, cursor);
      if (!plan) return io::Status::Ok();
      if (in_use_.Conflicts(*plan)) {
        job_done_.WaitFor(jobs_mutex_, kManualPoll);
        continue;
      }
      in_use_.Register(*plan);
      ++running_count_;
    }
    std::string last(plan->inputs[0].front()->largest_user_key());
    for (const FileRef& file : plan->inputs[0]) {
      last = std::max(last, std::string(file->largest_user_key()));
    }
    const uint64_t read_before = MergeBytesRead();
    int64_t reported_ns = options_.clock->SteadyNs();
    const auto report_and_stop = [&]() -> io::Status {
      TRY(stop());
      const int64_t now_ns = options_.clock->SteadyNs();
      if (now_ns - reported_ns > 50'000'000) {
        reported_ns = now_ns;
        on_progress(bytes_done + MergeBytesRead() - read_before);
      }
      return io::Status::Ok();
    };
    const io::Status status = RunPlan(*plan, report_and_stop);
    {
      io::MutexLock lock(jobs_mutex_);
      in_use_.Unregister(*plan);
      --running_count_;
      job_done_.NotifyAll();
      work_wanted_.NotifyAll();
    }
    TRY(status);
    bytes_done += plan->InputBytes();
    on_progress(bytes_done);
    cursor = std::move(last);
  }
}

io::Status DbImpl::Compact(const CompactionRequest& request, JobControl& control,
                           const std::function<void(const CompactionProgress&)>& progress) {
  if (!queue_) return io::Status::InvalidArgument("the engine was opened read-only");
  if (request.level < -1 || request.level >= kLevelCount - 1) {
    return io::Status::InvalidArgument("no such level", std::to_string(request.level));
  }
  const uint64_t read_begin = MergeBytesRead();
  const uint64_t written_begin = counters_.bytes_written.load() + flushed_bytes_.load();
  CompactionProgress state;
  const auto report = [&] {
    state.bytes_read = MergeBytesRead() - read_begin;
    state.bytes_written = counters_.bytes_written.load() + flushed_bytes_.load() - written_begin;
    if (progress) progress(state);
  };

  state.pass = "flush";
  state.pass_count = 1;
  state.bytes_total = Stats().memtable_bytes;
  report();
  TRY(Flush());
  state.bytes_done = state.bytes_total;
  report();

  const int deepest = std::max(versions_.current()->DeepestLevel(), 1);
  const int begin = request.level >= 0 ? request.level : 0;
  const int end = request.level >= 0 ? request.level + 1 : deepest + 1;
  state.pass_count = 1 + end - begin;
  for (int level = begin; level < end; ++level) {
    // The deepest level has nothing below to merge with: what holds garbage is rewritten in place.
    const bool in_place = request.level < 0 && level == deepest;
    ++state.pass_index;
    state.pass = "level " + std::to_string(level);
    state.bytes_done = 0;
    state.bytes_total = versions_.current()->LevelBytes(level);
    report();
    TRY(CompactLevel(level, in_place, control, [&](uint64_t bytes_done) {
      state.bytes_done = bytes_done;
      state.bytes_total = std::max(state.bytes_total, bytes_done);
      report();
    }));
    state.bytes_done = state.bytes_total;
    report();
  }
  PurgeObsolete();
  return io::Status::Ok();
}

io::Result<CompactionEstimate> DbImpl::EstimateCompaction(const CompactionRequest&, JobControl&) {
  return CompactionEstimate();
}

void DbImpl::WaitForQuiescence() {
  io::MutexLock lock(jobs_mutex_);
  while (!stopping_) {
    const bool busy = !immutables_.empty() || running_count_ > 0 || flushing_count_ > 0;
    if (!busy && !PickLocked(versions_.shape())) return;
    work_wanted_.NotifyAll();
    job_done_.WaitFor(jobs_mutex_, kManualPoll);
  }
}

// ---- Upkeep ------------------------------------------------------------------------------------

// Makes what was written durable in time; a thread of its own, for nothing may make it late.
void DbImpl::CommitLoop() noexcept {
  io::SetThreadName("lsm-commit");
  int64_t synced_at_ns = options_.clock->SteadyNs();
  for (;;) {
    {
      io::MutexLock lock(jobs_mutex_);
      if (stopping_) return;
      commit_wanted_.WaitFor(jobs_mutex_, kUpkeepInterval);
      if (stopping_) return;
    }
    const int64_t now_ns = options_.clock->SteadyNs();
    const int64_t commit_ns = commit_interval_ms_.load() * 1'000'000;
    if (queue_->durable_sequence() >= queue_->last_sequence()) {
      synced_at_ns = now_ns;
    } else if (commit_ns > 0 && now_ns - synced_at_ns >= commit_ns) {
      if (const io::Status status = queue_->Sync(); !status.ok()) {
        io::LsmLog().error("commit: {}", status.ToString());
      }
      synced_at_ns = now_ns;
    }
  }
}

// Keeps the next log file ready. A thread of its own, for the limiter may let it wait for long.
void DbImpl::LogFileLoop() noexcept {
  io::SetThreadName("lsm-logs");
  for (;;) {
    const auto new_file =
        HasRoomForLog() ? WalRecycler::NewFile::kWrittenOut : WalRecycler::NewFile::kNone;
    const io::Status status = recycler_->Prepare(new_file);
    if (!status.ok() && !status.Is(io::StatusCode::kShuttingDown)) {
      io::LsmLog().warn("preparing a log file: {}", status.ToString());
    }
    io::MutexLock lock(jobs_mutex_);
    if (stopping_) return;
    upkeep_wanted_.WaitFor(jobs_mutex_, kUpkeepInterval);
    if (stopping_) return;
  }
}

void DbImpl::UpkeepLoop() noexcept {
  io::SetThreadName("lsm-upkeep");
  for (int round = 0;; ++round) {
    const bool ticking = rate_auto_.load(std::memory_order_relaxed);
    {
      io::MutexLock lock(jobs_mutex_);
      if (stopping_) return;
      upkeep_wanted_.WaitFor(jobs_mutex_, ticking ? kRateTickInterval : kUpkeepInterval);
      if (stopping_) return;
    }
    TickRate();
    if (!ticking || round % kRateTicksPerUpkeep == 0) UpkeepOnce();
  }
}

// What the engine keeps free: all that is in memory must become tables, with a log to go on with,
// and a compaction must have room for its output before its input goes; the larger the disk, the
// larger the jobs.
void DbImpl::RefreshRoom() {
  constexpr uint64_t kReserveShare = 20;
  const io::Result<uint64_t> free = storage_.FreeBytes();
  if (!free.ok()) return;
  uint64_t unflushed = queue_->active_memtable()->memory_bytes();
  {
    io::MutexLock lock(jobs_mutex_);
    for (const Immutable& immutable : immutables_) unflushed += immutable.table->memory_bytes();
  }
  uint64_t table_bytes = 0;
  const std::shared_ptr<const Version> version = versions_.current();
  for (int level = 0; level < kLevelCount; ++level) table_bytes += version->LevelBytes(level);
  const uint64_t least = 2 * options_.table_bytes + options_.memtable_bytes +
                         (recycler_->KeptNumbers().empty() ? options_.log_file_bytes : 0);
  const uint64_t reserve =
      std::max(least, std::min((*free + table_bytes) / kReserveShare, io::kGiB)) + unflushed;
  reserve_bytes_.store(reserve, std::memory_order_relaxed);
  room_bytes_.store(*free > reserve ? static_cast<int64_t>(*free - reserve) : 0,
                    std::memory_order_relaxed);
}

void DbImpl::UpkeepOnce() {
  RefreshRoom();
  const int64_t oldest = queue_->active_memtable()->oldest_deletion_seconds();
  // On a full disk somebody is waiting for the space.
  const int64_t patience_s =
      HasRoomForLog() ? std::min(delete_deadline_ms_.load() / 4000, kDeletionFlushMaxSeconds) : 0;
  if (oldest != 0 && NowSeconds() - oldest >= patience_s) {
    if (const io::Status status = queue_->Rotate(); !status.ok()) {
      io::LsmLog().warn("ending the memtable for its deletions: {}", status.ToString());
    }
  }
  VersionEdit edit;
  edit.retired_drops = versions_.DropsToRetire();
  if (!edit.retired_drops.empty()) {
    if (const io::Status status = Install(std::move(edit), nullptr); !status.ok()) {
      io::LsmLog().warn("retiring dead ranges: {}", status.ToString());
    }
  }
  PurgeObsolete();
  io::MutexLock lock(jobs_mutex_);
  work_wanted_.NotifyAll();
}

}  // namespace terracefs::lsm
