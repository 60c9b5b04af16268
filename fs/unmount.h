#pragma once

#include <string>

#include "io/base/status.h"

namespace terracefs::fs {

// Unmounts `mountpoint`: by itself if this process may, otherwise through fusermount3, which
// unmounts for the user who mounted. `lazily` detaches a mount that is in use. Busy if it is in
// use, IoError with the reason otherwise.
io::Status Unmount(const std::string& mountpoint, bool lazily);

}  // namespace terracefs::fs
