#include "lsm/table/filter.h"

#include <gtest/gtest.h>

#include <string>

#include "io/base/coding.h"
#include "io/base/random.h"

namespace terracefs::lsm {
namespace {

// As the filesystem's keys: a domain, a number, sometimes a name.
std::string Key(uint64_t i) {
  std::string key = "I";
  io::PutOrdered64(&key, i);
  if (i % 3 == 0) key += "name" + std::to_string(i);
  return key;
}

FilterReader Open(const FilterBuilder& builder) {
  auto filter = FilterReader::Decode(builder.Finish());
  EXPECT_TRUE(filter.ok()) << filter.status().ToString();
  return filter.ok() ? std::move(filter).value() : FilterReader();
}

TEST(FilterTest, NeverDeniesAKeyThatIsThere) {
  for (const double bits_per_key : {0.5, 1.0, 5.0, 10.0, 20.0, 40.0}) {
    for (const uint64_t count : {1U, 2U, 50U, 51U, 52U, 1000U, 20000U}) {
      FilterBuilder builder(bits_per_key);
      for (uint64_t i = 0; i < count; ++i) builder.Add(Key(i));
      const FilterReader filter = Open(builder);
      for (uint64_t i = 0; i < count; ++i) ASSERT_TRUE(filter.MayContain(Key(i)));
    }
  }
}

double FalsePositiveRate(double bits_per_key, uint64_t count) {
  FilterBuilder builder(bits_per_key);
  for (uint64_t i = 0; i < count; ++i) builder.Add(Key(i));
  const FilterReader filter = Open(builder);
  constexpr uint64_t kProbes = 200000;
  uint64_t hits = 0;
  for (uint64_t i = 0; i < kProbes; ++i) hits += filter.MayContain(Key(count + i)) ? 1 : 0;
  return static_cast<double>(hits) / kProbes;
}

TEST(FilterTest, FalsePositiveRateIsAsPromised) {
  for (const uint64_t count : {1000U, 30000U, 300000U}) {
    const double rate = FalsePositiveRate(10, count);
    RecordProperty("percent_at_10_bits_" + std::to_string(count), std::to_string(rate * 100));
    EXPECT_LT(rate, 0.015) << count;
  }
  EXPECT_LT(FalsePositiveRate(16, 30000), 0.003);
  EXPECT_LT(FalsePositiveRate(5, 30000), 0.12);
}

TEST(FilterTest, TakesTheBitsItWasGiven) {
  FilterBuilder builder(10);
  for (uint64_t i = 0; i < 10000; ++i) builder.Add(Key(i));
  EXPECT_EQ(builder.EstimatedBytes(), builder.Finish().size());
  EXPECT_NEAR(static_cast<double>(builder.Finish().size()), 12500, 150);
}

TEST(FilterTest, KeysOfADomainThatWasLeftOutMayBeThere) {
  FilterBuilder builder(10);
  for (uint64_t i = 0; i < 1000; ++i) builder.Add(Key(i));
  builder.LeaveOut("Extent");
  const FilterReader filter = Open(builder);
  EXPECT_TRUE(filter.MayContain("Extent"));
  EXPECT_TRUE(filter.MayContain("Elsewhere"));
  EXPECT_FALSE(filter.MayContain("Farther") && filter.MayContain("Farther2") &&
               filter.MayContain("Farther3"));
}

TEST(FilterTest, WithoutKeysDeniesAllButWhatWasLeftOut) {
  FilterBuilder builder(10);
  builder.LeaveOut("x");
  builder.LeaveOut("");
  const FilterReader filter = Open(builder);
  EXPECT_TRUE(filter.MayContain("xyz"));
  EXPECT_TRUE(filter.MayContain(""));
  EXPECT_FALSE(filter.MayContain("a"));
  EXPECT_TRUE(FilterReader().MayContain("a"));  // no filter at all
}

// The hash is part of the format: whoever changes it makes old filters deny keys.
TEST(FilterTest, HashIsWhatFormatSays) {
  EXPECT_EQ(FilterHash(""), 0xa4f1f98d106ea969);
  EXPECT_EQ(FilterHash("a"), 0x2a1cf8ca30e4af7f);
  EXPECT_EQ(FilterHash("terrace"), 0xa3ff39c6dff1ce39);
  EXPECT_EQ(FilterHash("terracefs, eight by eight"), 0x73fdd23a74a4966a);
}

TEST(FilterTest, DamagedContentsAreRefusedOrHarmless) {
  FilterBuilder builder(10);
  for (uint64_t i = 0; i < 100; ++i) builder.Add(Key(i));
  const std::string contents = builder.Finish();
  for (size_t bytes = 0; bytes < contents.size(); ++bytes) {
    EXPECT_FALSE(FilterReader::Decode(contents.substr(0, bytes)).ok());
  }
  io::Random random(3);
  for (int round = 0; round < 5000; ++round) {
    std::string damaged = contents;
    const size_t at = round < 400 ? contents.size() - 1 - static_cast<size_t>(round) % 40
                                  : random.Uniform(contents.size());
    damaged[at] = static_cast<char>(random.Next());
    const auto filter = FilterReader::Decode(damaged);
    if (filter.ok()) {
      for (uint64_t i = 0; i < 10; ++i) (void)filter.value().MayContain(Key(i));
    } else {
      EXPECT_TRUE(filter.status().Is(io::StatusCode::kCorruption));
    }
  }
}

}  // namespace
}  // namespace terracefs::lsm
