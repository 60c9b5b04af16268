#include "fs/fuse/ops.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "fs/acl.h"
#include "fs/errno.h"
#include "fs/fuse/caller.h"
#include "fs/fuse/dir_buffer.h"
#include "fs/fuse/dispatch.h"
#include "io/base/log.h"

// One callback per request: decode, call FileSystem, reply. How a request that would have to wait
// gets to another thread is in dispatch.h.

namespace terracefs::fs {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

InodeNumber Ino(fuse_ino_t ino) { return InodeNumber{ino}; }

// Times that nanoseconds cannot express (before 1677, after 2262) become the nearest that they can.
int64_t ToNs(const struct timespec& time) {
  int64_t seconds = time.tv_sec;
  int64_t rest_ns = time.tv_nsec;
  if (seconds < 0) {  // both towards the epoch, or the product overflows where the sum would not
    ++seconds;
    rest_ns -= kNsPerSecond;
  }
  int64_t ns = 0;
  if (!__builtin_mul_overflow(seconds, kNsPerSecond, &ns) &&
      !__builtin_add_overflow(ns, rest_ns, &ns)) {
    return ns;
  }
  return time.tv_sec < 0 ? INT64_MIN : INT64_MAX;
}

// The end of every request that makes or finds a name.
bool AnswerEntry(Call& call, const io::Result<Attributes>& found) {
  if (!found.ok()) {
    if (MustWait(call, found.status())) return false;
    call.reply.WithStatus(found.status());
    return true;
  }
  FileSystem& file_system = call.file_system;
  if (!call.reply.WithEntry(*found)) file_system.Forget(found->ino, 1);
  return true;
}

bool AnswerAttributes(Call& call, const io::Result<Attributes>& found) {
  if (found.ok()) {
    call.reply.WithAttributes(*found);
    return true;
  }
  if (MustWait(call, found.status())) return false;
  call.reply.WithStatus(found.status());
  return true;
}

bool AnswerStatus(Call& call, const io::Status& status) {
  if (MustWait(call, status)) return false;
  call.reply.WithStatus(status);
  return true;
}

// Answers as `answer` says once everything done so far is durable; see DurableReply.
void AnswerOnceDurable(Call& call, std::function<void(Reply&, const io::Status&)> answer) {
  const ServiceTargets& targets = call.service.targets();
  DurableReply reply{std::move(call.reply), std::move(answer)};
  if (targets.read_only || targets.db.DurableSequence() >= targets.db.LastSequence()) {
    return reply.WithStatus(io::Status::Ok());
  }
  call.service.syncs().Add(std::move(reply));
}

// A name was made.
bool AnswerNewEntry(Call& call, const io::Result<Attributes>& made) {
  if (!made.ok() || !call.service.targets().sync_names) return AnswerEntry(call, made);
  AnswerOnceDurable(call, [attributes = *made, &file_system = call.file_system](
                              Reply& reply, const io::Status& synced) {
    if (!synced.ok()) {
      reply.WithStatus(synced);
    } else if (reply.WithEntry(attributes)) {
      return;
    }
    file_system.Forget(attributes.ino, 1);
  });
  return true;
}

// A name was moved or removed.
bool AnswerNameChange(Call& call, const io::Status& status) {
  if (!status.ok() || !call.service.targets().sync_names) return AnswerStatus(call, status);
  AnswerOnceDurable(call, nullptr);
  return true;
}

// Attributes were changed, and are answered unless it was an xattr.
bool AnswerAttributeChange(Call& call, const io::Result<Attributes>& changed) {
  if (!changed.ok() || !call.service.targets().sync_attributes) {
    return AnswerAttributes(call, changed);
  }
  AnswerOnceDurable(call, [attributes = *changed](Reply& reply, const io::Status& synced) {
    if (!synced.ok()) return reply.WithStatus(synced);
    reply.WithAttributes(attributes);
  });
  return true;
}
bool AnswerAttributeChange(Call& call, const io::Status& status) {
  if (!status.ok() || !call.service.targets().sync_attributes) return AnswerStatus(call, status);
  AnswerOnceDurable(call, nullptr);
  return true;
}

// --- Names
// ----------------------------------------------------------------------------------------

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  Serve(
      request, Op::kLookup,
      [](Call& call, InodeNumber in, std::string_view child) {
        const io::Result<Attributes> found = call.file_system.Lookup(call.context, in, child);
        if (!found.ok() && ToErrno(found.status()) == ENOENT) {
          call.reply.WithNoEntry();
          return true;
        }
        return AnswerEntry(call, found);
      },
      Ino(parent), std::string_view(name));
}

void Mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
           dev_t rdev) noexcept {
  Serve(
      request, Op::kMknod,
      [](Call& call, InodeNumber in, std::string_view child, mode_t as, dev_t device) {
        return AnswerNewEntry(call, call.file_system.MakeNode(call.context, in, child, as, device));
      },
      Ino(parent), std::string_view(name), mode, rdev);
}

void Mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) noexcept {
  Serve(
      request, Op::kMkdir,
      [](Call& call, InodeNumber in, std::string_view child, mode_t as) {
        return AnswerNewEntry(call, call.file_system.MakeDirectory(call.context, in, child, as));
      },
      Ino(parent), std::string_view(name), mode);
}

void Symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) noexcept {
  Serve(
      request, Op::kSymlink,
      [](Call& call, InodeNumber in, std::string_view child, std::string_view to) {
        return AnswerNewEntry(call, call.file_system.MakeSymlink(call.context, in, child, to));
      },
      Ino(parent), std::string_view(name), std::string_view(target));
}

void Link(fuse_req_t request, fuse_ino_t ino, fuse_ino_t new_parent,
          const char* new_name) noexcept {
  Serve(
      request, Op::kLink,
      [](Call& call, InodeNumber what, InodeNumber in, std::string_view name) {
        return AnswerNewEntry(call, call.file_system.Link(call.context, what, in, name));
      },
      Ino(ino), Ino(new_parent), std::string_view(new_name));
}

void Unlink(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  Serve(
      request, Op::kUnlink,
      [](Call& call, InodeNumber in, std::string_view child) {
        return AnswerNameChange(call, call.file_system.Unlink(call.context, in, child));
      },
      Ino(parent), std::string_view(name));
}

void Rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  Serve(
      request, Op::kRmdir,
      [](Call& call, InodeNumber in, std::string_view child) {
        return AnswerNameChange(call, call.file_system.RemoveDirectory(call.context, in, child));
      },
      Ino(parent), std::string_view(name));
}

void Rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) noexcept {
  Serve(
      request, Op::kRename,
      [](Call& call, InodeNumber from, std::string_view old_name, InodeNumber to,
         std::string_view name_there, unsigned how) {
        return AnswerNameChange(
            call, call.file_system.Rename(call.context, from, old_name, to, name_there, how));
      },
      Ino(parent), std::string_view(name), Ino(new_parent), std::string_view(new_name), flags);
}

void Readlink(fuse_req_t request, fuse_ino_t ino) noexcept {
  Serve(
      request, Op::kReadlink,
      [](Call& call, InodeNumber what) {
        const io::Result<std::string> target = call.file_system.ReadLink(call.context, what);
        if (!target.ok()) return AnswerStatus(call, target.status());
        call.reply.WithText(*target);
        return true;
      },
      Ino(ino));
}

// --- Inodes
// ---------------------------------------------------------------------------------------

void Forget(fuse_req_t request, fuse_ino_t ino, uint64_t count) noexcept {
  ServeNow(request, Op::kForget, [&](Call& call) {
    call.file_system.Forget(Ino(ino), count);
    call.reply.WithNothing();
  });
}

void ForgetMulti(fuse_req_t request, size_t count, fuse_forget_data* forgets) noexcept {
  ServeNow(request, Op::kForget, [&](Call& call) {
    for (size_t i = 0; i < count; ++i) {
      call.file_system.Forget(Ino(forgets[i].ino), forgets[i].nlookup);
    }
    call.reply.WithNothing();
  });
}

void Getattr(fuse_req_t request, fuse_ino_t ino, fuse_file_info*) noexcept {
  Serve(
      request, Op::kGetattr,
      [](Call& call, InodeNumber what) {
        return AnswerAttributes(call, call.file_system.GetAttributes(call.context, what));
      },
      Ino(ino));
}

