#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace terracefs::io {

// What the caller would do differently, not what went wrong in detail.
enum class StatusCode : unsigned char {
  kOk = 0,
  kNotFound = 1,         // the thing asked for does not exist
  kCorruption = 2,       // bytes on disk are not what was written
  kIoError = 3,          // the device or kernel refused an operation
  kNoSpace = 4,          // out of space; unlike kIoError this may pass
  kInvalidArgument = 5,  // the caller's (or user's) mistake
  kBusy = 6,             // somebody else holds it
  kShuttingDown = 7,     // the engine is closing; not a failure
  kWouldBlock = 8,       // asked not to wait for the disk, and it would have to
  kNotSupported = 9,     // this build or kernel cannot do it
  kPosix = 10,           // an answer of a POSIX operation: see os_errno()
  kCancelled = 11,       // stopped because the user asked
};

// The outcome of an operation. Success and context-free errors never allocate. Move-only would
// be cheaper still, but a copied Status is what sticky errors need. Not thread-safe; a value.
class [[nodiscard]] Status {
 public:
  Status() = default;

  static Status Ok() { return Status(); }
  static Status NotFound(std::string_view what, std::string_view where = {});
  static Status Corruption(std::string_view what, std::string_view where = {});
  // `os_errno` is what the kernel said; ENOSPC and EDQUOT become kNoSpace.
  static Status IoError(std::string_view what, std::string_view where, int os_errno);
  static Status NoSpace(std::string_view what, std::string_view where = {});
  static Status InvalidArgument(std::string_view what, std::string_view where = {});
  static Status Busy(std::string_view what, std::string_view where = {});
  static Status NotSupported(std::string_view what, std::string_view where = {});
  static Status ShuttingDown() { return Status(StatusCode::kShuttingDown, 0); }
  static Status WouldBlock() { return Status(StatusCode::kWouldBlock, 0); }
  static Status Cancelled() { return Status(StatusCode::kCancelled, 0); }
  // The errno a POSIX operation answers with; used by fs/ only. Never allocates.
  static Status Posix(int os_errno) { return Status(StatusCode::kPosix, os_errno); }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  bool Is(StatusCode code) const { return code_ == code; }
  int os_errno() const { return os_errno_; }
  // Human text without the code's name: "what: where: strerror".
  std::string message() const;
  // Human text with the code's name first.
  std::string ToString() const;

  // Says that dropping this error is safe, and why.
  void IgnoreError([[maybe_unused]] const char* why) const {}

 private:
  Status(StatusCode code, int os_errno) : code_(code), os_errno_(os_errno) {}
  static Status Make(StatusCode code, int os_errno, std::string_view what, std::string_view where);

  StatusCode code_ = StatusCode::kOk;
  int os_errno_ = 0;
  std::shared_ptr<const std::string> context_;
};

const char* StatusCodeName(StatusCode code);

}  // namespace terracefs::io
