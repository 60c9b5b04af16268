#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>

#include "fs/cli/command.h"
#include "fs/cli/daemon_start.h"
#include "fs/cli/mount_point.h"
#include "fs/daemon.h"
#include "fs/daemon_log.h"
#include "fs/fuse/session.h"
#include "io/base/log.h"

namespace terracefs::fs {
namespace {

constexpr const char* kFuseDevice = "/dev/fuse";
constexpr unsigned kFuseDeviceMajor = 10;
constexpr unsigned kFuseDeviceMinor = 229;

struct Arguments {
  bool foreground = false;
  std::vector<std::string> options;
  std::string store;
  std::string mountpoint;
};

io::Status CheckFuseDevice() {
  struct stat attributes {};
  if (stat(kFuseDevice, &attributes) != 0) {
    return io::Status::IoError("cannot use /dev/fuse (is the fuse module loaded?)", {}, errno);
  }
  if (!S_ISCHR(attributes.st_mode) || major(attributes.st_rdev) != kFuseDeviceMajor ||
      minor(attributes.st_rdev) != kFuseDeviceMinor) {
    return io::Status::NotSupported("/dev/fuse is not the fuse device");
  }
  if (access(kFuseDevice, R_OK | W_OK) != 0) {
    return io::Status::IoError("cannot use /dev/fuse", {}, errno);
  }
  return io::Status::Ok();
}

bool UsersMayAllowOthers() {
  std::ifstream file("/etc/fuse.conf");
  for (std::string line; std::getline(file, line);) {
    line.erase(std::min(line.find('#'), line.size()));
    line.erase(line.find_last_not_of(" \t") + 1);
    if (line.substr(std::min(line.find_first_not_of(" \t"), line.size())) == "user_allow_other") {
      return true;
    }
  }
  return false;
}

io::Status CheckRights(const MountOptions& options) {
  if (geteuid() == 0) return io::Status::Ok();
  if (options.dev_or_suid) {
    return io::Status::NotSupported("options dev and suid: only root may use them");
  }
  if ((options.allow_other || options.allow_root) && !UsersMayAllowOthers()) {
    return io::Status::NotSupported(
        "options allow_other and allow_root: /etc/fuse.conf does not have user_allow_other");
  }
  return io::Status::Ok();
}

// Everything that can be known without touching the store.
io::Result<DaemonOptions> Prepare(const Arguments& arguments, const MountOptions& mount) {
  TRY(CheckRights(mount));
  TRY(CheckFuseDevice());
  DaemonOptions options;
  options.mount = mount;
  options.store_path = TRY(ResolvePath(arguments.store));
  options.mountpoint = TRY(PrepareMountPoint(arguments.mountpoint));
  if (!options.mount.log_file.empty()) {
    options.mount.log_file = std::filesystem::absolute(options.mount.log_file);
  }
  return options;
}

int Run(const Arguments& arguments) {
  const io::Result<MountOptions> mount = ParseMountOptions(arguments.options);
  if (!mount.ok()) return Fail(kExitUsage, "mount", mount.status().message());
  const io::Result<DaemonOptions> options = Prepare(arguments, *mount);
  if (!options.ok()) return Fail(kExitMountFailed, "mount", options.status().message());

  bool was_live = false;
  const DaemonBody body = [&](const std::function<void()>& live) -> io::Status {
    TRY(StartDaemonLog({options->mount.log_level, options->mount.log_file, arguments.foreground}));
    return RunDaemon(*options, live);
  };
  PrepareSignals();
  if (arguments.foreground) {
    const io::Status status = body([&was_live] { was_live = true; });
    io::FlushLogs();
    if (status.ok()) return kExitDone;
    return Fail(was_live ? kExitOperational : kExitMountFailed, "mount", status.message());
  }
  const DaemonStart start = StartInBackground(body);
  if (start.interrupted) return kExitCancelled;
  if (!start.status.ok()) return Fail(kExitMountFailed, "mount", start.status.message());
  return kExitDone;
}

}  // namespace

Command AddMount(CLI::App& root) {
  CLI::App* const app = root.add_subcommand("mount", "Mounts a store; returns when it is live");
  const auto arguments = std::make_shared<Arguments>();
  app->add_flag("-f", arguments->foreground, "Stay in the foreground, log to stderr");
  app->add_option("-o", arguments->options, "Mount options, separated by commas")
      ->type_name("OPT[,OPT...]")
      ->allow_extra_args(false);
  app->add_option("STORE", arguments->store, "Directory that mkfs made")->required();
  app->add_option("MOUNTPOINT", arguments->mountpoint, "An empty directory")->required();
  app->footer(
      "Options: ro allow_other allow_root default_permissions nodev nosuid noexec sync dirsync\n"
      "  acl|noacl noatime|relatime|strictatime commit=DURATION cache=SIZE memtable=SIZE\n"
      "  compaction_rate=RATE|auto compaction_workers=N delete_deadline=DURATION\n"
      "  garbage_ratio=F inline_max=SIZE compress=none|zstd[:LEVEL]\n"
      "  transport=auto|dev|uring io=uring|posix writeback|nowriteback\n"
      "  log_level=LEVEL log_file=PATH\n"
      "Example: terracefs mount -o cache=1G,commit=1s /srv/store /mnt");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