#if TERRACEFS_LIBFUSE_HAS_URING
void Statx(fuse_req_t request, fuse_ino_t ino, int, int, fuse_file_info*) noexcept {
  Serve(
      request, Op::kStatx,
      [](Call& call, InodeNumber what) {
        const io::Result<Attributes> found = call.file_system.GetAttributes(call.context, what);
        if (!found.ok()) return AnswerStatus(call, found.status());
        call.reply.WithExtendedAttributes(*found);
        return true;
      },
      Ino(ino));
}
#endif

AttributeChange ToChange(const struct stat& attributes, int what) {
  AttributeChange change;
  if (what & FUSE_SET_ATTR_MODE) change.mode = attributes.st_mode & 07777;
  if (what & FUSE_SET_ATTR_UID) change.uid = attributes.st_uid;
  if (what & FUSE_SET_ATTR_GID) change.gid = attributes.st_gid;
  if (what & FUSE_SET_ATTR_SIZE) change.size = static_cast<uint64_t>(attributes.st_size);
  change.atime_now = (what & FUSE_SET_ATTR_ATIME_NOW) != 0;
  change.mtime_now = (what & FUSE_SET_ATTR_MTIME_NOW) != 0;
  if ((what & FUSE_SET_ATTR_ATIME) && !change.atime_now) change.atime_ns = ToNs(attributes.st_atim);
  if ((what & FUSE_SET_ATTR_MTIME) && !change.mtime_now) change.mtime_ns = ToNs(attributes.st_mtim);
  if (what & FUSE_SET_ATTR_CTIME) change.ctime_ns = ToNs(attributes.st_ctim);
  // A chown that names neither user nor group arrives without anything to set, but for ctime if the
  // kernel caches writes, and takes privileges away like any other.
  constexpr int kSettable = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID |
                            FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
                            FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;
  change.kill_suid_sgid =
      (what & (FUSE_SET_ATTR_KILL_SUID | FUSE_SET_ATTR_KILL_SGID)) != 0 || (what & kSettable) == 0;
  return change;
}

void Setattr(fuse_req_t request, fuse_ino_t ino, struct stat* attributes, int what,
             fuse_file_info*) noexcept {
  Serve(
      request, Op::kSetattr,
      [](Call& call, InodeNumber inode, const AttributeChange& change) {
        return AnswerAttributeChange(call,
                                     call.file_system.SetAttributes(call.context, inode, change));
      },
      Ino(ino), ToChange(*attributes, what));
}

void Statfs(fuse_req_t request, fuse_ino_t) noexcept {
  // It says nothing about waiting, and asks the disk below how much is left.
  ServeLater(request, Op::kStatfs, [](Call& call) {
    const io::Result<SpaceUsage> usage = call.file_system.StatFs();
    if (!usage.ok()) return AnswerStatus(call, usage.status());
    call.reply.WithSpace(*usage);
    return true;
  });
}

// --- Bytes
// ----------------------------------------------------------------------------------------

void Open(fuse_req_t request, fuse_ino_t, fuse_file_info* info) noexcept {
  ServeNow(request, Op::kOpen, [&](Call& call) {
    // There is no state per open file. ENOSYS tells the kernel never to ask again.
    if (call.service.can_skip_open) return call.reply.WithErrno(ENOSYS);
    info->keep_cache = 1;
    call.reply.WithOpen(*info);
  });
}

void Opendir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) noexcept {
  ServeNow(request, Op::kOpendir, [&](Call& call) {
    if (call.service.can_skip_opendir) return call.reply.WithErrno(ENOSYS);
    info->keep_cache = 1;
    info->cache_readdir = 1;
    call.reply.WithOpen(*info);
  });
}

// The kernel falls back to MKNOD, whose file needs no RELEASE.
void Create(fuse_req_t request, fuse_ino_t, const char*, mode_t, fuse_file_info*) noexcept {
  ServeNow(request, Op::kCreate, [](Call& call) { call.reply.WithErrno(ENOSYS); });
}

