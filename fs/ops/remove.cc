#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <string>

#include "fs/file_system_impl.h"
#include "fs/permissions.h"
#include "fs/schema/keys.h"

namespace terracefs::fs {

using io::Result;
using io::Status;

Result<Dirent> FileSystemImpl::LockEntry(const OpContext& context, InodeNumber parent,
                                         std::string_view name, LockSet* locks) {
  std::array<InodeNumber, 2> wanted{parent};
  size_t wanted_count = 1;
  for (;;) {
    Status status = locks->LockMany(std::span(wanted).first(wanted_count));
    if (status.Is(io::StatusCode::kPosix) && wanted_count > 1) {
      wanted_count = 1;  // what the name stood for before is no more
      continue;
    }
    TRY(status);
    TRY(CheckDirectory((*locks)[parent].record()));
    const std::optional<Dirent> dirent = TRY(FindDirent(context, parent, name));
    if (!dirent) return Status::Posix(ENOENT);
    Result<bool> locked = locks->Extend(std::array{dirent->ino});
    if (!locked.ok() && locked.status().Is(io::StatusCode::kPosix)) {
      return Status::Corruption("entry without an inode",
                                "directory " + std::to_string(parent.value));
    }
    if (TRY(std::move(locked))) return *dirent;
    wanted[1] = dirent->ino;
    wanted_count = 2;
  }
}

void FileSystemImpl::StageEntryRemoval(Inode& parent, std::string_view name, const Dirent& dirent,
                                       int64_t now_ns, Transaction* transaction) {
  InodeRecord& directory = transaction->Edit(parent);
  if (directory.entry_count > 0) --directory.entry_count;
  // The record is written anyway, and takes along what listings have met.
  directory.first_cookie = std::max(directory.first_cookie, parent.first_cookie());
  if (directory.entry_count == 0) {
    directory.first_cookie = directory.next_cookie;
  } else if (dirent.cookie == directory.first_cookie) {
    ++directory.first_cookie;
  }
  if (dirent.type == S_IFDIR && directory.nlink > 2) --directory.nlink;
  directory.mtime_ns = now_ns;
  directory.ctime_ns = now_ns;
  transaction->batch().Delete(DirentKey(parent.ino, name));
  transaction->batch().Delete(ListingKey(parent.ino, dirent.cookie));
}

bool FileSystemImpl::StageUnlink(Inode& inode, int64_t now_ns, Transaction* transaction) {
  InodeRecord& record = transaction->Edit(inode);
  record.nlink = record.is_directory() || record.nlink == 0 ? 0 : record.nlink - 1;
  record.ctime_ns = now_ns;
  if (record.nlink > 0) return false;
  // With the entry and the inode locked exclusively nobody can raise a count of zero any more.
  if (!counts_.Held(inode.ino)) {
    StageRemoval(inode, /*recorded=*/false, transaction);
    return false;
  }
  transaction->batch().Put(OrphanKey(inode.ino), EncodeOrphan());
  return true;
}

void FileSystemImpl::FinishUnlink(const Orphan& orphan) {
  // A Forget between the look at the count and the commit found nothing marked; then it is on us.
  if (!counts_.MarkOrphan(orphan.ino)) {
    orphans_->Released(orphan.ino);
  } else if (unlink_observer_) {
    unlink_observer_(orphan.ino, orphan.bytes);
  }
}

Status FileSystemImpl::RemoveEntry(const OpContext& context, InodeNumber parent,
                                   std::string_view name, bool directory) {
  LockSet locks(table_, context.may_wait);
  const Dirent dirent = TRY(LockEntry(context, parent, name, &locks));
  Inode& inode = locks[dirent.ino];
  if (directory) {
    if (!inode.record().is_directory()) return Status::Posix(ENOTDIR);
    if (inode.record().entry_count > 0) return Status::Posix(ENOTEMPTY);
  } else if (inode.record().is_directory()) {
    return Status::Posix(EISDIR);
  }
  const int64_t now_ns = Now();
  Transaction transaction(db_, context.may_wait);
  StageEntryRemoval(locks[parent], name, dirent, now_ns, &transaction);
  const bool orphaned = StageUnlink(inode, now_ns, &transaction);
  TRY(transaction.Commit());
  const Orphan orphan{dirent.ino, inode.record().size};
  locks.Release();
  if (orphaned) FinishUnlink(orphan);
  return Status::Ok();
}

Status FileSystemImpl::Unlink(const OpContext& context, InodeNumber parent, std::string_view name) {
  TRY(CheckWritable());
  TRY(CheckName(name));
  if (name == "." || name == "..") return Status::Posix(EISDIR);
  return RemoveEntry(context, parent, name, /*directory=*/false);
}

Status FileSystemImpl::RemoveDirectory(const OpContext& context, InodeNumber parent,
                                       std::string_view name) {
  TRY(CheckWritable());
  TRY(CheckName(name));
  if (name == ".") return Status::Posix(EINVAL);
  if (name == "..") return Status::Posix(ENOTEMPTY);
  return RemoveEntry(context, parent, name, /*directory=*/true);
}

}  // namespace terracefs::fs
