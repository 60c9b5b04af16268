#include "fs/cli/mount_helper.h"

#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "fs/cli/command.h"
#include "fs/cli/mount_client.h"
#include "fs/cli/mount_point.h"
#include "fs/control/live_settings.h"
#include "fs/mount_options.h"
#include "fs/mount_table.h"

namespace terracefs::fs {
namespace {

constexpr const char* kMount = "mount";
constexpr const char* kUmount = "umount";

// The arguments that mount(8) and umount(8) give their helpers.
struct HelperArguments {
  bool fake = false;
  bool forced = false;
  bool lazy = false;
  std::vector<std::string> options;
  std::vector<std::string> operands;
};

std::optional<HelperArguments> ParseArguments(int argc, char** argv, const char* known) {
  HelperArguments arguments;
  optind = 1;
  opterr = 0;
  for (int option = 0; (option = getopt(argc, argv, known)) != -1;) {
    switch (option) {
      case 'f':
        arguments.fake = arguments.forced = true;
        break;
      case 'l':
        arguments.lazy = true;
        break;
      case 'o':
        arguments.options.emplace_back(optarg);
        break;
      case '?':
        return std::nullopt;
      default:  // nothing that matters here: sloppy, verbose, without mtab, namespace, type
        break;
    }
  }
  for (int i = optind; i < argc; ++i) arguments.operands.emplace_back(argv[i]);
  return arguments;
}

// --- Remounting

struct FlagOption {
  std::string_view name;
  unsigned long set;
  unsigned long cleared;
};
constexpr std::array kFlagOptions = {
    FlagOption{"ro", MS_RDONLY, 0},
    FlagOption{"rw", 0, MS_RDONLY},
    FlagOption{"nosuid", MS_NOSUID, 0},
    FlagOption{"suid", 0, MS_NOSUID},
    FlagOption{"nodev", MS_NODEV, 0},
    FlagOption{"dev", 0, MS_NODEV},
    FlagOption{"noexec", MS_NOEXEC, 0},
    FlagOption{"exec", 0, MS_NOEXEC},
    FlagOption{"noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME},
    FlagOption{"relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME},
    FlagOption{"strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME},
    FlagOption{"nodiratime", MS_NODIRATIME, 0},
    FlagOption{"diratime", 0, MS_NODIRATIME},
};
// Flags of statvfs are those of mount for all that is kept here. Only the next mount changes sync.
constexpr unsigned long kKeptFlags =
    MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS | MS_NOATIME | MS_NODIRATIME;
static_assert(+ST_RDONLY == +MS_RDONLY && +ST_NOSUID == +MS_NOSUID && +ST_NODEV == +MS_NODEV &&
              +ST_NOEXEC == +MS_NOEXEC && +ST_SYNCHRONOUS == +MS_SYNCHRONOUS &&
              +ST_NOATIME == +MS_NOATIME && +ST_NODIRATIME == +MS_NODIRATIME);

unsigned long ChangedFlags(unsigned long flags, const std::vector<std::string_view>& options) {
  for (const std::string_view option : options) {
    for (const FlagOption& known : kFlagOptions) {
      if (known.name == option) flags = (flags & ~known.cleared) | known.set;
    }
  }
  return flags;
}

// What the daemon has to know. The kernel shows strictatime as relatime, so that, out of the mount
// table, asks for a change only where noatime was.
uint32_t DaemonChange(unsigned long before, unsigned long after) {
  uint32_t change = 0;
  if ((after & MS_STRICTATIME) != 0) {
    change |= TERRACEFS_SYNC_STRICTATIME;
  } else if ((after & MS_NOATIME) != 0) {
    change |= TERRACEFS_SYNC_NOATIME;
  } else if ((before & MS_NOATIME) != 0) {
    change |= TERRACEFS_SYNC_RELATIME;
  }
  return change | ((after & MS_RDONLY) != 0 ? TERRACEFS_SYNC_READ_ONLY : TERRACEFS_SYNC_WRITABLE);
}

// Options of the mount that can change while it lives. mount(8) gives those of fstab as well as
// those of its command line, so the ones that cannot are passed over.
io::Status ChangeSettings(const MountClient& client, const std::vector<std::string_view>& options) {
  for (const std::string_view option : options) {
    const size_t equals = option.find('=');
    const std::string_view key = option.substr(0, equals);
    if (equals == option.npos || !LiveSettings::CheckKey(key).ok()) continue;
    const std::string_view value = option.substr(equals + 1);
    const io::Status valid = LiveSettings::Check(key, value);
    if (!valid.ok()) {
      return io::Status::InvalidArgument(fmt::format("option {}: {}", key, valid.message()));
    }
    TRY(client.Config(TERRACEFS_CONFIG_SET, key, value));
  }
  return io::Status::Ok();
}

io::Status SetKernelFlags(const std::string& mountpoint, unsigned long flags) {
  if (mount("none", mountpoint.c_str(), "fuse", MS_REMOUNT | flags, "") == 0) {
    return io::Status::Ok();
  }
  if (errno == EBUSY) return io::Status::Busy("files are open for writing, or unlinked and open");
  return io::Status::IoError("remount", mountpoint, errno);
}

io::Status Remount(const std::string& path, const std::vector<std::string_view>& options) {
  const std::string mountpoint = TRY(ResolvePath(path));
  const std::optional<MountEntry> entry = FindMount(mountpoint);
  if (!entry || entry->type != kMountType) {
    return io::Status::NotSupported("no terracefs is mounted there", mountpoint);
  }
  const MountClient client = TRY(MountClient::Open(mountpoint));
  struct statvfs now {};
  if (statvfs(mountpoint.c_str(), &now) != 0) {
    return io::Status::IoError("cannot use", mountpoint, errno);
  }
  const unsigned long before = now.f_flag & kKeptFlags;
  const unsigned long after = ChangedFlags(before, options);
  TRY(ChangeSettings(client, options));
  const uint32_t change = DaemonChange(before, after);
  if ((after & MS_RDONLY) == 0) {
    // The daemon first: what the kernel lets through must be served.
    const io::Status writable = client.Sync(change);
    if (writable.os_errno() == EROFS) {
      return io::Status::NotSupported("it was mounted read-only; unmount and mount it anew",
                                      mountpoint);
    }
    TRY(writable);
    return SetKernelFlags(mountpoint, after);
  }
  TRY(SetKernelFlags(mountpoint, after));
  return client.Sync(change);
}

// --- Mounting and unmounting

int MountOrRemount(const HelperArguments& arguments) {
  if (arguments.operands.size() != 2) {
    return Fail(kExitUsage, kMount, "usage: mount -t fuse.terracefs STORE MOUNTPOINT -o OPTIONS");
  }
  if (arguments.fake) return kExitDone;
  const std::string& mountpoint = arguments.operands[1];
  const std::vector<std::string_view> options = SplitMountOptions(arguments.options);
  if (std::find(options.begin(), options.end(), "remount") != options.end()) {
    const io::Status status = Remount(mountpoint, options);
    return status.ok() ? kExitDone : Fail(kExitMountFailed, kMount, status.message());
  }
  std::vector<std::string> words = {"terracefs", kMount};
  for (const std::string& list : arguments.options) words.insert(words.end(), {"-o", list});
  words.insert(words.end(), {"--", arguments.operands[0], mountpoint});
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  return RunCommandLine(static_cast<int>(pointers.size()), pointers.data());
}

int UnmountFor(const HelperArguments& arguments) {
  if (arguments.operands.size() != 1) return Fail(kExitUsage, kUmount, "usage: umount MOUNTPOINT");
  std::string mountpoint = arguments.operands[0];
  if (!arguments.forced && !arguments.lazy) {
    std::string command = kUmount;
    std::string program = "terracefs";
    std::array<char*, 3> words = {program.data(), command.data(), mountpoint.data()};
    return RunCommandLine(static_cast<int>(words.size()), words.data());
  }
  const int flags =
      UMOUNT_NOFOLLOW | (arguments.forced ? MNT_FORCE : 0) | (arguments.lazy ? MNT_DETACH : 0);
  if (umount2(mountpoint.c_str(), flags) == 0) return kExitDone;
  return Fail(kExitMountFailed, kUmount,
              io::Status::IoError("unmount", mountpoint, errno).message());
}

}  // namespace

std::optional<int> RunAsMountHelper(int argc, char** argv) {
  if (argc < 1) return std::nullopt;
  const std::string_view program = argv[0];
  const std::string_view name = program.substr(program.rfind('/') + 1);
  const bool by_path = argc > 2 && argv[1][0] == '/';  // mount.fuse3; no subcommand begins so
  if (name.starts_with("umount.")) {
    const auto arguments = ParseArguments(argc, argv, "flnrvN:t:");
    return arguments ? UnmountFor(*arguments) : Fail(kExitUsage, kUmount, "unknown option");
  }
  if (!name.starts_with("mount.") && !by_path) return std::nullopt;
  const auto arguments = ParseArguments(argc, argv, "sfnvN:o:t:");
  return arguments ? MountOrRemount(*arguments) : Fail(kExitUsage, kMount, "unknown option");
}

}  // namespace terracefs::fs
