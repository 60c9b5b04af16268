#include "fs/fuse/service.h"

#include <algorithm>
#include <thread>

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

}  // namespace terracefs::fs
