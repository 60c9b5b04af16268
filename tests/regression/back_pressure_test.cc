// A writer faster than the flush used to run at full speed until every memtable was full, and then
// stood still until one had been flushed: seconds, with a limited rate.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "io/base/log.h"
#include "lsm/db.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using Clock = std::chrono::steady_clock;

TEST(BackPressureTest, AWriterAheadOfALimitedFlushIsSlowedDownNotStopped) {
  constexpr uint64_t kRate = 4 * io::kMiB;
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
  const std::string value(4000, 'v');
  const auto begin = Clock::now();
  std::vector<std::chrono::nanoseconds> waits;
  uint64_t written = 0;
  while (Clock::now() - begin < std::chrono::seconds(6)) {
    WriteBatch batch;
    batch.Put("key" + std::to_string(waits.size()), value);
    const auto write_begin = Clock::now();
    ASSERT_TRUE(db->Write(std::move(batch)).ok());
    waits.push_back(Clock::now() - write_begin);
    written += value.size();
  }
  std::sort(waits.begin(), waits.end());
  const auto ms = [](std::chrono::nanoseconds ns) { return static_cast<double>(ns.count()) / 1e6; };
  RecordProperty("write_max_ms", std::to_string(ms(waits.back())));
  RecordProperty("written", std::to_string(written));
  // One memtable takes half a second to flush; a writer must not get to feel it.
  EXPECT_LT(ms(waits.back()), 300);
  EXPECT_LT(ms(waits[waits.size() * 999 / 1000]), 60);
  // All that memory takes, and what is flushed meanwhile.
  EXPECT_GT(written, 4 * kRate);
  EXPECT_LT(written, 9 * kRate);
  // The end is not limited.
  EXPECT_TRUE(db->Close().ok());
}

}  // namespace
}  // namespace terracefs::lsm
