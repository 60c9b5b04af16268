#include "fs/acl.h"

#include <sys/stat.h>

#include <cerrno>

#include "fs/file_system_impl.h"
#include "fs/schema/keys.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

}  // namespace

Result<Acl> FileSystemImpl::FindAcl(const OpContext& context, InodeNumber ino,
                                    std::string_view name) {
  const std::optional<lsm::PinnedValue> found = TRY(FindXattr(context, ino, name));
  if (!found) return Status::Corruption("an ACL is missing that its inode has");
  Result<Acl> acl = Acl::Decode(TRY(DecodeXattr(found->view())));
  if (!acl.ok() || acl->empty()) return Status::Corruption("malformed ACL");
  return acl;
}

Status FileSystemImpl::StageAclChmod(const OpContext& context, Inode& inode, uint32_t mode,
                                     Transaction* transaction) {
  Acl acl = TRY(FindAcl(context, inode.ino, kAccessAclXattr));
  acl.SetModeBits(mode);
  StageXattr(inode.ino, kAccessAclXattr, acl.Encode(), &transaction->Edit(inode), transaction);
  return Status::Ok();
}

Status FileSystemImpl::SetAcl(const OpContext& context, InodeNumber ino, std::string_view name,
                              std::string_view value, int flags) {
  const Acl acl = TRY(Acl::Decode(value));
  const LockedInode locked = TRY(LockedInode::Exclusive(table_, ino, context.may_wait));
  const InodeRecord& old = locked.record();
  if (old.is_symlink()) return Status::Posix(EOPNOTSUPP);
  const bool is_access = name == kAccessAclXattr;
  if (!is_access && !old.is_directory()) {
    return acl.empty() ? Status::Ok() : Status::Posix(EACCES);
  }
  TRY(CheckXattrFlags(HasXattr(old, name), flags));
  uint32_t mode = old.mode;
  if (is_access && !acl.empty()) {
    mode = (mode & ~kAclModeBits) | acl.ModeBits();
    if ((flags & kXattrKillSetgid) != 0) mode &= ~uint32_t{S_ISGID};
  }
  const bool is_stored = !acl.empty() && !(is_access && acl.IsMode());
  // What is said already changes nothing, ctime included.
  if (mode == old.mode && is_stored == HasXattr(old, name)) {
    if (!is_stored) return Status::Ok();
    if (TRY(FindAcl(context, ino, name)).Encode() == acl.Encode()) return Status::Ok();
  }

  Transaction transaction(db_, context.may_wait);
  InodeRecord& record = transaction.Edit(locked.inode());
  record.ctime_ns = Now();
  record.mode = mode;
  if (is_stored) {
    StageXattr(ino, name, acl.Encode(), &record, &transaction);
  } else {
    StageXattrRemoval(ino, name, &record, &transaction);
  }
  return transaction.Commit();
}

Result<InheritedAcls> FileSystemImpl::InheritAcls(const OpContext& context, InodeNumber parent,
                                                  const InodeRecord& directory, uint32_t mode) {
  if (S_ISLNK(mode)) return InheritedAcls{.mode = mode};
  if (!directory.has_default_acl) {
    return InheritedAcls{.mode = mode & ~(context.umask & kAclModeBits)};
  }
  const std::optional<lsm::PinnedValue> found = TRY(FindXattr(context, parent, kDefaultAclXattr));
  if (!found) return Status::Corruption("an ACL is missing that its inode has");
  Result<InheritedAcls> inherited = InheritFrom(TRY(DecodeXattr(found->view())), mode);
  if (!inherited.ok()) return Status::Corruption("malformed ACL");
  return inherited;
}

void FileSystemImpl::StageInherited(const InheritedAcls& inherited, InodeNumber ino,
                                    InodeRecord* record, Transaction* transaction) {
  if (!inherited.access.empty()) {
    StageXattr(ino, kAccessAclXattr, inherited.access, record, transaction);
  }
  if (!inherited.fallback.empty()) {
    StageXattr(ino, kDefaultAclXattr, inherited.fallback, record, transaction);
  }
}

}  // namespace terracefs::fs
