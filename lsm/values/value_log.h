#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "io/base/mutex.h"
#include "io/base/result.h"
#include "io/storage.h"
#include "io/thread_pool.h"
#include "lsm/values/value_files.h"

namespace terracefs::lsm {

// Where values of writers go: appends pages to the active value file, straight from the caller's
// memory into aligned buffers of 1 MiB that are written with O_DIRECT when they are full, four in
// flight (a pool of threads, each writing one buffer). Files are preallocated in steps of 16 MiB
// and cut to their length when they are ended. At most kUnsyncedBytesMax are written without a
// sync. Safe from any thread.
//
// A failed write or sync is sticky: every later Append and Sync fails with the same error (what is
// on disk is not known). An error when a file is made or extended, above all NoSpace, is not:
// nothing was appended that anybody could refer to. Of a large Append what fitted before is
// garbage.
class ValueLog final : public PagesInFlight {
 public:
  static constexpr size_t kBufferBytes = 1 << 20;
  static constexpr size_t kWriterCount = 4;
  static constexpr uint64_t kAllocationBytes = 16 << 20;
  static constexpr uint64_t kUnsyncedBytesMax = 64 << 20;
  // Full buffers that may wait for being written before IsBehind says so.
  static constexpr size_t kQueuedBuffersStall = 12;

  // `new_file_number` as for WalRecycler. `full_file_bytes` says when the active file is large
  // enough to be ended (asked now and then, any thread).
  ValueLog(io::Storage& storage, ValueFiles& files, std::function<FileNumber()> new_file_number,
           std::function<uint64_t()> full_file_bytes);
  // Waits for the writers and cuts what was preallocated; syncs nothing. What ValueFiles knows as
  // PagesInFlight must be something else by then, or nothing.
  ~ValueLog();
  ValueLog(const ValueLog&) = delete;
  ValueLog& operator=(const ValueLog&) = delete;

  // Values with these references stay readable and their files stay while `holders` lives.
  struct Appended {
    std::vector<ValueReference> references;  // as many as pages, in order
    std::vector<ValueFileRef> holders;
  };
  // Appends `pages`, each of kValuePageBytes. `zstd_level` 0: as they are; otherwise runs of up to
  // kRecordPagesMax are compressed where that saves at least a page of the file (a cheap look at
  // the first page of a run decides whether it is tried at all). Copies the bytes; they are
  // readable at once (ValueFiles::Read), durable after Sync. Blocks only for making or extending a
  // file, and if far more buffers are queued than IsBehind allows.
  io::Result<Appended> Append(std::span<const std::string_view> pages, int zstd_level)
      EXCLUDES(mutex_);
  // Everything appended before the call is on stable storage, names included, when it returns.
  // Costs nothing if nothing was appended since the last one.
  io::Status Sync() EXCLUDES(mutex_);
  // The device does not keep up: whoever can wait, should (WaitForBuffers).
  bool IsBehind() const {
    return queued_count_.load(std::memory_order_relaxed) >= kQueuedBuffersStall;
  }
  // Returns when IsBehind no longer holds, or with the sticky error.
  io::Status WaitForBuffers() EXCLUDES(mutex_);

  bool ReadInFlight(FileNumber file, uint64_t page, std::byte* out) override EXCLUDES(mutex_);

  // Ends the active file, so that nothing is appended to it any more (it is synced by the next
  // Sync); the next Append begins another. For a full disk and for compact: when it returns, what
  // was preallocated for ended files has been given back. An error of that is returned, not sticky.
  io::Status EndFile() EXCLUDES(mutex_);
  // The file that is appended to now; 0: none is.
  FileNumber active_file() const { return active_file_.load(std::memory_order_relaxed); }
  uint64_t bytes_written() const { return bytes_written_.load(std::memory_order_relaxed); }
  // Preallocated and not yet written: physical bytes beyond the files' lengths.
  uint64_t spare_bytes() const { return spare_bytes_.load(std::memory_order_relaxed); }

 private:
  struct LogFile;
  struct Buffer;
  using LogFilePtr = std::shared_ptr<LogFile>;
  using BufferPtr = std::shared_ptr<Buffer>;
  // Where a record goes: the buffer is one of `Placement::buffers`.
  struct Place {
    Buffer* buffer = nullptr;
    size_t page = 0;  // of the buffer
  };
  struct Placement {
    std::vector<Place> places;
    std::vector<BufferPtr> buffers;  // that this append copies to
    ValueFileRef holder;
  };

