// Pages in value files (WriteBatch::PutPage): wherever they lie and whatever happens to the files,
// readers see what was written. Everything runs twice, with and without compression.
#include <gtest/gtest.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "io/base/clock.h"
#include "io/base/log.h"
#include "io/base/random.h"
#include "lsm/compression.h"
#include "lsm/db.h"
#include "lsm/file_names.h"
#include "tests/lsm/db_fixture.h"
#include "tests/support/sim_storage.h"
#include "tests/support/test_page.h"

namespace terracefs::lsm {
namespace {

using testing::CrashMode;
using testing::FaultEffect;
using testing::FaultOperation;
using testing::FaultRule;
using testing::kFaultForever;
using testing::SimStorage;
using testing::TestPage;

// Key to the seed of its page.
using PageModel = std::map<std::string, uint64_t>;

std::string_view DomainOf(std::string_view key) { return key.substr(0, 1); }
std::string_view GroupOf(std::string_view key) { return key.substr(0, 3); }

// Seeds of pages that look like the file's level asks for: compressible ones are odd.
class DbValuesTest : public ::testing::TestWithParam<int>, protected DbFixture {
 protected:
  DbValuesTest() {
    options_.inline_max_bytes = 0;
    options_.value_file_bytes = 256 * io::kKiB;
    options_.value_zstd_level = GetParam();
    options_.l0_slowdown_trigger = 1000;  // nobody empties it
    options_.l0_stop_trigger = 2000;
    options_.domain_of = DomainOf;
    options_.group_of = GroupOf;
    Create();
  }

  static std::string Key(int i) {
    std::string number = std::to_string(i);
    number.insert(0, 6 - number.size(), '0');
    return "p" + number;
  }
  // Writes `pages` as one batch and, if that worked, puts them into the model.
  io::Status Write(const PageModel& pages, bool durable = false) {
    std::vector<std::string> values;
    for (const auto& [key, seed] : pages) values.push_back(TestPage(seed));
    WriteBatch batch;
    auto value = values.begin();
    for (const auto& [key, seed] : pages) batch.PutPage(key, *value++);
    TRY(db_->Write(std::move(batch), durable));
    for (const auto& [key, seed] : pages) model_[key] = seed;
    return io::Status::Ok();
  }
  // Pages `begin` to `end` in batches of 16.
  void Fill(int begin, int end, bool durable = false) {
    for (int i = begin; i < end; i += 16) {
      PageModel pages;
      for (int j = i; j < std::min(end, i + 16); ++j) pages[Key(j)] = ++seed_;
      const io::Status written = Write(pages, durable);
      ASSERT_TRUE(written.ok()) << written.ToString();
    }
  }
  void Overwrite(io::Random& random, int key_count, int batch_count) {
    for (int i = 0; i < batch_count; ++i) {
      PageModel pages;
      for (uint64_t n = 1 + random.Uniform(8); n > 0; --n) {
        pages[Key(static_cast<int>(random.Uniform(static_cast<uint64_t>(key_count))))] = ++seed_;
      }
      const io::Status written = Write(pages);
      ASSERT_TRUE(written.ok()) << written.ToString();
    }
  }
  io::Status Delete(const std::string& key) {
    WriteBatch batch;
    batch.Delete(key);
    TRY(db_->Write(std::move(batch)));
    model_.erase(key);
    return io::Status::Ok();
  }

  void Flush() {
    const io::Status flushed = db_->Flush();
    ASSERT_TRUE(flushed.ok()) << flushed.ToString();
  }
  void Compact(bool vacuum = false) {
    CompactionRequest request;
    request.vacuum = vacuum;
    const io::Status compacted = db_->Compact(request, never_, nullptr);
    ASSERT_TRUE(compacted.ok()) << compacted.ToString();
  }
  void CheckInvariants() {
    const io::Status verified = db_->VerifyInvariants(true);
    ASSERT_TRUE(verified.ok()) << verified.ToString();
  }

  // By every way of reading there is.
  void CheckContents(const PageModel& model, SequenceNumber snapshot = kSequenceMax) {
    ReadOptions options;
    options.snapshot = snapshot;
    std::vector<std::string> keys;
    for (const auto& [key, seed] : model) {
      keys.push_back(key);
      const auto found = db_->Get(options, key);
      ASSERT_TRUE(found.ok()) << key << ": " << found.status().ToString();
      ASSERT_TRUE(*found) << key;
      ASSERT_EQ((*found)->view(), TestPage(seed)) << key;
    }
    keys.push_back("zz");
    const auto many = db_->MultiGet(options, keys);
    ASSERT_TRUE(many.ok()) << many.status().ToString();
    ASSERT_FALSE(many->back());
    auto at = many->begin();
    for (const auto& [key, seed] : model) {
      ASSERT_TRUE(*at) << key;
      ASSERT_EQ((*at++)->view(), TestPage(seed)) << key;
    }
    CheckIterator(model, options);
    CheckScan(model, options);
  }
  void CheckContents() { CheckContents(model_); }

  void CheckIterator(const PageModel& model, ReadOptions options) {
    for (const bool keys_only : {false, true}) {
      options.keys_only = keys_only;
      const std::unique_ptr<Iterator> it = db_->NewIterator(options);
      it->SeekToFirst();
      for (const auto& [key, seed] : model) {
        ASSERT_TRUE(it->Valid()) << it->status().ToString() << " at " << key;
        ASSERT_EQ(it->key(), key);
        ASSERT_EQ(it->value_bytes(), kValuePageBytes);
        // Without its value, or, where that lies with the key, perhaps with it.
        if (!keys_only || !it->value().empty()) {
          ASSERT_EQ(it->value(), TestPage(seed)) << key;
        }
        it->Next();
      }
      ASSERT_FALSE(it->Valid()) << it->key();
      ASSERT_TRUE(it->status().ok()) << it->status().ToString();
    }
  }
  void CheckScan(const PageModel& model, ReadOptions options) {
    options.upper_bound = "zz";
    auto expected = model.begin();
    const io::Status scanned =
        db_->Scan(options, "", nullptr, [&](std::string_view key, std::string_view value) {
          const bool same = expected != model.end() && expected->first == key &&
                            TestPage(expected->second) == value;
          EXPECT_TRUE(same) << key;
          if (same) ++expected;
          return same;
        });
    ASSERT_TRUE(scanned.ok()) << scanned.ToString();
    ASSERT_TRUE(expected == model.end()) << expected->first << " is missing";
  }

