#include <algorithm>

#include "fs/fuse/ops.h"
#include "fs/fuse/service.h"
#include "io/base/units.h"

namespace terracefs::fs {
namespace {

constexpr uint32_t kWriteBytesMax = io::kMiB;
constexpr uint32_t kReadAheadBytesMax = io::kMiB;
constexpr uint32_t kBackgroundRequestsMax = 128;
constexpr uint32_t kCongestionThreshold = 96;

bool IsOffered(const fuse_conn_info& connection, uint64_t capability) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  return (connection.capable_ext & capability) != 0;
#else
  return (connection.capable & capability) != 0;
#endif
}

void Want(fuse_conn_info* connection, uint64_t capability, bool wanted) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  if (wanted) {
    fuse_set_feature_flag(connection, capability);  // does nothing if it is not offered
  } else {
    fuse_unset_feature_flag(connection, capability);
  }
#else
  const auto flag = static_cast<unsigned>(capability);
  if (wanted && (connection->capable & flag) != 0) {
    connection->want |= flag;
  } else {
    connection->want &= ~flag;
  }
#endif
}

// Every choice here saves requests, or trades them for what POSIX demands.
void ChooseCapabilities(const ServiceTargets& targets, fuse_conn_info* connection) {
  Want(connection, FUSE_CAP_ASYNC_READ, true);
  Want(connection, FUSE_CAP_ASYNC_DIO, true);
  Want(connection, FUSE_CAP_PARALLEL_DIROPS, true);
  Want(connection, FUSE_CAP_READDIRPLUS, true);
  Want(connection, FUSE_CAP_READDIRPLUS_AUTO, false);
  Want(connection, FUSE_CAP_CACHE_SYMLINKS, true);
  Want(connection, FUSE_CAP_IOCTL_DIR, true);
  // Nobody else changes files, so cached pages are never stale.
  Want(connection, FUSE_CAP_AUTO_INVAL_DATA, false);
  Want(connection, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
  Want(connection, FUSE_CAP_WRITEBACK_CACHE, targets.writeback);
  // The kernel checks ACLs, which it remembers (since 6.18.42 not those of the root directory), and
  // leaves the umask to us: where a directory has a default ACL it does not count.
  Want(connection, FUSE_CAP_POSIX_ACL, targets.acl);
  Want(connection, FUSE_CAP_DONT_MASK, targets.acl);
  // Opens send nothing, so truncation has to come as SETATTR.
  Want(connection, FUSE_CAP_ATOMIC_O_TRUNC, false);
  // The kernel's own locks serve a filesystem that has no other clients.
  Want(connection, FUSE_CAP_POSIX_LOCKS, false);
  Want(connection, FUSE_CAP_FLOCK_LOCKS, false);
  // A file handle is a node id, which is the inode's number for good: LOOKUP of "." finds it.
  Want(connection, FUSE_CAP_EXPORT_SUPPORT, true);
  Want(connection, FUSE_CAP_SPLICE_READ, false);
  Want(connection, FUSE_CAP_SPLICE_WRITE, false);
  Want(connection, FUSE_CAP_SPLICE_MOVE, false);
  // Clearing setuid, setgid and capabilities: version 2 spares the kernel a GETXATTR for every
  // write. Version 1 would leave it to us without telling who writes.
  Want(connection, FUSE_CAP_HANDLE_KILLPRIV, false);
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
  Want(connection, FUSE_CAP_HANDLE_KILLPRIV_V2, true);
#endif
}

}  // namespace

void Init(void* userdata, fuse_conn_info* connection) noexcept {
  Service& service = *static_cast<Service*>(userdata);
  ChooseCapabilities(service.targets(), connection);
  service.can_skip_open = IsOffered(*connection, FUSE_CAP_NO_OPEN_SUPPORT);
  service.can_skip_opendir = IsOffered(*connection, FUSE_CAP_NO_OPENDIR_SUPPORT);
  connection->max_write = kWriteBytesMax;
  connection->max_readahead = std::min(connection->max_readahead, kReadAheadBytesMax);
  connection->max_background = kBackgroundRequestsMax;
  connection->congestion_threshold = kCongestionThreshold;
  connection->time_gran = 1;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  connection->no_interrupt = 1;  // requests are short, and those that wait end by themselves
#endif
  if (service.on_init) service.on_init();
}

}  // namespace terracefs::fs
