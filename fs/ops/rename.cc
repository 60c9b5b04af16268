#include <linux/fs.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <span>
#include <string>

#include "fs/file_system_impl.h"
#include "fs/permissions.h"
#include "fs/schema/keys.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

// A directory tree deeper than this is a cycle.
constexpr int kDepthMax = 1 << 20;
// An inode record, an entry and their keys, without the name.
constexpr size_t kWhiteoutBatchBytes = 256;

// Releases an InodeLock that is held, at the end of a scope.
class HeldLock {
 public:
  HeldLock() = default;
  HeldLock(const HeldLock&) = delete;
  HeldLock& operator=(const HeldLock&) = delete;
  ~HeldLock() {
    if (lock_ != nullptr) lock_->Unlock();
  }
  Status Acquire(InodeLock& lock, bool may_wait) {
    if (may_wait) {
      lock.Lock();
    } else if (!lock.TryLockBriefly()) {
      return Status::WouldBlock();
    }
    lock_ = &lock;
    return Status::Ok();
  }
  bool held() const { return lock_ != nullptr; }

 private:
  InodeLock* lock_ = nullptr;
};

void Touch(InodeRecord* directory, int64_t now_ns) {
  directory->mtime_ns = now_ns;
  directory->ctime_ns = now_ns;
}

}  // namespace

struct FileSystemImpl::RenameEnds {
  InodeNumber parent;
  std::string_view name;
  InodeNumber new_parent;
  std::string_view new_name;
  bool exchange = false;
  bool no_replace = false;
  bool whiteout = false;

  HeldLock tree;  // rename_lock_, if needed; let go after the inodes
  LockSet locks;
  Dirent source;
  std::optional<Dirent> target;

  bool same_parent() const { return parent == new_parent; }
  // A directory gets another parent, so the shape of the tree changes.
  bool moves_directory() const {
    return !same_parent() &&
           (source.type == S_IFDIR || (exchange && target && target->type == S_IFDIR));
  }
};

// Locks both directories, then what the names stand for. If that does not work in order of numbers,
// or turns out to need the rename lock, starts over with all that was seen; the names are looked up
// again each time, under the locks of their directories.
Status FileSystemImpl::LockRenameEnds(const OpContext& context, RenameEnds* ends) {
  std::array<InodeNumber, 4> wanted{ends->parent, ends->new_parent};
  size_t wanted_count = 2;
  for (;;) {
    Status status = ends->locks.LockMany(std::span(wanted).first(wanted_count));
    if (status.Is(io::StatusCode::kPosix) && wanted_count > 2) {
      wanted_count = 2;
      continue;
    }
    TRY(status);
    TRY(CheckDirectory(ends->locks[ends->parent].record()));
    TRY(CheckDirectory(ends->locks[ends->new_parent].record()));
    const std::optional<Dirent> source = TRY(FindDirent(context, ends->parent, ends->name));
    if (!source) return Status::Posix(ENOENT);
    ends->source = *source;
    ends->target = TRY(FindDirent(context, ends->new_parent, ends->new_name));
    wanted[2] = source->ino;
    wanted_count = 3;
    if (ends->target) wanted[wanted_count++] = ends->target->ino;
    if (ends->moves_directory() && !ends->tree.held()) {
      ends->locks.Release();  // the rename lock comes before inode locks
      TRY(ends->tree.Acquire(rename_lock_, context.may_wait));
      continue;
    }
    Result<bool> locked = ends->locks.Extend(std::span(wanted).subspan(2, wanted_count - 2));
    if (!locked.ok() && locked.status().Is(io::StatusCode::kPosix)) {
      return Status::Corruption("entry without an inode",
                                "directory " + std::to_string(ends->parent.value) + " or " +
                                    std::to_string(ends->new_parent.value));
    }
    if (TRY(std::move(locked))) return Status::Ok();
  }
}

