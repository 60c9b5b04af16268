#include "fs/daemon_log.h"

#include <spdlog/sinks/syslog_sink.h>
#include <syslog.h>

#include "io/base/log.h"

namespace terracefs::fs {

io::Status StartDaemonLog(const DaemonLogOptions& options) {
  io::LogOptions plain;
  plain.level = options.level;
  plain.file = options.file;
  if (io::Status status = io::StartLogging(plain); !status.ok()) return status;
  if (!options.file.empty() || options.foreground) return io::Status::Ok();
  // syslog stamps the time and the name itself.
  const auto sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("terracefs", LOG_PID,
                                                                    LOG_DAEMON, true);
  for (spdlog::logger* const logger : {&io::IoLog(), &io::LsmLog(), &io::FsLog()}) {
    logger->sinks() = {sink};
    logger->set_pattern("%n: %v");
  }
  return io::Status::Ok();
}

}  // namespace terracefs::fs
