#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "io/base/coding.h"
#include "io/base/random.h"
#include "lsm/db.h"
#include "lsm/file_names.h"
#include "tests/support/sim_storage.h"
#include "tests/support/test_page.h"

namespace terracefs::lsm::crash_test {

// What a key holds: bytes, or the page that a seed makes.
struct HeldValue {
  std::string bytes;
  uint64_t page_seed = 0;

  bool Is(std::string_view value) const {
    return page_seed != 0 ? testing::TestPage(page_seed) == value : bytes == value;
  }
};
using State = std::map<std::string, HeldValue>;

// One change of a batch, as the model keeps it.
struct Change {
  enum class Kind { kPut, kDelete, kDropGroup, kCount, kPage };
  Kind kind = Kind::kPut;
  std::string key;
  std::string value;
  uint64_t group = 0;  // of kPage: the seed of the page
  int64_t delta = 0;
};

// Keys "p..." are overwritten and deleted at random; those of a group "g..." are never used again
// once the group was dropped. Batch n (counted from 1) puts its number into kNumberKey.
inline constexpr char kNumberKey[] = "n";
inline constexpr uint8_t kSumCounter = 2;
inline constexpr uint8_t kBatchCounter = 5;

inline std::string GroupPrefix(uint64_t group) {
  std::string key = "g";
  io::PutOrdered64(&key, group);
  return key;
}
inline std::string GroupKey(uint64_t group, uint64_t page) {
  std::string key = GroupPrefix(group);
  io::PutOrdered64(&key, page);
  return key;
}
inline std::string_view DomainOf(std::string_view key) { return key.substr(0, 1); }
inline std::string_view GroupOf(std::string_view key) { return key.substr(0, 9); }

// What a store should hold after each batch, and how much of that must survive a crash.
class History {
 public:
  // The next batch, already put down as attempted. Good until the next one is asked for: pages lie
  // here.
  WriteBatch Append(std::vector<Change> changes) {
    batches_.push_back(std::move(changes));
    WriteBatch batch;
    pages_.clear();
    for (const Change& change : batches_.back()) {
      switch (change.kind) {
        case Change::Kind::kPut:
          batch.Put(change.key, change.value);
          break;
        case Change::Kind::kDelete:
          batch.Delete(change.key);
          break;
        case Change::Kind::kDropGroup:
          batch.DropRange(GroupPrefix(change.group), GroupPrefix(change.group + 1));
          break;
        case Change::Kind::kCount:
          batch.AddCounter(kSumCounter, change.delta);
          break;
        case Change::Kind::kPage:
          pages_.push_back(testing::TestPage(change.group));
          batch.PutPage(change.key, pages_.back());
          break;
      }
    }
    batch.Put(kNumberKey, std::to_string(batches_.size()));
    batch.AddCounter(kBatchCounter, 1);
    return batch;
  }
  // The last batch was refused before anything happened.
  void TakeBack() { batches_.pop_back(); }
  uint64_t attempted_count() const { return batches_.size(); }
  uint64_t durable_count() const { return durable_count_; }
  void MarkDurable() { durable_count_ = batches_.size(); }

  // Compares what `db` holds with the history and fails the test if that is not a prefix which
  // includes all that must be there. Returns the length of the prefix.
  uint64_t Check(Db& db) const {
    const auto number = db.Get(ReadOptions(), kNumberKey);
    EXPECT_TRUE(number.ok()) << number.status().ToString();
    if (!number.ok()) return 0;
    const uint64_t count = *number ? std::stoull(std::string((*number)->view())) : 0;
    EXPECT_GE(count, durable_count_) << "lost what was durable";
    EXPECT_LE(count, attempted_count());
    if (count > attempted_count()) return count;

    State state;
    std::set<uint64_t> dead_groups;
    int64_t sum = 0;
    for (uint64_t i = 0; i < count; ++i) Replay(batches_[i], &state, &dead_groups, &sum);
    EXPECT_EQ(db.Counter(kSumCounter), sum) << "prefix of " << count;
    EXPECT_EQ(db.Counter(kBatchCounter), static_cast<int64_t>(count));
    const std::unique_ptr<Iterator> it = db.NewIterator(ReadOptions());
    auto expected = state.begin();
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      const std::string key(it->key());
      if (key == kNumberKey || InDeadGroup(key, dead_groups)) continue;
      const bool same =
          expected != state.end() && expected->first == key && expected->second.Is(it->value());
      EXPECT_TRUE(same) << "prefix of " << count << ": found " << key << ", expected "
                        << (expected == state.end() ? "the end" : expected->first);
      if (!same) return count;
      ++expected;
    }
    EXPECT_TRUE(it->status().ok()) << it->status().ToString();
    EXPECT_TRUE(expected == state.end())
        << "prefix of " << count << ": " << expected->first << " is missing";
    return count;
  }

