#include "lsm/compaction/vacuum_picker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "io/base/random.h"
#include "io/base/units.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

using io::kMiB;
using Files = std::set<FileNumber>;

// Value files of a store whose smallest full file has 1 MiB: 8 MiB of garbage are its floor.
class VacuumPickTest : public ::testing::Test, protected PickBench {
 protected:
  VacuumPickTest() {
    options_.l0_compaction_trigger = 4;
    options_.dynamic_levels = false;
    options_.table_bytes = kMiB;
    options_.value_file_bytes = kMiB;
    scope_.full_file_bytes = kMiB;
  }

  static ValueUse Use(FileNumber file, uint64_t bytes) { return {file, bytes, 0}; }
  PickContext Context() {
    scope_.newer_bytes = NewerValueBytes(*shape_.version, scope_.unflushed);
    PickContext context{shape_, options_, in_use_};
    context.quarantined = &quarantined_;
    context.values = &scope_;
    return context;
  }
  std::optional<CompactionPlan> Pick() { return PickVacuum(Context()); }
  std::string Picked() { return PlanText(Pick()); }
  Files Moved() {
    const auto plan = Pick();
    return plan ? plan->moved_value_files : Files();
  }
  std::string PickedByHand(double share_min, FileNumber limit = kFileNumberMax) {
    return PlanText(PickManualVacuum(Context(), share_min, limit));
  }

  ValueScope scope_;
};

// ---- When --------------------------------------------------------------------------------------

TEST_F(VacuumPickTest, NothingWithoutValueFilesOrGarbage) {
  EXPECT_EQ(Picked(), "nothing");
  SetFiles({{7, kMiB}});
  SetTables({TableWithValues(2, 1, "a", "b", {Use(7, kMiB)})});
  EXPECT_EQ(Picked(), "nothing");
  PickContext context = Context();
  context.values = nullptr;
  EXPECT_FALSE(PickVacuum(context));
  EXPECT_FALSE(PickScattered(context));
  EXPECT_FALSE(PickManualVacuum(context, 0.05, kFileNumberMax));
}

// 50 and 70 percent of garbage; below the floor they wait to become emptier.
TEST_F(VacuumPickTest, FilesThatAreHalfEmptyWaitUntilGarbagePresses) {
  SetFiles({{7, 4 * kMiB}, {8, 2 * kMiB}});
  SetTables({TableWithValues(2, 1, "a", "b", {Use(7, 2 * kMiB)}),
             TableWithValues(2, 2, "c", "d", {Use(8, 6 * kMiB / 10)})});
  EXPECT_EQ(Picked(), "nothing");
  options_.value_file_bytes = kMiB / 2;
  scope_.full_file_bytes = kMiB / 2;
  EXPECT_EQ(Picked(), "vacuum 2>2 [2]") << "the worst, and that is enough";
  EXPECT_EQ(Moved(), Files({8}));
  scope_.full_file_bytes = kMiB;
  EXPECT_EQ(Picked(), "vacuum 2>2 [2]") << "7 is a victim, too, but 1 is not worth as much";
}

TEST_F(VacuumPickTest, AQuietStoreIsVacuumedFromTheGarbageRatioOn) {
  SetFiles({{7, 1000'000}, {8, 1000'000}});
  SetTables({TableWithValues(2, 1, "a", "b", {Use(7, 700'000), Use(8, 701'000)})});
  EXPECT_EQ(Picked(), "nothing");
  scope_.quiet = true;
  EXPECT_EQ(Picked(), "vacuum 2>2 [1]");
  EXPECT_EQ(Moved(), Files({7}));
}

TEST_F(VacuumPickTest, AFileThatIsNearlyAllGarbageGoesIfThatPaysOff) {
  SetFiles({{7, kMiB}});
  SetTables({TableWithValues(2, 1, "a", "b", {Use(7, kMiB / 5)})});
  EXPECT_EQ(Picked(), "vacuum 2>2 [1]");
  SetTables({TableWithValues(2, 1, "a", "b", {Use(7, kMiB / 4)})});
  EXPECT_EQ(Picked(), "nothing") << "three quarters are not nearly all";
  SetTables({TableWithValues(2, 1, "a", "b", {Use(7, kMiB / 5)}, kMiB)});
  EXPECT_EQ(Picked(), "nothing") << "the table is larger than what is won";
  scope_.quiet = true;
  EXPECT_EQ(Picked(), "vacuum 2>2 [1]");
}

