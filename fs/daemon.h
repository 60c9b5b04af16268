#pragma once

#include <functional>
#include <string>

#include "fs/mount_options.h"
#include "io/base/status.h"

namespace terracefs::fs {

struct DaemonOptions {
  std::string store_path;  // absolute, without symbolic links
  std::string mountpoint;  // likewise
  MountOptions mount;
};

// Opens the store, mounts it and serves until it is unmounted; then closes everything in the
// reverse order: requests answered, jobs cancelled, filesystem and engine closed, lock released.
// `live` is called once, from another thread, when the mount answers. An error before that means
// that nothing is mounted. Call from a process without other threads, after PrepareSignals.
io::Status RunDaemon(const DaemonOptions& options, const std::function<void()>& live);

}  // namespace terracefs::fs
