#include <sys/stat.h>

#include <cerrno>
#include <limits>

#include "fs/file_system_impl.h"
#include "fs/permissions.h"
#include "fs/schema/keys.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

constexpr uint32_t kPermissionBits = 07777;
constexpr size_t kSymlinkBytesMax = 4095;
constexpr uint32_t kDirectoryLinkCountMax = std::numeric_limits<uint32_t>::max() - 1;
// Two inode records, two entries and their keys, without names and a symlink target.
constexpr size_t kCreateBatchBytes = 384;

}  // namespace

Status FileSystemImpl::CheckDirectory(const InodeRecord& directory) {
  if (!directory.is_directory()) return Status::Posix(ENOTDIR);
  // Removed, but still somebody's working directory.
  if (directory.nlink == 0) return Status::Posix(ENOENT);
  return Status::Ok();
}

void FileSystemImpl::StageEntry(Inode& parent, std::string_view name, InodeNumber ino,
                                uint32_t type, int64_t now_ns, Transaction* transaction) {
  InodeRecord& directory = transaction->Edit(parent);
  const uint64_t cookie = directory.next_cookie++;
  ++directory.entry_count;
  if (type == S_IFDIR) ++directory.nlink;
  directory.mtime_ns = now_ns;
  directory.ctime_ns = now_ns;
  transaction->PutDirent(parent.ino, name, {.ino = ino, .type = type, .cookie = cookie});
  transaction->PutListing(parent.ino, cookie, {.ino = ino, .type = type, .name = name});
}

Result<FileSystemImpl::StagedInode> FileSystemImpl::StageInode(const OpContext& context,
                                                               const Inode& directory,
                                                               const InheritedAcls& acls,
                                                               const NewInode& spec, uint32_t nlink,
                                                               Transaction* transaction) {
  const InodeNumber ino { TRY(allocator_.Allocate(context.may_wait)) };
  const Ownership ownership = OwnershipOfNew(context, directory.record(), acls.mode);
  InodeRecord record;
  record.nlink = nlink;
  record.mode = ownership.mode;
  record.uid = ownership.uid;
  record.gid = ownership.gid;
  record.atime_ns = record.mtime_ns = record.ctime_ns = record.btime_ns = Now();
  if (record.is_regular()) {
    record.data_id = ino.value;  // of the same sequence, so as unique as any other
  } else if (record.is_directory()) {
    record.parent = directory.ino;
    record.next_cookie = kFirstCookie;
  } else if (record.is_symlink()) {
    record.target = spec.target;
  } else if (record.is_device()) {
    record.rdev = spec.rdev;
  }
  StageInherited(acls, ino, &record, transaction);
  transaction->Create(ino, record);
  transaction->AddToCounter(CounterId::kInodes, 1);
  return StagedInode{ino, std::move(record)};
}

Result<Attributes> FileSystemImpl::MakeEntry(const OpContext& context, InodeNumber parent,
                                             std::string_view name, const NewInode& spec) {
  TRY(CheckWritable());
  TRY(CheckNewName(name));
  const LockedInode directory = TRY(LockedInode::Exclusive(table_, parent, context.may_wait));
  TRY(CheckDirectory(directory.record()));
  if (TRY(FindDirent(context, parent, name))) return Status::Posix(EEXIST);
  const InheritedAcls acls = TRY(InheritAcls(context, parent, directory.record(), spec.mode));
  const size_t acl_bytes = acls.access.size() + acls.fallback.size();
  TRY(usage_.CheckRoom(kCreateBatchBytes + acl_bytes));
  if (S_ISDIR(spec.mode) && directory.record().nlink >= kDirectoryLinkCountMax) {
    return Status::Posix(EMLINK);
  }

  Transaction transaction(db_, context.may_wait);
  transaction.batch().Reserve(kCreateBatchBytes + 2 * name.size() + spec.target.size() + acl_bytes);
  auto [ino, record] = TRY(
      StageInode(context, directory.inode(), acls, spec, S_ISDIR(spec.mode) ? 2 : 1, &transaction));
  StageEntry(directory.inode(), name, ino, record.type(), record.ctime_ns, &transaction);
  TRY(transaction.Commit());
  // The directory is still locked, so nobody can have found the new inode yet.
  const Attributes attributes = ToAttributes(ino, record);
  table_.Insert(ino, std::move(record));
  counts_.Raise(ino);
  return attributes;
}

