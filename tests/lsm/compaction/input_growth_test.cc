#include "lsm/compaction/input_growth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "io/base/random.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

using Kind = CompactionPlan::Kind;
using FileNumbers = std::vector<FileNumber>;

class InputGrowthTest : public ::testing::Test {
 protected:
  InputGrowthTest() {
    options_.dynamic_levels = false;
    options_.table_bytes = 1000;
    options_.memtable_bytes = 1000;
    options_.merge_tables_max = 25;
  }

  void SetTables(const std::vector<PlacedTable>& tables) { shape_.version = MakeVersion(tables); }
  PickContext Context() const {
    PickContext context{shape_, options_, in_use_};
    context.compact_pointers = &pointers_;
    context.quarantined = &quarantined_;
    return context;
  }
  FileRef Table(FileNumber number) const {
    for (int level = 0; level < kLevelCount; ++level) {
      for (const FileRef& file : shape_.version->files(level)) {
        if (file->number == number) return file;
      }
    }
    ADD_FAILURE() << "no table " << number;
    return nullptr;
  }
  // A job that rewrites a table where it is.
  void Use(int level, FileNumber number) {
    CompactionPlan running;
    running.level = running.output_level = level;
    running.inputs[0] = {Table(number)};
    in_use_.Register(running);
  }
  // The numbers of both sides of what a picker says.
  static void Expect(const std::optional<CompactionPlan>& plan, const FileNumbers& source,
                     const FileNumbers& target) {
    ASSERT_TRUE(plan);
    EXPECT_EQ(Numbers(plan->inputs[0]), source);
    EXPECT_EQ(Numbers(plan->inputs[1]), target);
  }

  Options options_;
  Shape shape_{Version::Empty(), std::make_shared<DropRangeSet>(), 0};
  RangesInUse in_use_;
  std::set<FileNumber> quarantined_;
  CompactPointers pointers_;
};

// ---- C5 ----------------------------------------------------------------------------------------

using RatioTest = InputGrowthTest;

TEST_F(RatioTest, TheTableWithTheMostBytesPerByteBelowIsFirst) {
  SetTables({{1, {1, "a", "c", 4000}},
             {1, {2, "d", "f", 4000}},
             {1, {3, "g", "i", 4000}},
             {2, {4, "a", "b", 4000}},
             {2, {5, "d", "d", 1000}},
             {2, {6, "h", "z", 9000}}});
  Expect(PickByRatio(Context(), 1), {2}, {5});
}

TEST_F(RatioTest, ATableThatMeetsNothingBeatsAllOthersAndIsMoved) {
  SetTables({{2, {1, "a", "c", 9000}},
             {2, {2, "d", "f", 1000}},
             {3, {4, "a", "b", 10}},
             {3, {5, "m", "n", 1000}}});
  const auto plan = PickByRatio(Context(), 2);
  Expect(plan, {2}, {});
  EXPECT_EQ(plan->kind, Kind::kMove);
}

TEST_F(RatioTest, NeighboursOnBothSidesComeAlongWhileTheWholeGetsCheaper) {
  // One wide table below: each further table above it makes it cheaper.
  SetTables({{1, {1, "b", "c", 100}},
             {1, {2, "d", "e", 900}},
             {1, {3, "f", "g", 100}},
             {1, {4, "p", "q", 10}},
             {2, {5, "a", "h", 1000}},
             {2, {6, "p", "q", 9000}}});
  Expect(PickByRatio(Context(), 1), {1, 2, 3}, {5});
}

TEST_F(RatioTest, GrowthEndsAtTheLimit) {
  options_.merge_tables_max = 3;  // 3000 bytes
  SetTables({{1, {1, "b", "c", 100}},
             {1, {2, "d", "e", 900}},
             {1, {3, "f", "g", 1000}},
             {1, {4, "h", "h", 99}},
             {2, {5, "a", "h", 1000}}});
  Expect(PickByRatio(Context(), 1), {2, 3, 4}, {5});  // 1 would make it 3000, 4 makes it 2999
  options_.merge_tables_max = 4;
  Expect(PickByRatio(Context(), 1), {1, 2, 3, 4}, {5});
}

