#include "fs/fuse/fuse_log.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <utility>

#include "fs/fuse/libfuse.h"
#include "io/base/log.h"
#include "io/base/mutex.h"

namespace terracefs::fs {
namespace {

constexpr size_t kMessageBytesMax = 1024;

struct FirstError {
  io::Mutex mutex;
  std::string text GUARDED_BY(mutex);
};

FirstError& Remembered() {
  static FirstError error;
  return error;
}

void Log(fuse_log_level level, const char* format, va_list arguments) {
  std::array<char, kMessageBytesMax> text;
  const int length = vsnprintf(text.data(), text.size(), format, arguments);
  if (length <= 0) return;
  std::string_view line(text.data(), std::min(static_cast<size_t>(length), text.size() - 1));
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  switch (level) {
    case FUSE_LOG_DEBUG:
      io::FsLog().debug("{}", line);
      return;
    case FUSE_LOG_INFO:
    case FUSE_LOG_NOTICE:
      io::FsLog().info("{}", line);
      return;
    case FUSE_LOG_WARNING:
      io::FsLog().warn("{}", line);
      return;
    default:
      break;
  }
  // Errors of mounting are reported by whoever asked for the mount; later ones are for the log.
  io::FsLog().info("{}", line);
  io::MutexLock lock(Remembered().mutex);
  if (Remembered().text.empty()) Remembered().text = line;
}

}  // namespace

void RouteLibfuseLog() { fuse_set_log_func(Log); }

std::string TakeLibfuseError() {
  io::MutexLock lock(Remembered().mutex);
  return std::exchange(Remembered().text, {});
}

StderrCapture::StderrCapture() {
  memory_fd_ = memfd_create("stderr", MFD_CLOEXEC);
  if (memory_fd_ < 0) return;
  saved_fd_ = dup(STDERR_FILENO);
  if (saved_fd_ >= 0) dup2(memory_fd_, STDERR_FILENO);
}

StderrCapture::~StderrCapture() {
  if (saved_fd_ >= 0) {
    dup2(saved_fd_, STDERR_FILENO);
    close(saved_fd_);
  }
  if (memory_fd_ >= 0) close(memory_fd_);
}

std::string StderrCapture::LastLine() const {
  std::array<char, 4096> text;
  const ssize_t bytes = memory_fd_ < 0 ? 0 : pread(memory_fd_, text.data(), text.size(), 0);
  std::string_view all(text.data(), bytes > 0 ? static_cast<size_t>(bytes) : 0);
  while (!all.empty() && all.back() == '\n') all.remove_suffix(1);
  const size_t begin = all.rfind('\n');
  return std::string(begin == all.npos ? all : all.substr(begin + 1));
}

}  // namespace terracefs::fs
