#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/acl.h"
#include "fs/file_system.h"
#include "fs/inode_allocator.h"
#include "fs/inode_locks.h"
#include "fs/inode_table.h"
#include "fs/lookup_counts.h"
#include "fs/orphans.h"
#include "fs/schema/records.h"
#include "fs/transaction.h"
#include "fs/usage.h"

namespace terracefs::fs {

// The one FileSystem. One file of fs/ops/ per family of operations; they all go: take the locks,
// check, stage in a Transaction, commit, raise lookup counts, release. fs/LOCKING.md has the locks.
class FileSystemImpl final : public FileSystem {
 public:
  FileSystemImpl(lsm::Db& db, const FileSystemOptions& options, const Superblock& superblock,
                 uint64_t allocator_bound);
  ~FileSystemImpl() override;

  // Collects orphans and finishes trims, as far as they are readable. Before anything else is
  // called.
  void Recover();

  // The interface, see file_system.h.
  io::Result<Attributes> Lookup(const OpContext& context, InodeNumber parent,
                                std::string_view name) override;
  void Forget(InodeNumber ino, uint64_t count) override;
  io::Result<Attributes> GetAttributes(const OpContext& context, InodeNumber ino) override;
  io::Result<Attributes> SetAttributes(const OpContext& context, InodeNumber ino,
                                       const AttributeChange& change) override;
  io::Result<Attributes> MakeNode(const OpContext& context, InodeNumber parent,
                                  std::string_view name, uint32_t mode, uint64_t rdev) override;
  io::Result<Attributes> MakeDirectory(const OpContext& context, InodeNumber parent,
                                       std::string_view name, uint32_t mode) override;
  io::Result<Attributes> MakeSymlink(const OpContext& context, InodeNumber parent,
                                     std::string_view name, std::string_view target) override;
  io::Result<Attributes> MakeTemporary(const OpContext& context, InodeNumber parent,
                                       uint32_t mode) override;
  io::Result<Attributes> Link(const OpContext& context, InodeNumber ino, InodeNumber new_parent,
                              std::string_view new_name) override;
  io::Status Unlink(const OpContext& context, InodeNumber parent, std::string_view name) override;
  io::Status RemoveDirectory(const OpContext& context, InodeNumber parent,
                             std::string_view name) override;
  io::Status Rename(const OpContext& context, InodeNumber parent, std::string_view name,
                    InodeNumber new_parent, std::string_view new_name, uint32_t flags) override;
  void SetUnlinkObserver(UnlinkObserver observer) override {
    unlink_observer_ = std::move(observer);
  }
  io::Result<std::string> ReadLink(const OpContext& context, InodeNumber ino) override;
  io::Result<size_t> Read(const OpContext& context, InodeNumber ino, uint64_t offset,
                          io::MutableBytes out) override;
  io::Result<WriteOutcome> Write(const OpContext& context, InodeNumber ino, uint64_t offset,
                                 io::Bytes data, bool kill_suid_sgid) override;
  io::Result<WriteOutcome> Allocate(const OpContext& context, InodeNumber ino, int mode,
                                    uint64_t offset, uint64_t length) override;
  io::Result<uint64_t> Seek(const OpContext& context, InodeNumber ino, uint64_t offset,
                            int whence) override;
  io::Status Sync() override;
  io::Status SetReadOnly(bool read_only) override;
  void SetAtimePolicy(AtimePolicy policy) override;
  io::Status ReadDirectory(const OpContext& context, InodeNumber ino, uint64_t cookie,
                           bool with_attributes,
                           const std::function<bool(const DirectoryEntry&)>& visit) override;
  io::Status SetXattr(const OpContext& context, InodeNumber ino, std::string_view name,
                      std::string_view value, int flags) override;
  io::Result<std::string> GetXattr(const OpContext& context, InodeNumber ino,
                                   std::string_view name) override;
  io::Result<std::string> ListXattr(const OpContext& context, InodeNumber ino) override;
  io::Status RemoveXattr(const OpContext& context, InodeNumber ino, std::string_view name) override;
  io::Result<SpaceUsage> StatFs() override;
  io::Result<uint64_t> UnlinkedPageCount() override;
  io::Result<std::vector<std::string>> CheckTree(bool read_data) override;
  uint64_t LookupCountTotal() const override;

 private:
  // What a new inode is to be; `mode` has the type and permission bits.
  struct NewInode {
    uint32_t mode = 0;
    uint64_t rdev = 0;
    std::string_view target = {};
  };
  // Both ends of a rename, under lock.
  struct RenameEnds;

  int64_t Now() const { return options_.clock->WallNs(); }
  static lsm::ReadOptions ReadOptionsFor(const OpContext& context);
  io::Status CheckWritable() const;

  // ops/lookup.cc
  io::Result<std::optional<Dirent>> FindDirent(const OpContext& context, InodeNumber parent,
                                               std::string_view name);
  io::Result<Attributes> LookupSelf(const OpContext& context, InodeNumber ino);
  io::Result<InodeNumber> RaiseChild(const OpContext& context, InodeNumber parent,
                                     std::string_view name);
  // Notes a read of the inode if that is due by now and needs no wait.
  void NoteAccess(InodeNumber ino);
  // Whether `record` needs it; `ino`'s lock must be released before NoteAccess.
  bool AccessIsDue(const InodeRecord& record) const;

