#include "fs/fuse/mount_arguments.h"

#include <unistd.h>

#include <fstream>

#include "fs/fuse/libfuse.h"
#include "io/base/log.h"

namespace terracefs::fs {
namespace {

constexpr const char* kUringParameter = "/sys/module/fuse/parameters/enable_uring";
// Depth times processors is how many requests can be in the daemon at once, those that wait for a
// group commit included.
constexpr const char* kRingDepth = "io_uring_q_depth=32";

bool UringIsEnabled() {
  std::ifstream file(kUringParameter);
  char value = 'N';
  return file.get(value) && (value == 'Y' || value == '1');
}

bool EnableUring() {
  std::ofstream file(kUringParameter);
  file << 'Y';
  file.close();
  if (!UringIsEnabled()) return false;
  io::FsLog().info("switched on {} for transport=uring", kUringParameter);
  return true;
}

// A comma would end the option, a backslash escape what follows.
std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

io::Result<Transport> ChooseTransport(Transport wanted) {
  if (wanted == Transport::kDev) return Transport::kDev;
  constexpr bool kCompiledIn = TERRACEFS_URING_TRANSPORT_IS_SAFE;
  if (wanted == Transport::kAuto) {
    return kCompiledIn && UringIsEnabled() ? Transport::kUring : Transport::kDev;
  }
  if (!kCompiledIn) {
    return io::Status::NotSupported(
        "transport=uring: this program was built with a libfuse that cannot serve it");
  }
  if (access(kUringParameter, F_OK) != 0) {
    return io::Status::NotSupported("transport=uring: this kernel has no fuse over io_uring");
  }
  if (!UringIsEnabled() && !EnableUring()) {
    return io::Status::NotSupported(
        "transport=uring: fuse.enable_uring is off, and only root may switch it on");
  }
  return Transport::kUring;
}

std::vector<std::string> FuseArguments(const SessionOptions& options, Transport transport,
                                       bool as_root) {
  const MountOptions& mount = options.mount;
  std::string list = "fsname=" + Escaped(options.source) + ",subtype=terracefs,default_permissions";
  const auto add = [&list](bool wanted, const char* option) {
    if (wanted) list.append(",").append(option);
  };
  add(mount.allow_other, "allow_other");
  add(mount.allow_root, "allow_root");
  add(mount.read_only, "ro");
  add(mount.no_exec, "noexec");
  add(mount.sync, "sync");  // the kernel then marks every write
  add(mount.dirsync, "dirsync");
  add(mount.atime == AtimePolicy::kNone, "noatime");
  // libfuse's own default is nodev,nosuid, which root, as with every other filesystem, has to ask
  // for.
  if (as_root) {
    add(true, mount.no_dev ? "nodev" : "dev");
    add(true, mount.no_suid ? "nosuid" : "suid");
  }
  if (transport == Transport::kUring) {
    add(true, "io_uring");
    add(true, kRingDepth);
  }
  return {"terracefs", "-o", list};
}

}  // namespace terracefs::fs
