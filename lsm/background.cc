// The engine's threads: one flushes memtables, some compact, one looks after what is due by time.
#include <algorithm>
#include <chrono>

#include "io/base/log.h"
#include "io/thread_pool.h"
#include "lsm/compaction/garbage.h"
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
constexpr std::chrono::milliseconds kQuiescencePoll{20};
constexpr int64_t kMergeRetryMinNs = 1'000'000'000;
constexpr int64_t kMergeRetryMaxNs = 32 * kMergeRetryMinNs;
// Deletions wait at most this long in the active memtable before it is flushed for their sake.
constexpr int64_t kDeletionFlushMaxSeconds = 15;
// ... but not those that give back so much.
constexpr uint64_t kDeadBytesFlushed = 16 * io::kMiB;

}  // namespace

void DbImpl::StartThreads() {
  threads_.emplace_back([this] { FlushLoop(); });
  {
    io::MutexLock lock(jobs_mutex_);
    compact_pointers_ = versions_.compact_pointers();
    StartWorkersLocked();
  }
  threads_.emplace_back([this] { UpkeepLoop(); });
  threads_.emplace_back([this] { LogFileLoop(); });
  threads_.emplace_back([this] { CommitLoop(); });
}

void DbImpl::StartWorkersLocked() {
  const auto wanted = static_cast<size_t>(worker_count_.load());
  for (size_t i = workers_.size(); i < wanted; ++i) {
    workers_.emplace_back([this, i] { WorkerLoop(static_cast<int>(i)); });
  }
}

void DbImpl::StopThreads() {
  std::vector<std::thread> workers;
  {
    io::MutexLock lock(jobs_mutex_);
    workers.swap(workers_);
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
  for (std::thread& worker : workers) worker.join();
  threads_.clear();
}

io::Status DbImpl::Close() {
  if (closed_.exchange(true)) return io::Status::Ok();
  // After a failed Recover the log may still refer to what memory lets go of.
  const bool was_open = queue_ != nullptr;
  io::Status status;
  if (queue_) status = queue_->Sync();
  StopThreads();
  queue_.reset();
  value_files_.SetPagesInFlight(nullptr);
  value_log_.reset();
  if (status.ok()) status = versions_.error();
  if (was_open) PurgeObsolete();
  value_files_.StopCollecting();
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
  unflushed_dead_bytes_.store(0, std::memory_order_relaxed);
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
    if (!status.ok() && !status.Is(io::StatusCode::kShuttingDown)) {
      io::LsmLog().error("flush: {}", status.ToString());
    }
    if (status.Is(io::StatusCode::kNoSpace)) {
      recycler_->ReleaseSpace();
      value_log_->EndFile().IgnoreError("it may or may not give back what it has reserved");
    }
    lock.Lock();
    flush_error_ = status;
    job_done_.NotifyAll();
    if (!status.ok() && !stopping_) flush_wanted_.WaitFor(jobs_mutex_, kRetryInterval);
  }
}

