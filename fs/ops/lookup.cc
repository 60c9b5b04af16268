#include <sys/stat.h>

#include <cerrno>

#include "fs/file_system_impl.h"
#include "fs/permissions.h"
#include "fs/schema/keys.h"
#include "io/base/log.h"

namespace terracefs::fs {

using io::Result;
using io::Status;

Attributes ToAttributes(InodeNumber ino, const InodeRecord& record) {
  constexpr uint64_t kDirectoryEntryBytes = 32;  // what st_size of a directory counts for an entry
  constexpr uint64_t kBlocksPerPage = kPageBytes / 512;
  Attributes attributes;
  attributes.ino = ino;
  attributes.mode = record.mode;
  attributes.nlink = record.nlink;
  attributes.uid = record.uid;
  attributes.gid = record.gid;
  attributes.rdev = record.rdev;
  attributes.size = record.size;
  if (record.is_directory()) attributes.size = record.entry_count * kDirectoryEntryBytes;
  if (record.is_symlink()) attributes.size = record.target.size();
  attributes.blocks = record.page_count * kBlocksPerPage;
  attributes.atime_ns = record.atime_ns;
  attributes.mtime_ns = record.mtime_ns;
  attributes.ctime_ns = record.ctime_ns;
  attributes.btime_ns = record.btime_ns;
  attributes.generation = record.generation;
  return attributes;
}

Result<std::optional<Dirent>> FileSystemImpl::FindDirent(const OpContext& context,
                                                         InodeNumber parent,
                                                         std::string_view name) {
  const auto value = TRY(db_.Get(ReadOptionsFor(context), DirentKey(parent, name)));
  if (!value) return std::optional<Dirent>();
  return std::optional<Dirent>(TRY(DecodeDirent(value->view())));
}

// The count goes up under the lock of the directory: the entry cannot go meanwhile, so whoever
// takes the inode's last link sees the count.
Result<InodeNumber> FileSystemImpl::RaiseChild(const OpContext& context, InodeNumber parent,
                                               std::string_view name) {
  const LockedInode directory = TRY(LockedInode::Shared(table_, parent, context.may_wait));
  TRY(CheckDirectory(directory.record()));
  InodeNumber child = directory.record().parent;
  if (name != "..") {
    const std::optional<Dirent> dirent = TRY(FindDirent(context, parent, name));
    if (!dirent) return Status::Posix(ENOENT);
    child = dirent->ino;
  }
  counts_.Raise(child);
  return child;
}

// A file handle is opened: the inode by its number alone, whatever its type.
Result<Attributes> FileSystemImpl::LookupSelf(const OpContext& context, InodeNumber ino) {
  const LockedInode self = TRY(LockedInode::Shared(table_, ino, context.may_wait));
  if (self.record().nlink == 0) return Status::Posix(ESTALE);
  counts_.Raise(ino);
  return ToAttributes(ino, self.record());
}

Result<Attributes> FileSystemImpl::Lookup(const OpContext& context, InodeNumber parent,
                                          std::string_view name) {
  TRY(CheckName(name));
  if (name == ".") return LookupSelf(context, parent);
  const InodeNumber child = TRY(RaiseChild(context, parent, name));
  Result<Attributes> attributes = GetAttributes(context, child);
  if (!attributes.ok()) Forget(child, 1);
  return attributes;
}

void FileSystemImpl::Forget(InodeNumber ino, uint64_t count) {
  switch (counts_.Lower(ino, count)) {
    case LookupCounts::Outcome::kHeld:
    case LookupCounts::Outcome::kReleased:
      return;
    case LookupCounts::Outcome::kOrphanReleased:
      orphans_->Released(ino);
      return;
    case LookupCounts::Outcome::kUnderflow:
      io::FsLog().warn("inode {} was forgotten more often than it was looked up", ino.value);
      return;
  }
}

Result<Attributes> FileSystemImpl::GetAttributes(const OpContext& context, InodeNumber ino) {
  Attributes attributes;
  const auto copy = [&](const InodeRecord& record) { attributes = ToAttributes(ino, record); };
  if (table_.PeekCached(ino, copy)) return attributes;
  const InodeRef inode = TRY(table_.Get(ino, context.may_wait));
  inode->Peek(copy);
  return attributes;
}

Result<std::string> FileSystemImpl::ReadLink(const OpContext& context, InodeNumber ino) {
  const InodeRef inode = TRY(table_.Get(ino, context.may_wait));
  bool is_symlink = false;
  bool access_is_due = false;
  std::string target;
  inode->Peek([&](const InodeRecord& record) {
    is_symlink = record.is_symlink();
    access_is_due = AccessIsDue(record);
    target = record.target;
  });
  if (!is_symlink) return Status::Posix(EINVAL);
  if (access_is_due) NoteAccess(ino);
  return target;
}

bool FileSystemImpl::AccessIsDue(const InodeRecord& record) const {
  return !read_only_.load(std::memory_order_relaxed) &&
         AtimeIsDue(record, Now(), atime_.load(std::memory_order_relaxed));
}

void FileSystemImpl::NoteAccess(InodeNumber ino) {
  // Never worth a wait, nor an error: the read itself succeeded.
  const Result<LockedInode> locked = LockedInode::Exclusive(table_, ino, /*may_wait=*/false);
  if (!locked.ok() || !AccessIsDue(locked->record())) return;
  Transaction transaction(db_, /*may_wait=*/false);
  transaction.Edit(locked->inode()).atime_ns = Now();
  transaction.Commit().IgnoreError("an access time may lag behind");
}

}  // namespace terracefs::fs
