#include "lsm/compaction/picker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "io/base/random.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

using Kind = CompactionPlan::Kind;

class PickerTest : public ::testing::Test {
 protected:
  PickerTest() {
    options_.l0_compaction_trigger = 2;
    options_.level1_bytes = 10'000;
    options_.level_multiplier = 10;
    options_.table_bytes = 1000;
  }

  void SetTables(const std::vector<PlacedTable>& tables) { shape_.version = MakeVersion(tables); }
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
    return context;
  }
  std::optional<CompactionPlan> Pick() const { return PickCompaction(Context()); }

  Options options_;
  Shape shape_{Version::Empty(), std::make_shared<DropRangeSet>(), 0};
  RangesInUse in_use_;
  std::set<FileNumber> quarantined_;
  int64_t now_seconds_ = 1000;
  SequenceNumber smallest_snapshot_ = kSequenceMax;
};

TEST_F(PickerTest, NothingIsDueWhileEveryLevelIsBelowItsTarget) {
  EXPECT_FALSE(Pick());
  SetTables({{0, {9, "a", "z"}}, {1, {1, "a", "z", 9000}}, {2, {2, "a", "z", 99'000}}});
  EXPECT_FALSE(Pick());
  EXPECT_EQ(PendingBytes(Context()), 0U);
}

TEST_F(PickerTest, ScoresAreTablesAtLevel0AndBytesBelow) {
  SetTables({{0, {9, "a", "b"}},
             {0, {8, "c", "d"}},
             {0, {7, "e", "f"}},
             {1, {1, "a", "c", 25'000}},
             {2, {2, "a", "z", 50'000}}});
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 0), 1.5);
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 1), 2.5);
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 2), 0.5);
  EXPECT_EQ(LevelTargetBytes(options_, 3), 1'000'000U);
  EXPECT_EQ(PendingBytes(Context()), 3000U + 15'000U);

  CompactionPlan running;
  running.level = 1;
  running.output_level = 2;
  running.inputs[0] = shape_.version->files(1);
  in_use_.Register(running);
  EXPECT_DOUBLE_EQ(LevelScore(Context(), 1), 0);  // D3: a level being emptied is not picked again
}

TEST_F(PickerTest, Level0PullsInWhatOverlapsTransitively) {
  SetTables({{0, {9, "m", "p"}},
             {0, {8, "c", "f"}},
             {0, {7, "e", "n"}},
             {0, {6, "x", "z"}},
             {0, {5, "a", "c"}},
             {1, {1, "a", "b"}},
             {1, {2, "p", "q"}},
             {1, {3, "r", "s"}}});
  const auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->level, 0);
  EXPECT_EQ(plan->output_level, 1);
  // Newest first, so that ties in the merge resolve to the newest.
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{9, 8, 7, 5}));
  EXPECT_EQ(Numbers(plan->inputs[1]), (std::vector<FileNumber>{1, 2}));
  EXPECT_EQ(plan->kind, Kind::kMerge);
}

TEST_F(PickerTest, ALevel0TableNeverPassesAnOlderOneThatIsBeingCompacted) {
  SetTables({{0, {9, "a", "m"}}, {0, {8, "k", "k"}}, {0, {7, "b", "c"}}});
  CompactionPlan running;
  running.level = 0;
  running.output_level = 1;
  running.inputs[0] = {shape_.version->files(0)[2]};  // 7
  in_use_.Register(running);
  // 9 overlaps 7, and 8 overlaps 9: neither may go to level 1 before 7 is there.
  EXPECT_FALSE(Pick());
}

TEST_F(PickerTest, DisjointLevel0TablesAreCompactedSideBySide) {
  SetTables({{0, {9, "x", "z"}}, {0, {8, "k", "m"}}, {0, {7, "b", "c"}}, {0, {6, "d", "e"}}});
  const auto first = Pick();
  ASSERT_TRUE(first);
  EXPECT_EQ(Numbers(first->inputs[0]), (std::vector<FileNumber>{6}));
  in_use_.Register(*first);
  const auto second = Pick();
  ASSERT_TRUE(second);
  EXPECT_EQ(Numbers(second->inputs[0]), (std::vector<FileNumber>{7}));
}

TEST_F(PickerTest, ALoneTableIsMovedWithoutBeingRead) {
  SetTables({{0, {9, "x", "z"}}, {0, {8, "a", "c"}}, {1, {1, "d", "e"}}});
  const auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->kind, Kind::kMove);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{8}));
}

