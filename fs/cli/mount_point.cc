#include "fs/cli/mount_point.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "fs/mount_table.h"
#include "fs/unmount.h"

namespace terracefs::fs {
namespace {

// Nothing, with errno set, if it does not exist.
std::string RealPath(const std::string& path) {
  struct Free {
    void operator()(char* text) const { std::free(text); }
  };
  const std::unique_ptr<char, Free> resolved(realpath(path.c_str(), nullptr));
  return resolved == nullptr ? std::string() : std::string(resolved.get());
}

io::Status DetachDeadMount(const std::string& path) {
  const std::optional<MountEntry> mount = FindMount(path);
  if (!mount || mount->type != kMountType) {
    return io::Status::Busy("it is a mount whose daemon has died (fusermount3 -u detaches it)",
                            path);
  }
  const io::Status detached = Unmount(path, /*lazily=*/true);
  if (detached.ok()) return detached;
  return io::Status::Busy(
      fmt::format("it is a terracefs mount whose daemon has died, and detaching it failed: {}; "
                  "run 'fusermount3 -u {}' as the user who mounted it",
                  detached.message(), path));
}

}  // namespace

// Over io_uring the kernel says that the connection was aborted, at least for a while.
bool IsDeathErrno(int os_errno) { return os_errno == ENOTCONN || os_errno == ECONNABORTED; }

bool IsDeadMount(const std::string& path) {
  struct statfs ignored {};
  if (statfs(path.c_str(), &ignored) == 0) return false;
  // A request that the kernel had handed to the ring of a daemon just killed fails with one of
  // these; later ones say what it is.
  const bool again = errno == EIO || errno == ECANCELED;
  if (again && statfs(path.c_str(), &ignored) == 0) return false;
  return IsDeathErrno(errno);
}

io::Result<std::string> ResolvePath(const std::string& path) {
  if (std::string resolved = RealPath(path); !resolved.empty()) return resolved;
  if (!IsDeathErrno(errno)) return io::Status::IoError("cannot use", path, errno);
  // The dead mount itself cannot be looked at, but the directory above it can.
  std::error_code error;
  std::filesystem::path plain = std::filesystem::absolute(path, error).lexically_normal();
  if (!plain.has_filename()) plain = plain.parent_path();
  const std::string above = RealPath(plain.parent_path());
  if (above.empty()) return io::Status::IoError("cannot use", path, errno);
  return (std::filesystem::path(above) / plain.filename()).string();
}

io::Result<std::string> PrepareMountPoint(const std::string& path) {
  std::string resolved = TRY(ResolvePath(path));
  while (IsDeadMount(resolved)) TRY(DetachDeadMount(resolved));
  struct stat attributes {};
  if (stat(resolved.c_str(), &attributes) != 0) {
    return io::Status::IoError("cannot use", resolved, errno);
  }
  if (!S_ISDIR(attributes.st_mode)) return io::Status::Busy("mount point is not a directory", path);
  if (const std::optional<MountEntry> mount = FindMount(resolved)) {
    return io::Status::Busy(
        fmt::format("mount point is in use: {} ({}) is mounted there", mount->source, mount->type),
        path);
  }
  std::error_code error;
  const bool empty = std::filesystem::is_empty(resolved, error);
  if (error) return io::Status::IoError("cannot look into", resolved, error.value());
  if (!empty) return io::Status::Busy("mount point is not empty", path);
  return resolved;
}

}  // namespace terracefs::fs
