#pragma once

#include <optional>

namespace terracefs::fs {

// What mount(8) and umount(8) run for a filesystem of type fuse.terracefs or terracefs: this
// program under the name mount.TYPE or umount.TYPE, or by way of mount.fuse3, which calls
// `terracefs STORE MOUNTPOINT -o ...`. The exit code (see mount(8)); nothing if this is none of
// these calls.
std::optional<int> RunAsMountHelper(int argc, char** argv);

}  // namespace terracefs::fs
