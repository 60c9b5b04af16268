#pragma once

#include <cstddef>

#include "io/base/bytes.h"

namespace terracefs::io {

// Owned memory at kDirectAlignment, capacity a multiple of it, contents undefined at first.
// Buffers of the common sizes (up to 2 MiB, powers of two) come from and go back to a bounded
// process-wide pool. Move-only. Not thread-safe; the pool is.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t bytes);  // capacity: `bytes` rounded up
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;

  std::byte* data() const { return data_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return data_ == nullptr; }
  MutableBytes span() const { return {data_, capacity_}; }

 private:
  std::byte* data_ = nullptr;
  size_t capacity_ = 0;
};

}  // namespace terracefs::io
