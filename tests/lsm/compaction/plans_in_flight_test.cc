// Plans of several workers at once over a model of the tree in which every table's entries are
// known: whatever is picked and in whatever order it ends, no two plans share a table, no level's
// tables overlap, and a reader who goes from level to level meets the versions of a key from the
// newest to the oldest (invariants R2 and R3).
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "io/base/random.h"
#include "lsm/compaction/input_growth.h"
#include "lsm/compaction/picker.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm::compaction_test {
namespace {

using Kind = CompactionPlan::Kind;
constexpr uint64_t kKeys = 200;
constexpr uint64_t kDomainKeys = 100;

std::string_view DomainOf(std::string_view key) {
  return key < KeyOf(kDomainKeys) ? std::string_view("low") : std::string_view("high");
}

class TreeModel {
 public:
  explicit TreeModel(uint64_t seed) : random_(seed) {
    options_.l0_compaction_trigger = 1 + static_cast<int>(random_.Uniform(4));
    options_.l0_slowdown_trigger = 6;
    options_.memtable_bytes = 200;
    ChangeLevels();
    options_.table_bytes = 100 + random_.Uniform(500);
    options_.merge_tables_max = 2 + static_cast<int>(random_.Uniform(20));
    options_.picking = random_.OneIn(2) ? Options::Picking::kRatio : Options::Picking::kRoundRobin;
    if (random_.OneIn(2)) options_.domain_of = DomainOf;
  }

  void Run() {
    for (int step = 0; step < 400 && !::testing::Test::HasFailure(); ++step) {
      now_ += static_cast<int64_t>(random_.Uniform(10));
      if (random_.OneIn(60)) ChangeLevels();
      switch (random_.Uniform(6)) {
        case 0:
        case 1:
          if (shape_.version->level0_depth() < 12) Flush();
          break;
        case 2:
        case 3:
          Begin(PickCompaction(Context()));
          break;
        case 4:
          BeginManual();
          break;
        default:
          if (!running_.empty()) End(random_.Uniform(running_.size()));
          break;
      }
    }
    Settle();
  }
  uint64_t moves() const { return moves_; }
  uint64_t together_max() const { return together_max_; }
  const std::set<std::string>& reasons() const { return reasons_; }

 private:
  // A key's newest sequence; one version of a key in a table is enough to see who passes whom.
  using Entries = std::map<uint64_t, SequenceNumber>;

  // As when a store is opened with other options, or has shrunk: levels come and have to drain.
  void ChangeLevels() {
    options_.level1_bytes = 100 + random_.Uniform(2000);
    options_.level_multiplier = 2 + static_cast<int>(random_.Uniform(4));
    options_.dynamic_levels = !random_.OneIn(3);
  }

  PickContext Context() {
    PickContext context{shape_, options_, in_use_};
    context.now_seconds = now_;
    context.delete_deadline_s = 500;
    context.compact_pointers = &pointers_;
    context.level0_only = random_.OneIn(5);
    return context;
  }

  FileRef MakeModelTable(const Entries& entries, bool tombstones) {
    TableSpec spec;
    spec.number = ++last_number_;
    spec.smallest = KeyOf(entries.begin()->first);
    spec.largest = KeyOf(entries.rbegin()->first);
    spec.file_bytes = 20 * entries.size();
    for (const auto& [key, sequence] : entries) spec.sequence = std::max(spec.sequence, sequence);
    if (tombstones) {
      spec.tombstone_count = 1 + random_.Uniform(5);
      spec.oldest_tombstone_seconds = now_;
    }
    if (random_.OneIn(10)) spec.hidden_count = random_.Uniform(8);
    if (random_.OneIn(10)) spec.wasted_reads = random_.Uniform(2000);
    contents_[spec.number] = entries;
    return MakeTable(spec);
  }

  void Apply(const VersionEdit& edit) {
    auto version = Version::Apply(*shape_.version, edit);
    ASSERT_TRUE(version.ok()) << version.status().ToString();
    shape_.version = *version;
    CheckOrder();
  }

  void Flush() {
    Entries entries;
    const uint64_t begin = random_.Uniform(kKeys);
    const uint64_t width = 1 + random_.Uniform(random_.OneIn(3) ? kKeys : 20);
    for (uint64_t i = 1 + random_.Uniform(10); i > 0; --i) {
      entries[std::min(begin + random_.Uniform(width), kKeys - 1)] = ++sequence_;
    }
    VersionEdit edit;
    for (const Entries& part : CutAtDomains(entries)) {
      edit.added_files.push_back({0, MakeModelTable(part, random_.OneIn(3))});
    }
    Apply(edit);
  }

