#include "lsm/compaction/drop_rules.h"

#include <gtest/gtest.h>

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
        DropRuleName(rules.Judge(MakeInternalKey(entry.user_key, entry.sequence, entry.kind))),
        DropRuleName(entry.rule))
        << entry.user_key << "@" << entry.sequence;
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
  rules.Judge(MakeInternalKey("d", 1, kValue));
  EXPECT_EQ(rules.dead_until(), "f");
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