// Writes one memtable out and installs it; everything older is in tables already.
io::Status DbImpl::FlushOne(const Immutable& immutable) {
  // No table may refer to what is not durable. While recovering it is (SettleValueFiles).
  if (value_log_) TRY(value_log_->Sync());
  const Shape shape = versions_.shape();
  // The log has it all: closing need not wait for the rest of a table.
  const auto stop = [this]() -> io::Status {
    return stop_jobs_.load(std::memory_order_relaxed) ? io::Status::ShuttingDown()
                                                      : io::Status::Ok();
  };
  uint64_t hidden_value_bytes = 0;
  VersionEdit edit = TRY(RunFlush(environment_, *immutable.table, shape, SmallestSnapshot(), stop,
                                  &counters_, &hidden_value_bytes));
  edit.last_sequence = immutable.last_sequence;
  edit.counters = versions_.counters();
  for (size_t id = 0; id < kCounterCount; ++id) {
    (*edit.counters)[id] += immutable.table->counter_deltas()[id];
  }
  if (immutable.next_log != 0) edit.log_number = immutable.next_log;
  uint64_t kept = 0;
  for (const VersionEdit::AddedFile& added : edit.added_files) kept += ValueBytes(*added.file);
  TRY(Install(std::move(edit), immutable.table.get()));
  hidden_hint_bytes_.fetch_sub(static_cast<int64_t>(hidden_value_bytes), std::memory_order_relaxed);
  const uint64_t left = kept + hidden_value_bytes;
  dead_hint_bytes_.fetch_sub(static_cast<int64_t>(immutable.table->value_bytes() -
                                                  std::min(left, immutable.table->value_bytes())),
                             std::memory_order_relaxed);
  return io::Status::Ok();
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
    upkeep_wanted_.NotifyAll();
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
        level0_count_.store(static_cast<size_t>(version->level0_depth()),
                            std::memory_order_relaxed);
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
  // What is taken was let go of before; so if no change of the manifest has failed by now, no
  // failed one let go of it.
  const std::vector<FileNumber> tables = versions_.obsolete_tables()->TakeAll();
  const std::vector<ValueFiles::Obsolete> value_files = value_files_.TakeObsolete();
  if (!versions_.error().ok()) return;
  for (const ValueFiles::Obsolete& file : value_files) {
    storage_.Remove(FileName(FileKind::kBlob, file.number))
        .IgnoreError("no table and no log refers to it; the next open removes it");
    value_files_.Forget(file.number);
    removed_value_bytes_.fetch_add(file.bytes, std::memory_order_relaxed);
  }
  for (const FileNumber number : tables) {
    table_cache_.Evict(number);
    storage_.Remove(FileName(FileKind::kTable, number))
        .IgnoreError("no version names it; the next open removes it");
    versions_.obsolete_tables()->Forget(number);
  }
  // Somebody may be waiting for just this space.
  if (queue_ && !(tables.empty() && value_files.empty())) RefreshRoom();
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

// Whether the job makes garbage of values known, or sets it free.
bool DbImpl::CollectsValues(const CompactionPlan& plan) {
  return plan.MovesValues() || plan.level == 0 || plan.output_level == plan.level;
}

DbImpl::JobSlot::JobSlot(DbImpl& db, CompactionPlan plan) : db_(db), plan_(std::move(plan)) {
  db_.in_use_.Register(plan_);
  ++db_.running_count_;
  ++db_.jobs_by_reason_[plan_.reason];
  if (CollectsValues(plan_)) ++db_.collecting_count_;
  // Planned, not done: a range that fails is not tried for ever (C1).
  if (plan_.output_level == plan_.level + 1) {
    db_.compact_pointers_[static_cast<size_t>(plan_.level)] =
        plan_.inputs[0].back()->largest_user_key();
  }
  if (plan_.level == 0) {
    const std::shared_ptr<const Version> version = db_.versions_.current();
    std::vector<FileRef> left;
    for (const FileRef& file : version->files(0)) {
      const auto& taken = plan_.inputs[0];
      if (std::find(taken.begin(), taken.end(), file) == taken.end()) left.push_back(file);
    }
    level0_bytes_ = static_cast<uint64_t>(version->level0_depth() - Level0Depth(left)) *
                    db_.options_.memtable_bytes;
    db_.ObserveLevel0Locked();
    db_.level0_slots_.push_back(this);
  }
}

uint64_t DbImpl::JobSlot::Level0DrainedBytes() const {
  const uint64_t input = plan_.InputBytes();
  if (input == 0) return 0;
  const uint64_t read = std::min(bytes_.read.load(std::memory_order_relaxed), input);
  return static_cast<uint64_t>(static_cast<double>(level0_bytes_) * static_cast<double>(read) /
                               static_cast<double>(input));
}

DbImpl::JobSlot::~JobSlot() {
  io::MutexLock lock(db_.jobs_mutex_);
  db_.in_use_.Unregister(plan_);
  --db_.running_count_;
  if (CollectsValues(plan_)) --db_.collecting_count_;
  if (plan_.level == 0) {
    std::erase(db_.level0_slots_, this);
    if (done_) db_.level0_drained_bytes_ += level0_bytes_;
    db_.ObserveLevel0Locked();
  }
  db_.job_done_.NotifyAll();
  db_.work_wanted_.NotifyAll();
}

DbImpl::PickInputs DbImpl::PickInputsLocked() const {
  PickInputs inputs;
  ValueScope& scope = inputs.values;
  // Memtables before the version: what is flushed in between then counts twice, and garbage is
  // found a little later. The other way round it would count nowhere, and live values be moved for
  // nothing.
  for (const ValueUse& use : UnflushedUses()) scope.unflushed[use.file] = use.bytes;
  inputs.shape = versions_.shape();
  const Version& version = *inputs.shape.version;
  scope.newer_bytes = NewerValueBytes(version, scope.unflushed);
  // Each newer entry hides one older one at most.
  const auto hidden = static_cast<double>(hidden_hint_bytes_.load(std::memory_order_relaxed));
  if (scope.newer_bytes > 0) {
    scope.hidden_share = std::clamp(hidden / static_cast<double>(scope.newer_bytes), 0.0, 1.0);
  }
  scope.dead_bytes =
      static_cast<uint64_t>(std::max<int64_t>(dead_hint_bytes_.load(std::memory_order_relaxed), 0));
  const FileNumber active = value_log_ ? value_log_->active_file() : 0;
  if (active != 0) scope.writing.insert(active);
  scope.avoided = AvoidedValueFilesLocked(version);
  scope.quiet = quiet_.load(std::memory_order_relaxed);
  scope.full_file_bytes = full_value_file_bytes_.load(std::memory_order_relaxed);
  scope.free_bytes = free_bytes_.load(std::memory_order_relaxed);
  return inputs;
}

// Those that could not be read, and those that damaged tables refer to.
std::set<FileNumber> DbImpl::AvoidedValueFilesLocked(const Version& version) const {
  std::set<FileNumber> avoided = avoided_value_files_;
  for (int level = 0; level < kLevelCount && !quarantined_.empty(); ++level) {
    for (const FileRef& table : version.files(level)) {
      if (!quarantined_.contains(table->number)) continue;
      for (const ValueUse& use : table->info.value_uses) avoided.insert(use.file);
    }
  }
  return avoided;
}

PickContext DbImpl::ContextLocked(const Shape& shape, const ValueScope* values) const {
  PickContext context(shape, options_, in_use_);
  context.values = values;
  context.garbage_ratio = garbage_ratio_.load();
  context.now_seconds = NowSeconds();
  context.delete_deadline_s = delete_deadline_ms_.load() / 1000;
  context.smallest_snapshot = SmallestSnapshot();
  context.quarantined = &quarantined_;
  context.compact_pointers = &compact_pointers_;
  // The last free worker is for level 0 (B5).
  const int workers = worker_count_.load();
  context.level0_only = workers >= 2 && running_below_count_ >= workers - 1;
  return context;
}

std::optional<CompactionPlan> DbImpl::PickLocked(const PickInputs& inputs) {
  if (options_.disable_automatic_compaction) return std::nullopt;
  return PickCompaction(ContextLocked(inputs.shape, &inputs.values));
}

// What a job no longer refers to counts as garbage that is known, so writers' hints of it are done
// with.
void DbImpl::NoteFound(const CompactionPlan& plan, const VersionEdit& edit,
                       uint64_t hidden_value_bytes) {
  hidden_hint_bytes_.fetch_sub(static_cast<int64_t>(hidden_value_bytes), std::memory_order_relaxed);
  uint64_t before = 0;
  uint64_t after = 0;
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) {
      const bool removed = std::any_of(
          edit.removed_files.begin(), edit.removed_files.end(),
          [&](const VersionEdit::RemovedFile& other) { return other.number == file->number; });
      if (removed) before += ValueBytes(*file);  // others were skipped
    }
  }
  for (const VersionEdit::AddedFile& added : edit.added_files) after += ValueBytes(*added.file);
  // Copies may take more or less than their originals.
  if (plan.MovesValues() || before <= after + hidden_value_bytes) return;
  dead_hint_bytes_.fetch_sub(static_cast<int64_t>(before - after - hidden_value_bytes),
                             std::memory_order_relaxed);
}

