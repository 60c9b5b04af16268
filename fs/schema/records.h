#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fs/schema/inode_number.h"
#include "io/base/result.h"

namespace terracefs::fs {

// The values of the key space, byte by byte in fs/FORMAT.md. Encoders append to `out` or return a
// string; decoders never read out of range and answer Corruption for bytes that no encoder makes
// and NotSupported for versions and kinds that a newer program may have written.

inline constexpr uint8_t kSuperblockVersion = 2;
inline constexpr uint8_t kInodeVersion = 2;
inline constexpr uint64_t kFirstCookie = 3;  // 1 and 2 are "." and ".."

enum class CounterId : uint8_t { kInodes = 1, kPages = 2 };

struct Superblock {
  uint64_t size_bytes = 0;  // capacity; 0 = the disk's
  int64_t created_ns = 0;
  std::string label;
};
std::string EncodeSuperblock(const Superblock& superblock);
io::Result<Superblock> DecodeSuperblock(std::string_view value);

// Every inode number and data id below the bound may have been used.
std::string EncodeAllocatorBound(uint64_t bound);
io::Result<uint64_t> DecodeAllocatorBound(std::string_view value);

struct InodeRecord {
  uint32_t mode = 0;  // type and permission bits, as st_mode
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t generation = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  int64_t btime_ns = 0;
  uint64_t xattr_list_bytes = 0;  // sum over xattrs of name bytes + 1: the length of the name list
  bool has_capability = false;    // there is a security.capability xattr
  bool has_access_acl = false;    // there is a system.posix_acl_access xattr
  bool has_default_acl = false;   // there is a system.posix_acl_default xattr (directories)
  // Regular files.
  bool trim_pending =
      false;  // pages beyond the size wait for removal; a trim record says from where
  uint64_t size = 0;
  uint64_t page_count = 0;  // pages stored
  uint64_t data_id = 0;     // under which they are stored
  // Where pages lie beyond the last one inside the size (fallocate): none at or behind this one.
  // 0 if there are none there.
  uint64_t allocated_end = 0;
  bool has_unwritten = false;  // some pages may be allocated, but unwritten
  // Directories.
  InodeNumber parent;
  uint64_t next_cookie = 0;
  uint64_t entry_count = 0;
  uint64_t first_cookie = kFirstCookie;  // no entry has a smaller one
  // Devices.
  uint64_t rdev = 0;
  // Symbolic links.
  std::string target;

  uint32_t type() const { return mode & 0170000; }
  bool is_directory() const { return type() == 0040000; }
  bool is_regular() const { return type() == 0100000; }
  bool is_symlink() const { return type() == 0120000; }
  bool is_device() const { return type() == 0020000 || type() == 0060000; }
};
void EncodeInode(const InodeRecord& record, std::string* out);
io::Result<InodeRecord> DecodeInode(std::string_view value);
inline constexpr size_t kInodeRecordBytesMax = 192;  // without a symlink target

// True for the S_IFMT bits of the seven file types.
bool IsKnownType(uint32_t type);

struct Dirent {
  InodeNumber ino;
  uint32_t type = 0;  // S_IFMT bits
  uint64_t cookie = 0;
  bool operator==(const Dirent&) const = default;
};
void EncodeDirent(const Dirent& dirent, std::string* out);
io::Result<Dirent> DecodeDirent(std::string_view value);

struct ListingEntry {
  InodeNumber ino;
  uint32_t type = 0;
  std::string_view name;  // points into the value
};
void EncodeListing(const ListingEntry& entry, std::string* out);
io::Result<ListingEntry> DecodeListing(std::string_view value);

// A page is its bytes, at most kPageBytes; those beyond are zero. Checks the size only.
io::Result<std::string_view> DecodePage(std::string_view value);

// An xattr is this tag, then the bytes.
inline constexpr char kXattrTag = 1;
io::Result<std::string_view> DecodeXattr(std::string_view value);

std::string EncodeOrphan();
io::Status DecodeOrphan(std::string_view value);

struct TrimRecord {
  InodeNumber ino;
  uint64_t first_page = 0;  // this page and all behind it go
};
std::string EncodeTrim(const TrimRecord& trim);
io::Result<TrimRecord> DecodeTrim(std::string_view value);

}  // namespace terracefs::fs
