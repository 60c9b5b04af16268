#include "fs/lookup_counts.h"

#include <gtest/gtest.h>

#include <map>

#include "io/base/random.h"

namespace terracefs::fs {
namespace {

using Outcome = LookupCounts::Outcome;

TEST(LookupCountsTest, SaysWhenTheLastOneGoes) {
  LookupCounts counts;
  const InodeNumber ino{7};
  counts.Raise(ino);
  counts.Raise(ino);
  EXPECT_EQ(counts.Lower(ino, 1), Outcome::kHeld);
  EXPECT_EQ(counts.Lower(ino, 1), Outcome::kReleased);
  EXPECT_FALSE(counts.Held(ino));
  EXPECT_EQ(counts.Lower(ino, 1), Outcome::kUnderflow);
}

TEST(LookupCountsTest, AnOrphanIsReportedOnceItIsReleased) {
  LookupCounts counts;
  const InodeNumber ino{7};
  EXPECT_FALSE(counts.MarkOrphan(ino));
  counts.Raise(ino);
  counts.Raise(ino);
  EXPECT_TRUE(counts.MarkOrphan(ino));
  EXPECT_EQ(counts.Orphans(), std::vector{ino});
  EXPECT_EQ(counts.Total(), 2U);
  EXPECT_EQ(counts.Lower(ino, 1), Outcome::kHeld);
  EXPECT_EQ(counts.Lower(ino, 1), Outcome::kOrphanReleased);
  EXPECT_TRUE(counts.Orphans().empty());
}

TEST(LookupCountsTest, ATemporaryIsTakenOnce) {
  LookupCounts counts;
  const InodeNumber ino{7};
  counts.Raise(ino);
  EXPECT_FALSE(counts.TakeTemporary(ino));
  EXPECT_TRUE(counts.MarkOrphan(ino));
  EXPECT_FALSE(counts.TakeTemporary(ino)) << "an orphan that had a name";
  EXPECT_EQ(counts.Lower(ino, 1), Outcome::kOrphanReleased);
  EXPECT_FALSE(counts.TakeTemporary(ino));

  counts.RaiseTemporary(ino);
  EXPECT_EQ(counts.Orphans(), std::vector{ino});
  EXPECT_TRUE(counts.TakeTemporary(ino));
  EXPECT_FALSE(counts.TakeTemporary(ino));
  EXPECT_TRUE(counts.Orphans().empty());
  EXPECT_EQ(counts.Total(), 2U);
  EXPECT_EQ(counts.Lower(ino, 1), Outcome::kHeld);
  counts.PutTemporaryBack(ino);
  EXPECT_EQ(counts.Total(), 1U);
  EXPECT_EQ(counts.Lower(ino, 1), Outcome::kOrphanReleased);
}

TEST(LookupCountsTest, EqualsAMap) {
  io::Random random(3);
  LookupCounts counts;
  std::map<uint64_t, uint64_t> model;
  uint64_t total = 0;
  for (int i = 0; i < 200'000; ++i) {
    // Grows and shrinks, so that slots are moved back and tables resized both ways.
    const bool growing = (i / 20'000) % 2 == 0;
    const uint64_t ino = 1 + random.Uniform(5000) * (1 + random.Uniform(3));
    if (random.Uniform(4) < (growing ? 3U : 1U)) {
      counts.Raise(InodeNumber{ino});
      ++model[ino];
      ++total;
    } else if (const auto at = model.find(ino); at != model.end()) {
      const uint64_t count = 1 + random.Uniform(at->second);
      const Outcome outcome = counts.Lower(InodeNumber{ino}, count);
      total -= count;
      at->second -= count;
      EXPECT_EQ(outcome, at->second == 0 ? Outcome::kReleased : Outcome::kHeld);
      if (at->second == 0) model.erase(at);
    } else {
      EXPECT_FALSE(counts.Held(InodeNumber{ino}));
    }
  }
  EXPECT_EQ(counts.Total(), total);
  for (const auto& [ino, count] : model) EXPECT_TRUE(counts.Held(InodeNumber{ino}));
}

}  // namespace
}  // namespace terracefs::fs
