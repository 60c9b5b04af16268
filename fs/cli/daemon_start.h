#pragma once

#include <functional>

#include "io/base/status.h"

namespace terracefs::fs {

// What runs as the daemon: calls its argument when it is ready for users, returns when it is over.
using DaemonBody = std::function<io::Status(const std::function<void()>& live)>;

struct DaemonStart {
  io::Status status;         // ok: the daemon is live
  bool interrupted = false;  // by SIGINT or SIGTERM; the daemon has been told to end, and has
};

// Runs `body` in a process of its own, without terminal, in "/", with its standard streams at
// /dev/null, and returns in this process when it is live or has failed. This process must have no
// other threads and must have called PrepareSignals.
DaemonStart StartInBackground(const DaemonBody& body);

// The exit status of a daemon whose body ended with `status`.
int DaemonExitCode(const io::Status& status);

}  // namespace terracefs::fs
