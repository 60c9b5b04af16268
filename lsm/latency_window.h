#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace terracefs::lsm {

// A histogram of latencies since the last look at it. Buckets are an eighth of their power of two
// wide. Record is one relaxed atomic addition and safe from any thread; Take is for one thread.
class LatencyWindow {
 public:
  struct Sample {
    uint64_t count = 0;
    int64_t p99_ns = 0;  // upper bound of the bucket; 0 if there is none
  };

  void Record(int64_t ns) {
    counts_[Bucket(ns)].fetch_add(1, std::memory_order_relaxed);  // a statistic, orders nothing
  }
  // What was recorded since the last call.
  Sample Take() {
    std::array<uint64_t, kBucketCount> fresh{};
    Sample sample;
    for (size_t i = 0; i < kBucketCount; ++i) {
      const uint64_t count = counts_[i].load(std::memory_order_relaxed);
      fresh[i] = count - taken_[i];
      taken_[i] = count;
      sample.count += fresh[i];
    }
    uint64_t above = sample.count / 100;  // as many may be longer
    for (size_t i = kBucketCount; i-- > 0;) {
      if (fresh[i] > above) {
        sample.p99_ns = UpperNs(i);
        break;
      }
      above -= fresh[i];
    }
    return sample;
  }

 private:
  static constexpr size_t kSubBits = 3;
  static constexpr size_t kBucketCount = 40 << kSubBits;  // up to nine minutes

  static size_t Bucket(int64_t ns) {
    const uint64_t value = ns < 0 ? 0 : static_cast<uint64_t>(ns);
    if (value < (1 << kSubBits)) return value;
    const auto exponent = static_cast<size_t>(std::bit_width(value)) - 1 - kSubBits;
    const size_t index = (exponent << kSubBits) + (value >> exponent);
    return index < kBucketCount ? index : kBucketCount - 1;
  }
  static int64_t UpperNs(size_t bucket) {
    if (bucket < (2 << kSubBits)) return static_cast<int64_t>(bucket);
    const size_t exponent = (bucket >> kSubBits) - 1;
    const uint64_t mantissa = (bucket & ((1 << kSubBits) - 1)) + (1 << kSubBits);
    return static_cast<int64_t>(((mantissa + 1) << exponent) - 1);
  }

  std::array<std::atomic<uint64_t>, kBucketCount> counts_{};
  std::array<uint64_t, kBucketCount> taken_{};
};

}  // namespace terracefs::lsm
