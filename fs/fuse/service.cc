#include "fs/fuse/service.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace terracefs::fs {
namespace {

constexpr size_t kQueuedRequestsMin = 1024;
// Twice the depth of a ring: every request that the kernel can send at once has a place.
constexpr size_t kQueuedRequestsPerCpu = 64;

size_t QueuedRequestsMax() {
  return std::max<size_t>(kQueuedRequestsMin,
                          kQueuedRequestsPerCpu * std::thread::hardware_concurrency());
}

}  // namespace

Service::Service(const ServiceTargets& targets)
    : targets_(targets),
      pool_("fs-wait", kWaiterThreads, QueuedRequestsMax()),
      flush_pool_("fs-flush", 1, QueuedRequestsMax()),
      syncs_(targets.file_system, pool_) {}

void Service::FlushThen(InodeNumber ino, uint64_t begin, uint64_t end, std::function<void()> work) {
  ++flush_count_;
  flush_pool_.Submit([this, ino, begin, end, work = std::move(work)] {
    flush_pages(ino, begin, end);
    Defer([this, work] {
      work();
      --flush_count_;
    });
  });
}

void Service::WaitForDeferred() {
  // One pool's work may be to give work to the other.
  do {
    flush_pool_.Drain();
    pool_.Drain();
  } while (flush_count_ != 0);
}

}  // namespace terracefs::fs
