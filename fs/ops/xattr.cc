#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>
#include <memory>

#include "fs/acl.h"
#include "fs/file_system_impl.h"
#include "fs/permissions.h"
#include "fs/schema/keys.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

// What listxattr can return at all.
constexpr size_t kXattrListBytesMax = 65536;

// The flag that tells of this xattr in the inode's record; null for the others, of which only a
// look-up tells.
template <typename Record>
auto FlagFor(Record& record, std::string_view name) -> decltype(&record.has_capability) {
  if (name == kCapabilityXattr) return &record.has_capability;
  if (name == kAccessAclXattr) return &record.has_access_acl;
  if (name == kDefaultAclXattr) return &record.has_default_acl;
  return nullptr;
}

// What the record alone tells; false: only a look-up tells.
bool IsKnownMissing(const InodeRecord& record, std::string_view name) {
  const bool* flag = FlagFor(record, name);
  return record.xattr_list_bytes == 0 || (flag != nullptr && !*flag);
}

}  // namespace

bool FileSystemImpl::HasXattr(const InodeRecord& record, std::string_view name) {
  const bool* flag = FlagFor(record, name);
  CHECK(flag != nullptr);
  return *flag;
}

Status FileSystemImpl::CheckXattrFlags(bool exists, int flags) {
  if (exists && (flags & XATTR_CREATE) != 0) return Status::Posix(EEXIST);
  if (!exists && (flags & XATTR_REPLACE) != 0) return Status::Posix(ENODATA);
  return Status::Ok();
}

Result<std::optional<lsm::PinnedValue>> FileSystemImpl::FindXattr(const OpContext& context,
                                                                  InodeNumber ino,
                                                                  std::string_view name) {
  return db_.Get(ReadOptionsFor(context), XattrKey(ino, name));
}

void FileSystemImpl::StageXattr(InodeNumber ino, std::string_view name, std::string_view value,
                                InodeRecord* record, Transaction* transaction) {
  bool* flag = FlagFor(*record, name);
  CHECK(flag != nullptr);
  if (!*flag) record->xattr_list_bytes += name.size() + 1;
  *flag = true;
  transaction->batch().Put(XattrKey(ino, name), std::string_view(&kXattrTag, 1), value);
}

void FileSystemImpl::StageXattrRemoval(InodeNumber ino, std::string_view name, InodeRecord* record,
                                       Transaction* transaction) {
  bool* flag = FlagFor(*record, name);
  CHECK(flag != nullptr);
  if (!*flag) return;  // or it has been staged already
  *flag = false;
  record->xattr_list_bytes -= std::min<uint64_t>(record->xattr_list_bytes, name.size() + 1);
  transaction->batch().Delete(XattrKey(ino, name));
}

Status FileSystemImpl::SetXattr(const OpContext& context, InodeNumber ino, std::string_view name,
                                std::string_view value, int flags) {
  TRY(CheckWritable());
  TRY(CheckXattrName(name));
  if (value.size() > kXattrValueBytesMax) return Status::Posix(E2BIG);
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE | kXattrKillSetgid)) != 0) {
    return Status::Posix(EINVAL);
  }
  TRY(usage_.CheckRoom(value.size()));
  if (IsAclXattr(name)) return SetAcl(context, ino, name, value, flags);
  const LockedInode locked = TRY(LockedInode::Exclusive(table_, ino, context.may_wait));
  const InodeRecord& old = locked.record();
  if (IsUserXattr(name) && !old.is_regular() && !old.is_directory()) return Status::Posix(EPERM);
  bool exists = false;
  if (!IsKnownMissing(old, name)) {
    const std::optional<lsm::PinnedValue> found = TRY(FindXattr(context, ino, name));
    exists = found.has_value();
  }
  TRY(CheckXattrFlags(exists, flags));
  Transaction transaction(db_, context.may_wait);
  InodeRecord& record = transaction.Edit(locked.inode());
  if (!exists) record.xattr_list_bytes += name.size() + 1;
  if (bool* flag = FlagFor(record, name); flag != nullptr) *flag = true;
  record.ctime_ns = Now();
  transaction.batch().Put(XattrKey(ino, name), std::string_view(&kXattrTag, 1), value);
  return transaction.Commit();
}

Result<std::string> FileSystemImpl::GetXattr(const OpContext& context, InodeNumber ino,
                                             std::string_view name) {
  TRY(CheckXattrName(name));
  const LockedInode locked = TRY(LockedInode::Shared(table_, ino, context.may_wait));
  if (IsKnownMissing(locked.record(), name)) return Status::Posix(ENODATA);
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
    if (IsTrustedXattr(key->name) && context.uid != 0) continue;
    names.append(key->name);
    names.push_back('\0');
    if (names.size() > kXattrListBytesMax) return Status::Posix(E2BIG);
  }
  TRY(xattrs->status());
  return names;
}

Status FileSystemImpl::RemoveXattr(const OpContext& context, InodeNumber ino,
                                   std::string_view name) {
  TRY(CheckWritable());
  TRY(CheckXattrName(name));
  if (IsAclXattr(name)) return SetAcl(context, ino, name, {}, 0);
  const LockedInode locked = TRY(LockedInode::Exclusive(table_, ino, context.may_wait));
  if (IsKnownMissing(locked.record(), name) || !TRY(FindXattr(context, ino, name))) {
    return Status::Posix(ENODATA);
  }
  Transaction transaction(db_, context.may_wait);
  InodeRecord& record = transaction.Edit(locked.inode());
  record.xattr_list_bytes -= std::min<uint64_t>(record.xattr_list_bytes, name.size() + 1);
  if (bool* flag = FlagFor(record, name); flag != nullptr) *flag = false;
  record.ctime_ns = Now();
  transaction.batch().Delete(XattrKey(ino, name));
  return transaction.Commit();
}

}  // namespace terracefs::fs
