#include "lsm/compaction/picker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "io/base/random.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

using Kind = CompactionPlan::Kind;

class PickerTest : public ::testing::Test, protected PickBench {
 protected:
  PickerTest() {
    options_.l0_compaction_trigger = 2;
    options_.level1_bytes = 10'000;
    options_.level_multiplier = 10;
    options_.table_bytes = 1000;
    options_.memtable_bytes = 5000;
    options_.dynamic_levels = false;
    options_.garbage_ratio = 0.3;
  }

  void SetDrops(const std::vector<std::pair<std::string, std::string>>& drops) {
    auto set = std::make_shared<DropRangeSet>();
    for (const auto& [begin, end] : drops) set->Add(begin, end);
    shape_.drops = set;
  }
  PickContext Context() const {
    PickContext context{shape_, options_, in_use_};
    context.now_seconds = now_seconds_;
    context.delete_deadline_s = 100;
    context.smallest_snapshot = smallest_snapshot_;
    context.quarantined = &quarantined_;
    context.compact_pointers = &pointers_;
    context.level0_only = level0_only_;
    context.values = values_ ? &*values_ : nullptr;
    return context;
  }
  std::optional<CompactionPlan> Pick() const { return PickCompaction(Context()); }
  // What is picked, as reason, levels and tables.
  std::string Picked() const { return Text(Pick()); }
  static std::string Text(const std::optional<CompactionPlan>& plan) { return PlanText(plan); }

  CompactPointers pointers_;
  bool level0_only_ = false;
  int64_t now_seconds_ = 1000;
  SequenceNumber smallest_snapshot_ = kSequenceMax;
  std::optional<ValueScope> values_;
};

// A table of ten entries and 1000 bytes with so many tombstones, the oldest of that second.
TableSpec WithTombstones(FileNumber number, const std::string& smallest, const std::string& largest,
                         uint64_t count, int64_t seconds) {
  TableSpec spec{number, smallest, largest};
  spec.tombstone_count = count;
  spec.oldest_tombstone_seconds = seconds;
  return spec;
}
TableSpec WithHidden(FileNumber number, const std::string& smallest, const std::string& largest,
                     uint64_t count) {
  TableSpec spec{number, smallest, largest};
  spec.hidden_count = count;
  return spec;
}
// Partly in a dead range since that second.
TableSpec PartlyDead(FileNumber number, const std::string& smallest, const std::string& largest,
                     int64_t since_seconds, uint64_t dead_bytes = 0) {
  TableSpec spec{number, smallest, largest};
  spec.drop_pending_since_seconds = since_seconds;
  spec.dead_bytes = dead_bytes;
  return spec;
}

TEST_F(PickerTest, NothingIsDueWhileEveryLevelIsBelowItsTarget) {
  EXPECT_EQ(Picked(), "nothing");
  SetTables({{0, {9, "a", "z"}}, {1, {1, "a", "z", 9000}}, {2, {2, "a", "z", 99'000}}});
  EXPECT_EQ(Picked(), "nothing");
  EXPECT_EQ(PendingBytes(Context()), 0U);
}

// ---- Scores ------------------------------------------------------------------------------------

TEST_F(PickerTest, ScoresAreDepthAtLevel0AndBytesBelow) {
  SetTables({{0, {9, "a", "b"}},
             {0, {8, "b", "d"}},
             {0, {7, "d", "f"}},
             {0, {6, "x", "z"}},
             {1, {1, "a", "c", 25'000}},
             {2, {2, "a", "z", 50'000}}});
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 0), 1.5);
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 1), 2.5);
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 2), 0.5);
  EXPECT_EQ(PendingBytes(Context()), 4000U + 15'000U);
}

TEST_F(PickerTest, ManyTablesOfLevel0SideBySideCountByTheirBytes) {
  SetTables({{0, {9, "a", "b", 6000}}, {0, {8, "c", "d", 6000}}, {0, {7, "e", "f", 6000}}});
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 0), 1.8);
  options_.memtable_bytes = 9000;  // two memtables are the least that is much
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 0), 1.0);
}

// D3: a level that is being emptied is not picked again.
TEST_F(PickerTest, TablesInUseCountAsGone) {
  SetTables({{0, {9, "a", "b"}},
             {0, {8, "b", "d"}},
             {0, {7, "d", "f"}},
             {1, {1, "a", "c", 11'000}},
             {1, {2, "x", "z", 8000}}});
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 1), 1.9);
  TakeTable(1, 0);
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 1), 0.8);
  TakeTable(0, 1);
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 0), 0.5) << "8 held the other two together";
}

