// The engine against std::map: random operations under random options, with values in tables and in
// value files (every third seed: compressed), flushes, compactions of every kind (automatic, by
// level, on their own level, by range, for a reclaim goal, with vacuum; cancelled, paused and
// resumed), snapshots, dead ranges and reopening in between. The engine's invariants are checked
// throughout. SEED replays a run (but for what threads do meanwhile), OPERATIONS sets its length.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "io/base/random.h"
#include "lsm/db.h"
#include "tests/support/environment.h"
#include "tests/support/sim_storage.h"
#include "tests/support/test_page.h"

namespace terracefs::lsm {
namespace {

using testing::FromEnvironment;

// What a key holds: bytes, or the page that a seed makes, so that the model stays small.
struct ModelValue {
  std::string bytes;
  uint64_t page_seed = 0;
};
using Model = std::map<std::string, ModelValue>;

std::string BytesOf(const ModelValue& value) {
  return value.page_seed != 0 ? testing::TestPage(value.page_seed) : value.bytes;
}

// Sanitizers make every step about ten times as dear.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kOperations = 10'000;
constexpr uint64_t kFixedSeedOperations = 1'000;
#else
constexpr uint64_t kOperations = 100'000;
constexpr uint64_t kFixedSeedOperations = 5'000;
#endif

std::string_view DomainOf(std::string_view key) { return key.substr(0, 1); }
std::string_view GroupOf(std::string_view key) { return key.substr(0, 9); }

// Keys of the plain domain are overwritten and deleted at random; keys of the group domain belong
// to a group whose number is never used again after its range was dropped.
class DbWorkload {
 public:
  explicit DbWorkload(uint64_t seed)
      : random_(seed),
        compressed_(seed % 3 == 0),
        storage_(std::make_unique<testing::SimStorage>()) {}

  void Run(uint64_t operation_count) {
    ASSERT_TRUE(Db::Create(Options(), *storage_).ok());
    Reopen();
    for (uint64_t i = 0; i < operation_count && !::testing::Test::HasFatalFailure(); ++i) {
      Step();
      if (random_.OneIn(2000)) CheckAll();
    }
    CheckAll();
    if (::testing::Test::HasFatalFailure()) return;
    DeleteAllAndExpectNothing();
    ASSERT_TRUE(db_->VerifyInvariants(true).ok());
    ASSERT_TRUE(db_->Close().ok());
  }

 private:
  Options RandomOptions() {
    Options options;
    options.memtable_bytes = uint64_t{1} << (10 + random_.Uniform(9));
    options.log_file_bytes = std::max<uint64_t>(options.memtable_bytes, 16 * io::kKiB);
    options.block_cache_bytes = uint64_t{1} << (12 + random_.Uniform(10));
    options.block_bytes = uint64_t{1} << (8 + random_.Uniform(5));
    options.table_bytes = uint64_t{1} << (11 + random_.Uniform(7));
    options.level1_bytes = uint64_t{1} << (12 + random_.Uniform(8));
    options.level_multiplier = 2 + static_cast<int>(random_.Uniform(4));
    options.l0_compaction_trigger = 1 + static_cast<int>(random_.Uniform(4));
    options.compaction_workers = 1 + static_cast<int>(random_.Uniform(3));
    options.delete_deadline_ms = static_cast<int64_t>(random_.Uniform(3)) * 1000;
    options.commit_interval_ms = static_cast<int64_t>(random_.Uniform(3)) * 10;
    options.domain_of = random_.OneIn(2) ? DomainOf : nullptr;
    options.group_of = random_.OneIn(2) ? GroupOf : nullptr;
    options.dynamic_levels = !random_.OneIn(3);
    options.picking = random_.OneIn(3) ? Options::Picking::kRoundRobin : Options::Picking::kRatio;
    options.merge_tables_max = 2 + static_cast<int>(random_.Uniform(24));
    options.skipped_table_bytes_min = uint64_t{1} << (8 + random_.Uniform(10));
    options.subcompactions_max = 1 + static_cast<int>(random_.Uniform(4));
    options.garbage_ratio = 0.05 + 0.1 * static_cast<double>(random_.Uniform(10));
    options.compaction_rate = random_.OneIn(10) ? 16 * io::kMiB : 0;
    options.inline_max_bytes = random_.OneIn(2) ? 0 : 16 * io::kKiB;
    options.value_file_bytes = uint64_t{1} << (14 + random_.Uniform(8));
    options.open_value_file_count_max = 1 + random_.Uniform(40);
    if (compressed_) options.value_zstd_level = static_cast<int>(random_.Uniform(4));
    return options;
  }

  void Reopen() {
    if (db_) {
      for (const auto& [sequence, model] : snapshots_) db_->ReleaseSnapshot(sequence);
      snapshots_.clear();
      ASSERT_TRUE(db_->Close().ok());
      db_.reset();
    }
    auto db = Db::Open(RandomOptions(), *storage_);
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    db_ = std::move(db).value();
    ASSERT_EQ(db_->Counter(3), counter_);
  }