  std::set<std::string> BlobNames() { return BlobNames(*storage_); }
  static std::set<std::string> BlobNames(SimStorage& storage) { return NamesIn(storage, ".blob"); }
  uint64_t BlobBytes() {
    uint64_t bytes = 0;
    for (const std::string& name : BlobNames()) {
      // It may be removed meanwhile.
      if (const auto contents = storage_->Contents(name); contents.ok()) bytes += contents->size();
    }
    return bytes;
  }
  // What the pages of the model take in value files at most.
  uint64_t LiveBytes() const { return model_.size() * kValuePageBytes; }
  // Value files by their length, the preallocated end apart, are at most `share` larger than that.
  ::testing::AssertionResult NearlyNoGarbage(double share = 0.1) {
    const auto limit = static_cast<uint64_t>(static_cast<double>(LiveBytes()) * (1 + share)) +
                       2 * options_.value_file_bytes;
    if (Eventually([&] { return BlobBytes() <= limit; })) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure()
           << BlobBytes() << " bytes in value files, " << LiveBytes() << " are live";
  }

  PageModel model_;
  uint64_t seed_ = 0;
};

INSTANTIATE_TEST_SUITE_P(, DbValuesTest, ::testing::Values(0, 3), [](const auto& kind) {
  return std::string(kind.param == 0 ? "Plain" : "Zstd");
});

// Where `page` lies in a value file; the name is empty if it lies nowhere (as it is).
struct Place {
  std::string name;
  uint64_t offset = 0;
};
Place FindPage(SimStorage& storage, const std::string& page) {
  const auto names = storage.List();
  for (const std::string& name : *names) {
    if (!name.ends_with(".blob")) continue;
    const auto contents = storage.Contents(name);
    if (!contents.ok()) continue;
    const size_t offset = contents->find(page);
    if (offset != std::string::npos) return {name, offset};
  }
  return {};
}

// Where the record begins that holds the page, compressed or not; its first byte is in all of it.
Place FindRecord(SimStorage& storage, const std::string& page) {
  const auto names = storage.List();
  for (const std::string& name : *names) {
    if (!name.ends_with(".blob")) continue;
    const auto contents = storage.Contents(name);
    if (!contents.ok()) continue;
    for (size_t offset = 0; offset < contents->size(); offset += kValuePageBytes) {
      const std::string_view stored = std::string_view(*contents).substr(offset);
      if (stored.starts_with(page)) return {name, offset};
      const size_t frame_bytes = ZSTD_findFrameCompressedSize(stored.data(), stored.size());
      std::string pages;
      if (ZSTD_isError(frame_bytes) == 0 &&
          Uncompress(stored.substr(0, frame_bytes), kRecordPagesMax * kValuePageBytes, &pages)
              .ok() &&
          pages.find(page) != std::string::npos) {
        return {name, offset};
      }
    }
  }
  return {};
}

// ---- Reading ----------------------------------------------------------------------------------

TEST_P(DbValuesTest, PagesAreReadWhereverTheyLie) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 300));
  ASSERT_NO_FATAL_FAILURE(CheckContents()) << "just written";
  ASSERT_TRUE(db_->Sync().ok());
  ASSERT_FALSE(BlobNames().empty());
  ASSERT_NO_FATAL_FAILURE(CheckContents()) << "synced";
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(CheckContents()) << "flushed";
  ASSERT_NO_FATAL_FAILURE(Compact());
  ASSERT_NO_FATAL_FAILURE(CheckContents()) << "compacted";
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  ASSERT_NO_FATAL_FAILURE(Reopen());
  ASSERT_NO_FATAL_FAILURE(CheckContents()) << "opened again";
  ASSERT_NO_FATAL_FAILURE(CrashAndOpen());
  ASSERT_NO_FATAL_FAILURE(CheckContents()) << "after a crash";
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  // The values are in value files, not in tables.
  EXPECT_LT(db_->Stats().live_table_bytes, LiveBytes() / 10);
  EXPECT_TRUE(NearlyNoGarbage(0));
}

TEST_P(DbValuesTest, PagesAreReadFromTheLogOnlyAfterACrash) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 100));
  ASSERT_TRUE(db_->Sync().ok());
  for (const CrashMode mode : {CrashMode::kLoseAllUnsynced, CrashMode::kKeepAll}) {
    ASSERT_NO_FATAL_FAILURE(CrashAndOpen(mode));
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  }
}

TEST_P(DbValuesTest, PagesCountAsTheLastOfTheirBatchInOrder) {
  const std::string first = TestPage(1);
  const std::string second = TestPage(2);
  WriteBatch batch;
  batch.PutPage("a", first);
  batch.PutPage("b", first);
  batch.PutPage("b", second);
  batch.Put("a", "hidden by the page");
  batch.Delete("b");
  batch.Put("c", "beside them");
  batch.AddCounter(1, 5);
  ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  const auto check = [&] {
    for (const auto& [key, expected] : {std::pair("a", &first), std::pair("b", &second)}) {
      const auto found = db_->Get(ReadOptions(), key);
      ASSERT_TRUE(found.ok() && *found) << key;
      EXPECT_EQ((*found)->view(), *expected) << key;
    }
    const auto beside = db_->Get(ReadOptions(), "c");
    ASSERT_TRUE(beside.ok() && *beside);
    EXPECT_EQ((*beside)->view(), "beside them");
    EXPECT_EQ(db_->Counter(1), 5);
  };
  check();
  ASSERT_NO_FATAL_FAILURE(Flush());
  check();
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  ASSERT_NO_FATAL_FAILURE(Reopen());
  check();
}

TEST_P(DbValuesTest, PagesAndValuesOfTheSameKeyTakeTurns) {
  for (int round = 0; round < 6; ++round) {
    WriteBatch batch;
    const std::string page = TestPage(static_cast<uint64_t>(round));
    std::string expected = "small " + std::to_string(round);
    if (round % 3 == 0) {
      batch.PutPage("a", page);
      expected = page;
    } else if (round % 3 == 1) {
      batch.Put("a", expected);
    } else {
      batch.Delete("a");
    }
    ASSERT_TRUE(db_->Write(std::move(batch)).ok());
    for (int step = 0; step < 3; ++step) {
      if (step == 1) {
        ASSERT_NO_FATAL_FAILURE(Flush());
      } else if (step == 2) {
        ASSERT_NO_FATAL_FAILURE(Compact(true));
      }
      const auto found = db_->Get(ReadOptions(), "a");
      ASSERT_TRUE(found.ok()) << found.status().ToString();
      ASSERT_EQ(found->has_value(), round % 3 != 2);
      if (*found) {
        EXPECT_EQ((*found)->view(), expected);
      }
    }
  }
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
}

TEST_P(DbValuesTest, SmallSyncedBatchesMayStayInlineAndReadTheSame) {
  options_.inline_max_bytes = 16 * io::kKiB;
  ASSERT_NO_FATAL_FAILURE(Reopen());
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(Write({{Key(i), ++seed_}, {Key(i + 7), ++seed_}}, true).ok());
    }
    ASSERT_NO_FATAL_FAILURE(Fill(100, 140));
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_TRUE(db_->Sync().ok());
    ASSERT_NO_FATAL_FAILURE(CrashAndOpen());
    ASSERT_NO_FATAL_FAILURE(Flush());
    ASSERT_NO_FATAL_FAILURE(Compact(round == 1));
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  }
}