// The first table's ratio is the measure, not that of the window so far.
TEST_F(RatioTest, GrowthGoesOnWhileItIsBetterThanTheFirstTableAlone) {
  SetTables({{1, {1, "a", "b", 1000}},
             {1, {2, "c", "d", 200}},
             {2, {3, "a", "b", 500}},
             {2, {4, "c", "d", 90}}});
  // Alone: 2.0 and 2.22. Together 1200 / 590 = 2.03: worse than the first table.
  Expect(PickByRatio(Context(), 1), {2}, {4});
  SetTables({{1, {1, "a", "b", 2000}},
             {1, {2, "c", "d", 200}},
             {1, {3, "e", "f", 100}},
             {2, {4, "b", "e", 1000}},
             {2, {5, "f", "f", 100}}});
  // Seed 1: 2.0; with 2: 2.2; with 3: 2300 / 1100 = 2.09, less than 2.2 but more than 2.0.
  Expect(PickByRatio(Context(), 1), {1, 2, 3}, {4, 5});
}

// A gap would have a table rewritten that none of the source meets: a free move would become a
// merge.
TEST_F(RatioTest, NothingThatNoSourceTableMeetsIsTakenIn) {
  SetTables({{2, {1, "a", "b", 1000}}, {2, {2, "e", "f", 1000}}, {3, {3, "c", "d", 1000}}});
  auto plan = PickByRatio(Context(), 2);
  Expect(plan, {1}, {});
  EXPECT_EQ(plan->kind, Kind::kMove);

  SetTables({{2, {1, "e", "f", 1000}},
             {2, {2, "h", "i", 900}},
             {3, {3, "e", "f", 1000}},
             {3, {4, "g", "g", 10}},
             {3, {5, "h", "h", 1000}}});
  Expect(PickByRatio(Context(), 2), {1}, {3});
  // A neighbour that meets nothing itself may lie behind such a gap, too.
  SetTables({{2, {1, "a", "b", 1000}},
             {2, {2, "e", "f", 2000}},
             {2, {3, "h", "h", 900}},
             {3, {4, "a", "b", 5000}},
             {3, {5, "f", "g", 100}},
             {3, {6, "gg", "gh", 10}}});
  in_use_ = RangesInUse();
  quarantined_ = {3};
  Expect(PickByRatio(Context(), 2), {2}, {5});
}

TEST_F(RatioTest, TakenTablesAreNeitherSourceNorTarget) {
  SetTables({{1, {1, "a", "b", 1000}},
             {1, {2, "c", "d", 900}},
             {1, {3, "e", "f", 800}},
             {2, {4, "a", "b", 1000}},
             {2, {5, "c", "d", 1000}},
             {2, {6, "e", "f", 1000}}});
  Expect(PickByRatio(Context(), 1), {1}, {4});
  Use(2, 4);
  Expect(PickByRatio(Context(), 1), {2}, {5});
  quarantined_ = {2};
  Expect(PickByRatio(Context(), 1), {3}, {6});
  Use(1, 3);
  EXPECT_FALSE(PickByRatio(Context(), 1));
}

// The same, said as plainly as can be.
struct Node {
  FileNumber number = 0;
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t bytes = 0;
  bool taken = false;
};

struct Choice {
  FileNumbers source;
  FileNumbers target;
  bool operator==(const Choice&) const = default;
};

class BruteForce {
 public:
  BruteForce(std::vector<Node> source, std::vector<Node> target, uint64_t limit)
      : source_(std::move(source)), target_(std::move(target)), limit_(limit) {}

  // In the order in which they are to be tried.
  std::vector<Choice> ByRatio() const {
    std::vector<std::pair<double, size_t>> seeds;
    for (size_t i = 0; i < source_.size(); ++i) {
      if (source_[i].taken || AnyTaken(Met(i, i))) continue;
      seeds.emplace_back(-Ratio(i, i), i);
    }
    std::sort(seeds.begin(), seeds.end());
    std::vector<Choice> choices;
    for (const auto& [negative, seed] : seeds) {
      size_t first = seed;
      size_t last = seed;
      while (first > 0 && MayTake(first - 1, last, first - 1, {first, last}, -negative)) --first;
      while (last + 1 < source_.size() &&
             MayTake(first, last + 1, last + 1, {first, last}, -negative)) {
        ++last;
      }
      choices.push_back(Make(first, last));
    }
    return choices;
  }

