#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/base/bytes.h"
#include "io/base/mutex.h"
#include "io/base/result.h"
#include "io/rate_limiter.h"
#include "io/storage.h"
#include "lsm/values/value_reference.h"

namespace terracefs::lsm {

class ValueFiles;

// One value file, alive as long as somebody refers to it: tables of any version that is held,
// memtables, batches on their way, whoever writes it. With its last holder it becomes obsolete: its
// number goes to ValueFiles::TakeObsolete, unless the owner has stopped collecting.
class ValueFile {
 public:
  ValueFile(ValueFiles* files, FileNumber number);
  ~ValueFile();
  ValueFile(const ValueFile&) = delete;
  ValueFile& operator=(const ValueFile&) = delete;

  FileNumber number() const { return number_; }
  // Bytes written (and about to be); grows while the file is being written. Relaxed.
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  void set_bytes(uint64_t bytes) { bytes_.store(bytes, std::memory_order_relaxed); }

 private:
  ValueFiles* const files_;
  const FileNumber number_;
  std::atomic<uint64_t> bytes_{0};
};
using ValueFileRef = std::shared_ptr<ValueFile>;

// Where pages lie that are not in their file yet (ValueLog).
class PagesInFlight {
 public:
  // Copies the stored page `page` of file `file` to `out` (kValuePageBytes) and returns true, if it
  // is in memory. Any thread.
  virtual bool ReadInFlight(FileNumber file, uint64_t page, std::byte* out) = 0;

 protected:
  ~PagesInFlight() = default;
};

// The value files of a store by number: who they are, reading them, and which are obsolete. Knows
// nothing of what refers to them. Outlives every ValueFile. Safe from any thread; no lock is held
// across I/O, except that a file's first reader opens it under a lock of that file alone.
class ValueFiles {
 public:
  // Beyond `open_count_max` open files, those not read for the longest are closed.
  ValueFiles(io::Storage& storage, size_t open_count_max);
  ~ValueFiles();

  // Makes `number` known (it must not be), e.g. when its file is created or found at open.
  ValueFileRef Add(FileNumber number, uint64_t bytes) EXCLUDES(mutex_);
  // Null if nobody holds it.
  ValueFileRef Find(FileNumber number) const EXCLUDES(mutex_);
  // All that are held now, ascending. Obsolete ones whose last holder is gone are not among them.
  std::vector<ValueFileRef> All() const EXCLUDES(mutex_);

  // One value to be read: `out` gets kValuePageBytes.
  struct ReadItem {
    ValueReference reference;
    std::byte* out = nullptr;
    io::Status status;  // result: Corruption (checksum, naming file and offset), IoError
  };
  struct ReadSettings {
    io::RateLimiter* limiter = nullptr;  // charged for what is read from disk; may be null
    io::IoPriority priority = io::IoPriority::kVacuum;
    // Only what is in memory: items that would need the disk get WouldBlock.
    bool cache_only = false;
  };
  // Reads all items: pages that lie together in a file (also with small gaps) in one request, all
  // requests of all files submitted before any is waited for (bounded: at most 2 MiB a request and
  // 16 MiB in flight). What is in flight in the log is copied from there. Each compressed record is
  // read and uncompressed once, however many of the items it serves. Every value is checked against
  // its reference. Returns the first bad status, with every item's own status set. The caller holds
  // the files (by a view, table or memtable that refers to them).
  io::Status Read(std::span<ReadItem> items, const ReadSettings& settings) EXCLUDES(mutex_);

  // Null at first. Must outlive every Read.
  void SetPagesInFlight(PagesInFlight* in_flight);

  // Files whose last holder is gone since the last call. The caller removes them.
  struct Obsolete {
    FileNumber number = 0;
    uint64_t bytes = 0;
  };
  std::vector<Obsolete> TakeObsolete() EXCLUDES(mutex_);
  bool IsObsolete(FileNumber number) const EXCLUDES(mutex_);  // taken or not, until Forget
  // The file has been removed.
  void Forget(FileNumber number) EXCLUDES(mutex_);
  // From now on nothing becomes obsolete: the engine is closing, and what memory lets go of stays
  // on the disk.
  void StopCollecting() EXCLUDES(mutex_);
  size_t open_count() const EXCLUDES(mutex_);  // files open for reading

 private:
  friend class ValueFile;
  void LastHolderGone(FileNumber number, uint64_t bytes) EXCLUDES(mutex_);
  // The file, open for reading.
  io::Result<std::shared_ptr<io::File>> Open(FileNumber number) EXCLUDES(mutex_);
  std::vector<std::shared_ptr<io::File>> TakeSurplusLocked() REQUIRES(mutex_);

  struct Handle {
    std::shared_ptr<io::File> file;         // null: being opened by somebody
    std::list<FileNumber>::iterator place;  // in by_use_, once it is open
  };

  io::Storage& storage_;
  const size_t open_count_max_;
  std::atomic<PagesInFlight*> in_flight_{nullptr};
  mutable io::Mutex mutex_;
  io::CondVar opened_;
  // A file is in it until its destructor has said so, a little longer than anybody holds it.
  std::map<FileNumber, std::weak_ptr<ValueFile>> files_ GUARDED_BY(mutex_);
  bool collecting_ GUARDED_BY(mutex_) = true;
  std::set<FileNumber> obsolete_ GUARDED_BY(mutex_);  // until Forget
  std::vector<Obsolete> untaken_ GUARDED_BY(mutex_);
  std::unordered_map<FileNumber, Handle> handles_ GUARDED_BY(mutex_);
  std::list<FileNumber> by_use_ GUARDED_BY(mutex_);  // last used first
};

}  // namespace terracefs::lsm