#if TERRACEFS_LIBFUSE_HAS_URING
// The only open that is told of: the kernel has no other way to make a file without a name.
void Tmpfile(fuse_req_t request, fuse_ino_t parent, mode_t mode, fuse_file_info*) noexcept {
  Serve(
      request, Op::kTmpfile,
      [](Call& call, InodeNumber in, mode_t as) {
        const io::Result<Attributes> made = call.file_system.MakeTemporary(call.context, in, as);
        if (!made.ok()) return AnswerStatus(call, made.status());
        // As for any file whose open nobody hears of: there is no state, and cached pages stay.
        fuse_file_info info{};
        info.keep_cache = 1;
        FileSystem& file_system = call.file_system;
        if (!call.reply.WithOpenEntry(*made, info)) file_system.Forget(made->ino, 1);
        return true;
      },
      Ino(parent), mode);
}
#endif

// Nothing is kept back until close.
void Flush(fuse_req_t request, fuse_ino_t, fuse_file_info*) noexcept {
  ServeNow(request, Op::kFlush, [](Call& call) { call.reply.WithErrno(ENOSYS); });
}

void Read(fuse_req_t request, fuse_ino_t ino, size_t bytes, off_t offset,
          fuse_file_info* info) noexcept {
  Serve(
      request, Op::kRead,
      [](Call& call, InodeNumber what, size_t length, off_t from, int flags) {
        call.context.no_access_time = (flags & O_NOATIME) != 0;
        const io::MutableBytes out = AnswerMemory(call.reply.request(), length);
        const io::Result<size_t> read =
            call.file_system.Read(call.context, what, static_cast<uint64_t>(from), out);
        if (!read.ok()) return AnswerStatus(call, read.status());
        call.reply.WithBytes(out.first(*read));
        return true;
      },
      Ino(ino), bytes, offset, info == nullptr ? 0 : info->flags);
}

bool MustKillPrivileges([[maybe_unused]] const fuse_file_info& write) {
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
  return write.kill_suidgid != 0;
#else
  return false;  // with this libfuse the kernel does it itself, by SETATTR
#endif
}

void Write(fuse_req_t request, fuse_ino_t ino, const char* data, size_t bytes, off_t offset,
           fuse_file_info* info) noexcept {
  Serve(
      request, Op::kWrite,
      [](Call& call, InodeNumber what, io::Bytes content, off_t to, int flags, bool kill_suid_sgid,
         bool write_back) {
        call.context.write_back = write_back;
        const io::Result<WriteOutcome> outcome = call.file_system.Write(
            call.context, what, static_cast<uint64_t>(to), content, kill_suid_sgid);
        if (!outcome.ok()) return AnswerStatus(call, outcome.status());
        // The answer to a write has no attributes, and exec takes setuid from those it remembers.
        if (outcome->mode_changed) call.service.invalidate_attributes(what);
        if (outcome->blocks_changed && write_back) call.service.invalidate_attributes_later(what);
        // After an asynchronous O_DIRECT write the kernel sends no FSYNC: only the flags tell.
        if ((flags & (O_SYNC | O_DSYNC)) != 0) {
          AnswerOnceDurable(call, [bytes = content.size()](Reply& reply, const io::Status& synced) {
            if (!synced.ok()) return reply.WithStatus(synced);
            reply.WithCount(bytes);
          });
        } else {
          call.reply.WithCount(content.size());
        }
        return true;
      },
      Ino(ino), io::AsBytes({data, bytes}), offset, info->flags, MustKillPrivileges(*info),
      info->writepage != 0);
}

void Fallocate(fuse_req_t request, fuse_ino_t ino, int mode, off_t offset, off_t length,
               fuse_file_info*) noexcept {
  Serve(
      request, Op::kFallocate,
      [](Call& call, InodeNumber what, int how, uint64_t from, uint64_t bytes) {
        const io::Result<WriteOutcome> outcome =
            call.file_system.Allocate(call.context, what, how, from, bytes);
        if (!outcome.ok()) return AnswerStatus(call, outcome.status());
        if (outcome->mode_changed) call.service.invalidate_attributes(what);
        call.reply.WithStatus(io::Status::Ok());
        return true;
      },
      Ino(ino), mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length));
}

