#include "fs/store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "fs/store_lock.h"
#include "io/atomic_file.h"
#include "io/base/log.h"
#include "io/base/random.h"
#include "lsm/file_names.h"

namespace terracefs::fs {
namespace {

constexpr size_t kStoreFileBytesMax = 64 * io::kKiB;

enum class Contents : uint8_t { kNothing, kStore, kRemains, kForeign };

struct Survey {
  Contents contents = Contents::kNothing;
  std::vector<std::string> names;  // store files
};

bool IsStoreFileName(std::string_view name) {
  if (name.ends_with(io::kTemporarySuffix)) {
    name.remove_suffix(io::kTemporarySuffix.size());
  }
  return name == lsm::kCurrentFileName || name == lsm::kLockFileName ||
         name == lsm::kIdentityFileName || name == lsm::kOptionsFileName ||
         lsm::ParseFileName(name).has_value();
}

bool HasIdentity(io::Storage& storage) {
  const io::Result<std::string> text =
      io::ReadWholeFile(storage, lsm::kIdentityFileName, kStoreFileBytesMax);
  return text.ok() && text->starts_with("terracefs-identity ");
}

// What is in the directory, subdirectories included. The root of a disk of its own holds
// lost+found, which counts as nothing.
io::Result<Survey> LookAround(const std::string& path, io::Storage& storage) {
  Survey survey;
  std::error_code error;
  bool foreign = false;
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    if (name == "lost+found") continue;
    std::error_code type_error;
    if (IsStoreFileName(name) &&
        it->symlink_status(type_error).type() == std::filesystem::file_type::regular) {
      survey.names.push_back(name);
    } else {
      foreign = true;
    }
  }
  if (error) return io::Status::IoError("list directory", path, error.value());
  if (foreign) {
    survey.contents = Contents::kForeign;
  } else if (!survey.names.empty()) {
    survey.contents = HasIdentity(storage) ? Contents::kStore : Contents::kRemains;
  }
  return survey;
}

io::Status CheckReplaceable(const Survey& survey, bool force, const std::string& path) {
  switch (survey.contents) {
    case Contents::kNothing:
      return io::Status::Ok();
    case Contents::kForeign:
      return io::Status::Busy("directory is not empty and holds more than a terracefs store", path);
    case Contents::kStore:
      if (force) return io::Status::Ok();
      return io::Status::Busy("directory already holds a terracefs store (--force replaces it)",
                              path);
    case Contents::kRemains:
      if (force) return io::Status::Ok();
      return io::Status::Busy(
          "directory holds the remains of an interrupted mkfs (--force replaces them)", path);
  }
  return io::Status::Ok();
}

// Everything but the lock, which the caller holds. IDENTITY goes first and durably: without it
// nothing takes the rest for a store.
io::Status RemoveStoreFiles(io::Storage& storage, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name == lsm::kIdentityFileName) TRY(storage.Remove(name));
  }
  TRY(storage.SyncDirectory());
  for (const std::string& name : names) {
    if (name == lsm::kIdentityFileName || name == lsm::kLockFileName) continue;
    TRY(storage.Remove(name));
  }
  return storage.SyncDirectory();
}

Identity NewIdentity(const std::string& label) {
  Identity identity;
  identity.uuid = FormatUuid(io::SecretNumber(), io::SecretNumber());
  identity.label = label;
  identity.created_ns = io::SystemClock().WallNs();
  return identity;
}

// IDENTITY comes last: what has none is not a store.
io::Status FillStore(io::Storage& storage, const CreateStoreOptions& options) {
  lsm::Options engine;
  FileSystem::ConfigureEngine(&engine);
  TRY(lsm::Db::Create(engine, storage));
  const std::unique_ptr<lsm::Db> db = TRY(lsm::Db::Open(engine, storage));
  const FormatOptions format{options.size_bytes, options.label};
  TRY(FileSystem::Format(*db, format, options.uid, options.gid, io::SystemClock()));
  TRY(db->Close());
  TRY(io::ReplaceFile(storage, lsm::kOptionsFileName, EncodeStoreOptions({options.size_bytes})));
  return io::ReplaceFile(storage, lsm::kIdentityFileName,
                         EncodeIdentity(NewIdentity(options.label)));
}