TEST_P(DbValuesTest, ScanPutsPagesWhereTheyAreWanted) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 200));
  WriteBatch batch;
  for (int i = 0; i < 200; i += 20) batch.Put(Key(i) + "s", "small " + std::to_string(i));
  ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  const std::string end = Key(150);
  for (int step = 0; step < 4; ++step) {
    if (step == 1) {
      ASSERT_NO_FATAL_FAILURE(Flush());
    } else if (step == 2) {
      ASSERT_NO_FATAL_FAILURE(Compact());
    } else if (step == 3) {
      ASSERT_NO_FATAL_FAILURE(Reopen());
    }
    ReadOptions options;
    options.upper_bound = end;
    std::map<std::string, std::vector<std::byte>> places;
    int next = 30;
    size_t small_count = 0;
    const io::Status scanned = db_->Scan(
        options, Key(30),
        [&](std::string_view key) -> std::byte* {
          if (std::stoi(std::string(key.substr(1))) % 3 == 0) return nullptr;
          auto& place = places[std::string(key)];
          place.resize(kValuePageBytes);
          return place.data();
        },
        [&](std::string_view key, std::string_view value) {
          if (key.ends_with('s')) {
            EXPECT_EQ(value, "small " + std::to_string(next - 1));
            ++small_count;
            return true;
          }
          EXPECT_EQ(key, Key(next));
          EXPECT_EQ(value, TestPage(model_.at(std::string(key)))) << key;
          if (next % 3 != 0) {
            EXPECT_EQ(static_cast<const void*>(value.data()), places[std::string(key)].data());
          }
          ++next;
          return true;
        });
    ASSERT_TRUE(scanned.ok()) << scanned.ToString();
    EXPECT_EQ(next, 150) << "step " << step;
    EXPECT_EQ(small_count, 6U);
  }
}

TEST_P(DbValuesTest, ScanStopsWhenAskedTo) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 300));
  for (int step = 0; step < 2; ++step) {
    ReadOptions options;
    options.upper_bound = "q";
    for (const int stop : {1, 17, 128, 300}) {
      int count = 0;
      const io::Status scanned =
          db_->Scan(options, "p", nullptr, [&](std::string_view key, std::string_view value) {
            EXPECT_EQ(value, TestPage(model_.at(std::string(key))));
            return ++count < stop;
          });
      ASSERT_TRUE(scanned.ok()) << scanned.ToString();
      EXPECT_EQ(count, stop);
    }
    int none = 0;
    options.upper_bound = "p0";
    ASSERT_TRUE(db_->Scan(options, "p", nullptr, [&](auto, auto) { return ++none > 0; }).ok());
    EXPECT_EQ(none, 0);
    ASSERT_NO_FATAL_FAILURE(Flush());
  }
}

TEST_P(DbValuesTest, CacheOnlyReadsNeverWaitForTheDisk) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 100));
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(Reopen());
  ReadOptions warm;
  warm.keys_only = true;
  const std::unique_ptr<Iterator> it = db_->NewIterator(warm);
  size_t count = 0;
  for (it->SeekToFirst(); it->Valid(); it->Next()) ++count;
  ASSERT_EQ(count, model_.size());

  FaultRule no_reads{FaultOperation::kRead, ".blob", 0, kFaultForever};
  storage_->faults().Add(no_reads);
  ReadOptions options;
  options.cache_only = true;
  EXPECT_TRUE(db_->Get(options, Key(5)).status().Is(io::StatusCode::kWouldBlock));
  const std::vector<std::string> keys = {Key(1), Key(2)};
  EXPECT_TRUE(db_->MultiGet(options, keys).status().Is(io::StatusCode::kWouldBlock));
  options.upper_bound = "q";
  int visited = 0;
  EXPECT_TRUE(db_->Scan(options, "p", nullptr, [&](auto, auto) { return ++visited > 0; })
                  .Is(io::StatusCode::kWouldBlock));
  EXPECT_EQ(visited, 0) << "no page was in memory";
  // Keys alone need no value file.
  options.keys_only = true;
  const std::unique_ptr<Iterator> keys_only = db_->NewIterator(options);
  count = 0;
  for (keys_only->SeekToFirst(); keys_only->Valid(); keys_only->Next()) {
    EXPECT_TRUE(keys_only->value().empty());
    EXPECT_EQ(keys_only->value_bytes(), kValuePageBytes);
    ++count;
  }
  EXPECT_TRUE(keys_only->status().ok()) << keys_only->status().ToString();
  EXPECT_EQ(count, model_.size());
  EXPECT_EQ(storage_->faults().injected_count(), 0U);
}

// ---- Who holds value files --------------------------------------------------------------------

TEST_P(DbValuesTest, FilesGoWhenNothingRefersToThem) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 300));
  ASSERT_NO_FATAL_FAILURE(Flush());
  const std::set<std::string> old_names = BlobNames();
  ASSERT_GT(old_names.size(), 1U);
  ASSERT_NO_FATAL_FAILURE(Fill(0, 300));
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(Compact());
  // The one that was being written may have got newer pages, too.
  EXPECT_TRUE(Eventually([&] {
    size_t left = 0;
    for (const std::string& name : BlobNames()) left += old_names.contains(name) ? 1 : 0;
    return left <= 1;
  }));
  EXPECT_TRUE(NearlyNoGarbage(0.2));
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());

  for (int i = 0; i < 300; ++i) ASSERT_TRUE(Delete(Key(i)).ok());
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(Compact(true));
  EXPECT_TRUE(NearlyNoGarbage(0)) << "nothing is left";
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  ASSERT_NO_FATAL_FAILURE(Reopen());
  EXPECT_LE(BlobNames().size(), 1U);
}

TEST_P(DbValuesTest, SnapshotsPinOldPages) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 200));
  const PageModel old_model = model_;
  const SequenceNumber snapshot = db_->AcquireSnapshot();
  ASSERT_NO_FATAL_FAILURE(CheckContents(old_model, snapshot));
  ASSERT_NO_FATAL_FAILURE(Fill(0, 200));
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(CheckContents(old_model, snapshot));
  ASSERT_NO_FATAL_FAILURE(Compact());
  ASSERT_NO_FATAL_FAILURE(CheckContents(old_model, snapshot));
  // Vacuum moves old pages, too.
  ASSERT_NO_FATAL_FAILURE(Fill(0, 100));
  ASSERT_NO_FATAL_FAILURE(Compact(true));
  ASSERT_NO_FATAL_FAILURE(CheckContents(old_model, snapshot));
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  db_->ReleaseSnapshot(snapshot);
  ASSERT_NO_FATAL_FAILURE(Compact(true));
  EXPECT_TRUE(NearlyNoGarbage(0.2));
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
}

