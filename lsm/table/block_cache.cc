#include "lsm/table/block_cache.h"

#include "io/base/check.h"

namespace terracefs::lsm {
namespace {

// List and map nodes of a cached block, about; so that a cache of tiny blocks stays within its
// bounds too.
constexpr size_t kSlotOverheadBytes = 160;

size_t ChargeOf(const Block& block) { return block.memory_bytes() + kSlotOverheadBytes; }

}  // namespace

BlockCache::BlockCache(size_t bytes_max, const io::Clock& clock)
    : clock_(clock), bytes_max_(bytes_max) {}

std::shared_ptr<const Block> BlockCache::Get(FileNumber file, uint64_t offset) {
  const Key key{file, offset};
  Shard& shard = ShardOf(key);
  io::MutexLock lock(shard.mutex);
  const auto found = shard.by_key.find(key);
  if (found == shard.by_key.end()) {
    ++shard.misses;
    return nullptr;
  }
  ++shard.hits;
  shard.by_use.splice(shard.by_use.begin(), shard.by_use, found->second);
  return found->second->block;
}

void BlockCache::Insert(FileNumber file, uint64_t offset, std::shared_ptr<const Block> block) {
  CHECK(block != nullptr);
  const Key key{file, offset};
  Shard& shard = ShardOf(key);
  std::list<Slot> evicted;  // freed after the lock is let go
  io::MutexLock lock(shard.mutex);
  const auto [place, is_new] = shard.by_key.try_emplace(key);
  if (is_new) {
    shard.bytes += ChargeOf(*block);
    shard.by_use.push_front({key, std::move(block)});
    place->second = shard.by_use.begin();
  } else {
    // Two readers missed at the same time. Both read the same bytes; the first one's are in use.
    shard.by_use.splice(shard.by_use.begin(), shard.by_use, place->second);
  }
  EvictLocked(shard, &evicted);
}

void BlockCache::EvictLocked(Shard& shard, std::list<Slot>* evicted) {
  const size_t shard_bytes_max = bytes_max_.load(std::memory_order_relaxed) / kShardCount;
  while (shard.bytes > shard_bytes_max && !shard.by_use.empty()) {
    const Slot& victim = shard.by_use.back();
    shard.bytes -= ChargeOf(*victim.block);
    shard.by_key.erase(victim.key);
    evicted->splice(evicted->begin(), shard.by_use, std::prev(shard.by_use.end()));
  }
}

void BlockCache::SetCapacity(size_t bytes_max) {
  bytes_max_.store(bytes_max, std::memory_order_relaxed);
  for (Shard& shard : shards_) {
    std::list<Slot> evicted;
    io::MutexLock lock(shard.mutex);
    EvictLocked(shard, &evicted);
  }
}

BlockCacheStats BlockCache::stats() const {
  BlockCacheStats sum;
  for (const Shard& shard : shards_) {
    io::MutexLock lock(shard.mutex);
    sum.hits += shard.hits;
    sum.misses += shard.misses;
    sum.bytes += shard.bytes;
  }
  return sum;
}

}  // namespace terracefs::lsm
