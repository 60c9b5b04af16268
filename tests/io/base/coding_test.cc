#include "io/base/coding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "io/base/random.h"

namespace terracefs::io {
namespace {

std::vector<uint64_t> InterestingNumbers() {
  std::vector<uint64_t> numbers{0, 1, std::numeric_limits<uint64_t>::max()};
  for (int bit = 1; bit < 64; ++bit) {
    const uint64_t power = uint64_t{1} << bit;
    numbers.insert(numbers.end(), {power - 1, power, power + 1});
  }
  return numbers;
}

TEST(CodingTest, FixedNumbersRoundTripAndAreLittleEndian) {
  std::string text;
  PutFixed16(&text, 0x0102);
  PutFixed32(&text, 0x03040506);
  PutFixed64(&text, 0x0708090a0b0c0d0e);
  EXPECT_EQ(text, "\x02\x01\x06\x05\x04\x03\x0e\x0d\x0c\x0b\x0a\x09\x08\x07");

  Decoder decoder(text);
  uint16_t two = 0;
  uint32_t four = 0;
  uint64_t eight = 0;
  ASSERT_TRUE(decoder.GetFixed16(&two) && decoder.GetFixed32(&four) && decoder.GetFixed64(&eight));
  EXPECT_EQ(two, 0x0102U);
  EXPECT_EQ(four, 0x03040506U);
  EXPECT_EQ(eight, 0x0708090a0b0c0d0eU);
  EXPECT_TRUE(decoder.empty());
}

TEST(CodingTest, EncodeInPlaceMatchesAppending) {
  char four[4];
  char eight[8];
  EncodeFixed32(four, 0xdeadbeef);
  EncodeFixed64(eight, 0x0123456789abcdef);
  EXPECT_EQ(DecodeFixed32(four), 0xdeadbeefU);
  EXPECT_EQ(DecodeFixed64(eight), 0x0123456789abcdefU);
}

TEST(CodingTest, VarintsRoundTrip) {
  for (const uint64_t number : InterestingNumbers()) {
    std::string text;
    PutVarint64(&text, number);
    EXPECT_LE(text.size(), 10U);
    Decoder decoder(text);
    uint64_t decoded = 0;
    ASSERT_TRUE(decoder.GetVarint64(&decoded)) << number;
    EXPECT_EQ(decoded, number);
    EXPECT_TRUE(decoder.empty());

    if (number > std::numeric_limits<uint32_t>::max()) continue;
    char buffer[5];
    const char* end = EncodeVarint32(buffer, static_cast<uint32_t>(number));
    EXPECT_EQ(std::string(static_cast<const char*>(buffer), end), text);
    Decoder narrow(text);
    uint32_t decoded_narrow = 0;
    ASSERT_TRUE(narrow.GetVarint32(&decoded_narrow));
    EXPECT_EQ(decoded_narrow, number);
  }
}

TEST(CodingTest, ShortInputIsRefusedAndLeftAlone) {
  std::string full;
  PutFixed16(&full, 1);
  PutFixed32(&full, 2);
  PutFixed64(&full, 3);
  for (size_t bytes = 0; bytes < 8; ++bytes) {
    const std::string text = full.substr(0, bytes);
    Decoder decoder(text);
    uint64_t eight = 77;
    EXPECT_FALSE(decoder.GetFixed64(&eight));
    EXPECT_EQ(eight, 77U);
    uint32_t four = 77;
    if (bytes < 4) {
      EXPECT_FALSE(decoder.GetFixed32(&four));
    }
    uint16_t two = 77;
    if (bytes < 2) {
      EXPECT_FALSE(decoder.GetFixed16(&two));
    }
    EXPECT_EQ(decoder.rest(), text);
  }
  Decoder empty("");
  uint8_t byte = 77;
  EXPECT_FALSE(empty.GetByte(&byte));
  std::string_view view = "kept";
  EXPECT_FALSE(empty.GetRaw(1, &view));
  EXPECT_EQ(view, "kept");
  EXPECT_TRUE(empty.GetRaw(0, &view));
}

TEST(CodingTest, MalformedVarintsAreRefusedAndLeftAlone) {
  const std::vector<std::string> malformed = {
      "",
      "\x80",
      std::string(9, '\x80'),
      std::string(9, '\xff') + "\x02",  // more than 64 bits
      std::string(10, '\x80') + "\x01",
      std::string(20, '\xff'),
  };
  for (const std::string& text : malformed) {
    Decoder decoder(text);
    uint64_t wide = 77;
    uint32_t narrow = 77;
    EXPECT_FALSE(decoder.GetVarint64(&wide));
    EXPECT_FALSE(decoder.GetVarint32(&narrow));
    EXPECT_EQ(wide, 77U);
    EXPECT_EQ(narrow, 77U);
    EXPECT_EQ(decoder.rest(), text);
  }
  std::string too_wide;
  PutVarint64(&too_wide, uint64_t{1} << 32);
  Decoder decoder(too_wide);
  uint32_t narrow = 77;
  EXPECT_FALSE(decoder.GetVarint32(&narrow));
  EXPECT_EQ(decoder.rest(), too_wide);
}

TEST(CodingTest, LengthPrefixedRoundTripsAndNeverReadsPastTheEnd) {
  for (const size_t bytes : {0UL, 1UL, 127UL, 128UL, 20000UL}) {
    const std::string value(bytes, 'v');
    std::string text;
    PutLengthPrefixed(&text, value);
    Decoder decoder(text);
    std::string_view decoded;
    ASSERT_TRUE(decoder.GetLengthPrefixed(&decoded));
    EXPECT_EQ(decoded, value);

    for (size_t cut = 0; cut < text.size(); cut += 1 + text.size() / 50) {
      Decoder short_decoder(std::string_view(text).substr(0, cut));
      EXPECT_FALSE(short_decoder.GetLengthPrefixed(&decoded));
      EXPECT_EQ(short_decoder.rest().size(), cut);
    }
  }
}

TEST(CodingTest, OrderedNumbersSortAsBytesLikeTheNumbers) {
  std::vector<uint64_t> numbers = InterestingNumbers();
  Random random(1);
  for (int i = 0; i < 200; ++i) numbers.push_back(random.Next());
  std::sort(numbers.begin(), numbers.end());
  std::string previous;
  for (const uint64_t number : numbers) {
    std::string text;
    PutOrdered64(&text, number);
    EXPECT_EQ(DecodeOrdered64(text.data()), number);
    EXPECT_LE(previous, text);
    previous = text;
  }
}

}  // namespace
}  // namespace terracefs::io
