#include "lsm/write_queue.h"

#include <algorithm>
#include <vector>

namespace terracefs::lsm {
namespace {

// Never reached: Db delays writers long before (kQueuedChunksStall). It must not be, because chunks
// are queued under the lock that finishing one needs.
constexpr size_t kQueuedChunksMax = 1 << 16;

}  // namespace

WriteQueue::WriteQueue(const Settings& settings, WalRecycler& recycler, const io::Clock& clock,
                       SequenceNumber last_sequence,
                       const std::array<int64_t, kCounterCount>& counters, RotateHook on_rotate)
    : settings_(settings),
      recycler_(recycler),
      clock_(clock),
      on_rotate_(std::move(on_rotate)),
      last_sequence_(last_sequence),
      durable_sequence_(last_sequence),
      chunk_writers_("wal-write", kChunkWriterCount, kQueuedChunksMax) {
  for (size_t id = 0; id < kCounterCount; ++id) counters_[id].store(counters[id]);
}

WriteQueue::~WriteQueue() { chunk_writers_.Drain(); }

io::Status WriteQueue::Start() {
  WalRecycler::ReadyLog ready = TRY(recycler_.Take());
  io::MutexLock lock(mutex_);
  log_ = std::make_shared<WalWriter>(std::move(ready.file), ready.number, settings_.log_secret);
  log_file_bytes_ = ready.bytes;
  memtable_ = std::make_shared<MemTable>();
  return io::Status::Ok();
}

bool WriteQueue::IsFullLocked(size_t more_bytes) const {
  if (memtable_->memory_bytes() >= settings_.memtable_bytes) return true;
  if (memtable_->value_bytes() > 0 && memtable_->value_bytes() >= ValueBytesMax()) return true;
  const uint64_t log_bytes = log_->offset() + log_->open_bytes();
  return log_bytes > 0 && log_bytes + more_bytes + 2 * kWalBlockBytes > log_file_bytes_;
}

uint64_t WriteQueue::ValueBytesMax() const {
  return settings_.memtable_value_bytes
             ? std::max<uint64_t>(settings_.memtable_value_bytes(), kValuePageBytes)
             : UINT64_MAX;
}

io::Status WriteQueue::SyncValues() {
  return settings_.sync_values ? settings_.sync_values() : io::Status::Ok();
}

uint32_t WriteQueue::FillLocked() const {
  const uint64_t log_bytes = log_->offset() + log_->open_bytes();
  const uint64_t parts =
      std::max({memtable_->memory_bytes() * kFillParts / settings_.memtable_bytes,
                log_bytes * kFillParts / log_file_bytes_,
                memtable_->value_bytes() * kFillParts / ValueBytesMax()});
  return static_cast<uint32_t>(std::min<uint64_t>(parts, kFillParts));
}

io::Status WriteQueue::Write(WriteBatch&& batch, std::vector<ValueFileRef> value_files) {
  DCHECK(batch.page_count() == 0);
  const uint32_t count = batch.count();
  const size_t bytes = batch.bytes();
  const int64_t now_seconds = clock_.WallNs() / 1'000'000'000;
  io::MutexLock lock(mutex_);
  TRY(error_);
  if (IsFullLocked(bytes)) TRY(RotateLocked());
  const SequenceNumber first = last_sequence_.load(std::memory_order_relaxed) + 1;
  log_->Append(first, count, batch.representation());
  const std::array<int64_t, kCounterCount> before = memtable_->counter_deltas();
  memtable_->Apply(batch.TakeRepresentation(), count, first, now_seconds, std::move(value_files));
  for (size_t id = 0; id < kCounterCount; ++id) {
    const int64_t delta = memtable_->counter_deltas()[id] - before[id];
    if (delta != 0) counters_[id].fetch_add(delta, std::memory_order_relaxed);
  }
  last_sequence_.store(first + count - 1, std::memory_order_release);
  user_bytes_written_.fetch_add(bytes, std::memory_order_relaxed);
  if (log_->open_bytes() >= kWalChunkBytesTarget) QueueOpenChunkLocked();
  nearly_full_.store(IsFullLocked(kWalChunkBytesTarget), std::memory_order_relaxed);
  fill_.store(FillLocked(), std::memory_order_relaxed);
  return io::Status::Ok();
}

WriteQueue::PendingChunk& WriteQueue::SealLocked() {
  PendingChunk& pending = pending_.emplace_back();
  pending.log = log_;
  pending.chunk = log_->Seal(durable_sequence_.load(std::memory_order_relaxed));
  pending.last_sequence = pending.chunk.last_sequence;
  log_bytes_written_.fetch_add(pending.chunk.padded_bytes, std::memory_order_relaxed);
  return pending;
}

void WriteQueue::QueueOpenChunkLocked() {
  PendingChunk* const pending = &SealLocked();
  queued_chunk_count_.fetch_add(1, std::memory_order_relaxed);
  chunk_writers_.Submit([this, pending] {
    const io::Status status = pending->log->WriteChunk(pending->chunk, false);
    io::MutexLock lock(mutex_);
    queued_chunk_count_.fetch_sub(1, std::memory_order_relaxed);
    FinishChunkLocked(*pending, status, false);
  });
}

void WriteQueue::FinishChunkLocked(PendingChunk& pending, const io::Status& status, bool durable) {
  if (!status.ok() && error_.ok()) error_ = status;
  // A chunk that failed stays kWriting: the durable prefix ends before it for good.
  if (status.ok()) {
    pending.chunk.buffer = io::AlignedBuffer();
    pending.state = durable ? ChunkState::kDurable : ChunkState::kWritten;
  }
  AdvanceDurableLocked();
  progress_.NotifyAll();
}

void WriteQueue::AdvanceDurableLocked() {
  SequenceNumber durable = durable_sequence_.load(std::memory_order_relaxed);
  while (!pending_.empty()) {
    const PendingChunk& front = pending_.front();
    // A written chunk whose contents reached the tables needs no sync of its own any more; but
    // while files are being synced the syncing thread still points to it.
    const bool in_tables =
        front.state == ChunkState::kWritten && !syncing_files_ && front.last_sequence <= durable;
    if (front.state != ChunkState::kDurable && !in_tables) break;
    durable = std::max(durable, front.last_sequence);
    pending_.pop_front();
  }
  durable_sequence_.store(durable, std::memory_order_release);
}

// Syncs the logs of all chunks that are written but not durable. Lets go of the lock meanwhile.
io::Status WriteQueue::SyncWrittenLocked() {
  std::vector<std::shared_ptr<WalWriter>> logs;
  std::vector<PendingChunk*> covered;
  for (PendingChunk& pending : pending_) {
    if (pending.state != ChunkState::kWritten) continue;
    covered.push_back(&pending);
    if (logs.empty() || logs.back() != pending.log) logs.push_back(pending.log);
  }
  // Only the thread with this flag removes written chunks from the list, so the pointers stay good.
  syncing_files_ = true;
  mutex_.Unlock();
  io::Status status = SyncValues();
  for (const auto& log : logs) {
    if (!status.ok()) break;
    status = log->Sync();
  }
  mutex_.Lock();
  syncing_files_ = false;
  if (!status.ok()) {
    if (error_.ok()) error_ = status;
  } else {
    for (PendingChunk* pending : covered) pending->state = ChunkState::kDurable;
  }
  AdvanceDurableLocked();
  progress_.NotifyAll();
  return status;
}

io::Status WriteQueue::Sync() {
  io::MutexLock lock(mutex_);
  TRY(error_);
  const SequenceNumber target = last_sequence_.load(std::memory_order_relaxed);
  while (durable_sequence_.load(std::memory_order_relaxed) < target) {
    TRY(error_);
    const bool mine_is_open =
        log_->has_open_chunk() && (pending_.empty() || pending_.back().last_sequence < target);
    if (mine_is_open && sync_write_count_ < kSyncWritesMax) {
      PendingChunk& pending = SealLocked();
      ++sync_write_count_;
      lock.Unlock();
      io::Status status = pending.log->WriteChunk(pending.chunk, true);
      if (status.ok()) status = SyncValues();
      lock.Lock();
      --sync_write_count_;
      FinishChunkLocked(pending, status, true);
      continue;
    }
    const bool front_written = !pending_.empty() && pending_.front().state == ChunkState::kWritten;
    if (front_written && !syncing_files_) {
      TRY(SyncWrittenLocked());
      continue;
    }
    progress_.Wait(mutex_);
  }
  return io::Status::Ok();
}

io::Status WriteQueue::RotateLocked() {
  WalRecycler::ReadyLog ready = TRY(recycler_.Take());
  if (log_->has_open_chunk()) QueueOpenChunkLocked();
  recycler_.NoteUse(log_->offset(), log_file_bytes_);
  std::shared_ptr<MemTable> full = std::move(memtable_);
  log_ = std::make_shared<WalWriter>(std::move(ready.file), ready.number, settings_.log_secret);
  log_file_bytes_ = ready.bytes;
  memtable_ = std::make_shared<MemTable>();
  fill_.store(0, std::memory_order_relaxed);
  on_rotate_(std::move(full), memtable_, last_sequence_.load(std::memory_order_relaxed),
             log_->log_number());
  return io::Status::Ok();
}

io::Status WriteQueue::Rotate() {
  io::MutexLock lock(mutex_);
  TRY(error_);
  // Drops and counters make no entry but must reach the manifest all the same.
  const bool nothing_in_it = memtable_->empty() && memtable_->dropped_ranges().empty() &&
                             log_->offset() == 0 && !log_->has_open_chunk();
  if (nothing_in_it) return io::Status::Ok();
  return RotateLocked();
}

bool WriteQueue::WaitForLogIdle(FileNumber number) {
  io::MutexLock lock(mutex_);
  for (;;) {
    if (!error_.ok()) return false;
    const bool busy = std::any_of(pending_.begin(), pending_.end(), [&](const PendingChunk& chunk) {
      return chunk.log->log_number() == number;
    });
    if (!busy) return true;
    progress_.Wait(mutex_);
  }
}

io::Status WriteQueue::WaitForChunks(size_t limit) {
  io::MutexLock lock(mutex_);
  while (error_.ok() && queued_chunk_count() >= limit) progress_.Wait(mutex_);
  return error_;
}

void WriteQueue::MarkDurable(SequenceNumber sequence) {
  io::MutexLock lock(mutex_);
  // The chunks themselves stay in the list until their own writes are done with them.
  if (sequence > durable_sequence_.load(std::memory_order_relaxed)) {
    durable_sequence_.store(sequence, std::memory_order_release);
  }
  AdvanceDurableLocked();
  progress_.NotifyAll();
}

std::shared_ptr<MemTable> WriteQueue::active_memtable() const {
  io::MutexLock lock(mutex_);
  return memtable_;
}

FileNumber WriteQueue::active_log() const {
  io::MutexLock lock(mutex_);
  return log_->log_number();
}

io::Status WriteQueue::error() const {
  io::MutexLock lock(mutex_);
  return error_;
}

}  // namespace terracefs::lsm
