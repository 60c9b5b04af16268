#pragma once

#include <string>

#include "io/base/status.h"

namespace terracefs::fs {

struct DaemonLogOptions {
  std::string level = "info";
  std::string file;  // empty: stderr in the foreground, otherwise syslog
  bool foreground = false;
};

// Says where the log goes. Call before threads start.
io::Status StartDaemonLog(const DaemonLogOptions& options);

}  // namespace terracefs::fs