  std::string PlainKey() { return "p" + std::to_string(random_.Uniform(3000)); }
  std::string GroupKey(uint64_t group, uint64_t page) {
    std::string key = "g";
    io::PutOrdered64(&key, group);
    io::PutOrdered64(&key, page);
    return key;
  }
  std::string Value() {
    const uint64_t bytes = random_.OneIn(20) ? random_.Uniform(5000) : random_.Uniform(60);
    std::string value = std::to_string(random_.Next());
    value.resize(bytes, static_cast<char>('a' + random_.Uniform(26)));
    return value;
  }

  // Puts up to a few pages into `batch`, whose keys the model has already without them; returns
  // their bytes.
  std::vector<std::string> PutPages(WriteBatch* batch) {
    PageSeeds seeds;
    const uint64_t count = 1 + (random_.OneIn(20) ? random_.Uniform(60) : random_.Uniform(4));
    const uint64_t group = groups_.empty() ? 0 : groups_[random_.Uniform(groups_.size())];
    const uint64_t first = random_.Uniform(50);
    for (uint64_t i = 0; i < count; ++i) {
      const bool plain = group == 0 || first + i >= 50 || random_.OneIn(4);
      seeds.emplace_back(plain ? PlainKey() : GroupKey(group, first + i), random_.Next() | 1 << 20);
    }
    std::vector<std::string> pages;
    for (const auto& [key, seed] : seeds) pages.push_back(testing::TestPage(seed));
    for (size_t i = 0; i < seeds.size(); ++i) {
      batch->PutPage(seeds[i].first, pages[i]);
      model_[seeds[i].first] = {{}, seeds[i].second};
    }
    return pages;
  }

  void WriteSome() {
    WriteBatch batch;
    const uint64_t entries = 1 + (random_.OneIn(10) ? random_.Uniform(40) : random_.Uniform(3));
    for (uint64_t i = 0; i < entries; ++i) {
      if (random_.OneIn(3)) {
        const std::string key = PlainKey();
        batch.Delete(key);
        model_.erase(key);
      } else if (random_.OneIn(2) && !groups_.empty()) {
        const uint64_t group = groups_[random_.Uniform(groups_.size())];
        const std::string key = GroupKey(group, random_.Uniform(50));
        const std::string value = Value();
        batch.Put(key, value);
        model_[key] = {value};
      } else {
        const std::string key = PlainKey();
        const std::string value = Value();
        batch.Put(key, value);
        model_[key] = {value};
      }
    }
    std::vector<std::string> pages;  // until the batch is written
    if (random_.OneIn(6)) pages = PutPages(&batch);
    const auto delta = static_cast<int64_t>(random_.Uniform(100)) - 50;
    batch.AddCounter(3, delta);
    counter_ += delta;
    const io::Status status = db_->Write(std::move(batch), random_.OneIn(20));
    ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_EQ(db_->Counter(3), counter_);
  }

  void DropGroup() {
    if (groups_.size() < 20) {
      groups_.push_back(next_group_++);
      return;
    }
    const size_t i = random_.Uniform(groups_.size());
    const uint64_t group = groups_[i];
    groups_.erase(groups_.begin() + static_cast<ptrdiff_t>(i));
    const std::string begin = GroupKey(group, 0).substr(0, 9);
    const std::string end = GroupKey(group + 1, 0).substr(0, 9);
    WriteBatch batch;
    batch.DropRange(begin, end);
    ASSERT_TRUE(db_->Write(std::move(batch)).ok());
    model_.erase(model_.lower_bound(begin), model_.lower_bound(end));
    // Snapshots promise nothing about dead ranges.
    for (auto& [sequence, model] : snapshots_) {
      model.erase(model.lower_bound(begin), model.lower_bound(end));
    }
    dead_groups_.push_back(group);
  }

  void ReadOne() {
    std::string key = PlainKey();
    if (random_.OneIn(2) && !groups_.empty()) {
      key = GroupKey(groups_[random_.Uniform(groups_.size())], random_.Uniform(50));
    }
    ReadOptions options;
    const Model* model = &model_;
    if (random_.OneIn(3) && !snapshots_.empty()) {
      const auto& [sequence, snapshot] = snapshots_[random_.Uniform(snapshots_.size())];
      options.snapshot = sequence;
      model = &snapshot;
    }
    const auto found = db_->Get(options, key);
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    ExpectSame(*model, key, *found);
  }

  void ReadMany() {
    std::vector<std::string> keys;
    for (int i = 0; i < 20; ++i) keys.push_back(PlainKey());
    const auto found = db_->MultiGet(ReadOptions(), keys);
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    for (size_t i = 0; i < keys.size(); ++i) ExpectSame(model_, keys[i], (*found)[i]);
  }

