#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>
#include <memory>

#include "fs/file_system_impl.h"
#include "fs/permissions.h"
#include "fs/schema/keys.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

// What listxattr can return at all.
constexpr uint64_t kXattrListBytesMax = 65536;

}  // namespace

Result<std::optional<lsm::PinnedValue>> FileSystemImpl::FindXattr(const OpContext& context,
                                                                  InodeNumber ino,
                                                                  std::string_view name) {
  return db_.Get(ReadOptionsFor(context), XattrKey(ino, name));
}

Status FileSystemImpl::SetXattr(const OpContext& context, InodeNumber ino, std::string_view name,
                                std::string_view value, int flags) {
  TRY(CheckWritable());
  TRY(CheckXattrName(name));
  if (value.size() > kXattrValueBytesMax) return Status::Posix(E2BIG);
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0) return Status::Posix(EINVAL);
  TRY(usage_.CheckRoom(value.size()));
  const LockedInode locked = TRY(LockedInode::Exclusive(table_, ino, context.may_wait));
  const InodeRecord& old = locked.record();
  if (IsUserXattr(name) && !old.is_regular() && !old.is_directory()) return Status::Posix(EPERM);
  bool exists = false;
  if (old.xattr_list_bytes > 0) {
    const std::optional<lsm::PinnedValue> found = TRY(FindXattr(context, ino, name));
    exists = found.has_value();
  }
  if (exists && (flags & XATTR_CREATE) != 0) return Status::Posix(EEXIST);
  if (!exists && (flags & XATTR_REPLACE) != 0) return Status::Posix(ENODATA);
  if (!exists && old.xattr_list_bytes + name.size() + 1 > kXattrListBytesMax) {
    return Status::Posix(ENOSPC);
  }
  Transaction transaction(db_, context.may_wait);
  InodeRecord& record = transaction.Edit(locked.inode());
  if (!exists) record.xattr_list_bytes += name.size() + 1;
  if (name == kCapabilityXattr) record.has_capability = true;
  record.ctime_ns = Now();
  transaction.batch().Put(XattrKey(ino, name), std::string_view(&kXattrTag, 1), value);
  return transaction.Commit();
}

Result<std::string> FileSystemImpl::GetXattr(const OpContext& context, InodeNumber ino,
                                             std::string_view name) {
  TRY(CheckXattrName(name));
  const LockedInode locked = TRY(LockedInode::Shared(table_, ino, context.may_wait));
  if (locked.record().xattr_list_bytes == 0) return Status::Posix(ENODATA);
  const std::optional<lsm::PinnedValue> value = TRY(FindXattr(context, ino, name));
  if (!value) return Status::Posix(ENODATA);
  return std::string(TRY(DecodeXattr(value->view())));
}

Result<std::string> FileSystemImpl::ListXattr(const OpContext& context, InodeNumber ino) {
  const LockedInode locked = TRY(LockedInode::Shared(table_, ino, context.may_wait));
  std::string names;
  if (locked.record().xattr_list_bytes == 0) return names;
  lsm::ReadOptions options = ReadOptionsFor(context);
  const Key bound = GroupEnd(Domain::kXattr, ino.value);
  options.upper_bound = bound;
  const std::unique_ptr<lsm::Iterator> xattrs = db_.NewIterator(options);
  for (xattrs->Seek(GroupBegin(Domain::kXattr, ino.value)); xattrs->Valid(); xattrs->Next()) {
    const std::optional<ParsedKey> key = ParseKey(xattrs->key());
    if (!key) return Status::Corruption("xattr key of a wrong shape");
    names.append(key->name);
    names.push_back('\0');
  }
  TRY(xattrs->status());
  return names;
}

Status FileSystemImpl::RemoveXattr(const OpContext& context, InodeNumber ino,
                                   std::string_view name) {
  TRY(CheckWritable());
  TRY(CheckXattrName(name));
  const LockedInode locked = TRY(LockedInode::Exclusive(table_, ino, context.may_wait));
  if (locked.record().xattr_list_bytes == 0 || !TRY(FindXattr(context, ino, name))) {
    return Status::Posix(ENODATA);
  }
  Transaction transaction(db_, context.may_wait);
  InodeRecord& record = transaction.Edit(locked.inode());
  record.xattr_list_bytes -= std::min<uint64_t>(record.xattr_list_bytes, name.size() + 1);
  if (name == kCapabilityXattr) record.has_capability = false;
  record.ctime_ns = Now();
  transaction.batch().Delete(XattrKey(ino, name));
  return transaction.Commit();
}

}  // namespace terracefs::fs