// EINVAL if `inside` is `directory` or below it. Parents change only under the rename lock, which
// is held, so they are read without inode locks.
Status FileSystemImpl::CheckNotInside(const OpContext& context, InodeNumber directory,
                                      InodeNumber inside) {
  InodeNumber at = inside;
  for (int depth = 0; depth < kDepthMax; ++depth) {
    if (at == directory) return Status::Posix(EINVAL);
    if (at == kRootInode) return Status::Ok();
    const InodeRecord record = TRY(table_.ReadRecord(at, context.may_wait));
    at = record.parent;
  }
  return Status::Corruption("directories form a cycle", "inode " + std::to_string(inside.value));
}

Status FileSystemImpl::CheckRename(const OpContext& context, const RenameEnds& ends,
                                   bool* nothing_to_do) {
  *nothing_to_do = false;
  if (ends.exchange && !ends.target) return Status::Posix(ENOENT);
  if (ends.no_replace && ends.target) return Status::Posix(EEXIST);
  if (ends.moves_directory()) {
    if (ends.source.type == S_IFDIR) {
      TRY(CheckNotInside(context, ends.source.ino, ends.new_parent));
    }
    if (ends.exchange && ends.target->type == S_IFDIR) {
      TRY(CheckNotInside(context, ends.target->ino, ends.parent));
    }
  }
  if (!ends.target) return Status::Ok();
  if (ends.source.ino == ends.target->ino) {  // two links of one file, or one name twice
    *nothing_to_do = true;
    return Status::Ok();
  }
  if (ends.exchange) return Status::Ok();
  const InodeRecord& victim = ends.locks[ends.target->ino].record();
  if (ends.source.type == S_IFDIR) {
    if (!victim.is_directory()) return Status::Posix(ENOTDIR);
    if (victim.entry_count > 0) return Status::Posix(ENOTEMPTY);
  } else if (victim.is_directory()) {
    return Status::Posix(EISDIR);
  }
  return Status::Ok();
}

// The entry of a replaced name keeps its cookie, and an entry renamed within its directory too: a
// listing under way then meets neither twice.
void FileSystemImpl::StageMove(const RenameEnds& ends, int64_t now_ns, Transaction* transaction) {
  Inode& old_directory = ends.locks[ends.parent];
  Inode& new_directory = ends.locks[ends.new_parent];
  const Dirent& source = ends.source;
  if (ends.target || !ends.same_parent()) {
    StageEntryRemoval(old_directory, ends.name, source, now_ns, transaction);
    if (!ends.target) {
      StageEntry(new_directory, ends.new_name, source.ino, source.type, now_ns, transaction);
      return;
    }
    InodeRecord& record = transaction->Edit(new_directory);
    Touch(&record, now_ns);
    if (ends.target->type == S_IFDIR && record.nlink > 2) --record.nlink;
    if (source.type == S_IFDIR) ++record.nlink;
  } else {
    Touch(&transaction->Edit(old_directory), now_ns);
    transaction->batch().Delete(DirentKey(ends.parent, ends.name));
  }
  const uint64_t cookie = ends.target ? ends.target->cookie : source.cookie;
  transaction->PutDirent(ends.new_parent, ends.new_name,
                         {.ino = source.ino, .type = source.type, .cookie = cookie});
  transaction->PutListing(ends.new_parent, cookie,
                          {.ino = source.ino, .type = source.type, .name = ends.new_name});
}

void FileSystemImpl::StageExchange(const RenameEnds& ends, int64_t now_ns,
                                   Transaction* transaction) {
  const Dirent& source = ends.source;
  const Dirent& target = *ends.target;
  InodeRecord& old_directory = transaction->Edit(ends.locks[ends.parent]);
  InodeRecord& new_directory = transaction->Edit(ends.locks[ends.new_parent]);
  Touch(&old_directory, now_ns);
  Touch(&new_directory, now_ns);
  if (source.type == S_IFDIR) {
    --old_directory.nlink;
    ++new_directory.nlink;
  }
  if (target.type == S_IFDIR) {
    --new_directory.nlink;
    ++old_directory.nlink;
  }
  transaction->PutDirent(ends.parent, ends.name,
                         {.ino = target.ino, .type = target.type, .cookie = source.cookie});
  transaction->PutListing(ends.parent, source.cookie,
                          {.ino = target.ino, .type = target.type, .name = ends.name});
  transaction->PutDirent(ends.new_parent, ends.new_name,
                         {.ino = source.ino, .type = source.type, .cookie = target.cookie});
  transaction->PutListing(ends.new_parent, target.cookie,
                          {.ino = source.ino, .type = source.type, .name = ends.new_name});
}

