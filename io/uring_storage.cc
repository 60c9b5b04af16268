#include "io/uring_storage.h"

#include <pthread.h>

#include <atomic>
#include <deque>

#include "io/base/check.h"
#include "io/base/log.h"
#include "io/directory_storage.h"
#include "io/uring.h"

namespace terracefs::io {
namespace {

// How a request moves. Every arrow is taken by the thread that started it.
//
//               Start                    Queue               answer: all bytes, or an error
//   (caller's) ------> ready -----------------> in flight --------------------------> done
//       |                ^                       |     |
//       |                |   answer: some bytes, |     | answer: ECANCELED, while the
//       |                +-----------------------+     | predecessor is not done
//       |  follows       |                             v
//       +-------------> held <-------------------------+
//                        |  predecessor failed: done, with its error
//
// Invariants:
// 1. A request whose predecessor is not done is in flight only behind it, linked in the same
//    submission, or it is held. So it begins only if the predecessor moved all its bytes.
// 2. A short or repeated predecessor breaks the kernel's chain: the followers come back with
//    ECANCELED, are held, and go out again behind the remainder or after it.
// 3. No request is touched once it is done, except that the caller reads it: from then on it may be
//    gone. So what a follower has to know is pushed into it when its predecessor is done.

// Bounds memory and what one thread keeps in flight; RocksDB's choice, too.
constexpr unsigned kRingDepth = 256;

class UringFile final : public DirectoryFile {
 public:
  UringFile(std::string name, bool direct, UniqueFd fd, StorageStats& stats, bool write_through)
      : DirectoryFile(std::move(name), direct, std::move(fd), stats) {
    traits_.write_through.store(write_through, std::memory_order_relaxed);
  }
  static std::unique_ptr<UringFile> OfDirectory(std::string path, UniqueFd fd,
                                                StorageStats& stats) {
    auto file = std::make_unique<UringFile>(std::move(path), false, std::move(fd), stats, true);
    file->traits_.is_directory = true;
    return file;
  }

  void Start(std::span<IoRequest* const> requests) override;
  Status Wait(IoRequest& request) override;

 private:
  friend class ThreadRing;
};

UringFile& FileOf(const IoRequest& request) {
  return *static_cast<UringFile*>(request.backend_file);
}

// The ring of one thread and the requests on their way into it.
class ThreadRing {
 public:
  explicit ThreadRing(std::unique_ptr<Uring> uring) : uring_(std::move(uring)) {}

  void Start(std::span<IoRequest* const> requests);
  void Wait(const IoRequest& request);
  void Abandon() { uring_->Abandon(); }

 private:
  void QueueReady();
  void QueueChain(IoRequest* request);
  void ReapAll();
  void HandleAnswer(IoRequest& request, int32_t result);
  static void FailFollowers(const IoRequest& request);

  const std::unique_ptr<Uring> uring_;
  // Not in flight, predecessor done: may go out as soon as there is room.
  std::deque<IoRequest*> ready_;
};

void ThreadRing::Start(std::span<IoRequest* const> requests) {
  for (IoRequest* request : requests) {
    if (!request->follows) ready_.push_back(request);
  }
  for (;;) {
    QueueReady();
    const bool all_handed_over = uring_->Enter(/*wait=*/false);
    if (all_handed_over && ready_.empty()) return;
    // No room, or a kernel short of memory: both pass when answers are taken.
    if (all_handed_over) uring_->Enter(/*wait=*/true);
    ReapAll();
  }
}

void ThreadRing::Wait(const IoRequest& request) {
  ReapAll();
  while (!request.done) {
    QueueReady();
    uring_->Enter(/*wait=*/true);
    ReapAll();
  }
}

void ThreadRing::QueueReady() {
  while (!ready_.empty() && uring_->room() > 0) {
    IoRequest* request = ready_.front();
    ready_.pop_front();
    QueueChain(request);
  }
}

// Queues `request` and, linked, as many of its followers as can go along (invariant 1). The others
// become ready when their predecessor is done.
void ThreadRing::QueueChain(IoRequest* request) {
  while (request != nullptr) {
    UringFile& file = FileOf(*request);
    const KernelCall call = NextCall(*request, file.traits_);
    UringOperation operation;
    switch (call.step) {
      case IoRequest::Step::kRead:
        operation.kind = UringOperation::Kind::kRead;
        break;
      case IoRequest::Step::kWrite:
        operation.kind = UringOperation::Kind::kWrite;
        break;
      case IoRequest::Step::kWriteThrough:
        operation.kind = UringOperation::Kind::kWriteThrough;
        break;
      case IoRequest::Step::kSync:
        operation.kind = file.traits_.is_directory ? UringOperation::Kind::kSyncAll
                                                   : UringOperation::Kind::kSyncData;
        break;
    }
    operation.fd = file.fd_.get();
    operation.data = call.data;
    operation.bytes = call.bytes;
    operation.offset = call.offset;
    operation.tag = request;
    // A follower may still be in flight after a short predecessor: its ECANCELED is on the way.
    IoRequest* next = request->linked;
    if (!call.is_last || uring_->room() < 2 || (next != nullptr && next->in_flight)) next = nullptr;
    operation.link_next = next != nullptr;
    uring_->Queue(operation);
    request->in_flight = true;
    request = next;
  }
}

void ThreadRing::ReapAll() {
  UringAnswer answer;
  while (uring_->Reap(&answer)) {
    HandleAnswer(*static_cast<IoRequest*>(answer.tag), answer.result);
  }
}

void ThreadRing::HandleAnswer(IoRequest& request, int32_t result) {
  request.in_flight = false;
  UringFile& file = FileOf(request);
  if (!request.status.ok()) {
    // The predecessor failed while this one was in flight, and left its error here.
    FinishRequest(request, request.status, file.stats_);
    return;
  }
  if (request.follows) {
    CHECK(result == -ECANCELED);  // invariant 1
    return;                       // held
  }
  if (!TakeAnswer(request, result, file.traits_, file.stats_)) {
    ready_.push_back(&request);
    return;
  }
  IoRequest* next = request.linked;
  if (next == nullptr) return;
  if (!request.status.ok()) {
    FailFollowers(request);
    return;
  }
  next->follows = false;
  if (!next->in_flight) ready_.push_back(next);
}

// Followers in flight are the kernel's until their ECANCELED is here; they only learn the reason.
void ThreadRing::FailFollowers(const IoRequest& request) {
  IoRequest* follower = request.linked;
  while (follower != nullptr) {
    IoRequest* next = follower->linked;
    follower->follows = false;
    if (follower->in_flight) {
      follower->status = request.status;
    } else {
      FinishRequest(*follower, request.status, FileOf(*follower).stats_);
    }
    follower = next;
  }
}

// A ring does not survive fork: the kernel takes operations only from the thread that made it. The
// child's copy is told apart by this count.
std::atomic<uint64_t> fork_count{0};

void CountForks() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { fork_count.fetch_add(1, std::memory_order_relaxed); });
  CHECK(registered == 0);
}