  static void ExpectSame(const Model& model, const std::string& key,
                         const std::optional<PinnedValue>& found) {
    const auto expected = model.find(key);
    ASSERT_EQ(found.has_value(), expected != model.end()) << key;
    if (found) {
      ASSERT_EQ(found->view(), BytesOf(expected->second)) << key;
    }
  }

  // Compares [begin, end) of the plain domain, or of one group.
  void Scan() {
    std::string begin = PlainKey();
    std::string end = PlainKey();
    if (random_.OneIn(2) && !groups_.empty()) {
      const uint64_t group = groups_[random_.Uniform(groups_.size())];
      begin = GroupKey(group, random_.Uniform(50));
      end = GroupKey(group, random_.Uniform(50));
    }
    if (end < begin) std::swap(begin, end);
    ReadOptions options;
    const Model* model = &model_;
    if (random_.OneIn(3) && !snapshots_.empty()) {
      options.snapshot = snapshots_.back().first;
      model = &snapshots_.back().second;
    }
    options.upper_bound = end;
    CompareRange(*model, options, begin, end);
    if (begin < end) CompareScan(*model, options, begin, end);
  }

  // The same by Db::Scan, which stops somewhere, and puts some pages where it is told.
  void CompareScan(const Model& model, const ReadOptions& options, const std::string& begin,
                   const std::string& end) {
    auto expected = model.lower_bound(begin);
    uint64_t left = random_.OneIn(3) ? random_.Uniform(20) : UINT64_MAX;
    std::string place(kValuePageBytes, '\0');
    const bool with_place = random_.OneIn(2);
    const auto place_of = [&](std::string_view key) -> std::byte* {
      // One place serves for the last key only, as pages are read together.
      const auto last = model.lower_bound(end);
      const bool is_last = last != model.begin() && std::prev(last)->first == key;
      return is_last ? reinterpret_cast<std::byte*>(place.data()) : nullptr;
    };
    bool stopped = false;
    const io::Status status =
        db_->Scan(options, begin, with_place ? Db::ScanPlace(place_of) : Db::ScanPlace(),
                  [&](std::string_view key, std::string_view value) {
                    const bool same = expected != model.end() && expected->first == key &&
                                      key < end && BytesOf(expected->second) == value;
                    EXPECT_TRUE(same) << key;
                    if (!same) return false;
                    ++expected;
                    stopped = left-- == 0;
                    return !stopped;
                  });
    ASSERT_TRUE(status.ok()) << status.ToString();
    if (stopped) return;
    ASSERT_TRUE(expected == model.end() || expected->first >= end)
        << expected->first << " was not visited";
  }

  void CompareRange(const Model& model, const ReadOptions& options, const std::string& begin,
                    const std::string& end) {
    const std::unique_ptr<Iterator> it = db_->NewIterator(options);
    it->Seek(begin);
    for (auto expected = model.lower_bound(begin); expected != model.end() && expected->first < end;
         ++expected) {
      ASSERT_TRUE(it->Valid()) << it->status().ToString() << " at " << expected->first;
      ASSERT_EQ(it->key(), expected->first);
      if (options.keys_only) {
        // Without its value, or, where that lies with the key, perhaps with it.
        ASSERT_TRUE(it->value().empty() || it->value() == BytesOf(expected->second));
      } else {
        ASSERT_EQ(it->value(), BytesOf(expected->second)) << expected->first;
      }
      it->Next();
    }
    ASSERT_TRUE(it->status().ok()) << it->status().ToString();
    ASSERT_FALSE(it->Valid() && it->key() < end) << it->key();
  }

  void CheckAll() {
    CompareRange(model_, ReadOptions(), "p", "q");
    ReadOptions keys_only;
    keys_only.keys_only = true;
    CompareRange(model_, keys_only, "p", "q");
    for (const uint64_t group : groups_) {
      CompareRange(model_, ReadOptions(), GroupKey(group, 0), GroupKey(group, 1000));
    }
    for (const auto& [sequence, model] : snapshots_) {
      ReadOptions options;
      options.snapshot = sequence;
      CompareRange(model, options, "p", "q");
    }
    const io::Status status = db_->VerifyInvariants(random_.OneIn(5));
    ASSERT_TRUE(status.ok()) << status.ToString();
  }

  void ToggleSnapshot() {
    if (snapshots_.size() < 3 && random_.OneIn(2)) {
      snapshots_.emplace_back(db_->AcquireSnapshot(), model_);
    } else if (!snapshots_.empty()) {
      const size_t i = random_.Uniform(snapshots_.size());
      db_->ReleaseSnapshot(snapshots_[i].first);
      snapshots_.erase(snapshots_.begin() + static_cast<ptrdiff_t>(i));
    }
  }