TEST_F(PickerTest, ATableWithGarbageOrTooMuchBelowIsNotMoved) {
  SetTables({{0, {9, "x", "z"}}, {0, {8, "a", "c", 1000, 0, 1, 999}}});
  ASSERT_TRUE(Pick());
  EXPECT_EQ(Pick()->kind, Kind::kMerge) << "tombstones";
  SetTables({{0, {9, "x", "z"}}, {0, {8, "a", "c"}}, {2, {1, "a", "b", 10'001}}});
  ASSERT_TRUE(Pick());
  EXPECT_EQ(Pick()->kind, Kind::kMerge) << "grandparents";
  EXPECT_EQ(Numbers(Pick()->grandparents), (std::vector<FileNumber>{1}));
}

TEST_F(PickerTest, TheTableWithTheLeastBelowItGoesDown) {
  SetTables({{1, {1, "a", "c", 4000}},
             {1, {2, "d", "f", 4000}},
             {1, {3, "g", "i", 4000}},
             {2, {4, "a", "b", 4000}},
             {2, {5, "d", "d", 1000}},
             {2, {6, "h", "z", 9000}}});
  const auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{2}));
  EXPECT_EQ(Numbers(plan->inputs[1]), (std::vector<FileNumber>{5}));
}

TEST_F(PickerTest, AnOverfullNextLevelComesFirst) {
  SetTables({{1, {1, "a", "c", 20'000}}, {2, {2, "a", "b", 900'000}}});
  const auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->level, 2);  // B6: pushing more into level 2 first would be wasted
}

TEST_F(PickerTest, TheLastLevelIsNeverASource) {
  options_.level1_bytes = 1;
  options_.level_multiplier = 1;
  SetTables({{kLevelCount - 1, {1, "a", "c", 1'000'000}}});
  EXPECT_FALSE(Pick());
}

TEST_F(PickerTest, AWhollyDeadTableIsDroppedWithoutBeingRead) {
  SetTables({{3, {1, "b", "c", 1000, 0, 0, 0, 990}}, {3, {2, "d", "f", 1000, 0, 0, 0, 990}}});
  SetDrops({{"b", "e"}});
  const auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->kind, Kind::kDropOnly);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{1}));
  in_use_.Register(*plan);
  EXPECT_FALSE(Pick()) << "the other one is only partly dead";
}

TEST_F(PickerTest, TheEndOfADeadRangeIsAlive) {
  SetTables({{3, {1, "b", "e", 1000, 0, 0, 0, 990}}});
  SetDrops({{"b", "e"}});
  EXPECT_FALSE(Pick());
}

TEST_F(PickerTest, ATableWrittenAfterItsRangeDiedIsNotLookedAtAgain) {
  SetTables({{3, {1, "b", "c"}}});
  SetDrops({{"a", "z"}});
  EXPECT_FALSE(Pick());
}

TEST_F(PickerTest, TombstonesSinkAtHalfTheDeadlineAndGoInPlaceAtTheBottom) {
  SetTables({{1, {1, "b", "c", 1000, 0, 5, 951}}, {3, {2, "c", "d"}}});
  EXPECT_FALSE(Pick());
  now_seconds_ = 1001;
  auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->level, 1);
  EXPECT_EQ(plan->output_level, 2);
  EXPECT_EQ(plan->kind, Kind::kMerge);

  SetTables({{1, {1, "b", "c", 1000, 0, 5, 951}}, {3, {2, "d", "d"}}});
  plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->level, 1);
  EXPECT_EQ(plan->output_level, 1);
  EXPECT_TRUE(plan->inputs[1].empty());

  SetTables({{kLevelCount - 1, {1, "b", "c", 1000, 0, 5, 951}}});
  plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->output_level, kLevelCount - 1);
}

TEST_F(PickerTest, TombstonesThatASnapshotNeedsAreLeftAlone) {
  SetTables({{1, {1, "b", "c", 1000, 50, 5, 1}}});
  smallest_snapshot_ = 49;
  EXPECT_FALSE(Pick()) << "a rewrite could drop nothing and would be due again at once";
  smallest_snapshot_ = 50;
  EXPECT_TRUE(Pick());
}

TEST_F(PickerTest, DueTombstonesOfLevel0TakeAlongWhatOverlaps) {
  options_.l0_compaction_trigger = 10;
  SetTables({{0, {9, "a", "d"}}, {0, {8, "c", "e", 1000, 0, 1, 1}}, {0, {7, "x", "z"}}});
  const auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->output_level, 1);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{9, 8}));
}

TEST_F(PickerTest, DueDeadEntriesAreRewrittenInPlace) {
  SetTables({{2, {1, "a", "d", 1000, 0, 0, 0, 900}}, {4, {2, "a", "z"}}});
  SetDrops({{"b", "c"}});
  const auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->level, 2);
  EXPECT_EQ(plan->output_level, 2);
  EXPECT_EQ(plan->kind, Kind::kMerge);
}

