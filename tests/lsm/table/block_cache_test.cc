#include "lsm/table/block_cache.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "io/base/random.h"
#include "io/base/units.h"
#include "lsm/table/block_builder.h"

namespace terracefs::lsm {
namespace {

std::shared_ptr<const Block> MakeBlock(size_t value_bytes) {
  BlockBuilder builder;
  builder.Add(MakeInternalKey("key", 1, EntryKind::kValue), std::string(value_bytes, 'v'));
  auto block = Block::FromString(std::string(builder.Finish()));
  EXPECT_TRUE(block.ok());
  return std::move(block).value();
}

TEST(BlockCacheTest, GivesBackWhatWasInserted) {
  BlockCache cache(io::kMiB);
  const auto block = MakeBlock(1000);
  EXPECT_EQ(cache.Get(1, 0), nullptr);
  cache.Insert(1, 0, block);
  EXPECT_EQ(cache.Get(1, 0), block);
  EXPECT_EQ(cache.Get(1, 1), nullptr);
  EXPECT_EQ(cache.Get(2, 0), nullptr);
  const BlockCacheStats stats = cache.stats();
  EXPECT_EQ(stats.hits, 1U);
  EXPECT_EQ(stats.misses, 3U);
  EXPECT_GE(stats.bytes, 1000U);
}

TEST(BlockCacheTest, SecondInsertKeepsTheFirstBlock) {
  BlockCache cache(io::kMiB);
  const auto first = MakeBlock(1000);
  cache.Insert(1, 0, first);
  const uint64_t bytes = cache.stats().bytes;
  cache.Insert(1, 0, MakeBlock(1000));
  EXPECT_EQ(cache.Get(1, 0), first);
  EXPECT_EQ(cache.stats().bytes, bytes);
}

TEST(BlockCacheTest, StaysWithinItsBytesAndKeepsTheRecentlyUsed) {
  BlockCache cache(4 * io::kMiB);
  for (uint64_t i = 0; i < 4000; ++i) {
    cache.Insert(1, i * 16384, MakeBlock(16000));
    EXPECT_LE(cache.stats().bytes, 4 * io::kMiB);
    EXPECT_NE(cache.Get(1, 0), nullptr) << i;  // used all the time
  }
  EXPECT_GE(cache.stats().bytes, 3 * io::kMiB);
  EXPECT_EQ(cache.Get(1, 16384), nullptr);
}

TEST(BlockCacheTest, HandedOutBlockOutlivesItsEviction) {
  BlockCache cache(io::kMiB);
  cache.Insert(1, 0, MakeBlock(1000));
  const auto held = cache.Get(1, 0);
  cache.SetCapacity(0);
  EXPECT_EQ(cache.stats().bytes, 0U);
  EXPECT_EQ(cache.Get(1, 0), nullptr);
  Block::Cursor cursor(*held);
  cursor.SeekToFirst();
  EXPECT_TRUE(cursor.Valid());
  cache.Insert(1, 0, MakeBlock(1000));  // has no room; must not loop or crash
  EXPECT_EQ(cache.Get(1, 0), nullptr);
  cache.SetCapacity(io::kMiB);
  cache.Insert(1, 0, MakeBlock(1000));
  EXPECT_NE(cache.Get(1, 0), nullptr);
}

// Blocks of one file must not crowd into few shards: the cache would hold a fraction of its size.
TEST(BlockCacheTest, BlocksSpreadOverShards) {
  for (const uint64_t stride : {4096U, 16384U, 16440U, 16520U, 65536U, 1U << 20}) {
    for (const FileNumber file : {FileNumber{1}, FileNumber{77}, FileNumber{1000000}}) {
      BlockCache cache(160 * 1024 * 16);
      // 60 % of the capacity: with an even spread nothing is evicted.
      const uint64_t charge = MakeBlock(1000)->memory_bytes() + 160;
      const uint64_t count = 160 * 1024 * 16 * 6 / 10 / charge;
      for (uint64_t i = 0; i < count; ++i) cache.Insert(file, i * stride, MakeBlock(1000));
      uint64_t kept = 0;
      for (uint64_t i = 0; i < count; ++i) kept += cache.Get(file, i * stride) != nullptr ? 1 : 0;
      EXPECT_EQ(kept, count) << "stride " << stride << " file " << file;
    }
  }
  // The same offset of many files.
  BlockCache cache(160 * 1024 * 16);
  const uint64_t count = 160 * 1024 * 16 * 6 / 10 / (MakeBlock(1000)->memory_bytes() + 160);
  for (uint64_t i = 0; i < count; ++i) cache.Insert(i + 1, 0, MakeBlock(1000));
  uint64_t kept = 0;
  for (uint64_t i = 0; i < count; ++i) kept += cache.Get(i + 1, 0) != nullptr ? 1 : 0;
  EXPECT_EQ(kept, count);
}

TEST(BlockCacheTest, ThreadsMayShareIt) {
  BlockCache cache(io::kMiB);
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&cache, thread] {
      io::Random random(thread);
      for (int i = 0; i < 5000; ++i) {
        const uint64_t offset = random.Uniform(200);
        const auto block = cache.Get(1, offset);
        if (block == nullptr) {
          cache.Insert(1, offset, MakeBlock(5000 + offset));
        } else {
          ASSERT_GE(block->contents().size(), 5000 + offset);
        }
        if (random.OneIn(500)) cache.SetCapacity((random.Uniform(2) + 1) * io::kMiB);
        if (random.OneIn(100)) (void)cache.stats();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace terracefs::lsm