// If values could not be read it is their files. Otherwise it is not known what exactly is damaged:
// of a job that moves values they are left where they are, for what is wrong with a table every
// other job that reads it finds, too.
void DbImpl::SetDamageAsideLocked(const CompactionPlan& plan,
                                  const std::set<FileNumber>& unreadable) {
  avoided_value_files_.insert(unreadable.begin(), unreadable.end());
  if (!unreadable.empty()) return;
  avoided_value_files_.insert(plan.moved_value_files.begin(), plan.moved_value_files.end());
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) {
      if (!plan.MovesValues()) quarantined_.insert(file->number);
      if (!plan.moves_all_values) continue;
      for (const ValueUse& use : file->info.value_uses) avoided_value_files_.insert(use.file);
    }
  }
}

// Until something happens that may mean work: every change of the tables, of what is in use, of
// snapshots and settings notifies; what becomes due by time alone is known ahead.
void DbImpl::WaitForWorkLocked(std::optional<int64_t> due_seconds) {
  if (options_.disable_automatic_compaction || !due_seconds) return work_wanted_.Wait(jobs_mutex_);
  const int64_t seconds = std::clamp<int64_t>(*due_seconds - NowSeconds(), 1, 3600);
  work_wanted_.WaitFor(jobs_mutex_, std::chrono::seconds(seconds));
}

