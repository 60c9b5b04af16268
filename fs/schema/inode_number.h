#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace terracefs::fs {

// Number of an inode: 64 bits, never reused. The root is 1; 0 is invalid. Data ids (the number
// under which a file's pages are stored, fs/schema/keys.h) come from the same sequence.
struct InodeNumber {
  uint64_t value = 0;
  auto operator<=>(const InodeNumber&) const = default;
};
inline constexpr InodeNumber kRootInode{1};

}  // namespace terracefs::fs

template <>
struct std::hash<terracefs::fs::InodeNumber> {
  size_t operator()(terracefs::fs::InodeNumber ino) const noexcept {
    return static_cast<size_t>(ino.value * 0x9e3779b97f4a7c15);
  }
};
