#include "lsm/values/value_files.h"

#include "io/base/check.h"
#include "lsm/file_names.h"
#include "lsm/values/value_reader.h"

namespace terracefs::lsm {

ValueFile::ValueFile(ValueFiles* files, FileNumber number) : files_(files), number_(number) {}

ValueFile::~ValueFile() { files_->LastHolderGone(number_, bytes()); }

ValueFiles::ValueFiles(io::Storage& storage, size_t open_count_max)
    : storage_(storage), open_count_max_(open_count_max) {}

ValueFiles::~ValueFiles() {
  io::MutexLock lock(mutex_);
  CHECK(files_.empty());
}

// ---- Who they are

ValueFileRef ValueFiles::Add(FileNumber number, uint64_t bytes) {
  auto file = std::make_shared<ValueFile>(this, number);
  file->set_bytes(bytes);
  io::MutexLock lock(mutex_);
  CHECK(!obsolete_.contains(number));
  CHECK(files_.emplace(number, file).second);
  return file;
}

ValueFileRef ValueFiles::Find(FileNumber number) const {
  io::MutexLock lock(mutex_);
  const auto found = files_.find(number);
  return found == files_.end() ? nullptr : found->second.lock();
}

std::vector<ValueFileRef> ValueFiles::All() const {
  std::vector<ValueFileRef> all;
  io::MutexLock lock(mutex_);
  all.reserve(files_.size());
  for (const auto& [number, weak] : files_) {
    if (ValueFileRef file = weak.lock()) all.push_back(std::move(file));
  }
  return all;
}

void ValueFiles::LastHolderGone(FileNumber number, uint64_t bytes) {
  io::MutexLock lock(mutex_);
  files_.erase(number);
  if (!collecting_) return;
  obsolete_.insert(number);
  untaken_.push_back({number, bytes});
}

std::vector<ValueFiles::Obsolete> ValueFiles::TakeObsolete() {
  std::vector<std::shared_ptr<io::File>> closed;  // after the lock is let go
  io::MutexLock lock(mutex_);
  for (const Obsolete& file : untaken_) {
    const auto found = handles_.find(file.number);
    if (found == handles_.end()) continue;
    if (found->second.file != nullptr) by_use_.erase(found->second.place);
    closed.push_back(std::move(found->second.file));
    handles_.erase(found);
  }
  opened_.NotifyAll();
  return std::exchange(untaken_, {});
}

bool ValueFiles::IsObsolete(FileNumber number) const {
  io::MutexLock lock(mutex_);
  return obsolete_.contains(number);
}

void ValueFiles::Forget(FileNumber number) {
  io::MutexLock lock(mutex_);
  obsolete_.erase(number);
}

void ValueFiles::StopCollecting() {
  io::MutexLock lock(mutex_);
  collecting_ = false;
}

// ---- Reading

void ValueFiles::SetPagesInFlight(PagesInFlight* in_flight) {
  in_flight_.store(in_flight, std::memory_order_release);
}

io::Status ValueFiles::Read(std::span<ReadItem> items, const ReadSettings& settings) {
  ValueReader reader(items, settings, in_flight_.load(std::memory_order_acquire),
                     [this](FileNumber number) { return Open(number); });
  return reader.Read();
}

size_t ValueFiles::open_count() const {
  io::MutexLock lock(mutex_);
  return by_use_.size();
}

io::Result<std::shared_ptr<io::File>> ValueFiles::Open(FileNumber number) {
  std::vector<std::shared_ptr<io::File>> surplus;  // closed after the lock is let go
  io::MutexLock lock(mutex_);
  for (;;) {
    const auto found = handles_.find(number);
    if (found == handles_.end()) break;
    if (found->second.file != nullptr) {
      by_use_.splice(by_use_.begin(), by_use_, found->second.place);
      return found->second.file;
    }
    opened_.Wait(mutex_);
  }
  handles_.emplace(number, Handle());
  lock.Unlock();
  const std::string name = FileName(FileKind::kBlob, number);
  io::OpenOptions options;
  options.direct = true;
  auto opened = storage_.Open(name, options);
  lock.Lock();
  // Only the opener of a file that became obsolete meanwhile finds that its entry is gone.
  const auto entry = handles_.find(number);
  const bool is_wanted = entry != handles_.end() && entry->second.file == nullptr;
  opened_.NotifyAll();
  if (!opened.ok()) {
    // Those who wait try for themselves, and get their own error.
    if (is_wanted) handles_.erase(entry);
    // Somebody refers to it. NotFound would look as if a key did not exist.
    if (!opened.status().Is(io::StatusCode::kNotFound)) return std::move(opened).status();
    return io::Status::Corruption("value file is missing", name);
  }
  std::shared_ptr<io::File> file = std::move(opened).value();
  if (is_wanted) {
    by_use_.push_front(number);
    entry->second = {file, by_use_.begin()};
    surplus = TakeSurplusLocked();
  }
  return file;
}

// Whoever reads one of them keeps it open until it is done.
std::vector<std::shared_ptr<io::File>> ValueFiles::TakeSurplusLocked() {
  std::vector<std::shared_ptr<io::File>> surplus;
  while (by_use_.size() > open_count_max_) {
    const auto entry = handles_.find(by_use_.back());
    surplus.push_back(std::move(entry->second.file));
    handles_.erase(entry);
    by_use_.pop_back();
  }
  return surplus;
}

}  // namespace terracefs::lsm
