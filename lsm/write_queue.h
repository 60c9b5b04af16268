#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "io/base/clock.h"
#include "io/base/mutex.h"
#include "io/thread_pool.h"
#include "lsm/memtable/memtable.h"
#include "lsm/values/value_files.h"
#include "lsm/wal/wal_recycler.h"
#include "lsm/wal/wal_writer.h"
#include "lsm/write_batch.h"

namespace terracefs::lsm {

// The end of history: gives batches their place, appends them to the log and the active memtable,
// and makes the log durable. Safe from any thread.
//
// Group commit: a batch is first only appended to the open chunk in memory. A chunk goes to the
// device when somebody syncs (the syncing thread writes it itself, durable in one request, beside
// up to kSyncWritesMax - 1 others in flight) or when it is full (a background thread writes it, not
// yet durable). Chunks become durable in order: the durable sequence only moves past a chunk when
// every chunk before it is durable too, so what Sync promises is always a prefix. A chunk also
// needs the values that its batches refer to: they are synced after it was closed and before it
// counts as durable. (A chunk on the disk whose values are not is what recovery looks for behind
// the last durable sequence.)
//
// Sticky errors: after a failed log write or sync nothing is known about the log's end, so every
// later Write and Sync fails with the same error.
class WriteQueue {
 public:
  // What a full memtable becomes. `next_log`: the log of the table after it. Called under the
  // queue's lock: must be quick.
  using RotateHook =
      std::function<void(std::shared_ptr<MemTable> full, std::shared_ptr<MemTable> fresh,
                         SequenceNumber last_sequence, FileNumber next_log)>;
  struct Settings {
    uint64_t memtable_bytes = 0;
    uint64_t log_secret = 0;  // as for WalSalt
    // Makes the values durable that batches written before refer to; null: there are none. Called
    // without the queue's lock.
    std::function<io::Status()> sync_values;
    // The active memtable also ends when it refers to so many bytes; null: no such limit. Any
    // thread, under the queue's lock.
    std::function<uint64_t()> memtable_value_bytes;
  };

  WriteQueue(const Settings& settings, WalRecycler& recycler, const io::Clock& clock,
             SequenceNumber last_sequence, const std::array<int64_t, kCounterCount>& counters,
             RotateHook on_rotate);
  // Waits for background writes; syncs nothing.
  ~WriteQueue();

  // Takes the first log and memtable. Before anything else.
  io::Status Start() EXCLUDES(mutex_);

  // `value_files` holds the files that the batch refers to. It has no pages (WriteBatch::PutPage).
  io::Status Write(WriteBatch&& batch, std::vector<ValueFileRef> value_files = {}) EXCLUDES(mutex_);
  io::Status Sync() EXCLUDES(mutex_);
  // Ends the active memtable, unless it is empty, so that it can be flushed.
  io::Status Rotate() EXCLUDES(mutex_);
  // Waits until nothing more will be written to the (rotated) log `number`, so that its file may be
  // reused; false if an error makes that unknowable.
  bool WaitForLogIdle(FileNumber number) EXCLUDES(mutex_);
  // Waits while `limit` or more chunks are on their way to the device in the background.
  io::Status WaitForChunks(size_t limit) EXCLUDES(mutex_);
  // Everything up to `sequence` has become durable by other means (it is in tables).
  void MarkDurable(SequenceNumber sequence) EXCLUDES(mutex_);

  std::shared_ptr<MemTable> active_memtable() const EXCLUDES(mutex_);
  FileNumber active_log() const EXCLUDES(mutex_);
  SequenceNumber last_sequence() const { return last_sequence_.load(std::memory_order_acquire); }
  SequenceNumber durable_sequence() const {
    return durable_sequence_.load(std::memory_order_acquire);
  }
  int64_t counter(uint8_t id) const { return counters_[id].load(std::memory_order_relaxed); }
  // Whether the next write will end the active memtable; an estimate, lock-free.
  bool nearly_full() const { return nearly_full_.load(std::memory_order_relaxed); }
  // How full the active memtable or its log is, in kFillParts; an estimate, lock-free.
  static constexpr uint32_t kFillParts = 1024;
  uint32_t fill() const { return fill_.load(std::memory_order_relaxed); }
  // Chunks handed to the background and not yet written.
  size_t queued_chunk_count() const { return queued_chunk_count_.load(std::memory_order_relaxed); }
  uint64_t log_bytes_written() const { return log_bytes_written_.load(std::memory_order_relaxed); }
  uint64_t user_bytes_written() const {
    return user_bytes_written_.load(std::memory_order_relaxed);
  }
  io::Status error() const EXCLUDES(mutex_);

 private:
  static constexpr size_t kChunkWriterCount = 2;
  static constexpr size_t kSyncWritesMax = 8;

  enum class ChunkState : uint8_t { kWriting, kWritten, kDurable };
  struct PendingChunk {
    std::shared_ptr<WalWriter> log;
    WalChunk chunk;
    SequenceNumber last_sequence = 0;
    ChunkState state = ChunkState::kWriting;
  };

  uint32_t FillLocked() const REQUIRES(mutex_);
  uint64_t ValueBytesMax() const;
  bool IsFullLocked(size_t more_bytes) const REQUIRES(mutex_);
  io::Status RotateLocked() REQUIRES(mutex_);
  PendingChunk& SealLocked() REQUIRES(mutex_);
  void QueueOpenChunkLocked() REQUIRES(mutex_);
  void FinishChunkLocked(PendingChunk& pending, const io::Status& status, bool durable)
      REQUIRES(mutex_);
  void AdvanceDurableLocked() REQUIRES(mutex_);
  io::Status SyncWrittenLocked() REQUIRES(mutex_);
  io::Status SyncValues() EXCLUDES(mutex_);

  const Settings settings_;
  WalRecycler& recycler_;
  const io::Clock& clock_;
  const RotateHook on_rotate_;

  mutable io::Mutex mutex_;
  io::CondVar progress_;
  std::shared_ptr<WalWriter> log_ GUARDED_BY(mutex_);
  uint64_t log_file_bytes_ GUARDED_BY(mutex_) = 0;  // length of the log's file
  std::shared_ptr<MemTable> memtable_ GUARDED_BY(mutex_);
  // Chunks that are not durable yet, in order of sequence; a list so that they stay in place.
  std::list<PendingChunk> pending_ GUARDED_BY(mutex_);
  size_t sync_write_count_ GUARDED_BY(mutex_) = 0;
  bool syncing_files_ GUARDED_BY(mutex_) = false;
  io::Status error_ GUARDED_BY(mutex_);

  // Written under the lock, read without: readers only need some recent value, and last_sequence_'s
  // release pairs with its acquire so that a reader who sees it also sees the entries.
  std::atomic<SequenceNumber> last_sequence_;
  std::atomic<SequenceNumber> durable_sequence_;
  std::array<std::atomic<int64_t>, kCounterCount> counters_{};
  std::atomic<bool> nearly_full_{false};
  std::atomic<uint32_t> fill_{0};
  std::atomic<size_t> queued_chunk_count_{0};
  std::atomic<uint64_t> log_bytes_written_{0};
  std::atomic<uint64_t> user_bytes_written_{0};

  io::ThreadPool chunk_writers_;  // last: joined first
};

}  // namespace terracefs::lsm