  std::vector<Choice> RoundRobin(std::optional<uint64_t> pointer,
                                 const std::function<bool(const Choice&)>& may_run) const {
    std::vector<size_t> order;
    for (size_t i = 0; i < source_.size(); ++i) {
      if (!pointer || source_[i].end > *pointer) order.push_back(i);
    }
    for (size_t i = 0; i < source_.size(); ++i) {
      if (std::find(order.begin(), order.end(), i) == order.end()) order.push_back(i);
    }
    std::vector<Choice> choices;
    for (const size_t seed : order) {
      size_t last = seed;
      if (may_run(Make(seed, seed)) && !Met(seed, seed).empty()) {
        while (last + 1 < source_.size() && Met(seed, last + 1).size() == Met(seed, seed).size() &&
               Bytes(seed, last + 1) < limit_ && may_run(Make(seed, last + 1))) {
          ++last;
        }
      }
      choices.push_back(Make(seed, last));
    }
    return choices;
  }

 private:
  // What of the target the hull of source tables first to last meets.
  std::vector<Node> Met(size_t first, size_t last) const {
    std::vector<Node> met;
    for (const Node& node : target_) {
      if (node.begin <= source_[last].end && source_[first].begin <= node.end) met.push_back(node);
    }
    return met;
  }
  static bool AnyTaken(const std::vector<Node>& nodes) {
    return std::any_of(nodes.begin(), nodes.end(), [](const Node& node) { return node.taken; });
  }
  uint64_t SourceBytes(size_t first, size_t last) const {
    uint64_t bytes = 0;
    for (size_t i = first; i <= last; ++i) bytes += source_[i].bytes;
    return bytes;
  }
  uint64_t TargetBytes(size_t first, size_t last) const {
    uint64_t bytes = 0;
    for (const Node& node : Met(first, last)) bytes += node.bytes;
    return bytes;
  }
  uint64_t Bytes(size_t first, size_t last) const {
    return SourceBytes(first, last) + TargetBytes(first, last);
  }
  double Ratio(size_t first, size_t last) const {
    const uint64_t below = TargetBytes(first, last);
    return static_cast<double>(SourceBytes(first, last)) /
           static_cast<double>(below == 0 ? 1 : below);
  }
  bool MayTake(size_t first, size_t last, size_t added, std::pair<size_t, size_t> before,
               double seed_ratio) const {
    std::vector<FileNumber> own;
    for (const Node& node : Met(before.first, before.second)) own.push_back(node.number);
    for (const Node& node : Met(added, added)) own.push_back(node.number);
    for (const Node& node : Met(first, last)) {
      if (std::find(own.begin(), own.end(), node.number) == own.end()) return false;  // a gap
    }
    return !source_[added].taken && !AnyTaken(Met(first, last)) &&
           Ratio(first, last) > seed_ratio && Bytes(first, last) < limit_;
  }
  Choice Make(size_t first, size_t last) const {
    Choice choice;
    for (size_t i = first; i <= last; ++i) choice.source.push_back(source_[i].number);
    for (const Node& node : Met(first, last)) choice.target.push_back(node.number);
    return choice;
  }

  const std::vector<Node> source_;
  const std::vector<Node> target_;
  const uint64_t limit_;
};

