#include "io/base/crc32c.h"

#include <array>

#include "io/base/coding.h"
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace terracefs::io {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = MakeTable();

#if defined(__x86_64__)
// The crc32 instruction has a latency of three cycles and a throughput of one, so three streams
// run side by side; their results are joined by advancing each over the zeros behind it, which
// these tables do in one step per byte of the register. (Method: Gopal et al., "Fast CRC
// computation for iSCSI polynomial using CRC32 instruction", Intel, 2011.)
constexpr size_t kStreamBytes = 1024;

using ShiftTable = std::array<std::array<uint32_t, 256>, 4>;

constexpr uint32_t AdvanceZeros(uint32_t crc, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) crc = (crc >> 8) ^ kTable[crc & 0xff];
  return crc;
}

ShiftTable MakeShiftTable(size_t bytes) {
  // Advancing over zeros is linear, so 32 single-bit results give all others.
  std::array<uint32_t, 32> bit_result{};
  for (size_t bit = 0; bit < 32; ++bit) bit_result[bit] = AdvanceZeros(1U << bit, bytes);
  ShiftTable table{};
  for (size_t position = 0; position < 4; ++position) {
    for (uint32_t value = 0; value < 256; ++value) {
      uint32_t result = 0;
      for (size_t bit = 0; bit < 8; ++bit) {
        if ((value >> bit & 1) != 0) result ^= bit_result[position * 8 + bit];
      }
      table[position][value] = result;
    }
  }
  return table;
}

uint32_t Shift(const ShiftTable& table, uint32_t crc) {
  return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^
         table[3][crc >> 24];
}

__attribute__((target("sse4.2"))) uint32_t Crc32cHardware(Bytes data, uint32_t crc) {
  static const ShiftTable shift_one = MakeShiftTable(kStreamBytes);
  const char* p = reinterpret_cast<const char*>(data.data());
  size_t left = data.size();
  uint64_t a = crc ^ 0xffffffffU;
  while (left >= 3 * kStreamBytes) {
    uint64_t b = 0;
    uint64_t c = 0;
    for (size_t i = 0; i < kStreamBytes; i += 8) {
      a = _mm_crc32_u64(a, DecodeFixed64(p + i));
      b = _mm_crc32_u64(b, DecodeFixed64(p + kStreamBytes + i));
      c = _mm_crc32_u64(c, DecodeFixed64(p + 2 * kStreamBytes + i));
    }
    a = Shift(shift_one, static_cast<uint32_t>(a)) ^ b;
    a = Shift(shift_one, static_cast<uint32_t>(a)) ^ c;
    p += 3 * kStreamBytes;
    left -= 3 * kStreamBytes;
  }
  for (; left >= 8; left -= 8, p += 8) a = _mm_crc32_u64(a, DecodeFixed64(p));
  auto narrow = static_cast<uint32_t>(a);
  for (; left > 0; --left, ++p) narrow = _mm_crc32_u8(narrow, static_cast<uint8_t>(*p));
  return narrow ^ 0xffffffffU;
}
#endif

}  // namespace

uint32_t Crc32cPortable(Bytes data, uint32_t crc) {
  crc ^= 0xffffffffU;
  for (const std::byte byte : data) {
    crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint32_t>(byte)) & 0xff];
  }
  return crc ^ 0xffffffffU;
}

uint32_t Crc32c(Bytes data, uint32_t crc) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) return Crc32cHardware(data, crc);
#endif
  return Crc32cPortable(data, crc);
}

}  // namespace terracefs::io
