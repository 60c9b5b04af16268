#include "fs/fuse/reply.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "fs/errno.h"
#include "io/base/check.h"
#include "io/base/log.h"

namespace terracefs::fs {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
// What stdio and cp take as a hint. Larger than a page makes new kernels round their own i/o.
constexpr blksize_t kPreferredBytes = 4096;

// Rounds towards the past also before 1970, so that nanoseconds stay positive.
struct timespec ToTimespec(int64_t ns) {
  int64_t seconds = ns / kNsPerSecond;
  int64_t rest = ns % kNsPerSecond;
  if (rest < 0) {
    rest += kNsPerSecond;
    --seconds;
  }
  return {static_cast<time_t>(seconds), static_cast<long>(rest)};
}

fuse_entry_param ToEntry(const Attributes& attributes) {
  fuse_entry_param entry{};
  entry.ino = attributes.ino.value;
  entry.generation = attributes.generation;
  entry.attr = ToStat(attributes);
  entry.attr_timeout = AttributesTimeoutSeconds(attributes);
  entry.entry_timeout = kCacheTimeoutSeconds;
  return entry;
}

}  // namespace

double AttributesTimeoutSeconds(const Attributes& attributes) {
  return S_ISDIR(attributes.mode) ? kDirectoryAttributesTimeoutSeconds : kCacheTimeoutSeconds;
}

struct stat ToStat(const Attributes& attributes) {
  struct stat out {};
  out.st_ino = attributes.ino.value;
  out.st_mode = attributes.mode;
  out.st_nlink = attributes.nlink;
  out.st_uid = attributes.uid;
  out.st_gid = attributes.gid;
  out.st_rdev = attributes.rdev;
  out.st_size = static_cast<off_t>(attributes.size);
  out.st_blocks = static_cast<blkcnt_t>(attributes.blocks);
  out.st_blksize = kPreferredBytes;
  out.st_atim = ToTimespec(attributes.atime_ns);
  out.st_mtim = ToTimespec(attributes.mtime_ns);
  out.st_ctim = ToTimespec(attributes.ctime_ns);
  return out;
}

Reply::~Reply() {
  if (request_ == nullptr) return;
  io::FsLog().error("a {} request was dropped without an answer", OpName(op_));
  WithErrno(EIO);
}

fuse_req_t Reply::Take() {
  CHECK(request_ != nullptr);
  const int64_t ns = clock_->SteadyNs() - started_ns_;
  stats_->Record(op_, static_cast<uint64_t>(std::max<int64_t>(ns, 0)));
  return std::exchange(request_, nullptr);
}

bool Reply::over_uring() const {
#if TERRACEFS_LIBFUSE_HAS_URING
  return fuse_req_is_uring(request_);
#else
  return false;
#endif
}

void Reply::WithStatus(const io::Status& status) {
  if (IsFault(status)) io::FsLog().error("{}: {}", OpName(op_), status.ToString());
  WithErrno(ToErrno(status));
}

void Reply::WithErrno(int os_errno) { fuse_reply_err(Take(), os_errno); }

bool Reply::WithEntry(const Attributes& attributes) {
  const fuse_entry_param entry = ToEntry(attributes);
  return fuse_reply_entry(Take(), &entry) == 0;
}

bool Reply::WithOpenEntry(const Attributes& attributes, const fuse_file_info& info) {
  const fuse_entry_param entry = ToEntry(attributes);
  return fuse_reply_create(Take(), &entry, &info) == 0;
}

void Reply::WithNoEntry() {
  fuse_entry_param entry{};
  entry.entry_timeout = kCacheTimeoutSeconds;
  fuse_reply_entry(Take(), &entry);
}

bool Reply::WithDirectory(io::Bytes packed_entries) {
  return fuse_reply_buf(Take(), reinterpret_cast<const char*>(packed_entries.data()),
                        packed_entries.size()) == 0;
}

void Reply::WithAttributes(const Attributes& attributes) {
  const struct stat out = ToStat(attributes);
  fuse_reply_attr(Take(), &out, AttributesTimeoutSeconds(attributes));
}

void Reply::WithExtendedAttributes([[maybe_unused]] const Attributes& attributes) {
#if TERRACEFS_LIBFUSE_HAS_URING
  const auto stamp = [](int64_t ns) {
    const struct timespec time = ToTimespec(ns);
    struct statx_timestamp out {};
    out.tv_sec = time.tv_sec;
    out.tv_nsec = static_cast<uint32_t>(time.tv_nsec);
    return out;
  };
  struct statx out {};
  out.stx_mask = STATX_BASIC_STATS | STATX_BTIME;
  out.stx_blksize = static_cast<uint32_t>(kPreferredBytes);
  out.stx_nlink = attributes.nlink;
  out.stx_uid = attributes.uid;
  out.stx_gid = attributes.gid;
  out.stx_mode = static_cast<uint16_t>(attributes.mode);
  out.stx_ino = attributes.ino.value;
  out.stx_size = attributes.size;
  out.stx_blocks = attributes.blocks;
  out.stx_atime = stamp(attributes.atime_ns);
  out.stx_mtime = stamp(attributes.mtime_ns);
  out.stx_ctime = stamp(attributes.ctime_ns);
  out.stx_btime = stamp(attributes.btime_ns);
  out.stx_rdev_major = major(attributes.rdev);
  out.stx_rdev_minor = minor(attributes.rdev);
  fuse_reply_statx(Take(), 0, &out, AttributesTimeoutSeconds(attributes));
#else
  WithErrno(ENOSYS);
#endif
}

void Reply::WithOpen(const fuse_file_info& info) { fuse_reply_open(Take(), &info); }

void Reply::WithText(std::string_view target) {
  // The kernel ends a link's target by the length of the answer.
  fuse_reply_buf(Take(), target.data(), target.size());
}

void Reply::WithBytes(io::Bytes bytes) {
  fuse_reply_buf(Take(), reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void Reply::WithOffset(uint64_t offset) { fuse_reply_lseek(Take(), static_cast<off_t>(offset)); }

void Reply::WithCount(size_t bytes) { fuse_reply_write(Take(), bytes); }

void Reply::WithXattrBytes(size_t bytes) { fuse_reply_xattr(Take(), bytes); }

void Reply::WithSpace(const SpaceUsage& usage) {
  struct statvfs out {};
  out.f_bsize = kPageBytes;
  out.f_frsize = kPageBytes;
  out.f_blocks = usage.capacity_bytes / kPageBytes;
  out.f_bfree = usage.free_bytes / kPageBytes;
  out.f_bavail = usage.available_bytes / kPageBytes;
  out.f_files = usage.inodes + usage.free_inodes;
  out.f_ffree = usage.free_inodes;
  out.f_favail = usage.free_inodes;
  out.f_namemax = kNameBytesMax;
  fuse_reply_statfs(Take(), &out);
}

void Reply::WithIoctl(std::string_view output) {
  fuse_reply_ioctl(Take(), 0, output.data(), output.size());
}

void Reply::WithNothing() { fuse_reply_none(Take()); }

}  // namespace terracefs::fs
