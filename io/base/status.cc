#include "io/base/status.h"

#include <cerrno>
#include <system_error>

namespace terracefs::io {

const char* StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "ok";
    case StatusCode::kNotFound:
      return "not found";
    case StatusCode::kCorruption:
      return "corruption";
    case StatusCode::kIoError:
      return "i/o error";
    case StatusCode::kNoSpace:
      return "no space";
    case StatusCode::kInvalidArgument:
      return "invalid argument";
    case StatusCode::kBusy:
      return "busy";
    case StatusCode::kShuttingDown:
      return "shutting down";
    case StatusCode::kWouldBlock:
      return "would block";
    case StatusCode::kNotSupported:
      return "not supported";
    case StatusCode::kPosix:
      return "posix";
    case StatusCode::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

Status Status::Make(StatusCode code, int os_errno, std::string_view what, std::string_view where) {
  Status status(code, os_errno);
  std::string context(what);
  if (!where.empty()) {
    context.append(": ");
    context.append(where);
  }
  status.context_ = std::make_shared<const std::string>(std::move(context));
  return status;
}

Status Status::NotFound(std::string_view what, std::string_view where) {
  return Make(StatusCode::kNotFound, 0, what, where);
}
Status Status::Corruption(std::string_view what, std::string_view where) {
  return Make(StatusCode::kCorruption, 0, what, where);
}
Status Status::IoError(std::string_view what, std::string_view where, int os_errno) {
  const bool full = os_errno == ENOSPC || os_errno == EDQUOT;
  return Make(full ? StatusCode::kNoSpace : StatusCode::kIoError, os_errno, what, where);
}
Status Status::NoSpace(std::string_view what, std::string_view where) {
  return Make(StatusCode::kNoSpace, ENOSPC, what, where);
}
Status Status::InvalidArgument(std::string_view what, std::string_view where) {
  return Make(StatusCode::kInvalidArgument, 0, what, where);
}
Status Status::Busy(std::string_view what, std::string_view where) {
  return Make(StatusCode::kBusy, 0, what, where);
}
Status Status::NotSupported(std::string_view what, std::string_view where) {
  return Make(StatusCode::kNotSupported, 0, what, where);
}

std::string Status::message() const {
  std::string text = context_ ? *context_ : std::string();
  if (os_errno_ != 0) {
    if (!text.empty()) text.append(": ");
    text.append(std::generic_category().message(os_errno_));
  }
  if (text.empty()) text = StatusCodeName(code_);
  return text;
}

std::string Status::ToString() const {
  if (ok()) return "ok";
  std::string text = StatusCodeName(code_);
  const std::string detail = message();
  if (detail != text) {
    text.append(": ");
    text.append(detail);
  }
  return text;
}

}  // namespace terracefs::io