TEST_P(DbValuesTest, DroppedRangesGiveBackFilesWithoutReadingThem) {
  // One group after the other, so that they share no more than files at their edges.
  for (const char* group : {"g01", "g02", "g03"}) {
    for (int i = 0; i < 100; ++i) {
      PageModel pages;
      for (int j = 0; j < 16; ++j) pages[group + Key(16 * i + j)] = 2 * ++seed_;
      ASSERT_TRUE(Write(pages).ok());
    }
    ASSERT_NO_FATAL_FAILURE(Flush());
  }
  ASSERT_NO_FATAL_FAILURE(Compact());
  const uint64_t live = LiveBytes();
  ASSERT_GE(BlobBytes(), live);
  const uint64_t read_before = storage_->stats().bytes_read;
  WriteBatch batch;
  batch.DropRange("g02", "g03");
  ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  model_.erase(model_.lower_bound("g02"), model_.lower_bound("g03"));
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(Compact());
  EXPECT_TRUE(NearlyNoGarbage(0));
  // Tables, and files at the edges at most.
  EXPECT_LT(storage_->stats().bytes_read - read_before, live / 15);
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
}

TEST_P(DbValuesTest, WhatReadersHoldStaysReadable) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 200));
  ASSERT_NO_FATAL_FAILURE(Flush());
  const PageModel old_model = model_;
  const std::unique_ptr<Iterator> it = db_->NewIterator(ReadOptions());
  it->SeekToFirst();
  const auto pinned = db_->Get(ReadOptions(), Key(7));
  ASSERT_TRUE(pinned.ok() && *pinned);
  for (int round = 0; round < 2; ++round) {
    ASSERT_NO_FATAL_FAILURE(Fill(0, 200));
    ASSERT_NO_FATAL_FAILURE(Flush());
    ASSERT_NO_FATAL_FAILURE(Compact(true));
  }
  EXPECT_EQ((*pinned)->view(), TestPage(old_model.at(Key(7))));
  for (const auto& [key, seed] : old_model) {
    ASSERT_TRUE(it->Valid()) << it->status().ToString();
    ASSERT_EQ(it->key(), key);
    ASSERT_EQ(it->value(), TestPage(seed));
    it->Next();
  }
  EXPECT_FALSE(it->Valid());
  EXPECT_TRUE(it->status().ok()) << it->status().ToString();
}

TEST_P(DbValuesTest, ValueFilesThatNobodyKnowsAreRemovedAtOpen) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 50));
  ASSERT_TRUE(db_->Close().ok());
  db_.reset();
  storage_->PutContents("000900.blob", std::string(3 * kValuePageBytes, 'x'));
  ASSERT_NO_FATAL_FAILURE(Open());
  EXPECT_TRUE(Eventually([&] { return !BlobNames().contains("000900.blob"); }));
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  ASSERT_NO_FATAL_FAILURE(Fill(0, 50));
  ASSERT_NO_FATAL_FAILURE(CheckContents());
}

// ---- Vacuum -----------------------------------------------------------------------------------

TEST_P(DbValuesTest, VacuumEmptiesFilesAndKeepsContents) {
  io::Random random(7);
  for (int round = 0; round < 4; ++round) {
    ASSERT_NO_FATAL_FAILURE(Fill(0, 400));
    ASSERT_NO_FATAL_FAILURE(Flush());
    // Every file keeps a little.
    for (int i = 0; i < 400; ++i) {
      if (i % 10 == round) continue;
      if (random.OneIn(4)) {
        ASSERT_TRUE(Delete(Key(i)).ok());
      } else {
        ASSERT_TRUE(Write({{Key(i), ++seed_}}).ok());
      }
    }
    ASSERT_NO_FATAL_FAILURE(Compact(round % 2 == 0));
    if (round % 2 != 0) {
      ASSERT_NO_FATAL_FAILURE(Compact(true));
    }
    EXPECT_TRUE(NearlyNoGarbage()) << "round " << round;
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_NO_FATAL_FAILURE(CheckInvariants());
    if (round == 1) {
      ASSERT_NO_FATAL_FAILURE(Reopen());
    }
    if (round == 2) {
      ASSERT_NO_FATAL_FAILURE(CrashAndOpen());
    }
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  }
}

TEST_P(DbValuesTest, VacuumWithNothingToDoWritesNothing) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 200));
  ASSERT_NO_FATAL_FAILURE(Compact(true));
  const std::set<std::string> names = BlobNames();
  const uint64_t bytes = BlobBytes();
  ASSERT_NO_FATAL_FAILURE(Compact(true));
  EXPECT_EQ(BlobNames(), names);
  EXPECT_EQ(BlobBytes(), bytes);
  ASSERT_NO_FATAL_FAILURE(CheckContents());
}

