#include <sys/stat.h>

#include <cerrno>

#include "fs/file_data.h"
#include "fs/file_system_impl.h"
#include "fs/permissions.h"
#include "fs/schema/keys.h"
#include "io/base/log.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

constexpr uint32_t kPermissionBits = 07777;

bool OnlyTakesPrivileges(const AttributeChange& change) {
  const bool sets_times =
      change.atime_ns || change.mtime_ns || change.atime_now || change.mtime_now;
  return change.kill_suid_sgid && !change.mode && !change.uid && !change.gid && !change.size &&
         !sets_times;
}

}  // namespace

void FileSystemImpl::StageCapabilityLoss(Inode& inode, Transaction* transaction) {
  StageXattrRemoval(inode.ino, kCapabilityXattr, &transaction->Edit(inode), transaction);
}

void FileSystemImpl::StagePrivilegeLoss(Inode& inode, Transaction* transaction) {
  InodeRecord& record = transaction->Edit(inode);
  record.mode = WithoutPrivileges(record.mode);
  StageCapabilityLoss(inode, transaction);
}

Status FileSystemImpl::SettleTrim(const OpContext& context, Inode& inode) {
  if (!inode.record().trim_pending) return Status::Ok();
  if (!context.may_wait) return Status::WouldBlock();
  return FinishTrim(db_, inode);
}

Status FileSystemImpl::StageAttributes(const OpContext& context, Inode& inode,
                                       const AttributeChange& change, int64_t now_ns,
                                       Transaction* transaction) {
  InodeRecord& record = transaction->Edit(inode);
  record.ctime_ns = change.ctime_ns.value_or(now_ns);
  if (change.size) {
    if (record.is_directory()) return Status::Posix(EISDIR);
    if (!record.is_regular()) return Status::Posix(EINVAL);
    if (*change.size > kFileBytesMax) return Status::Posix(EFBIG);
    TRY(StageSizeChange(db_, allocator_, context.may_wait, inode, *change.size, transaction));
    StageCapabilityLoss(inode, transaction);
    record.mtime_ns = now_ns;
  }
  if (change.uid || change.gid) {
    record.uid = change.uid.value_or(record.uid);
    record.gid = change.gid.value_or(record.gid);
    StagePrivilegeLoss(inode, transaction);
  }
  if (change.kill_suid_sgid) StagePrivilegeLoss(inode, transaction);
  if (change.mode) {
    record.mode = record.type() | (*change.mode & kPermissionBits);
    if (record.has_access_acl) TRY(StageAclChmod(context, inode, record.mode, transaction));
  }
  if (change.atime_now) record.atime_ns = now_ns;
  if (change.mtime_now) record.mtime_ns = now_ns;
  if (change.atime_ns) record.atime_ns = *change.atime_ns;
  if (change.mtime_ns) record.mtime_ns = *change.mtime_ns;
  return Status::Ok();
}

Result<Attributes> FileSystemImpl::SetAttributes(const OpContext& context, InodeNumber ino,
                                                 const AttributeChange& change) {
  TRY(CheckWritable());
  const LockedInode locked = TRY(LockedInode::Exclusive(table_, ino, context.may_wait));
  Inode& inode = locked.inode();
  // A chown that names nobody, for which others than the owner have no right, looks like what comes
  // before others' writes. Those take the privileges away by themselves.
  const bool is_strangers = context.uid != 0 && context.uid != inode.record().uid;
  if (is_strangers && OnlyTakesPrivileges(change) &&
      WithoutPrivileges(inode.record().mode) != inode.record().mode) {
    return ToAttributes(ino, inode.record());
  }
  if (change.size) TRY(SettleTrim(context, inode));
  Transaction transaction(db_, context.may_wait);
  TRY(StageAttributes(context, inode, change, Now(), &transaction));
  TRY(transaction.Commit());
  if (inode.record().trim_pending && change.size) {
    // The new size holds already. What is left would be finished by the next change or mount.
    const Status status = FinishTrim(db_, inode);
    if (!status.ok()) {
      io::FsLog().warn("pages of inode {} beyond its size stay for now: {}", ino.value,
                       status.ToString());
    }
  }
  return ToAttributes(ino, inode.record());
}

}  // namespace terracefs::fs
