#pragma once

#include <cstddef>
#include <cstdint>

namespace terracefs::fs {

// Limits of what a store can hold; part of the format.
inline constexpr size_t kNameBytesMax = 255;
inline constexpr uint64_t kPageBytes = 4096;  // extents are single pages, see fs/FORMAT.md
inline constexpr uint64_t kFileBytesMax = INT64_MAX;
// How many pages cover `bytes` bytes.
constexpr uint64_t PagesFor(uint64_t bytes) {
  return bytes / kPageBytes + (bytes % kPageBytes != 0);
}
inline constexpr size_t kXattrValueBytesMax = 65536;

}  // namespace terracefs::fs
