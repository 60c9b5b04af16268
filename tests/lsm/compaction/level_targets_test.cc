#include "lsm/compaction/level_targets.h"

#include <gtest/gtest.h>

#include "io/base/random.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

constexpr int kLast = kLevelCount - 1;

Options DynamicOptions() {
  Options options;
  options.level1_bytes = 1000;
  options.level_multiplier = 10;
  return options;
}

// One table of so many bytes on each level that has any.
using Shape = std::array<uint64_t, kLevelCount>;
LevelTargets TargetsOf(const Options& options, const Shape& level_bytes) {
  std::vector<PlacedTable> tables;
  for (int level = 0; level < kLevelCount; ++level) {
    const uint64_t bytes = level_bytes[static_cast<size_t>(level)];
    if (bytes > 0) {
      tables.push_back({level, {static_cast<FileNumber>(level) + 1, "a", "z", bytes}});
    }
  }
  return ComputeLevelTargets(options, *MakeVersion(tables));
}

TEST(LevelTargetsTest, AnEmptyStoreGoesStraightToTheLastLevel) {
  EXPECT_EQ(TargetsOf(DynamicOptions(), {}).base_level, kLast);
  EXPECT_EQ(TargetsOf(DynamicOptions(), {{500}}).base_level, kLast);
}

TEST(LevelTargetsTest, TargetsAreSharesOfTheLastLevel) {
  const LevelTargets targets = TargetsOf(DynamicOptions(), {{0, 0, 0, 0, 0, 0, 250'000}});
  EXPECT_EQ(targets.base_level, 4);
  EXPECT_EQ(targets.bytes[5], 25'000U);
  EXPECT_EQ(targets.bytes[4], 2'500U);
  for (const size_t level : {0U, 1U, 2U, 3U, 6U}) EXPECT_EQ(targets.bytes[level], 0U) << level;
}

TEST(LevelTargetsTest, ALevelLargerThanTheLastIsTheMeasure) {
  const LevelTargets targets = TargetsOf(DynamicOptions(), {{0, 0, 0, 0, 100'000, 10, 1'000}});
  // 100'000 is divided once for each level above level 4's own.
  EXPECT_EQ(targets.bytes[5], 10'000U);
  EXPECT_EQ(targets.bytes[4], 1'000U);
  EXPECT_EQ(targets.base_level, 4);
}

// dgraph #2143: tombstones that went past tables would lie below the values that they delete.
TEST(LevelTargetsTest, TheBaseLevelIsNeverBelowALevelWithTables) {
  const LevelTargets targets = TargetsOf(DynamicOptions(), {{0, 0, 7, 0, 0, 0, 250'000}});
  EXPECT_EQ(targets.base_level, 2);
}

TEST(LevelTargetsTest, LevelsThatTheSizeNoLongerCallsForDrain) {
  const LevelTargets targets = TargetsOf(DynamicOptions(), {{0, 0, 7, 0, 9, 0, 25'000}});
  EXPECT_EQ(targets.base_level, 2);
  EXPECT_EQ(targets.bytes[2], 1U);
  EXPECT_EQ(targets.bytes[3], 1U);
  EXPECT_EQ(targets.bytes[4], 1U);
  EXPECT_EQ(targets.bytes[5], 2'500U);
}

TEST(LevelTargetsTest, AHugeStoreHasItsBaseAtLevel1) {
  const LevelTargets targets = TargetsOf(DynamicOptions(), {{0, 0, 0, 0, 0, 0, uint64_t{1} << 62}});
  EXPECT_EQ(targets.base_level, 1);
  EXPECT_GT(targets.bytes[1], 1000U);
}

// A level comes when it would have level1_bytes and goes when it would have half of them, so a
// store at the border does not fill and drain it in turn.
TEST(LevelTargetsTest, ALevelThatIsThereIsKeptAtHalfTheSizeThatMadeIt) {
  EXPECT_EQ(TargetsOf(DynamicOptions(), {{0, 0, 0, 0, 0, 0, 9'990}}).base_level, 6);
  EXPECT_EQ(TargetsOf(DynamicOptions(), {{0, 0, 0, 0, 0, 0, 10'000}}).base_level, 5);
  const LevelTargets kept = TargetsOf(DynamicOptions(), {{0, 0, 0, 0, 0, 100, 5'000}});
  EXPECT_EQ(kept.base_level, 5);
  EXPECT_EQ(kept.bytes[5], 500U);
  const LevelTargets draining = TargetsOf(DynamicOptions(), {{0, 0, 0, 0, 0, 100, 4'990}});
  EXPECT_EQ(draining.base_level, 5) << "it has tables";
  EXPECT_EQ(draining.bytes[5], 1U);
}

TEST(LevelTargetsTest, StaticTargetsGrowFromLevel1) {
  Options options = DynamicOptions();
  options.dynamic_levels = false;
  const LevelTargets targets = TargetsOf(options, {{0, 0, 0, 0, 0, 0, 250'000}});
  EXPECT_EQ(targets.base_level, 1);
  EXPECT_EQ(targets.bytes[1], 1000U);
  EXPECT_EQ(targets.bytes[5], 10'000'000U);
  EXPECT_EQ(targets.bytes[6], 0U);
}

// What must hold for any shape, found out without looking at how it is computed.
TEST(LevelTargetsTest, HoldForRandomShapes) {
  ForEachSeed(1, 5000, [](uint64_t seed) {
    io::Random random(seed);
    Options options;
    options.level1_bytes = 1 + random.Uniform(100'000);
    options.level_multiplier = 2 + static_cast<int>(random.Uniform(12));
    const auto multiplier = static_cast<uint64_t>(options.level_multiplier);
    Shape shape{};
    for (uint64_t& bytes : shape) {
      if (random.OneIn(2)) bytes = 1 + random.Next() % (uint64_t{1} << (1 + random.Uniform(50)));
    }
    const LevelTargets targets = TargetsOf(options, shape);
    ASSERT_GE(targets.base_level, 1);
    ASSERT_LE(targets.base_level, kLast);
    for (int level = 1; level < targets.base_level; ++level) {
      EXPECT_EQ(shape[static_cast<size_t>(level)], 0U) << "level " << level << " was passed over";
    }
    EXPECT_EQ(targets.bytes[kLast], 0U) << "the last level has nowhere to go";
    uint64_t largest = 0;
    for (int level = 1; level < kLast; ++level) {
      const uint64_t target = targets.bytes[static_cast<size_t>(level)];
      EXPECT_EQ(target > 0, level >= targets.base_level) << level;
      const uint64_t next = targets.bytes[static_cast<size_t>(level) + 1];
      if (next > 1) {
        EXPECT_LE(target, next) << level;
      }
      if (target > 1 && next > 1 && level + 1 < kLast) {
        EXPECT_EQ(target, next / multiplier) << level;
      }
      if (target > 1) {
        EXPECT_GE(target, options.level1_bytes / 2);
      }
    }
    for (size_t level = 1; level <= kLast; ++level) largest = std::max(largest, shape[level]);
    for (const uint64_t target : targets.bytes) EXPECT_LE(target, std::max<uint64_t>(1, largest));
  });
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