// Two levels of a random tree, some of whose tables are in use.
class RandomLevelsTest : public InputGrowthTest {
 protected:
  std::vector<Node> RandomLevel(io::Random& random, FileNumber first_number, uint64_t density) {
    std::vector<Node> nodes;
    uint64_t at = random.Uniform(10);
    while (at < 150 && nodes.size() < 14) {
      const uint64_t end = at + random.Uniform(12);
      const uint64_t bytes =
          random.OneIn(8) ? 1 + random.Uniform(5) : 100 * (1 + random.Uniform(9));
      nodes.push_back({first_number + nodes.size(), at, end, bytes, random.OneIn(8)});
      at = end + 1 + random.Uniform(density);
    }
    return nodes;
  }
  void Build(uint64_t seed) {
    io::Random random(seed);
    source_ = RandomLevel(random, 1, 1 + random.Uniform(12));
    target_ = RandomLevel(random, 101, 1 + random.Uniform(25));
    options_.merge_tables_max = 1 + static_cast<int>(random.Uniform(12));
    std::vector<PlacedTable> tables;
    for (const Node& node : source_) {
      tables.push_back({2, {node.number, KeyOf(node.begin), KeyOf(node.end), node.bytes}});
    }
    for (const Node& node : target_) {
      tables.push_back({3, {node.number, KeyOf(node.begin), KeyOf(node.end), node.bytes}});
    }
    SetTables(tables);
    in_use_ = RangesInUse();
    quarantined_.clear();
    used_.clear();
    for (const auto& [level, nodes] : {std::pair{2, &source_}, std::pair{3, &target_}}) {
      for (const Node& node : *nodes) {
        if (!node.taken) continue;
        if (random.OneIn(2)) {
          quarantined_.insert(node.number);
        } else {
          Use(level, node.number);
          used_.push_back(node);
        }
      }
    }
    pointer_.reset();
    if (!random.OneIn(4)) pointer_ = random.Uniform(160);
    pointers_[2] = pointer_ ? KeyOf(*pointer_) : "";
  }
  // Whether a job with these inputs meets neither a taken table nor a range in use: each used table
  // is on one of both levels, and the job holds its hull on both.
  bool MayRun(const Choice& choice) const {
    uint64_t begin = UINT64_MAX;
    uint64_t end = 0;
    for (const auto* const nodes : {&source_, &target_}) {
      const FileNumbers& chosen = nodes == &source_ ? choice.source : choice.target;
      for (const Node& node : *nodes) {
        if (std::find(chosen.begin(), chosen.end(), node.number) == chosen.end()) continue;
        if (node.taken) return false;
        begin = std::min(begin, node.begin);
        end = std::max(end, node.end);
      }
    }
    return std::none_of(used_.begin(), used_.end(),
                        [&](const Node& node) { return node.begin <= end && begin <= node.end; });
  }
  void ExpectFirstThatMayRun(const std::optional<CompactionPlan>& plan,
                             const std::vector<Choice>& choices) const {
    for (const Choice& choice : choices) {
      if (!MayRun(choice)) continue;
      Expect(plan, choice.source, choice.target);
      return;
    }
    EXPECT_FALSE(plan);
  }
  uint64_t Limit() const {
    return static_cast<uint64_t>(options_.merge_tables_max) * options_.table_bytes;
  }

  std::vector<Node> source_;
  std::vector<Node> target_;
  std::vector<Node> used_;
  std::optional<uint64_t> pointer_;
};

TEST_F(RandomLevelsTest, RatioPickerAgreesWithBruteForce) {
  ForEachSeed(1, 20'000, [this](uint64_t seed) {
    Build(seed);
    ExpectFirstThatMayRun(PickByRatio(Context(), 2),
                          BruteForce(source_, target_, Limit()).ByRatio());
  });
}

TEST_F(RandomLevelsTest, RoundRobinAgreesWithBruteForce) {
  ForEachSeed(1, 20'000, [this](uint64_t seed) {
    Build(seed);
    const auto may_run = [this](const Choice& choice) { return MayRun(choice); };
    ExpectFirstThatMayRun(PickRoundRobin(Context(), 2),
                          BruteForce(source_, target_, Limit()).RoundRobin(pointer_, may_run));
  });
}

// ---- C1, C4 ------------------------------------------------------------------------------------

using RoundRobinTest = InputGrowthTest;

TEST_F(RoundRobinTest, GoesOnBehindThePointerAndWrapsAround) {
  SetTables({{1, {1, "a", "c"}}, {1, {2, "d", "f"}}, {1, {3, "g", "i"}}});
  Expect(PickRoundRobin(Context(), 1), {1}, {});
  pointers_[1] = "c";
  Expect(PickRoundRobin(Context(), 1), {2}, {});
  pointers_[1] = "e";  // inside a table: it was cut anew meanwhile
  Expect(PickRoundRobin(Context(), 1), {2}, {});
  pointers_[1] = "f";
  Expect(PickRoundRobin(Context(), 1), {3}, {});
  pointers_[1] = "i";
  Expect(PickRoundRobin(Context(), 1), {1}, {});
  pointers_[2] = "zzz";  // another level's
  Expect(PickRoundRobin(Context(), 1), {1}, {});
}

TEST_F(RoundRobinTest, WhatIsTakenIsPassedOver) {
  SetTables({{1, {1, "a", "c"}}, {1, {2, "d", "f"}}, {1, {3, "g", "i"}}});
  pointers_[1] = "c";
  Use(1, 2);
  Expect(PickRoundRobin(Context(), 1), {3}, {});
  Use(1, 3);
  Expect(PickRoundRobin(Context(), 1), {1}, {});
}

TEST_F(RoundRobinTest, TakesMoreOfTheSourceThatCostsNoMoreOfTheTarget) {
  SetTables({{1, {1, "b", "c"}},
             {1, {2, "d", "f"}},
             {1, {3, "g", "h"}},
             {1, {4, "k", "n"}},
             {2, {5, "a", "h"}},
             {2, {6, "m", "z"}}});
  Expect(PickRoundRobin(Context(), 1), {1, 2, 3}, {5});
  options_.merge_tables_max = 4;  // 4000 bytes would be all of it
  Expect(PickRoundRobin(Context(), 1), {1, 2}, {5});
}

