#include "lsm/values/value_log.h"

#include <algorithm>
#include <cstring>

#include "io/aligned_buffer.h"
#include "io/base/check.h"
#include "io/base/units.h"
#include "lsm/file_names.h"
#include "lsm/values/record_codec.h"

namespace terracefs::lsm {
namespace {

constexpr size_t kBufferPages = ValueLog::kBufferBytes / kValuePageBytes;
static_assert(kBufferPages >= kRecordPagesMax);
// Room is made, and memory taken, for so much of an Append at a time.
constexpr uint64_t kChunkBytes = 4 * io::kMiB;

// No more than a full file, so that none gets much larger.
size_t ChunkPages(uint64_t full_bytes) {
  const size_t pages = std::min(kChunkBytes, full_bytes) / kValuePageBytes;
  return std::max(pages / kRecordPagesMax, size_t{1}) * kRecordPagesMax;
}

uint64_t AllocationTarget(uint64_t end_bytes, uint64_t full_bytes) {
  const uint64_t step_end = io::RoundUp(end_bytes, ValueLog::kAllocationBytes);
  const uint64_t full = io::RoundUp(std::min(full_bytes, step_end), kValuePageBytes);
  return std::max(end_bytes, full);
}

}  // namespace

// What is not const is guarded by the log's lock.
struct ValueLog::LogFile {
  ValueFileRef holder;
  std::unique_ptr<io::File> file;
  uint64_t page_count = 0;  // appended
  uint64_t allocated_bytes = 0;
  size_t unwritten_count = 0;  // buffers whose write is not over
  bool ended = false;          // nothing is appended any more
  bool cut = false;            // nothing is changed any more
  io::Status cut_status;
  bool syncing = false;
  uint64_t change_count = 0;  // writes and cuts that are done
  uint64_t synced_count = 0;  // of these, on stable storage

  uint64_t bytes() const { return page_count * kValuePageBytes; }
  bool IsSettled() const { return ended && cut && synced_count == change_count; }
};

struct ValueLog::Buffer {
  Buffer(LogFile& log_file, uint64_t buffer_id)
      : file(log_file),
        number(log_file.holder->number()),
        first_page(log_file.page_count),
        id(buffer_id) {}

  LogFile& file;  // good until the buffer is written; readers may hold the buffer longer
  const FileNumber number;
  const uint64_t first_page;  // of the file
  const uint64_t id;
  const io::AlignedBuffer memory{kBufferBytes};
  // Guarded by the log's lock.
  size_t page_count = 0;
  size_t copier_count = 0;  // appends that have places in it and still copy
  bool sealed = false;      // gets no more places

