#include "lsm/compaction/output_cutter.h"

#include <gtest/gtest.h>

#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

Options SmallTables() {
  Options options;
  options.table_bytes = 1000;
  return options;
}

TEST(OutputCutterTest, CutsAtTheTableSize) {
  const Options options = SmallTables();
  OutputCutter cutter(options, 1, {}, {});
  EXPECT_FALSE(cutter.ShouldCutBefore("a", 5000)) << "nothing was added yet";
  EXPECT_FALSE(cutter.ShouldCutBefore("b", 999));
  EXPECT_TRUE(cutter.ShouldCutBefore("c", 1000));
  cutter.Restart();
  EXPECT_FALSE(cutter.ShouldCutBefore("d", 10));
}

TEST(OutputCutterTest, NeverCutsInsideAUserKey) {
  const Options options = SmallTables();
  OutputCutter cutter(options, 1, {}, {});
  cutter.ShouldCutBefore("a", 0);
  for (int version = 0; version < 5; ++version) EXPECT_FALSE(cutter.ShouldCutBefore("a", 100'000));
  EXPECT_TRUE(cutter.ShouldCutBefore("b", 100'000));
}

TEST(OutputCutterTest, CutsWhereTheDomainChangesAndWhereTheGroupMay) {
  Options options = SmallTables();
  options.domain_of = [](std::string_view key) { return key.substr(0, 1); };
  options.group_of = [](std::string_view key) { return key.substr(0, 2); };
  OutputCutter cutter(options, 1, {}, {});
  cutter.ShouldCutBefore("a1x", 0);
  EXPECT_FALSE(cutter.ShouldCutBefore("a1y", 600));
  EXPECT_FALSE(cutter.ShouldCutBefore("a2x", 400)) << "another group, but the table is small";
  EXPECT_TRUE(cutter.ShouldCutBefore("a3x", 500));
  cutter.Restart();
  EXPECT_TRUE(cutter.ShouldCutBefore("b3x", 1)) << "another domain";
  // Looked at again for every key (Q23): the group that counts is the last key's.
  cutter.Restart();
  EXPECT_FALSE(cutter.ShouldCutBefore("b4x", 100));
  EXPECT_TRUE(cutter.ShouldCutBefore("b5x", 501));
}

TEST(OutputCutterTest, CutsBeforeTheNextMergeGetsTooExpensive) {
  const Options options = SmallTables();  // limit: 10'000 bytes of grandparents
  OutputCutter cutter(options, 1,
                      {MakeTable({1, "b", "c", 6000}), MakeTable({2, "d", "e", 5000}),
                       MakeTable({3, "f", "g", 1000})},
                      {});
  EXPECT_FALSE(cutter.ShouldCutBefore("a", 0));
  EXPECT_FALSE(cutter.ShouldCutBefore("c", 10));
  EXPECT_FALSE(cutter.ShouldCutBefore("d", 20));
  EXPECT_FALSE(cutter.ShouldCutBefore("e", 30));
  EXPECT_TRUE(cutter.ShouldCutBefore("f", 40));
  cutter.Restart();
  EXPECT_FALSE(cutter.ShouldCutBefore("h", 50));
}

// What lies below a run of entries that were all dropped is no reason to cut behind the first
// survivor.
TEST(OutputCutterTest, GrandparentsBeforeTheFirstKeyDoNotCount) {
  const Options options = SmallTables();
  OutputCutter cutter(options, 1, {MakeTable({1, "b", "c", 60'000})}, {});
  EXPECT_FALSE(cutter.ShouldCutBefore("m", 0));
  EXPECT_FALSE(cutter.ShouldCutBefore("n", 10));
}

// G5: tables of the output level that stay where they are.
TEST(OutputCutterTest, CutsAtEverySkippedTable) {
  const Options options = SmallTables();
  OutputCutter cutter(options, 2, {},
                      {MakeTable({1, "b", "d"}), MakeTable({2, "e", "g"}), MakeTable({3, "m", "n"}),
                       MakeTable({4, "o", "o"})});
  EXPECT_FALSE(cutter.ShouldCutBefore("a", 0));
  EXPECT_FALSE(cutter.ShouldCutBefore("aa", 10));
  EXPECT_TRUE(cutter.ShouldCutBefore("dd", 20));
  cutter.Restart();
  EXPECT_TRUE(cutter.ShouldCutBefore("h", 10)) << "another one";
  cutter.Restart();
  EXPECT_FALSE(cutter.ShouldCutBefore("i", 10));
  EXPECT_TRUE(cutter.ShouldCutBefore("p", 10)) << "two at once";
  cutter.Restart();
  EXPECT_FALSE(cutter.ShouldCutBefore("q", 10));
}

TEST(OutputCutterTest, ASkippedTableBeforeTheFirstKeyIsNoReasonToCut) {
  const Options options = SmallTables();
  OutputCutter cutter(options, 2, {}, {MakeTable({1, "b", "d"})});
  EXPECT_FALSE(cutter.ShouldCutBefore("m", 0));
  EXPECT_FALSE(cutter.ShouldCutBefore("n", 10));
}

TEST(OutputCutterTest, NeverCutsInsideAUserKeyWhateverLiesBelow) {
  Options options = SmallTables();
  OutputCutter cutter(options, 2, {MakeTable({2, "b", "c", 60'000})}, {MakeTable({1, "b", "d"})});
  EXPECT_FALSE(cutter.ShouldCutBefore("a", 0));
  EXPECT_FALSE(cutter.ShouldCutBefore("a", 100'000));
  EXPECT_TRUE(cutter.ShouldCutBefore("e", 10));
  cutter.Restart();
  EXPECT_FALSE(cutter.ShouldCutBefore("e", 100'000));
}

// A piece of history is to be as few tables as may be, but a domain that goes as a whole is to be
// whole tables from the start.
TEST(OutputCutterTest, Level0IsCutAtDomainsOnly) {
  Options options = SmallTables();
  options.domain_of = [](std::string_view key) { return key.substr(0, 1); };
  options.group_of = [](std::string_view key) { return key.substr(0, 2); };
  OutputCutter cutter(options, 0, {}, {});
  EXPECT_FALSE(cutter.ShouldCutBefore("a1", 0));
  EXPECT_FALSE(cutter.ShouldCutBefore("a2", 1'000'000)) << "neither at a size nor at a group";
  EXPECT_TRUE(cutter.ShouldCutBefore("b1", 10));
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
