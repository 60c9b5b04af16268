#include "io/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <syslog.h>

#include <array>

namespace terracefs::io {
namespace {

struct Loggers {
  std::shared_ptr<spdlog::logger> io;
  std::shared_ptr<spdlog::logger> lsm;
  std::shared_ptr<spdlog::logger> fs;
};

Loggers MakeLoggers(const spdlog::sink_ptr& sink, spdlog::level::level_enum level) {
  Loggers loggers{std::make_shared<spdlog::logger>("io", sink),
                  std::make_shared<spdlog::logger>("lsm", sink),
                  std::make_shared<spdlog::logger>("fs", sink)};
  for (const auto& logger : {loggers.io, loggers.lsm, loggers.fs}) {
    logger->set_level(level);
    logger->flush_on(spdlog::level::warn);
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %n %l: %v");
  }
  return loggers;
}

Loggers& Current() {
  static Loggers loggers =
      MakeLoggers(std::make_shared<spdlog::sinks::stderr_sink_mt>(), spdlog::level::info);
  return loggers;
}

Status ParseLevel(const std::string& name, spdlog::level::level_enum* level) {
  *level = spdlog::level::from_str(name);
  if (*level == spdlog::level::off && name != "off") {
    return Status::InvalidArgument("unknown log level", name);
  }
  return Status::Ok();
}

}  // namespace

Status StartLogging(const LogOptions& options) {
  spdlog::level::level_enum level{};
  if (Status status = ParseLevel(options.level, &level); !status.ok()) return status;
  if (options.file.empty() && options.syslog) {
    Current() = MakeLoggers(
        std::make_shared<spdlog::sinks::syslog_sink_mt>("terracefs", LOG_PID, LOG_DAEMON, true),
        level);
    // syslog stamps the time and the name itself.
    for (const auto& logger : {Current().io, Current().lsm, Current().fs}) {
      logger->set_pattern("%n: %v");
    }
    return Status::Ok();
  }
  if (options.file.empty()) {
    Current() = MakeLoggers(std::make_shared<spdlog::sinks::stderr_sink_mt>(), level);
    return Status::Ok();
  }
  try {
    Current() =
        MakeLoggers(std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file), level);
  } catch (const spdlog::spdlog_ex& error) {
    return Status::IoError("cannot open log file", error.what(), 0);
  }
  return Status::Ok();
}

Status SetLogLevel(const std::string& level_name) {
  spdlog::level::level_enum level{};
  if (Status status = ParseLevel(level_name, &level); !status.ok()) return status;
  for (const auto& logger : {Current().io, Current().lsm, Current().fs}) logger->set_level(level);
  return Status::Ok();
}

void FlushLogs() {
  for (const auto& logger : {Current().io, Current().lsm, Current().fs}) logger->flush();
}

spdlog::logger& IoLog() { return *Current().io; }
spdlog::logger& LsmLog() { return *Current().lsm; }
spdlog::logger& FsLog() { return *Current().fs; }

}  // namespace terracefs::io
