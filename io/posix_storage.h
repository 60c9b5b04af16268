#pragma once

#include <memory>
#include <string>

#include "io/storage.h"

namespace terracefs::io {

// Storage over pread, pwrite and fdatasync: the fallback where io_uring is forbidden, and the
// reference that the other backends are compared with. File::Start does the work at once, one
// request after the other. NotFound if the directory `path` is missing, InvalidArgument if it is
// not a directory.
Result<std::unique_ptr<Storage>> OpenPosixStorage(const std::string& path);

}  // namespace terracefs::io
