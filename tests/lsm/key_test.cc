#include "lsm/key.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "io/base/random.h"

namespace terracefs::lsm {
namespace {

int Sign(int order) { return order < 0 ? -1 : order > 0 ? 1 : 0; }

TEST(KeyTest, PartsComeBack) {
  for (const SequenceNumber sequence : {SequenceNumber{0}, SequenceNumber{1}, kSequenceMax}) {
    for (const EntryKind kind : {EntryKind::kDelete, EntryKind::kValue, EntryKind::kReference}) {
      const std::string key = MakeInternalKey("user", sequence, kind);
      EXPECT_EQ(key.size(), 4 + kKeyTrailerBytes);
      EXPECT_EQ(UserKey(key), "user");
      EXPECT_EQ(KeySequence(key), sequence);
      EXPECT_EQ(KeyKind(key), kind);
    }
  }
  EXPECT_EQ(UserKey(MakeInternalKey("", 7, EntryKind::kValue)), "");
}

TEST(KeyTest, BytesAreAsDescribed) {
  EXPECT_EQ(MakeInternalKey("k", 0x0102, EntryKind::kValue),
            std::string("k\x02\x02\x01\0\0\0\0\0", 9));
}

TEST(KeyTest, SortsByUserKeyThenNewestFirst) {
  const std::vector<std::string> sorted = {
      MakeInternalKey("", 5, EntryKind::kValue),
      MakeInternalKey("a", 9, EntryKind::kValue),
      MakeInternalKey("a", 9, EntryKind::kDelete),
      MakeInternalKey("a", 1, EntryKind::kValue),
      MakeInternalKey(std::string("a\0", 2), 100, EntryKind::kValue),
      MakeInternalKey("ab", 2, EntryKind::kValue),
      MakeInternalKey("\x7f", 3, EntryKind::kValue),
      MakeInternalKey("\x80", 3, EntryKind::kValue),
      MakeInternalKey("\xff", 1, EntryKind::kValue),
  };
  for (size_t a = 0; a < sorted.size(); ++a) {
    for (size_t b = 0; b < sorted.size(); ++b) {
      const int expected = a < b ? -1 : a > b ? 1 : 0;
      EXPECT_EQ(Sign(CompareInternal(sorted[a], sorted[b])), expected) << a << " " << b;
    }
  }
}

TEST(KeyTest, SeekKeySortsBeforeWhatItsSnapshotSeesAndAfterTheRest) {
  for (const SequenceNumber snapshot : {SequenceNumber{0}, SequenceNumber{6}, kSequenceMax}) {
    const std::string seek = MakeSeekKey("m", snapshot);
    for (const EntryKind kind : {EntryKind::kDelete, EntryKind::kValue, EntryKind::kReference}) {
      EXPECT_LT(CompareInternal(seek, MakeInternalKey("m", snapshot, kind)), 0);
      if (snapshot < kSequenceMax) {
        EXPECT_GT(CompareInternal(seek, MakeInternalKey("m", snapshot + 1, kind)), 0);
      }
    }
    EXPECT_GT(CompareInternal(seek, MakeInternalKey("l", 0, EntryKind::kDelete)), 0);
    EXPECT_LT(CompareInternal(seek, MakeInternalKey("n", kSequenceMax, EntryKind::kValue)), 0);
  }
}

TEST(KeyTest, OrderAgreesWithOrderOfTheParts) {
  io::Random random(1);
  const auto any = [&random] {
    std::string user(random.Uniform(4), '\0');
    for (char& byte : user) byte = static_cast<char>(random.Uniform(3) * 127);
    return std::tuple(user, random.Uniform(4), static_cast<EntryKind>(1 + random.Uniform(3)));
  };
  for (int round = 0; round < 10'000; ++round) {
    const auto [user_a, sequence_a, kind_a] = any();
    const auto [user_b, sequence_b, kind_b] = any();
    const int user_order = Sign(user_a.compare(user_b));
    const uint64_t trailer_a = PackTrailer(sequence_a, kind_a);
    const uint64_t trailer_b = PackTrailer(sequence_b, kind_b);
    const int trailer_order = trailer_a > trailer_b ? -1 : trailer_a < trailer_b ? 1 : 0;
    EXPECT_EQ(Sign(CompareInternal(MakeInternalKey(user_a, sequence_a, kind_a),
                                   MakeInternalKey(user_b, sequence_b, kind_b))),
              user_order != 0 ? user_order : trailer_order);
  }
}

TEST(KeyTest, OnlyThreeKindsAreStoredInTables) {
  for (int kind = 0; kind < 256; ++kind) {
    EXPECT_EQ(IsTableKind(static_cast<uint8_t>(kind)), kind >= 1 && kind <= 3) << kind;
  }
}

}  // namespace
}  // namespace terracefs::lsm
