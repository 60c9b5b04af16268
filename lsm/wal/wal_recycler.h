#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "io/base/mutex.h"
#include "io/rate_limiter.h"
#include "io/storage.h"
#include "lsm/key.h"

namespace terracefs::lsm {

// Keeps the next log file ready, and obsolete ones for reuse: writing into blocks that were
// written before is twice as fast to make durable as growing a file (measured, architecture.md 4).
// A log file is written out with zeros once when made; its name and size are durable before it is
// handed out. Safe from any thread; Prepare does the slow part and is called by a background
// thread.
//
// Logs are as large as the last ones had use for (NoteUse), in steps, up to `log_file_bytes`: a
// store whose logs end early, because its memtables do, does not pay for space that it never uses.
//
// Logs come out of Take in ascending order of their numbers (replay depends on it), even if a log
// made on the spot overtakes one in preparation. A failure leaves nothing behind but files that
// are kept for reuse or removed; the call may be repeated.
class WalRecycler {
 public:
  static constexpr size_t kSpareCountMax = 2;
  static constexpr uint64_t kLogBytesMin = 12 << 20;    // unless log_file_bytes is less
  static constexpr uint64_t kLogBytesFirst = 16 << 20;  // the same
  static constexpr uint64_t kLogBytesStep = 4 << 20;
  static constexpr size_t kUsesRemembered = 8;

  // `new_file_number` hands out numbers (thread-safe): each larger than the one before and than
  // that of any file in the store. It is called without a lock that Take or KeptNumbers needs.
  // `limiter` (may be null) is charged for writing files out, at the lowest priority.
  WalRecycler(io::Storage& storage, uint64_t log_file_bytes,
              std::function<FileNumber()> new_file_number, io::RateLimiter* limiter = nullptr);

  struct ReadyLog {
    FileNumber number = 0;
    std::unique_ptr<io::File> file;  // open for direct writing
    uint64_t bytes = 0;              // its length
  };
  enum class NewFile : uint8_t {
    kWrittenOut,  // slow to make, quick to sync
    kAllocated,   // the other way round
    kNone,        // only a spare is taken, if there is one
  };
  // Makes sure a log is ready: renames a spare to a new number, or makes a new file as `kind` says;
  // then syncs the directory. Does nothing if one is ready. With kWrittenOut it may take as long as
  // the limiter likes; ShuttingDown if it was interrupted by Stop or ReleaseSpace.
  io::Status Prepare(NewFile kind = NewFile::kWrittenOut) EXCLUDES(mutex_, prepare_mutex_);
  bool has_ready() const EXCLUDES(mutex_);
  // A log of `log_bytes` has ended with `used_bytes` of it in use: new ones are sized accordingly.
  void NoteUse(uint64_t used_bytes, uint64_t log_bytes) EXCLUDES(mutex_);
  // Of logs that are made now; an estimate for everybody else.
  uint64_t file_bytes() const { return file_bytes_.load(std::memory_order_relaxed); }
  // Removes the ready log and the spares, for the sake of their space, and interrupts writing out.
  void ReleaseSpace() EXCLUDES(mutex_);
  // Interrupts writing out, now and ever after.
  void Stop();
  // The ready log, or a spare renamed, or one made on the spot (preallocated but not written out:
  // slower to sync, but quick to have).
  io::Result<ReadyLog> Take() EXCLUDES(mutex_);
  // An obsolete log: kept as a spare, or removed if there are enough or it has not the right size.
  // The manifest must durably not need it any more. Ok if there is no such file.
  io::Status Recycle(FileNumber number) EXCLUDES(mutex_);
  // Files that are not obsolete although no memtable needs them: ready and spare ones, and those
  // being made. A log leaves this list when Take returns it.
  std::vector<FileNumber> KeptNumbers() const EXCLUDES(mutex_);

 private:
  // A log under a new number, durable, made of a spare if there is one. Its number is in
  // in_preparation_ on success, and nowhere on failure.
  io::Result<ReadyLog> MakeLog(NewFile kind) EXCLUDES(mutex_);
  struct Log {
    FileNumber number = 0;
    uint64_t bytes = 0;
  };
  io::Result<ReadyLog> RenameSpare(Log spare, FileNumber number) EXCLUDES(mutex_);
  io::Result<ReadyLog> CreateLog(FileNumber number, NewFile kind);
  io::Status FillNewFile(io::File& file, NewFile kind, uint64_t bytes);
  io::Status WriteOut(io::File& file, uint64_t file_bytes);
  io::Status PrepareOnce(NewFile kind) EXCLUDES(mutex_);
  // Makes a spare of a log that is not needed, or says that the caller must remove it.
  [[nodiscard]] bool KeepLocked(Log log) REQUIRES(mutex_);
  void EndPreparationLocked(FileNumber number) REQUIRES(mutex_);
  void DropLog(FileNumber number);

  io::Storage& storage_;
  const uint64_t log_bytes_max_;      // multiple of kWalBlockBytes
  std::atomic<uint64_t> file_bytes_;  // the same; changed by NoteUse
  const std::function<FileNumber()> new_file_number_;
  io::RateLimiter* const limiter_;
  // Relaxed: a write more or less before they are noticed does no harm.
  std::atomic<uint64_t> interrupts_{0};
  std::atomic<bool> stopped_{false};
  io::Mutex prepare_mutex_;            // one slow Prepare at a time; held across I/O, before mutex_
  mutable io::Mutex mutex_;            // never held across I/O
  ReadyLog ready_ GUARDED_BY(mutex_);  // if there is one, its number is above last_taken_
  FileNumber last_taken_ GUARDED_BY(mutex_) = 0;
  std::vector<FileNumber> in_preparation_ GUARDED_BY(mutex_);
  std::vector<Log> spares_ GUARDED_BY(mutex_);
  std::deque<uint64_t> uses_ GUARDED_BY(mutex_);  // bytes, of the last logs
};

}  // namespace terracefs::lsm
