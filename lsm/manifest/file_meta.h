#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "io/base/mutex.h"
#include "lsm/key.h"
#include "lsm/table/table_builder.h"
#include "lsm/values/value_files.h"

namespace terracefs::lsm {

// Tables that have left the current version: those that an older version or a reader still holds,
// and those that nobody holds any more, which the purge takes and removes. Thread-safe.
class ObsoleteTables {
 public:
  void Hold(FileNumber number) EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    held_.insert(number);
  }
  void Push(FileNumber number) EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    held_.erase(number);
    numbers_.push_back(number);
  }
  bool Contains(FileNumber number) const EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    return held_.contains(number) ||
           std::find(numbers_.begin(), numbers_.end(), number) != numbers_.end();
  }
  // The caller removes them, and says so for each.
  std::vector<FileNumber> TakeAll() EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    held_.insert(numbers_.begin(), numbers_.end());
    return std::exchange(numbers_, {});
  }
  void Forget(FileNumber number) EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    held_.erase(number);
  }

 private:
  mutable io::Mutex mutex_;
  std::set<FileNumber> held_ GUARDED_BY(mutex_);
  std::vector<FileNumber> numbers_ GUARDED_BY(mutex_);
};

// A table as the manifest knows it. Versions share it; when it has left the current version and the
// last holder is gone, its number goes to the obsolete list. Constant after construction but for
// the atomics.
struct FileMeta {
  FileNumber number = 0;
  TableInfo info;
  // Every drop range with a sequence up to this has been applied to the contents.
  SequenceNumber drop_sequence = 0;

  // Set (under the version set's lock) when an edit removes the file.
  std::atomic<bool> removed{false};
  // Wall seconds since when a newer drop range overlaps the file; 0: none does.
  std::atomic<int64_t> drop_pending_since_seconds{0};
  // Like drop_sequence, for drops that were found to touch nothing in the file since it was opened.
  std::atomic<SequenceNumber> clean_sequence{0};
  // Estimate of the bytes in dead ranges, made when drops up to dead_known_sequence were known.
  std::atomic<uint64_t> dead_bytes{0};
  std::atomic<SequenceNumber> dead_known_sequence{0};
  // Reads that looked into a block here in vain and went on to a deeper table (A3).
  std::atomic<uint64_t> wasted_reads{0};
  std::shared_ptr<ObsoleteTables> obsolete;
  // The files of info.value_uses, kept while the table is. Set before others see the table.
  std::vector<ValueFileRef> value_files;

  FileMeta() = default;
  FileMeta(const FileMeta&) = delete;
  FileMeta& operator=(const FileMeta&) = delete;
  ~FileMeta() {
    if (removed.load(std::memory_order_acquire) && obsolete) obsolete->Push(number);
  }

  SequenceNumber applied_drop_sequence() const {
    return std::max(drop_sequence, clean_sequence.load(std::memory_order_relaxed));
  }
  std::string_view smallest_user_key() const { return UserKey(info.smallest); }
  std::string_view largest_user_key() const { return UserKey(info.largest); }
};

using FileRef = std::shared_ptr<FileMeta>;

}  // namespace terracefs::lsm