  std::vector<Entries> CutAtDomains(const Entries& entries) const {
    if (options_.domain_of == nullptr) return {entries};
    std::vector<Entries> parts;
    for (const auto& [key, sequence] : entries) {
      const auto domain = DomainOf(KeyOf(key));
      if (parts.empty() || DomainOf(KeyOf(parts.back().begin()->first)) != domain) {
        parts.emplace_back();
      }
      parts.back()[key] = sequence;
    }
    return parts;
  }

  void Begin(const std::optional<CompactionPlan>& plan) {
    if (!plan || running_.size() >= 5) return;
    ASSERT_FALSE(in_use_.Conflicts(*plan)) << plan->reason;
    for (const CompactionPlan& other : running_) {
      for (const auto& side : other.inputs) {
        for (const FileRef& file : side) ASSERT_FALSE(Has(*plan, file)) << file->number;
      }
    }
    ASSERT_FALSE(plan->inputs[0].empty());
    ASSERT_TRUE(plan->level < kLevelCount - 1 || plan->output_level == plan->level);
    in_use_.Register(*plan);
    running_.push_back(*plan);
    reasons_.insert(plan->reason);
    together_max_ = std::max<uint64_t>(together_max_, running_.size());
    if (plan->output_level == plan->level + 1) {
      pointers_[static_cast<size_t>(plan->level)] = plan->inputs[0].back()->largest_user_key();
    }
  }
  static bool Has(const CompactionPlan& plan, const FileRef& file) {
    return std::any_of(plan.inputs.begin(), plan.inputs.end(), [&](const auto& side) {
      return std::find(side.begin(), side.end(), file) != side.end();
    });
  }

  void BeginManual() {
    const uint64_t begin = random_.Uniform(kKeys);
    const std::vector<KeyRange> ranges = {{KeyOf(begin), KeyOf(begin + random_.Uniform(50))}};
    ManualSlice slice;
    slice.level = static_cast<int>(random_.Uniform(kLevelCount));
    slice.in_place = slice.level == kLevelCount - 1 || random_.OneIn(2);
    if (random_.OneIn(2)) slice.ranges = &ranges;
    if (random_.OneIn(3)) slice.cursor = KeyOf(random_.Uniform(kKeys));
    // A level above the base is empty.
    const auto plan = random_.OneIn(3) ? PickReclaim(Context(), {}) : PickManual(Context(), slice);
    if (plan && !in_use_.Conflicts(*plan)) Begin(plan);
  }

  // The job ends: its outputs take the place of its inputs.
  void End(size_t index) {
    const CompactionPlan plan = running_[index];
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(index));
    VersionEdit edit;
    Entries merged;
    std::set<FileNumber> skipped;
    for (const FileRef& file : plan.inputs[1]) {
      // C6, now and then.
      if (plan.kind == Kind::kMerge && random_.OneIn(2) && !SourceHasKeyIn(plan, *file)) {
        skipped.insert(file->number);
      }
    }
    for (const size_t side : {size_t{0}, size_t{1}}) {
      for (const FileRef& file : plan.inputs[side]) {
        if (skipped.contains(file->number)) continue;
        edit.removed_files.push_back({side == 0 ? plan.level : plan.output_level, file->number});
        for (const auto& [key, sequence] : contents_.at(file->number)) {
          merged[key] = std::max(merged[key], sequence);
        }
      }
    }
    if (plan.kind == Kind::kMove) {
      ++moves_;
      for (const FileRef& file : plan.inputs[0]) {
        file->wasted_reads = 0;
        edit.added_files.push_back({plan.output_level, file});
      }
    } else {
      bool deeper = false;
      for (int level = plan.output_level + 1; level < kLevelCount; ++level) {
        deeper |=
            !shape_.version->Overlapping(level, plan.smallest_user_key(), plan.largest_user_key())
                 .empty();
      }
      for (const Entries& part : CutOutputs(plan, merged, skipped)) {
        edit.added_files.push_back({plan.output_level, MakeModelTable(part, deeper)});
      }
    }
    in_use_.Unregister(plan);
    Apply(edit);
  }
  bool SourceHasKeyIn(const CompactionPlan& plan, const FileMeta& target) const {
    const Entries& own = contents_.at(target.number);
    return std::any_of(plan.inputs[0].begin(), plan.inputs[0].end(), [&](const FileRef& file) {
      const Entries& entries = contents_.at(file->number);
      const auto at = entries.lower_bound(own.begin()->first);
      return at != entries.end() && at->first <= own.rbegin()->first;
    });
  }
  std::vector<Entries> CutOutputs(const CompactionPlan& plan, const Entries& merged,
                                  const std::set<FileNumber>& skipped) const {
    if (plan.output_level == 0) return CutAtDomains(merged);
    std::vector<FileRef> left;
    for (const FileRef& file : plan.inputs[1]) {
      if (skipped.contains(file->number)) left.push_back(file);
    }
    std::vector<Entries> parts;
    for (const auto& entry : merged) {
      const std::string key = KeyOf(entry.first);
      const bool passes = !parts.empty() && std::any_of(left.begin(), left.end(), [&](auto& file) {
        return file->smallest_user_key() > KeyOf(parts.back().rbegin()->first) &&
               file->largest_user_key() < key;
      });
      if (parts.empty() || passes || 20 * parts.back().size() >= options_.table_bytes) {
        parts.emplace_back();
      }
      parts.back().insert(entry);
    }
    return parts;
  }