  void CompactSome() {
    CompactionRequest request;
    if (random_.OneIn(2)) request.level = static_cast<int>(random_.Uniform(kLevelCount));
    request.self_level = random_.OneIn(3);
    if (random_.OneIn(3)) request.ranges = {{PlainKey(), ""}};
    request.vacuum = random_.OneIn(2);
    if (request.vacuum && random_.OneIn(2)) {
      request = {};
      request.vacuum = true;
    }
    if (random_.OneIn(4)) {
      request = {};
      request.reclaim_bytes = 1 + random_.Uniform(io::kMiB);
    }
    JobControl control;
    if (random_.OneIn(8)) control.Cancel();
    if (random_.OneIn(4)) {
      const auto estimate = db_->EstimateCompaction(request, control);
      ASSERT_TRUE(estimate.ok() || estimate.status().Is(io::StatusCode::kCancelled))
          << estimate.status().ToString();
      return;
    }
    if (random_.OneIn(2)) return CompactWhileWriting(request, control);
    const io::Status status = db_->Compact(request, control, nullptr);
    ASSERT_TRUE(status.ok() || status.Is(io::StatusCode::kCancelled)) << status.ToString();
  }

  // Writes go on while the job runs, is paused, resumed and perhaps cancelled.
  void CompactWhileWriting(const CompactionRequest& request, JobControl& control) {
    io::Status status;
    std::thread job([&] { status = db_->Compact(request, control, nullptr); });
    const uint64_t steps = random_.Uniform(30);
    for (uint64_t i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) {
      if (random_.OneIn(10)) control.Pause();
      if (random_.OneIn(5)) control.Resume();
      if (random_.OneIn(40)) control.Cancel();
      WriteSome();
      ReadOne();
    }
    control.Resume();
    job.join();
    ASSERT_TRUE(status.ok() || status.Is(io::StatusCode::kCancelled)) << status.ToString();
  }

  // Nothing but a little is left of a store when everything in it was deleted (R8).
  void DeleteAllAndExpectNothing() {
    for (const auto& [sequence, model] : snapshots_) db_->ReleaseSnapshot(sequence);
    snapshots_.clear();
    while (!model_.empty()) {
      WriteBatch batch;
      for (int i = 0; i < 100 && !model_.empty(); ++i) {
        batch.Delete(model_.begin()->first);
        model_.erase(model_.begin());
      }
      ASSERT_TRUE(db_->Write(std::move(batch)).ok());
    }
    JobControl control;
    CompactionRequest request;
    request.vacuum = true;
    ASSERT_TRUE(db_->Compact(request, control, nullptr).ok());
    db_->WaitForQuiescence();
    EXPECT_EQ(db_->Stats().live_table_bytes, 0U);
    const auto space = db_->Space();
    ASSERT_TRUE(space.ok()) << space.status().ToString();
    EXPECT_EQ(space->value_bytes, 0U);
  }

  void Step() {
    const uint64_t dice = random_.Uniform(10000);
    if (dice < 6000) return WriteSome();
    if (dice < 8500) return ReadOne();
    if (dice < 9000) return Scan();
    if (dice < 9400) return ReadMany();
    if (dice < 9800) return DropGroup();
    if (dice < 9900) return ToggleSnapshot();
    if (dice < 9950) return Flush();
    if (dice < 9970) return CompactSome();
    if (dice < 9980) return db_->WaitForQuiescence();
    if (dice < 9985) return Reopen();
    return Sync();
  }

  void Flush() { ASSERT_TRUE(db_->Flush().ok()); }
  void Sync() { ASSERT_TRUE(db_->Sync().ok()); }

  using PageSeeds = std::vector<std::pair<std::string, uint64_t>>;

  io::Random random_;
  const bool compressed_;
  std::unique_ptr<testing::SimStorage> storage_;
  std::unique_ptr<Db> db_;
  Model model_;
  std::vector<std::pair<SequenceNumber, Model>> snapshots_;
  std::vector<uint64_t> groups_;
  std::vector<uint64_t> dead_groups_;
  uint64_t next_group_ = 1;
  int64_t counter_ = 0;
};

TEST(DbPropertyTest, EqualsAMapUnderRandomOperationsAndOptions) {
  const uint64_t seed = FromEnvironment("SEED", static_cast<uint64_t>(std::time(nullptr)));
  const uint64_t operations = FromEnvironment("OPERATIONS", kOperations);
  std::fprintf(stderr, "SEED=%llu OPERATIONS=%llu\n", static_cast<unsigned long long>(seed),
               static_cast<unsigned long long>(operations));
  DbWorkload(seed).Run(operations);
}

TEST(DbPropertyTest, EqualsAMapWithFixedSeeds) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    DbWorkload(seed).Run(kFixedSeedOperations);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace terracefs::lsm
