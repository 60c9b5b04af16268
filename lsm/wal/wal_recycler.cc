#include "lsm/wal/wal_recycler.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "io/aligned_buffer.h"
#include "io/base/check.h"
#include "io/base/log.h"
#include "io/base/units.h"
#include "lsm/file_names.h"
#include "lsm/wal/wal_format.h"

namespace terracefs::lsm {
namespace {

// At a low rate one write waits for the limiter this long at most: 256 KiB / a tenth of the rate.
constexpr uint64_t kZeroWriteBytes = 256 * io::kKiB;

std::string LogName(FileNumber number) { return FileName(FileKind::kLog, number); }

}  // namespace

WalRecycler::WalRecycler(io::Storage& storage, uint64_t log_file_bytes,
                         std::function<FileNumber()> new_file_number, io::RateLimiter* limiter)
    : storage_(storage),
      log_bytes_max_(io::RoundUp(log_file_bytes, kWalBlockBytes)),
      file_bytes_(std::min(log_bytes_max_, kLogBytesFirst)),
      new_file_number_(std::move(new_file_number)),
      limiter_(limiter) {}

io::Status WalRecycler::Prepare(NewFile kind) {
  // Who cannot wait for zeros to be written does not wait for somebody else's either; of two logs
  // made at a time one becomes a spare.
  if (kind != NewFile::kWrittenOut) return PrepareOnce(kind);
  io::MutexLock prepare_lock(prepare_mutex_);
  return PrepareOnce(kind);
}

io::Status WalRecycler::PrepareOnce(NewFile kind) {
  // A second round is due only if another log overtook the first; it then finds the first round's
  // log among the spares, so it is quick.
  while (true) {
    {
      io::MutexLock lock(mutex_);
      if (ready_.file != nullptr) return io::Status::Ok();
      if (kind == NewFile::kNone && spares_.empty()) return io::Status::Ok();
    }
    ReadyLog log = TRY(MakeLog(kind));
    bool kept = true;
    {
      io::MutexLock lock(mutex_);
      EndPreparationLocked(log.number);
      if (log.number > last_taken_ && ready_.file == nullptr) {
        ready_ = std::move(log);
        return io::Status::Ok();
      }
      kept = KeepLocked({log.number, log.bytes});
    }
    log.file.reset();
    if (!kept) DropLog(log.number);
  }
}

bool WalRecycler::has_ready() const {
  io::MutexLock lock(mutex_);
  return ready_.file != nullptr;
}

void WalRecycler::Stop() { stopped_.store(true, std::memory_order_relaxed); }

void WalRecycler::ReleaseSpace() {
  interrupts_.fetch_add(1, std::memory_order_relaxed);
  ReadyLog ready;
  std::vector<Log> spares;
  {
    io::MutexLock lock(mutex_);
    ready = std::exchange(ready_, ReadyLog());
    spares.swap(spares_);
  }
  if (ready.file != nullptr) spares.push_back({ready.number, ready.bytes});
  ready.file.reset();
  for (const Log& spare : spares) DropLog(spare.number);
}

void WalRecycler::NoteUse(uint64_t used_bytes, uint64_t log_bytes) {
  io::MutexLock lock(mutex_);
  // What would have used more is not known: the next one is given twice as much.
  const bool was_full = used_bytes + kLogBytesStep / 4 > log_bytes;
  uses_.push_back(was_full ? 2 * log_bytes : used_bytes);
  if (uses_.size() > kUsesRemembered) uses_.pop_front();
  const uint64_t most = *std::max_element(uses_.begin(), uses_.end());
  const uint64_t wanted = io::RoundUp(most, kLogBytesStep) + kLogBytesStep;
  file_bytes_.store(std::min(std::max(wanted, kLogBytesMin), log_bytes_max_),
                    std::memory_order_relaxed);
}

io::Result<WalRecycler::ReadyLog> WalRecycler::Take() {
  {
    io::MutexLock lock(mutex_);
    if (ready_.file != nullptr) {
      last_taken_ = ready_.number;
      return std::exchange(ready_, ReadyLog());
    }
  }
  ReadyLog log = TRY(MakeLog(NewFile::kAllocated));
  ReadyLog overtaken;
  bool kept = true;
  {
    io::MutexLock lock(mutex_);
    EndPreparationLocked(log.number);
    last_taken_ = std::max(last_taken_, log.number);
    if (ready_.file != nullptr && ready_.number < last_taken_) {
      overtaken = std::exchange(ready_, ReadyLog());
      kept = KeepLocked({overtaken.number, overtaken.bytes});
    }
  }
  overtaken.file.reset();
  if (!kept) DropLog(overtaken.number);
  return log;
}

io::Result<WalRecycler::ReadyLog> WalRecycler::MakeLog(NewFile kind) {
  const FileNumber number = new_file_number_();
  std::optional<Log> spare;
  std::vector<Log> unfit;
  {
    io::MutexLock lock(mutex_);
    std::erase_if(spares_, [&](const Log& log) {
      if (log.bytes == file_bytes()) return false;
      unfit.push_back(log);
      return true;
    });
    // Before the file exists, so that nobody who lists the directory takes it for obsolete. The
    // spare stays in its list's stead here until it has its new name.
    in_preparation_.push_back(number);
    if (!spares_.empty()) {
      spare = spares_.back();
      spares_.pop_back();
      in_preparation_.push_back(spare->number);
    }
  }
  for (const Log& log : unfit) DropLog(log.number);
  // A spare that somebody else took meanwhile is replaced by a file that is quick to make.
  if (kind == NewFile::kNone) kind = NewFile::kAllocated;
  io::Result<ReadyLog> log = spare ? RenameSpare(*spare, number) : CreateLog(number, kind);
  io::MutexLock lock(mutex_);
  if (spare) EndPreparationLocked(spare->number);
  if (!log.ok()) EndPreparationLocked(number);
  return log;
}

io::Result<WalRecycler::ReadyLog> WalRecycler::RenameSpare(Log spare, FileNumber number) {
  const io::Status renamed = storage_.Rename(LogName(spare.number), LogName(number));
  if (!renamed.ok()) {
    // A spare that is gone is forgotten; any other is kept for the next try.
    if (!renamed.Is(io::StatusCode::kNotFound)) {
      io::MutexLock lock(mutex_);
      spares_.push_back(spare);
    }
    return renamed;
  }
  // The file may bear either name after a crash until the directory is synced: no harm before
  // somebody relies on what is in it.
  const io::Status synced = storage_.SyncDirectory();
  io::Result<std::unique_ptr<io::File>> file =
      synced.ok() ? storage_.Open(LogName(number), {.write = true, .direct = true})
                  : io::Result<std::unique_ptr<io::File>>(synced);
  if (!file.ok()) {
    io::MutexLock lock(mutex_);
    spares_.push_back({number, spare.bytes});
    return std::move(file).status();
  }
  return ReadyLog{number, std::move(file).value(), spare.bytes};
}

io::Result<WalRecycler::ReadyLog> WalRecycler::CreateLog(FileNumber number, NewFile kind) {
  // Exclusive: a file of that number would be somebody's log.
  std::unique_ptr<io::File> file = TRY(storage_.Open(
      LogName(number), {.write = true, .create = true, .exclusive = true, .direct = true}));
  const uint64_t bytes = file_bytes();
  const io::Status filled = FillNewFile(*file, kind, bytes);
  if (!filled.ok()) {
    file.reset();
    DropLog(number);
    return filled;
  }
  return ReadyLog{number, std::move(file), bytes};
}

io::Status WalRecycler::FillNewFile(io::File& file, NewFile kind, uint64_t bytes) {
  // Space first: if it is not to be had, better to know before writing half of it.
  TRY(file.Allocate(bytes));
  if (kind == NewFile::kWrittenOut) TRY(WriteOut(file, bytes));
  TRY(file.Sync());
  return storage_.SyncDirectory();
}

io::Status WalRecycler::WriteOut(io::File& file, uint64_t file_bytes) {
  const uint64_t interrupts = interrupts_.load(std::memory_order_relaxed);
  io::AlignedBuffer zeros(std::min(kZeroWriteBytes, file_bytes));
  std::memset(zeros.data(), 0, zeros.capacity());
  for (uint64_t offset = 0; offset < file_bytes;) {
    uint64_t bytes = std::min(kZeroWriteBytes, file_bytes - offset);
    if (limiter_ != nullptr) {
      bytes = std::min(bytes,
                       limiter_->RequestBytesMax() / io::kDirectAlignment * io::kDirectAlignment);
    }
    if (limiter_ != nullptr) limiter_->Acquire(bytes, io::IoPriority::kLogFile);
    if (stopped_.load(std::memory_order_relaxed) ||
        interrupts_.load(std::memory_order_relaxed) != interrupts) {
      return io::Status::ShuttingDown();
    }
    TRY(file.Write(offset, {zeros.data(), bytes}));
    offset += bytes;
  }
  return io::Status::Ok();
}

io::Status WalRecycler::Recycle(FileNumber number) {
  const std::string name = LogName(number);
  bool wanted = false;
  uint64_t bytes = 0;
  {
    io::MutexLock lock(mutex_);
    wanted = spares_.size() < kSpareCountMax;
  }
  if (wanted) {
    // A log that was cut short or outgrew its size is no better than a new file, or wastes space.
    io::Result<std::unique_ptr<io::File>> opened = storage_.Open(name, {.direct = true});
    if (!opened.ok() && opened.status().Is(io::StatusCode::kNotFound)) return io::Status::Ok();
    const std::unique_ptr<io::File> file = TRY(std::move(opened));
    bytes = TRY(file->SizeBytes());
    wanted = bytes == file_bytes();
  }
  if (wanted) {
    io::MutexLock lock(mutex_);
    if (KeepLocked({number, bytes})) return io::Status::Ok();
  }
  const io::Status removed = storage_.Remove(name);
  return removed.Is(io::StatusCode::kNotFound) ? io::Status::Ok() : removed;
}

std::vector<FileNumber> WalRecycler::KeptNumbers() const {
  io::MutexLock lock(mutex_);
  std::vector<FileNumber> numbers;
  for (const Log& spare : spares_) numbers.push_back(spare.number);
  numbers.insert(numbers.end(), in_preparation_.begin(), in_preparation_.end());
  if (ready_.file != nullptr) numbers.push_back(ready_.number);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

bool WalRecycler::KeepLocked(Log log) {
  const auto is_it = [&](const Log& spare) { return spare.number == log.number; };
  if (std::any_of(spares_.begin(), spares_.end(), is_it)) return true;
  if (spares_.size() >= kSpareCountMax) return false;
  spares_.push_back(log);
  return true;
}

void WalRecycler::EndPreparationLocked(FileNumber number) {
  const auto position = std::find(in_preparation_.begin(), in_preparation_.end(), number);
  CHECK(position != in_preparation_.end());
  in_preparation_.erase(position);
}

void WalRecycler::DropLog(FileNumber number) {
  const io::Status removed = storage_.Remove(LogName(number));
  if (!removed.ok()) {
    // Not lost: it is in nobody's list, so the next look for obsolete files finds it.
    io::LsmLog().warn("unused log {} not removed: {}", number, removed.ToString());
  }
}

}  // namespace terracefs::lsm