TEST_P(DbValuesTest, VacuumNeverBringsBackWhatWasOverwrittenMeanwhile) {
  // Small groups of pages, so that vacuum meets keys while they are being written again.
  constexpr int kKeysPerWriter = 120;
  constexpr int kWriterCount = 2;
  ASSERT_NO_FATAL_FAILURE(Fill(0, kKeysPerWriter * kWriterCount));
  std::vector<PageModel> models(kWriterCount);
  for (const auto& [key, seed] : model_) {
    models[std::stoul(key.substr(1)) / kKeysPerWriter][key] = seed;
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriterCount; ++w) {
    threads.emplace_back([&, w] {
      io::Random random(static_cast<uint64_t>(w));
      PageModel& model = models[static_cast<size_t>(w)];
      for (uint64_t n = 1; !stop; ++n) {
        const std::string key =
            Key(w * kKeysPerWriter +
                static_cast<int>(random.Uniform(1 + random.Uniform(kKeysPerWriter))));
        WriteBatch batch;
        const uint64_t seed =
            (n * kWriterCount + static_cast<uint64_t>(w)) << 20 | random.Uniform(2);
        const std::string page = TestPage(seed);
        if (random.OneIn(10)) {
          batch.Delete(key);
          model.erase(key);
        } else {
          batch.PutPage(key, page);
          model[key] = seed;
        }
        const io::Status written = db_->Write(std::move(batch), random.OneIn(50));
        ASSERT_TRUE(written.ok()) << written.ToString();
        if (!model.contains(key)) continue;
        const auto found = db_->Get(ReadOptions(), key);
        ASSERT_TRUE(found.ok()) << found.status().ToString();
        ASSERT_TRUE(*found);
        ASSERT_EQ((*found)->view(), page) << "a writer reads what it wrote";
      }
    });
  }
  for (int round = 0; round < 15 && !HasFatalFailure(); ++round) {
    if (round % 3 == 0) {
      ASSERT_NO_FATAL_FAILURE(Flush());
    }
    const SequenceNumber snapshot = round % 4 == 1 ? db_->AcquireSnapshot() : 0;
    CompactionRequest request;
    request.vacuum = true;
    const io::Status compacted = db_->Compact(request, never_, nullptr);
    EXPECT_TRUE(compacted.ok()) << compacted.ToString();
    if (snapshot != 0) db_->ReleaseSnapshot(snapshot);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  model_.clear();
  for (const PageModel& model : models) model_.insert(model.begin(), model.end());
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  ASSERT_NO_FATAL_FAILURE(Compact(true));
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  EXPECT_TRUE(NearlyNoGarbage());
  ASSERT_NO_FATAL_FAILURE(Reopen());
  ASSERT_NO_FATAL_FAILURE(CheckContents());
}

TEST_P(DbValuesTest, CancelledVacuumLeavesEverything) {
  io::Random random(3);
  ASSERT_NO_FATAL_FAILURE(Fill(0, 400));
  for (int round = 0; round < 6; ++round) {
    ASSERT_NO_FATAL_FAILURE(Overwrite(random, 400, 60));
    ASSERT_NO_FATAL_FAILURE(Flush());
    CompactionRequest request;
    request.vacuum = true;
    lsm::JobControl control;
    int calls = 0;
    const io::Status status = db_->Compact(request, control, [&](const CompactionProgress&) {
      if (++calls > round * 2) control.Cancel();
    });
    EXPECT_TRUE(status.ok() || status.Is(io::StatusCode::kCancelled)) << status.ToString();
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  }
  ASSERT_NO_FATAL_FAILURE(Compact(true));
  EXPECT_TRUE(NearlyNoGarbage());
  ASSERT_NO_FATAL_FAILURE(CheckContents());
}

TEST_P(DbValuesTest, FilesAreVacuumedByThemselves) {
  options_.disable_automatic_compaction = false;
  options_.l0_slowdown_trigger = Options().l0_slowdown_trigger;
  options_.l0_stop_trigger = Options().l0_stop_trigger;
  options_.garbage_ratio = 0.2;
  ASSERT_NO_FATAL_FAILURE(Reopen());
  io::Random random(5);
  ASSERT_NO_FATAL_FAILURE(Fill(0, 500));
  for (int round = 0; round < 8; ++round) {
    ASSERT_NO_FATAL_FAILURE(Overwrite(random, 500, 60));
    if (round % 2 == 0) {
      ASSERT_NO_FATAL_FAILURE(Flush());
    }
  }
  ASSERT_NO_FATAL_FAILURE(Flush());
  db_->WaitForQuiescence();
  // Garbage at the ratio, what the tables do not know yet, and the file being written.
  EXPECT_TRUE(NearlyNoGarbage(1));
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
}

// Nobody writes any more, and nothing that is left fills the file that is written to.
TEST_P(DbValuesTest, AnUnfinishedFileOfGarbageGoesByItself) {
  options_.disable_automatic_compaction = false;
  options_.value_file_bytes = 256 * io::kMiB;
  options_.memtable_bytes = 32 * io::kMiB;
  ASSERT_NO_FATAL_FAILURE(Reopen());
  for (int i = 0; i < 5000; i += 50) {
    PageModel pages;
    for (int j = i; j < i + 50; ++j) pages["g01" + Key(j)] = 2 * ++seed_;
    ASSERT_TRUE(Write(pages).ok());
  }
  ASSERT_NO_FATAL_FAILURE(Fill(0, 16));
  ASSERT_GT(BlobBytes(), 16 * io::kMiB);
  WriteBatch batch;
  batch.DropRange("g01", "g02");
  ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  model_.erase(model_.lower_bound("g01"), model_.lower_bound("g02"));
  ASSERT_NO_FATAL_FAILURE(Flush());
  EXPECT_TRUE(Eventually([&] {
    clock_.AdvanceNs(1'000'000'000);  // nobody has written for a while
    return BlobBytes() <= 2 * LiveBytes();
  })) << BlobBytes();
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  ASSERT_NO_FATAL_FAILURE(CheckInvariants());
}

// ---- Faults -----------------------------------------------------------------------------------

// Whatever fails in the middle of it: all can be read, now, after it is tried again and after a
// crash.
TEST_P(DbValuesTest, VacuumThatFailsLosesNothing) {
  struct Case {
    FaultOperation operation;
    const char* name_part;
    bool full;  // NoSpace instead of IoError
  };
  const Case cases[] = {
      {FaultOperation::kWrite, ".blob", false},    {FaultOperation::kWrite, ".blob", true},
      {FaultOperation::kSync, ".blob", false},     {FaultOperation::kCreate, ".blob", false},
      {FaultOperation::kCreate, ".blob", true},    {FaultOperation::kAllocate, ".blob", true},
      {FaultOperation::kRead, ".blob", false},     {FaultOperation::kTruncate, ".blob", false},
      {FaultOperation::kWrite, ".sst", false},     {FaultOperation::kWrite, ".sst", true},
      {FaultOperation::kCreate, ".sst", true},     {FaultOperation::kSync, ".sst", false},
      {FaultOperation::kWrite, "MANIFEST", false}, {FaultOperation::kRemove, ".blob", false},
      {FaultOperation::kSyncDirectory, "", false},
  };
  io::Random random(11);
  ASSERT_NO_FATAL_FAILURE(Fill(0, 200));
  uint64_t injected = 0;
  for (const Case& c : cases) {
    for (uint64_t pass_count = 0; pass_count < 3; ++pass_count) {
      SCOPED_TRACE("operation " + std::to_string(static_cast<int>(c.operation)) + " of " +
                   c.name_part + ", number " + std::to_string(pass_count));
      ASSERT_NO_FATAL_FAILURE(Overwrite(random, 200, 30));
      ASSERT_NO_FATAL_FAILURE(Flush());
      FaultRule rule{c.operation, c.name_part, pass_count, 1};
      if (c.full) rule.status = io::Status::NoSpace("injected fault");
      rule.effect = static_cast<FaultEffect>(pass_count);
      storage_->faults().Add(rule);
      CompactionRequest request;
      request.vacuum = true;
      const io::Status failed = db_->Compact(request, never_, nullptr);
      injected += storage_->faults().injected_count();
      EXPECT_TRUE(failed.ok() || storage_->faults().injected_count() > 0) << failed.ToString();
      storage_->faults().Clear();
      ASSERT_NO_FATAL_FAILURE(CheckContents());
      ASSERT_NO_FATAL_FAILURE(CrashAndOpen(CrashMode::kRandom, pass_count));
      ASSERT_NO_FATAL_FAILURE(CheckContents());
      ASSERT_NO_FATAL_FAILURE(CheckInvariants());
    }
    ASSERT_NO_FATAL_FAILURE(Compact(true));
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_TRUE(NearlyNoGarbage()) << "what failed is made good";
  }
  EXPECT_GT(injected, std::size(cases) / 2);
}

TEST_P(DbValuesTest, AFailedWriteOfPagesIsStickyAndReadsGoOn) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 64));
  ASSERT_TRUE(db_->Sync().ok());
  const PageModel durable = model_;
  for (const FaultOperation operation : {FaultOperation::kWrite, FaultOperation::kSync}) {
    const size_t rule = storage_->faults().Add(FaultRule{operation, ".blob", 0, 1});
    ASSERT_TRUE(Write({{Key(1), 1'000'000}}).ok());
    EXPECT_TRUE(db_->Sync().Is(io::StatusCode::kIoError));
    ASSERT_EQ(storage_->faults().injected_count(rule), 1U);
    EXPECT_FALSE(db_->Sync().ok()) << "sticky";
    EXPECT_FALSE(Write({{Key(2), 1'000'002}}, true).ok());
    // What was durable is there; Key(1) holds what the failed write should have brought.
    for (const auto& [key, seed] : durable) {
      if (key == Key(1)) continue;
      const auto found = db_->Get(ReadOptions(), key);
      ASSERT_TRUE(found.ok() && *found) << key;
      ASSERT_EQ((*found)->view(), TestPage(seed)) << key;
    }
    storage_->faults().Clear();
    ASSERT_NO_FATAL_FAILURE(CrashAndOpen(CrashMode::kLoseAllUnsynced));
    model_ = durable;
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  }
}

