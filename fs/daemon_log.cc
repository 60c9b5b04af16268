#include "fs/daemon_log.h"

#include <fcntl.h>

#include <cerrno>

#include "io/base/log.h"
#include "io/unique_fd.h"

namespace terracefs::fs {

io::Status StartDaemonLog(const DaemonLogOptions& options) {
  if (!options.file.empty()) {
    // The logger would make missing directories, too.
    const io::UniqueFd file(
        open(options.file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
    if (!file.valid()) return io::Status::IoError("cannot open log file", options.file, errno);
  }
  io::LogOptions log;
  log.level = options.level;
  log.file = options.file;
  log.syslog = !options.foreground;
  return io::StartLogging(log);
}

}  // namespace terracefs::fs
