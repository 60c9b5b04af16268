#include "lsm/values/value_reference.h"

#include <gtest/gtest.h>

#include <string>

#include "io/base/random.h"

namespace terracefs::lsm {
namespace {

ValueReference Plain(FileNumber file, uint64_t page, uint32_t crc = 0x11223344) {
  ValueReference reference;
  reference.file = file;
  reference.page = page;
  reference.crc = crc;
  return reference;
}
ValueReference Compressed(uint32_t record_bytes, uint8_t record_pages, uint8_t index) {
  ValueReference reference = Plain(7, 1000);
  reference.codec = ValueCodec::kZstd;
  reference.record_bytes = record_bytes;
  reference.record_pages = record_pages;
  reference.index = index;
  return reference;
}
std::string Encode(const ValueReference& reference) {
  std::string value;
  reference.AppendTo(&value);
  return value;
}

TEST(ValueReferenceTest, ComesBackAsItWas) {
  for (const ValueReference& reference :
       {Plain(1, 0), Plain(kFileNumberMax, (uint64_t{1} << 50) - 1, 0xffffffff), Plain(300, 128),
        Compressed(1, 2, 0), Compressed(4096, 2, 1), Compressed(15 * 4096, 16, 15),
        Compressed(4097, 3, 2)}) {
    const std::string value = Encode(reference);
    EXPECT_LE(value.size(), kValueReferenceBytesMax);
    const auto decoded = ValueReference::Decode(value);
    ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
    EXPECT_EQ(*decoded, reference);
  }
}

// The examples of FORMAT.md.
TEST(ValueReferenceTest, BytesAreWhatFormatSays) {
  EXPECT_EQ(Encode(Plain(12, 300, 0xba8e6027)), std::string("\x01\x0c\xac\x02\x27\x60\x8e\xba", 8));
  ValueReference compressed = Compressed(5000, 16, 3);
  compressed.file = 12;
  compressed.page = 300;
  compressed.crc = 0xba8e6027;
  EXPECT_EQ(Encode(compressed),
            std::string("\x02\x0c\xac\x02\x27\x60\x8e\xba\x88\x27\x10\x03", 12));
}

TEST(ValueReferenceTest, WhatIsNeverWrittenIsCorruption) {
  for (const ValueReference& reference :
       {Plain(0, 1), Plain(kFileNumberMax + 1, 1), Plain(1, uint64_t{1} << 50), Compressed(0, 2, 0),
        Compressed(100, 1, 0), Compressed(100, 17, 0), Compressed(100, 4, 4),
        Compressed(4097, 2, 0), Compressed(16 * 4096, 16, 0)}) {
    const auto decoded = ValueReference::Decode(Encode(reference));
    ASSERT_FALSE(decoded.ok());
    EXPECT_TRUE(decoded.status().Is(io::StatusCode::kCorruption));
  }
}

TEST(ValueReferenceTest, CutAndLengthenedOnesAreCorruption) {
  for (const ValueReference& reference : {Plain(300, 128), Compressed(5000, 16, 3)}) {
    const std::string value = Encode(reference);
    for (size_t bytes = 0; bytes < value.size(); ++bytes) {
      EXPECT_FALSE(ValueReference::Decode(value.substr(0, bytes)).ok()) << bytes;
    }
    EXPECT_FALSE(ValueReference::Decode(value + '\0').ok());
    for (const char codec : {'\x00', '\x03', '\xff'}) {
      EXPECT_FALSE(ValueReference::Decode(codec + value.substr(1)).ok());
    }
  }
}

TEST(ValueReferenceTest, RandomBytesDecodeWithinBoundsOrNotAtAll) {
  constexpr uint64_t kSeed = 20261122;
  SCOPED_TRACE(kSeed);
  io::Random random(kSeed);
  int decoded_count = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string value(1 + random.Uniform(16), '\0');
    for (char& byte : value) byte = static_cast<char>(random.Next());
    value[0] = static_cast<char>(1 + random.Uniform(2));
    const auto decoded = ValueReference::Decode(value);
    if (!decoded.ok()) continue;
    ++decoded_count;
    EXPECT_GT(decoded->file, 0U);
    EXPECT_LT(decoded->index, decoded->record_pages);
    EXPECT_LE(decoded->stored_pages(), kRecordPagesMax);
    EXPECT_LT(decoded->page, uint64_t{1} << 50);
  }
  EXPECT_GT(decoded_count, 0);
}

TEST(ValueReferenceTest, SharesAddUpToTheRecord) {
  EXPECT_EQ(Plain(1, 5).ShareBytes(), kValuePageBytes);
  for (uint8_t pages = 2; pages <= kRecordPagesMax; ++pages) {
    for (uint32_t stored = 1; stored < pages; ++stored) {
      uint64_t sum = 0;
      for (uint8_t index = 0; index < pages; ++index) {
        sum += Compressed(stored * 4096, pages, index).ShareBytes();
      }
      EXPECT_EQ(sum, stored * kValuePageBytes);
    }
  }
}

TEST(ValueReferenceTest, FollowsInTheFileOrInTheRecord) {
  EXPECT_TRUE(Plain(1, 6).Follows(Plain(1, 5)));
  EXPECT_FALSE(Plain(1, 7).Follows(Plain(1, 5)));
  EXPECT_FALSE(Plain(1, 5).Follows(Plain(1, 5)));
  EXPECT_FALSE(Plain(1, 5).Follows(Plain(1, 6)));
  EXPECT_FALSE(Plain(2, 6).Follows(Plain(1, 5)));
  EXPECT_FALSE(Plain(0, 1).Follows(ValueReference()));
  EXPECT_TRUE(Compressed(5000, 16, 4).Follows(Compressed(5000, 16, 3)));
  EXPECT_FALSE(Compressed(5000, 16, 3).Follows(Compressed(5000, 16, 3)));
  EXPECT_FALSE(Compressed(5000, 16, 2).Follows(Compressed(5000, 16, 3)));
  EXPECT_TRUE(Plain(7, 1002).Follows(Compressed(5000, 16, 3)));
}

}  // namespace
}  // namespace terracefs::lsm