void DbImpl::WorkerLoop(int index) noexcept {
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
    if (index >= worker_count_.load()) {
      work_wanted_.Wait(jobs_mutex_);
      continue;
    }
    std::optional<CompactionPlan> plan;
    std::optional<int64_t> due_seconds;
    {
      // Not while waiting: whoever holds a version keeps its files on the disk.
      const PickInputs inputs = PickInputsLocked();
      plan = PickLocked(inputs);
      if (!plan) due_seconds = NextDueSeconds(ContextLocked(inputs.shape, nullptr));
    }
    if (!plan) {
      WaitForWorkLocked(due_seconds);
      continue;
    }
    const bool merge = plan->kind == CompactionPlan::Kind::kMerge;
    if (merge && retry_delay_ns > 0 && options_.clock->SteadyNs() < retry_at_ns) {
      work_wanted_.WaitFor(jobs_mutex_, kRetryInterval);
      continue;
    }
    const bool below = merge && plan->level > 0;
    if (below) ++running_below_count_;
    auto slot = std::make_unique<JobSlot>(*this, std::move(*plan));
    lock.Unlock();
    const io::Status status = RunPlan(*slot, stop);
    CompactionPlan failed;  // holds what it was to let go of
    std::set<FileNumber> unreadable_files;
    if (!status.ok()) {
      failed = slot->plan();
      unreadable_files = std::move(slot->unreadable_value_files());
    }
    slot.reset();
    PurgeObsolete();
    lock.Lock();
    if (below) --running_below_count_;
    if (stopping_) continue;
    compaction_error_ = status;
    if (status.ok()) {
      if (merge) retry_delay_ns = 0;
      continue;
    }
    lock.Unlock();
    io::LsmLog().error("compaction of level {}: {}", failed.level, status.ToString());
    lock.Lock();
    const bool is_unmovable = failed.MovesValues() && !status.Is(io::StatusCode::kNoSpace) &&
                              !status.Is(io::StatusCode::kShuttingDown);
    if (status.Is(io::StatusCode::kCorruption) || is_unmovable) {
      // Damage in these tables or values must not keep the rest from being compacted.
      SetDamageAsideLocked(failed, unreadable_files);
    } else {
      retry_delay_ns = std::clamp(2 * retry_delay_ns, kMergeRetryMinNs, kMergeRetryMaxNs);
      retry_at_ns = options_.clock->SteadyNs() + retry_delay_ns;
    }
  }
}

io::Status DbImpl::RunPlan(JobSlot& slot, const std::function<io::Status()>& stop) {
  const CompactionPlan& plan = slot.plan();
  JobBytes& bytes = slot.bytes();
  const int64_t begin_ns = options_.clock->SteadyNs();
  VersionEdit edit;
  size_t skipped_count = 0;
  uint64_t hidden_value_bytes = 0;
  if (plan.kind == CompactionPlan::Kind::kMerge) {
    const Shape shape = versions_.shape();
    const MergeJob job{plan,
                       shape,
                       ComputeLevelTargets(options_, *shape.version),
                       SmallestSnapshot(),
                       NowSeconds(),
                       stop,
                       &bytes,
                       &slot.unreadable_value_files()};
    MergeResult result = TRY(RunMerge(environment_, job, &counters_));
    edit = std::move(result.edit);
    skipped_count = result.skipped_count;
    hidden_value_bytes = result.hidden_value_bytes;
  } else {
    for (const FileRef& file : plan.inputs[0]) {
      edit.removed_files.push_back({plan.level, file->number});
      if (plan.kind == CompactionPlan::Kind::kMove) {
        edit.added_files.push_back({plan.output_level, file});
        file->wasted_reads.store(0, std::memory_order_relaxed);
      }
    }
  }
  if (plan.output_level == plan.level + 1) {
    edit.compact_pointers.push_back(
        {plan.level, std::string(plan.inputs[0].back()->largest_user_key())});
  }
  const size_t output_count = edit.added_files.size();
  TRY(Install(edit, nullptr));
  NoteFound(plan, edit, hidden_value_bytes);
  slot.SetDone();
  const int64_t took_ns = options_.clock->SteadyNs() - begin_ns;
  {
    io::MutexLock lock(jobs_mutex_);
    ++jobs_done_;
    if (plan.kind == CompactionPlan::Kind::kMove) trivial_moves_ += plan.inputs[0].size();
    if (plan.kind == CompactionPlan::Kind::kDropOnly) delete_only_ += plan.inputs[0].size();
    LevelJobs& jobs = level_jobs_[static_cast<size_t>(plan.output_level)];
    ++jobs.count;
    jobs.bytes_read += bytes.read.load();
    jobs.bytes_written += bytes.written.load();
    jobs.ns += static_cast<uint64_t>(took_ns);
  }
  io::LsmLog().debug(
      "compaction ({}): level {} -> {}, {}+{} tables of {} bytes, {} of them left alone; {} tables "
      "of {} bytes in {} ms",
      plan.reason, plan.level, plan.output_level, plan.inputs[0].size(), plan.inputs[1].size(),
      plan.InputBytes(), skipped_count, output_count, bytes.written.load(), took_ns / 1'000'000);
  return io::Status::Ok();
}