TEST_F(VacuumPickTest, GarbageThatIsTooThinIsNotVacuumedHoweverItPresses) {
  scope_.hidden_share = 1;
  SetFiles({{7, 100 * kMiB}, {8, 50 * kMiB}});
  SetTables({TableWithValues(1, 2, "a", "b", {Use(8, 50 * kMiB)}),
             TableWithValues(2, 1, "a", "b", {Use(7, 95 * kMiB)})});
  const ValueGarbage garbage = MeasureValueGarbage(*shape_.version, *Context().values, 0.3, kMiB);
  EXPECT_TRUE(garbage.presses);
  EXPECT_EQ(Picked(), "nothing") << "merges have to find what is hidden";
}

// ---- What --------------------------------------------------------------------------------------

TEST_F(VacuumPickTest, TheWorstFilesAreVictimsUntilThereIsEnough) {
  SetFiles({{5, 20 * kMiB}, {6, 20 * kMiB}, {7, 20 * kMiB}, {8, 20 * kMiB}});
  SetTables(
      {TableWithValues(2, 1, "a", "b", {Use(5, 12 * kMiB), Use(6, 8 * kMiB), Use(7, 10 * kMiB)}),
       TableWithValues(3, 2, "a", "b", {Use(8, 20 * kMiB)})});
  EXPECT_EQ(Moved(), Files({6}));
  scope_.full_file_bytes = 9 * kMiB;
  EXPECT_EQ(Moved(), Files({6, 7}));
  scope_.full_file_bytes = 100 * kMiB;
  EXPECT_EQ(Moved(), Files({5, 6, 7}));
}

TEST_F(VacuumPickTest, FilesBeingWrittenAndFilesToAvoidAreNoVictims) {
  SetFiles({{5, 20 * kMiB}, {6, 20 * kMiB}, {7, 20 * kMiB}});
  SetTables({TableWithValues(2, 1, "a", "b", {Use(5, kMiB), Use(6, 2 * kMiB), Use(7, 3 * kMiB)})});
  scope_.full_file_bytes = 100 * kMiB;
  EXPECT_EQ(Moved(), Files({5, 6, 7}));
  scope_.writing = {5};
  scope_.avoided = {6};
  EXPECT_EQ(Moved(), Files({7}));
  EXPECT_EQ(PlanText(PickManualVacuum(Context(), 0.05, kFileNumberMax)), "vacuum 2>2 [1]");
  scope_.avoided = {6, 7};
  EXPECT_EQ(Picked(), "nothing");
  EXPECT_EQ(PickedByHand(0.05), "nothing");
}

TEST_F(VacuumPickTest, DamagedTablesKeepTheirFilesFromBeingVictims) {
  SetFiles({{5, 20 * kMiB}, {6, 20 * kMiB}});
  SetTables({TableWithValues(2, 1, "a", "b", {Use(5, kMiB)}),
             TableWithValues(2, 2, "c", "d", {Use(5, kMiB)}),
             TableWithValues(2, 3, "e", "f", {Use(6, 5 * kMiB)})});
  quarantined_ = {2};
  EXPECT_EQ(Picked(), "vacuum 2>2 [3]");
  EXPECT_EQ(PickedByHand(0.05), "vacuum 2>2 [3]");
}

// ---- Which tables ------------------------------------------------------------------------------

