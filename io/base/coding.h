#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace terracefs::io {

static_assert(std::endian::native == std::endian::little, "formats are written for little-endian");

// Little-endian fixed width: what file formats use.
inline void PutFixed16(std::string* out, uint16_t value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}
inline void PutFixed32(std::string* out, uint32_t value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}
inline void PutFixed64(std::string* out, uint64_t value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}
inline void EncodeFixed32(char* out, uint32_t value) { std::memcpy(out, &value, sizeof value); }
inline void EncodeFixed64(char* out, uint64_t value) { std::memcpy(out, &value, sizeof value); }
inline uint16_t DecodeFixed16(const char* in) {
  uint16_t value;
  std::memcpy(&value, in, sizeof value);
  return value;
}
inline uint32_t DecodeFixed32(const char* in) {
  uint32_t value;
  std::memcpy(&value, in, sizeof value);
  return value;
}
inline uint64_t DecodeFixed64(const char* in) {
  uint64_t value;
  std::memcpy(&value, in, sizeof value);
  return value;
}

// Big-endian fixed width: sorts as bytes the way the number sorts; what keys use.
inline void PutOrdered64(std::string* out, uint64_t value) {
  const uint64_t swapped = __builtin_bswap64(value);
  out->append(reinterpret_cast<const char*>(&swapped), sizeof swapped);
}
inline uint64_t DecodeOrdered64(const char* in) { return __builtin_bswap64(DecodeFixed64(in)); }

// LEB128 variable width, at most 5 and 10 bytes.
void PutVarint32(std::string* out, uint32_t value);
void PutVarint64(std::string* out, uint64_t value);
// Length as varint32, then the bytes.
void PutLengthPrefixed(std::string* out, std::string_view value);
// Writes to `out`, which has room for 5 bytes; returns one past the last byte written.
char* EncodeVarint32(char* out, uint32_t value);

// Reads values off the front of a string. Every getter returns false, and leaves the output alone,
// if the input is too short or malformed; nothing is ever read out of range. Not thread-safe.
class Decoder {
 public:
  explicit Decoder(std::string_view input) : rest_(input) {}

  [[nodiscard]] bool GetByte(uint8_t* value);
  [[nodiscard]] bool GetFixed16(uint16_t* value);
  [[nodiscard]] bool GetFixed32(uint32_t* value);
  [[nodiscard]] bool GetFixed64(uint64_t* value);
  [[nodiscard]] bool GetVarint32(uint32_t* value);
  [[nodiscard]] bool GetVarint64(uint64_t* value);
  [[nodiscard]] bool GetLengthPrefixed(std::string_view* value);
  [[nodiscard]] bool GetRaw(size_t bytes, std::string_view* value);
  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace terracefs::io