 private:
  static bool InDeadGroup(const std::string& key, const std::set<uint64_t>& dead_groups) {
    if (key.size() < 9 || key[0] != 'g') return false;
    uint64_t group = 0;
    for (size_t i = 1; i < 9; ++i) group = group << 8 | static_cast<uint8_t>(key[i]);
    return dead_groups.contains(group);
  }

  static void Replay(const std::vector<Change>& changes, State* state,
                     std::set<uint64_t>* dead_groups, int64_t* sum) {
    for (const Change& change : changes) {
      switch (change.kind) {
        case Change::Kind::kPut:
          (*state)[change.key] = {change.value};
          break;
        case Change::Kind::kPage:
          break;  // below
        case Change::Kind::kDelete:
          state->erase(change.key);
          break;
        case Change::Kind::kDropGroup:
          dead_groups->insert(change.group);
          state->erase(state->lower_bound(GroupPrefix(change.group)),
                       state->lower_bound(GroupPrefix(change.group + 1)));
          break;
        case Change::Kind::kCount:
          *sum += change.delta;
          break;
      }
    }
    // Pages are the last of their batch. What was dropped with it stays dead.
    for (const Change& change : changes) {
      if (change.kind != Change::Kind::kPage || InDeadGroup(change.key, *dead_groups)) continue;
      (*state)[change.key] = {{}, change.group};
    }
  }

  std::vector<std::vector<Change>> batches_;
  std::deque<std::string> pages_;  // of the last batch
  uint64_t durable_count_ = 0;
};

// Makes up batches. One seed, one series.
class Author {
 public:
  explicit Author(uint64_t seed) : random_(seed) {}

  std::vector<Change> NextBatch() {
    std::vector<Change> changes;
    const uint64_t count = 1 + random_.Uniform(random_.OneIn(8) ? 30 : 4);
    for (uint64_t i = 0; i < count; ++i) changes.push_back(NextChange());
    if (random_.OneIn(4)) AddPages(&changes);
    if (groups_.size() > 4 && random_.OneIn(6)) {
      const size_t i = random_.Uniform(groups_.size());
      changes.push_back({Change::Kind::kDropGroup, {}, {}, groups_[i], 0});
      // Within the batch, what comes after the drop must not write to the group either, and what
      // came before is dead with the rest.
      groups_.erase(groups_.begin() + static_cast<ptrdiff_t>(i));
    }
    const auto delta = static_cast<int64_t>(random_.Uniform(1000)) - 500;
    changes.push_back({Change::Kind::kCount, {}, {}, 0, delta});
    return changes;
  }

 private:
  void AddPages(std::vector<Change>* changes) {
    const uint64_t count = 1 + (random_.OneIn(8) ? random_.Uniform(24) : random_.Uniform(4));
    const uint64_t group = groups_.empty() ? 0 : groups_[random_.Uniform(groups_.size())];
    for (uint64_t i = 0; i < count; ++i) {
      const bool plain = group == 0 || random_.OneIn(3);
      changes->push_back({Change::Kind::kPage,
                          plain ? "p" + std::to_string(random_.Uniform(150))
                                : GroupKey(group, random_.Uniform(20)),
                          {},
                          random_.Next() | 1 << 20,
                          0});
    }
  }
  Change NextChange() {
    if (groups_.empty() || random_.OneIn(12)) groups_.push_back(next_group_++);
    const std::string plain = "p" + std::to_string(random_.Uniform(150));
    if (random_.OneIn(4)) return {Change::Kind::kDelete, plain, {}, 0, 0};
    if (random_.OneIn(3)) {
      const uint64_t group = groups_[random_.Uniform(groups_.size())];
      return {Change::Kind::kPut, GroupKey(group, random_.Uniform(20)), Value(), 0, 0};
    }
    return {Change::Kind::kPut, plain, Value(), 0, 0};
  }
  std::string Value() {
    std::string value = std::to_string(random_.Next());
    value.resize(random_.OneIn(15) ? 1 + random_.Uniform(3000) : 1 + random_.Uniform(120),
                 static_cast<char>('a' + random_.Uniform(26)));
    return value;
  }