// ---- The order of the triggers -----------------------------------------------------------------

// Everything is due at once; what is picked is taken out of the way, and the next shows.
TEST_F(PickerTest, TriggersComeInTheirOrder) {
  options_.l0_slowdown_trigger = 3;
  TableSpec worn{60, "u", "v", 1000};
  worn.wasted_reads = 1'000'000;
  SetTables({{0, {90, "a", "b"}},
             {0, {91, "a", "b"}},
             {0, {92, "a", "b"}},
             {1, {10, "c", "d", 500'000}},
             {2, {20, "c", "d", 1'000'000}},
             {3, PartlyDead(30, "e", "f", 990)},
             {3, WithTombstones(31, "g", "h", 1, 1)},
             {4, PartlyDead(40, "q", "r", 990, 400)},
             {4, worn},
             {5, {50, "u", "u"}}});
  SetDrops({{"e", "g"}, {"q", "qq"}});
  const auto next = [this] {
    const auto plan = Pick();
    if (plan) in_use_.Register(*plan);
    return Text(plan);
  };
  EXPECT_EQ(next(), "dead range 3>3 [30]");
  EXPECT_EQ(next(), "level 0 0>1 [92 91 90]") << "it slows writers down";
  EXPECT_EQ(next(), "deadline 3>3 [31]");
  EXPECT_EQ(next(), "move size 2>3 [20]") << "level 1 waits for an overfull level 2 (B6)";
  EXPECT_EQ(next(), "garbage 4>4 [40]");
  EXPECT_EQ(next(), "reads 4>5 [60]+[50]");
  EXPECT_EQ(next(), "nothing");
}

// Level 0 and the deadline come before value files, and those before the levels below.
TEST_F(PickerTest, VacuumHasItsPlaceInTheOrder) {
  options_.l0_slowdown_trigger = 4;
  options_.value_file_bytes = 1000;
  values_.emplace();
  TableSpec referring{20, "c", "d", 10};
  referring.value_uses = {{7, 1000, 0}};
  TableSpec scattered{70, "s", "t", 10};
  scattered.value_uses = {{8, 9000, 0}};
  scattered.value_pages = 2000;
  scattered.value_runs = 1000;
  SetFiles({{7, 20'000}, {8, 9000}});
  TableSpec worn{60, "u", "v", 1000};
  worn.wasted_reads = 1'000'000;
  SetTables({{0, {90, "a", "b"}},
             {0, {91, "a", "b"}},
             {1, {10, "c", "d", 500'000}},
             {2, referring},
             {3, WithTombstones(31, "g", "h", 1, 1)},
             {4, PartlyDead(40, "q", "r", 990, 400)},
             {4, worn},
             {5, scattered},
             {5, {75, "u", "u"}}});
  SetDrops({{"q", "qq"}});
  values_->full_file_bytes = 1 << 20;
  values_->quiet = true;
  const auto next = [this] {
    const auto plan = Pick();
    if (plan) in_use_.Register(*plan);
    return Text(plan);
  };
  EXPECT_EQ(next(), "deadline 3>3 [31]");
  EXPECT_EQ(next(), "level 0 0>1 [91 90]");
  EXPECT_EQ(next(), "vacuum 2>2 [20]");
  EXPECT_EQ(next(), "garbage 4>4 [40]") << "level 1 is blocked by 20";
  EXPECT_EQ(next(), "reads 4>5 [60]+[75]");
  EXPECT_EQ(next(), "value order 5>5 [70]");
  EXPECT_EQ(next(), "nothing");
}

TEST_F(PickerTest, WhatIsDueComesBeforeLevel0WhileThatSlowsNobody) {
  options_.l0_slowdown_trigger = 4;
  SetTables({{0, {90, "a", "b"}},
             {0, {91, "a", "b"}},
             {0, {92, "a", "b"}},
             {3, WithTombstones(31, "g", "h", 1, 1)}});
  EXPECT_EQ(Picked(), "deadline 3>3 [31]");
  options_.l0_slowdown_trigger = 3;
  EXPECT_EQ(Picked(), "level 0 0>1 [92 91 90]");
}

TEST_F(PickerTest, Level0ComesBeforeTheLevelsBelow) {
  SetTables({{0, {90, "a", "b"}}, {0, {91, "a", "b"}}, {1, {10, "c", "d", 500'000}}});
  EXPECT_EQ(Picked(), "level 0 0>1 [91 90]");
}

// B5: with the other workers on long jobs, the last one is for level 0, and for what costs nothing.
TEST_F(PickerTest, TheLastWorkerDoesOnlyWhatRelievesLevel0) {
  level0_only_ = true;
  SetTables({{1, {10, "c", "d", 500'000}}, {3, WithTombstones(31, "g", "h", 1, 1)}});
  EXPECT_EQ(Picked(), "nothing");
  SetTables({{0, {90, "a", "b"}}, {0, {91, "a", "b"}}, {1, {10, "c", "d", 500'000}}});
  EXPECT_EQ(Picked(), "level 0 0>1 [91 90]");
  SetTables({{0, {90, "a", "b"}}, {3, PartlyDead(30, "e", "f", 990)}});
  SetDrops({{"e", "g"}});
  EXPECT_EQ(Picked(), "dead range 3>3 [30]");
}

// B6.
TEST_F(PickerTest, AnOverfullNextLevelComesFirst) {
  SetTables({{1, {1, "a", "c", 20'000}}, {2, {2, "a", "b", 900'000}}});
  EXPECT_EQ(Picked(), "move size 2>3 [2]");
  SetTables({{1, {1, "a", "c", 20'000}}, {2, {2, "a", "b", 90'000}}});
  EXPECT_EQ(Picked(), "size 1>2 [1]+[2]") << "below its target it is in nobody's way";
  // 5.0 / 2.0 against 2.0 / 0.01: level 2 is less overfull but has room below.
  SetTables({{1, {1, "a", "c", 50'000}}, {2, {2, "a", "b", 200'000}}});
  EXPECT_EQ(Picked(), "move size 2>3 [2]");
  // 50.0 / 1.1 against 1.1 / 0.9.
  SetTables(
      {{1, {1, "a", "c", 500'000}}, {2, {2, "a", "b", 110'000}}, {3, {3, "x", "z", 900'000}}});
  EXPECT_EQ(Picked(), "size 1>2 [1]+[2]");
}

// Q11.
TEST_F(PickerTest, TheLastLevelIsNeverASource) {
  options_.level1_bytes = 1;
  options_.level_multiplier = 1;
  SetTables({{kLevelCount - 1, {1, "a", "c", 1'000'000}}});
  EXPECT_EQ(Picked(), "nothing");
  EXPECT_DOUBLE_EQ(LevelScore(Context(), kLevelCount - 1), 0);
}

TEST_F(PickerTest, TheOptionSaysHowATableOfAFullLevelIsChosen) {
  SetTables({{1, {1, "a", "c", 9000}}, {1, {2, "d", "f", 9000}}, {2, {3, "d", "d"}}});
  EXPECT_EQ(Picked(), "size 1>2 [1]");
  options_.picking = Options::Picking::kRoundRobin;
  pointers_[1] = "c";
  EXPECT_EQ(Picked(), "size 1>2 [2]+[3]");
}

// C8: deep enough, and its way down is blocked.
TEST_F(PickerTest, Level0IsMergedInItselfOnceItIsDeepAndBlocked) {
  std::vector<PlacedTable> tables = {{1, {1, "a", "z"}}};
  for (FileNumber number = 90; number < 92; ++number) tables.push_back({0, {number, "a", "b"}});
  const auto pick_blocked = [&] {
    SetTables(tables);
    in_use_ = RangesInUse();
    TakeTable(1, 0);
    return Picked();
  };
  EXPECT_EQ(pick_blocked(), "nothing");
  for (FileNumber number = 92; number < 94; ++number) tables.push_back({0, {number, "a", "b"}});
  EXPECT_EQ(pick_blocked(), "level 0 in itself 0>0 [93 92 91 90]");
  in_use_ = RangesInUse();
  EXPECT_EQ(Picked(), "level 0 0>1 [93 92 91 90]+[1]") << "not blocked";
  options_.l0_compaction_trigger = 3;  // 4 of 3 is less than one and a half
  EXPECT_EQ(pick_blocked(), "nothing");
}

// ---- Dead tables -------------------------------------------------------------------------------

TEST_F(PickerTest, AWhollyDeadTableIsDroppedWithoutBeingRead) {
  SetTables({{3, PartlyDead(1, "b", "c", 990)}, {3, PartlyDead(2, "d", "f", 990)}});
  SetDrops({{"b", "e"}});
  const auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->kind, Kind::kDropOnly);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{1}));
  in_use_.Register(*plan);
  EXPECT_EQ(Picked(), "nothing") << "the other one is only partly dead";
}

TEST_F(PickerTest, TheEndOfADeadRangeIsAlive) {
  SetTables({{3, PartlyDead(1, "b", "e", 990)}});
  SetDrops({{"b", "e"}});
  EXPECT_EQ(Picked(), "nothing");
}

TEST_F(PickerTest, ATableWrittenAfterItsRangeDiedIsNotLookedAtAgain) {
  SetTables({{3, {1, "b", "c"}}});
  SetDrops({{"a", "z"}});
  EXPECT_EQ(Picked(), "nothing");
}

// ---- The deadline ------------------------------------------------------------------------------

// The deadline is 100: half of it is shared out 1 : 2 : 4 over levels 0, 1 and 2, level 3 is the
// last.
TEST_F(PickerTest, TombstonesSinkWhenTheirTimeAtTheLevelIsOver) {
  SetTables({{1, WithTombstones(1, "b", "c", 1, 980)}, {3, {2, "c", "d"}}});
  EXPECT_EQ(NextDueSeconds(Context()), 980 + 50 * 3 / 7);
  now_seconds_ = 1000;
  EXPECT_EQ(Picked(), "nothing");
  now_seconds_ = 1001;
  EXPECT_EQ(Picked(), "deadline 1>2 [1]") << "a merge: garbage is never just moved";
}

TEST_F(PickerTest, TombstonesWithNothingBelowGoInPlace) {
  SetTables({{1, WithTombstones(1, "b", "c", 1, 951)}, {3, {2, "d", "d"}}});
  EXPECT_EQ(Picked(), "deadline 1>1 [1]");
  SetTables({{kLevelCount - 1, WithTombstones(1, "b", "c", 1, 950)}});
  EXPECT_EQ(Picked(), "deadline 6>6 [1]") << "at half of the deadline at the latest";
  now_seconds_ = 999;
  EXPECT_EQ(Picked(), "nothing");
}

TEST_F(PickerTest, TombstonesThatASnapshotNeedsAreLeftAlone) {
  SetTables({{1, {1, "b", "c", 1000, 50, 5, 1}}});
  smallest_snapshot_ = 49;
  EXPECT_EQ(Picked(), "nothing") << "a rewrite could drop nothing and would be due again at once";
  EXPECT_FALSE(NextDueSeconds(Context())) << "the snapshot's end is an event of its own";
  smallest_snapshot_ = 50;
  EXPECT_EQ(Picked(), "deadline 1>1 [1]");
}

TEST_F(PickerTest, DueTombstonesOfLevel0TakeAlongWhatOverlaps) {
  options_.l0_compaction_trigger = 10;
  SetTables({{0, {9, "a", "d"}}, {0, WithTombstones(8, "c", "e", 1, 1)}, {0, {7, "x", "z"}}});
  EXPECT_EQ(Picked(), "deadline 0>1 [9 8]");
}

TEST_F(PickerTest, DueDeadEntriesAreRewrittenInPlace) {
  SetTables({{2, PartlyDead(1, "a", "d", 951)}, {4, {2, "a", "z"}}});
  SetDrops({{"b", "c"}});
  smallest_snapshot_ = 1;  // no snapshot keeps what is dead
  EXPECT_EQ(NextDueSeconds(Context()), 1001);
  EXPECT_EQ(Picked(), "nothing");
  now_seconds_ = 1001;
  EXPECT_EQ(Picked(), "deadline 2>2 [1]");
}

TEST_F(PickerTest, TheNextDueTimeIsTheEarliestOfTheFreeTables) {
  SetTables({{1, WithTombstones(1, "a", "b", 1, 980)},
             {2, WithTombstones(2, "c", "d", 1, 960)},
             {3, PartlyDead(3, "e", "f", 990)}});
  EXPECT_EQ(NextDueSeconds(Context()), 980 + 21);
  TakeTable(1, 0);
  EXPECT_EQ(NextDueSeconds(Context()), 960 + 50);
  TakeTable(2, 0);
  EXPECT_EQ(NextDueSeconds(Context()), 990 + 50);
  TakeTable(3, 0);
  EXPECT_FALSE(NextDueSeconds(Context()));
}

// ---- Garbage -----------------------------------------------------------------------------------

TEST_F(PickerTest, ATableThatIsMostlyDeadIsRewrittenInPlaceBeforeItIsDue) {
  SetTables({{2, PartlyDead(1, "a", "d", 990, 299)}, {4, {2, "a", "z"}}});
  EXPECT_EQ(Picked(), "nothing");
  SetTables({{2, PartlyDead(1, "a", "d", 990, 300)}, {4, {2, "a", "z"}}});
  smallest_snapshot_ = 1;
  EXPECT_EQ(Picked(), "garbage 2>2 [1]");
  SetTables({{2, PartlyDead(1, "a", "d", 0, 300)}, {4, {2, "a", "z"}}});
  EXPECT_EQ(Picked(), "nothing") << "an estimate from before it was found clean";
}

TEST_F(PickerTest, DenseTombstonesSinkAndGoInPlaceAtTheBottom) {
  SetTables({{2, WithTombstones(1, "a", "d", 2, 990)}, {4, {2, "a", "z"}}});
  EXPECT_EQ(Picked(), "nothing");
  SetTables({{2, WithTombstones(1, "a", "d", 3, 990)}, {4, {2, "a", "z"}}});
  EXPECT_EQ(Picked(), "tombstones 2>3 [1]");
  SetTables({{2, WithTombstones(1, "a", "d", 3, 990)}, {4, {2, "e", "z"}}});
  EXPECT_EQ(Picked(), "elision 2>2 [1]");
  TableSpec spec = WithTombstones(1, "a", "d", 1, 990);
  spec.tombstone_block_bytes = 300;
  SetTables({{2, spec}, {4, {2, "a", "z"}}});
  EXPECT_EQ(Picked(), "tombstones 2>3 [1]") << "a few dense blocks";
}

// A snapshot had kept them; now that it is gone nothing new is written to make them go.
TEST_F(PickerTest, HiddenVersionsGoInPlaceOnceNoSnapshotNeedsThem) {
  TableSpec spec = WithHidden(1, "a", "d", 3);
  spec.sequence = 50;
  SetTables({{2, spec}, {4, {2, "a", "z"}}});
  smallest_snapshot_ = 49;
  EXPECT_EQ(Picked(), "nothing");
  smallest_snapshot_ = 50;
  EXPECT_EQ(Picked(), "elision 2>2 [1]");
  spec.hidden_count = 2;
  SetTables({{2, spec}, {4, {2, "a", "z"}}});
  EXPECT_EQ(Picked(), "nothing") << "not worth it";
}

TEST_F(PickerTest, TheMostGarbageGoesFirstAndWhatCannotRunIsPassedOver) {
  SetTables({{2, PartlyDead(1, "a", "d", 990, 400)},
             {2, PartlyDead(2, "m", "n", 990, 900)},
             {3, PartlyDead(3, "r", "s", 990, 700)}});
  EXPECT_EQ(Picked(), "garbage 2>2 [2]");
  TakeTable(2, 1);
  EXPECT_EQ(Picked(), "garbage 3>3 [3]");
  quarantined_ = {3};
  EXPECT_EQ(Picked(), "garbage 2>2 [1]");
}

// C9: what shrinks takes its neighbours in as long as all together make one table.
TEST_F(PickerTest, ARewriteJoinsTheNeighboursOnItsRight) {
  options_.table_bytes = 2500;
  const std::vector<PlacedTable> tables = {{6, {1, "a", "b"}},
                                           {6, PartlyDead(2, "c", "d", 990, 600)},
                                           {6, {3, "e", "f"}},
                                           {6, {4, "g", "h"}},
                                           {6, {5, "i", "j"}}};
  SetTables(tables);
  EXPECT_EQ(Picked(), "garbage 6>6 [2 3 4]") << "400 + 1000 + 1000 of 2500";
  options_.domain_of = [](std::string_view key) {
    return std::string_view(key < "g" ? "low" : "high");
  };
  EXPECT_EQ(Picked(), "garbage 6>6 [2 3]") << "no table has two domains";
  options_.domain_of = nullptr;
  TakeTable(6, 3);
  EXPECT_EQ(Picked(), "garbage 6>6 [2 3]");
  quarantined_ = {3};
  EXPECT_EQ(Picked(), "garbage 6>6 [2]");
}

// ---- Wasted reads ------------------------------------------------------------------------------

// Q21: reads have cost what the merge would.
TEST_F(PickerTest, ReadsInVainSendATableDown) {
  options_.block_bytes = 100;
  TableSpec spec{1, "a", "d", 1000};
  EXPECT_EQ(WastedReadsMax(options_, *MakeTable(spec)), 2 * 11 * 1000 / 100U);
  spec.wasted_reads = 219;
  SetTables({{2, spec}, {3, {3, "a", "b"}}, {4, {2, "a", "z"}}});
  EXPECT_EQ(Picked(), "nothing");
  spec.wasted_reads = 220;
  SetTables({{2, spec}, {3, {3, "a", "b"}}, {4, {2, "a", "z"}}});
  EXPECT_EQ(Picked(), "reads 2>3 [1]+[3]");
  SetTables({{2, spec}, {3, {3, "e", "f"}}});
  EXPECT_EQ(Picked(), "nothing") << "with nothing below, no read is in vain";
  SetTables({{kLevelCount - 1, spec}});
  EXPECT_EQ(Picked(), "nothing");
  EXPECT_EQ(WastedReadsMax(options_, *MakeTable({1, "a", "d", 1})), 100U) << "not at once";
}

// ---- Damage ------------------------------------------------------------------------------------

TEST_F(PickerTest, DamagedTablesAreLeftAloneAndTheRestGoesOn) {
  options_.l0_compaction_trigger = 1;
  SetTables({{0, {9, "a", "c"}},
             {0, {8, "b", "d"}},
             {0, {7, "x", "z"}},
             {1, {1, "a", "b", 20'000}},
             {1, {2, "m", "n", 20'000}},
             {2, {3, "m", "m", 1}},
             {5, WithTombstones(4, "a", "b", 1, 999)},
             {5, WithTombstones(5, "c", "d", 1, 1)},
             {5, WithTombstones(6, "e", "f", 1, 1)}});
  quarantined_ = {8, 1, 5};
  std::vector<std::string> picked;
  while (const auto plan = Pick()) {
    picked.push_back(Text(plan));
    in_use_.Register(*plan);
  }
  EXPECT_EQ(picked, (std::vector<std::string>{"deadline 5>5 [6]", "move level 0 0>1 [7]",
                                              "size 1>2 [2]+[3]"}));
}

TEST_F(PickerTest, ADamagedTargetKeepsItsSourceInPlace) {
  SetTables({{1, {1, "a", "c", 20'000}}, {2, {2, "b", "b"}}});
  quarantined_ = {2};
  EXPECT_EQ(Picked(), "nothing");
  options_.picking = Options::Picking::kRoundRobin;
  EXPECT_EQ(Picked(), "nothing");
}

// ---- Manual ------------------------------------------------------------------------------------

TEST_F(PickerTest, ManualLevel0TakesAllOfItOnce) {
  SetTables({{0, {9, "x", "z"}}, {0, {8, "a", "c"}}, {1, {1, "m", "n"}}});
  ManualSlice slice;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 0>1 [9 8]+[1]");
  slice.cursor = "z";
  EXPECT_EQ(Text(PickManual(Context(), slice)), "nothing");
}

// J2.
TEST_F(PickerTest, ManualSlicesVisitEveryTableOnce) {
  std::vector<PlacedTable> tables;
  for (FileNumber n = 1; n <= 26; ++n) {
    const std::string key(1, static_cast<char>('a' + n - 1));
    tables.push_back({1, {n, key + "0", key + "9"}});
    tables.push_back({2, {100 + n, key + "5", key + "6"}});
  }
  SetTables(tables);
  ManualSlice slice;
  slice.level = 1;
  const CompactionPlan extent = ManualExtent(Context(), slice);
  EXPECT_EQ(extent.inputs[0].size(), 26U);
  EXPECT_EQ(extent.inputs[1].size(), 26U);
  std::vector<FileNumber> visited;
  while (const auto plan = PickManual(Context(), slice)) {
    EXPECT_LE(plan->inputs[0].size(), 5U) << "a slice stays small";
    for (const FileRef& file : plan->inputs[0]) visited.push_back(file->number);
    ASSERT_LE(visited.size(), 26U) << "goes round in circles";
    slice.cursor = plan->inputs[0].back()->largest_user_key();
  }
  ASSERT_EQ(visited.size(), 26U);
  EXPECT_TRUE(std::is_sorted(visited.begin(), visited.end()));
}

// Where a slice ended at the empty key, the next one does not begin at the start again, for ever.
TEST_F(PickerTest, TheEmptyKeyIsAPlaceToGoOnFrom) {
  SetTables({{0, {9, "", ""}}, {2, {1, "", ""}}, {2, {2, "a", "b"}}});
  ManualSlice slice;
  slice.in_place = true;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 0>0 [9]");
  slice.cursor = "";
  EXPECT_EQ(Text(PickManual(Context(), slice)), "nothing");
  slice.level = 2;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 2>2 [2]");
}

TEST_F(PickerTest, ManualRangesTakeTheTablesThatMeetThem) {
  SetTables({{2, {1, "a", "b"}},
             {2, {2, "c", "d"}},
             {2, {3, "e", "f"}},
             {2, {4, "g", "h"}},
             {2, {5, "i", "j"}}});
  const std::vector<KeyRange> ranges = {{"b", "c"}, {"d", "g"}, {"j", ""}};
  ManualSlice slice;
  slice.level = 2;
  slice.in_place = true;
  slice.ranges = &ranges;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 2>2 [1 2 3]") << "half-open at the end";
  slice.cursor = "f";
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 2>2 [5]") << "no end: to the last key";
  slice.cursor = "j";
  EXPECT_EQ(Text(PickManual(Context(), slice)), "nothing");
  const std::vector<KeyRange> between = {{"bb", "c"}};
  slice.cursor.reset();
  slice.ranges = &between;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "nothing");
  EXPECT_TRUE(ManualExtent(Context(), slice).inputs[0].empty());
}

// Neighbours only: what lies in between is not asked for.
TEST_F(PickerTest, AManualSliceEndsAtATableThatIsNotWanted) {
  SetTables({{2, WithHidden(1, "a", "b", 1)},
             {2, {2, "c", "d"}},
             {2, WithHidden(3, "e", "f", 1)},
             {2, PartlyDead(4, "g", "h", 999)}});
  ManualSlice slice;
  slice.level = 2;
  slice.in_place = slice.only_garbage = true;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 2>2 [1]");
  slice.cursor = "b";
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 2>2 [3 4]");
  slice.cursor = "h";
  EXPECT_EQ(Text(PickManual(Context(), slice)), "nothing");
}

// K2: what was written after the request is none of its business, but level 0 is never taken in
// part: its tables would get newer numbers than those above them (K6, Q19).
TEST_F(PickerTest, SelfLevelLeavesNewTablesAloneButTakesAllOfLevel0) {
  SetTables({{0, {9, "x", "z"}},
             {0, {8, "a", "c"}},
             {2, {7, "a", "b"}},
             {2, {2, "c", "d"}},
             {2, {3, "e", "f"}}});
  ManualSlice slice;
  slice.in_place = true;
  slice.limit = 5;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 0>0 [9 8]");
  slice.level = 2;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 2>2 [2 3]");
  slice.limit = 3;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 2>2 [2]");
  slice.limit = 2;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "nothing");
}

TEST_F(PickerTest, ManualLevel0OfARangeTakesWhatHangsTogetherOrInPlaceAllOfIt) {
  SetTables({{0, {9, "x", "z"}}, {0, {8, "a", "c"}}, {0, {7, "b", "e"}}, {0, {6, "m", "n"}}});
  const std::vector<KeyRange> ranges = {{"d", "f"}};
  ManualSlice slice;
  slice.ranges = &ranges;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 0>1 [8 7]");
  slice.in_place = true;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "manual 0>0 [9 8 7 6]");
  const std::vector<KeyRange> elsewhere = {{"p", "q"}};
  slice.ranges = &elsewhere;
  EXPECT_EQ(Text(PickManual(Context(), slice)), "nothing");
}

// ---- Reclaim -----------------------------------------------------------------------------------

TEST_F(PickerTest, ReclaimTakesTheJobThatGivesBackMost) {
  SetTables({{0, {9, "a", "b"}},
             {1, WithHidden(1, "c", "d", 2)},
             {2, WithTombstones(2, "e", "f", 4, 999)},
             {3, PartlyDead(3, "g", "h", 999, 300)},
             {4, {4, "e", "f"}}});
  EXPECT_EQ(Text(PickReclaim(Context(), {})), "reclaim 2>3 [2]") << "tombstones sink";
  EXPECT_EQ(Text(PickReclaim(Context(), {{"fa", "fb"}, {"g", ""}})), "reclaim 3>3 [3]");
  EXPECT_EQ(Text(PickReclaim(Context(), {{"c", "d"}})), "reclaim 1>1 [1]");
  EXPECT_EQ(Text(PickReclaim(Context(), {{"a", "b"}})), "nothing") << "no garbage there";
}

TEST_F(PickerTest, ReclaimDoesNotTryWhatASnapshotKeeps) {
  TableSpec hidden = WithHidden(1, "c", "d", 9);
  hidden.sequence = 50;
  SetTables({{1, hidden}, {3, PartlyDead(3, "g", "h", 999, 1)}});
  smallest_snapshot_ = 49;
  EXPECT_EQ(Text(PickReclaim(Context(), {})), "reclaim 3>3 [3]");
  smallest_snapshot_ = 50;
  EXPECT_EQ(Text(PickReclaim(Context(), {})), "reclaim 1>1 [1]");
}

TEST_F(PickerTest, ReclaimOfLevel0GoesDownWithWhatHangsTogether) {
  SetTables({{0, {9, "a", "c"}}, {0, WithTombstones(8, "b", "e", 9, 999)}, {1, {1, "d", "d"}}});
  EXPECT_EQ(Text(PickReclaim(Context(), {})), "reclaim 0>1 [9 8]+[1]");
}

// Whatever the tree looks like, doing what the picker says ends, with every level in shape and no
// garbage that is due. The jobs are played: an output has its inputs' hull, loses dead entries, and
// loses tombstones where nothing lies below.
TEST_F(PickerTest, DoingWhatItSaysComesToAnEnd) {
  ForEachSeed(1, 400, [this](uint64_t seed) {
    io::Random random(seed);
    options_.dynamic_levels = random.OneIn(2);
    options_.picking = random.OneIn(2) ? Options::Picking::kRatio : Options::Picking::kRoundRobin;
    std::vector<PlacedTable> tables;
    FileNumber number = 1;
    for (int level = kLevelCount - 1; level >= 0; --level) {
      uint64_t at = random.Uniform(50);
      while (at < 900 && !random.OneIn(12)) {
        const uint64_t end = at + random.Uniform(80);
        TableSpec spec{number++, KeyOf(at), KeyOf(end), 500 + random.Uniform(3000)};
        if (random.OneIn(3)) {
          spec.tombstone_count = 1;
          spec.oldest_tombstone_seconds = 1 + static_cast<int64_t>(random.Uniform(1000));
        }
        if (random.OneIn(5)) spec.drop_pending_since_seconds = 1;
        if (random.OneIn(5)) spec.hidden_count = random.Uniform(10);
        if (random.OneIn(5)) spec.wasted_reads = random.Uniform(10'000);
        tables.push_back({level, spec});
        at = level == 0 ? random.Uniform(900) : end + 1 + random.Uniform(60);
      }
    }
    SetTables(tables);
    SetDrops({{KeyOf(100), KeyOf(300)}, {KeyOf(500), KeyOf(501)}});
    size_t steps = 0;
    while (const auto plan = Pick()) {
      ASSERT_LT(++steps, 20 * tables.size() + 100);
      VersionEdit edit;
      uint64_t bytes = 0;
      uint64_t tombstones = 0;
      for (const size_t side : {size_t{0}, size_t{1}}) {
        const int level = side == 0 ? plan->level : plan->output_level;
        for (const FileRef& file : plan->inputs[side]) {
          edit.removed_files.push_back({level, file->number});
          bytes += file->info.file_bytes;
          tombstones += file->info.tombstone_count;
        }
      }
      if (plan->kind == Kind::kMove) {
        for (const FileRef& file : plan->inputs[0]) {
          file->wasted_reads = 0;
          edit.added_files.push_back({plan->output_level, file});
        }
      } else if (plan->kind == Kind::kMerge) {
        const std::string smallest(plan->smallest_user_key());
        const std::string largest(plan->largest_user_key());
        bool deeper = false;
        for (int level = plan->output_level + 1; level < kLevelCount; ++level) {
          deeper |= !shape_.version->Overlapping(level, smallest, largest).empty();
        }
        TableSpec output{number++, smallest, largest, bytes};
        if (deeper && tombstones > 0) {
          output.tombstone_count = tombstones;
          output.oldest_tombstone_seconds = 1;
        }
        edit.added_files.push_back({plan->output_level, MakeTable(output)});
      }
      auto version = Version::Apply(*shape_.version, edit);
      ASSERT_TRUE(version.ok()) << version.status().ToString();
      shape_.version = *version;
    }
    for (int level = 0; level < kLevelCount - 1; ++level) {
      EXPECT_LT(LevelScore(Context(), level), 1);
    }
  });
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