TEST_F(PickerTest, DamagedTablesAreLeftAloneAndTheRestGoesOn) {
  SetTables({{0, {9, "a", "c"}},
             {0, {8, "b", "d"}},
             {0, {7, "x", "z"}},
             {1, {1, "a", "b", 20'000}},
             {1, {2, "m", "n", 20'000}},
             {2, {3, "m", "m", 1}},
             {5, {4, "a", "b", 1000, 0, 1, 1}},
             {5, {5, "c", "d", 1000, 0, 1, 1}}});
  quarantined_ = {8, 1, 4};
  auto plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{7}));
  in_use_.Register(*plan);
  plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{2}));
  quarantined_.insert(2);
  plan = Pick();
  ASSERT_TRUE(plan);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{5}));
}

TEST_F(PickerTest, ADamagedTargetKeepsItsSourceInPlace) {
  SetTables({{1, {1, "a", "c", 20'000}}, {2, {2, "b", "b"}}});
  quarantined_ = {2};
  EXPECT_FALSE(Pick());
}

TEST_F(PickerTest, ManualLevel0TakesAllOfItOnce) {
  SetTables({{0, {9, "x", "z"}}, {0, {8, "a", "c"}}, {1, {1, "m", "n"}}});
  const auto plan = PickManual(Context(), 0, false, "");
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->kind, Kind::kMerge);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{9, 8}));
  EXPECT_EQ(Numbers(plan->inputs[1]), (std::vector<FileNumber>{1}));
  EXPECT_FALSE(PickManual(Context(), 0, false, "z"));
}

TEST_F(PickerTest, ManualSlicesVisitEveryTableOnce) {
  std::vector<PlacedTable> tables;
  for (FileNumber n = 1; n <= 26; ++n) {
    const std::string key(1, static_cast<char>('a' + n - 1));
    tables.push_back({1, {n, key + "0", key + "9"}});
    tables.push_back({2, {100 + n, key + "5", key + "6"}});
  }
  SetTables(tables);
  std::vector<FileNumber> visited;
  std::string cursor;
  while (const auto plan = PickManual(Context(), 1, false, cursor)) {
    EXPECT_LE(plan->inputs[0].size(), 5U) << "a slice stays small";
    for (const FileRef& file : plan->inputs[0]) visited.push_back(file->number);
    cursor = plan->inputs[0].back()->largest_user_key();
  }
  ASSERT_EQ(visited.size(), 26U);
  EXPECT_TRUE(std::is_sorted(visited.begin(), visited.end()));
}

TEST_F(PickerTest, ManualInPlaceTakesOnlyTablesWithGarbage) {
  SetTables({{2, {1, "a", "b"}},
             {2, {2, "c", "d", 1000, 0, 1, 999}},
             {2, {3, "e", "f"}},
             {2, {4, "g", "h", 1000, 0, 0, 0, 999}}});
  auto plan = PickManual(Context(), 2, true, "");
  ASSERT_TRUE(plan);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{2}));
  EXPECT_EQ(plan->output_level, 2);
  plan = PickManual(Context(), 2, true, "d");
  ASSERT_TRUE(plan);
  EXPECT_EQ(Numbers(plan->inputs[0]), (std::vector<FileNumber>{4}));
  EXPECT_FALSE(PickManual(Context(), 2, true, "h"));
}

// Whatever the tree looks like, doing what the picker says ends, with every level in shape and no
// garbage that is due. The jobs are played: an output has its inputs' hull, loses dead entries, and
// loses tombstones where nothing lies below.
TEST_F(PickerTest, DoingWhatItSaysComesToAnEnd) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    io::Random random(seed);
    const auto key = [](uint64_t n) {
      std::string text = std::to_string(n);
      return std::string(4 - text.size(), '0') + text;
    };
    std::vector<PlacedTable> tables;
    FileNumber number = 1;
    for (int level = kLevelCount - 1; level >= 0; --level) {
      uint64_t at = random.Uniform(50);
      while (at < 900 && !random.OneIn(12)) {
        const uint64_t end = at + random.Uniform(80);
        TableSpec spec{number++, key(at), key(end), 500 + random.Uniform(3000)};
        if (random.OneIn(3)) {
          spec.tombstone_count = 1;
          spec.oldest_tombstone_seconds = 1 + static_cast<int64_t>(random.Uniform(1000));
        }
        if (random.OneIn(5)) spec.drop_pending_since_seconds = 1;
        tables.push_back({level, spec});
        at = level == 0 ? random.Uniform(900) : end + 1 + random.Uniform(60);
      }
    }
    SetTables(tables);
    SetDrops({{key(100), key(300)}, {key(500), key(501)}});
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
    for (int level = 0; level < kLevelCount - 1; ++level)
      EXPECT_LT(LevelScore(Context(), level), 1);
  }
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
