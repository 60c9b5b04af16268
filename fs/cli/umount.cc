#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <vector>

#include "fs/cli/command.h"
#include "fs/cli/mount_client.h"
#include "fs/cli/mount_point.h"
#include "fs/mount_table.h"
#include "fs/unmount.h"

namespace terracefs::fs {
namespace {

struct Arguments {
  std::string mountpoint;
};

int DetachDead(const std::string& mountpoint) {
  const io::Status status = Unmount(mountpoint, /*lazily=*/true);
  if (!status.ok()) return Fail(kExitRefused, "umount", mountpoint + ": " + status.message());
  std::fputs("terracefs: umount: the daemon had died before; what was not yet durable is lost\n",
             stderr);
  return kExitDone;
}

// Not for long where another mount namespace may hold on to the filesystem, so that the daemon
// stays: by then everything is durable in any case.
constexpr int kExitPatienceMs = 60'000;

void WaitForExit(const io::UniqueFd& process) {
  if (!process.valid()) return;
  pollfd waiting{process.get(), POLLIN, 0};
  while (poll(&waiting, 1, kExitPatienceMs) < 0 && errno == EINTR) {
  }
}

// A bind mount, say: the daemon goes on.
bool IsMountedElsewhere(const std::string& device) {
  const std::vector<MountEntry> mounts = ReadMountTable();
  return std::any_of(mounts.begin(), mounts.end(),
                     [&](const MountEntry& entry) { return entry.device == device; });
}

int Run(const Arguments& arguments) {
  const io::Result<std::string> resolved = ResolvePath(arguments.mountpoint);
  if (!resolved.ok()) return Fail(kExitRefused, "umount", resolved.status().message());
  const std::string& mountpoint = *resolved;
  const std::optional<MountEntry> mount = FindMount(mountpoint);
  if (!mount || mount->type != kMountType) {
    return Fail(kExitRefused, "umount", mountpoint + ": no terracefs is mounted there");
  }
  if (IsDeadMount(mountpoint)) return DetachDead(mountpoint);

  io::Status synced;
  io::UniqueFd daemon;
  {
    const io::Result<MountClient> client = MountClient::Open(mountpoint);
    if (!client.ok()) return Fail(kExitRefused, "umount", client.status().message());
    const io::Result<terracefs_stats> stats = client->Stats();
    if (!stats.ok()) return Fail("umount", stats.status());
    // Taken while it certainly lives, so that the number cannot come to mean another process.
    daemon = io::UniqueFd(
        static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(stats->daemon_pid), 0)));
    // A disk that refuses must not keep the mount; the failure is still the outcome.
    synced = client->Sync();
  }
  const io::Status unmounted = Unmount(mountpoint, /*lazily=*/false);
  if (!unmounted.ok()) {
    return Fail(kExitRefused, "umount", mountpoint + ": " + unmounted.message());
  }
  if (!IsMountedElsewhere(mount->device)) WaitForExit(daemon);
  if (!synced.ok()) {
    return Fail(kExitOperational, "umount",
                mountpoint + ": unmounted, but not everything is durable: " + synced.message());
  }
  return kExitDone;
}

}  // namespace

Command AddUmount(CLI::App& root) {
  CLI::App* const app =
      root.add_subcommand("umount", "Unmounts; returns when everything is durable");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("MOUNTPOINT", arguments->mountpoint, "Where the store is mounted")->required();
  app->footer("Example: terracefs umount /mnt");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
