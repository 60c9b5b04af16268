#include "fs/cli/mount_client.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

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

io::Result<terracefs_space> MountClient::Space() const {
  terracefs_space data{};
  data.version = TERRACEFS_IOC_VERSION;
  TRY(Call(TERRACEFS_IOC_SPACE, &data, "cannot ask where the space is"));
  return data;
}

io::Status MountClient::Sync(uint32_t flags) const {
  terracefs_sync data{};
  data.version = TERRACEFS_IOC_VERSION;
  data.flags = flags;
  return Call(TERRACEFS_IOC_SYNC, &data, "cannot make everything durable");
}

io::Result<io::UniqueFd> MountClient::OpenBelow(const std::string& path) const {
  struct stat mount {};
  struct stat file {};
  if (fstat(fd_.get(), &mount) != 0) return io::Status::IoError("cannot use", {}, errno);
  if (stat(path.c_str(), &file) != 0) return io::Status::IoError("cannot use", path, errno);
  if (file.st_dev != mount.st_dev) return io::Status::NotFound("is not on this mount", path);
  // To open anything else has effects, or waits for somebody.
  if (!S_ISREG(file.st_mode) && !S_ISDIR(file.st_mode)) {
    return io::Status::NotSupported("is neither a file nor a directory", path);
  }
  io::UniqueFd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return io::Status::IoError("cannot open", path, errno);
  return fd;
}

io::Result<MountClient> MountClient::At(const std::string& mountpoint,
                                        const std::string& path) const {
  io::Result<io::UniqueFd> fd = OpenBelow(path);
  if (!fd.ok() && !path.starts_with('/')) {
    io::Result<io::UniqueFd> below = OpenBelow(mountpoint + "/" + path);
    if (below.ok()) fd = std::move(below);
  }
  return MountClient(TRY(std::move(fd)));
}

io::Result<uint64_t> MountClient::StartCompaction(terracefs_compact request) const {
  request.version = TERRACEFS_IOC_VERSION;
  TRY(Call(TERRACEFS_IOC_COMPACT, &request, "cannot start a compaction"));
  return uint64_t{request.job};
}

io::Result<terracefs_job> MountClient::Job(uint64_t id, terracefs_job_action action) const {
  terracefs_job data{};
  data.version = TERRACEFS_IOC_VERSION;
  data.action = action;
  data.job = id;
  const bool asks = action == TERRACEFS_JOB_STATUS || action == TERRACEFS_JOB_NEXT;
  const io::Status status =
      Call(TERRACEFS_IOC_JOB, &data, asks ? "cannot ask about the job" : "cannot steer the job");
  if (status.os_errno() == ENOENT) return io::Status::NotFound("no such job");
  if (!status.ok()) return status;
  return data;
}

io::Result<std::vector<terracefs_job>> MountClient::Jobs() const {
  std::vector<terracefs_job> jobs;
  for (;;) {
    const uint64_t last = jobs.empty() ? 0 : uint64_t{jobs.back().job};
    const io::Result<terracefs_job> next = Job(last, TERRACEFS_JOB_NEXT);
    if (next.status().Is(io::StatusCode::kNotFound)) return jobs;
    if (!next.ok()) return next.status();
    jobs.push_back(*next);
  }
}

io::Result<terracefs_config> MountClient::Config(terracefs_config_action action,
                                                 std::string_view key,
                                                 std::string_view value) const {
  terracefs_config data{};
  data.version = TERRACEFS_IOC_VERSION;
  data.action = action;
  terracefs_setting& setting = data.setting[0];
  // One byte stays zero and ends the text.
  if (key.size() >= sizeof setting.key || value.size() >= sizeof setting.value) {
    return io::Status::InvalidArgument("too long");
  }
  std::memcpy(setting.key, key.data(), key.size());
  std::memcpy(setting.value, value.data(), value.size());
  TRY(Call(TERRACEFS_IOC_CONFIG, &data, "the daemon refused"));
  return data;
}

}  // namespace terracefs::fs
