#pragma once

#include <string.h>

#include <string>

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
  io::Status Sync() const;
  io::Result<uint64_t> StartCompaction(int level) const;
  // `id` 0: the newest. NotFound if there is no such job.
  io::Result<terracefs_job> Job(uint64_t id, terracefs_job_action action) const;

 private:
  explicit MountClient(io::UniqueFd fd) : fd_(std::move(fd)) {}
  io::Status Call(unsigned long command, void* data, const char* what) const;

  io::UniqueFd fd_;
};

// Text of a field that ends at its first zero byte or at its size.
template <size_t kBytes>
std::string FieldText(const char (&field)[kBytes]) {
  return std::string(field, strnlen(field, kBytes));
}

}  // namespace terracefs::fs
