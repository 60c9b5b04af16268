#include "lsm/manifest/version.h"

#include <gtest/gtest.h>

#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm {
namespace {

using compaction_test::MakeTable;
using compaction_test::MakeVersion;
using compaction_test::Numbers;
using FileNumbers = std::vector<FileNumber>;

bool IsCorruption(const io::Result<std::shared_ptr<const Version>>& version) {
  return !version.ok() && version.status().Is(io::StatusCode::kCorruption);
}

TEST(VersionTest, Level0IsNewestFirstBySequenceAndDeeperLevelsByKey) {
  const auto version = MakeVersion({{0, {1, "a", "z", 1, 50}},
                                    {0, {2, "a", "z", 1, 70}},
                                    {0, {3, "a", "z", 1, 60}},
                                    {1, {4, "m", "n"}},
                                    {1, {5, "a", "b"}}});
  EXPECT_EQ(Numbers(version->files(0)), (FileNumbers{2, 3, 1}));
  EXPECT_EQ(Numbers(version->files(1)), (FileNumbers{5, 4}));
  EXPECT_EQ(version->LevelBytes(0), 3U);
  EXPECT_EQ(version->DeepestLevel(), 1);
  EXPECT_EQ(Version::Empty()->DeepestLevel(), 0);
}

TEST(VersionTest, ApplyChangesACopy) {
  const auto base = MakeVersion({{1, {1, "a", "c"}}, {1, {2, "d", "f"}}});
  VersionEdit edit;
  edit.removed_files = {{1, 1}};
  edit.added_files = {{2, base->files(1)[0]}, {1, MakeTable({3, "b", "b"})}};  // moves table 1
  const auto version = Version::Apply(*base, edit);
  ASSERT_TRUE(version.ok()) << version.status().ToString();
  EXPECT_EQ(Numbers((*version)->files(1)), (FileNumbers{3, 2}));
  EXPECT_EQ(Numbers((*version)->files(2)), (FileNumbers{1}));
  EXPECT_EQ(Numbers(base->files(1)), (FileNumbers{1, 2}));
}

TEST(VersionTest, WhatDoesNotFitIsCorruption) {
  const auto base = MakeVersion({{0, {9, "a", "c"}}, {1, {1, "a", "c"}}, {1, {2, "d", "f"}}});
  VersionEdit edit;
  edit.removed_files = {{2, 1}};
  EXPECT_TRUE(IsCorruption(Version::Apply(*base, edit))) << "removes from the wrong level";
  edit.removed_files = {{1, 77}};
  EXPECT_TRUE(IsCorruption(Version::Apply(*base, edit))) << "removes what never was";
  edit = {};
  edit.added_files = {{1, MakeTable({3, "c", "cc"})}};
  EXPECT_TRUE(IsCorruption(Version::Apply(*base, edit))) << "shares a user key with its neighbour";
  edit.added_files = {{1, MakeTable({3, "cc", "z"})}};
  EXPECT_TRUE(IsCorruption(Version::Apply(*base, edit))) << "overlaps";
  edit.added_files = {{0, MakeTable({9, "x", "y"})}};
  EXPECT_TRUE(IsCorruption(Version::Apply(*base, edit))) << "a number that is in use at its level";
  edit.added_files = {{0, MakeTable({2, "x", "y"})}};
  EXPECT_TRUE(IsCorruption(Version::Apply(*base, edit))) << "a number that is in use elsewhere";
  edit.added_files = {{0, MakeTable({5, "x", "y"})}, {4, MakeTable({5, "x", "y"})}};
  EXPECT_TRUE(IsCorruption(Version::Apply(*base, edit))) << "the same number twice";
}

TEST(VersionTest, OverlappingIsInclusiveAtBothEnds) {
  const auto version = MakeVersion({{0, {8, "c", "f"}},
                                    {0, {9, "a", "z"}},
                                    {2, {1, "b", "d"}},
                                    {2, {2, "f", "h"}},
                                    {2, {3, "k", "k"}}});
  struct Case {
    int level;
    const char* begin;
    const char* end;
    FileNumbers expected;
  };
  const Case cases[] = {
      {2, "a", "az", {}},    {2, "a", "b", {1}},    {2, "d", "f", {1, 2}}, {2, "d0", "e", {}},
      {2, "h", "k", {2, 3}}, {2, "k", "k", {3}},    {2, "l", "z", {}},     {2, "", "z", {1, 2, 3}},
      {0, "g", "g", {9}},    {0, "f", "f", {9, 8}}, {1, "a", "z", {}},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Numbers(version->Overlapping(c.level, c.begin, c.end)), c.expected)
        << c.level << " " << c.begin << " " << c.end;
  }
}

TEST(VersionTest, FindFileGivesTheFirstThatEndsAtOrAfterTheKey) {
  const auto version = MakeVersion({{2, {1, "b", "d"}}, {2, {2, "f", "h"}}});
  EXPECT_EQ(version->FindFile(2, "a"), 0U);
  EXPECT_EQ(version->FindFile(2, "d"), 0U);
  EXPECT_EQ(version->FindFile(2, "e"), 1U);
  EXPECT_EQ(version->FindFile(2, "h"), 1U);
  EXPECT_EQ(version->FindFile(2, "i"), 2U);
}

TEST(VersionTest, DeeperMayContainAsksEveryLevelBelow) {
  const auto version = MakeVersion({{0, {9, "a", "b"}},
                                    {1, {1, "c", "d"}},
                                    {3, {2, "e", "f"}},
                                    {kLevelCount - 1, {3, "g", "h"}}});
  EXPECT_TRUE(version->DeeperMayContain(-1, "a"));
  EXPECT_FALSE(version->DeeperMayContain(0, "a"));
  EXPECT_TRUE(version->DeeperMayContain(0, "c"));
  EXPECT_FALSE(version->DeeperMayContain(1, "c"));
  EXPECT_TRUE(version->DeeperMayContain(1, "f"));
  EXPECT_TRUE(version->DeeperMayContain(5, "g"));
  EXPECT_FALSE(version->DeeperMayContain(6, "g"));
  EXPECT_FALSE(version->DeeperMayContain(-1, "bb"));
}

TEST(VersionTest, DropsAreKeptUntilRetired) {
  VersionEdit add;
  add.added_drops = {{"a", "b", 5, 1}, {"a", "c", 7, 1}};
  auto version = *Version::Apply(*Version::Empty(), add);
  ASSERT_EQ(version->drops().size(), 2U);
  VersionEdit retire;
  retire.retired_drops = {{"a", 5}, {"q", 1}};
  version = *Version::Apply(*version, retire);
  ASSERT_EQ(version->drops().size(), 1U);
  EXPECT_EQ(version->drops()[0].sequence, 7U);
}

}  // namespace
}  // namespace terracefs::lsm
