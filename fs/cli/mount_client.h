#pragma once

#include <string.h>

#include <string>
#include <string_view>
#include <vector>

#include "fs/control/ioctl.h"
#include "io/base/result.h"
#include "io/unique_fd.h"

namespace terracefs::fs {

// The ioctl interface of one mount, from a user's side. Not thread-safe.
class MountClient {
 public:
  // `path`: the mount point or any directory below it. NotSupported if it is not on a terracefs
  // mount.
  static io::Result<MountClient> Open(const std::string& path);

  io::Result<terracefs_stats> Stats() const;
  io::Result<terracefs_space> Space() const;
  // `flags`: enum terracefs_sync_flags.
  io::Status Sync(uint32_t flags = 0) const;
  // A client of the same mount by the file or directory at `path`; one that is relative starts at
  // the working directory or, if nothing of this mount is there, at `mountpoint`, with which this
  // client was opened.
  io::Result<MountClient> At(const std::string& mountpoint, const std::string& path) const;
  // `request` says what shall be done, apart from its version.
  io::Result<uint64_t> StartCompaction(terracefs_compact request) const;
  // `id` 0: the newest. NotFound if there is no such job.
  io::Result<terracefs_job> Job(uint64_t id, terracefs_job_action action) const;
  // All that are remembered, in order of their numbers.
  io::Result<std::vector<terracefs_job>> Jobs() const;
  io::Result<terracefs_config> Config(terracefs_config_action action, std::string_view key = {},
                                      std::string_view value = {}) const;

 private:
  explicit MountClient(io::UniqueFd fd) : fd_(std::move(fd)) {}
  io::Status Call(unsigned long command, void* data, const char* what) const;
  // NotFound: it is not on this mount.
  io::Result<io::UniqueFd> OpenBelow(const std::string& path) const;

  io::UniqueFd fd_;
};

// Text of a field that ends at its first zero byte or at its size.
template <size_t kBytes>
std::string FieldText(const char (&field)[kBytes]) {
  return std::string(field, strnlen(field, kBytes));
}

}  // namespace terracefs::fs
