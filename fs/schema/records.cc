#include "fs/schema/records.h"

#include <sys/stat.h>

#include "fs/schema/limits.h"
#include "io/base/coding.h"

namespace terracefs::fs {
namespace {

using io::Decoder;
using io::Result;
using io::Status;

constexpr std::string_view kSuperblockMagic = "TerraceFS";
constexpr uint8_t kSmallRecordVersion = 1;
constexpr uint64_t kFlagCapability = 1;
constexpr uint64_t kFlagTrimPending = 2;
constexpr uint64_t kFlagAccessAcl = 4;
constexpr uint64_t kFlagDefaultAcl = 8;
constexpr uint64_t kFlagUnwritten = 16;
constexpr uint64_t kFlagAllocatedEnd = 32;  // the record has one
constexpr uint64_t kFlagsKnown = kFlagCapability | kFlagTrimPending | kFlagAccessAcl |
                                 kFlagDefaultAcl | kFlagUnwritten | kFlagAllocatedEnd;
constexpr uint32_t kTypeShift = 12;

// Small distances in either direction become small numbers.
uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
int64_t UnZigZag(uint64_t value) { return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1)); }
// Time stamps are stored as distances from the birth time; unsigned so that wrapping is defined.
uint64_t TimeDistance(int64_t time_ns, int64_t origin_ns) {
  return ZigZag(
      static_cast<int64_t>(static_cast<uint64_t>(time_ns) - static_cast<uint64_t>(origin_ns)));
}
int64_t TimeAt(uint64_t distance, int64_t origin_ns) {
  return static_cast<int64_t>(static_cast<uint64_t>(origin_ns) +
                              static_cast<uint64_t>(UnZigZag(distance)));
}

// Writes numbers into a buffer on the stack: a record is one append instead of twenty.
class StackEncoder {
 public:
  void Byte(uint8_t value) { *at_++ = static_cast<char>(value); }
  void Fixed64(uint64_t value) {
    io::EncodeFixed64(at_, value);
    at_ += sizeof value;
  }
  void Varint(uint64_t value) {
    while (value >= 0x80) {
      *at_++ = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    *at_++ = static_cast<char>(value);
  }
  void AppendTo(std::string* out) const {
    DCHECK(at_ <= buffer_ + sizeof buffer_);
    out->append(buffer_, static_cast<size_t>(at_ - buffer_));
  }

 private:
  char buffer_[kInodeRecordBytesMax];
  char* at_ = buffer_;
};

Status VersionMismatch(const char* what, uint8_t version, uint8_t known) {
  return Status::NotSupported(std::string(what) + " version " + std::to_string(version) +
                              ", this program knows " + std::to_string(known));
}

bool GetTime(Decoder* in, int64_t origin_ns, int64_t* time_ns) {
  uint64_t distance = 0;
  if (!in->GetVarint64(&distance)) return false;
  *time_ns = TimeAt(distance, origin_ns);
  return true;
}

bool GetTypeByte(Decoder* in, uint32_t* type) {
  uint8_t byte = 0;
  if (!in->GetByte(&byte)) return false;
  *type = static_cast<uint32_t>(byte) << kTypeShift;
  return IsKnownType(*type);
}

bool GetTypeFields(Decoder* in, uint64_t flags, InodeRecord* record) {
  switch (record->type()) {
    case S_IFREG:
      if (!in->GetVarint64(&record->size) || !in->GetVarint64(&record->page_count) ||
          !in->GetVarint64(&record->data_id) || record->size > kFileBytesMax) {
        return false;
      }
      if ((flags & kFlagAllocatedEnd) == 0) return true;
      return in->GetVarint64(&record->allocated_end) &&
             record->allocated_end > PagesFor(record->size) &&
             record->allocated_end <= PagesFor(kFileBytesMax);
    case S_IFDIR:
      return in->GetVarint64(&record->parent.value) && in->GetVarint64(&record->next_cookie) &&
             in->GetVarint64(&record->entry_count) && in->GetVarint64(&record->first_cookie) &&
             record->first_cookie >= kFirstCookie && record->first_cookie <= record->next_cookie;
    case S_IFCHR:
    case S_IFBLK:
      return in->GetVarint64(&record->rdev);
    case S_IFLNK: {
      std::string_view target;
      if (!in->GetLengthPrefixed(&target)) return false;
      record->target = target;
      return true;
    }
    default:
      return true;
  }
}

}  // namespace

bool IsKnownType(uint32_t type) {
  switch (type) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      return true;
    default:
      return false;
  }
}

