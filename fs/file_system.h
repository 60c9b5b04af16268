#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/schema/inode_number.h"
#include "fs/schema/limits.h"
#include "io/base/bytes.h"
#include "io/base/clock.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

// Who asks, and whether the answer may wait for the disk.
struct OpContext {
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t pid = 0;
  uint32_t umask = 0;
  // False: an operation that would have to wait (cold read, stalled write, a lock held across I/O)
  // returns WouldBlock and has changed nothing; call it again with true, from a thread that may.
  bool may_wait = true;
  // The kernel asks for itself: it writes back what somebody wrote before, after it saw to it then
  // that whoever wrote took away what writing takes away. What was given since stays.
  bool write_back = false;
  // A read leaves no access time (O_NOATIME).
  bool no_access_time = false;
};

// Times are nanoseconds since the epoch.
struct Attributes {
  InodeNumber ino;
  uint32_t mode = 0;  // type and permission bits, as st_mode
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;    // bytes
  uint64_t blocks = 0;  // of 512 bytes, as st_blocks
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  int64_t btime_ns = 0;
  uint64_t generation = 0;
};

// What SetAttributes changes: the members that have a value.
struct AttributeChange {
  std::optional<uint32_t> mode;  // permission bits only
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<int64_t> atime_ns;
  std::optional<int64_t> mtime_ns;
  std::optional<int64_t> ctime_ns;  // only the write-back cache sets this
  bool atime_now = false;
  bool mtime_now = false;
  bool kill_suid_sgid =
      false;  // the kernel wants setuid, setgid and capabilities gone (killpriv_v2)
};

struct WriteOutcome {
  // Setuid or setgid is gone: the kernel does not know, and must not keep the mode it has.
  bool mode_changed = false;
};

struct DirectoryEntry {
  std::string_view name;  // good during the call only
  InodeNumber ino;
  uint32_t type = 0;         // the S_IFMT bits
  uint64_t next_cookie = 0;  // resume after this entry
  // Readdirplus; null for "." and "..", and for an inode that cannot be read (its lookup count then
  // stays as it is).
  const Attributes* attributes = nullptr;
};

struct SpaceUsage {
  uint64_t capacity_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t available_bytes = 0;  // to ordinary users
  uint64_t inodes = 0;
  uint64_t free_inodes = 0;
};

struct FormatOptions {
  uint64_t size_bytes = 0;  // capacity; 0 = the disk's
  std::string label;
};

enum class AtimePolicy : uint8_t { kNone, kRelative, kStrict };

struct FileSystemOptions {
  bool read_only = false;
  AtimePolicy atime = AtimePolicy::kRelative;
  const io::Clock* clock = &io::SystemClock();
  // How many inodes that nobody is using stay in memory, at about 300 bytes each.
  size_t cached_inode_count_max = 32768;
};

inline constexpr uint32_t kLinkCountMax = 65000;
// For SetXattr, beside XATTR_CREATE and XATTR_REPLACE: who sets an access ACL may not keep setgid.
inline constexpr int kXattrKillSetgid = 0x100;

// POSIX semantics on a Db; knows no FUSE. Every operation is one atomic batch (but see Allocate).
// Errors that a system call should report are Status::Posix(errno); others (I/O, corruption, no
// space, would block) keep their code and become an errno in fs/errno.h. Permission checks by mode
// bits are the kernel's (default_permissions); what the kernel cannot know (setgid inheritance,
// clearing of setuid on write, who may set what) is done here. All methods are safe from any
// thread.
//
// Lookup counts: Lookup, MakeNode, MakeDirectory, MakeSymlink, MakeTemporary, Link and each entry
// of a readdirplus add one to the inode's count, for which the caller owes one Forget. An inode
// whose last link goes while its count is not zero lives on (recorded as an orphan, collected at
// the next Mount after a crash) until Forget brings the count to zero.
class FileSystem {
 public:
  // Writes the superblock and the root directory (mode 0755, uid and gid of the caller given).
  static io::Status Format(lsm::Db& db, const FormatOptions& options, uint32_t uid, uint32_t gid,
                           const io::Clock& clock);
  // `db` is borrowed. Collects orphans and finishes interrupted truncations (unless read-only).
  static io::Result<std::unique_ptr<FileSystem>> Mount(lsm::Db& db,
                                                       const FileSystemOptions& options);
  // The engine options that this key space wants (domains, groups, filters).
  static void ConfigureEngine(lsm::Options* options);
  virtual ~FileSystem() = default;

  virtual io::Result<Attributes> Lookup(const OpContext& context, InodeNumber parent,
                                        std::string_view name) = 0;
  virtual void Forget(InodeNumber ino, uint64_t count) = 0;
  virtual io::Result<Attributes> GetAttributes(const OpContext& context, InodeNumber ino) = 0;
  virtual io::Result<Attributes> SetAttributes(const OpContext& context, InodeNumber ino,
                                               const AttributeChange& change) = 0;