TEST_P(DbValuesTest, AFullDiskRefusesWholeBatchesAndRecovers) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 100, true));
  for (const uint64_t room : {20'000U, 100'000U, 400'000U, 1'500'000U}) {
    SCOPED_TRACE("room " + std::to_string(room));
    storage_->SetCapacityBytes(storage_->UsedBytes() + room);
    bool refused = false;
    for (int i = 0; i < 2000 && !refused; ++i) {
      PageModel pages;
      for (int j = 0; j < 8; ++j) pages["q" + Key(8 * i + j)] = 2 * ++seed_;
      const io::Status written = Write(pages);
      if (written.ok()) continue;
      ASSERT_TRUE(written.Is(io::StatusCode::kNoSpace)) << written.ToString();
      refused = true;
    }
    ASSERT_TRUE(refused);
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    const io::Status synced = db_->Sync();
    EXPECT_TRUE(synced.ok()) << synced.ToString();
    // Nothing can be moved where nothing fits; what is there stays.
    CompactionRequest request;
    request.vacuum = true;
    const io::Status vacuumed = db_->Compact(request, never_, nullptr);
    EXPECT_TRUE(vacuumed.ok() || vacuumed.Is(io::StatusCode::kNoSpace)) << vacuumed.ToString();
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    storage_->SetCapacityBytes(uint64_t{1} << 40);
    // What failed in the background is tried again within a second.
    io::Status written;
    ASSERT_TRUE(Eventually([&] {
      written = Write({{Key(3), ++seed_}});
      return !written.Is(io::StatusCode::kNoSpace);
    }));
    ASSERT_TRUE(written.ok()) << written.ToString();
    ASSERT_TRUE(Eventually([&] {
      WriteBatch batch;
      for (auto it = model_.lower_bound("q"); it != model_.end(); ++it) batch.Delete(it->first);
      written = db_->Write(std::move(batch));
      return !written.Is(io::StatusCode::kNoSpace);
    }));
    ASSERT_TRUE(written.ok()) << written.ToString();
    model_.erase(model_.lower_bound("q"), model_.end());
    ASSERT_NO_FATAL_FAILURE(Flush());
    ASSERT_NO_FATAL_FAILURE(Compact(true));
    EXPECT_TRUE(NearlyNoGarbage(0.2));
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_NO_FATAL_FAILURE(CheckInvariants());
  }
  ASSERT_NO_FATAL_FAILURE(Reopen());
  ASSERT_NO_FATAL_FAILURE(CheckContents());
}

// ---- Damage and crashes -----------------------------------------------------------------------

