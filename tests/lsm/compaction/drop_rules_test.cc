#include "lsm/compaction/drop_rules.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

struct Judged {
  std::string user_key;
  SequenceNumber sequence;
  EntryKind kind;
  DropRule rule;
};

void ExpectRules(const DropRules::Scope& scope, const std::vector<Judged>& entries) {
  DropRules rules(scope);
  std::array<uint64_t, kDropRuleCount> counts{};
  for (const Judged& entry : entries) {
    EXPECT_EQ(
        DropRuleName(rules.Judge(MakeInternalKey(entry.user_key, entry.sequence, entry.kind), "")),
        DropRuleName(entry.rule))
        << entry.user_key << "@" << entry.sequence;
    EXPECT_FALSE(rules.becomes_tombstone());
    ++counts[static_cast<size_t>(entry.rule)];
  }
  for (size_t i = 0; i < kDropRuleCount; ++i) {
    EXPECT_EQ(rules.dropped(static_cast<DropRule>(i)), counts[i]);
  }
}

constexpr EntryKind kValue = EntryKind::kValue;
constexpr EntryKind kDelete = EntryKind::kDelete;

TEST(DropRulesTest, TheNewestVersionAtOrBelowTheSnapshotStays) {
  DropRules::Scope scope;
  scope.smallest_snapshot = 4;  // the example of compaction_mechanisms E1
  ExpectRules(scope, {{"k", 5, kValue, DropRule::kNone},
                      {"k", 4, kValue, DropRule::kNone},
                      {"k", 3, kValue, DropRule::kHidden},
                      {"k", 2, kValue, DropRule::kHidden},
                      {"k", 1, kValue, DropRule::kHidden},
                      {"l", 1, kValue, DropRule::kNone}});
}

TEST(DropRulesTest, WithoutSnapshotsOnlyTheNewestVersionStays) {
  DropRules::Scope scope;
  scope.smallest_snapshot = 9;
  ExpectRules(scope, {{"k", 9, kValue, DropRule::kNone},
                      {"k", 8, kValue, DropRule::kHidden},
                      {"kk", 7, kValue, DropRule::kNone},
                      {"kk", 6, kDelete, DropRule::kHidden}});
}

TEST(DropRulesTest, ATombstoneGoesOnlyWhereNothingBelowHasTheKey) {
  const auto version = MakeVersion({{1, {1, "b", "y"}}, {2, {2, "b", "d"}}, {4, {3, "m", "p"}}});
  DropRules::Scope scope;
  scope.version = version.get();
  scope.output_level = 2;
  scope.smallest_snapshot = 100;
  ExpectRules(scope, {{"a", 9, kDelete, DropRule::kTombstone},
                      {"a", 8, kValue, DropRule::kHidden},  // by the tombstone, though that is gone
                      {"c", 9, kDelete, DropRule::kTombstone},  // level 2 itself was read
                      {"m", 9, kDelete, DropRule::kNone},
                      {"m", 8, kValue, DropRule::kHidden},
                      {"n", 9, kDelete, DropRule::kNone},
                      {"p", 9, kDelete, DropRule::kNone},
                      {"pp", 9, kDelete, DropRule::kTombstone},
                      {"z", 9, kDelete, DropRule::kTombstone}});
}

TEST(DropRulesTest, AFlushAsksEveryLevel) {
  const auto version = MakeVersion({{0, {1, "b", "c"}}, {0, {2, "x", "y"}}, {1, {3, "e", "f"}}});
  DropRules::Scope scope;
  scope.version = version.get();
  scope.output_level = -1;
  scope.smallest_snapshot = 100;
  ExpectRules(scope, {{"a", 9, kDelete, DropRule::kTombstone},
                      {"b", 9, kDelete, DropRule::kNone},
                      {"e", 9, kDelete, DropRule::kNone},
                      {"g", 9, kDelete, DropRule::kTombstone},
                      {"x", 9, kDelete, DropRule::kNone}});
}

