#pragma once

#include <memory>
#include <string>

#include "io/storage.h"

namespace terracefs::io {

enum class IoBackend { kUring, kPosix };

// Opens the directory `path`, which must exist. Where io_uring is wanted but forbidden or missing,
// the posix backend takes its place, and the log says so once. NotFound if `path` is missing,
// InvalidArgument if it is not a directory, IoError (EACCES in os_errno) without permission.
Result<std::unique_ptr<Storage>> OpenStorage(const std::string& path, IoBackend wanted);

}  // namespace terracefs::io