// Writes `count` batches, number i with the pages of batch i and its number; none of it durable.
class NumberedBatches {
 public:
  static constexpr int kPages = 8;
  static std::string PageKey(int batch, int page) {
    return "b" + std::to_string(100'000 + batch * kPages + page);
  }
  static uint64_t Seed(int batch, int page) {
    return 1'000'000 + static_cast<uint64_t>(batch * kPages + page) * 3;
  }
  static io::Status Write(Db& db, int batch) {
    std::vector<std::string> values;
    for (int p = 0; p < kPages; ++p) values.push_back(TestPage(Seed(batch, p)));
    WriteBatch changes;
    changes.Put("a", std::to_string(batch + 1));
    // Makes the log large enough to be written without a sync, too.
    changes.Put("aa", std::string(30'000, 'x'));
    for (int p = 0; p < kPages; ++p)
      changes.PutPage(PageKey(batch, p), values[static_cast<size_t>(p)]);
    return db.Write(std::move(changes));
  }
  // How many batches there are; fails the test if that is not exactly a prefix.
  static int Count(Db& db) {
    const auto number = db.Get(ReadOptions(), "a");
    EXPECT_TRUE(number.ok()) << number.status().ToString();
    if (!number.ok() || !*number) return 0;
    const int count = std::stoi(std::string((*number)->view()));
    const std::unique_ptr<Iterator> it = db.NewIterator(ReadOptions());
    int found = 0;
    for (it->Seek("b"); it->Valid(); it->Next(), ++found) {
      EXPECT_EQ(it->key(), PageKey(found / kPages, found % kPages));
      EXPECT_EQ(it->value(), TestPage(Seed(found / kPages, found % kPages)));
    }
    EXPECT_TRUE(it->status().ok()) << it->status().ToString();
    EXPECT_EQ(found, count * kPages);
    return count;
  }
};

// Pages that a crash lost end history before their batch, whatever of the log is there.
TEST_P(DbValuesTest, HistoryEndsBeforeTheFirstBatchWithALostPage) {
  constexpr int kDurable = 20;
  constexpr int kAll = 140;
  options_.log_file_bytes = 6 * io::kMiB;
  // Nothing more becomes durable, however slow this is: by no timer, and by no flush (memtables are
  // full by a share of value_file_bytes, too).
  options_.commit_interval_ms = 0;
  options_.memtable_bytes = 32 * io::kMiB;
  options_.value_file_bytes = 256 * io::kMiB;
  ASSERT_NO_FATAL_FAILURE(Reopen());
  for (int i = 0; i < kDurable; ++i) ASSERT_TRUE(NumberedBatches::Write(*db_, i).ok());
  ASSERT_TRUE(db_->Sync().ok());
  for (int i = kDurable; i < kAll; ++i) ASSERT_TRUE(NumberedBatches::Write(*db_, i).ok());
  ASSERT_EQ(NumberedBatches::Count(*db_), kAll);
  // The last one's pages may only be in memory.
  int seen = 0;
  Eventually([&] {
    const auto left = storage_->CrashClone(1, CrashMode::kKeepAll);
    auto db = Db::Open(options_, *left);
    EXPECT_TRUE(db.ok()) << db.status().ToString();
    if (!db.ok()) return true;
    seen = std::max(seen, NumberedBatches::Count(**db));
    return seen > 3 * kDurable;
  });
  std::printf("a killed process leaves %d of %d batches, %d durable\n", seen, kAll, kDurable);
  ASSERT_GT(seen, 2 * kDurable) << "full buffers are written without a sync";

  for (uint64_t crash = 0; crash < 8; ++crash) {
    SCOPED_TRACE("crash " + std::to_string(crash));
    const auto left = storage_->CrashClone(crash, CrashMode::kRandom);
    auto db = Db::Open(options_, *left);
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    const int count = NumberedBatches::Count(**db);
    EXPECT_GE(count, kDurable);
    EXPECT_TRUE((*db)->VerifyInvariants(true).ok());
    // And so for ever.
    ASSERT_TRUE(NumberedBatches::Write(**db, count).ok());
    ASSERT_TRUE((*db)->Close().ok());
    db = Db::Open(options_, *left);
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    EXPECT_EQ(NumberedBatches::Count(**db), count + 1);
  }
  if (GetParam() != 0) return;
  // Everything is there, but for one byte of one page.
  for (const int batch : {kDurable, kDurable + 1, (kDurable + seen) / 2, seen - 1}) {
    for (const int page : {0, NumberedBatches::kPages - 1}) {
      SCOPED_TRACE("page " + std::to_string(page) + " of batch " + std::to_string(batch));
      const auto left = storage_->CrashClone(1, CrashMode::kKeepAll);
      const Place place = FindPage(*left, TestPage(NumberedBatches::Seed(batch, page)));
      ASSERT_FALSE(place.name.empty());
      left->CorruptByte(place.name, place.offset + 4095);
      auto db = Db::Open(options_, *left);
      ASSERT_TRUE(db.ok()) << db.status().ToString();
      EXPECT_EQ(NumberedBatches::Count(**db), batch);
      EXPECT_TRUE((*db)->VerifyInvariants(true).ok());
    }
  }
  // The value file ends too early, or never got its name.
  const auto left = storage_->CrashClone(1, CrashMode::kKeepAll);
  const Place place = FindPage(*left, TestPage(NumberedBatches::Seed(kDurable + 2, 1)));
  ASSERT_FALSE(place.name.empty());
  left->PutContents(place.name, left->Contents(place.name)->substr(0, place.offset));
  auto db = Db::Open(options_, *left);
  ASSERT_TRUE(db.ok()) << db.status().ToString();
  EXPECT_EQ(NumberedBatches::Count(**db), kDurable + 2);
}

// An engine that could not be opened leaves the files that its log refers to.
TEST_P(DbValuesTest, AnOpenThatFailsLosesNothing) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 100));
  ASSERT_TRUE(db_->Sync().ok());
  const std::unique_ptr<SimStorage> crashed = storage_->CrashClone(1, CrashMode::kKeepAll);
  db_.reset();
  for (uint64_t i = 0;; ++i) {
    SCOPED_TRACE("operation " + std::to_string(i));
    storage_ = crashed->CrashClone(1, CrashMode::kKeepAll);
    FaultRule rule;
    rule.pass_count = i;
    rule.effect = static_cast<FaultEffect>(i % 3);
    storage_->faults().Add(rule);
    auto failed = Db::Open(options_, *storage_);
    const bool was_injected = storage_->faults().injected_count() > 0;
    if (failed.ok()) {
      (*failed)->Close().IgnoreError("the fault may come as late as here");
      failed->reset();
    }
    storage_->faults().Clear();
    for (const CrashMode mode : {CrashMode::kKeepAll, CrashMode::kLoseAllUnsynced}) {
      storage_ = storage_->CrashClone(1, mode);
      ASSERT_NO_FATAL_FAILURE(Open());
      ASSERT_NO_FATAL_FAILURE(CheckContents());
      db_.reset();
    }
    if (!was_injected) break;
  }
}

TEST_P(DbValuesTest, ADamagedPageFailsItsKeyOnly) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 120));
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(Reopen());
  // Even seeds do not compress and lie there as they are, alone in their record if the run of
  // their batch did not pay.
  std::string victim;
  for (const auto& [key, seed] : model_) {
    const Place place = FindPage(*storage_, TestPage(seed));
    if (place.name.empty()) continue;
    storage_->CorruptByte(place.name, place.offset + 100);
    victim = key;
    break;
  }
  if (victim.empty()) {
    // All are compressed: one byte is in the way of a whole record, of one batch.
    ASSERT_FALSE(BlobNames().empty());
    storage_->CorruptByte(*BlobNames().begin(), 100);
  }
  size_t damaged = 0;
  for (const auto& [key, seed] : model_) {
    const auto found = db_->Get(ReadOptions(), key);
    if (found.ok()) {
      ASSERT_TRUE(*found) << key;
      ASSERT_EQ((*found)->view(), TestPage(seed)) << key;
      continue;
    }
    EXPECT_TRUE(found.status().Is(io::StatusCode::kCorruption)) << found.status().ToString();
    EXPECT_NE(found.status().message().find(".blob"), std::string::npos)
        << found.status().ToString();
    ++damaged;
    if (victim.empty()) victim = key;
  }
  EXPECT_GE(damaged, 1U);
  EXPECT_LE(damaged, GetParam() == 0 ? 1 : kRecordPagesMax);
  const std::vector<std::string> keys = {victim};
  EXPECT_TRUE(db_->MultiGet(ReadOptions(), keys).status().Is(io::StatusCode::kCorruption));
  ReadOptions all;
  all.upper_bound = "q";
  EXPECT_TRUE(db_->Scan(all, "p", nullptr, [](auto, auto) { return true; })
                  .Is(io::StatusCode::kCorruption));
  // Written again, it is good.
  for (const auto& [key, seed] : PageModel(model_)) {
    if (!db_->Get(ReadOptions(), key).ok()) {
      ASSERT_TRUE(Write({{key, ++seed_}}).ok());
    }
  }
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(CheckContents());
}

