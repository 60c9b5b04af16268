#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "fs/control/op_stats.h"
#include "fs/file_system.h"
#include "fs/fuse/libfuse.h"
#include "io/base/bytes.h"
#include "io/base/clock.h"
#include "io/base/status.h"

namespace terracefs::fs {

// The kernel is the only one to change things, so what it knows stays true until it changes it.
inline constexpr double kCacheTimeoutSeconds = 10.0 * 365 * 86400;
// But it does not number the changes of a directory that creating and removing entries makes: the
// answer to a GETATTR that such a change has overtaken passes for new. It must not last.
inline constexpr double kDirectoryAttributesTimeoutSeconds = 1;

double AttributesTimeoutSeconds(const Attributes& attributes);
struct stat ToStat(const Attributes& attributes);

// One request's answer. Answers exactly once: a second answer is a failed CHECK, and a Reply that
// is destroyed without one answers EIO and says so in the log. The moment of the answer ends the
// time that the statistics see. Answering is the last thing to do: the request's memory is gone
// then, and the kernel may already have forgotten the inode. Movable; not thread-safe.
class Reply {
 public:
  Reply(fuse_req_t request, Op op, OpStats& stats, const io::Clock& clock)
      : request_(request), op_(op), stats_(&stats), clock_(&clock), started_ns_(clock.SteadyNs()) {}
  Reply(Reply&& other) noexcept
      : request_(std::exchange(other.request_, nullptr)),
        op_(other.op_),
        stats_(other.stats_),
        clock_(other.clock_),
        started_ns_(other.started_ns_) {}
  Reply& operator=(Reply&&) = delete;
  ~Reply();

  // Over io_uring rather than /dev/fuse.
  bool over_uring() const;
  Op op() const { return op_; }
  fuse_req_t request() const { return request_; }  // not answered yet

  // Success without anything to say if `status` is ok.
  void WithStatus(const io::Status& status);
  void WithErrno(int os_errno);
  // These four return false if the kernel did not take the answer: it then holds no reference to
  // the inode.
  [[nodiscard]] bool WithEntry(const Attributes& attributes);
  [[nodiscard]] bool WithOpenEntry(const Attributes& attributes, const fuse_file_info& info);
  void WithNoEntry();  // the name does not exist, and that may be remembered
  [[nodiscard]] bool WithDirectory(io::Bytes packed_entries);
  void WithAttributes(const Attributes& attributes);
  void WithExtendedAttributes(const Attributes& attributes);  // statx: with the time of birth
  void WithOpen(const fuse_file_info& info);
  void WithText(std::string_view target);  // readlink
  void WithBytes(io::Bytes bytes);
  void WithOffset(uint64_t offset);  // lseek
  void WithCount(size_t bytes);      // written, or the size that an xattr needs
  void WithXattrBytes(size_t bytes);
  void WithSpace(const SpaceUsage& usage);
  void WithIoctl(std::string_view output);
  void WithNothing();  // forget

 private:
  // Gives up the request for the one answer.
  fuse_req_t Take();

  fuse_req_t request_;
  Op op_;
  OpStats* stats_;
  const io::Clock* clock_;
  int64_t started_ns_;
};

}  // namespace terracefs::fs