// An lseek, which has to know of what the kernel holds, too: it asks without writing back what is
// dirty in its cache, by mmap or by the write-back cache. Only pages that are holes here can be
// news to us, so that only these are flushed. Runs in steps, between which the kernel flushes.
class SeekTask : public std::enable_shared_from_this<SeekTask> {
 public:
  SeekTask(Call call, InodeNumber ino, uint64_t offset, int whence)
      : call_(std::move(call)), ino_(ino), offset_(offset), whence_(whence) {}

  void Run() {
    must_flush_ = false;
    const io::Result<uint64_t> found = whence_ == SEEK_DATA   ? Data()
                                       : whence_ == SEEK_HOLE ? Hole()
                                                              : io::Status::Posix(EINVAL);
    Service& service = call_.service;
    if (must_flush_) {
      call_.context.may_wait = true;
      service.FlushThen(ino_, clean_begin_, clean_end_,
                        [self = shared_from_this()] { self->Run(); });
    } else if (found.ok()) {
      call_.reply.WithOffset(*found);
    } else if (MustWait(call_, found.status())) {
      call_.context.may_wait = true;
      service.Defer([self = shared_from_this()] { self->Run(); });
    } else {
      call_.reply.WithStatus(found.status());
    }
  }

 private:
  io::Result<uint64_t> Seek(uint64_t offset, int whence) {
    return call_.file_system.Seek(call_.context, ino_, offset, whence);
  }
  static bool IsNone(const io::Status& status) { return ToErrno(status) == ENXIO; }
  // `end` 0: no end.
  void Flush(uint64_t begin, uint64_t end) {
    must_flush_ = is_clean_ = true;
    clean_begin_ = begin;
    clean_end_ = end;
  }
  bool IsClean(uint64_t offset) const {
    return is_clean_ && clean_begin_ <= offset && (clean_end_ == 0 || offset < clean_end_);
  }

  io::Result<uint64_t> Data() {
    io::Result<uint64_t> found = Seek(offset_, SEEK_DATA);
    if (found.ok() ? *found == offset_ || (IsClean(offset_) && IsClean(*found - 1))
                   : !IsNone(found.status()) || (IsClean(offset_) && clean_end_ == 0)) {
      return found;
    }
    Flush(offset_, found.ok() ? *found : 0);
    return found;
  }
  io::Result<uint64_t> Hole() {
    io::Result<uint64_t> found = Seek(offset_, SEEK_HOLE);
    if (!found.ok() && !IsNone(found.status())) return found;
    const uint64_t hole = found.ok() ? *found : offset_;
    if (IsClean(hole)) return found;
    if (!call_.service.targets().writeback) {  // the end is where we think it is
      if (!found.ok() || TRY(call_.file_system.GetAttributes(call_.context, ino_)).size == hole) {
        return found;
      }
    }
    const io::Result<uint64_t> data = Seek(hole, SEEK_DATA);
    if (!data.ok() && !IsNone(data.status())) return data;
    if (data.ok() && *data == hole) return Hole();  // somebody has just written there
    Flush(hole, data.ok() ? *data : 0);
    return found;
  }

  Call call_;
  const InodeNumber ino_;
  const uint64_t offset_;
  const int whence_;
  bool must_flush_ = false;
  // What was flushed last.
  bool is_clean_ = false;
  uint64_t clean_begin_ = 0;
  uint64_t clean_end_ = 0;
};

void Lseek(fuse_req_t request, fuse_ino_t ino, off_t offset, int whence, fuse_file_info*) noexcept {
  Call call = MakeCall(request, Op::kLseek);
  call.context.may_wait = false;
  const TransportScope scope(call.service, call.reply.over_uring());
  std::make_shared<SeekTask>(std::move(call), Ino(ino), static_cast<uint64_t>(offset), whence)
      ->Run();
}

void SyncAll(fuse_req_t request, Op op) noexcept {
  ServeNow(request, op, [](Call& call) { AnswerOnceDurable(call, nullptr); });
}

void Fsync(fuse_req_t request, fuse_ino_t ino, int, fuse_file_info*) noexcept {
  ServeNow(request, Op::kFsync, [ino](Call& call) {
    // What the kernel has written back for this may have changed st_blocks.
    if (call.service.targets().writeback) call.service.invalidate_attributes(Ino(ino));
    AnswerOnceDurable(call, nullptr);
  });
}

