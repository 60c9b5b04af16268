#pragma once

#include <memory>
#include <string>

#include "io/storage.h"

namespace terracefs::io {

struct UringOptions {
  // Durable writes are one request (RWF_DSYNC). Without it they are a write and an fdatasync, which
  // is also what happens by itself where the kernel refuses the flag.
  bool write_through = true;
};

// Storage whose reads, writes and syncs all go through io_uring. Each thread has a ring of its own,
// made at its first request and freed at its end (README.md tells the rest). NotSupported where
// io_uring is not to be had, NotFound if the directory `path` is missing, InvalidArgument if it is
// not a directory.
Result<std::unique_ptr<Storage>> OpenUringStorage(const std::string& path,
                                                  const UringOptions& options = {});

}  // namespace terracefs::io
