// Writers used to wait for ever at the stop trigger of level 0 if nothing could make level 0
// smaller: because a damaged table was in the way of every compaction, or the disk refused each.
// And one damaged table stopped all compaction, wherever it lay.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "io/base/log.h"
#include "lsm/db.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

class Level0StopTest : public ::testing::Test {
 protected:
  Level0StopTest() {
    io::LsmLog().set_level(spdlog::level::off);
    options_.memtable_bytes = io::kMiB;
    options_.log_file_bytes = 64 * io::kKiB;
    options_.l0_compaction_trigger = 2;
    options_.dynamic_levels = false;
    options_.l0_slowdown_trigger = 3;
    options_.l0_stop_trigger = 4;
    EXPECT_TRUE(Db::Create(options_, storage_).ok());
  }
  ~Level0StopTest() override { io::LsmLog().set_level(spdlog::level::info); }

  void Open() {
    auto db = Db::Open(options_, storage_);
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    db_ = std::move(db).value();
  }
  io::Status Put(const std::string& key) {
    WriteBatch batch;
    batch.Put(key, "value");
    return db_->Write(std::move(batch));
  }
  // One more table of level 0, over the same keys.
  void AddTable() {
    ASSERT_TRUE(Put("a").ok());
    ASSERT_TRUE(Put("m").ok());
    ASSERT_TRUE(db_->Flush().ok());
  }
  uint64_t Level0Count() { return db_->Stats().levels[0].files; }

  testing::SimStorage storage_;
  Options options_;
  std::unique_ptr<Db> db_;
};

TEST_F(Level0StopTest, WritersDoNotWaitForACompactionThatIsSwitchedOff) {
  options_.disable_automatic_compaction = true;
  Open();
  for (int i = 0; i < 6; ++i) AddTable();
  EXPECT_EQ(Level0Count(), 6U);
  EXPECT_TRUE(Put("z").ok());
}

TEST_F(Level0StopTest, WritersDoNotWaitForADamagedTable) {
  options_.disable_automatic_compaction = true;
  Open();
  AddTable();
  const auto names = storage_.List();
  for (const std::string& name : *names) {
    if (name.ends_with(".sst")) storage_.CorruptByte(name, 3);
  }
  ASSERT_TRUE(db_->Close().ok());
  options_.disable_automatic_compaction = false;
  Open();
  for (int i = 0; i < 8; ++i) AddTable();
  EXPECT_GT(Level0Count(), 4U);
  EXPECT_TRUE(Put("z").ok());
  // The rest of the keys is compacted as if nothing were wrong.
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Put("x").ok());
    ASSERT_TRUE(Put("y").ok());
    ASSERT_TRUE(db_->Flush().ok());
  }
  db_->WaitForQuiescence();
  EXPECT_GT(db_->Stats().levels[1].files, 0U);
}

TEST_F(Level0StopTest, WritersHearThatTheDiskIsFullAndGoOnWhenItIsNot) {
  options_.disable_automatic_compaction = true;
  Open();
  for (int i = 0; i < 5; ++i) AddTable();
  ASSERT_TRUE(db_->Close().ok());
  options_.disable_automatic_compaction = false;
  storage_.faults().Add({testing::FaultOperation::kCreate, ".sst", 0, testing::kFaultForever,
                         io::Status::NoSpace("injected")});
  Open();
  EXPECT_TRUE(Put("b").Is(io::StatusCode::kNoSpace));
  storage_.faults().Clear();
  io::Status status = Put("b");
  for (int i = 0; i < 500 && status.Is(io::StatusCode::kNoSpace); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    status = Put("b");
  }
  EXPECT_TRUE(status.ok()) << status.ToString();
}

}  // namespace
}  // namespace terracefs::lsm