TEST(DropRulesTest, ATombstoneNewerThanASnapshotStays) {
  const auto version = Version::Empty();
  DropRules::Scope scope;
  scope.version = version.get();
  scope.smallest_snapshot = 5;
  ExpectRules(scope, {{"a", 6, kDelete, DropRule::kNone},
                      {"a", 4, kValue, DropRule::kNone},  // the snapshot sees it
                      {"a", 3, kDelete, DropRule::kHidden},
                      {"b", 5, kDelete, DropRule::kTombstone}});
}

TEST(DropRulesTest, WithoutAVersionTombstonesStay) {
  DropRules::Scope scope;
  scope.smallest_snapshot = 100;
  ExpectRules(scope, {{"a", 6, kDelete, DropRule::kNone}});
}

TEST(DropRulesTest, DeadEntriesGoWhateverTheirVersionAndTheSnapshots) {
  DropRangeSet drops;
  drops.Add("c", "f");
  const auto version = MakeVersion({{5, {1, "a", "z"}}});
  DropRules::Scope scope;
  scope.version = version.get();
  scope.drops = &drops;
  scope.smallest_snapshot = 2;
  DropRules rules(scope);
  ExpectRules(scope, {{"b", 9, kValue, DropRule::kNone},
                      {"c", 9, kValue, DropRule::kDropRange},
                      {"c", 8, kDelete, DropRule::kDropRange},
                      {"eee", 1, kValue, DropRule::kDropRange},
                      {"f", 9, kValue, DropRule::kNone}});
  rules.Judge(MakeInternalKey("d", 1, kValue), "");
  EXPECT_EQ(rules.dead_until(), "f");
}

// Q2 (dgraph #1422): what decides is each key, not the hull of the source tables. A tombstone of
// the target level beyond that hull still has a value below it.
TEST(DropRulesTest, EachTombstoneIsJudgedByItsOwnKey) {
  const auto version =
      MakeVersion({{1, {1, "c", "d"}}, {2, {2, "a", "k"}}, {3, {3, "h", "h"}}, {5, {4, "j", "j"}}});
  DropRules::Scope scope;
  scope.version = version.get();
  scope.output_level = 2;
  scope.smallest_snapshot = 100;
  ExpectRules(scope, {{"b", 9, kDelete, DropRule::kTombstone},
                      {"c", 9, kDelete, DropRule::kTombstone},
                      {"g", 9, kDelete, DropRule::kTombstone},
                      {"h", 9, kDelete, DropRule::kNone},
                      {"i", 9, kDelete, DropRule::kTombstone},
                      {"j", 9, kDelete, DropRule::kNone}});
}

// Level-0 tables lie over each other: what a rewrite of some of them does not read may be older.
TEST(DropRulesTest, ALevel0OutputLooksAtTheRestOfLevel0) {
  const auto version = MakeVersion({{0, {9, "a", "d"}}, {0, {8, "c", "f"}}, {0, {7, "f", "g"}}});
  DropRules::Scope scope;
  scope.version = version.get();
  scope.output_level = 0;
  scope.smallest_snapshot = 100;
  scope.level0_rest = {version->files(0)[1], version->files(0)[2]};
  ExpectRules(scope, {{"b", 9, kDelete, DropRule::kTombstone},
                      {"c", 9, kDelete, DropRule::kNone},
                      {"g", 9, kDelete, DropRule::kNone},
                      {"h", 9, kDelete, DropRule::kTombstone}});
}

// What the filter was asked, as "key=value@now".
std::vector<std::string>& Asked() {
  static std::vector<std::string> asked;
  return asked;
}

// Deletes what has a value that begins with "expired".
Options::FilterDecision Expire(std::string_view key, std::string_view value, int64_t now_seconds) {
  Asked().push_back(std::string(key) + "=" + std::string(value) + "@" +
                    std::to_string(now_seconds));
  return value.starts_with("expired") ? Options::FilterDecision::kDelete
                                      : Options::FilterDecision::kKeep;
}