// A page that nobody can read must not be replaced by anything else, and its neighbours survive.
TEST_P(DbValuesTest, VacuumOfADamagedFileKeepsWhatCanBeRead) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 200));
  ASSERT_NO_FATAL_FAILURE(Flush());
  const std::string victim = Key(42);
  const Place place = FindRecord(*storage_, TestPage(model_.at(victim)));
  ASSERT_FALSE(place.name.empty());
  storage_->CorruptByte(place.name, place.offset);
  std::set<std::string> lost;
  for (const auto& [key, seed] : model_) {
    if (!db_->Get(ReadOptions(), key).ok()) lost.insert(key);
  }
  EXPECT_TRUE(lost.contains(victim));
  EXPECT_EQ(lost.size(), GetParam() == 0 ? 1 : kRecordPagesMax);
  for (int i = 0; i < 200; i += 2) {
    if (i != 42) {
      ASSERT_TRUE(Write({{Key(i), ++seed_}}).ok());
      lost.erase(Key(i));
    }
  }
  CompactionRequest request;
  request.vacuum = true;
  const io::Status vacuumed = db_->Compact(request, never_, nullptr);
  EXPECT_TRUE(vacuumed.ok() || vacuumed.Is(io::StatusCode::kCorruption)) << vacuumed.ToString();
  for (int open = 0; open < 2; ++open) {
    for (const auto& [key, seed] : model_) {
      const auto found = db_->Get(ReadOptions(), key);
      if (lost.contains(key)) {
        EXPECT_TRUE(found.status().Is(io::StatusCode::kCorruption)) << found.status().ToString();
        continue;
      }
      ASSERT_TRUE(found.ok() && *found) << key << found.status().ToString();
      ASSERT_EQ((*found)->view(), TestPage(seed)) << key;
    }
    ASSERT_NO_FATAL_FAILURE(Reopen());
  }
}

// ... and only the file it lies in is left alone: other victims of the same job go.
TEST_P(DbValuesTest, VacuumLeavesAloneOnlyTheFileThatCannotBeRead) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 400));
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(Compact());
  ASSERT_NO_FATAL_FAILURE(Reopen());
  const std::set<std::string> old_names = BlobNames();
  ASSERT_GT(old_names.size(), 2U);
  for (int i = 0; i < 400; ++i) {
    if (i % 40 != 0) {
      ASSERT_TRUE(Write({{Key(i), ++seed_}}).ok());
    }
  }
  ASSERT_NO_FATAL_FAILURE(Flush());
  // Only the tables: nothing is moved yet.
  CompactionRequest request;
  request.level = 0;
  ASSERT_TRUE(db_->Compact(request, never_, nullptr).ok());
  const Place place = FindRecord(*storage_, TestPage(model_.at(Key(0))));
  ASSERT_TRUE(old_names.contains(place.name));
  storage_->CorruptByte(place.name, place.offset);
  options_.disable_automatic_compaction = false;
  ASSERT_NO_FATAL_FAILURE(Reopen());
  std::set<std::string> left;
  const std::set<std::string> unreadable = {place.name};
  EXPECT_TRUE(Eventually([&] {
    left.clear();
    for (const std::string& name : BlobNames()) {
      if (old_names.contains(name)) left.insert(name);
    }
    return left == unreadable;
  })) << left.size()
      << " of " << old_names.size() << " files are left";
  EXPECT_TRUE(db_->Get(ReadOptions(), Key(0)).status().Is(io::StatusCode::kCorruption));
  for (const auto& [key, seed] : model_) {
    if (key == Key(0)) continue;
    const auto found = db_->Get(ReadOptions(), key);
    ASSERT_TRUE(found.ok() && *found) << key << found.status().ToString();
    ASSERT_EQ((*found)->view(), TestPage(seed)) << key;
  }
}

// ---- Figures and settings ---------------------------------------------------------------------

TEST_P(DbValuesTest, SpaceSaysWhereTheBytesAre) {
  io::Random random(13);
  ASSERT_NO_FATAL_FAILURE(Fill(0, 400));
  for (int round = 0; round < 3; ++round) {
    ASSERT_NO_FATAL_FAILURE(Overwrite(random, 400, 50));
    ASSERT_NO_FATAL_FAILURE(Flush());
    ASSERT_NO_FATAL_FAILURE(Compact(round == 2));
    const auto space = db_->Space();
    ASSERT_TRUE(space.ok()) << space.status().ToString();
    const uint64_t parts = space->table_bytes + space->log_bytes + space->value_bytes +
                           space->value_garbage_bytes + space->value_spare_bytes +
                           space->obsolete_bytes;
    const auto physical = static_cast<double>(space->physical_bytes);
    // The manifest and its reserve are parts of nothing.
    EXPECT_NEAR(static_cast<double>(parts), physical, 0.05 * physical + 320 * io::kKiB);
    EXPECT_LE(space->table_garbage_bytes, space->table_bytes);
    if (GetParam() == 0) {
      EXPECT_NEAR(static_cast<double>(space->value_bytes), static_cast<double>(LiveBytes()),
                  0.1 * static_cast<double>(LiveBytes()));
    } else {
      EXPECT_LT(space->value_bytes, LiveBytes());
    }
    if (round == 2) {
      EXPECT_TRUE(Eventually([&] {
        const auto now = db_->Space();
        return now.ok() && now->value_garbage_bytes < LiveBytes() / 5;
      })) << space->value_garbage_bytes
          << " at first";
    }
  }
}

TEST_P(DbValuesTest, CompressionMayChangeAtAnyTime) {
  io::Random random(17);
  for (int round = 0; round < 6; ++round) {
    db_->SetValueCompression(round % 3 * 2);
    ASSERT_NO_FATAL_FAILURE(Fill(40 * round, 40 * round + 120));
    ASSERT_NO_FATAL_FAILURE(Overwrite(random, 200, 20));
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    if (round % 2 == 0) {
      ASSERT_NO_FATAL_FAILURE(Compact(true));
    }
    ASSERT_NO_FATAL_FAILURE(CheckContents());
    ASSERT_NO_FATAL_FAILURE(CheckInvariants());
    if (round == 3) {
      ASSERT_NO_FATAL_FAILURE(Reopen());
    }
  }
}

TEST_P(DbValuesTest, WhatCompressesTakesLess) {
  for (int i = 0; i < 40; ++i) {
    PageModel pages;
    for (int j = 0; j < 16; ++j) pages[Key(16 * i + j)] = 2 * ++seed_ + 1;
    ASSERT_TRUE(Write(pages).ok());
  }
  ASSERT_NO_FATAL_FAILURE(Compact(true));
  const auto space = db_->Space();
  ASSERT_TRUE(space.ok());
  if (GetParam() == 0) {
    EXPECT_GE(space->value_bytes, LiveBytes() * 9 / 10);
  } else {
    EXPECT_LT(space->value_bytes, LiveBytes() / 2);
  }
  ASSERT_NO_FATAL_FAILURE(CheckContents());
}

TEST_P(DbValuesTest, AReadOnlyEngineReadsPages) {
  ASSERT_NO_FATAL_FAILURE(Fill(0, 100));
  ASSERT_NO_FATAL_FAILURE(Flush());
  ASSERT_NO_FATAL_FAILURE(Fill(50, 150));
  ASSERT_TRUE(db_->Sync().ok());
  options_.read_only = true;
  const uint64_t bytes = BlobBytes();
  ASSERT_NO_FATAL_FAILURE(CrashAndOpen());
  ASSERT_NO_FATAL_FAILURE(CheckContents());
  EXPECT_EQ(storage_->io_count(), 0U);
  EXPECT_EQ(BlobBytes(), bytes);
}

}  // namespace
}  // namespace terracefs::lsm
