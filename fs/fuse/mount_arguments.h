#pragma once

#include <string>
#include <vector>

#include "fs/fuse/session.h"
#include "io/base/result.h"

namespace terracefs::fs {

// What the transport option comes to on this machine. NotSupported, with the reason, if io_uring
// was asked for by name and is not to be had; for that wish root switches it on in the kernel.
io::Result<Transport> ChooseTransport(Transport wanted);

// The argument vector for fuse_session_new, program name first. `transport` is not kAuto.
std::vector<std::string> FuseArguments(const SessionOptions& options, Transport transport,
                                       bool as_root);

}  // namespace terracefs::fs
