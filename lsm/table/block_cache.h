#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>

#include "io/base/clock.h"
#include "io/base/mutex.h"
#include "lsm/key.h"
#include "lsm/latency_window.h"
#include "lsm/table/block.h"

namespace terracefs::lsm {

struct BlockCacheStats {
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t bytes = 0;
};

// Uncompressed, verified blocks by (file, offset); least recently used go first when `bytes_max` is
// exceeded. Sharded; safe from any thread. A block handed out stays good while the pointer is held.
class BlockCache {
 public:
  explicit BlockCache(size_t bytes_max, const io::Clock& clock = io::SystemClock());

  std::shared_ptr<const Block> Get(FileNumber file, uint64_t offset);
  void Insert(FileNumber file, uint64_t offset, std::shared_ptr<const Block> block);
  // Forgets the blocks of a removed file lazily: file numbers are never reused, so they just age
  // out.
  void SetCapacity(size_t bytes_max);
  BlockCacheStats stats() const;
  // How long misses take whom they make wait: recorded by who reads the block, with `clock`.
  const io::Clock& clock() const { return clock_; }
  LatencyWindow& miss_latency() { return miss_latency_; }

 private:
  static constexpr size_t kShardCount = 16;
  struct Key {
    FileNumber file;
    uint64_t offset;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const {
      return static_cast<size_t>((key.file * 0x9e3779b97f4a7c15) ^
                                 (key.offset * 0xc2b2ae3d27d4eb4f));
    }
  };
  struct Slot {
    Key key;
    std::shared_ptr<const Block> block;
  };
  // On a cache line of its own, so that shards do not slow each other down.
  struct alignas(64) Shard {
    mutable io::Mutex mutex;
    std::list<Slot> by_use GUARDED_BY(mutex);  // front: most recent
    std::unordered_map<Key, std::list<Slot>::iterator, KeyHash> by_key GUARDED_BY(mutex);
    size_t bytes GUARDED_BY(mutex) = 0;
    uint64_t hits GUARDED_BY(mutex) = 0;
    uint64_t misses GUARDED_BY(mutex) = 0;
  };
  void EvictLocked(Shard& shard, std::list<Slot>* evicted) REQUIRES(shard.mutex);
  Shard& ShardOf(const Key& key) { return shards_[KeyHash{}(key) >> 60 & (kShardCount - 1)]; }

  const io::Clock& clock_;
  LatencyWindow miss_latency_;
  std::atomic<size_t> bytes_max_;  // relaxed: it orders nothing
  std::array<Shard, kShardCount> shards_;
};

}  // namespace terracefs::lsm
