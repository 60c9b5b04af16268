#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "io/base/mutex.h"
#include "lsm/key.h"
#include "lsm/table/table_builder.h"

namespace terracefs::lsm {

// Numbers of tables that no version and no reader holds any more; the purge empties it.
// Thread-safe.
class ObsoleteTables {
 public:
  void Push(FileNumber number) EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    numbers_.push_back(number);
  }
  std::vector<FileNumber> TakeAll() EXCLUDES(mutex_) {
    io::MutexLock lock(mutex_);
    return std::exchange(numbers_, {});
  }

 private:
  io::Mutex mutex_;
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
  std::shared_ptr<ObsoleteTables> obsolete;

  FileMeta() = default;
  FileMeta(const FileMeta&) = delete;
  FileMeta& operator=(const FileMeta&) = delete;
  ~FileMeta() {
    if (removed.load(std::memory_order_acquire) && obsolete) obsolete->Push(number);
  }

  std::string_view smallest_user_key() const { return UserKey(info.smallest); }
  std::string_view largest_user_key() const { return UserKey(info.largest); }
};

using FileRef = std::shared_ptr<FileMeta>;

}  // namespace terracefs::lsm
