#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "io/base/clock.h"
#include "io/base/log.h"
#include "io/base/units.h"
#include "lsm/db.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {

// An engine with small parts on a simulated disk, whose clock stands still; compacts only when
// told. For tests to derive from, beside ::testing::Test.
class DbFixture {
 protected:
  DbFixture() {
    options_.memtable_bytes = io::kMiB;
    options_.log_file_bytes = 64 * io::kKiB;
    options_.block_cache_bytes = io::kMiB;
    options_.block_bytes = 512;
    options_.table_bytes = 16 * io::kKiB;
    options_.level1_bytes = 64 * io::kKiB;
    options_.commit_interval_ms = 0;
    options_.disable_automatic_compaction = true;
    options_.clock = &clock_;
    io::LsmLog().set_level(spdlog::level::off);
  }
  ~DbFixture() { io::LsmLog().set_level(spdlog::level::info); }

  void Create() {
    const io::Status created = Db::Create(options_, *storage_);
    ASSERT_TRUE(created.ok()) << created.ToString();
    Open();
  }
  void Open() {
    auto db = Db::Open(options_, *storage_);
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    db_ = std::move(db).value();
  }
  void Reopen() {
    if (db_) {
      ASSERT_TRUE(db_->Close().ok());
    }
    db_.reset();
    Open();
  }
  void CrashAndOpen(testing::CrashMode mode = testing::CrashMode::kLoseAllUnsynced,
                    uint64_t seed = 1) {
    auto left = storage_->CrashClone(seed, mode);
    db_.reset();
    storage_ = std::move(left);
    Open();
  }

  // Names of files that end so.
  static std::set<std::string> NamesIn(testing::SimStorage& storage, std::string_view ending) {
    std::set<std::string> found;
    const auto names = storage.List();
    for (const std::string& name : *names) {
      if (name.ends_with(ending)) found.insert(name);
    }
    return found;
  }
  // Calls `condition` until it is true, for at most five seconds.
  template <typename Condition>
  static bool Eventually(Condition condition) {
    for (int i = 0; i < 1000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  io::ManualClock clock_{1'700'000'000'000'000'000};
  JobControl never_;
  Options options_;
  std::unique_ptr<testing::SimStorage> storage_ = std::make_unique<testing::SimStorage>();
  std::unique_ptr<Db> db_;
};

}  // namespace terracefs::lsm