// ---- Level 0 -----------------------------------------------------------------------------------

using Level0Test = InputGrowthTest;

// C2.
TEST_F(Level0Test, ATablePullsInWhatItMeetsTransitively) {
  SetTables({{0, {9, "m", "p"}},
             {0, {8, "c", "f"}},
             {0, {7, "e", "n"}},
             {0, {6, "x", "z"}},
             {0, {5, "a", "c"}}});
  for (const FileNumber seed : {5U, 7U, 8U, 9U}) {
    EXPECT_EQ(Numbers(GrowLevel0(*shape_.version, Table(seed))), (FileNumbers{9, 8, 7, 5}));
  }
  EXPECT_EQ(Numbers(GrowLevel0(*shape_.version, Table(6))), (FileNumbers{6}));
}

// C7.
TEST_F(Level0Test, TheDeepestPileGoesFirst) {
  SetTables({{0, {9, "x", "z"}},
             {0, {8, "c", "f"}},
             {0, {7, "e", "n"}},
             {0, {6, "x", "z"}},
             {0, {5, "a", "c"}},
             {1, {1, "a", "b"}},
             {1, {2, "n", "q"}},
             {1, {3, "y", "y"}}});
  auto plan = PickLevel0(Context());
  Expect(plan, {8, 7, 5}, {1, 2});
  EXPECT_EQ(plan->output_level, 1);
  in_use_.Register(*plan);
  Expect(PickLevel0(Context()), {9, 6}, {3});
}

TEST_F(Level0Test, AMoveIsPreferredToAnyPile) {
  SetTables({{0, {9, "a", "c"}},
             {0, {8, "b", "f"}},
             {0, {7, "k", "m"}},
             {0, {6, "o", "p"}},
             {1, {1, "a", "b"}}});
  const auto plan = PickLevel0(Context());
  Expect(plan, {6}, {});
  EXPECT_EQ(plan->kind, Kind::kMove);
}

TEST_F(Level0Test, APileOfTwoIsNeverMoved) {
  SetTables({{0, {9, "a", "c"}}, {0, {8, "b", "f"}}});
  const auto plan = PickLevel0(Context());
  Expect(plan, {9, 8}, {});
  EXPECT_EQ(plan->kind, Kind::kMerge);
}

TEST_F(Level0Test, NothingPassesAnOlderTableThatIsOnItsWay) {
  SetTables({{0, {9, "a", "m"}}, {0, {8, "k", "k"}}, {0, {7, "b", "c"}}});
  CompactionPlan running;
  running.level = 0;
  running.output_level = 1;
  running.inputs[0] = {Table(7)};
  in_use_.Register(running);
  EXPECT_FALSE(PickLevel0(Context()));
}