void Fsyncdir(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) noexcept {
  SyncAll(request, Op::kFsyncdir);
}

// --- Listings
// -------------------------------------------------------------------------------------

bool AnswerListing(Call& call, InodeNumber ino, size_t bytes, off_t cookie, bool plus) {
  const io::MutableBytes memory = AnswerMemory(call.reply.request(), bytes);
  DirBuffer buffer(call.reply.request(), memory, plus);
  const io::Status status = call.file_system.ReadDirectory(
      call.context, ino, static_cast<uint64_t>(cookie), plus,
      [&buffer](const DirectoryEntry& entry) { return buffer.Add(entry); });
  // An error behind the first entry waits for the next call, which starts there: the entries so far
  // are counted and have to reach the kernel.
  if (!status.ok() && buffer.packed().empty()) return AnswerStatus(call, status);
  FileSystem& file_system = call.file_system;
  if (!call.reply.WithDirectory(buffer.packed())) {
    for (const InodeNumber counted : buffer.counted()) file_system.Forget(counted, 1);
  }
  return true;
}

void Readdir(fuse_req_t request, fuse_ino_t ino, size_t bytes, off_t cookie,
             fuse_file_info*) noexcept {
  Serve(
      request, Op::kReaddir,
      [](Call& call, InodeNumber what, size_t room, off_t from) {
        return AnswerListing(call, what, room, from, false);
      },
      Ino(ino), bytes, cookie);
}

void Readdirplus(fuse_req_t request, fuse_ino_t ino, size_t bytes, off_t cookie,
                 fuse_file_info*) noexcept {
  Serve(
      request, Op::kReaddirplus,
      [](Call& call, InodeNumber what, size_t room, off_t from) {
        return AnswerListing(call, what, room, from, true);
      },
      Ino(ino), bytes, cookie);
}

// --- Extended attributes
// --------------------------------------------------------------------------

// `room` 0 asks how much there is.
bool AnswerXattr(Call& call, const io::Result<std::string>& value, size_t room) {
  if (!value.ok()) return AnswerStatus(call, value.status());
  if (room == 0) {
    call.reply.WithXattrBytes(value->size());
  } else if (value->size() > room) {
    call.reply.WithErrno(ERANGE);
  } else {
    call.reply.WithBytes(io::AsBytes(*value));
  }
  return true;
}

// True once it has answered: a mount without ACLs knows none of these names.
bool RefuseAcl(Call& call, std::string_view name) {
  if (call.service.targets().acl || !IsAclXattr(name)) return false;
  call.reply.WithErrno(EOPNOTSUPP);
  return true;
}

// Who sets an access ACL without being of the file's group or privileged must lose setgid, as with
// chmod. The kernel says so in a flag that libfuse does not hand on; it keeps the inode locked, so
// that group and mode stay what they are.
io::Result<int> SetxattrFlags(const Call& call, InodeNumber ino, std::string_view name, int flags) {
  const OpContext& caller = call.context;
  if (name != kAccessAclXattr || caller.uid == 0) return flags;
  const Attributes attributes = TRY(call.file_system.GetAttributes(caller, ino));
  if ((attributes.mode & S_ISGID) == 0 || attributes.gid == caller.gid) return flags;
  return MayKeepSetgid(caller.pid, attributes.gid) ? flags : flags | kXattrKillSetgid;
}

void Setxattr(fuse_req_t request, fuse_ino_t ino, const char* name, const char* value, size_t bytes,
              int flags) noexcept {
  Serve(
      request, Op::kSetxattr,
      [](Call& call, InodeNumber what, std::string_view key, std::string_view content, int how) {
        if (RefuseAcl(call, key)) return true;
        const io::Result<int> all = SetxattrFlags(call, what, key, how);
        if (!all.ok()) return AnswerStatus(call, all.status());
        return AnswerAttributeChange(
            call, call.file_system.SetXattr(call.context, what, key, content, *all));
      },
      Ino(ino), std::string_view(name), std::string_view(value, bytes), flags);
}

