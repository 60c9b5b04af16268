#include "fs/control/id_ranges.h"

#include <gtest/gtest.h>

#include <set>

#include "io/base/random.h"
#include "tests/support/environment.h"

namespace terracefs::fs {
namespace {

using Ranges = std::map<uint64_t, uint64_t>;

TEST(IdRangesTest, NeighboursBecomeOne) {
  IdRanges ids(100);
  ids.Add(5, 6);
  ids.Add(7, 8);
  EXPECT_EQ(ids.ranges(), (Ranges{{5, 6}, {7, 8}}));
  ids.Add(6, 7);
  EXPECT_EQ(ids.ranges(), (Ranges{{5, 8}}));
  ids.Add(1, 5);
  EXPECT_EQ(ids.ranges(), (Ranges{{1, 8}}));
  ids.Add(3, 4);
  ids.Add(9, 9);
  EXPECT_EQ(ids.ranges(), (Ranges{{1, 8}}));
  ids.Add(20, 30);
  ids.Add(40, 50);
  ids.Add(0, 45);
  EXPECT_EQ(ids.ranges(), (Ranges{{0, 50}}));
  ids.Add(50, UINT64_MAX);
  EXPECT_EQ(ids.ranges(), (Ranges{{0, UINT64_MAX}}));
}

TEST(IdRangesTest, TheSmallestGapsAreFilledWhenThereAreTooMany) {
  IdRanges ids(4);
  for (const uint64_t id : {10U, 12U, 100U, 103U, 1000U}) ids.Add(id, id + 1);
  EXPECT_EQ(ids.ranges().size(), 2u);
  EXPECT_EQ(ids.ranges(), (Ranges{{10, 104}, {1000, 1001}}));
}

TEST(IdRangesTest, HoldsExactlyWhatWasAddedWhileThereIsRoom) {
  io::Random random(testing::FromEnvironment("SEED", 1));
  IdRanges ids(1000);
  std::set<uint64_t> model;
  for (int i = 0; i < 2000; ++i) {
    const uint64_t begin = random.Uniform(500);
    const uint64_t end = begin + random.Uniform(4);
    ids.Add(begin, end);
    for (uint64_t id = begin; id < end; ++id) model.insert(id);
  }
  std::set<uint64_t> held;
  uint64_t last_end = 0;
  for (const auto& [begin, end] : ids.ranges()) {
    EXPECT_TRUE(held.empty() || begin > last_end) << "ranges touch at " << begin;
    for (uint64_t id = begin; id < end; ++id) held.insert(id);
    last_end = end;
  }
  EXPECT_EQ(held, model);
}

TEST(IdRangesTest, LosesNothingWhenItIsFull) {
  io::Random random(testing::FromEnvironment("SEED", 2));
  IdRanges ids(16);
  std::set<uint64_t> model;
  for (int i = 0; i < 5000; ++i) {
    const uint64_t id = random.Uniform(1 << 20);
    ids.Add(id, id + 1);
    model.insert(id);
    ASSERT_LE(ids.ranges().size(), 16u);
  }
  for (const uint64_t id : model) {
    auto at = ids.ranges().upper_bound(id);
    ASSERT_NE(at, ids.ranges().begin());
    EXPECT_GT((--at)->second, id);
  }
}

}  // namespace
}  // namespace terracefs::fs
