#pragma once

#include <spdlog/spdlog.h>

#include <memory>
#include <string>

#include "io/base/status.h"

namespace terracefs::io {

struct LogOptions {
  std::string level = "info";  // trace debug info warn err critical off
  std::string file;            // empty: stderr, or syslog if asked for
  bool syslog = false;         // without a file: to the system's log instead of stderr
};

// Sets up the process's loggers. Call once, before threads start; without it everything at info
// and above goes to stderr. InvalidArgument for an unknown level, IoError if the file cannot be
// opened.
Status StartLogging(const LogOptions& options);
// Changes the level of all loggers while running; InvalidArgument for an unknown one.
Status SetLogLevel(const std::string& level);
// Writes out what is buffered.
void FlushLogs();

// One logger per layer. Safe from any thread. Never call under a short lock.
spdlog::logger& IoLog();
spdlog::logger& LsmLog();
spdlog::logger& FsLog();

}  // namespace terracefs::io
