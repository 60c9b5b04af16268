#include "lsm/compaction/ranges_in_use.h"

#include <gtest/gtest.h>

#include <set>

#include "io/base/random.h"

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
      {"level 0 beside level 0", Plan(0, 1, {{1, "a", "c"}}), Plan(0, 1, {{2, "d", "f"}}), false},
      {"level 0 into the same range below", Plan(0, 1, {{1, "a", "c"}}),
       Plan(0, 1, {{2, "b", "f"}}), true},
      {"level 0 in itself holds its tables only", Plan(0, 0, {{1, "a", "m"}}),
       Plan(0, 1, {{2, "a", "m"}}), false},
      {"level 0 in itself, same table", Plan(0, 0, {{1, "a", "m"}}), Plan(0, 1, {{1, "a", "m"}}),
       true},
      {"past a level that is not there", Plan(0, 5, {{1, "a", "m"}}), Plan(3, 4, {{2, "f", "g"}}),
       true},
      {"below where level 0 goes", Plan(0, 4, {{1, "a", "m"}}), Plan(5, 6, {{2, "f", "g"}}), false},
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

// D1 to D4 against the plainest way to say it.
struct Job {
  CompactionPlan plan;
  std::set<FileNumber> files;
  std::string smallest = "~";
  std::string largest;
  std::set<int> levels;
};

Job RandomJob(io::Random& random) {
  Job job;
  job.plan.level = static_cast<int>(random.Uniform(kLevelCount));
  job.plan.output_level = job.plan.level;
  if (job.plan.level < kLevelCount - 1 && !random.OneIn(3)) {
    job.plan.output_level = job.plan.level == 0
                                ? 1 + static_cast<int>(random.Uniform(kLevelCount - 1))
                                : job.plan.level + 1;
  }
  for (auto& side : job.plan.inputs) {
    uint64_t count = random.Uniform(3);
    if (&side == &job.plan.inputs[0]) ++count;
    for (; count > 0; --count) {
      const uint64_t begin = random.Uniform(60);
      const uint64_t end = begin + random.Uniform(8);
      const FileNumber number = 1 + random.Uniform(60);
      if (!job.files.insert(number).second) continue;
      side.push_back(MakeTable({number, KeyOf(begin), KeyOf(end)}));
      job.smallest = std::min(job.smallest, KeyOf(begin));
      job.largest = std::max(job.largest, KeyOf(end));
    }
  }
  for (int level = std::max(1, job.plan.level); level <= job.plan.output_level; ++level) {
    job.levels.insert(level);
  }
  return job;
}

bool Meet(const Job& a, const Job& b) {
  const auto share = [](const auto& left, const auto& right) {
    return std::any_of(left.begin(), left.end(), [&](const auto& x) { return right.contains(x); });
  };
  return share(a.files, b.files) ||
         (share(a.levels, b.levels) && !(a.largest < b.smallest || b.largest < a.smallest));
}

TEST(RangesInUseTest, AgreesWithComparingEveryPairOfJobs) {
  ForEachSeed(1, 300, [](uint64_t seed) {
    io::Random random(seed);
    RangesInUse in_use;
    std::vector<Job> running;
    for (int step = 0; step < 100; ++step) {
      if (!running.empty() && random.OneIn(4)) {
        const size_t index = random.Uniform(running.size());
        in_use.Unregister(running[index].plan);
        running.erase(running.begin() + static_cast<ptrdiff_t>(index));
        continue;
      }
      Job job = RandomJob(random);
      const bool meets =
          std::any_of(running.begin(), running.end(), [&](const Job& r) { return Meet(job, r); });
      ASSERT_EQ(in_use.Conflicts(job.plan), meets);
      if (meets) continue;
      in_use.Register(job.plan);
      running.push_back(std::move(job));
      for (FileNumber number = 1; number <= 60; ++number) {
        const bool used = std::any_of(running.begin(), running.end(),
                                      [&](const Job& r) { return r.files.contains(number); });
        ASSERT_EQ(in_use.InUse(number), used);
      }
    }
    for (const Job& job : running) in_use.Unregister(job.plan);
    EXPECT_TRUE(in_use.empty());
    EXPECT_FALSE(in_use.Conflicts(RandomJob(random).plan));
  });
}

TEST(RangesInUseTest, GivingBackWhatWasNotTakenIsABugOfOurs) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  RangesInUse in_use;
  EXPECT_DEATH(in_use.Unregister(Plan(1, 2, {{1, "a", "c"}})), "check failed");
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