  std::byte* page(size_t index) const { return memory.data() + index * kValuePageBytes; }
};

ValueLog::ValueLog(io::Storage& storage, ValueFiles& files,
                   std::function<FileNumber()> new_file_number,
                   std::function<uint64_t()> full_file_bytes)
    : storage_(storage),
      value_files_(files),
      new_file_number_(std::move(new_file_number)),
      full_file_bytes_(std::move(full_file_bytes)),
      // Submit is called under the lock, so it must never wait for room.
      writers_("values", kWriterCount, SIZE_MAX) {}

ValueLog::~ValueLog() {
  io::MutexLock lock(mutex_);
  if (open_ != nullptr) SealOpenLocked();
  while (unwritten_count_ > 0) changed_.Wait(mutex_);
  if (active_ != nullptr) CutLocked(*active_);
}

// ---- Appending

io::Result<ValueLog::Appended> ValueLog::Append(std::span<const std::string_view> pages,
                                                int zstd_level) {
  Appended appended;
  appended.references.reserve(pages.size());
  while (!pages.empty()) {
    const uint64_t full_bytes = full_file_bytes_();
    const size_t count = std::min(pages.size(), ChunkPages(full_bytes));
    TRY(AppendChunk(pages.first(count), zstd_level, full_bytes, &appended));
    pages = pages.subspan(count);
  }
  return appended;
}

// All of it goes to one file.
io::Status ValueLog::AppendChunk(std::span<const std::string_view> pages, int zstd_level,
                                 uint64_t full_bytes, Appended* appended) {
  const std::vector<ValueRecord> records = MakeValueRecords(pages, zstd_level);
  uint64_t stored_bytes = 0;
  for (const ValueRecord& record : records) stored_bytes += record.stored_pages() * kValuePageBytes;
  Placement placement;
  placement.places.reserve(records.size());
  {
    io::MutexLock lock(mutex_);
    TRY(MakeRoomLocked(stored_bytes, full_bytes));
    for (const ValueRecord& record : records) PlaceLocked(record.stored_pages(), &placement);
    placement.holder = active_->holder;
    placement.holder->set_bytes(active_->bytes());
    spare_bytes_.fetch_sub(stored_bytes, std::memory_order_relaxed);
    change_count_.fetch_add(1, std::memory_order_release);
  }
  for (size_t i = 0; i < records.size(); ++i) {
    const auto [buffer, page] = placement.places[i];
    const auto record_pages = pages.first(records[i].page_count);
    const std::string_view bytes = records[i].Bytes(record_pages);
    std::memcpy(buffer->page(page), bytes.data(), bytes.size());
    AppendReferences(records[i], record_pages, buffer->number, buffer->first_page + page,
                     &appended->references);
    pages = pages.subspan(record_pages.size());
  }
  ReleaseCopiers(placement.buffers);
  if (appended->holders.empty() || appended->holders.back() != placement.holder) {
    appended->holders.push_back(std::move(placement.holder));
  }
  return io::Status::Ok();
}

void ValueLog::PlaceLocked(size_t pages, Placement* placement) {
  if (open_ != nullptr && open_->page_count + pages > kBufferPages) SealOpenLocked();
  if (open_ == nullptr) OpenBufferLocked();
  Buffer& buffer = *open_;
  if (placement->buffers.empty() || placement->buffers.back() != open_) {
    placement->buffers.push_back(open_);
    ++buffer.copier_count;
  }
  placement->places.push_back({&buffer, buffer.page_count});
  buffer.page_count += pages;
  active_->page_count += pages;
  if (buffer.page_count == kBufferPages) SealOpenLocked();
}

void ValueLog::OpenBufferLocked() {
  open_ = std::make_shared<Buffer>(*active_, ++last_buffer_);
  in_flight_.push_back(open_);
  NoteOldestLocked();
  ++unwritten_count_;
  ++active_->unwritten_count;
}

void ValueLog::SealOpenLocked() {
  const BufferPtr buffer = std::move(open_);
  open_ = nullptr;
  buffer->sealed = true;
  if (buffer->copier_count == 0) EnqueueLocked(buffer);
}

void ValueLog::EnqueueLocked(const BufferPtr& buffer) {
  queue_.push_back(buffer);
  queued_count_.store(queue_.size(), std::memory_order_relaxed);
  writers_.Submit([this] { WriteQueued(); });
}

void ValueLog::ReleaseCopiers(const std::vector<BufferPtr>& buffers) {
  io::MutexLock lock(mutex_);
  for (const BufferPtr& buffer : buffers) {
    if (--buffer->copier_count == 0 && buffer->sealed) EnqueueLocked(buffer);
  }
}

bool ValueLog::ReadInFlight(FileNumber file, uint64_t page, std::byte* out) {
  if (file < oldest_in_flight_.load(std::memory_order_acquire)) return false;
  BufferPtr found;
  {
    io::MutexLock lock(mutex_);
    for (const BufferPtr& buffer : in_flight_) {
      if (buffer->number != file || page < buffer->first_page ||
          page - buffer->first_page >= buffer->page_count) {
        continue;
      }
      found = buffer;
      break;
    }
  }
  if (found == nullptr) return false;
  std::memcpy(out, found->page(page - found->first_page), kValuePageBytes);
  return true;
}

void ValueLog::NoteOldestLocked() {
  FileNumber oldest = UINT64_MAX;
  for (const BufferPtr& buffer : in_flight_) oldest = std::min(oldest, buffer->number);
  oldest_in_flight_.store(oldest, std::memory_order_release);
}

// ---- Files

// Returns when the active file has room for `bytes` and is not full.
io::Status ValueLog::MakeRoomLocked(uint64_t bytes, uint64_t full_bytes) {
  for (;;) {
    if (!error_.ok()) return error_;
    if (queue_.size() >= 2 * kQueuedBuffersStall) {
      changed_.Wait(mutex_);
      continue;
    }
    const bool is_full =
        active_ != nullptr && active_->page_count > 0 && active_->bytes() >= full_bytes;
    if (active_ != nullptr && !is_full && active_->bytes() + bytes <= active_->allocated_bytes) {
      return io::Status::Ok();
    }
    if (making_room_) {
      changed_.Wait(mutex_);
      continue;
    }
    if (is_full) EndActiveLocked();
    making_room_ = true;
    io::Status status =
        active_ == nullptr ? CreateFileLocked(bytes, full_bytes) : ExtendLocked(bytes, full_bytes);
    making_room_ = false;
    changed_.NotifyAll();
    if (!status.ok()) return status;
  }
}

io::Status ValueLog::ExtendLocked(uint64_t bytes, uint64_t full_bytes) {
  const LogFilePtr file = active_;
  const uint64_t target = AllocationTarget(file->bytes() + bytes, full_bytes);
  mutex_.Unlock();
  io::Status status = file->file->Allocate(target);
  mutex_.Lock();
  if (!status.ok()) return status;
  spare_bytes_.fetch_add(target - file->allocated_bytes, std::memory_order_relaxed);
  file->allocated_bytes = target;
  return status;
}

io::Status ValueLog::CreateFileLocked(uint64_t bytes, uint64_t full_bytes) {
  mutex_.Unlock();
  io::Result<LogFilePtr> created = CreateFile(bytes, full_bytes);
  mutex_.Lock();
  active_ = TRY(std::move(created));
  active_file_.store(active_->holder->number(), std::memory_order_relaxed);
  files_.push_back(active_);
  ++created_count_;
  spare_bytes_.fetch_add(active_->allocated_bytes, std::memory_order_relaxed);
  return io::Status::Ok();
}

io::Result<ValueLog::LogFilePtr> ValueLog::CreateFile(uint64_t bytes, uint64_t full_bytes) {
  const FileNumber number = new_file_number_();
  const std::string name = FileName(FileKind::kBlob, number);
  io::OpenOptions options;
  options.write = true;
  options.create = true;
  options.exclusive = true;
  options.direct = true;
  auto made = std::make_shared<LogFile>();
  // Known before it is there: whoever lists the directory must not take it for nobody's.
  made->holder = value_files_.Add(number, 0);
  made->file = TRY(storage_.Open(name, options));
  made->allocated_bytes = AllocationTarget(bytes, full_bytes);
  if (io::Status status = made->file->Allocate(made->allocated_bytes); !status.ok()) {
    made->file.reset();
    storage_.Remove(name).IgnoreError("nobody refers to it; the next open removes it");
    return status;
  }
  return made;
}

// Nobody makes room for the file meanwhile.
void ValueLog::EndActiveLocked() {
  if (open_ != nullptr) SealOpenLocked();
  LogFile* const file = active_.get();  // good until it is cut
  active_ = nullptr;
  active_file_.store(0, std::memory_order_relaxed);
  file->ended = true;
  change_count_.fetch_add(1, std::memory_order_release);
  // Otherwise whoever writes its last buffer does it.
  if (file->unwritten_count > 0) return;
  writers_.Submit([this, file] {
    io::MutexLock lock(mutex_);
    CutLocked(*file);
  });
}

// Once per file, when all of it is written.
void ValueLog::CutLocked(LogFile& file) {
  const uint64_t bytes = file.bytes();
  if (error_.ok() && bytes < file.allocated_bytes) {
    mutex_.Unlock();
    io::Status status = file.file->Truncate(bytes);
    mutex_.Lock();
    if (status.ok()) {
      spare_bytes_.fetch_sub(file.allocated_bytes - bytes, std::memory_order_relaxed);
      file.allocated_bytes = bytes;
      ++file.change_count;
    }
    file.cut_status = std::move(status);
  }
  file.cut = true;
  changed_.NotifyAll();
}

void ValueLog::WaitForCutLocked(const LogFile& file) {
  while (error_.ok() && !file.cut) changed_.Wait(mutex_);
}

io::Status ValueLog::EndFile() {
  std::vector<LogFilePtr> files;  // let go of without the lock
  io::MutexLock lock(mutex_);
  while (making_room_) changed_.Wait(mutex_);
  if (!error_.ok()) return error_;
  if (active_ != nullptr) EndActiveLocked();
  for (const LogFilePtr& file : files_) {
    if (file->ended) files.push_back(file);
  }
  io::Status status;
  for (const LogFilePtr& file : files) {
    WaitForCutLocked(*file);
    if (!error_.ok()) return error_;
    if (status.ok()) status = file->cut_status;
  }
  return status;
}

// ---- Writing

void ValueLog::WriteQueued() {
  BufferPtr buffer;  // let go of without the lock
  io::MutexLock lock(mutex_);
  CHECK(!queue_.empty());
  buffer = std::move(queue_.front());
  queue_.pop_front();
  queued_count_.store(queue_.size(), std::memory_order_relaxed);
  changed_.NotifyAll();
  WriteLocked(buffer);
  if (unsynced_bytes_ < kUnsyncedBytesMax || background_syncing_) return;
  background_syncing_ = true;
  unsynced_bytes_ = 0;
  // None is held longer than it takes: who waits for it to be synced wants to see it go.
  std::vector<LogFilePtr> files = files_;
  for (LogFilePtr& file : files) {
    SyncFileLocked(*file);
    file.reset();
  }
  background_syncing_ = false;
}

// A buffer stays in flight until its bytes can be read from the file: for ever, if that failed.
void ValueLog::WriteLocked(const BufferPtr& buffer) {
  LogFile& file = buffer->file;
  const size_t bytes = buffer->page_count * kValuePageBytes;
  mutex_.Unlock();
  const io::Status status =
      file.file->Write(buffer->first_page * kValuePageBytes, buffer->memory.span().first(bytes));
  mutex_.Lock();
  if (status.ok()) {
    RemoveInFlightLocked(buffer);
    ++file.change_count;
    unsynced_bytes_ += bytes;
    bytes_written_.fetch_add(bytes, std::memory_order_relaxed);
  } else {
    SetErrorLocked(status);
  }
  --unwritten_count_;
  --file.unwritten_count;
  changed_.NotifyAll();
  if (file.ended && file.unwritten_count == 0) CutLocked(file);
}

void ValueLog::RemoveInFlightLocked(const BufferPtr& buffer) {
  in_flight_.erase(std::find(in_flight_.begin(), in_flight_.end(), buffer));
  NoteOldestLocked();
}

io::Status ValueLog::WaitForBuffers() {
  io::MutexLock lock(mutex_);
  while (error_.ok() && queue_.size() >= kQueuedBuffersStall) changed_.Wait(mutex_);
  return error_;
}

void ValueLog::SetErrorLocked(const io::Status& error) {
  if (!error_.ok()) return;
  error_ = error;
  change_count_.fetch_add(1, std::memory_order_release);
  changed_.NotifyAll();
  sync_done_.NotifyAll();
}

// ---- Syncing

io::Status ValueLog::Sync() {
  if (synced_count_.load(std::memory_order_acquire) ==
      change_count_.load(std::memory_order_acquire)) {
    return io::Status::Ok();
  }
  std::vector<LogFilePtr> files;  // let go of without the lock
  std::vector<LogFilePtr> dropped;
  io::MutexLock lock(mutex_);
  const uint64_t wanted = change_count_.load(std::memory_order_relaxed);
  while (error_.ok() && synced_count_.load(std::memory_order_relaxed) < wanted) {
    if (syncing_) {
      sync_done_.Wait(mutex_);
      continue;
    }
    syncing_ = true;
    files = files_;
    LeadSyncLocked(files, &dropped);
    syncing_ = false;
    sync_done_.NotifyAll();
  }
  return error_;
}

// `files` are all there are now.
void ValueLog::LeadSyncLocked(const std::vector<LogFilePtr>& files,
                              std::vector<LogFilePtr>* dropped) {
  const uint64_t covered = change_count_.load(std::memory_order_relaxed);
  std::vector<LogFilePtr> ended;
  for (const LogFilePtr& file : files) {
    if (file->ended) ended.push_back(file);
  }
  WriteUpToLocked(last_buffer_);
  for (const LogFilePtr& file : ended) WaitForCutLocked(*file);
  unsynced_bytes_ = 0;
  for (const LogFilePtr& file : files) SyncFileLocked(*file);
  SyncDirectoryLocked();
  if (!error_.ok()) return;
  synced_count_.store(covered, std::memory_order_release);
  const auto settled = std::partition(files_.begin(), files_.end(),
                                      [](const LogFilePtr& file) { return !file->IsSettled(); });
  dropped->insert(dropped->end(), settled, files_.end());
  files_.erase(settled, files_.end());
}

// Everything up to this buffer, which is the newest. The open one is written by this thread: waking
// a writer takes longer than most such writes.
void ValueLog::WriteUpToLocked(uint64_t last_buffer) {
  if (open_ != nullptr && open_->copier_count == 0) {
    const BufferPtr buffer = std::move(open_);
    open_ = nullptr;
    buffer->sealed = true;
    WriteLocked(buffer);
  } else if (open_ != nullptr) {
    SealOpenLocked();
  }
  while (error_.ok() && !in_flight_.empty() && in_flight_.front()->id <= last_buffer) {
    changed_.Wait(mutex_);
  }
}

// One at a time per file: the kernel reports an error of the device to one caller only.
void ValueLog::SyncFileLocked(LogFile& file) {
  const uint64_t wanted = file.change_count;
  while (error_.ok() && file.synced_count < wanted) {
    if (file.syncing) {
      changed_.Wait(mutex_);
      continue;
    }
    file.syncing = true;
    const uint64_t covered = file.change_count;
    mutex_.Unlock();
    const io::Status status = file.file->Sync();
    mutex_.Lock();
    file.syncing = false;
    if (status.ok()) {
      file.synced_count = covered;
    } else {
      SetErrorLocked(status);
    }
    changed_.NotifyAll();
  }
}

void ValueLog::SyncDirectoryLocked() {
  const uint64_t covered = created_count_;
  if (!error_.ok() || created_synced_count_ == covered) return;
  mutex_.Unlock();
  const io::Status status = storage_.SyncDirectory();
  mutex_.Lock();
  if (status.ok()) {
    created_synced_count_ = covered;
  } else {
    SetErrorLocked(status);
  }
}

}  // namespace terracefs::lsm
