#include "lsm/compression.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "io/base/random.h"

namespace terracefs::lsm {
namespace {

std::string Text(size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += "the quick brown fox " + std::to_string(text.size() / 100);
  text.resize(bytes);
  return text;
}

std::string Noise(size_t bytes) {
  io::Random random(bytes);
  std::string noise(bytes, '\0');
  for (char& byte : noise) byte = static_cast<char>(random.Next());
  return noise;
}

TEST(CompressionTest, ComesBackAsItWas) {
  for (const int level : {-3, 1, 3, 9}) {
    for (const size_t bytes : {200U, 16384U, 1000000U}) {
      std::string compressed;
      ASSERT_TRUE(Compress(Text(bytes), level, &compressed));
      EXPECT_LE(compressed.size(), bytes - bytes / 8);
      std::string back = "something else";
      ASSERT_TRUE(Uncompress(compressed, bytes, &back).ok());
      EXPECT_EQ(back, Text(bytes));
    }
  }
}

TEST(CompressionTest, RefusesWhatDoesNotShrinkByAnEighth) {
  std::string compressed;
  EXPECT_FALSE(Compress(Noise(16384), 3, &compressed));
  EXPECT_FALSE(Compress("", 3, &compressed));
  EXPECT_FALSE(Compress("abc", 3, &compressed));
  // 95 % noise, 5 % zeros: shrinks, but not enough.
  EXPECT_FALSE(Compress(Noise(15600) + std::string(784, '\0'), 3, &compressed));
  EXPECT_TRUE(Compress(Noise(12000) + std::string(4384, '\0'), 3, &compressed));
}

TEST(CompressionTest, LengthIsBounded) {
  std::string compressed;
  ASSERT_TRUE(Compress(std::string(1 << 20, 'x'), 3, &compressed));
  std::string back;
  EXPECT_TRUE(Uncompress(compressed, (1 << 20) - 1, &back).Is(io::StatusCode::kCorruption));
  EXPECT_LT(back.capacity(), size_t{1} << 20);
}

TEST(CompressionTest, DamageIsCorruptionOrAnswersWithinBounds) {
  std::string compressed;
  ASSERT_TRUE(Compress(Text(3000), 3, &compressed));
  std::string back;
  for (size_t bytes = 0; bytes < compressed.size(); ++bytes) {
    EXPECT_TRUE(
        Uncompress(compressed.substr(0, bytes), 1 << 20, &back).Is(io::StatusCode::kCorruption));
  }
  for (size_t i = 0; i < compressed.size(); ++i) {
    std::string damaged = compressed;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x55);
    if (Uncompress(damaged, 1 << 20, &back).ok()) {
      EXPECT_LE(back.size(), size_t{1} << 20);
    }
  }
  EXPECT_FALSE(Uncompress(compressed + compressed, 1 << 20, &back).ok());
}

TEST(CompressionTest, ThreadsDoNotShareContexts) {
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([thread] {
      for (size_t i = 0; i < 50; ++i) {
        const std::string text = Text(1000 + thread * 1000 + i);
        std::string compressed;
        std::string back;
        ASSERT_TRUE(Compress(text, 1, &compressed));
        ASSERT_TRUE(Uncompress(compressed, text.size(), &back).ok());
        ASSERT_EQ(back, text);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace terracefs::lsm
