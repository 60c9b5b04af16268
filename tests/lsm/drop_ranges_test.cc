#include "lsm/drop_ranges.h"

#include <gtest/gtest.h>

#include <set>

#include "io/base/random.h"

namespace terracefs::lsm {
namespace {

TEST(DropRangeSetTest, RangesAreHalfOpenAndJoinWhereTheyTouch) {
  DropRangeSet set;
  EXPECT_TRUE(set.empty());
  EXPECT_FALSE(set.Covers(""));
  set.Add("d", "f");
  EXPECT_FALSE(set.Covers("c\xff"));
  EXPECT_TRUE(set.Covers("d"));
  EXPECT_TRUE(set.Covers("e"));
  EXPECT_FALSE(set.Covers("f"));
  set.Add("h", "k");
  EXPECT_EQ(set.size(), 2U);
  set.Add("f", "h");
  EXPECT_EQ(set.size(), 1U);
  EXPECT_EQ(set.CoveringEnd("d"), "k");
  set.Add("e", "g");  // inside
  EXPECT_EQ(set.CoveringEnd("g"), "k");
  set.Add("a", "z");
  EXPECT_EQ(set.size(), 1U);
  EXPECT_TRUE(set.Covers("y"));
}

TEST(DropRangeSetTest, EmptyAndReversedRangesAreNothing) {
  DropRangeSet set;
  set.Add("d", "d");
  set.Add("f", "d");
  EXPECT_TRUE(set.empty());
}

TEST(DropRangeSetTest, CoversAllIsInclusive) {
  DropRangeSet set;
  set.Add("d", "f");
  set.Add("g", "h");
  EXPECT_TRUE(set.CoversAll("d", "e"));
  EXPECT_FALSE(set.CoversAll("d", "f"));
  EXPECT_FALSE(set.CoversAll("c", "e"));
  EXPECT_FALSE(set.CoversAll("d", "g")) << "a gap between two ranges";
}

TEST(DropRangeSetTest, EqualsASetOfKeys) {
  io::Random random(7);
  for (int round = 0; round < 200; ++round) {
    DropRangeSet set;
    DropRangeSet halves[2];
    std::vector<DropRange> list;
    std::set<char> dead;
    for (uint64_t n = random.Uniform(12); n > 0; --n) {
      const auto begin = static_cast<char>('a' + random.Uniform(26));
      const auto end = static_cast<char>('a' + random.Uniform(26));
      set.Add(std::string(1, begin), std::string(1, end));
      halves[n % 2].Add(std::string(1, begin), std::string(1, end));
      list.push_back({std::string(1, begin), std::string(1, end), n, static_cast<int64_t>(n)});
      for (char c = begin; c < end; ++c) dead.insert(c);
    }
    halves[0].Add(halves[1]);
    DropRangeSet joined;
    const std::vector<DropRange> ranges = JoinRanges(list);
    for (const DropRange& range : ranges) joined.Add(range.begin, range.end);
    EXPECT_EQ(joined.size(), ranges.size()) << "disjoint and apart";
    for (char c = 'a'; c <= 'z'; ++c) {
      const std::string key(1, c);
      ASSERT_EQ(set.Covers(key), dead.contains(c)) << key;
      ASSERT_EQ(halves[0].Covers(key), dead.contains(c)) << key;
      ASSERT_EQ(joined.Covers(key), dead.contains(c)) << key;
      if (const auto end = set.CoveringEnd(key)) {
        for (char d = c; std::string(1, d) < *end; ++d) ASSERT_TRUE(dead.contains(d));
        ASSERT_FALSE(dead.contains((*end)[0]));
      }
    }
  }
}

TEST(JoinRangesTest, AJoinedRangeIsAsNewAndAsUrgentAsItsParts) {
  const auto joined =
      JoinRanges({{"m", "p", 5, 50}, {"a", "c", 9, 90}, {"c", "d", 3, 30}, {"x", "x", 1, 1}});
  ASSERT_EQ(joined.size(), 2U);
  EXPECT_EQ(joined[0].begin, "a");
  EXPECT_EQ(joined[0].end, "d");
  EXPECT_EQ(joined[0].sequence, 9U);
  EXPECT_EQ(joined[0].seconds, 30);
  EXPECT_EQ(joined[1].begin, "m");
  EXPECT_TRUE(JoinRanges({}).empty());
}

}  // namespace
}  // namespace terracefs::lsm