io::Status CreateInDirectory(const std::string& path, const CreateStoreOptions& options) {
  const std::unique_ptr<io::Storage> storage = TRY(io::OpenStorage(path, options.io));
  // Looked at before and after taking the lock: before, so that a foreign directory stays as it is.
  const Survey before = TRY(LookAround(path, *storage));
  TRY(CheckReplaceable(before, options.force, path));
  const bool had_lock_file = TRY(storage->Exists(lsm::kLockFileName));
  std::unique_ptr<io::StorageLock> lock =
      TRY(TakeStoreLock(*storage, std::chrono::milliseconds(0)));
  Survey survey = TRY(LookAround(path, *storage));
  std::erase(survey.names, std::string(lsm::kLockFileName));
  if (survey.names.empty() && survey.contents != Contents::kForeign) {
    survey.contents = Contents::kNothing;
  }
  TRY(CheckReplaceable(survey, options.force, path));
  WriteLockHolder(*storage, {getpid(), HolderState::kFormatting, ""})
      .IgnoreError("only advice for others");
  TRY(RemoveStoreFiles(*storage, survey.names));
  const io::Status status = FillStore(*storage, options);
  if (status.ok()) return status;

  const io::Result<Survey> made = LookAround(path, *storage);
  if (made.ok()) {
    RemoveStoreFiles(*storage, made->names).IgnoreError("the first error is the one to report");
  }
  if (!had_lock_file) {
    storage->Remove(lsm::kLockFileName).IgnoreError("the first error is the one to report");
  }
  return status;
}

io::Result<Identity> ReadIdentity(io::Storage& storage, const std::string& path) {
  const io::Result<std::string> text =
      io::ReadWholeFile(storage, lsm::kIdentityFileName, kStoreFileBytesMax);
  if (text.ok()) return DecodeIdentity(*text);
  if (text.status().Is(io::StatusCode::kNotFound)) {
    return io::Status::NotFound("not a terracefs store (no IDENTITY)", path);
  }
  return text.status();
}

io::Status CheckStoreOptions(io::Storage& storage) {
  const io::Result<std::string> text =
      io::ReadWholeFile(storage, lsm::kOptionsFileName, kStoreFileBytesMax);
  if (!text.ok()) {
    if (!text.status().Is(io::StatusCode::kNotFound)) return text.status();
    return io::Status::Corruption("store has lost a file", lsm::kOptionsFileName);
  }
  const StoreOptions options = TRY(DecodeStoreOptions(*text));
  static_cast<void>(options);  // the superblock is what counts; this only proves the file
  return io::Status::Ok();
}

}  // namespace

io::Status Store::Create(const std::string& path, const CreateStoreOptions& options) {
  TRY(CheckLabel(options.label));
  if (options.size_bytes != 0 && options.size_bytes < kStoreBytesMin) {
    return io::Status::InvalidArgument(
        fmt::format("size is below the least possible, {} MiB", kStoreBytesMin / io::kMiB));
  }
  std::error_code error;
  const bool made = std::filesystem::create_directory(path, error);
  if (error) return io::Status::IoError("cannot make directory", path, error.value());
  if (made) {
    std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
    if (error) return io::Status::IoError("cannot make directory private", path, error.value());
  }
  io::Status status = CreateInDirectory(path, options);
  if (status.ok() && made) {
    const std::filesystem::path parent = std::filesystem::absolute(path, error).parent_path();
    const std::unique_ptr<io::Storage> above =
        TRY(io::OpenStorage(parent.empty() ? "." : parent.string(), io::IoBackend::kPosix));
    status = above->SyncDirectory();
  }
  if (!status.ok() && made) std::filesystem::remove(path, error);
  return status;
}

Store::Store(std::string path, std::string mountpoint)
    : path_(std::move(path)), mountpoint_(std::move(mountpoint)) {}

io::Result<std::unique_ptr<Store>> Store::Open(const std::string& path,
                                               const OpenStoreOptions& options) {
  auto store = std::unique_ptr<Store>(new Store(path, options.mountpoint));
  store->storage_ = TRY(io::OpenStorage(path, options.io));
  io::Storage& storage = *store->storage_;
  TRY(ReadIdentity(storage, path));  // a foreign directory must not get a LOCK file
  store->read_only_ = options.file_system.read_only;
  store->lock_ = store->read_only_ ? TRY(TakeStoreLockToRead(storage, options.wait_for_holder))
                                   : TRY(TakeStoreLock(storage, options.wait_for_holder));
                                   store->SetHolderState(HolderState::kStarting);

                                   store->identity_ = TRY(ReadIdentity(
                                       storage, path));  // mkfs --force may have come between
                                   TRY(CheckStoreOptions(storage));
                                   lsm::Options engine = options.engine;
                                   FileSystem::ConfigureEngine(&engine);
                                   store->db_ = TRY(lsm::Db::Open(engine, storage));
                                   store->file_system_ =
                                       TRY(FileSystem::Mount(*store->db_, options.file_system));
                                   return store;
}

Store::~Store() {
  if (const io::Status status = Close(); !status.ok()) {
    io::FsLog().error("closing the store {}: {}", path_, status.ToString());
  }
}

io::Status Store::Close() {
  file_system_.reset();
  io::Status status;
  if (db_ != nullptr) {
    status = db_->Close();
    db_.reset();
  }
  lock_.reset();
  storage_.reset();
  return status;
}

void Store::SetHolderState(HolderState state) {
  if (lock_ == nullptr || read_only_) return;
  WriteLockHolder(*storage_, {getpid(), state, mountpoint_}).IgnoreError("only advice for others");
}

}  // namespace terracefs::fs