void DbImpl::WaitForQuiescence() {
  io::MutexLock lock(jobs_mutex_);
  while (!stopping_) {
    const bool busy = !immutables_.empty() || running_count_ > 0 || flushing_count_ > 0;
    if (!busy && !PickLocked(PickInputsLocked())) return;
    // A manual clock moves without telling the workers.
    work_wanted_.NotifyAll();
    job_done_.WaitFor(jobs_mutex_, kQuiescencePoll);
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
  free_bytes_.store(*free, std::memory_order_relaxed);
  uint64_t unflushed = queue_->active_memtable()->memory_bytes();
  {
    io::MutexLock lock(jobs_mutex_);
    for (const Immutable& immutable : immutables_) unflushed += immutable.table->memory_bytes();
  }
  const uint64_t store_bytes = TableAndValueBytes();
  const uint64_t least = 2 * options_.table_bytes + options_.memtable_bytes +
                         (recycler_->KeptNumbers().empty() ? recycler_->file_bytes() : 0);
  const uint64_t reserve =
      std::max(least, std::min((*free + store_bytes) / kReserveShare, io::kGiB)) + unflushed;
  reserve_bytes_.store(reserve, std::memory_order_relaxed);
  room_bytes_.store(*free > reserve ? static_cast<int64_t>(*free - reserve) : 0,
                    std::memory_order_relaxed);
}

void DbImpl::UpkeepOnce() {
  RefreshRoom();
  RefreshValueSizes();
  ObserveQuiet();
  const int64_t oldest = queue_->active_memtable()->oldest_deletion_seconds();
  // On a full disk somebody is waiting for the space; and much of it is worth a small table.
  const bool is_urgent = !HasRoomForLog() ||
                         unflushed_dead_bytes_.load(std::memory_order_relaxed) >= kDeadBytesFlushed;
  const int64_t patience_s =
      is_urgent ? 0 : std::min(delete_deadline_ms_.load() / 4000, kDeletionFlushMaxSeconds);
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
  RefreshGarbage();
  RefreshValueGarbage();
  PurgeObsolete();
}

// Which tables the newest dead ranges reach into, and how far. Looks at indexes, and where they
// cannot tell at a block, so that a table is not rewritten for a range between two of its keys.
void DbImpl::RefreshGarbage() {
  io::MutexLock garbage_lock(garbage_mutex_);
  const Shape shape = versions_.shape();
  if (shape.drops->empty() ||
      (shape.version == garbage_known_.lock() && shape.drop_sequence == garbage_known_sequence_)) {
    return;
  }
  garbage_known_ = shape.version;
  garbage_known_sequence_ = shape.drop_sequence;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : shape.version->files(level)) {
      if (stop_jobs_.load(std::memory_order_relaxed)) return;
      if (file->applied_drop_sequence() >= shape.drop_sequence ||
          file->dead_known_sequence.load(std::memory_order_relaxed) >= shape.drop_sequence) {
        continue;
      }
      const auto table = table_cache_.Get(file->number);
      if (!table.ok()) continue;  // whoever needs its contents will say so
      EstimateDeadBytes(*shape.drops, shape.drop_sequence, **table, NowSeconds(), file.get());
    }
  }
  io::MutexLock lock(jobs_mutex_);
  work_wanted_.NotifyAll();
}

}  // namespace terracefs::lsm
