#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "fs/schema/inode_number.h"
#include "io/base/check.h"
#include "io/base/coding.h"

namespace terracefs::fs {

// First byte of every key; a domain is one contiguous range. Never renumber. fs/FORMAT.md.
enum class Domain : uint8_t {
  kSystem = 0x01,
  kInode = 0x10,
  kDirent = 0x20,
  kListing = 0x28,
  kXattr = 0x30,
  kOrphan = 0x38,
  kTrim = 0x3c,
  kExtent = 0x40,
};

// Every key is the domain byte, an ordered 64-bit id, and a suffix that depends on the domain.
inline constexpr size_t kKeyPrefixBytes = 1 + 8;
inline constexpr size_t kKeySuffixBytesMax = 255;

// A key in a buffer of its own, so that building one allocates nothing. A value.
class Key {
 public:
  Key(Domain domain, uint64_t id) {
    data_[0] = static_cast<char>(domain);
    PutOrdered(1, id);
    size_ = kKeyPrefixBytes;
  }
  Key(Domain domain, uint64_t id, uint64_t suffix) : Key(domain, id) {
    PutOrdered(kKeyPrefixBytes, suffix);
    size_ = kKeyPrefixBytes + 8;
  }
  Key(Domain domain, uint64_t id, std::string_view suffix) : Key(domain, id) {
    CHECK(suffix.size() <= kKeySuffixBytesMax);
    std::memcpy(data_.data() + kKeyPrefixBytes, suffix.data(), suffix.size());
    size_ = kKeyPrefixBytes + suffix.size();
  }
  // Good while this object lives and is not assigned to.
  std::string_view view() const { return {data_.data(), size_}; }
  operator std::string_view() const { return view(); }  // NOLINT(google-explicit-constructor)

 private:
  void PutOrdered(size_t offset, uint64_t value) {
    const uint64_t swapped = __builtin_bswap64(value);
    std::memcpy(data_.data() + offset, &swapped, sizeof swapped);
  }

  size_t size_;
  std::array<char, kKeyPrefixBytes + kKeySuffixBytesMax> data_;  // beyond size_: not initialised
};

inline Key SuperblockKey() { return {Domain::kSystem, 1}; }
inline Key AllocatorKey() { return {Domain::kSystem, 2}; }
inline Key InodeKey(InodeNumber ino) { return {Domain::kInode, ino.value}; }
inline Key DirentKey(InodeNumber parent, std::string_view name) {
  return {Domain::kDirent, parent.value, name};
}
inline Key ListingKey(InodeNumber parent, uint64_t cookie) {
  return {Domain::kListing, parent.value, cookie};
}
inline Key XattrKey(InodeNumber ino, std::string_view name) {
  return {Domain::kXattr, ino.value, name};
}
inline Key OrphanKey(InodeNumber ino) { return {Domain::kOrphan, ino.value}; }
inline Key TrimKey(uint64_t data_id) { return {Domain::kTrim, data_id}; }
inline Key ExtentKey(uint64_t data_id, uint64_t page) { return {Domain::kExtent, data_id, page}; }

// All keys of one id in a domain are [GroupBegin, GroupEnd). Ids stay below 2^64 - 1.
inline Key GroupBegin(Domain domain, uint64_t id) { return {domain, id}; }
inline Key GroupEnd(Domain domain, uint64_t id) { return {domain, id + 1}; }

// What a key says, checked for the shape of its domain.
struct ParsedKey {
  Domain domain = Domain::kSystem;
  uint64_t id = 0;
  uint64_t number = 0;    // cookie or page; 0 in the other domains
  std::string_view name;  // dirent and xattr; points into the key
};
// Nothing if the key belongs to no known domain or has a wrong length.
std::optional<ParsedKey> ParseKey(std::string_view key);

}  // namespace terracefs::fs
