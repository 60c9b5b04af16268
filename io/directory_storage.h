#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/request_progress.h"
#include "io/storage.h"
#include "io/unique_fd.h"

namespace terracefs::io {

// An open file of a directory, or the directory itself: what does not depend on how reads and
// writes reach the kernel. Size, truncation and preallocation are plain system calls.
class DirectoryFile : public File {
 public:
  Result<uint64_t> SizeBytes() override;
  Status Truncate(uint64_t bytes) override;
  Status Allocate(uint64_t bytes) override;

 protected:
  DirectoryFile(std::string name, bool direct, UniqueFd fd, StorageStats& stats);

  // Runs the requests one after the other with pread, pwrite and fdatasync; all are done on return.
  void RunBlocking(std::span<IoRequest* const> requests);

  const UniqueFd fd_;
  FileTraits traits_;
  StorageStats& stats_;
};

// A directory of the machine's filesystem. It is held open and everything is relative to it: the
// process may change its working directory, and the store may be renamed, while it is in use.
class DirectoryStorage : public Storage {
 public:
  Result<bool> Exists(std::string_view name) override;
  Status Remove(std::string_view name) override;
  Status Rename(std::string_view source, std::string_view target) override;
  // Plain files only; sorted.
  Result<std::vector<std::string>> List() override;
  Result<std::unique_ptr<StorageLock>> Lock(std::string_view name) override;
  Result<std::unique_ptr<StorageLock>> LockShared(std::string_view name) override;
  Result<uint64_t> FreeBytes() override;

 protected:
  // `path` is only for messages.
  DirectoryStorage(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  // NotFound if missing, InvalidArgument if it is not a directory, IoError otherwise.
  static Result<UniqueFd> OpenDirectory(const std::string& path);
  Result<UniqueFd> OpenDescriptor(std::string_view name, const OpenOptions& options);
  // `how`: LOCK_EX or LOCK_SH.
  Result<std::unique_ptr<StorageLock>> LockDescriptor(std::string_view name, UniqueFd fd, int how);

  const std::string path_;
  const UniqueFd fd_;
};

// InvalidArgument unless `name` can be the name of a file of a store.
Status CheckFileName(std::string_view name);
// Turns on O_DIRECT; false where the filesystem refuses it.
bool BypassCache(int fd);

}  // namespace terracefs::io
