#include "io/directory_storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "io/base/check.h"

namespace terracefs::io {
namespace {

// Store files hold every user's data, whatever the modes inside the filesystem say.
constexpr mode_t kFileMode = 0600;

// Repeats a system call that a signal interrupted.
template <typename Call>
auto Uninterrupted(const Call& call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

int64_t CallKernel(int fd, const KernelCall& call, bool is_directory) {
  const iovec memory{call.data, call.bytes};
  const auto offset = static_cast<off_t>(call.offset);
  ssize_t answer = 0;
  switch (call.step) {
    case IoRequest::Step::kRead:
      answer = preadv(fd, &memory, 1, offset);
      break;
    case IoRequest::Step::kWrite:
      answer = pwritev(fd, &memory, 1, offset);
      break;
    case IoRequest::Step::kWriteThrough:
      answer = pwritev2(fd, &memory, 1, offset, RWF_DSYNC);
      break;
    case IoRequest::Step::kSync:
      answer = is_directory ? fsync(fd) : fdatasync(fd);
      break;
  }
  return answer < 0 ? -errno : answer;
}

class FileLock final : public StorageLock {
 public:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}

 private:
  const UniqueFd fd_;
};

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

Result<bool> IsPlainFile(int directory_fd, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_REG;
  struct stat attributes {};
  if (fstatat(directory_fd, entry.d_name, &attributes, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return false;
    return Status::IoError("stat", entry.d_name, errno);
  }
  return S_ISREG(attributes.st_mode);
}

}  // namespace

Status CheckFileName(std::string_view name) {
  const bool usable = !name.empty() && name != "." && name != ".." && name.size() <= NAME_MAX &&
                      name.find('/') == std::string_view::npos &&
                      name.find('\0') == std::string_view::npos;
  return usable ? Status::Ok() : Status::InvalidArgument("not a file name", name);
}

bool BypassCache(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

DirectoryFile::DirectoryFile(std::string name, bool direct, UniqueFd fd, StorageStats& stats)
    : File(name, direct), fd_(std::move(fd)), traits_(std::move(name)), stats_(stats) {
  // Asked for after opening: an open with O_DIRECT that is refused may have made the file already,
  // and an exclusive creation could not be tried again.
  if (direct) traits_.bypasses_cache = BypassCache(fd_.get());
}

Result<uint64_t> DirectoryFile::SizeBytes() {
  struct stat attributes {};
  if (fstat(fd_.get(), &attributes) != 0) return Status::IoError("stat", name(), errno);
  return static_cast<uint64_t>(attributes.st_size);
}

Status DirectoryFile::Truncate(uint64_t bytes) {
  const auto length = static_cast<off_t>(bytes);
  if (Uninterrupted([&] { return ftruncate(fd_.get(), length); }) == 0) return Status::Ok();
  return Status::IoError("truncate", name(), errno);
}

Status DirectoryFile::Allocate(uint64_t bytes) {
  if (bytes == 0) return Status::Ok();
  const auto length = static_cast<off_t>(bytes);
  if (Uninterrupted([&] { return fallocate(fd_.get(), 0, 0, length); }) == 0) return Status::Ok();
  if (errno != EOPNOTSUPP && errno != ENOSYS) return Status::IoError("allocate", name(), errno);
  const uint64_t size_bytes = TRY(SizeBytes());
  return size_bytes < bytes ? Truncate(bytes) : Status::Ok();
}

void DirectoryFile::RunBlocking(std::span<IoRequest* const> requests) {
  stats_.submitted.fetch_add(requests.size(), std::memory_order_relaxed);
  for (IoRequest* request : requests) {
    if (request->done) continue;  // failed together with its predecessor
    for (bool done = false; !done;) {
      const KernelCall call = NextCall(*request, traits_);
      const int64_t answer = CallKernel(fd_.get(), call, traits_.is_directory);
      done = TakeAnswer(*request, answer, traits_, stats_);
    }
    if (request->linked != nullptr) request->linked->follows = false;
    if (request->status.ok()) continue;
    for (IoRequest* next = request->linked; next != nullptr; next = next->linked) {
      next->follows = false;
      FinishRequest(*next, request->status, stats_);
    }
  }
}

Result<UniqueFd> DirectoryStorage::OpenDirectory(const std::string& path) {
  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  UniqueFd fd(Uninterrupted([&] { return open(path.c_str(), flags); }));
  if (fd.valid()) return fd;
  switch (errno) {
    case ENOENT:
      return Status::NotFound("no such directory", path);
    case ENOTDIR:
      return Status::InvalidArgument("not a directory", path);
    default:
      return Status::IoError("open directory", path, errno);
  }
}

Result<UniqueFd> DirectoryStorage::OpenDescriptor(std::string_view name,
                                                  const OpenOptions& options) {
  TRY(CheckFileName(name));
  const std::string text(name);
  int flags = O_CLOEXEC | (options.write ? O_RDWR : O_RDONLY);
  if (options.create) flags |= O_CREAT;
  if (options.create && options.exclusive) flags |= O_EXCL;
  if (options.truncate) flags |= O_TRUNC;
  UniqueFd fd(Uninterrupted([&] { return openat(fd_.get(), text.c_str(), flags, kFileMode); }));
  if (fd.valid()) return fd;
  switch (errno) {
    case ENOENT:
      return Status::NotFound("no such file", path_ + "/" + text);
    case EEXIST:
      return Status::Busy("file exists", path_ + "/" + text);
    default:
      return Status::IoError("open", path_ + "/" + text, errno);
  }
}

Result<bool> DirectoryStorage::Exists(std::string_view name) {
  TRY(CheckFileName(name));
  const std::string text(name);
  struct stat attributes {};
  if (fstatat(fd_.get(), text.c_str(), &attributes, 0) == 0) return true;
  if (errno == ENOENT) return false;
  return Status::IoError("stat", path_ + "/" + text, errno);
}

Status DirectoryStorage::Remove(std::string_view name) {
  TRY(CheckFileName(name));
  const std::string text(name);
  if (unlinkat(fd_.get(), text.c_str(), 0) == 0) return Status::Ok();
  if (errno == ENOENT) return Status::NotFound("no such file", path_ + "/" + text);
  return Status::IoError("remove", path_ + "/" + text, errno);
}

Status DirectoryStorage::Rename(std::string_view source, std::string_view target) {
  TRY(CheckFileName(source));
  TRY(CheckFileName(target));
  const std::string from(source);
  const std::string to(target);
  if (renameat(fd_.get(), from.c_str(), fd_.get(), to.c_str()) == 0) return Status::Ok();
  if (errno == ENOENT) return Status::NotFound("no such file", path_ + "/" + from);
  return Status::IoError("rename to " + to, path_ + "/" + from, errno);
}

Result<std::vector<std::string>> DirectoryStorage::List() {
  // A descriptor of its own: the position of a listing belongs to the open description.
  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  UniqueFd fd(openat(fd_.get(), ".", flags));
  if (!fd.valid()) return Status::IoError("open directory", path_, errno);
  const std::unique_ptr<DIR, CloseDirectory> directory(fdopendir(fd.get()));
  if (directory == nullptr) return Status::IoError("open directory", path_, errno);
  const int listing_fd = fd.Release();  // closed with `directory`

  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(directory.get());
    if (entry == nullptr) break;
    if (TRY(IsPlainFile(listing_fd, *entry))) names.emplace_back(entry->d_name);
  }
  if (errno != 0) return Status::IoError("list directory", path_, errno);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::unique_ptr<StorageLock>> DirectoryStorage::LockDescriptor(std::string_view name,
                                                                      UniqueFd fd, int how) {
  if (Uninterrupted([&] { return flock(fd.get(), how | LOCK_NB); }) != 0) {
    if (errno == EWOULDBLOCK) return Status::Busy("store is in use by another process", path_);
    return Status::IoError("lock", path_ + "/" + std::string(name), errno);
  }
  return std::unique_ptr<StorageLock>(std::make_unique<FileLock>(std::move(fd)));
}

Result<std::unique_ptr<StorageLock>> DirectoryStorage::Lock(std::string_view name) {
  OpenOptions options;
  options.write = true;
  options.create = true;
  return LockDescriptor(name, TRY(OpenDescriptor(name, options)), LOCK_EX);
}

Result<std::unique_ptr<StorageLock>> DirectoryStorage::LockShared(std::string_view name) {
  return LockDescriptor(name, TRY(OpenDescriptor(name, OpenOptions())), LOCK_SH);
}

Result<uint64_t> DirectoryStorage::FreeBytes() {
  struct statvfs space {};
  if (Uninterrupted([&] { return fstatvfs(fd_.get(), &space); }) != 0) {
    return Status::IoError("statvfs", path_, errno);
  }
  return static_cast<uint64_t>(space.f_bavail) * space.f_frsize;
}

}  // namespace terracefs::io
