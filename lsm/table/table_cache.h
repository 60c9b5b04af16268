#pragma once

#include <memory>
#include <unordered_map>

#include "io/base/mutex.h"
#include "io/storage.h"
#include "lsm/table/table_reader.h"

namespace terracefs::lsm {

// Open tables by number. Opening happens at most once at a time per table. Safe from any thread.
class TableCache {
 public:
  TableCache(io::Storage& storage, BlockCache& blocks) : storage_(storage), blocks_(blocks) {}

  // With `may_wait` false and the table not open yet: WouldBlock.
  io::Result<std::shared_ptr<TableReader>> Get(FileNumber number, bool may_wait = true)
      EXCLUDES(mutex_);
  // Forgets a table that is about to be removed.
  void Evict(FileNumber number) EXCLUDES(mutex_);

 private:
  io::Storage& storage_;
  BlockCache& blocks_;
  io::Mutex mutex_;
  io::CondVar opened_;
  // A null entry is being opened by somebody.
  std::unordered_map<FileNumber, std::shared_ptr<TableReader>> tables_ GUARDED_BY(mutex_);
};

}  // namespace terracefs::lsm