// In the batch of the rename, after everything else: the old name is free then.
Status FileSystemImpl::StageWhiteout(const OpContext& context, const RenameEnds& ends,
                                     Transaction* transaction) {
  Inode& directory = ends.locks[ends.parent];
  const InheritedAcls acls = TRY(InheritAcls(context, ends.parent, directory.record(), S_IFCHR));
  TRY(usage_.CheckRoom(kWhiteoutBatchBytes + acls.access.size()));
  const auto [ino, record] = TRY(StageInode(context, directory, acls, {}, 1, transaction));
  StageEntry(directory, ends.name, ino, S_IFCHR, record.ctime_ns, transaction);
  return Status::Ok();
}

Status FileSystemImpl::CommitRename(const OpContext& context, RenameEnds* ends,
                                    std::optional<Orphan>* orphan) {
  const int64_t now_ns = Now();
  Transaction transaction(db_, context.may_wait);
  InodeRecord& moved = transaction.Edit(ends->locks[ends->source.ino]);
  moved.ctime_ns = now_ns;
  if (moved.is_directory()) moved.parent = ends->new_parent;
  if (ends->exchange) {
    InodeRecord& back = transaction.Edit(ends->locks[ends->target->ino]);
    back.ctime_ns = now_ns;
    if (back.is_directory()) back.parent = ends->parent;
    StageExchange(*ends, now_ns, &transaction);
    return transaction.Commit();
  }
  StageMove(*ends, now_ns, &transaction);
  bool orphaned = false;
  if (ends->target) {
    orphaned = StageUnlink(ends->locks[ends->target->ino], now_ns, &transaction);
  }
  if (ends->whiteout) TRY(StageWhiteout(context, *ends, &transaction));
  TRY(transaction.Commit());
  if (orphaned) {
    const InodeNumber target = ends->target->ino;
    *orphan = {target, ends->locks[target].record().size};
  }
  return Status::Ok();
}

Status FileSystemImpl::Rename(const OpContext& context, InodeNumber parent, std::string_view name,
                              InodeNumber new_parent, std::string_view new_name, uint32_t flags) {
  TRY(CheckWritable());
  TRY(CheckName(name));
  TRY(CheckName(new_name));
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  const bool no_replace = (flags & RENAME_NOREPLACE) != 0;
  const bool whiteout = (flags & RENAME_WHITEOUT) != 0;
  const uint32_t known = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
  if ((flags & ~known) != 0 || (exchange && (no_replace || whiteout))) {
    return Status::Posix(EINVAL);
  }
  for (const std::string_view part : {name, new_name}) {
    if (part == "." || part == "..") return Status::Posix(EBUSY);
  }
  std::optional<Orphan> orphan;
  {
    RenameEnds ends{.parent = parent,
                    .name = name,
                    .new_parent = new_parent,
                    .new_name = new_name,
                    .exchange = exchange,
                    .no_replace = no_replace,
                    .whiteout = whiteout,
                    .tree = {},
                    .locks = LockSet(table_, context.may_wait),
                    .source = {},
                    .target = {}};
    TRY(LockRenameEnds(context, &ends));
    bool nothing_to_do = false;
    TRY(CheckRename(context, ends, &nothing_to_do));
    if (nothing_to_do) return Status::Ok();
    TRY(CommitRename(context, &ends, &orphan));
  }
  if (orphan) FinishUnlink(*orphan);
  return Status::Ok();
}

}  // namespace terracefs::fs