std::string EncodeSuperblock(const Superblock& superblock) {
  std::string out(kSuperblockMagic);
  out.push_back(static_cast<char>(kSuperblockVersion));
  io::PutVarint64(&out, 0);  // features
  io::PutVarint64(&out, kPageBytes);
  io::PutVarint64(&out, superblock.size_bytes);
  io::PutFixed64(&out, static_cast<uint64_t>(superblock.created_ns));
  io::PutLengthPrefixed(&out, superblock.label);
  return out;
}

Result<Superblock> DecodeSuperblock(std::string_view value) {
  Decoder in(value);
  std::string_view magic;
  uint8_t version = 0;
  if (!in.GetRaw(kSuperblockMagic.size(), &magic) || magic != kSuperblockMagic ||
      !in.GetByte(&version)) {
    return Status::Corruption("superblock without its magic");
  }
  if (version != kSuperblockVersion)
    return VersionMismatch("filesystem format", version, kSuperblockVersion);
  uint64_t features = 0;
  uint64_t page_bytes = 0;
  uint64_t created = 0;
  std::string_view label;
  Superblock superblock;
  if (!in.GetVarint64(&features)) return Status::Corruption("superblock is cut short");
  if (features != 0) {
    return Status::NotSupported("unknown filesystem features " + std::to_string(features));
  }
  if (!in.GetVarint64(&page_bytes) || !in.GetVarint64(&superblock.size_bytes) ||
      !in.GetFixed64(&created) || !in.GetLengthPrefixed(&label) || !in.empty()) {
    return Status::Corruption("superblock has a wrong length");
  }
  if (page_bytes != kPageBytes) {
    return Status::NotSupported("pages of " + std::to_string(page_bytes) + " bytes");
  }
  superblock.created_ns = static_cast<int64_t>(created);
  superblock.label = label;
  return superblock;
}

std::string EncodeAllocatorBound(uint64_t bound) {
  std::string out(1, static_cast<char>(kSmallRecordVersion));
  io::PutFixed64(&out, bound);
  return out;
}

Result<uint64_t> DecodeAllocatorBound(std::string_view value) {
  Decoder in(value);
  uint8_t version = 0;
  uint64_t bound = 0;
  if (!in.GetByte(&version)) return Status::Corruption("empty allocator record");
  if (version != kSmallRecordVersion)
    return VersionMismatch("allocator record", version, kSmallRecordVersion);
  if (!in.GetFixed64(&bound) || !in.empty() || bound <= kRootInode.value) {
    return Status::Corruption("malformed allocator record");
  }
  return bound;
}

void EncodeInode(const InodeRecord& record, std::string* out) {
  StackEncoder to;
  to.Byte(kInodeVersion);
  to.Varint(
      (record.has_capability ? kFlagCapability : 0) | (record.trim_pending ? kFlagTrimPending : 0) |
      (record.has_access_acl ? kFlagAccessAcl : 0) |
      (record.has_default_acl ? kFlagDefaultAcl : 0) | (record.has_unwritten ? kFlagUnwritten : 0) |
      (record.allocated_end != 0 ? kFlagAllocatedEnd : 0));
  to.Varint(record.mode);
  to.Varint(record.nlink);
  to.Varint(record.uid);
  to.Varint(record.gid);
  to.Varint(record.generation);
  to.Fixed64(static_cast<uint64_t>(record.btime_ns));
  to.Varint(TimeDistance(record.atime_ns, record.btime_ns));
  to.Varint(TimeDistance(record.mtime_ns, record.btime_ns));
  to.Varint(TimeDistance(record.ctime_ns, record.btime_ns));
  to.Varint(record.xattr_list_bytes);
  if (record.is_regular()) {
    to.Varint(record.size);
    to.Varint(record.page_count);
    to.Varint(record.data_id);
    if (record.allocated_end != 0) to.Varint(record.allocated_end);
  } else if (record.is_directory()) {
    to.Varint(record.parent.value);
    to.Varint(record.next_cookie);
    to.Varint(record.entry_count);
    to.Varint(record.first_cookie);
  } else if (record.is_device()) {
    to.Varint(record.rdev);
  }
  to.AppendTo(out);
  if (record.is_symlink()) io::PutLengthPrefixed(out, record.target);
}