  io::Status AppendChunk(std::span<const std::string_view> pages, int zstd_level,
                         uint64_t full_bytes, Appended* appended) EXCLUDES(mutex_);

  // Those that do I/O let the lock go meanwhile.
  io::Status MakeRoomLocked(uint64_t bytes, uint64_t full_bytes) REQUIRES(mutex_);
  io::Status ExtendLocked(uint64_t bytes, uint64_t full_bytes) REQUIRES(mutex_);
  io::Status CreateFileLocked(uint64_t bytes, uint64_t full_bytes) REQUIRES(mutex_);
  io::Result<LogFilePtr> CreateFile(uint64_t bytes, uint64_t full_bytes) EXCLUDES(mutex_);
  void EndActiveLocked() REQUIRES(mutex_);
  void CutLocked(LogFile& file) REQUIRES(mutex_);

  void PlaceLocked(size_t pages, Placement* placement) REQUIRES(mutex_);
  void OpenBufferLocked() REQUIRES(mutex_);
  void SealOpenLocked() REQUIRES(mutex_);
  void EnqueueLocked(const BufferPtr& buffer) REQUIRES(mutex_);
  void ReleaseCopiers(const std::vector<BufferPtr>& buffers) EXCLUDES(mutex_);

  void WriteQueued() EXCLUDES(mutex_);
  void WriteLocked(const BufferPtr& buffer) REQUIRES(mutex_);
  void RemoveInFlightLocked(const BufferPtr& buffer) REQUIRES(mutex_);
  void NoteOldestLocked() REQUIRES(mutex_);

  void LeadSyncLocked(const std::vector<LogFilePtr>& files, std::vector<LogFilePtr>* dropped)
      REQUIRES(mutex_);
  void WriteUpToLocked(uint64_t last_buffer) REQUIRES(mutex_);
  void SyncFileLocked(LogFile& file) REQUIRES(mutex_);
  void SyncDirectoryLocked() REQUIRES(mutex_);
  void WaitForCutLocked(const LogFile& file) REQUIRES(mutex_);
  void SetErrorLocked(const io::Status& error) REQUIRES(mutex_);

  io::Storage& storage_;
  ValueFiles& value_files_;
  const std::function<FileNumber()> new_file_number_;
  const std::function<uint64_t()> full_file_bytes_;

  mutable io::Mutex mutex_;
  io::CondVar changed_;    // buffers, files, room, the error
  io::CondVar sync_done_;  // a Sync is over
  io::Status error_ GUARDED_BY(mutex_);
  LogFilePtr active_ GUARDED_BY(mutex_);
  // The active one and those that are ended and not known to be on stable storage yet.
  std::vector<LogFilePtr> files_ GUARDED_BY(mutex_);
  bool making_room_ GUARDED_BY(mutex_) = false;  // somebody makes or extends a file
  BufferPtr open_ GUARDED_BY(mutex_);            // of the active file
  // By ascending id; in it from being opened until it is written.
  std::vector<BufferPtr> in_flight_ GUARDED_BY(mutex_);
  std::deque<BufferPtr> queue_ GUARDED_BY(mutex_);
  uint64_t last_buffer_ GUARDED_BY(mutex_) = 0;    // id of the newest
  size_t unwritten_count_ GUARDED_BY(mutex_) = 0;  // buffers whose write is not over
  uint64_t unsynced_bytes_ GUARDED_BY(mutex_) = 0;
  bool background_syncing_ GUARDED_BY(mutex_) = false;
  bool syncing_ GUARDED_BY(mutex_) = false;  // somebody does the work of Sync
  uint64_t created_count_ GUARDED_BY(mutex_) = 0;
  uint64_t created_synced_count_ GUARDED_BY(mutex_) = 0;
  // Changes so far that ask for a Sync, and of these, those that one covers. They stay apart for
  // ever after an error. Written under the lock.
  std::atomic<uint64_t> change_count_{0};
  std::atomic<uint64_t> synced_count_{0};
  // The smallest file number of a buffer in flight: most reads need not take the lock.
  std::atomic<FileNumber> oldest_in_flight_{UINT64_MAX};
  std::atomic<size_t> queued_count_{0};
  std::atomic<FileNumber> active_file_{0};
  std::atomic<uint64_t> bytes_written_{0};
  std::atomic<uint64_t> spare_bytes_{0};
  io::ThreadPool writers_;  // the last member: its threads use all others
};

}  // namespace terracefs::lsm
