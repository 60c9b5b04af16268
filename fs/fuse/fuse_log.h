#pragma once

#include <string>

namespace terracefs::fs {

// Sends what libfuse has to say to the log. Call before a session exists.
void RouteLibfuseLog();
// The first error libfuse has reported since the last call, as one line; empty if none.
std::string TakeLibfuseError();

// While it exists, what this process and its children write to stderr is collected, because the
// programs that libfuse runs explain themselves there. Use only where no other thread writes to it.
class StderrCapture {
 public:
  StderrCapture();
  ~StderrCapture();
  StderrCapture(const StderrCapture&) = delete;
  StderrCapture& operator=(const StderrCapture&) = delete;
  // The last line so far, without its line end; empty if there is none.
  std::string LastLine() const;

 private:
  int saved_fd_ = -1;
  int memory_fd_ = -1;
};

}  // namespace terracefs::fs
