#include "fs/cli/mount_client.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "fs/cli/mount_point.h"

namespace terracefs::fs {

io::Result<MountClient> MountClient::Open(const std::string& path) {
  MountClient client(io::UniqueFd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (!client.fd_.valid()) {
    if (IsDeathErrno(errno)) {
      return io::Status::NotSupported("the daemon of this mount has died", path);
    }
    return io::Status::IoError("cannot open", path, errno);
  }
  const io::Result<terracefs_stats> stats = client.Stats();
  if (stats.ok()) return client;
  if (stats.status().os_errno() == ENOTTY || stats.status().os_errno() == EINVAL) {
    return io::Status::NotSupported("not on a terracefs mount of this version", path);
  }
  return stats.status();
}

io::Status MountClient::Call(unsigned long command, void* data, const char* what) const {
  int result = 0;
  do {
    result = ioctl(fd_.get(), command, data);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return io::Status::Ok();
  return io::Status::IoError(what, {}, errno);
}

io::Result<terracefs_stats> MountClient::Stats() const {
  terracefs_stats data{};
  data.version = TERRACEFS_IOC_VERSION;
  TRY(Call(TERRACEFS_IOC_STATS, &data, "cannot ask for statistics"));
  return data;
}

io::Status MountClient::Sync() const {
  terracefs_sync data{};
  data.version = TERRACEFS_IOC_VERSION;
  return Call(TERRACEFS_IOC_SYNC, &data, "cannot make everything durable");
}

io::Result<uint64_t> MountClient::StartCompaction(int level) const {
  terracefs_compact data{};
  data.version = TERRACEFS_IOC_VERSION;
  data.level = level;
  TRY(Call(TERRACEFS_IOC_COMPACT, &data, "cannot start a compaction"));
  return uint64_t{data.job};
}

io::Result<terracefs_job> MountClient::Job(uint64_t id, terracefs_job_action action) const {
  terracefs_job data{};
  data.version = TERRACEFS_IOC_VERSION;
  data.action = action;
  data.job = id;
  const io::Status status = Call(TERRACEFS_IOC_JOB, &data, "cannot ask about the job");
  if (status.os_errno() == ENOENT) return io::Status::NotFound("no such job");
  if (!status.ok()) return status;
  return data;
}

}  // namespace terracefs::fs
