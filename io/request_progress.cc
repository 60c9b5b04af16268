#include "io/request_progress.h"

#include <algorithm>
#include <cerrno>

#include "io/base/check.h"
#include "io/base/units.h"

namespace terracefs::io {
namespace {

using Step = IoRequest::Step;

// The kernel moves at most 2 GiB less a page per call; a rounder number keeps calls aligned.
constexpr uint64_t kCallBytesMax = kGiB;
// Direct transfers stop at borders of blocks of at least this size, except at the end of the file.
constexpr uint64_t kBlockBytesMin = 512;
// Fruitless answers in a row after which a request fails instead of spinning for ever.
constexpr uint32_t kStalledCountMax = 1000;

Status Error(const IoRequest& request, const FileTraits& traits, const char* what, int os_errno) {
  if (request.step == Step::kSync) return Status::IoError("sync", traits.name, os_errno);
  return Status::IoError(what,
                         traits.name + " offset " + std::to_string(request.offset) + " bytes " +
                             std::to_string(request.bytes),
                         os_errno);
}

// Whether asking again is safe and may help. ECANCELED is what io_uring says of a request that it
// never began; EAGAIN likewise.
bool MayRepeat(Step step, int os_errno) {
  switch (os_errno) {
    case EAGAIN:
    case ECANCELED:
      return true;
    case EINTR:
    case ENOMEM:
    case EBUSY:
      return step == Step::kRead || step == Step::kWrite;
    default:
      return false;
  }
}

bool TakeError(IoRequest& request, int os_errno, FileTraits& traits, StorageStats& stats) {
  if (request.step == Step::kWriteThrough && os_errno == EOPNOTSUPP) {
    traits.write_through.store(false, std::memory_order_relaxed);
    return false;
  }
  if (MayRepeat(request.step, os_errno) && ++request.stalled_count <= kStalledCountMax) {
    return false;
  }
  const char* what = request.step == Step::kRead ? "read" : "write";
  FinishRequest(request, Error(request, traits, what, os_errno), stats);
  return true;
}

bool TakeReadBytes(IoRequest& request, uint64_t bytes, FileTraits& traits, StorageStats& stats) {
  stats.bytes_read.fetch_add(bytes, std::memory_order_relaxed);
  request.transferred_bytes += bytes;
  if (request.transferred_bytes == request.bytes) {
    FinishRequest(request, Status::Ok(), stats);
    return true;
  }
  // A direct read ends between blocks only at the end of the file; going on from there would break
  // the alignment rules and be answered with a misleading EINVAL.
  const bool at_end = bytes == 0 || (traits.bypasses_cache && bytes % kBlockBytesMin != 0);
  if (!at_end) {
    request.stalled_count = 0;
    return false;
  }
  FinishRequest(request, Error(request, traits, "short read", 0), stats);
  return true;
}

bool TakeWrittenBytes(IoRequest& request, uint64_t bytes, FileTraits& traits, StorageStats& stats) {
  stats.bytes_written.fetch_add(bytes, std::memory_order_relaxed);
  const bool complete = request.transferred_bytes + bytes == request.bytes;
  // A part of a block is written once more, so that the next call starts where a block does.
  const uint64_t usable =
      complete || !traits.bypasses_cache ? bytes : RoundDown(bytes, kBlockBytesMin);
  request.transferred_bytes += usable;
  if (request.step == Step::kWrite && request.durable) request.sync_owed = true;
  if (complete) {
    if (request.sync_owed) return false;
    if (request.durable) stats.fsyncs.fetch_add(1, std::memory_order_relaxed);
    FinishRequest(request, Status::Ok(), stats);
    return true;
  }
  if (usable > 0) {
    request.stalled_count = 0;
    return false;
  }
  if (++request.stalled_count <= kStalledCountMax) return false;
  FinishRequest(request, Error(request, traits, "device accepts no bytes", EIO), stats);
  return true;
}

}  // namespace

KernelCall NextCall(IoRequest& request, const FileTraits& traits) {
  DCHECK(!request.done);
  const uint64_t left = request.bytes - request.transferred_bytes;
  KernelCall call;
  if (request.kind == IoRequest::Kind::kSync || (request.sync_owed && left == 0)) {
    call.step = Step::kSync;
    call.is_last = true;
  } else {
    call.data = request.data + request.transferred_bytes;
    call.bytes = static_cast<uint32_t>(std::min(left, kCallBytesMax));
    call.offset = request.offset + request.transferred_bytes;
    const bool through = traits.write_through.load(std::memory_order_relaxed);
    if (request.kind == IoRequest::Kind::kRead) {
      call.step = Step::kRead;
    } else {
      call.step = request.durable && through ? Step::kWriteThrough : Step::kWrite;
    }
    const bool sync_follows =
        request.sync_owed || (request.durable && call.step != Step::kWriteThrough);
    call.is_last = call.bytes == left && !sync_follows;
  }
  request.step = call.step;
  return call;
}

bool TakeAnswer(IoRequest& request, int64_t answer, FileTraits& traits, StorageStats& stats) {
  CHECK(!request.done);
  if (answer < 0) return TakeError(request, static_cast<int>(-answer), traits, stats);
  const auto bytes = static_cast<uint64_t>(answer);
  switch (request.step) {
    case Step::kRead:
      CHECK(bytes <= request.bytes - request.transferred_bytes);
      return TakeReadBytes(request, bytes, traits, stats);
    case Step::kWrite:
    case Step::kWriteThrough:
      CHECK(bytes <= request.bytes - request.transferred_bytes);
      return TakeWrittenBytes(request, bytes, traits, stats);
    case Step::kSync:
      stats.fsyncs.fetch_add(1, std::memory_order_relaxed);
      FinishRequest(request, Status::Ok(), stats);
      return true;
  }
  UNREACHABLE();
}

void FinishRequest(IoRequest& request, Status status, StorageStats& stats) {
  CHECK(!request.in_flight);
  request.status = std::move(status);
  request.done = true;
  stats.completed.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace terracefs::io