class FilterRulesTest : public ::testing::Test {
 protected:
  FilterRulesTest() {
    Asked().clear();
    scope_.version = version_.get();
    scope_.output_level = 2;
    scope_.smallest_snapshot = 100;
    scope_.filter = Expire;
    scope_.now_seconds = 777;
  }
  struct Verdict {
    DropRule rule;
    bool becomes_tombstone;
    bool operator==(const Verdict&) const = default;
  };
  Verdict Judge(const std::string& key, SequenceNumber sequence, EntryKind kind,
                std::string_view value) {
    if (!rules_) rules_.emplace(scope_);
    const DropRule rule = rules_->Judge(MakeInternalKey(key, sequence, kind), value);
    return {rule, rules_->becomes_tombstone()};
  }

  // Something may be deeper for m to p.
  const std::shared_ptr<const Version> version_ =
      MakeVersion({{1, {1, "a", "z"}}, {2, {2, "a", "z"}}, {4, {3, "m", "p"}}});
  DropRules::Scope scope_;
  std::optional<DropRules> rules_;
};

TEST_F(FilterRulesTest, WhatItDeletesIsGoneWhereNothingIsDeeper) {
  EXPECT_EQ(Judge("a", 9, kValue, "expired"), (Verdict{DropRule::kFiltered, false}));
  EXPECT_EQ(Judge("a", 8, kValue, "older"), (Verdict{DropRule::kHidden, false}));
  EXPECT_EQ(Judge("b", 9, kValue, "good"), (Verdict{DropRule::kNone, false}));
  EXPECT_EQ(rules_->dropped(DropRule::kFiltered), 1U);
}

TEST_F(FilterRulesTest, WhatItDeletesBecomesATombstoneWhereSomethingMayBeDeeper) {
  EXPECT_EQ(Judge("m", 9, kValue, "expired"), (Verdict{DropRule::kNone, true}));
  EXPECT_EQ(Judge("m", 8, kValue, "older"), (Verdict{DropRule::kHidden, false}));
  EXPECT_EQ(Judge("q", 9, kValue, "good"), (Verdict{DropRule::kNone, false})) << "not for ever";
  EXPECT_EQ(rules_->dropped(DropRule::kFiltered), 0U);
}

TEST_F(FilterRulesTest, IsAskedOnceForTheNewestVersionThatEverySnapshotSees) {
  scope_.smallest_snapshot = 5;
  EXPECT_EQ(Judge("a", 7, kValue, "expired 7"), (Verdict{DropRule::kNone, false}));
  EXPECT_EQ(Judge("a", 6, kValue, "expired 6"), (Verdict{DropRule::kNone, false}));
  EXPECT_EQ(Judge("a", 5, kValue, "expired 5"), (Verdict{DropRule::kFiltered, false}));
  EXPECT_EQ(Judge("a", 4, kValue, "expired 4"), (Verdict{DropRule::kHidden, false}));
  EXPECT_EQ(Judge("b", 9, kValue, "expired 9"), (Verdict{DropRule::kNone, false}));
  EXPECT_EQ(Asked(), (std::vector<std::string>{"a=expired 5@777"}));
}

TEST_F(FilterRulesTest, IsNeverAskedAboutTombstonesReferencesAndTheDead) {
  DropRangeSet drops;
  drops.Add("x", "y");
  scope_.drops = &drops;
  EXPECT_EQ(Judge("m", 9, kDelete, "expired"), (Verdict{DropRule::kNone, false}));
  EXPECT_EQ(Judge("m", 8, kValue, "expired"), (Verdict{DropRule::kHidden, false}));
  EXPECT_EQ(Judge("n", 8, EntryKind::kReference, "expired"), (Verdict{DropRule::kNone, false}));
  EXPECT_EQ(Judge("x", 8, kValue, "expired"), (Verdict{DropRule::kDropRange, false}));
  EXPECT_TRUE(Asked().empty());
}

// E8: a time that passes while the job runs must not decide differently for its last entries.
TEST_F(FilterRulesTest, SeesOneTimeForTheWholeJob) {
  Judge("a", 9, kValue, "1");
  Judge("b", 9, kValue, "2");
  EXPECT_EQ(Asked(), (std::vector<std::string>{"a=1@777", "b=2@777"}));
  EXPECT_EQ(rules_->now_seconds(), 777);
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
