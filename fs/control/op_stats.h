#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace terracefs::fs {

// Requests that the kernel sends, in the order in which statistics show them.
enum class Op : uint8_t {
  kLookup,
  kForget,
  kGetattr,
  kSetattr,
  kReadlink,
  kMknod,
  kMkdir,
  kUnlink,
  kRmdir,
  kSymlink,
  kRename,
  kLink,
  kOpen,
  kCreate,
  kRead,
  kWrite,
  kFlush,
  kFallocate,
  kLseek,
  kFsync,
  kStatfs,
  kSetxattr,
  kGetxattr,
  kListxattr,
  kRemovexattr,
  kOpendir,
  kReaddir,
  kReaddirplus,
  kFsyncdir,
  kIoctl,
  kStatx,
  kTmpfile,
};
inline constexpr size_t kOpCount = static_cast<size_t>(Op::kTmpfile) + 1;

std::string_view OpName(Op op);

struct OpSummary {
  uint64_t count = 0;
  uint64_t p50_ns = 0;
  uint64_t p99_ns = 0;
  uint64_t max_ns = 0;
};

// Counts requests and how long each took from its arrival to its answer. Recording is one or two
// relaxed additions on memory that few threads share. Safe from any thread; a summary taken while
// others record is a little behind, nothing worse.
class OpStats {
 public:
  // A logarithmic histogram: kSubBuckets per power of two, exact below that.
  static constexpr uint64_t kSubBuckets = 8;
  static constexpr size_t kExponentMax = 40;  // 2^40 ns, 18 minutes; longer ones count as that
  static constexpr size_t kBucketCount = (kExponentMax - 1) * kSubBuckets;

  void Record(Op op, uint64_t ns);
  OpSummary Summary(Op op) const;

  static size_t BucketOf(uint64_t ns);
  // The least value that falls into the bucket.
  static uint64_t BucketBegin(size_t bucket);

 private:
  static constexpr size_t kShardCount = 4;

  // Relaxed throughout: the numbers order nothing.
  struct Histogram {
    std::array<std::atomic<uint64_t>, kBucketCount> buckets{};
    std::atomic<uint64_t> max_ns{0};
  };
  struct alignas(64) Shard {
    std::array<Histogram, kOpCount> ops;
  };
  static size_t ShardOfThisThread();

  std::array<Shard, kShardCount> shards_;
};

}  // namespace terracefs::fs
