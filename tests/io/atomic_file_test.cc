#include "io/atomic_file.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/support/sim_storage.h"

namespace terracefs::io {
namespace {

using terracefs::testing::CrashMode;
using terracefs::testing::FaultEffect;
using terracefs::testing::FaultOperation;
using terracefs::testing::FaultRule;
using terracefs::testing::SimStorage;

constexpr size_t kBytesMax = 1 << 20;

TEST(AtomicFileTest, ReplacesAndReadsBack) {
  SimStorage storage;
  for (const std::string& contents :
       {std::string("first"), std::string(), std::string(9000, 'x')}) {
    ASSERT_TRUE(ReplaceFile(storage, "file", contents).ok());
    EXPECT_EQ(ReadWholeFile(storage, "file", kBytesMax).value(), contents);
    EXPECT_EQ(storage.List().value(), std::vector<std::string>{"file"});
  }
}

TEST(AtomicFileTest, ReadingTellsMissingFromTooLarge) {
  SimStorage storage;
  EXPECT_TRUE(ReadWholeFile(storage, "file", 10).status().Is(StatusCode::kNotFound));
  ASSERT_TRUE(ReplaceFile(storage, "file", "0123456789").ok());
  EXPECT_TRUE(ReadWholeFile(storage, "file", 10).ok());
  EXPECT_TRUE(ReadWholeFile(storage, "file", 9).status().Is(StatusCode::kCorruption));
}

TEST(AtomicFileTest, ALeftOverTemporaryDoesNotShowThrough) {
  SimStorage storage;
  storage.PutContents("file.tmp", std::string(5000, 'g'));
  ASSERT_TRUE(ReplaceFile(storage, "file", "new").ok());
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(storage.CrashClone(seed)->Contents("file").value(), "new");
  }
}

// Old or new after a power cut at every operation, and new once the caller was told so.
TEST(AtomicFileTest, APowerCutAtAnyPointLeavesOldOrNewContents) {
  const std::string old_contents(3000, 'o');
  const std::string new_contents(5000, 'n');
  for (const bool existed : {true, false}) {
    bool finished = false;
    for (uint64_t cut = 0; !finished; ++cut) {
      ASSERT_LT(cut, 100U);
      SimStorage storage;
      if (existed) {
        ASSERT_TRUE(ReplaceFile(storage, "file", old_contents).ok());
      }
      storage.CrashAtIo(storage.io_count() + cut);
      const Status status = ReplaceFile(storage, "file", new_contents);
      finished = !storage.power_is_off();
      EXPECT_EQ(status.ok(), finished);
      for (const CrashMode mode :
           {CrashMode::kLoseAllUnsynced, CrashMode::kRandom, CrashMode::kKeepAll}) {
        for (uint64_t seed = 0; seed < 30; ++seed) {
          const auto found = ReadWholeFile(*storage.CrashClone(seed, mode), "file", kBytesMax);
          if (!found.ok()) {
            EXPECT_TRUE(!existed && !finished && found.status().Is(StatusCode::kNotFound));
            continue;
          }
          const std::string& contents = found.value();
          EXPECT_TRUE(contents == new_contents ||
                      (existed && !finished && contents == old_contents))
              << "cut " << cut << " seed " << seed << " size " << contents.size();
        }
      }
    }
  }
}

TEST(AtomicFileTest, EveryErrorIsReportedAndLeavesOldOrNewContents) {
  for (const FaultEffect effect : {FaultEffect::kNothing, FaultEffect::kHalf, FaultEffect::kAll}) {
    for (const FaultOperation operation :
         {FaultOperation::kCreate, FaultOperation::kWrite, FaultOperation::kSync,
          FaultOperation::kRename, FaultOperation::kSyncDirectory}) {
      SimStorage storage;
      ASSERT_TRUE(ReplaceFile(storage, "file", "old").ok());
      FaultRule rule;
      rule.operation = operation;
      rule.effect = effect;
      storage.faults().Add(rule);
      EXPECT_FALSE(ReplaceFile(storage, "file", "new").ok());
      EXPECT_EQ(storage.faults().injected_count(), 1U);
      const std::string found = ReadWholeFile(storage, "file", kBytesMax).value();
      EXPECT_TRUE(found == "old" || found == "new") << found;
      for (uint64_t seed = 0; seed < 30; ++seed) {
        const std::string after = storage.CrashClone(seed)->Contents("file").value();
        EXPECT_TRUE(after == "old" || after == "new") << after;
      }
      // The next attempt is not in the way of the failed one.
      ASSERT_TRUE(ReplaceFile(storage, "file", "newer").ok());
      EXPECT_EQ(storage.CrashClone(1)->Contents("file").value(), "newer");
    }
  }
}

}  // namespace
}  // namespace terracefs::io
