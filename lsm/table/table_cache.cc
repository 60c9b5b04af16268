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
  std::vector<std::shared_ptr<TableReader>> surplus;  // closed after the lock is let go
  io::MutexLock lock(mutex_);
  for (;;) {
    const auto found = tables_.find(number);
    if (found != tables_.end() && found->second.table != nullptr) {
      by_use_.splice(by_use_.begin(), by_use_, found->second.place);
      return found->second.table;
    }
    if (!may_wait) return io::Status::WouldBlock();
    if (found == tables_.end()) break;
    opened_.Wait(mutex_);
  }
  tables_.emplace(number, Entry());
  lock.Unlock();
  auto opened = OpenTable(storage_, blocks_, number);
  lock.Lock();
  // Evict may have removed our entry meanwhile, and another opener may have made its own.
  const auto entry = tables_.find(number);
  if (entry != tables_.end() && entry->second.table == nullptr) {
    if (opened.ok()) {
      by_use_.push_front(number);
      entry->second = {*opened, by_use_.begin()};
      surplus = TakeSurplusLocked();
    } else {
      tables_.erase(entry);  // those who wait try for themselves, and get their own error
    }
  }
  opened_.NotifyAll();
  return opened;
}

std::vector<std::shared_ptr<TableReader>> TableCache::TakeSurplusLocked() {
  std::vector<std::shared_ptr<TableReader>> surplus;
  auto next = by_use_.end();
  while (by_use_.size() > open_count_max_ && next != by_use_.begin()) {
    const auto place = std::prev(next);
    const auto entry = tables_.find(*place);
    // Nobody else can take a reference while the lock is held.
    if (entry->second.table.use_count() > 1) {
      next = place;
      continue;
    }
    surplus.push_back(std::move(entry->second.table));
    tables_.erase(entry);
    by_use_.erase(place);
  }
  return surplus;
}

void TableCache::Evict(FileNumber number) {
  std::shared_ptr<TableReader> evicted;  // closed after the lock is let go
  io::MutexLock lock(mutex_);
  const auto found = tables_.find(number);
  if (found != tables_.end()) {
    if (found->second.table != nullptr) by_use_.erase(found->second.place);
    evicted = std::move(found->second.table);
    tables_.erase(found);
  }
  opened_.NotifyAll();
}

size_t TableCache::open_count() const {
  io::MutexLock lock(mutex_);
  return by_use_.size();
}

}  // namespace terracefs::lsm
