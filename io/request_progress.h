#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "io/storage.h"

namespace terracefs::io {

// A request may take several calls of the kernel: short transfers go on with the rest, interrupted
// ones are repeated, and a durable write is a write and a sync where the kernel cannot do both in
// one. These rules live here, once, for every backend that talks to a kernel.
//
//   read:           kRead*                     until all bytes are there
//   write:          kWrite*
//   durable write:  kWriteThrough*             or, without RWF_DSYNC:  kWrite* kSync
//   sync:           kSync
//
// A step that syncs is never repeated after an error: the kernel reports a failed write-back once,
// so a second sync could succeed without the bytes being on the device.

// What these rules need to know about an open file.
struct FileTraits {
  explicit FileTraits(std::string file_name) : name(std::move(file_name)) {}

  const std::string name;
  bool bypasses_cache = false;  // O_DIRECT is in force
  bool is_directory = false;    // a sync includes all metadata
  // False once the kernel said that it cannot write through. Only ever goes from true to false;
  // relaxed, because a request that misses the change only runs into the same refusal.
  std::atomic<bool> write_through{true};
};

// One call of the kernel.
struct KernelCall {
  IoRequest::Step step = IoRequest::Step::kRead;
  std::byte* data = nullptr;
  uint32_t bytes = 0;
  uint64_t offset = 0;
  bool is_last = false;  // if it does all it is asked, the request is done
};

// The next call for a request that is not done; notes the step in it.
KernelCall NextCall(IoRequest& request, const FileTraits& traits);

// Takes the kernel's answer to the last call: a number of bytes, or -errno. Returns whether the
// request is done now, with its status set.
[[nodiscard]] bool TakeAnswer(IoRequest& request, int64_t answer, FileTraits& traits,
                              StorageStats& stats);

// Ends a request without asking the kernel any more.
void FinishRequest(IoRequest& request, Status status, StorageStats& stats);

}  // namespace terracefs::io
