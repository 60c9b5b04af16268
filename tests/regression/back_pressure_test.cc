// A writer faster than the flush used to run at full speed until every memtable was full, and then
// stood still until one had been flushed: seconds, with a limited rate.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "io/base/random.h"
#include "lsm/db.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using Clock = std::chrono::steady_clock;

std::string IncompressibleValue(io::Random& random) {
  std::string value;
  while (value.size() < 4000) io::PutFixed64(&value, random.Next());
  return value;
}

// Overwrites 4000 bytes at random keys of so many for so long, and says how long each took.
struct Load {
  std::vector<std::chrono::nanoseconds> waits;  // ascending
  uint64_t written = 0;

  double ms(double share) const {
    const auto at = static_cast<size_t>(static_cast<double>(waits.size() - 1) * share);
    return static_cast<double>(waits[at].count()) / 1e6;
  }
};

Load WriteFor(Db& db, uint64_t key_count, std::chrono::seconds duration) {
  Load load;
  io::Random random(1);
  const auto begin = Clock::now();
  while (Clock::now() - begin < duration) {
    WriteBatch batch;
    batch.Put("key" + std::to_string(random.Uniform(key_count)), IncompressibleValue(random));
    const auto write_begin = Clock::now();
    EXPECT_TRUE(db.Write(std::move(batch)).ok());
    load.waits.push_back(Clock::now() - write_begin);
    load.written += 4000;
  }
  std::sort(load.waits.begin(), load.waits.end());
  ::testing::Test::RecordProperty("write_max_ms", std::to_string(load.ms(1)));
  ::testing::Test::RecordProperty("written", std::to_string(load.written));
  return load;
}

constexpr uint64_t kRate = 4 * io::kMiB;

TEST(BackPressureTest, AWriterAheadOfALimitedFlushIsSlowedDownNotStopped) {
  Options options;
  options.memtable_bytes = 2 * io::kMiB;
  options.log_file_bytes = 4 * io::kMiB;
  options.disable_automatic_compaction = true;
  options.l0_slowdown_trigger = 1000;
  options.l0_stop_trigger = 1000;
  options.compaction_rate = kRate;
  testing::SimStorage storage;
  ASSERT_TRUE(Db::Create(options, storage).ok());
  std::unique_ptr<Db> db = std::move(Db::Open(options, storage)).value();
  const Load load = WriteFor(*db, 1'000'000, std::chrono::seconds(6));
  // One memtable takes half a second to flush; a writer must not get to feel it.
  EXPECT_LT(load.ms(1), 300);
  EXPECT_LT(load.ms(0.999), 60);
  // All that memory takes, and what is flushed meanwhile.
  EXPECT_GT(load.written, 4 * kRate);
  EXPECT_LT(load.written, 9 * kRate);
  // The end is not limited.
  EXPECT_TRUE(db->Close().ok());
}

// Here flush keeps up, but leaves the merges of level 0 next to nothing of the rate. A writer used
// to hear of that when level 0 was full, and then stood still until a merge had ended: half a
// minute, with 32 MiB/s.
TEST(BackPressureTest, AWriterAheadOfALimitedLevel0IsSlowedDownNotStopped) {
  constexpr uint64_t kKeyCount = 1000;  // 4 MiB: a merge with the last level takes five seconds
  Options options;
  options.memtable_bytes = 256 * io::kKiB;
  options.log_file_bytes = 512 * io::kKiB;
  testing::SimStorage storage;
  ASSERT_TRUE(Db::Create(options, storage).ok());
  std::unique_ptr<Db> db = std::move(Db::Open(options, storage)).value();
  io::Random random(2);
  for (uint64_t key = 0; key < kKeyCount; ++key) {
    WriteBatch batch;
    batch.Put("key" + std::to_string(key), IncompressibleValue(random));
    ASSERT_TRUE(db->Write(std::move(batch)).ok());
  }
  JobControl control;
  ASSERT_TRUE(db->Compact({}, control, nullptr).ok());
  db->SetCompactionRate(kRate / 2);
  const Load load = WriteFor(*db, kKeyCount, std::chrono::seconds(30));
  // What one merge takes is seconds; single delays end after one at most.
  EXPECT_LT(load.ms(1), 1500);
  EXPECT_LT(load.ms(0.99), 200);
  EXPECT_GT(load.written, 4 * io::kMiB);
  EXPECT_TRUE(db->Close().ok());
}

}  // namespace
}  // namespace terracefs::lsm