  // From level 0, newest table first, downwards, each version of a key is older than the one
  // before.
  void CheckOrder() {
    std::map<uint64_t, SequenceNumber> seen;
    for (int level = 0; level < kLevelCount; ++level) {
      for (const FileRef& file : shape_.version->files(level)) {
        for (const auto& [key, sequence] : contents_.at(file->number)) {
          const auto [at, is_first] = seen.emplace(key, sequence);
          if (is_first) continue;
          ASSERT_LT(sequence, at->second)
              << "key " << key << " at level " << level << ", table " << file->number;
          at->second = sequence;
        }
      }
    }
    for (const auto& [key, sequence] : newest_seen_) {
      ASSERT_TRUE(seen.contains(key)) << key;
    }
    newest_seen_ = std::move(seen);
  }

  // What is running ends and everything that is due is done.
  void Settle() {
    size_t steps = 0;
    for (;;) {
      while (!running_.empty() && !::testing::Test::HasFailure()) End(0);
      if (::testing::Test::HasFailure()) return;
      PickContext context = Context();
      context.level0_only = false;
      const auto plan = PickCompaction(context);
      if (!plan) break;
      ASSERT_LT(++steps, 5000U);
      Begin(plan);
    }
    EXPECT_TRUE(in_use_.empty());
    for (int level = 0; level < kLevelCount; ++level) EXPECT_LT(LevelScore(Context(), level), 1);
  }

  io::Random random_;
  Options options_;
  Shape shape_{Version::Empty(), std::make_shared<DropRangeSet>(), 0};
  RangesInUse in_use_;
  CompactPointers pointers_;
  int64_t now_ = 1000;
  SequenceNumber sequence_ = 0;
  FileNumber last_number_ = 0;
  std::map<FileNumber, Entries> contents_;
  std::map<uint64_t, SequenceNumber> newest_seen_;
  std::vector<CompactionPlan> running_;
  uint64_t moves_ = 0;
  uint64_t together_max_ = 0;
  std::set<std::string> reasons_;
};

TEST(PlansInFlightTest, NewerVersionsNeverPassBelowOlderOnes) {
  uint64_t moves = 0;
  uint64_t together_max = 0;
  std::set<std::string> reasons;
  ForEachSeed(1, 400, [&](uint64_t seed) {
    TreeModel model(seed);
    model.Run();
    moves += model.moves();
    together_max = std::max(together_max, model.together_max());
    reasons.insert(model.reasons().begin(), model.reasons().end());
  });
  if (testing::FromEnvironment("SEED", 0) != 0) return;
  // The test is worth something only if it meets everything.
  EXPECT_GT(moves, 100U);
  EXPECT_GE(together_max, 4U);
  for (const char* reason : {"size", "level 0", "level 0 in itself", "deadline", "tombstones",
                             "elision", "reads", "manual", "reclaim"}) {
    EXPECT_TRUE(reasons.contains(reason)) << reason;
  }
}

}  // namespace
}  // namespace terracefs::lsm::compaction_test
