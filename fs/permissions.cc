#include "fs/permissions.h"

#include <sys/stat.h>

#include <cerrno>

#include "fs/acl.h"

namespace terracefs::fs {
namespace {

using io::Status;

constexpr int64_t kRelatimeIntervalNs = int64_t{24} * 60 * 60 * 1'000'000'000;

}  // namespace

uint32_t WithoutPrivileges(uint32_t mode) {
  if (S_ISDIR(mode)) return mode;
  mode &= ~uint32_t{S_ISUID};
  if ((mode & S_IXGRP) != 0) mode &= ~uint32_t{S_ISGID};
  return mode;
}

Ownership OwnershipOfNew(const OpContext& context, const InodeRecord& directory, uint32_t mode) {
  Ownership ownership{.mode = mode, .uid = context.uid, .gid = context.gid};
  if ((directory.mode & S_ISGID) != 0) {
    ownership.gid = directory.gid;
    if (S_ISDIR(mode)) ownership.mode |= S_ISGID;
  }
  return ownership;
}

Status CheckName(std::string_view name) {
  if (name.size() > kNameBytesMax) return Status::Posix(ENAMETOOLONG);
  if (name.empty()) return Status::Posix(ENOENT);
  if (name.find('/') != name.npos || name.find('\0') != name.npos) return Status::Posix(EINVAL);
  return Status::Ok();
}

Status CheckNewName(std::string_view name) {
  TRY(CheckName(name));
  if (name == "." || name == "..") return Status::Posix(EEXIST);
  return Status::Ok();
}

Status CheckXattrName(std::string_view name) {
  if (name.empty() || name.size() > kNameBytesMax) return Status::Posix(ERANGE);
  if (name.find('\0') != name.npos) return Status::Posix(EINVAL);
  for (const std::string_view prefix : {"user.", "trusted.", "security."}) {
    if (!name.starts_with(prefix)) continue;
    return name.size() > prefix.size() ? Status::Ok() : Status::Posix(EINVAL);
  }
  if (IsAclXattr(name)) return Status::Ok();
  // The rest of system.*: nothing here gives it a meaning.
  return Status::Posix(EOPNOTSUPP);
}

bool IsUserXattr(std::string_view name) { return name.starts_with("user."); }

bool IsTrustedXattr(std::string_view name) { return name.starts_with("trusted."); }

bool AtimeIsDue(const InodeRecord& record, int64_t now_ns, AtimePolicy policy) {
  switch (policy) {
    case AtimePolicy::kNone:
      return false;
    case AtimePolicy::kStrict:
      return record.atime_ns != now_ns;
    case AtimePolicy::kRelative:
      return record.atime_ns <= record.mtime_ns || record.atime_ns <= record.ctime_ns ||
             now_ns - kRelatimeIntervalNs >= record.atime_ns;
  }
  return false;
}

}  // namespace terracefs::fs
