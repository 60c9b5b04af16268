#include "fs/daemon_log.h"

#include "io/base/log.h"

namespace terracefs::fs {

io::Status StartDaemonLog(const DaemonLogOptions& options) {
  io::LogOptions log;
  log.level = options.level;
  log.file = options.file;
  log.syslog = !options.foreground;
  return io::StartLogging(log);
}

}  // namespace terracefs::fs
