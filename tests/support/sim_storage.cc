#include "tests/support/sim_storage.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/base/check.h"
#include "io/base/units.h"
#include "io/directory_storage.h"

namespace terracefs::testing {

using io::File;
using io::IoRequest;
using io::MutexLock;
using io::Result;
using io::Status;

namespace {

constexpr uint64_t kDefaultCapacityBytes = 1024 * io::kGiB;
constexpr uint64_t kBlockBytes = 4 * io::kKiB;

Status PowerCut() { return Status::IoError("simulated power cut", {}, EIO); }

uint64_t BlocksOf(uint64_t bytes) { return io::RoundUp(bytes, kBlockBytes); }

}  // namespace

class SimStorage::SimLock final : public io::StorageLock {
 public:
  SimLock(std::shared_ptr<LockTable> table, std::string name)
      : table_(std::move(table)), name_(std::move(name)) {}
  ~SimLock() override {
    MutexLock lock(table_->mutex);
    const auto held = table_->held.find(name_);
    if (--held->second <= 0) table_->held.erase(held);
  }

 private:
  const std::shared_ptr<LockTable> table_;
  const std::string name_;
};

class SimFile final : public File {
 public:
  SimFile(SimStorage& storage, std::shared_ptr<SimStorage::Inode> inode, std::string name,
          const io::OpenOptions& options)
      : File(std::move(name), options.direct),
        storage_(storage),
        inode_(std::move(inode)),
        writable_(options.write) {}

  void Start(std::span<IoRequest* const> requests) override;
  Status Wait(IoRequest& request) override;
  Result<uint64_t> SizeBytes() override {
    MutexLock lock(storage_.mutex_);
    if (storage_.power_is_off_ && storage_.reads_fail_) return PowerCut();
    return uint64_t{inode_->content.live().size()};
  }
  Status Truncate(uint64_t bytes) override {
    MutexLock lock(storage_.mutex_);
    return storage_.ResizeLocked(*this, *inode_, bytes, FaultOperation::kTruncate);
  }
  Status Allocate(uint64_t bytes) override {
    MutexLock lock(storage_.mutex_);
    const uint64_t size_bytes = std::max<uint64_t>(bytes, inode_->content.live().size());
    return storage_.ResizeLocked(*this, *inode_, size_bytes, FaultOperation::kAllocate);
  }

 private:
  void ExecuteLocked(IoRequest& request) REQUIRES(storage_.mutex_);
  void MakeDurableLocked(const IoRequest& request) REQUIRES(storage_.mutex_);