  virtual io::Result<Attributes> MakeNode(const OpContext& context, InodeNumber parent,
                                          std::string_view name, uint32_t mode, uint64_t rdev) = 0;
  virtual io::Result<Attributes> MakeDirectory(const OpContext& context, InodeNumber parent,
                                               std::string_view name, uint32_t mode) = 0;
  virtual io::Result<Attributes> MakeSymlink(const OpContext& context, InodeNumber parent,
                                             std::string_view name, std::string_view target) = 0;
  // A regular file without a name, made as if in `parent` (O_TMPFILE). Link may give it one; until
  // then it is an orphan, which goes with its last user or at the next Mount after a crash.
  virtual io::Result<Attributes> MakeTemporary(const OpContext& context, InodeNumber parent,
                                               uint32_t mode) = 0;
  // ENOENT for an inode without links, unless MakeTemporary made it and it never had one.
  virtual io::Result<Attributes> Link(const OpContext& context, InodeNumber ino,
                                      InodeNumber new_parent, std::string_view new_name) = 0;
  virtual io::Status Unlink(const OpContext& context, InodeNumber parent,
                            std::string_view name) = 0;
  virtual io::Status RemoveDirectory(const OpContext& context, InodeNumber parent,
                                     std::string_view name) = 0;
  // `flags`: RENAME_NOREPLACE and RENAME_WHITEOUT, or RENAME_EXCHANGE. A whiteout, which stays at
  // the old name, is a character device 0:0 without permissions; nobody owes a Forget for it.
  virtual io::Status Rename(const OpContext& context, InodeNumber parent, std::string_view name,
                            InodeNumber new_parent, std::string_view new_name, uint32_t flags) = 0;
  // `observer(ino, bytes)` is called at the end of every Unlink and Rename that took the last name
  // of a file which somebody still holds; `bytes` is its size, no lock is held. Not while other
  // methods are called.
  using UnlinkObserver = std::function<void(InodeNumber ino, uint64_t bytes)>;
  virtual void SetUnlinkObserver(UnlinkObserver observer) = 0;
  virtual io::Result<std::string> ReadLink(const OpContext& context, InodeNumber ino) = 0;

  // Bytes read: less than asked for only at the end of the file. Holes read as zeros.
  virtual io::Result<size_t> Read(const OpContext& context, InodeNumber ino, uint64_t offset,
                                  io::MutableBytes out) = 0;
  // Writes all of `data` or nothing. Takes capabilities away, unless the kernel writes back, and
  // setuid and setgid if `kill_suid_sgid`: the kernel knows whether who writes may keep them
  // (killpriv_v2).
  virtual io::Result<WriteOutcome> Write(const OpContext& context, InodeNumber ino, uint64_t offset,
                                         io::Bytes data, bool kill_suid_sgid) = 0;
  // fallocate(2): `mode` 0 or FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
  // FALLOC_FL_ZERO_RANGE with or without FALLOC_FL_KEEP_SIZE; EOPNOTSUPP for others. `offset` and
  // `length` are bytes. The size changes atomically with the last of the pages; a range of many
  // pages takes several batches, of which a failure or crash may leave the first ones only. Takes
  // capabilities away, and setuid and setgid unless the caller is root: the kernel does not say who
  // may keep them.
  virtual io::Result<WriteOutcome> Allocate(const OpContext& context, InodeNumber ino, int mode,
                                            uint64_t offset, uint64_t length) = 0;
  // lseek(2) with `whence` SEEK_DATA or SEEK_HOLE: the first byte at or behind `offset` that lies
  // in a written page, or in none (the end of the file is a hole). ENXIO if there is none or
  // `offset` is not before the end.
  virtual io::Result<uint64_t> Seek(const OpContext& context, InodeNumber ino, uint64_t offset,
                                    int whence) = 0;
  // Everything done before, on any inode, is durable on return (recovery is a prefix).
  virtual io::Status Sync() = 0;
  // Remounting. Read-only: as if Mount had been told so, but for what is under way; EROFS if it was
  // told so and the opposite is wanted.
  virtual io::Status SetReadOnly(bool read_only) = 0;
  virtual void SetAtimePolicy(AtimePolicy policy) = 0;

  // Calls `visit` for the entries after `cookie` (0: the start) until it returns false. "." and
  // ".." come first. `with_attributes`: each visited entry (except "." and "..") for which `visit`
  // returned true has its lookup count raised by one.
  virtual io::Status ReadDirectory(const OpContext& context, InodeNumber ino, uint64_t cookie,
                                   bool with_attributes,
                                   const std::function<bool(const DirectoryEntry&)>& visit) = 0;

  // `flags`: XATTR_CREATE, XATTR_REPLACE, kXattrKillSetgid. Access ACLs change the mode's
  // permission bits, and are stored only if they say more than these; empty ACLs take away what
  // there is. Only directories have default ACLs, which what is made in them inherits.
  virtual io::Status SetXattr(const OpContext& context, InodeNumber ino, std::string_view name,
                              std::string_view value, int flags) = 0;
  virtual io::Result<std::string> GetXattr(const OpContext& context, InodeNumber ino,
                                           std::string_view name) = 0;
  // Names that the caller may see, each followed by a zero byte. Posix(E2BIG) if they are more than
  // the kernel takes.
  virtual io::Result<std::string> ListXattr(const OpContext& context, InodeNumber ino) = 0;
  virtual io::Status RemoveXattr(const OpContext& context, InodeNumber ino,
                                 std::string_view name) = 0;

  virtual io::Result<SpaceUsage> StatFs() = 0;
  // Pages of files that have no links any more, but whose space waits for their last user.
  virtual io::Result<uint64_t> UnlinkedPageCount() = 0;
  // Checks what must always hold of the tree (link counts, parents, listings against dirents, block
  // counts, no orphaned records); each breach is one message. Reads every record, and with
  // `read_data` the contents of every page.
  virtual io::Result<std::vector<std::string>> CheckTree(bool read_data) = 0;
  // How many inodes the kernel still holds; 0 after a clean unmount's forgets (tests).
  virtual uint64_t LookupCountTotal() const = 0;
};

}  // namespace terracefs::fs
