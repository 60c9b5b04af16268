#include "lsm/table/table_cache.h"

#include "lsm/file_names.h"

namespace terracefs::lsm {
namespace {

io::Result<std::shared_ptr<TableReader>> OpenTable(io::Storage& storage, BlockCache& blocks,
                                                   FileNumber number) {
  const std::string name = FileName(FileKind::kTable, number);
  io::OpenOptions options;
  options.direct = true;
  auto file = storage.Open(name, options);
  // A table that is asked for is one that a version names. That it is missing is damage; NotFound
  // would look as if the key in question did not exist.
  if (!file.ok() && file.status().Is(io::StatusCode::kNotFound)) {
    return io::Status::Corruption("table is missing", name);
  }
  if (!file.ok()) return std::move(file).status();
  return TableReader::Open(std::move(file).value(), number, &blocks);
}

}  // namespace

io::Result<std::shared_ptr<TableReader>> TableCache::Get(FileNumber number, bool may_wait) {
  io::MutexLock lock(mutex_);
  for (;;) {
    const auto found = tables_.find(number);
    if (found != tables_.end() && found->second != nullptr) return found->second;
    if (!may_wait) return io::Status::WouldBlock();
    if (found == tables_.end()) break;
    opened_.Wait(mutex_);
  }
  tables_.emplace(number, nullptr);
  lock.Unlock();
  auto opened = OpenTable(storage_, blocks_, number);
  lock.Lock();
  // Evict may have removed our entry meanwhile, and another opener may have made its own.
  const auto entry = tables_.find(number);
  if (entry != tables_.end() && entry->second == nullptr) {
    if (opened.ok()) {
      entry->second = *opened;
    } else {
      tables_.erase(entry);  // those who wait try for themselves, and get their own error
    }
  }
  opened_.NotifyAll();
  return opened;
}

void TableCache::Evict(FileNumber number) {
  std::shared_ptr<TableReader> evicted;  // closed after the lock is let go
  io::MutexLock lock(mutex_);
  const auto found = tables_.find(number);
  if (found != tables_.end()) {
    evicted = std::move(found->second);
    tables_.erase(found);
  }
  opened_.NotifyAll();
}

}  // namespace terracefs::lsm