  io::Random random_;
  std::vector<uint64_t> groups_;
  uint64_t next_group_ = 1;
};

// Rotates, flushes and compacts all the time.
inline Options SmallOptions(uint64_t seed) {
  io::Random random(seed);
  Options options;
  options.memtable_bytes = io::kMiB;  // full when its log is
  options.log_file_bytes = (uint64_t{8} << random.Uniform(4)) * io::kKiB;
  options.block_cache_bytes = 256 * io::kKiB;
  options.block_bytes = uint64_t{256} << random.Uniform(4);
  options.table_bytes = uint64_t{4096} << random.Uniform(3);
  options.level1_bytes = uint64_t{8192} << random.Uniform(3);
  options.level_multiplier = 2 + static_cast<int>(random.Uniform(2));
  options.l0_compaction_trigger = 1 + static_cast<int>(random.Uniform(3));
  options.compaction_workers = 1 + static_cast<int>(random.Uniform(2));
  options.delete_deadline_ms = static_cast<int64_t>(random.Uniform(3)) * 1000;
  options.commit_interval_ms = static_cast<int64_t>(random.Uniform(2)) * 10;
  options.domain_of = random.OneIn(2) ? DomainOf : nullptr;
  options.group_of = random.OneIn(2) ? GroupOf : nullptr;
  options.dynamic_levels = random.OneIn(2);
  options.subcompactions_max = 1 + static_cast<int>(random.Uniform(3));
  options.skipped_table_bytes_min = uint64_t{1024} << random.Uniform(4);
  options.inline_max_bytes = random.OneIn(3) ? 16 * io::kKiB : 0;
  options.value_file_bytes = (uint64_t{32} << random.Uniform(4)) * io::kKiB;
  options.value_zstd_level = random.OneIn(3) ? 1 : 0;
  options.garbage_ratio = random.OneIn(2) ? 0.1 : 0.3;
  return options;
}

inline uint64_t CountLogs(io::Storage& storage) {
  const auto names = storage.List();
  EXPECT_TRUE(names.ok());
  if (!names.ok()) return 0;
  return static_cast<uint64_t>(std::count_if(names->begin(), names->end(), [](const auto& name) {
    const auto parsed = ParseFileName(name);
    return parsed && parsed->kind == FileKind::kLog;
  }));
}

// That the store holds what the engine uses and nothing else (nothing was written since Open, and
// automatic compaction is off).
inline void CheckFiles(Db& db, io::Storage& storage, const Options& options) {
  const DbStats stats = db.Stats();
  uint64_t expected_tables = 0;
  for (const LevelStats& level : stats.levels) expected_tables += level.files;
  uint64_t tables = 0;
  uint64_t manifests = 0;
  const auto names = storage.List();
  ASSERT_TRUE(names.ok());
  std::string all;
  for (const std::string& name : *names) {
    all += name + " ";
    const auto parsed = ParseFileName(name);
    if (!parsed) {
      EXPECT_EQ(name, kCurrentFileName);
      continue;
    }
    tables += parsed->kind == FileKind::kTable ? 1 : 0;
    manifests += parsed->kind == FileKind::kManifest ? 1 : 0;
  }
  EXPECT_EQ(tables, expected_tables) << all;
  EXPECT_EQ(manifests, 1U) << all;
  // A thread makes the next log meanwhile: the statistics know it before it is there. Before it
  // begins and once it is done, they say exactly what lies there.
  bool logs_are_known = false;
  for (int i = 0; i < 10'000 && !logs_are_known; ++i) {
    if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    logs_are_known = CountLogs(storage) * options.log_file_bytes == db.Stats().log_file_bytes;
  }
  EXPECT_TRUE(logs_are_known) << all;
}

}  // namespace terracefs::lsm::crash_test
