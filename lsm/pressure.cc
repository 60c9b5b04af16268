// Back-pressure: who has to wait before writing, and for how long.
#include <algorithm>
#include <chrono>

#include "lsm/db_impl.h"

namespace terracefs::lsm {
namespace {

// A writer waits while this many full log chunks have not reached the device.
constexpr size_t kQueuedChunksStall = 16;
constexpr std::chrono::milliseconds kStallPoll{50};
// Delays begin at this share of the limit: by default when a second memtable waits behind the one
// being flushed and the active one fills up.
constexpr uint64_t kBacklogBeginThirds = 2;

}  // namespace

// Loads are reckoned in full memtables, however little is in one: a memtable also ends when its log
// is full, and takes its place among the immutables all the same.
WritePacer::Load DbImpl::FlushLoad() const {
  const uint64_t memtable_bytes = options_.memtable_bytes;
  WritePacer::Load load;
  // The hard stop comes when all are taken and the active one is full, less what the flush has done
  // of the oldest, which may be nearly all.
  load.limit_bytes =
      static_cast<uint64_t>(std::max(options_.immutable_memtable_count_max, 1)) * memtable_bytes;
  load.begin_bytes = load.limit_bytes * kBacklogBeginThirds / 3;
  const uint64_t waiting = immutable_count_.load(std::memory_order_relaxed) * memtable_bytes +
                           memtable_bytes * queue_->fill() / WriteQueue::kFillParts;
  load.backlog_bytes = waiting - std::min(waiting, FlushProgress());
  return load;
}

// How much of the memtable being flushed is written, as a share of a full one.
uint64_t DbImpl::FlushProgress() const {
  const uint64_t table_bytes = flushing_bytes_.load(std::memory_order_relaxed);
  if (table_bytes == 0) return 0;
  const uint64_t written =
      limiter_.flush_bytes() - flush_begin_bytes_.load(std::memory_order_relaxed);
  return options_.memtable_bytes * std::min(written / io::kKiB, table_bytes / io::kKiB) /
         (table_bytes / io::kKiB + 1);
}

WritePacer::Load DbImpl::Level0Load() const {
  const auto slowdown = static_cast<uint64_t>(std::max(options_.l0_slowdown_trigger, 1));
  const auto stop = static_cast<uint64_t>(std::max(options_.l0_stop_trigger, 1));
  WritePacer::Load load;
  // What is in memory will be there soon, whatever writers do.
  load.backlog_bytes = level0_count_.load(std::memory_order_relaxed) * options_.memtable_bytes +
                       FlushLoad().backlog_bytes;
  load.begin_bytes = (slowdown - 1) * options_.memtable_bytes;
  load.limit_bytes = std::max(stop, slowdown) * options_.memtable_bytes;
  return load;
}

// Garbage that vacuum has yet to collect.
WritePacer::Load DbImpl::ValueLoad() const {
  WritePacer::Load load;
  load.backlog_bytes = value_garbage_bytes_.load(std::memory_order_relaxed);
  load.begin_bytes = value_garbage_begin_bytes_.load(std::memory_order_relaxed);
  load.limit_bytes = value_garbage_limit_bytes_.load(std::memory_order_relaxed);
  if (load.limit_bytes <= load.begin_bytes) return {0, 0, 1};
  return load;
}

void DbImpl::ObserveFlush(bool flushing) {
  const uint64_t drained =
      flush_count_.load(std::memory_order_relaxed) * options_.memtable_bytes + FlushProgress();
  io::MutexLock lock(pacer_mutex_);
  flush_pacer_.Observe(options_.clock->SteadyNs(), drained, flushing);
}

// A compaction takes many tables away at once, after a long time with a low rate: how far it is
// counts, too.
void DbImpl::ObserveLevel0Locked() {
  uint64_t drained = level0_drained_bytes_;
  for (const JobSlot* slot : level0_slots_) drained += slot->Level0DrainedBytes();
  const bool draining = level0_count_.load(std::memory_order_relaxed) >=
                        static_cast<size_t>(std::max(options_.l0_compaction_trigger, 1));
  io::MutexLock lock(pacer_mutex_);
  level0_pacer_.Observe(options_.clock->SteadyNs(), drained, draining);
}

// The one place that says whether a writer has to wait, and for what; lock-free unless the active
// memtable is about to end. What is to be resolved first comes first.
DbImpl::Pressure DbImpl::WritePressure() const {
  if (queue_->queued_chunk_count() >= kQueuedChunksStall) return Pressure::kLogWrites;
  if (value_log_->IsBehind()) return Pressure::kValueWrites;
  if (queue_->nearly_full()) {
    if (!recycler_->has_ready()) return Pressure::kNextLog;
    if (immutable_count_.load(std::memory_order_relaxed) >=
        static_cast<size_t>(options_.immutable_memtable_count_max)) {
      return Pressure::kMemtables;
    }
  }
  const size_t level0 = level0_count_.load(std::memory_order_relaxed);
  if (level0 >= static_cast<size_t>(options_.l0_stop_trigger)) return Pressure::kLevel0;
  const WritePacer::Load flush = FlushLoad();
  const WritePacer::Load values = ValueLoad();
  const bool behind = level0 >= static_cast<size_t>(options_.l0_slowdown_trigger) ||
                      flush.backlog_bytes > flush.begin_bytes ||
                      values.backlog_bytes > values.begin_bytes;
  return behind ? Pressure::kBehind : Pressure::kNone;
}

bool DbImpl::WriteWouldStall() const { return queue_ && WritePressure() != Pressure::kNone; }

// Makes a writer wait while the background is behind: gradually, see WritePacer; and fully, as a
// last resort, at the stop trigger, at the memtable limit, or while the device does not keep up
// with the log.
io::Status DbImpl::Throttle(size_t batch_bytes) {
  if (WritePressure() == Pressure::kNone) return io::Status::Ok();
  const int64_t begin_ns = options_.clock->SteadyNs();
  TRY(WaitForRoom());
  ObserveFlush(immutable_count_.load(std::memory_order_relaxed) > 0);
  {
    io::MutexLock lock(jobs_mutex_);
    ObserveLevel0Locked();
  }
  int64_t delay_ns = 0;
  {
    const int64_t now_ns = options_.clock->SteadyNs();
    io::MutexLock lock(pacer_mutex_);
    delay_ns = std::max({flush_pacer_.Delay(now_ns, FlushLoad(), batch_bytes),
                         level0_pacer_.Delay(now_ns, Level0Load(), batch_bytes),
                         value_pacer_.Delay(now_ns, ValueLoad(), batch_bytes)});
  }
  if (delay_ns > 0) {
    io::MutexLock lock(jobs_mutex_);
    // A flush or compaction that ends meanwhile ends the wait: the next write reckons anew.
    if (!stopping_) job_done_.WaitFor(jobs_mutex_, std::chrono::nanoseconds(delay_ns));
  }
  stall_ns_.fetch_add(static_cast<uint64_t>(options_.clock->SteadyNs() - begin_ns),
                      std::memory_order_relaxed);
  return io::Status::Ok();
}

// The hard waits.
io::Status DbImpl::WaitForRoom() {
  io::MutexLock lock(jobs_mutex_);
  for (;;) {
    if (stopping_) return io::Status::ShuttingDown();
    switch (WritePressure()) {
      case Pressure::kNone:
      case Pressure::kBehind:
        return io::Status::Ok();
      case Pressure::kLogWrites: {
        lock.Unlock();
        const io::Status status = queue_->WaitForChunks(kQueuedChunksStall);
        lock.Lock();
        TRY(status);
        continue;
      }
      case Pressure::kValueWrites: {
        lock.Unlock();
        const io::Status status = value_log_->WaitForBuffers();
        lock.Lock();
        TRY(status);
        continue;
      }
      case Pressure::kNextLog: {
        lock.Unlock();
        const io::Status status = recycler_->Prepare(WalRecycler::NewFile::kAllocated);
        lock.Lock();
        if (status.ok()) continue;
        // On a full disk the next log is that of the memtable being flushed.
        if (!status.Is(io::StatusCode::kNoSpace) || immutables_.empty()) return status;
        if (!flush_error_.ok()) return flush_error_;
        break;
      }
      case Pressure::kMemtables:
        // A full disk or a broken manifest will not get better by waiting here.
        if (!flush_error_.ok()) return flush_error_;
        break;
      case Pressure::kLevel0:
        // Nor will level 0 where damaged tables are in the way and nothing can be compacted.
        if (running_count_ == 0 && !PickLocked(PickInputsLocked())) return io::Status::Ok();
        if (!compaction_error_.ok() && !compaction_error_.Is(io::StatusCode::kCorruption)) {
          return compaction_error_;
        }
        break;
    }
    job_done_.WaitFor(jobs_mutex_, kStallPoll);
  }
}

}  // namespace terracefs::lsm
