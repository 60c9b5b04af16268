#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "io/aligned_buffer.h"
#include "io/rate_limiter.h"
#include "io/storage.h"

namespace terracefs::io {

// Writes a file front to back through aligned O_DIRECT buffers of 1 MiB, up to three in flight.
// Charges `limiter` (may be null) before each buffer goes out. Not thread-safe; used by one thread.
// Bytes are durable, and the file has its exact length, only after Finish returned ok.
class SequentialWriter {
 public:
  static constexpr size_t kBufferBytes = 1 << 20;
  static constexpr size_t kBufferCount = 4;

  // `file` is borrowed, open for writing, direct or not, and holds nothing to keep.
  SequentialWriter(File& file, RateLimiter* limiter, IoPriority priority);
  // Waits for what is in flight; the file is then garbage unless Finish succeeded.
  ~SequentialWriter();
  SequentialWriter(const SequentialWriter&) = delete;
  SequentialWriter& operator=(const SequentialWriter&) = delete;

  // Copies `data`. An error of an earlier buffer may be reported here; the first one is kept.
  Status Append(std::string_view data);
  // Writes out the rest (padded), cuts the file to its exact length, and syncs it.
  Status Finish();
  uint64_t offset() const { return offset_; }  // bytes appended so far

 private:
  struct Slot {
    AlignedBuffer buffer;
    IoRequest request;
    bool in_flight = false;
  };
  size_t RequestBytes() const;
  Status SubmitCurrent();
  Status CutToLength();
  Status WaitFor(Slot& slot);

  File& file_;
  RateLimiter* const limiter_;
  const IoPriority priority_;
  std::array<Slot, kBufferCount> slots_;
  size_t current_ = 0;
  size_t used_bytes_ = 0;                // of the current slot
  size_t request_bytes_ = kBufferBytes;  // at which the current buffer is sent off
  uint64_t offset_ = 0;
  uint64_t written_offset_ = 0;
  Status error_;
};

}  // namespace terracefs::io
