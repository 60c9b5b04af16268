#include "lsm/compaction/ranges_in_use.h"

#include <gtest/gtest.h>

#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

CompactionPlan Plan(int level, int output_level, const std::vector<TableSpec>& source,
                    const std::vector<TableSpec>& target = {}) {
  CompactionPlan plan;
  plan.level = level;
  plan.output_level = output_level;
  for (const TableSpec& spec : source) plan.inputs[0].push_back(MakeTable(spec));
  for (const TableSpec& spec : target) plan.inputs[1].push_back(MakeTable(spec));
  return plan;
}

TEST(CompactionPlanTest, HullSpansBothSides) {
  const CompactionPlan plan =
      Plan(0, 1, {{1, "d", "f"}, {2, "e", "k"}}, {{3, "b", "d"}, {4, "h", "i"}});
  EXPECT_EQ(plan.smallest_user_key(), "b");
  EXPECT_EQ(plan.largest_user_key(), "k");
  EXPECT_EQ(plan.InputBytes(), 4000U);
}

struct Case {
  const char* name;
  CompactionPlan running;
  CompactionPlan wanted;
  bool conflicts;
};

TEST(RangesInUseTest, ConflictsWhereTwoJobsCouldMeet) {
  const Case cases[] = {
      {"same table", Plan(1, 2, {{1, "a", "c"}}), Plan(1, 2, {{1, "a", "c"}}), true},
      {"shared target", Plan(1, 2, {{1, "a", "b"}}, {{9, "a", "z"}}),
       Plan(1, 2, {{2, "c", "d"}}, {{9, "a", "z"}}), true},
      {"disjoint", Plan(1, 2, {{1, "a", "c"}}), Plan(1, 2, {{2, "d", "f"}}), false},
      {"touching ends are inclusive", Plan(1, 2, {{1, "a", "c"}}), Plan(1, 2, {{2, "c", "f"}}),
       true},
      {"empty targets, same range", Plan(1, 2, {{1, "a", "m"}}), Plan(1, 2, {{2, "f", "g"}}), true},
      {"into a level that is being emptied", Plan(2, 3, {{1, "a", "m"}}),
       Plan(1, 2, {{2, "f", "g"}}), true},
      {"out of a level that is being filled", Plan(1, 2, {{1, "a", "m"}}),
       Plan(2, 3, {{2, "f", "g"}}), true},
      {"levels apart", Plan(1, 2, {{1, "a", "m"}}), Plan(3, 4, {{2, "f", "g"}}), false},
      {"in place beside its own level", Plan(2, 2, {{1, "a", "m"}}), Plan(3, 4, {{2, "a", "m"}}),
       false},
      {"in place where a job writes", Plan(1, 2, {{1, "a", "m"}}), Plan(2, 2, {{2, "f", "g"}}),
       true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    RangesInUse in_use;
    EXPECT_FALSE(in_use.Conflicts(c.wanted));
    in_use.Register(c.running);
    EXPECT_EQ(in_use.Conflicts(c.wanted), c.conflicts);
    EXPECT_TRUE(in_use.Conflicts(c.running));
    in_use.Unregister(c.running);
    EXPECT_FALSE(in_use.Conflicts(c.wanted));
    EXPECT_TRUE(in_use.empty());
  }
}

TEST(RangesInUseTest, EqualRangesOfTwoLevelsAreKeptApart) {
  RangesInUse in_use;
  const CompactionPlan upper = Plan(1, 2, {{1, "a", "c"}});
  const CompactionPlan lower = Plan(4, 5, {{2, "a", "c"}});
  in_use.Register(upper);
  in_use.Register(lower);
  in_use.Unregister(upper);
  EXPECT_TRUE(in_use.InUse(2));
  EXPECT_FALSE(in_use.InUse(1));
  EXPECT_TRUE(in_use.Conflicts(Plan(5, 6, {{3, "b", "b"}})));
  EXPECT_FALSE(in_use.Conflicts(Plan(1, 2, {{3, "b", "b"}})));
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