  // ops/create.cc
  io::Result<Attributes> MakeEntry(const OpContext& context, InodeNumber parent,
                                   std::string_view name, const NewInode& spec);
  // An inode whose making is staged.
  struct StagedInode {
    InodeNumber ino;
    InodeRecord record;
  };
  // Something made in `directory`, with what it inherits from it. Its mode is that of `acls`, not
  // of `spec`. The caller gives it a name, or records it as an orphan.
  io::Result<StagedInode> StageInode(const OpContext& context, const Inode& directory,
                                     const InheritedAcls& acls, const NewInode& spec,
                                     uint32_t nlink, Transaction* transaction);
  io::Status LinkLocked(const OpContext& context, Inode& inode, Inode& directory,
                        std::string_view new_name);
  // `directory` is one, and lives: ENOTDIR, ENOENT.
  static io::Status CheckDirectory(const InodeRecord& directory);

  // ops/remove.cc
  // Locks `parent` and what `name` stands for there. ENOENT if nothing.
  io::Result<Dirent> LockEntry(const OpContext& context, InodeNumber parent, std::string_view name,
                               LockSet* locks);
  // Takes one link, the only one of a directory. True if the inode became an orphan: after the
  // commit call FinishUnlink with it, once no lock is held.
  bool StageUnlink(Inode& inode, int64_t now_ns, Transaction* transaction);
  // A file without names that somebody holds.
  struct Orphan {
    InodeNumber ino;
    uint64_t bytes = 0;
  };
  void FinishUnlink(const Orphan& orphan);
  io::Status RemoveEntry(const OpContext& context, InodeNumber parent, std::string_view name,
                         bool directory);
  // Takes the entry out of its directory's keys and counts.
  static void StageEntryRemoval(Inode& parent, std::string_view name, const Dirent& dirent,
                                int64_t now_ns, Transaction* transaction);
  // Adds an entry with a cookie of its own.
  static void StageEntry(Inode& parent, std::string_view name, InodeNumber ino, uint32_t type,
                         int64_t now_ns, Transaction* transaction);

  // ops/rename.cc
  io::Status LockRenameEnds(const OpContext& context, RenameEnds* ends);
  io::Status CheckRename(const OpContext& context, const RenameEnds& ends, bool* nothing_to_do);
  io::Status CheckNotInside(const OpContext& context, InodeNumber directory, InodeNumber inside);
  io::Status StageWhiteout(const OpContext& context, const RenameEnds& ends,
                           Transaction* transaction);
  io::Status CommitRename(const OpContext& context, RenameEnds* ends,
                          std::optional<Orphan>* orphan);
  static void StageMove(const RenameEnds& ends, int64_t now_ns, Transaction* transaction);
  static void StageExchange(const RenameEnds& ends, int64_t now_ns, Transaction* transaction);

  // ops/attr.cc
  // Takes setuid, setgid and capabilities away, as WithoutPrivileges says.
  static void StagePrivilegeLoss(Inode& inode, Transaction* transaction);
  static void StageCapabilityLoss(Inode& inode, Transaction* transaction);
  io::Status StageAttributes(const OpContext& context, Inode& inode, const AttributeChange& change,
                             int64_t now_ns, Transaction* transaction);
  // A pending trim is finished first; WouldBlock if that may not wait.
  io::Status SettleTrim(const OpContext& context, Inode& inode);

  // ops/allocate.cc
  struct RangeChange;
  // The next batch of it.
  io::Status CommitRangeBatch(const OpContext& context, Inode& inode, RangeChange* change);

  // ops/xattr.cc
  io::Result<std::optional<lsm::PinnedValue>> FindXattr(const OpContext& context, InodeNumber ino,
                                                        std::string_view name);
  // XATTR_CREATE, XATTR_REPLACE.
  static io::Status CheckXattrFlags(bool exists, int flags);
  // These three only for xattrs of which the record has a flag. `record` is the one staged.
  static bool HasXattr(const InodeRecord& record, std::string_view name);
  static void StageXattr(InodeNumber ino, std::string_view name, std::string_view value,
                         InodeRecord* record, Transaction* transaction);
  static void StageXattrRemoval(InodeNumber ino, std::string_view name, InodeRecord* record,
                                Transaction* transaction);

  // ops/acl.cc
  // One that the record says is there.
  io::Result<Acl> FindAcl(const OpContext& context, InodeNumber ino, std::string_view name);
  // An empty `value` removes; without anything there to remove, nothing happens.
  io::Status SetAcl(const OpContext& context, InodeNumber ino, std::string_view name,
                    std::string_view value, int flags);
  // Makes the access ACL, which the inode must have, say what `mode` says.
  io::Status StageAclChmod(const OpContext& context, Inode& inode, uint32_t mode,
                           Transaction* transaction);
  // What is made in `directory` with `mode` (with type) gets from its default ACL, or from the
  // umask if it has none. The directory must be locked until StageInherited was called with the
  // answer and the new inode's record, before the record is handed to the transaction.
  io::Result<InheritedAcls> InheritAcls(const OpContext& context, InodeNumber parent,
                                        const InodeRecord& directory, uint32_t mode);
  static void StageInherited(const InheritedAcls& inherited, InodeNumber ino, InodeRecord* record,
                             Transaction* transaction);

  lsm::Db& db_;
  const FileSystemOptions options_;
  // Relaxed: a change need not be seen at once.
  std::atomic<bool> read_only_;
  std::atomic<AtimePolicy> atime_;
  InodeTable table_;
  LookupCounts counts_;
  InodeAllocator allocator_;
  Usage usage_;
  // Renames that give a directory a new parent: holds the shape of the tree still.
  InodeLock rename_lock_;
  std::unique_ptr<Orphans> orphans_;  // null if read-only
  UnlinkObserver unlink_observer_;
};

// What a record says to the outside.
Attributes ToAttributes(InodeNumber ino, const InodeRecord& record);

}  // namespace terracefs::fs
