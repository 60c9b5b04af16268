#pragma once

#include <list>
#include <memory>
#include <unordered_map>

#include "io/base/mutex.h"
#include "io/storage.h"
#include "lsm/table/table_reader.h"

namespace terracefs::lsm {

// Open tables by number. Opening happens at most once at a time per table. Beyond `open_count_max`
// those that were not asked for the longest are closed, unless somebody still reads them: a file
// descriptor and the memory of index and filter are what an open table costs. Safe from any thread.
class TableCache {
 public:
  TableCache(io::Storage& storage, BlockCache& blocks, size_t open_count_max)
      : storage_(storage), blocks_(blocks), open_count_max_(open_count_max) {}

  // With `may_wait` false and the table not open yet: WouldBlock.
  io::Result<std::shared_ptr<TableReader>> Get(FileNumber number, bool may_wait = true)
      EXCLUDES(mutex_);
  // Forgets a table that is about to be removed.
  void Evict(FileNumber number) EXCLUDES(mutex_);
  size_t open_count() const EXCLUDES(mutex_);

 private:
  struct Entry {
    std::shared_ptr<TableReader> table;     // null: being opened by somebody
    std::list<FileNumber>::iterator place;  // in by_use_, once it is open
  };
  // Takes what is too many out of the cache, for the caller to close without the lock.
  std::vector<std::shared_ptr<TableReader>> TakeSurplusLocked() REQUIRES(mutex_);

  io::Storage& storage_;
  BlockCache& blocks_;
  const size_t open_count_max_;
  mutable io::Mutex mutex_;
  io::CondVar opened_;
  std::unordered_map<FileNumber, Entry> tables_ GUARDED_BY(mutex_);
  std::list<FileNumber> by_use_ GUARDED_BY(mutex_);  // last used first
};

}  // namespace terracefs::lsm
