#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/bytes.h"
#include "io/base/result.h"
#include "io/base/status.h"

namespace terracefs::io {

// Offsets, lengths and memory of requests on a file opened `direct` are multiples of this.
inline constexpr size_t kDirectAlignment = 4096;

// One read, write or fdatasync. The caller owns it and the memory it names, and keeps both in place
// from File::Start until File::Wait returns. Kernel-side short and interrupted transfers are
// resubmitted by the backend; a request either moves all its bytes or fails.
struct IoRequest {
  enum class Kind : uint8_t { kRead, kWrite, kSync };

  Kind kind = Kind::kRead;
  // Write: the bytes (and what is needed to read them back) are on stable storage when it is done.
  bool durable = false;
  // The next request of the same Start begins only after this one has succeeded; it is
  // failed with this one's error otherwise.
  bool link_next = false;
  uint64_t offset = 0;
  std::byte* data = nullptr;  // not written through for kWrite
  size_t bytes = 0;

  // Results, valid after Wait.
  Status status;
  bool done = false;

  // For the backend (request_progress.h says how they move).
  enum class Step : uint8_t { kRead, kWrite, kWriteThrough, kSync };
  Step step = Step::kRead;     // what the kernel was last asked for
  bool in_flight = false;      // the kernel has it and will answer
  bool follows = false;        // a predecessor in the chain is not done
  bool sync_owed = false;      // durable, but bytes were written without their sync
  uint32_t stalled_count = 0;  // answers in a row that brought nothing
  size_t transferred_bytes = 0;
  void* backend_file = nullptr;
  const void* starter = nullptr;  // identifies the thread that started it
  IoRequest* linked = nullptr;    // the next of the chain
};

// An open file of a Storage. Requests may be started by any thread, several at once; each is waited
// for by the thread that started it (CHECKed). The file must outlive its requests. Reads past the
// end of the file fail with IoError ("short read").
class File {
 public:
  virtual ~File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& name() const { return name_; }
  bool direct() const { return direct_; }

  // Hands all requests to the device in one submission. Never fails by itself; never blocks for the
  // completion of any of them (beyond what the backend needs to make room).
  virtual void Start(std::span<IoRequest* const> requests) = 0;
  // Blocks until `request`, started by this thread, is done, and returns its status.
  virtual Status Wait(IoRequest& request) = 0;
  virtual Result<uint64_t> SizeBytes() = 0;
  virtual Status Truncate(uint64_t bytes) = 0;
  // Reserves [0, bytes) on the device and extends the file to that size; NoSpace if it is not to
  // be had. Filesystems without the operation: the file is only extended.
  virtual Status Allocate(uint64_t bytes) = 0;

  // Whole range or an error; straight-line forms of the above.
  Status ReadFull(uint64_t offset, MutableBytes out);
  Status Write(uint64_t offset, Bytes data);
  Status WriteDurable(uint64_t offset, Bytes data);
  // fdatasync: all writes that were done before are on stable storage.
  Status Sync();

 protected:
  File(std::string name, bool direct) : name_(std::move(name)), direct_(direct) {}

  // For backends. Checks the rules of requests (they are ours to keep), clears their results, marks
  // them as started by this thread and ties the chains.
  void Prepare(std::span<IoRequest* const> requests) const;
  // CHECKs that this thread started `request`.
  static void CheckStartedHere(const IoRequest& request);

 private:
  const std::string name_;
  const bool direct_;
};

struct OpenOptions {
  bool write = false;
  bool create = false;     // make it if missing
  bool exclusive = false;  // with create: fail with Busy if it exists
  bool truncate = false;
  // Bypass the page cache (alignment rules above). Where the filesystem refuses it the file works
  // buffered and keeps the alignment rules.
  bool direct = false;
};

// Held from Lock until destroyed.
class StorageLock {
 public:
  virtual ~StorageLock() = default;
};

// Counters since the storage was opened, of requests on files (not of names). Relaxed: they order
// nothing.
struct StorageStats {
  std::atomic<uint64_t> submitted{0};
  std::atomic<uint64_t> completed{0};
  std::atomic<uint64_t> bytes_read{0};
  std::atomic<uint64_t> bytes_written{0};
  std::atomic<uint64_t> fsyncs{0};
};

// A flat directory of files: the only door from the engine to the disk. Names hold no '/'.
// All methods are safe from any thread. Changes of names are durable after SyncDirectory.
// A storage outlives the files and locks it gave out.
class Storage {
 public:
  virtual ~Storage() = default;

  // NotFound if missing and not to be created.
  virtual Result<std::unique_ptr<File>> Open(std::string_view name, const OpenOptions& options) = 0;
  virtual Result<bool> Exists(std::string_view name) = 0;
  // NotFound if missing.
  virtual Status Remove(std::string_view name) = 0;
  // Replaces `target` atomically if it exists.
  virtual Status Rename(std::string_view source, std::string_view target) = 0;
  virtual Result<std::vector<std::string>> List() = 0;
  virtual Status SyncDirectory() = 0;
  // Locks the store for this process (the lock dies with it); Busy if another holds it.
  virtual Result<std::unique_ptr<StorageLock>> Lock(std::string_view name) = 0;
  // The same beside others who hold it so, and without writing: NotFound if the file is missing.
  // Busy if another holds the lock alone.
  virtual Result<std::unique_ptr<StorageLock>> LockShared(std::string_view name) = 0;
  virtual Result<uint64_t> FreeBytes() = 0;
  virtual const char* backend() const = 0;  // "io_uring", "posix", "simulated"

  const StorageStats& stats() const { return stats_; }

 protected:
  StorageStats stats_;
};

}  // namespace terracefs::io