Result<InodeRecord> DecodeInode(std::string_view value) {
  Decoder in(value);
  uint8_t version = 0;
  if (!in.GetByte(&version)) return Status::Corruption("empty inode record");
  if (version != kInodeVersion) return VersionMismatch("inode record", version, kInodeVersion);
  InodeRecord record;
  uint64_t flags = 0;
  uint64_t btime = 0;
  if (!in.GetVarint64(&flags)) return Status::Corruption("inode record is cut short");
  if ((flags & ~kFlagsKnown) != 0) {
    return Status::NotSupported("unknown inode flags " + std::to_string(flags));
  }
  record.has_capability = (flags & kFlagCapability) != 0;
  record.trim_pending = (flags & kFlagTrimPending) != 0;
  record.has_access_acl = (flags & kFlagAccessAcl) != 0;
  record.has_default_acl = (flags & kFlagDefaultAcl) != 0;
  record.has_unwritten = (flags & kFlagUnwritten) != 0;
  if (!in.GetVarint32(&record.mode) || !in.GetVarint32(&record.nlink) ||
      !in.GetVarint32(&record.uid) || !in.GetVarint32(&record.gid) ||
      !in.GetVarint64(&record.generation) || !in.GetFixed64(&btime)) {
    return Status::Corruption("inode record is cut short");
  }
  record.btime_ns = static_cast<int64_t>(btime);
  if (!GetTime(&in, record.btime_ns, &record.atime_ns) ||
      !GetTime(&in, record.btime_ns, &record.mtime_ns) ||
      !GetTime(&in, record.btime_ns, &record.ctime_ns) ||
      !in.GetVarint64(&record.xattr_list_bytes)) {
    return Status::Corruption("inode record is cut short");
  }
  if (!IsKnownType(record.type()) || (record.mode & ~uint32_t{0177777}) != 0) {
    return Status::Corruption("inode record with mode " + std::to_string(record.mode));
  }
  if (!GetTypeFields(&in, flags, &record) || !in.empty()) {
    return Status::Corruption("malformed inode record");
  }
  return record;
}

void EncodeDirent(const Dirent& dirent, std::string* out) {
  StackEncoder to;
  to.Byte(static_cast<uint8_t>(dirent.type >> kTypeShift));
  to.Varint(dirent.ino.value);
  to.Varint(dirent.cookie);
  to.AppendTo(out);
}

Result<Dirent> DecodeDirent(std::string_view value) {
  Decoder in(value);
  Dirent dirent;
  if (!GetTypeByte(&in, &dirent.type) || !in.GetVarint64(&dirent.ino.value) ||
      !in.GetVarint64(&dirent.cookie) || !in.empty()) {
    return Status::Corruption("malformed directory entry");
  }
  return dirent;
}

void EncodeListing(const ListingEntry& entry, std::string* out) {
  StackEncoder to;
  to.Byte(static_cast<uint8_t>(entry.type >> kTypeShift));
  to.Varint(entry.ino.value);
  to.AppendTo(out);
  out->append(entry.name);
}

Result<ListingEntry> DecodeListing(std::string_view value) {
  Decoder in(value);
  ListingEntry entry;
  if (!GetTypeByte(&in, &entry.type) || !in.GetVarint64(&entry.ino.value) || in.empty() ||
      in.rest().size() > kNameBytesMax) {
    return Status::Corruption("malformed listing entry");
  }
  entry.name = in.rest();
  return entry;
}

Result<std::string_view> DecodePage(std::string_view value) {
  if (value.size() > kPageBytes) {
    return Status::Corruption("malformed page record of " + std::to_string(value.size()) +
                              " bytes");
  }
  return value;
}

Result<std::string_view> DecodeXattr(std::string_view value) {
  if (value.empty() || value[0] != kXattrTag || value.size() > 1 + kXattrValueBytesMax) {
    return Status::Corruption("malformed xattr record");
  }
  return value.substr(1);
}

std::string EncodeOrphan() { return std::string(1, static_cast<char>(kSmallRecordVersion)); }

Status DecodeOrphan(std::string_view value) {
  if (value.size() != 1 || value[0] != static_cast<char>(kSmallRecordVersion)) {
    return Status::Corruption("malformed orphan record");
  }
  return Status::Ok();
}

std::string EncodeTrim(const TrimRecord& trim) {
  std::string out(1, static_cast<char>(kSmallRecordVersion));
  io::PutVarint64(&out, trim.ino.value);
  io::PutVarint64(&out, trim.first_page);
  return out;
}

Result<TrimRecord> DecodeTrim(std::string_view value) {
  Decoder in(value);
  uint8_t version = 0;
  TrimRecord trim;
  if (!in.GetByte(&version) || version != kSmallRecordVersion || !in.GetVarint64(&trim.ino.value) ||
      !in.GetVarint64(&trim.first_page) || !in.empty()) {
    return Status::Corruption("malformed trim record");
  }
  return trim;
}

}  // namespace terracefs::fs
