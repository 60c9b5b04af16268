#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "fs/store_files.h"
#include "io/storage.h"

namespace terracefs::fs {

// Takes the store's lock. If it is held by a daemon whose mount is gone already, waits up to
// `patience` for that daemon to end; any other holder is Busy at once, with a message that names
// it. So are mounts that only read, which are given a moment to end.
io::Result<std::unique_ptr<io::StorageLock>> TakeStoreLock(io::Storage& storage,
                                                           std::chrono::milliseconds patience);
// The same for a mount that only reads, beside others that do, and without writing: whoever finds
// the lock taken by these learns no more. Null if the store has lost its lock file.
io::Result<std::unique_ptr<io::StorageLock>> TakeStoreLockToRead(
    io::Storage& storage, std::chrono::milliseconds patience);

// Waits until the process `pid` has ended, at most for `patience`; false if it has not. A process
// that cannot be seen from here counts as ended.
bool WaitForExit(int pid, std::chrono::milliseconds patience);

}  // namespace terracefs::fs