  SimStorage& storage_;
  const std::shared_ptr<SimStorage::Inode> inode_;
  const bool writable_;
};

void SimFile::Start(std::span<IoRequest* const> requests) {
  Prepare(requests);
  storage_.stats_.submitted.fetch_add(requests.size(), std::memory_order_relaxed);
  MutexLock lock(storage_.mutex_);
  std::vector<IoRequest*> heads;
  for (IoRequest* request : requests) {
    if (!request->follows) heads.push_back(request);
  }
  for (size_t left = heads.size(); left > 1; --left) {
    std::swap(heads[left - 1], heads[storage_.order_.Uniform(left)]);
  }
  for (IoRequest* head : heads) {
    Status chain_status;
    for (IoRequest* request = head; request != nullptr; request = request->linked) {
      request->follows = false;
      request->in_flight = true;
      request->status = chain_status;
      if (chain_status.ok()) ExecuteLocked(*request);
      chain_status = request->status;
      if (chain_status.ok() && request->linked != nullptr) MakeDurableLocked(*request);
    }
  }
}

void SimFile::ExecuteLocked(IoRequest& request) {
  switch (request.kind) {
    case IoRequest::Kind::kRead:
      request.status = storage_.ReadLocked(*this, *inode_, request);
      return;
    case IoRequest::Kind::kWrite:
      request.status = writable_ ? storage_.WriteLocked(*this, *inode_, request)
                                 : Status::IoError("write", name(), EBADF);
      return;
    case IoRequest::Kind::kSync:
      request.status = storage_.SyncLocked(*this, *inode_, request);
      return;
  }
}

Status SimFile::Wait(IoRequest& request) {
  CheckStartedHere(request);
  MutexLock lock(storage_.mutex_);
  if (request.done) return request.status;
  CHECK(request.in_flight);
  request.in_flight = false;
  request.done = true;
  storage_.stats_.completed.fetch_add(1, std::memory_order_relaxed);
  if (!request.status.ok() || request.kind == IoRequest::Kind::kRead) return request.status;
  // Nobody can be told of a success after the cut.
  if (storage_.power_is_off_) {
    request.status = PowerCut();
    return request.status;
  }
  // The others of a chain were made durable before the next one began.
  if (request.linked == nullptr) MakeDurableLocked(request);
  return request.status;
}

// For a write or sync `transferred_bytes` holds the number of the change: the write itself, or the
// last one that the sync covers.
void SimFile::MakeDurableLocked(const IoRequest& request) {
  if (request.kind == IoRequest::Kind::kSync) {
    inode_->content.SyncUpTo(request.transferred_bytes);
  } else if (request.kind == IoRequest::Kind::kWrite && request.durable) {
    inode_->content.SyncWrite(request.transferred_bytes);
  } else {
    return;
  }
  storage_.stats_.fsyncs.fetch_add(1, std::memory_order_relaxed);
}

SimStorage::SimStorage(uint64_t seed) : order_(seed), capacity_bytes_(kDefaultCapacityBytes) {}

SimStorage::~SimStorage() = default;

// ---- Faults and the power switch

Status SimStorage::CountLocked() {
  if (!power_is_off_ && io_count_ >= cut_at_) power_is_off_ = true;
  if (power_is_off_) return PowerCut();
  ++io_count_;
  return Status::Ok();
}

Status SimStorage::BeginLocked(FaultOperation operation, std::string_view name,
                               std::string_view other_name, Status* late_error) {
  if (Status status = CountLocked(); !status.ok()) return status;
  const std::optional<Fault> fault = faults_.Match(operation, name, other_name);
  if (!fault) return Status::Ok();
  if (fault->effect != FaultEffect::kAll) return fault->status;
  *late_error = fault->status;
  return Status::Ok();
}

Status SimStorage::BeginReadLocked(FaultOperation operation, std::string_view name, Fault* fault) {
  if (power_is_off_ && reads_fail_) return PowerCut();
  if (std::optional<Fault> match = faults_.Match(operation, name)) *fault = *std::move(match);
  return Status::Ok();
}

uint64_t SimStorage::io_count() const {
  MutexLock lock(mutex_);
  return io_count_;
}

void SimStorage::CrashAtIo(uint64_t io_index, bool reads_fail) {
  MutexLock lock(mutex_);
  cut_at_ = io_index;
  reads_fail_ = reads_fail;
}

bool SimStorage::power_is_off() const {
  MutexLock lock(mutex_);
  return power_is_off_;
}

// ---- Bytes of files

Status SimStorage::ReadLocked(const File& file, Inode& inode, IoRequest& request) {
  Fault fault;
  if (Status status = BeginReadLocked(FaultOperation::kRead, file.name(), &fault); !status.ok()) {
    return status;
  }
  const std::string& live = inode.content.live();
  uint64_t bytes = request.bytes;
  if (!fault.status.ok()) {
    if (fault.effect == FaultEffect::kNothing) return fault.status;
    if (fault.effect == FaultEffect::kHalf) bytes /= 2;
  }
  const uint64_t there =
      request.offset < live.size() ? std::min<uint64_t>(bytes, live.size() - request.offset) : 0;
  if (there > 0) std::memcpy(request.data, live.data() + request.offset, there);
  stats_.bytes_read.fetch_add(there, std::memory_order_relaxed);
  if (!fault.status.ok()) return fault.status;
  return there == bytes ? Status::Ok() : Status::IoError("short read", file.name(), 0);
}

Status SimStorage::WriteLocked(const File& file, Inode& inode, IoRequest& request) {
  if (Status status = CountLocked(); !status.ok()) return status;
  const std::optional<Fault> fault = faults_.Match(FaultOperation::kWrite, file.name());
  if (fault && fault->effect == FaultEffect::kNothing) return fault->status;
  std::string_view bytes(reinterpret_cast<const char*>(request.data), request.bytes);
  if (fault && fault->effect == FaultEffect::kHalf) bytes = bytes.substr(0, bytes.size() / 2);
  if (Status status = MakeRoomLocked(inode, request.offset + bytes.size()); !status.ok()) {
    return status;
  }
  request.transferred_bytes =
      bytes.empty() ? inode.content.last_change() : inode.content.Write(request.offset, bytes);
  stats_.bytes_written.fetch_add(bytes.size(), std::memory_order_relaxed);
  return fault ? fault->status : Status::Ok();
}

Status SimStorage::SyncLocked(const File& file, Inode& inode, IoRequest& request) {
  if (Status status = CountLocked(); !status.ok()) return status;
  request.transferred_bytes = inode.content.last_change();
  const std::optional<Fault> fault = faults_.Match(FaultOperation::kSync, file.name());
  if (!fault) return Status::Ok();
  if (fault->effect == FaultEffect::kAll) {
    inode.content.SyncUpTo(request.transferred_bytes);
  } else {
    inode.content.DoomUnsynced();
  }
  return fault->status;
}

Status SimStorage::ResizeLocked(const File& file, Inode& inode, uint64_t bytes,
                                FaultOperation operation) {
  Status late_error;
  if (Status status = BeginLocked(operation, file.name(), {}, &late_error); !status.ok()) {
    return status;
  }
  if (Status status = MakeRoomLocked(inode, bytes); !status.ok()) return status;
  if (bytes != inode.content.live().size()) inode.content.Resize(bytes);
  return late_error;
}

Status SimStorage::MakeRoomLocked(const Inode& inode, uint64_t bytes) {
  const uint64_t held = BlocksOf(inode.content.live().size());
  const uint64_t wanted = BlocksOf(bytes);
  if (wanted <= held || capacity_bytes_ == kDefaultCapacityBytes) return Status::Ok();
  if (UsedBytesLocked() + (wanted - held) <= capacity_bytes_) return Status::Ok();
  return Status::NoSpace("simulated disk is full");
}

uint64_t SimStorage::UsedBytesLocked() const {
  uint64_t bytes = 0;
  for (const std::weak_ptr<Inode>& weak : inodes_) {
    if (const InodePtr inode = weak.lock()) bytes += BlocksOf(inode->content.live().size());
  }
  return bytes;
}

void SimStorage::SetCapacityBytes(uint64_t bytes) {
  MutexLock lock(mutex_);
  capacity_bytes_ = bytes;
}

uint64_t SimStorage::UsedBytes() const {
  MutexLock lock(mutex_);
  return UsedBytesLocked();
}

Result<uint64_t> SimStorage::FreeBytes() {
  MutexLock lock(mutex_);
  const uint64_t used = UsedBytesLocked();
  return capacity_bytes_ > used ? capacity_bytes_ - used : uint64_t{0};
}

void SimStorage::CorruptByte(std::string_view name, uint64_t offset) {
  MutexLock lock(mutex_);
  const InodePtr inode = FindLocked(name);
  CHECK(inode != nullptr);
  inode->content.CorruptByte(offset);
}

Result<std::string> SimStorage::Contents(std::string_view name) const {
  MutexLock lock(mutex_);
  const InodePtr inode = FindLocked(name);
  if (inode == nullptr) return Status::NotFound("no such file", name);
  return inode->content.live();
}

void SimStorage::PutContents(std::string_view name, std::string_view contents) {
  MutexLock lock(mutex_);
  auto inode = std::make_shared<Inode>();
  inode->content.Write(0, contents);
  inode->content.SyncUpTo(inode->content.last_change());
  inodes_.push_back(inode);
  live_[std::string(name)] = inode;
  durable_[std::string(name)] = inode;
}

// ---- Names

SimStorage::InodePtr SimStorage::FindLocked(std::string_view name) const {
  const auto found = live_.find(name);
  return found == live_.end() ? nullptr : found->second;
}

void SimStorage::Apply(const NameChange& change, Directory& directory) {
  if (!change.source.empty()) directory.erase(change.source);
  if (change.target.empty()) return;
  directory[change.target] = change.inode;
}

void SimStorage::ChangeNamesLocked(NameChange change) {
  Apply(change, live_);
  unsynced_names_.push_back(std::move(change));
}

Result<std::unique_ptr<File>> SimStorage::Open(std::string_view name,
                                               const io::OpenOptions& options) {
  TRY(io::CheckFileName(name));
  MutexLock lock(mutex_);
  InodePtr inode = FindLocked(name);
  if (inode == nullptr && !options.create) {
    if (power_is_off_ && reads_fail_) return PowerCut();
    return Status::NotFound("no such file", name);
  }
  if (inode != nullptr && options.create && options.exclusive) {
    return Status::Busy("file exists", name);
  }
  Status late_error;
  if (inode == nullptr) {
    TRY(BeginLocked(FaultOperation::kCreate, name, {}, &late_error));
    inode = std::make_shared<Inode>();
    std::erase_if(inodes_, [](const std::weak_ptr<Inode>& weak) { return weak.expired(); });
    inodes_.push_back(inode);
    ChangeNamesLocked({{}, std::string(name), inode});
  } else {
    Fault fault;
    TRY(BeginReadLocked(FaultOperation::kOpen, name, &fault));
    if (!fault.status.ok()) return fault.status;
    if (options.truncate && !inode->content.live().empty()) {
      TRY(BeginLocked(FaultOperation::kTruncate, name, {}, &late_error));
      inode->content.Resize(0);
    }
  }
  if (!late_error.ok()) return late_error;
  return std::unique_ptr<File>(
      std::make_unique<SimFile>(*this, std::move(inode), std::string(name), options));
}

Result<bool> SimStorage::Exists(std::string_view name) {
  TRY(io::CheckFileName(name));
  MutexLock lock(mutex_);
  if (power_is_off_ && reads_fail_) return PowerCut();
  return FindLocked(name) != nullptr;
}

Status SimStorage::Remove(std::string_view name) {
  TRY(io::CheckFileName(name));
  MutexLock lock(mutex_);
  if (FindLocked(name) == nullptr) {
    return power_is_off_ ? PowerCut() : Status::NotFound("no such file", name);
  }
  Status late_error;
  TRY(BeginLocked(FaultOperation::kRemove, name, {}, &late_error));
  ChangeNamesLocked({std::string(name), {}, nullptr});
  return late_error;
}

Status SimStorage::Rename(std::string_view source, std::string_view target) {
  TRY(io::CheckFileName(source));
  TRY(io::CheckFileName(target));
  MutexLock lock(mutex_);
  const InodePtr inode = FindLocked(source);
  if (inode == nullptr) {
    return power_is_off_ ? PowerCut() : Status::NotFound("no such file", source);
  }
  Status late_error;
  TRY(BeginLocked(FaultOperation::kRename, source, target, &late_error));
  ChangeNamesLocked({std::string(source), std::string(target), inode});
  return late_error;
}

Result<std::vector<std::string>> SimStorage::List() {
  MutexLock lock(mutex_);
  Fault fault;
  TRY(BeginReadLocked(FaultOperation::kList, {}, &fault));
  if (!fault.status.ok()) return fault.status;
  std::vector<std::string> names;
  for (const auto& [name, inode] : live_) names.push_back(name);
  return names;
}

Status SimStorage::SyncDirectory() {
  MutexLock lock(mutex_);
  Status late_error;
  TRY(BeginLocked(FaultOperation::kSyncDirectory, {}, {}, &late_error));
  durable_ = live_;
  unsynced_names_.clear();
  return late_error;
}

Result<std::unique_ptr<io::StorageLock>> SimStorage::Lock(std::string_view name) {
  io::OpenOptions options;
  options.write = true;
  options.create = true;
  TRY(Open(name, options));
  MutexLock lock(locks_->mutex);
  if (!locks_->held.emplace(name, -1).second) {
    return Status::Busy("store is in use by another process", name);
  }
  return std::unique_ptr<io::StorageLock>(std::make_unique<SimLock>(locks_, std::string(name)));
}

Result<std::unique_ptr<io::StorageLock>> SimStorage::LockShared(std::string_view name) {
  TRY(Open(name, {}));
  MutexLock lock(locks_->mutex);
  int& sharers = locks_->held[std::string(name)];
  if (sharers < 0) return Status::Busy("store is in use by another process", name);
  ++sharers;
  return std::unique_ptr<io::StorageLock>(std::make_unique<SimLock>(locks_, std::string(name)));
}

// ---- Crashes

std::unique_ptr<SimStorage> SimStorage::CrashClone(uint64_t seed, CrashMode mode) const {
  auto clone = std::make_unique<SimStorage>(seed);
  io::Random random(seed);
  MutexLock lock(mutex_);
  Directory found = mode == CrashMode::kKeepAll ? live_ : durable_;
  if (mode == CrashMode::kRandom) {
    const uint64_t kept = random.Uniform(unsynced_names_.size() + 1);
    for (size_t index = 0; index < kept; ++index) Apply(unsynced_names_[index], found);
  }
  // Both ends are drawn often: bugs hide in "all of it" and "none of it" as well as in a mixture.
  constexpr uint64_t kKeepPercents[] = {0, 10, 50, 90, 100};
  for (const auto& [name, inode] : found) {
    const SimFileContent& content = inode->content;
    switch (mode) {
      case CrashMode::kLoseAllUnsynced:
        clone->PutContents(name, content.durable());
        break;
      case CrashMode::kKeepAll:
        clone->PutContents(name, content.live());
        break;
      case CrashMode::kRandom:
        clone->PutContents(
            name,
            content.AfterPowerCut(random, kKeepPercents[random.Uniform(std::size(kKeepPercents))]));
        break;
    }
  }
  clone->SetCapacityBytes(capacity_bytes_);
  return clone;
}

}  // namespace terracefs::testing