void Getxattr(fuse_req_t request, fuse_ino_t ino, const char* name, size_t room) noexcept {
  Serve(
      request, Op::kGetxattr,
      [](Call& call, InodeNumber what, std::string_view key, size_t bytes) {
        if (RefuseAcl(call, key)) return true;
        return AnswerXattr(call, call.file_system.GetXattr(call.context, what, key), bytes);
      },
      Ino(ino), std::string_view(name), room);
}

void Listxattr(fuse_req_t request, fuse_ino_t ino, size_t room) noexcept {
  Serve(
      request, Op::kListxattr,
      [](Call& call, InodeNumber what, size_t bytes) {
        return AnswerXattr(call, call.file_system.ListXattr(call.context, what), bytes);
      },
      Ino(ino), room);
}

void Removexattr(fuse_req_t request, fuse_ino_t ino, const char* name) noexcept {
  Serve(
      request, Op::kRemovexattr,
      [](Call& call, InodeNumber what, std::string_view key) {
        if (RefuseAcl(call, key)) return true;
        return AnswerAttributeChange(call, call.file_system.RemoveXattr(call.context, what, key));
      },
      Ino(ino), std::string_view(name));
}

// --- Control
// --------------------------------------------------------------------------------------

void Ioctl(fuse_req_t request, fuse_ino_t ino, unsigned command, void*, fuse_file_info*, unsigned,
           const void* input, size_t input_bytes, size_t output_bytes) noexcept {
  // Terminals' ioctls arrive for every isatty(); they must not cost more than the answer.
  if (!Control::IsOurs(command)) {
    return ServeNow(request, Op::kIoctl, [](Call& call) { call.reply.WithErrno(ENOTTY); });
  }
  ServeLater(
      request, Op::kIoctl,
      [](Call& call, InodeNumber file, unsigned code, io::Bytes data, size_t room) {
        const ControlRequest control{.command = code,
                                     .input = data,
                                     .output_bytes_max = room,
                                     .uid = call.context.uid,
                                     .transport = call.reply.over_uring() ? "uring" : "dev",
                                     .ino = file};
        const io::Result<std::string> answer = call.service.targets().control.Handle(control);
        if (answer.ok()) {
          call.reply.WithIoctl(*answer);
        } else {
          call.reply.WithStatus(answer.status());
        }
        return true;
      },
      Ino(ino), command, io::Bytes(static_cast<const std::byte*>(input), input_bytes),
      output_bytes);
}

fuse_lowlevel_ops MakeOperations() {
  // What is not here the kernel or libfuse answers with ENOSYS or EOPNOTSUPP, or by itself.
  fuse_lowlevel_ops ops{};
  ops.init = Init;
  ops.lookup = Lookup;
  ops.forget = Forget;
  ops.forget_multi = ForgetMulti;
  ops.getattr = Getattr;
  ops.setattr = Setattr;
  ops.readlink = Readlink;
  ops.mknod = Mknod;
  ops.mkdir = Mkdir;
  ops.unlink = Unlink;
  ops.rmdir = Rmdir;
  ops.symlink = Symlink;
  ops.rename = Rename;
  ops.link = Link;
  ops.open = Open;
  ops.create = Create;
  ops.read = Read;
  ops.write = Write;
  ops.flush = Flush;
  ops.fsync = Fsync;
  ops.opendir = Opendir;
  ops.readdir = Readdir;
  ops.readdirplus = Readdirplus;
  ops.fsyncdir = Fsyncdir;
  ops.statfs = Statfs;
  ops.setxattr = Setxattr;
  ops.getxattr = Getxattr;
  ops.listxattr = Listxattr;
  ops.removexattr = Removexattr;
  ops.ioctl = Ioctl;
  ops.fallocate = Fallocate;
  ops.lseek = Lseek;
#if TERRACEFS_LIBFUSE_HAS_URING
  ops.statx = Statx;
  ops.tmpfile = Tmpfile;
#endif
  return ops;
}

}  // namespace

const fuse_lowlevel_ops& Operations() {
  static const fuse_lowlevel_ops ops = MakeOperations();
  return ops;
}

}  // namespace terracefs::fs
