#include "fs/errno.h"

#include <cerrno>

namespace terracefs::fs {

int ToErrno(const io::Status& status) {
  using io::StatusCode;
  switch (status.code()) {
    case StatusCode::kOk:
      return 0;
    case StatusCode::kNotFound:
      return ENOENT;
    case StatusCode::kCorruption:
      return EIO;
    case StatusCode::kIoError:
      return EIO;
    case StatusCode::kNoSpace:
      return ENOSPC;
    case StatusCode::kInvalidArgument:
      return EINVAL;
    case StatusCode::kBusy:
      return EBUSY;
    case StatusCode::kShuttingDown:
      return EIO;
    case StatusCode::kWouldBlock:
      return EAGAIN;
    case StatusCode::kNotSupported:
      return EOPNOTSUPP;
    case StatusCode::kPosix:
      return status.os_errno() > 0 ? status.os_errno() : EIO;
    case StatusCode::kCancelled:
      return ECANCELED;
  }
  return EIO;
}

bool IsFault(const io::Status& status) {
  using io::StatusCode;
  return status.Is(StatusCode::kCorruption) || status.Is(StatusCode::kIoError) ||
         status.Is(StatusCode::kWouldBlock) || status.Is(StatusCode::kInvalidArgument);
}

}  // namespace terracefs::fs
