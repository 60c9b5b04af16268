#include "fs/control/op_stats.h"

#include <algorithm>
#include <bit>

namespace terracefs::fs {
namespace {

constexpr std::array<std::string_view, kOpCount> kNames = {
    "lookup",   "forget",   "getattr",   "setattr",     "readlink", "mknod",   "mkdir",
    "unlink",   "rmdir",    "symlink",   "rename",      "link",     "open",    "create",
    "read",     "write",    "flush",     "fallocate",   "lseek",    "fsync",   "statfs",
    "setxattr", "getxattr", "listxattr", "removexattr", "opendir",  "readdir", "readdirplus",
    "fsyncdir", "ioctl",    "statx",     "tmpfile",
};
static_assert(!kNames.back().empty());

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr size_t kSubBits = 3;
static_assert(OpStats::kSubBuckets == 1 << kSubBits);

}  // namespace

std::string_view OpName(Op op) { return kNames[static_cast<size_t>(op)]; }

size_t OpStats::BucketOf(uint64_t ns) {
  if (ns < kSubBuckets) return static_cast<size_t>(ns);
  const auto exponent = static_cast<size_t>(std::bit_width(ns)) - 1;
  if (exponent >= kExponentMax) return kBucketCount - 1;
  const size_t sub = (ns >> (exponent - kSubBits)) & (kSubBuckets - 1);
  return (exponent - kSubBits + 1) * kSubBuckets + sub;
}

uint64_t OpStats::BucketBegin(size_t bucket) {
  if (bucket < kSubBuckets) return bucket;
  const size_t exponent = bucket / kSubBuckets + kSubBits - 1;
  const uint64_t sub = bucket % kSubBuckets;
  return (kSubBuckets + sub) << (exponent - kSubBits);
}

size_t OpStats::ShardOfThisThread() {
  static std::atomic<size_t> next{0};
  thread_local const size_t shard = next.fetch_add(1, kRelaxed) % kShardCount;
  return shard;
}

void OpStats::Record(Op op, uint64_t ns) {
  Histogram& histogram = shards_[ShardOfThisThread()].ops[static_cast<size_t>(op)];
  histogram.buckets[BucketOf(ns)].fetch_add(1, kRelaxed);
  uint64_t max_ns = histogram.max_ns.load(kRelaxed);
  while (ns > max_ns && !histogram.max_ns.compare_exchange_weak(max_ns, ns, kRelaxed)) {
  }
}

OpSummary OpStats::Summary(Op op) const {
  std::array<uint64_t, kBucketCount> sums{};
  OpSummary summary;
  for (const Shard& shard : shards_) {
    const Histogram& histogram = shard.ops[static_cast<size_t>(op)];
    for (size_t i = 0; i < kBucketCount; ++i) sums[i] += histogram.buckets[i].load(kRelaxed);
    summary.max_ns = std::max(summary.max_ns, histogram.max_ns.load(kRelaxed));
  }
  for (const uint64_t sum : sums) summary.count += sum;
  if (summary.count == 0) return summary;

  // The middle of the bucket that holds the request of that rank.
  const auto percentile = [&](uint64_t percent) {
    const uint64_t rank = (summary.count * percent + 99) / 100;
    uint64_t seen = 0;
    for (size_t i = 0; i < kBucketCount; ++i) {
      seen += sums[i];
      if (seen < rank) continue;
      const uint64_t end = i + 1 < kBucketCount ? BucketBegin(i + 1) : summary.max_ns;
      return std::min((BucketBegin(i) + end) / 2, summary.max_ns);
    }
    return summary.max_ns;
  };
  summary.p50_ns = percentile(50);
  summary.p99_ns = percentile(99);
  return summary;
}

}  // namespace terracefs::fs
