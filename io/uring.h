#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "io/base/result.h"

namespace terracefs::io {

// One operation for the kernel.
struct UringOperation {
  enum class Kind : uint8_t { kRead, kWrite, kWriteThrough, kSyncData, kSyncAll };

  Kind kind = Kind::kRead;
  // The next operation begins only after this one moved all its bytes; else it is answered with
  // -ECANCELED. The next one must be queued before Enter.
  bool link_next = false;
  int fd = -1;
  void* data = nullptr;
  uint32_t bytes = 0;
  uint64_t offset = 0;
  void* tag = nullptr;  // comes back with the answer
};

struct UringAnswer {
  void* tag = nullptr;
  int32_t result = 0;  // bytes, or -errno
};

// One io_uring: queue, enter, reap, and a cap on what is in flight. Knows nothing of files or of
// what an answer means. Belongs to the thread that opened it and is used by that thread only: the
// kernel is told so, and then delivers answers without interrupting the thread.
class Uring {
 public:
  // NotSupported, with the reason, where the kernel or a sandbox forbids it.
  static Result<std::unique_ptr<Uring>> Open(unsigned depth);
  // Nothing may be in flight.
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  // Operations that may be queued before answers have to be reaped.
  size_t room() const { return depth_ - in_flight_count_; }
  // Queued or with the kernel, and not reaped yet.
  size_t in_flight_count() const { return in_flight_count_; }

  // Needs room.
  void Queue(const UringOperation& operation);
  // Hands everything queued to the kernel; with `wait`, also blocks until an answer is there. May
  // return early if the kernel is short of memory or a signal came, in which case the caller reaps
  // and enters again. Returns whether everything queued was handed over.
  bool Enter(bool wait);
  // Takes one answer that is there; false if there is none. Never calls the kernel.
  bool Reap(UringAnswer* answer);
  // In the child of a fork: forgets what the parent has in flight, without waiting for it.
  void Abandon() { in_flight_count_ = 0; }

 private:
  explicit Uring(unsigned depth) : depth_(depth) {}
  void HandleRefusal(int os_errno);

  const unsigned depth_;
  size_t in_flight_count_ = 0;
  unsigned refused_count_ = 0;  // in a row
  io_uring ring_{};
  bool opened_ = false;
};

}  // namespace terracefs::io
