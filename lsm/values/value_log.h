#pragma once

#include <atomic>
#include <cstdint>
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
// on disk is not known). NoSpace when a file is made or extended is not: nothing was appended.
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
  // Waits for the writers; syncs nothing.
  ~ValueLog();

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
  // Sync); the next Append begins another. For a full disk (its preallocated tail is cut off) and
  // for compact.
  io::Status EndFile() EXCLUDES(mutex_);
  // The file that is appended to now; 0: none is.
  FileNumber active_file() const { return active_file_.load(std::memory_order_relaxed); }
  uint64_t bytes_written() const { return bytes_written_.load(std::memory_order_relaxed); }
  // Preallocated and not yet written: physical bytes beyond the files' lengths.
  uint64_t spare_bytes() const { return spare_bytes_.load(std::memory_order_relaxed); }

 private:
  // Private members are the implementer's.
  mutable io::Mutex mutex_;
  std::atomic<size_t> queued_count_{0};
  std::atomic<FileNumber> active_file_{0};
  std::atomic<uint64_t> bytes_written_{0};
  std::atomic<uint64_t> spare_bytes_{0};
};

}  // namespace terracefs::lsm
