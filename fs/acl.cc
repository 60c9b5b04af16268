#include "fs/acl.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>

#include <cerrno>

#include "io/base/check.h"
#include "io/base/coding.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

constexpr size_t kHeaderBytes = 4;
constexpr size_t kEntryBytes = 8;
constexpr uint32_t kNoId = 0xffffffff;

bool IsNamed(uint16_t tag) { return tag == ACL_USER || tag == ACL_GROUP; }

// Place of a tag in a list: tags never go back, and only named ones repeat. Negative: no tag.
int RankOf(uint16_t tag) {
  switch (tag) {
    case ACL_USER_OBJ:
      return 0;
    case ACL_USER:
      return 1;
    case ACL_GROUP_OBJ:
      return 2;
    case ACL_GROUP:
      return 3;
    case ACL_MASK:
      return 4;
    case ACL_OTHER:
      return 5;
    default:
      return -1;
  }
}

}  // namespace

Status Acl::Check(const std::vector<Entry>& entries) {
  uint32_t seen = 0;
  int last_rank = -1;
  for (const Entry& entry : entries) {
    const int rank = RankOf(entry.tag);
    if (rank < 0 || (entry.permissions & ~unsigned{ACL_READ | ACL_WRITE | ACL_EXECUTE}) != 0) {
      return Status::Posix(EINVAL);
    }
    if (rank < last_rank || (rank == last_rank && !IsNamed(entry.tag))) {
      return Status::Posix(EINVAL);
    }
    if (IsNamed(entry.tag) && entry.id == kNoId) return Status::Posix(EINVAL);
    last_rank = rank;
    seen |= entry.tag;
  }
  constexpr uint32_t kAlways = ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER;
  const uint32_t needed = kAlways | ((seen & (ACL_USER | ACL_GROUP)) != 0 ? ACL_MASK : 0);
  return (seen & needed) == needed ? Status::Ok() : Status::Posix(EINVAL);
}

Result<Acl> Acl::Decode(std::string_view value) {
  Acl acl;
  if (value.empty()) return acl;
  if (value.size() > kAclBytesMax) return Status::Posix(E2BIG);
  io::Decoder in(value);
  uint32_t version = 0;
  if (!in.GetFixed32(&version)) return Status::Posix(EINVAL);
  if (version != POSIX_ACL_XATTR_VERSION) return Status::Posix(EOPNOTSUPP);
  while (!in.empty()) {
    Entry entry;
    if (!in.GetFixed16(&entry.tag) || !in.GetFixed16(&entry.permissions) ||
        !in.GetFixed32(&entry.id)) {
      return Status::Posix(EINVAL);
    }
    if (!IsNamed(entry.tag)) entry.id = kNoId;  // whatever it says, it means nothing
    acl.has_mask_ |= entry.tag == ACL_MASK;
    acl.entries_.push_back(entry);
  }
  if (!acl.empty()) TRY(Check(acl.entries_));
  return acl;
}

std::string Acl::Encode() const {
  std::string value;
  value.reserve(kHeaderBytes + entries_.size() * kEntryBytes);
  io::PutFixed32(&value, POSIX_ACL_XATTR_VERSION);
  for (const Entry& entry : entries_) {
    io::PutFixed16(&value, entry.tag);
    io::PutFixed16(&value, entry.permissions);
    io::PutFixed32(&value, entry.id);
  }
  return value;
}

int Acl::ShiftInMode(uint16_t tag) const {
  switch (tag) {
    case ACL_USER_OBJ:
      return 6;
    case ACL_GROUP_OBJ:
      return has_mask_ ? -1 : 3;
    case ACL_MASK:
      return 3;
    case ACL_OTHER:
      return 0;
    default:
      return -1;
  }
}

uint32_t Acl::ModeBits() const {
  DCHECK(!empty());
  uint32_t mode = 0;
  for (const Entry& entry : entries_) {
    const int shift = ShiftInMode(entry.tag);
    if (shift >= 0) mode |= uint32_t{entry.permissions} << shift;
  }
  return mode;
}

bool Acl::IsMode() const {
  DCHECK(!empty());
  return !has_mask_;  // which any named entry needs
}

void Acl::SetModeBits(uint32_t mode) {
  DCHECK(!empty());
  for (Entry& entry : entries_) {
    const int shift = ShiftInMode(entry.tag);
    if (shift >= 0) entry.permissions = static_cast<uint16_t>((mode >> shift) & 7);
  }
}

Result<InheritedAcls> InheritFrom(std::string_view value, uint32_t mode) {
  Acl acl = TRY(Acl::Decode(value));
  if (acl.empty()) return Status::Posix(EINVAL);
  InheritedAcls inherited{.mode = (mode & ~kAclModeBits) | (mode & acl.ModeBits())};
  if (S_ISDIR(mode)) inherited.fallback = value;
  acl.SetModeBits(inherited.mode);
  if (!acl.IsMode()) inherited.access = acl.Encode();
  return inherited;
}

}  // namespace terracefs::fs
