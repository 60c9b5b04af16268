#include "io/uring.h"

#include <sched.h>
#include <sys/uio.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "io/base/check.h"

namespace terracefs::io {
namespace {

// Best first. Kernels refuse flags they do not know with EINVAL. SUBMIT_ALL matters for links: with
// it a bad operation does not end a submission in the middle of a chain.
constexpr unsigned kSetupFlags[] = {
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,  // 6.1
    IORING_SETUP_SUBMIT_ALL,                                                            // 5.18
    0,
};

// How often in a row the kernel may refuse to take operations while it holds none of ours, before
// we call it out of memory.
constexpr unsigned kRefusedCountMax = 1'000'000;

bool KnowsOperations(io_uring* ring) {
  io_uring_probe* probe = io_uring_get_probe_ring(ring);
  if (probe == nullptr) return false;
  bool knows_all = true;
  for (const int operation : {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC}) {
    knows_all = knows_all && io_uring_opcode_supported(probe, operation) != 0;
  }
  io_uring_free_probe(probe);
  return knows_all;
}

}  // namespace

Result<std::unique_ptr<Uring>> Uring::Open(unsigned depth) {
  std::unique_ptr<Uring> uring(new Uring(depth));
  int result = -EINVAL;
  for (const unsigned flags : kSetupFlags) {
    result = io_uring_queue_init(depth, &uring->ring_, flags);
    if (result != -EINVAL) break;
  }
  if (result < 0) {
    return Status::NotSupported("io_uring is not to be had",
                                std::generic_category().message(-result));
  }
  uring->opened_ = true;
  if (!KnowsOperations(&uring->ring_)) {
    return Status::NotSupported("io_uring of this kernel is too old (5.6 is needed)");
  }
  return uring;
}

Uring::~Uring() {
  if (!opened_) return;
  // The kernel would go on writing into memory that nobody keeps for it any more.
  CHECK(in_flight_count_ == 0);
  io_uring_queue_exit(&ring_);
}

void Uring::Queue(const UringOperation& operation) {
  CHECK(room() > 0);
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  CHECK(sqe != nullptr);
  switch (operation.kind) {
    case UringOperation::Kind::kRead:
      io_uring_prep_read(sqe, operation.fd, operation.data, operation.bytes, operation.offset);
      break;
    case UringOperation::Kind::kWrite:
      io_uring_prep_write(sqe, operation.fd, operation.data, operation.bytes, operation.offset);
      break;
    case UringOperation::Kind::kWriteThrough:
      io_uring_prep_write(sqe, operation.fd, operation.data, operation.bytes, operation.offset);
      sqe->rw_flags = RWF_DSYNC;
      break;
    case UringOperation::Kind::kSyncData:
      io_uring_prep_fsync(sqe, operation.fd, IORING_FSYNC_DATASYNC);
      break;
    case UringOperation::Kind::kSyncAll:
      io_uring_prep_fsync(sqe, operation.fd, 0);
      break;
  }
  if (operation.link_next) sqe->flags |= IOSQE_IO_LINK;
  io_uring_sqe_set_data(sqe, operation.tag);
  ++in_flight_count_;
}

bool Uring::Enter(bool wait) {
  for (;;) {
    const unsigned queued_count = io_uring_sq_ready(&ring_);
    if (queued_count == 0 && !wait) return true;
    // Waiting for what nobody was asked for would never end.
    CHECK(in_flight_count_ > 0);
    const int result = io_uring_submit_and_wait(&ring_, wait ? 1 : 0);
    if (result < 0) {
      HandleRefusal(-result);
      return false;
    }
    refused_count_ = 0;
    if (static_cast<unsigned>(result) == queued_count) return true;
    // The kernel took a part. Were the cut inside a chain, the rest of it would start without
    // waiting for its predecessor, and a sync could overtake its write. That takes a kernel out of
    // memory between two operations; we end as we do when we are out of memory ourselves.
    if (result > 0) {
      const unsigned last_taken = *ring_.sq.khead - 1;
      const io_uring_sqe& sqe = ring_.sq.sqes[last_taken & ring_.sq.ring_mask];
      CHECK((sqe.flags & IOSQE_IO_LINK) == 0);
    }
    if (wait) return false;
  }
}

void Uring::HandleRefusal(int os_errno) {
  if (os_errno == EINTR) return;
  // Everything else (a ring that is not ours, an operation that does not exist) is a bug of ours.
  CHECK(os_errno == EAGAIN || os_errno == EBUSY || os_errno == ENOMEM);
  if (in_flight_count_ > io_uring_sq_ready(&ring_)) {
    // Back-pressure: room comes with the next answer. This waits without submitting.
    io_uring_cqe* cqe = nullptr;
    const int result = io_uring_wait_cqe(&ring_, &cqe);
    CHECK(result == 0 || result == -EINTR || result == -EAGAIN || result == -ENOMEM);
    if (result == 0) return;
  }
  CHECK(++refused_count_ < kRefusedCountMax);
  sched_yield();
}

bool Uring::Reap(UringAnswer* answer) {
  unsigned head = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    answer->tag = io_uring_cqe_get_data(cqe);
    answer->result = cqe->res;
    io_uring_cqe_seen(&ring_, cqe);
    CHECK(in_flight_count_ > 0);
    --in_flight_count_;
    return true;
  }
  return false;
}

}  // namespace terracefs::io
