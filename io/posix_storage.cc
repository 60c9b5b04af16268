#include "io/posix_storage.h"

#include <unistd.h>

#include <cerrno>

#include "io/directory_storage.h"

namespace terracefs::io {
namespace {

class PosixFile final : public DirectoryFile {
 public:
  PosixFile(std::string name, bool direct, UniqueFd fd, StorageStats& stats)
      : DirectoryFile(std::move(name), direct, std::move(fd), stats) {}

  void Start(std::span<IoRequest* const> requests) override {
    Prepare(requests);
    RunBlocking(requests);
  }
  Status Wait(IoRequest& request) override {
    CheckStartedHere(request);
    CHECK(request.done);
    return request.status;
  }
};

class PosixStorage final : public DirectoryStorage {
 public:
  static Result<std::unique_ptr<Storage>> Open(const std::string& path) {
    UniqueFd fd = TRY(OpenDirectory(path));
    return std::unique_ptr<Storage>(new PosixStorage(path, std::move(fd)));
  }

  Result<std::unique_ptr<File>> Open(std::string_view name, const OpenOptions& options) override {
    UniqueFd fd = TRY(OpenDescriptor(name, options));
    return std::unique_ptr<File>(
        std::make_unique<PosixFile>(std::string(name), options.direct, std::move(fd), stats_));
  }
  Status SyncDirectory() override {
    return fsync(fd_.get()) == 0 ? Status::Ok() : Status::IoError("sync directory", path_, errno);
  }
  const char* backend() const override { return "posix"; }

 private:
  using DirectoryStorage::DirectoryStorage;
};

}  // namespace

Result<std::unique_ptr<Storage>> OpenPosixStorage(const std::string& path) {
  return PosixStorage::Open(path);
}

}  // namespace terracefs::io