TEST_F(VacuumPickTest, ASliceTakesNeighboursThatAreNearlyAsGood) {
  SetFiles({{5, 200 * kMiB}});
  SetTables({TableWithValues(2, 1, "a", "a", {Use(5, 10'000)}),
             TableWithValues(2, 2, "b", "b", {Use(5, 1'000'000)}),
             TableWithValues(2, 3, "c", "c", {Use(5, 1'000'000)}),
             TableWithValues(2, 4, "d", "d", {Use(5, 1'100'000)}),
             TableWithValues(2, 5, "e", "e", {}),
             TableWithValues(2, 6, "f", "f", {Use(5, 1'000'000)}),
             TableWithValues(3, 7, "a", "z", {Use(5, 500'000)}, kMiB)});
  EXPECT_EQ(Picked(), "vacuum 2>2 [1 2 3 4]");
  SetTables({TableWithValues(2, 1, "a", "a", {Use(5, 10'000)}, 100'000),
             TableWithValues(2, 2, "b", "b", {Use(5, 1'000'000)}),
             TableWithValues(2, 3, "c", "c", {Use(5, 1'000'000)})});
  EXPECT_EQ(Picked(), "vacuum 2>2 [2 3]") << "1 is nearly all table and no values";
}

TEST_F(VacuumPickTest, SlicesAreLimitedByValuesAndByTables) {
  SetFiles({{5, 4096 * kMiB}});
  std::vector<PlacedTable> tables;
  for (FileNumber i = 1; i <= 8; ++i) {
    const std::string key(1, static_cast<char>('a' + i));
    tables.push_back(TableWithValues(2, i, key, key, {Use(5, 100 * kMiB)}));
  }
  SetTables(tables);
  EXPECT_EQ(Picked(), "vacuum 2>2 [1 2]") << "256 MiB of values";
  for (PlacedTable& table : tables) table.spec.value_uses[0].bytes = 300 * kMiB;
  SetTables(tables);
  EXPECT_EQ(Picked(), "vacuum 2>2 [1]") << "one table always";
  for (PlacedTable& table : tables) {
    table.spec.value_uses[0].bytes = kMiB;
    table.spec.file_bytes = kMiB;
  }
  options_.merge_tables_max = 4;
  SetTables(tables);
  EXPECT_EQ(Picked(), "vacuum 2>2 [1 2 3]") << "an automatic merge stays below four tables";
}

TEST_F(VacuumPickTest, TablesInUseArePassedOver) {
  SetFiles({{5, 200 * kMiB}});
  SetTables({TableWithValues(2, 1, "a", "c", {Use(5, kMiB)}),
             TableWithValues(2, 2, "d", "f", {Use(5, kMiB)}),
             TableWithValues(2, 3, "g", "i", {Use(5, kMiB)}),
             TableWithValues(3, 4, "a", "b", {Use(5, kMiB)})});
  TakeTable(2, 1);
  const auto plan = Pick();
  EXPECT_EQ(PlanText(plan), "vacuum 2>2 [1]");
  in_use_.Register(*plan);
  EXPECT_EQ(Picked(), "vacuum 2>2 [3]");
  TakeTable(2, 2);
  EXPECT_EQ(Picked(), "vacuum 3>3 [4]");
  TakeTable(3, 0);
  EXPECT_EQ(Picked(), "nothing");
  const std::string by_hand = PickedByHand(0.05);
  EXPECT_TRUE(by_hand == "vacuum 2>2 [1]") << by_hand << ": it conflicts, and the caller waits";
}

// A merge that is on its way through the level holds its range there.
TEST_F(VacuumPickTest, RangesInUseAreLeftAlone) {
  SetFiles({{5, 200 * kMiB}});
  SetTables({TableWithValues(1, 9, "a", "f", {}), TableWithValues(2, 1, "b", "c", {Use(5, kMiB)}),
             TableWithValues(2, 2, "g", "h", {Use(5, kMiB)})});
  CompactionPlan running;
  running.level = 1;
  running.output_level = 2;
  running.inputs[0] = {shape_.version->files(1)[0]};
  in_use_.Register(running);
  EXPECT_EQ(Picked(), "vacuum 2>2 [2]");
}

// Otherwise a file could be held for long by a few values that are never worth a slice.
TEST_F(VacuumPickTest, TheLastValuesInAFileAreWorthAllOfIt) {
  SetFiles({{5, 64 * kMiB}, {6, 64 * kMiB}});
  scope_.full_file_bytes = 64 * kMiB;
  SetTables({TableWithValues(2, 1, "a", "b", {Use(5, 4096)}, kMiB),
             TableWithValues(2, 2, "c", "d", {}),
             TableWithValues(2, 3, "e", "f", {Use(6, 30 * kMiB)}, kMiB)});
  EXPECT_EQ(Picked(), "vacuum 2>2 [1]");
}

// What another job is at may be a vacuum: no more files become victims meanwhile, unless it is
// late.
TEST_F(VacuumPickTest, VictimsInOtherHandsAreEnoughWhileWritersAreNotSlowed) {
  const auto set = [&](uint64_t garbage) {
    held_.clear();
    in_use_ = RangesInUse();
    shape_.version = Version::Empty();
    for (const ValueFiles::Obsolete& file : store_.files().TakeObsolete()) {
      store_.files().Forget(file.number);
    }
    SetFiles({{5, 10 * kMiB}, {6, 100 * kMiB + garbage}});
    SetTables({TableWithValues(2, 1, "a", "b", {Use(5, 5 * kMiB)}),
               TableWithValues(2, 2, "c", "d", {Use(6, 100 * kMiB)})});
    TakeTable(2, 0);
  };
  options_.garbage_ratio = 0.2;  // limit about 13 MiB: presses from 9.7, slows from 10.3
  set(11 * kMiB + kMiB / 2);
  EXPECT_EQ(MeasureValueGarbage(*shape_.version, scope_, 0.2, kMiB).slows, 1);
  EXPECT_EQ(Picked(), "vacuum 2>2 [2]");
  options_.value_file_bytes = 5 * kMiB / 2;  // limit 20 MiB: presses from 15, slows from 16
  set(10 * kMiB + kMiB / 2);
  EXPECT_TRUE(MeasureValueGarbage(*shape_.version, scope_, 0.2, 5 * kMiB / 2).presses);
  EXPECT_EQ(MeasureValueGarbage(*shape_.version, scope_, 0.2, 5 * kMiB / 2).slows, 0);
  EXPECT_EQ(Picked(), "nothing");
}

// ---- Level 0 and memtables ---------------------------------------------------------------------

TEST_F(VacuumPickTest, WhatOnlyLevel0OrMemtablesReferToIsNotPickedAgainAndAgain) {
  SetFiles({{5, 4 * kMiB}});
  scope_.quiet = true;
  SetTables({TableWithValues(0, 1, "a", "b", {Use(5, kMiB)})});
  EXPECT_EQ(Picked(), "move level 0 0>1 [1]") << "from there it can be moved";
  EXPECT_EQ(PickedByHand(0.05), "nothing");
  scope_.quiet = false;
  EXPECT_EQ(Picked(), "nothing") << "nothing presses";
  scope_.quiet = true;
  SetTables({TableWithValues(2, 1, "a", "b", {})});
  scope_.unflushed = {{5, kMiB}};
  EXPECT_EQ(Picked(), "nothing");
  SetTables({TableWithValues(2, 1, "a", "b", {Use(5, kMiB)}),
             TableWithValues(0, 2, "c", "d", {Use(5, kMiB)})});
  EXPECT_EQ(Picked(), "nothing") << "a quarter is left";
  scope_.unflushed.clear();
  EXPECT_EQ(Picked(), "vacuum 2>2 [1]") << "half of it; what is below can be moved";
  scope_.quiet = false;
  EXPECT_EQ(Picked(), "nothing");
}

TEST_F(VacuumPickTest, Level0GoesDownEarlyIfItHoldsTheWorstFile) {
  SetFiles({{5, 20 * kMiB}, {6, 20 * kMiB}});
  SetTables({TableWithValues(0, 9, "a", "b", {Use(5, 2 * kMiB)}),
             TableWithValues(2, 1, "a", "b", {Use(6, 9 * kMiB)})});
  EXPECT_LT(LevelScore(Context(), 0), 1);
  EXPECT_EQ(Picked(), "move level 0 0>1 [9]");
  SetTables({TableWithValues(0, 9, "a", "b", {Use(5, 9 * kMiB)}),
             TableWithValues(2, 1, "a", "b", {Use(6, 2 * kMiB)})});
  EXPECT_EQ(Picked(), "vacuum 2>2 [1]");
  TakeTable(2, 0);
  EXPECT_EQ(Picked(), "move level 0 0>1 [9]") << "nothing else can be done";
}

TEST_F(VacuumPickTest, Level0GoesDownEarlyIfItHidesMoreThanIsKnown) {
  SetFiles({{5, 20 * kMiB}, {6, 20 * kMiB}});
  SetTables({TableWithValues(0, 9, "a", "b", {Use(5, 20 * kMiB)}),
             TableWithValues(2, 1, "a", "b", {Use(6, 11 * kMiB)})});
  EXPECT_EQ(Picked(), "vacuum 2>2 [1]");
  scope_.hidden_share = 0.4;
  EXPECT_EQ(Picked(), "vacuum 2>2 [1]");
  scope_.hidden_share = 0.5;
  EXPECT_EQ(Picked(), "move level 0 0>1 [9]");
}

TEST_F(VacuumPickTest, FilesThatNothingNewerHoldsGoFirst) {
  SetFiles({{5, 20 * kMiB}, {6, 20 * kMiB}});
  SetTables({TableWithValues(2, 1, "a", "b", {Use(5, 2 * kMiB)}),
             TableWithValues(2, 2, "c", "d", {Use(6, 9 * kMiB)})});
  EXPECT_EQ(Moved(), Files({5}));
  scope_.unflushed = {{5, kMiB}};
  EXPECT_EQ(Moved(), Files({6}));
  TakeTable(2, 1);
  EXPECT_EQ(Moved(), Files({5}));
}

// ---- By hand -----------------------------------------------------------------------------------

TEST_F(VacuumPickTest, ByHandEveryFileMadeBeforeWithSoMuchGarbageIsEmptied) {
  SetFiles({{5, 1000'000}, {6, 1000'000}, {7, 1000'000}});
  SetTables({TableWithValues(1, 1, "a", "b", {Use(5, 951'000), Use(6, 949'000), Use(7, 100'000)}),
             TableWithValues(6, 2, "a", "b", {Use(5, 1000)})});
  auto plan = PickManualVacuum(Context(), 0.05, 7);
  ASSERT_TRUE(plan);
  EXPECT_EQ(PlanText(plan), "vacuum 1>1 [1]");
  EXPECT_EQ(plan->moved_value_files, Files({6})) << "7 is new, 5 is nearly full";
  plan = PickManualVacuum(Context(), 0.04, kFileNumberMax);
  EXPECT_EQ(plan->moved_value_files, Files({5, 6, 7})) << "5 has 4.8 percent";
  EXPECT_EQ(PickedByHand(0.95), "nothing");
}

// ---- Value order -------------------------------------------------------------------------------

class ScatteredPickTest : public VacuumPickTest {
 protected:
  ScatteredPickTest() {
    scope_.quiet = true;
    scope_.full_file_bytes = 32 * kMiB;
    SetFiles({{5, 4096 * kMiB}});
  }
  static PlacedTable Scattered(int level, FileNumber number, const std::string& key,
                               uint64_t pages = 2000, uint64_t runs = 1000) {
    PlacedTable table = TableWithValues(level, number, key, key, {Use(5, pages * kValuePageBytes)});
    table.spec.value_pages = pages;
    table.spec.value_runs = runs;
    return table;
  }
  std::string Picked() { return PlanText(PickScattered(Context())); }
};

TEST_F(ScatteredPickTest, NeighboursWhoseValuesLieScatteredArePutInOrderWhileQuiet) {
  SetTables({Scattered(4, 1, "a", 2000, 10), Scattered(4, 2, "b"), Scattered(4, 3, "c"),
             Scattered(4, 4, "d", 1000), Scattered(4, 5, "e")});
  const auto plan = PickScattered(Context());
  EXPECT_EQ(PlanText(plan), "value order 4>4 [2 3]");
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->moves_all_values);
  EXPECT_TRUE(plan->MovesValues());
  in_use_.Register(*plan);
  EXPECT_EQ(Picked(), "value order 4>4 [5]");
  scope_.quiet = false;
  EXPECT_EQ(Picked(), "nothing");
}

TEST_F(ScatteredPickTest, FromFewerThan32PagesInARunOn) {
  SetTables({Scattered(4, 1, "a", 3200, 100)});
  EXPECT_EQ(Picked(), "nothing");
  SetTables({Scattered(4, 1, "a", 3199, 100)});
  EXPECT_EQ(Picked(), "value order 4>4 [1]");
  scope_.full_file_bytes = 32 * kValuePageBytes;
  EXPECT_EQ(Picked(), "nothing") << "files are so small that runs cannot be long";
}

TEST_F(ScatteredPickTest, OnlyTheDeepestLevelWhereMergesWillNotComeSoon) {
  SetTables({Scattered(3, 1, "a"), TableWithValues(4, 2, "b", "b", {})});
  EXPECT_EQ(Picked(), "nothing");
  SetTables({Scattered(4, 1, "m"), Scattered(4, 2, "n"), TableWithValues(3, 3, "m", "m", {}, 251)});
  EXPECT_EQ(Picked(), "value order 4>4 [2]");
  SetTables({Scattered(4, 1, "m"), Scattered(4, 2, "n"), TableWithValues(3, 3, "m", "n", {}, 251),
             TableWithValues(0, 4, "a", "m", {}, 100)});
  EXPECT_EQ(Picked(), "value order 4>4 [1 2]");
  SetTables({Scattered(0, 1, "a")});
  EXPECT_EQ(Picked(), "nothing");
}

TEST_F(ScatteredPickTest, APlanMovesSoMuchAtMost) {
  constexpr uint64_t kPages = 100 * kMiB / kValuePageBytes;
  SetTables({Scattered(4, 1, "a", kPages, kPages), Scattered(4, 2, "b", kPages, kPages),
             Scattered(4, 3, "c", kPages, kPages)});
  EXPECT_EQ(Picked(), "value order 4>4 [1 2]");
  scope_.avoided = {5};
  EXPECT_EQ(Picked(), "nothing") << "it would meet what cannot be read";
}

// ---- A store that is overwritten ---------------------------------------------------------------

// Keys and where their values lie, as the engine would have them: a log of values, memtables, and
// tables that are merged and rewritten as PickCompaction says. One worker that is never late.
class StoreModel {
 public:
  static constexpr uint64_t kKeys = 32'768;  // 128 MiB of values
  static constexpr uint64_t kFlushPages = 1024;
  static constexpr uint64_t kTablePages = 4096;
  static constexpr uint64_t kEntryBytes = 40;

  explicit StoreModel(uint64_t seed) : random_(seed) {
    options_.value_file_bytes = kMiB;
    options_.table_bytes = kTablePages * kEntryBytes;
    options_.memtable_bytes = kFlushPages * kEntryBytes;
    options_.level1_bytes = 8 * options_.memtable_bytes;
    scope_.full_file_bytes = options_.value_file_bytes;
    log_ = NewFile();
  }

  void Put(uint64_t key) {
    live_.insert(key);
    memtable_[key] = Append(&log_);
    ++written_pages_;
    scope_.unflushed[memtable_[key]->number()] += kValuePageBytes;
    if (memtable_.size() >= kFlushPages) Flush();
  }
  void Flush() {
    if (memtable_.empty()) return;
    VersionEdit edit;
    edit.added_files.push_back({0, MakeTableOf(memtable_)});
    memtable_.clear();
    scope_.unflushed.clear();
    Install(edit);
    Work();
  }
  void PutRandom() { Put(random_.Uniform(kKeys)); }
  // Nine of ten go to a tenth of the keys.
  void PutSkewed() {
    Put(random_.Uniform(10) == 0 ? random_.Uniform(kKeys) : random_.Uniform(kKeys / 10));
  }
  void SetQuiet(bool quiet) {
    scope_.quiet = quiet;
    if (quiet) Work();
  }
  void Watch() { watched_ = true; }
  // Until nothing is due.
  void Work() {
    for (uint64_t steps = 0;; ++steps) {
      scope_.writing = {log_->number()};
      scope_.newer_bytes = NewerValueBytes(*shape_.version, scope_.unflushed);
      RangesInUse in_use;
      PickContext context{shape_, options_, in_use};
      context.values = &scope_;
      const auto plan = PickCompaction(context);
      if (!plan) break;
      ASSERT_LT(steps, 10'000U) << plan->reason;
      Run(*plan);
      if (::testing::Test::HasFatalFailure()) return;
    }
    CheckBytes();
  }

  double moved_per_written() const {
    return static_cast<double>(moved_pages_) / static_cast<double>(written_pages_);
  }
  double worst_amplification() const { return worst_amplification_; }
  void ResetCounts() { moved_pages_ = written_pages_ = 0; }
  const Version& version() const { return *shape_.version; }
  FileNumber log_number() const { return log_->number(); }

  uint64_t CountKeys() const {
    std::set<uint64_t> keys;
    for (int level = 0; level < kLevelCount; ++level) {
      for (const FileRef& table : shape_.version->files(level)) {
        for (const auto& [key, file] : contents_.at(table->number)) keys.insert(key);
      }
    }
    for (const auto& [key, file] : memtable_) keys.insert(key);
    return keys.size();
  }

 private:
  using Entries = std::map<uint64_t, ValueFileRef>;

  ValueFileRef NewFile() { return store_.files().Add(next_number_++, 0); }
  // A page at the end of the file, which is ended when it is full.
  ValueFileRef Append(ValueFileRef* file) {
    if ((*file)->bytes() >= scope_.full_file_bytes) *file = NewFile();
    (*file)->set_bytes((*file)->bytes() + kValuePageBytes);
    return *file;
  }

  FileRef MakeTableOf(const Entries& entries) {
    TableSpec spec{next_number_++, KeyOf(entries.begin()->first), KeyOf(entries.rbegin()->first),
                   entries.size() * kEntryBytes};
    spec.sequence = ++sequence_;
    FileRef table = MakeTable(spec);
    std::map<FileNumber, uint64_t> bytes;
    FileNumber last = 0;
    for (const auto& [key, file] : entries) {
      bytes[file->number()] += kValuePageBytes;
      ++table->info.value_pages;
      // As good as right where files are written by jobs, which alone have long runs.
      if (file->number() != last || !in_order_.contains(last)) ++table->info.value_runs;
      last = file->number();
    }
    for (const auto& [number, sum] : bytes) table->info.value_uses.push_back({number, sum, 0});
    store_.Attach(table.get());
    contents_[table->number] = entries;
    return table;
  }

  void Run(const CompactionPlan& plan) {
    VersionEdit edit;
    for (const size_t side : {size_t{0}, size_t{1}}) {
      const int level = side == 0 ? plan.level : plan.output_level;
      for (const FileRef& file : plan.inputs[side]) {
        edit.removed_files.push_back({level, file->number});
        if (plan.kind == CompactionPlan::Kind::kMove) {
          edit.added_files.push_back({plan.output_level, file});
        }
      }
    }
    if (plan.kind == CompactionPlan::Kind::kMerge) AddOutputs(Merged(plan), plan, &edit);
    Install(edit);
  }
  Entries Merged(const CompactionPlan& plan) {
    Entries merged;
    uint64_t above = 0;
    for (const auto& side : plan.inputs) {
      for (const FileRef& file : side) {  // newest first
        const Entries& entries = contents_.at(file->number);
        if (&side == &plan.inputs[0]) above += entries.size();
        merged.insert(entries.begin(), entries.end());
      }
    }
    if (plan.output_level != plan.level) {
      uint64_t all = 0;
      for (const auto& side : plan.inputs) {
        for (const FileRef& file : side) all += contents_.at(file->number).size();
      }
      const double found = static_cast<double>(all - merged.size()) / static_cast<double>(above);
      scope_.hidden_share += (std::min(found, 1.0) - scope_.hidden_share) / 4;
    }
    return merged;
  }
  void AddOutputs(Entries merged, const CompactionPlan& plan, VersionEdit* edit) {
    if (plan.MovesValues()) {
      ASSERT_EQ(plan.level, plan.output_level);
      ASSERT_GE(plan.level, 1);
      uint64_t moved = 0;
      ValueFileRef target = NewFile();
      for (auto& [key, file] : merged) {
        if (!plan.moves_all_values && !plan.moved_value_files.contains(file->number())) continue;
        ASSERT_TRUE(plan.moves_all_values || file != log_);
        file = Append(&target);
        in_order_.insert(file->number());
        ++moved;
      }
      ASSERT_GT(moved, 0U) << plan.reason;
      moved_pages_ += moved;
      // What is moved and what is replaced are there at once.
      CheckBytes();
    }
    Entries part;
    for (const auto& entry : merged) {
      part.insert(entry);
      if (part.size() < kTablePages) continue;
      edit->added_files.push_back({plan.output_level, MakeTableOf(part)});
      part.clear();
    }
    if (!part.empty()) edit->added_files.push_back({plan.output_level, MakeTableOf(part)});
  }
  void Install(const VersionEdit& edit) {
    auto version = Version::Apply(*shape_.version, edit);
    ASSERT_TRUE(version.ok()) << version.status().ToString();
    shape_.version = *version;
    for (const auto& removed : edit.removed_files) {
      const bool stays =
          std::any_of(edit.added_files.begin(), edit.added_files.end(),
                      [&](const auto& added) { return added.file->number == removed.number; });
      if (!stays) contents_.erase(removed.number);
    }
    for (const ValueFiles::Obsolete& file : store_.files().TakeObsolete()) {
      store_.files().Forget(file.number);
    }
    CheckBytes();
  }
  void CheckBytes() {
    if (!watched_) return;
    uint64_t bytes = 0;
    for (const ValueFileRef& file : store_.files().All()) bytes += file->bytes();
    const double amplification =
        static_cast<double>(bytes) / static_cast<double>(live_.size() * kValuePageBytes);
    worst_amplification_ = std::max(worst_amplification_, amplification);
  }

  io::Random random_;
  ValueStore store_;
  Options options_;
  ValueScope scope_;
  Shape shape_{Version::Empty(), std::make_shared<DropRangeSet>(), 0};
  std::map<FileNumber, Entries> contents_;  // of tables
  Files in_order_;
  Entries memtable_;
  ValueFileRef log_;
  std::set<uint64_t> live_;
  FileNumber next_number_ = 1;
  SequenceNumber sequence_ = 0;
  uint64_t moved_pages_ = 0;
  uint64_t written_pages_ = 0;
  bool watched_ = false;
  double worst_amplification_ = 0;
};

void CheckOverwrites(bool skewed) {
  ForEachSeed(1, 1, [&](uint64_t seed) {
    StoreModel store(seed);
    for (uint64_t key = 0; key < StoreModel::kKeys; ++key) store.Put(key);
    store.Watch();
    store.ResetCounts();
    for (uint64_t i = 0; i < 3 * StoreModel::kKeys; ++i) {
      skewed ? store.PutSkewed() : store.PutRandom();
      if (::testing::Test::HasFatalFailure()) return;
    }
    EXPECT_LE(store.worst_amplification(), 1.35);
    EXPECT_LE(store.moved_per_written(), 5);
    // Afterwards: everything is tidy, and nothing is done again and again.
    store.Flush();
    store.SetQuiet(true);
    if (::testing::Test::HasFatalFailure()) return;
    EXPECT_EQ(store.CountKeys(), StoreModel::kKeys);
    for (const ValueFileGarbage& file : MeasureValueFiles(store.version())) {
      if (file.file == store.log_number()) continue;
      uint64_t below = 0;
      for (int level = 1; level < kLevelCount; ++level) {
        for (const FileRef& table : store.version().files(level)) {
          for (const ValueUse& use : table->info.value_uses) {
            if (use.file == file.file) below += use.bytes;
          }
        }
      }
      if (below == 0) continue;
      EXPECT_LT(static_cast<double>(file.GarbageBytes()),
                0.3 * static_cast<double>(file.file_bytes))
          << file.file;
    }
  });
}

TEST(VacuumPickModelTest, UniformOverwritesStayBelowTheBound) { CheckOverwrites(false); }
TEST(VacuumPickModelTest, SkewedOverwritesStayBelowTheBound) { CheckOverwrites(true); }

}  // namespace
}  // namespace terracefs::lsm::compaction_test
