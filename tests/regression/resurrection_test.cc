// Deleted keys that came back in other engines, and must not here.
//
// Q2: badger dropped a tombstone when nothing deeper overlapped the hull of the tables that moved
// down. The tables they are merged with reach further, and so did the tombstone that was lost: the
// value it hid, deeper still, came back (dgraph-io/badger PR 1422).
//
// Q3: badger's iterators could not report a read error: it looked like the end of the input. The
// merge installed what it had, and removed the rest with its inputs.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "io/base/log.h"
#include "io/base/random.h"
#include "lsm/db.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using testing::FaultOperation;

class ResurrectionTest : public ::testing::Test {
 protected:
  ResurrectionTest() {
    io::LsmLog().set_level(spdlog::level::off);
    options_.memtable_bytes = io::kMiB;
    options_.log_file_bytes = 256 * io::kKiB;
    options_.block_bytes = 512;
    options_.disable_automatic_compaction = true;
    options_.dynamic_levels = false;
    EXPECT_TRUE(Db::Create(options_, storage_).ok());
    auto db = Db::Open(options_, storage_);
    EXPECT_TRUE(db.ok());
    db_ = std::move(db).value();
  }
  ~ResurrectionTest() override { io::LsmLog().set_level(spdlog::level::info); }

  void Put(const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.Put(key, value);
    ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  }
  void Delete(const std::string& key) {
    WriteBatch batch;
    batch.Delete(key);
    ASSERT_TRUE(db_->Write(std::move(batch)).ok());
  }
  // Brings what was written down to `level`.
  void Sink(int level) {
    ASSERT_TRUE(db_->Flush().ok());
    for (int from = 0; from < level; ++from) {
      const io::Status status = db_->Compact({from}, never_, nullptr);
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
  }
  bool Exists(const std::string& key) {
    const auto found = db_->Get({}, key);
    EXPECT_TRUE(found.ok()) << found.status().ToString();
    return found.ok() && found->has_value();
  }
  uint64_t Files(int level) { return db_->Stats().levels[static_cast<size_t>(level)].files; }

  lsm::JobControl never_;
  testing::SimStorage storage_;
  Options options_;
  std::unique_ptr<Db> db_;
};

TEST_F(ResurrectionTest, ATombstoneOutsideTheHullOfTheUpperTablesStays) {
  Put("x", "old");
  Sink(3);
  Put("a", "1");
  Delete("x");
  Put("z", "1");
  Sink(2);
  Put("b", "1");
  Put("c", "1");
  Sink(1);
  ASSERT_EQ(Files(1), 1U);  // b to c
  ASSERT_EQ(Files(2), 1U);  // a to z, with the tombstone of x
  ASSERT_EQ(Files(3), 1U);  // x
  EXPECT_FALSE(Exists("x"));
  ASSERT_TRUE(db_->Compact({1}, never_, nullptr).ok());
  ASSERT_EQ(Files(1), 0U);
  EXPECT_FALSE(Exists("x"));
  // And it goes when the value goes.
  ASSERT_TRUE(db_->Compact({2}, never_, nullptr).ok());
  EXPECT_FALSE(Exists("x"));
  EXPECT_EQ(db_->Stats().levels[3].tombstones, 0U);
}

// The same for a tombstone that a flush finds superfluous: only if no level at all has the key.
TEST_F(ResurrectionTest, AFlushedTombstoneStaysWhileAnyLevelHasItsKey) {
  Put("x", "old");
  Sink(4);
  Delete("x");
  Delete("y");
  ASSERT_TRUE(db_->Flush().ok());
  EXPECT_EQ(db_->Stats().levels[0].tombstones, 1U);
  EXPECT_FALSE(Exists("x"));
  for (int level = 0; level < 4; ++level) {
    ASSERT_TRUE(db_->Compact({level}, never_, nullptr).ok());
    EXPECT_FALSE(Exists("x")) << "level " << level;
  }
}

// A level that is empty between a tombstone and the value it hides must not be taken for the bottom
// (dgraph-io/badger issue 2143).
TEST_F(ResurrectionTest, AnEmptyLevelIsNotTheBottom) {
  Put("x", "old");
  Sink(5);
  Put("a", "1");
  Delete("x");
  Put("z", "1");
  Sink(1);
  ASSERT_TRUE(db_->Compact({1}, never_, nullptr).ok());
  EXPECT_EQ(Files(3) + Files(4), 0U);
  EXPECT_FALSE(Exists("x"));
  ASSERT_TRUE(db_->Compact({}, never_, nullptr).ok());
  EXPECT_FALSE(Exists("x"));
}

TEST_F(ResurrectionTest, AReadErrorInAMergeIsNotTheEndOfItsInput) {
  const auto value = [](int i) {
    std::string text = std::to_string(i);
    io::Random random(static_cast<uint64_t>(i));
    while (text.size() < 3000) io::PutFixed64(&text, random.Next());
    return text;
  };
  constexpr int kKeyCount = 1200;  // several reads of a megabyte
  for (int i = 0; i < kKeyCount; ++i) Put("k" + std::to_string(10000 + i), value(i));
  Sink(2);
  for (int i = 0; i < kKeyCount; i += 2) Delete("k" + std::to_string(10000 + i));
  Sink(1);
  uint64_t failed = 0;
  for (uint64_t pass_count = 0;; ++pass_count) {
    storage_.faults().Clear();
    storage_.faults().Add(
        {FaultOperation::kRead, ".sst", pass_count, 1, io::Status::IoError("injected", {}, EIO)});
    const io::Status status = db_->Compact({1}, never_, nullptr);
    const bool injected = storage_.faults().injected_count() > 0;
    storage_.faults().Clear();
    EXPECT_EQ(status.ok(), !injected) << status.ToString();
    for (int i = 0; i < kKeyCount; i += 97) {
      ASSERT_EQ(Exists("k" + std::to_string(10000 + i)), i % 2 == 1)
          << i << " after " << pass_count;
    }
    if (!injected) break;
    ++failed;
    ASSERT_LT(failed, 1000U);
  }
  EXPECT_GT(failed, 3U);
  EXPECT_EQ(Files(1), 0U);
  int count = 0;
  const std::unique_ptr<Iterator> it = db_->NewIterator({});
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    ASSERT_EQ(it->value(), value(2 * count + 1));
    ++count;
  }
  EXPECT_TRUE(it->status().ok());
  EXPECT_EQ(count, kKeyCount / 2);
}

}  // namespace
}  // namespace terracefs::lsm
