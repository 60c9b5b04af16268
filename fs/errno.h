#pragma once

#include "io/base/status.h"

namespace terracefs::fs {

// The errno that a system call answers with for `status`, positive; 0 if it is ok. The one place
// where a Status becomes an errno.
int ToErrno(const io::Status& status);

// True if `status` tells of damage or of the engine failing: worth a line in the log, whereas the
// errors that POSIX foresees are answers.
bool IsFault(const io::Status& status);

}  // namespace terracefs::fs