// B7: level 0 goes straight into the level that is in use.
TEST_F(Level0Test, GoesIntoTheBaseLevel) {
  options_.dynamic_levels = true;
  SetTables({{0, {9, "a", "c"}}, {5, {1, "a", "b"}}, {6, {2, "a", "b", 10'000}}});
  auto plan = PickLevel0(Context());
  Expect(plan, {9}, {1});
  EXPECT_EQ(plan->output_level, 5);
  EXPECT_EQ(Numbers(plan->grandparents), (FileNumbers{2}));
  SetTables({{0, {9, "a", "c"}}});
  plan = PickLevel0(Context());
  Expect(plan, {9}, {});
  EXPECT_EQ(plan->output_level, 6);
}

// ---- C8 ----------------------------------------------------------------------------------------

using IntraLevel0Test = InputGrowthTest;

TEST_F(IntraLevel0Test, FourAdjacentFreeTablesAreMerged) {
  std::vector<PlacedTable> tables;
  for (FileNumber number = 1; number <= 9; ++number) {
    tables.push_back({0, {number, "a", "z", 100}});
  }
  SetTables(tables);
  Use(0, 4);  // splits history into 9 8 7 6 5 and 3 2 1
  auto plan = PickIntraLevel0(Context());
  Expect(plan, {9, 8, 7, 6, 5}, {});
  EXPECT_EQ(plan->level, 0);
  EXPECT_EQ(plan->output_level, 0);
  EXPECT_EQ(plan->kind, Kind::kMerge);
  Use(0, 6);
  EXPECT_FALSE(PickIntraLevel0(Context())) << "no four in a row";
}

// What such a merge has made is not merged again and again.
TEST_F(IntraLevel0Test, LargeTablesEndARun) {
  std::vector<PlacedTable> tables;
  for (FileNumber number = 1; number <= 9; ++number) {
    tables.push_back({0, {number, "a", "z", number == 5 ? 2000U : 1999U}});
  }
  tables[0].spec.file_bytes = 100;
  SetTables(tables);
  Expect(PickIntraLevel0(Context()), {9, 8, 7, 6}, {});
}

TEST_F(IntraLevel0Test, TablesWhoseMemtablesWereLargerCountByTheSmallest) {
  std::vector<PlacedTable> tables;
  for (FileNumber number = 1; number <= 5; ++number) {
    tables.push_back({0, {number, "a", "z", number == 3 ? 20'000U : 10'000U}});
  }
  SetTables(tables);
  EXPECT_FALSE(PickIntraLevel0(Context()));
  tables[2].spec.file_bytes = 19'999;
  SetTables(tables);
  Expect(PickIntraLevel0(Context()), {5, 4, 3, 2, 1}, {});
}

// ---- H9, H10, Q24 ------------------------------------------------------------------------------

using CompletePlanTest = InputGrowthTest;

TEST_F(CompletePlanTest, TablesThatMeetNothingAreMovedWhateverTheirNumber) {
  SetTables({{2, {1, "a", "b"}}, {2, {2, "c", "d"}}, {3, {3, "x", "y"}}, {4, {4, "a", "b"}}});
  const CompactionPlan plan = CompletePlan(Context(), 2, {Table(1), Table(2)}, "");
  EXPECT_EQ(plan.kind, Kind::kMove);
  EXPECT_EQ(Numbers(plan.grandparents), (FileNumbers{4}));
}

TEST_F(CompletePlanTest, AMoveMustNotMakeTheNextMergeTooDear) {
  SetTables({{2, {1, "a", "b"}}, {4, {4, "a", "b", 10'000}}});
  EXPECT_EQ(CompletePlan(Context(), 2, {Table(1)}, "").kind, Kind::kMove);
  SetTables({{2, {1, "a", "b"}}, {4, {4, "a", "b", 10'001}}});
  EXPECT_EQ(CompletePlan(Context(), 2, {Table(1)}, "").kind, Kind::kMerge);
}

// H3: what is moved to a level that is compressed would stay uncompressed.
TEST_F(CompletePlanTest, TablesAreMovedOnlyToALevelThatIsCompressedAlike) {
  SetTables({{0, {1, "a", "b"}}, {1, {2, "c", "d"}}, {2, {3, "x", "y"}}});
  EXPECT_EQ(CompletePlan(Context(), 0, {Table(1)}, "").kind, Kind::kMove);
  EXPECT_EQ(CompletePlan(Context(), 1, {Table(2)}, "").kind, Kind::kMerge);
  EXPECT_EQ(CompletePlan(Context(), 2, {Table(3)}, "").kind, Kind::kMove);
}

TEST_F(CompletePlanTest, GarbageIsNotMoved) {
  TableSpec spec{1, "a", "b"};
  spec.tombstone_count = 1;
  SetTables({{1, spec}});
  EXPECT_EQ(CompletePlan(Context(), 1, {Table(1)}, "").kind, Kind::kMerge);
  spec.tombstone_count = 0;
  spec.hidden_count = 1;
  SetTables({{1, spec}});
  EXPECT_EQ(CompletePlan(Context(), 1, {Table(1)}, "").kind, Kind::kMerge);
  spec.hidden_count = 0;
  spec.drop_pending_since_seconds = 1;
  SetTables({{1, spec}});
  EXPECT_EQ(CompletePlan(Context(), 1, {Table(1)}, "").kind, Kind::kMerge);
}

TEST_F(CompletePlanTest, InPlaceHasNoTargetAndKnowsItsGrandparents) {
  SetTables({{2, {1, "a", "b"}}, {3, {4, "a", "b"}}});
  const CompactionPlan plan = InPlacePlan(Context(), 2, {Table(1)}, "");
  EXPECT_EQ(plan.output_level, 2);
  EXPECT_TRUE(plan.inputs[1].empty());
  EXPECT_EQ(Numbers(plan.grandparents), (FileNumbers{4}));
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
