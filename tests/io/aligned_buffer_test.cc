#include "io/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "io/base/random.h"
#include "io/storage.h"

namespace terracefs::io {
namespace {

bool IsAligned(const AlignedBuffer& buffer) {
  return reinterpret_cast<uintptr_t>(buffer.data()) % kDirectAlignment == 0 &&
         buffer.capacity() % kDirectAlignment == 0;
}

TEST(AlignedBufferTest, CapacityIsRoundedUpAndAligned) {
  for (const size_t bytes : {1UL, 4095UL, 4096UL, 4097UL, 12288UL, 1UL << 20, (2UL << 20) + 1}) {
    const AlignedBuffer buffer(bytes);
    EXPECT_TRUE(IsAligned(buffer));
    EXPECT_GE(buffer.capacity(), bytes);
    EXPECT_LT(buffer.capacity(), bytes + kDirectAlignment);
    EXPECT_EQ(buffer.span().size(), buffer.capacity());
    std::memset(buffer.data(), 0x5a, buffer.capacity());
  }
}

TEST(AlignedBufferTest, EmptyOnesHoldNothing) {
  const AlignedBuffer none;
  EXPECT_TRUE(none.empty());
  const AlignedBuffer zero(0);
  EXPECT_TRUE(zero.empty());
  EXPECT_EQ(zero.capacity(), 0U);
}

TEST(AlignedBufferTest, MovingHandsTheMemoryOn) {
  AlignedBuffer source(8192);
  std::byte* const data = source.data();
  AlignedBuffer target(std::move(source));
  EXPECT_EQ(target.data(), data);
  EXPECT_TRUE(source.empty());  // NOLINT(bugprone-use-after-move): that is the claim
  AlignedBuffer other(4096);
  other = std::move(target);
  EXPECT_EQ(other.data(), data);
  EXPECT_EQ(other.capacity(), 8192U);
  AlignedBuffer& same = other;
  other = std::move(same);
  EXPECT_EQ(other.data(), data);
}

TEST(AlignedBufferTest, BuffersInUseNeverOverlap) {
  std::vector<std::thread> threads;
  std::vector<int> failures(4, 0);
  for (size_t t = 0; t < failures.size(); ++t) {
    threads.emplace_back([t, &failures] {
      Random random(t + 1);
      std::vector<std::pair<AlignedBuffer, int>> held;
      for (int round = 0; round < 300; ++round) {
        AlignedBuffer buffer(size_t{4096} << random.Uniform(7));
        const int mark = static_cast<int>(random.Uniform(256));
        std::memset(buffer.data(), mark, buffer.capacity());
        held.emplace_back(std::move(buffer), mark);
        if (held.size() < 20) continue;
        const size_t index = random.Uniform(held.size());
        for (const std::byte byte : held[index].first.span()) {
          if (byte != static_cast<std::byte>(held[index].second)) ++failures[t];
        }
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(index));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace terracefs::io
