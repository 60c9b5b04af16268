#include "fs/control/op_stats.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace terracefs::fs {
namespace {

TEST(OpStatsTest, BucketsCoverEverythingInOrder) {
  size_t last = 0;
  for (uint64_t ns = 0; ns < 5000; ++ns) {
    const size_t bucket = OpStats::BucketOf(ns);
    ASSERT_GE(bucket, last);
    ASSERT_LE(OpStats::BucketBegin(bucket), ns);
    ASSERT_GT(OpStats::BucketBegin(bucket + 1), ns);
    last = bucket;
  }
  for (int bit = 3; bit < 64; ++bit) {
    const size_t bucket = OpStats::BucketOf(uint64_t{1} << bit);
    ASSERT_LT(bucket, OpStats::kBucketCount) << bit;
  }
  EXPECT_EQ(OpStats::BucketOf(UINT64_MAX), OpStats::kBucketCount - 1);
}

TEST(OpStatsTest, NothingRecordedIsNothing) {
  const auto stats = std::make_unique<OpStats>();
  const OpSummary summary = stats->Summary(Op::kRead);
  EXPECT_EQ(summary.count, 0u);
  EXPECT_EQ(summary.p99_ns, 0u);
}

TEST(OpStatsTest, PercentilesAreWithinABucketOfTheTruth) {
  const auto stats = std::make_unique<OpStats>();
  for (uint64_t us = 1; us <= 1000; ++us) stats->Record(Op::kWrite, us * 1000);
  const OpSummary summary = stats->Summary(Op::kWrite);
  EXPECT_EQ(summary.count, 1000u);
  EXPECT_EQ(summary.max_ns, 1'000'000u);
  EXPECT_NEAR(static_cast<double>(summary.p50_ns), 500'000, 500'000 / 8);
  EXPECT_NEAR(static_cast<double>(summary.p99_ns), 990'000, 990'000 / 8);
  EXPECT_EQ(stats->Summary(Op::kRead).count, 0u);
}

TEST(OpStatsTest, NoPercentileExceedsTheMaximum) {
  const auto stats = std::make_unique<OpStats>();
  stats->Record(Op::kLookup, 1025);
  const OpSummary summary = stats->Summary(Op::kLookup);
  EXPECT_EQ(summary.max_ns, 1025u);
  EXPECT_LE(summary.p50_ns, 1025u);
  EXPECT_LE(summary.p99_ns, 1025u);
}

TEST(OpStatsTest, ThreadsLoseNothing) {
  const auto stats = std::make_unique<OpStats>();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&stats] {
      for (uint64_t ns = 0; ns < 10'000; ++ns) stats->Record(Op::kGetattr, ns);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stats->Summary(Op::kGetattr).count, 80'000u);
  EXPECT_EQ(stats->Summary(Op::kGetattr).max_ns, 9999u);
}

TEST(OpStatsTest, EveryRequestHasItsName) {
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kOpCount; ++i) {
    const std::string_view name = OpName(static_cast<Op>(i));
    EXPECT_FALSE(name.empty());
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 0) << name;
    names.push_back(name);
  }
  EXPECT_EQ(OpName(Op::kStatx), "statx");
  EXPECT_EQ(OpName(Op::kReaddirplus), "readdirplus");
}

}  // namespace
}  // namespace terracefs::fs