// Set when this thread's ring is gone because the thread ends. Trivially destructible, so it can be
// read until the very end, by destructors of other thread-local objects too.
thread_local bool t_ring_gone = false;

struct RingHolder {
  ~RingHolder() {
    DropIfForked();
    t_ring_gone = true;
  }
  void DropIfForked() {
    const uint64_t now = fork_count.load(std::memory_order_relaxed);
    if (now == made_at_fork_count) return;
    if (ring != nullptr) ring->Abandon();
    ring.reset();
    refusal = Status::Ok();
    made_at_fork_count = now;
  }

  std::unique_ptr<ThreadRing> ring;
  Status refusal;  // why there is none, if one was asked for
  uint64_t made_at_fork_count = 0;
};
thread_local RingHolder t_holder;

// This thread's ring, made if need be; nullptr if it cannot be had (again: one refusal is
// remembered).
ThreadRing* RingOfThisThread() {
  if (t_ring_gone) return nullptr;
  RingHolder& holder = t_holder;
  holder.DropIfForked();
  if (holder.ring != nullptr) return holder.ring.get();
  if (!holder.refusal.ok()) return nullptr;
  CountForks();
  Result<std::unique_ptr<Uring>> uring = Uring::Open(kRingDepth);
  if (!uring.ok()) {
    holder.refusal = uring.status();
    return nullptr;
  }
  holder.ring = std::make_unique<ThreadRing>(std::move(uring).value());
  return holder.ring.get();
}

// The store works on, as with the posix backend, for a thread that gets no ring after the first
// one did (out of descriptors or locked memory, or the thread is in its last destructors).
void WarnOfBlocking() {
  static std::atomic_flag said = ATOMIC_FLAG_INIT;
  if (said.test_and_set()) return;
  IoLog().warn("no io_uring for a thread, which uses blocking calls instead: {}",
               t_ring_gone ? "the thread ends" : t_holder.refusal.message());
}

void UringFile::Start(std::span<IoRequest* const> requests) {
  Prepare(requests);
  ThreadRing* ring = RingOfThisThread();
  if (ring == nullptr) {
    WarnOfBlocking();
    RunBlocking(requests);
    return;
  }
  stats_.submitted.fetch_add(requests.size(), std::memory_order_relaxed);
  for (IoRequest* request : requests) request->backend_file = this;
  ring->Start(requests);
}

Status UringFile::Wait(IoRequest& request) {
  CheckStartedHere(request);
  if (!request.done) {
    ThreadRing* ring = RingOfThisThread();
    CHECK(ring != nullptr);
    ring->Wait(request);
  }
  return request.status;
}

class UringStorage final : public DirectoryStorage {
 public:
  static Result<std::unique_ptr<Storage>> Open(const std::string& path,
                                               const UringOptions& options) {
    UniqueFd fd = TRY(OpenDirectory(path));
    UniqueFd sync_fd = TRY(OpenDirectory(path));
    if (RingOfThisThread() == nullptr) {
      return t_ring_gone ? Status::NotSupported("the thread ends") : t_holder.refusal;
    }
    return std::unique_ptr<Storage>(
        new UringStorage(path, options, std::move(fd), std::move(sync_fd)));
  }

  Result<std::unique_ptr<File>> Open(std::string_view name, const OpenOptions& options) override {
    UniqueFd fd = TRY(OpenDescriptor(name, options));
    return std::unique_ptr<File>(std::make_unique<UringFile>(
        std::string(name), options.direct, std::move(fd), stats_, options_.write_through));
  }
  Status SyncDirectory() override { return directory_->Sync(); }
  const char* backend() const override { return "io_uring"; }

 private:
  UringStorage(const std::string& path, const UringOptions& options, UniqueFd fd, UniqueFd sync_fd)
      : DirectoryStorage(path, std::move(fd)),
        options_(options),
        directory_(UringFile::OfDirectory(path, std::move(sync_fd), directory_stats_)) {}

  const UringOptions options_;
  StorageStats directory_stats_;  // apart, because stats() is of files
  const std::unique_ptr<UringFile> directory_;
};

}  // namespace

Result<std::unique_ptr<Storage>> OpenUringStorage(const std::string& path,
                                                  const UringOptions& options) {
  return UringStorage::Open(path, options);
}

}  // namespace terracefs::io
