#include "io/base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

#include "io/base/random.h"

namespace terracefs::io {
namespace {

TEST(Crc32cTest, KnownVectors) {
  EXPECT_EQ(Crc32c(AsBytes("")), 0U);
  EXPECT_EQ(Crc32c(AsBytes("123456789")), 0xe3069283U);
  // RFC 3720, appendix B.4.
  EXPECT_EQ(Crc32c(AsBytes(std::string(32, '\0'))), 0x8a9136aaU);
  EXPECT_EQ(Crc32c(AsBytes(std::string(32, '\xff'))), 0x62a8ab43U);
  std::string ascending;
  for (char c = 0; c < 32; ++c) ascending.push_back(c);
  EXPECT_EQ(Crc32c(AsBytes(ascending)), 0x46dd794eU);
}

TEST(Crc32cTest, HardwareAndTableAgreeAtEveryLengthAndAlignment) {
  Random random(1);
  std::string data(3 * 3072 + 100, '\0');
  for (char& c : data) c = static_cast<char>(random.Next());
  for (int round = 0; round < 2000; ++round) {
    // Around the borders of the three-stream loop, and anywhere.
    const size_t around[] = {0, 8, 3072, 6144, 9216};
    const size_t offset = random.Uniform(17);
    size_t length = random.OneIn(2) ? random.Uniform(data.size() - offset)
                                    : around[random.Uniform(5)] + random.Uniform(17);
    length = std::min(length, data.size() - offset);
    const Bytes bytes = AsBytes(std::string_view(data).substr(offset, length));
    const auto start = static_cast<uint32_t>(random.Next());
    ASSERT_EQ(Crc32c(bytes, start), Crc32cPortable(bytes, start)) << offset << " " << length;
  }
}

TEST(Crc32cTest, ContinuesWhereItStopped) {
  Random random(2);
  std::string data(10000, '\0');
  for (char& c : data) c = static_cast<char>(random.Next());
  const uint32_t whole = Crc32c(AsBytes(data));
  for (int round = 0; round < 200; ++round) {
    const size_t cut = random.Uniform(data.size() + 1);
    const std::string_view view = data;
    EXPECT_EQ(Crc32c(AsBytes(view.substr(cut)), Crc32c(AsBytes(view.substr(0, cut)))), whole);
  }
}

TEST(Crc32cTest, EverySingleBitMatters) {
  std::string data(600, 'x');
  const uint32_t sound = Crc32c(AsBytes(data));
  for (size_t bit = 0; bit < data.size() * 8; ++bit) {
    data[bit / 8] = static_cast<char>(data[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(Crc32c(AsBytes(data)), sound);
    data[bit / 8] = static_cast<char>(data[bit / 8] ^ (1 << (bit % 8)));
  }
}

}  // namespace
}  // namespace terracefs::io
