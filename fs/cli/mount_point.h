#pragma once

#include <string>

#include "io/base/result.h"

namespace terracefs::fs {

// `path` absolute and without symbolic links, also if it is a mount whose daemon has died.
io::Result<std::string> ResolvePath(const std::string& path);

// The resolved path if something can be mounted there: an empty directory that is not a mount
// point. A mount of terracefs whose daemon has died is detached first, which loses nothing: all
// that is left of it is an error for every call. Otherwise the reason.
io::Result<std::string> PrepareMountPoint(const std::string& path);

// True for the errno that calls on a mount get whose daemon has died.
bool IsDeathErrno(int os_errno);
// True if the daemon that served this mount is gone.
bool IsDeadMount(const std::string& path);

}  // namespace terracefs::fs