Result<Attributes> FileSystemImpl::MakeNode(const OpContext& context, InodeNumber parent,
                                            std::string_view name, uint32_t mode, uint64_t rdev) {
  uint32_t type = mode & S_IFMT;
  if (type == 0) type = S_IFREG;
  if (type == S_IFDIR) return Status::Posix(EPERM);
  if (!IsKnownType(type) || type == S_IFLNK) return Status::Posix(EINVAL);
  return MakeEntry(context, parent, name, {.mode = type | (mode & kPermissionBits), .rdev = rdev});
}

Result<Attributes> FileSystemImpl::MakeDirectory(const OpContext& context, InodeNumber parent,
                                                 std::string_view name, uint32_t mode) {
  return MakeEntry(context, parent, name, {.mode = S_IFDIR | (mode & kPermissionBits)});
}

Result<Attributes> FileSystemImpl::MakeSymlink(const OpContext& context, InodeNumber parent,
                                               std::string_view name, std::string_view target) {
  if (target.empty()) return Status::Posix(ENOENT);
  if (target.size() > kSymlinkBytesMax) return Status::Posix(ENAMETOOLONG);
  return MakeEntry(context, parent, name, {.mode = S_IFLNK | 0777, .target = target});
}

Result<Attributes> FileSystemImpl::MakeTemporary(const OpContext& context, InodeNumber parent,
                                                 uint32_t mode) {
  TRY(CheckWritable());
  const LockedInode directory = TRY(LockedInode::Shared(table_, parent, context.may_wait));
  TRY(CheckDirectory(directory.record()));
  const InheritedAcls acls =
      TRY(InheritAcls(context, parent, directory.record(), S_IFREG | (mode & kPermissionBits)));
  TRY(usage_.CheckRoom(kCreateBatchBytes + acls.access.size()));
  Transaction transaction(db_, context.may_wait);
  auto [ino, record] = TRY(StageInode(context, directory.inode(), acls, {}, 0, &transaction));
  transaction.batch().Put(OrphanKey(ino), EncodeOrphan());
  TRY(transaction.Commit());
  // Nobody knows the number before this returns.
  const Attributes attributes = ToAttributes(ino, record);
  table_.Insert(ino, std::move(record));
  counts_.RaiseTemporary(ino);
  return attributes;
}

Result<Attributes> FileSystemImpl::Link(const OpContext& context, InodeNumber ino,
                                        InodeNumber new_parent, std::string_view new_name) {
  TRY(CheckWritable());
  TRY(CheckNewName(new_name));
  LockSet locks(table_, context.may_wait);
  TRY(locks.LockMany(std::array{ino, new_parent}));
  Inode& inode = locks[ino];
  Inode& directory = locks[new_parent];
  TRY(CheckDirectory(directory.record()));
  if (inode.record().is_directory()) return Status::Posix(EPERM);
  if (TRY(FindDirent(context, new_parent, new_name))) return Status::Posix(EEXIST);
  if (inode.record().nlink >= kLinkCountMax) return Status::Posix(EMLINK);
  TRY(usage_.CheckRoom(kCreateBatchBytes));
  if (inode.record().nlink > 0) {
    TRY(LinkLocked(context, inode, directory, new_name));
    counts_.Raise(ino);
    return ToAttributes(ino, inode.record());
  }
  // What has lost its last name and is only open cannot be named again.
  if (!counts_.TakeTemporary(ino)) return Status::Posix(ENOENT);
  const Status linked = LinkLocked(context, inode, directory, new_name);
  if (linked.ok()) return ToAttributes(ino, inode.record());
  counts_.PutTemporaryBack(ino);
  locks.Release();
  Forget(ino, 1);
  return linked;
}

Status FileSystemImpl::LinkLocked(const OpContext& context, Inode& inode, Inode& directory,
                                  std::string_view new_name) {
  const int64_t now_ns = Now();
  Transaction transaction(db_, context.may_wait);
  InodeRecord& record = transaction.Edit(inode);
  if (record.nlink == 0) transaction.batch().Delete(OrphanKey(inode.ino));
  ++record.nlink;
  record.ctime_ns = now_ns;
  StageEntry(directory, new_name, inode.ino, record.type(), now_ns, &transaction);
  return transaction.Commit();
}

}  // namespace terracefs::fs
