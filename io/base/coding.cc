#include "io/base/coding.h"

namespace terracefs::io {

char* EncodeVarint32(char* out, uint32_t value) {
  while (value >= 0x80) {
    *out++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *out++ = static_cast<char>(value);
  return out;
}

void PutVarint32(std::string* out, uint32_t value) { PutVarint64(out, value); }

void PutVarint64(std::string* out, uint64_t value) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

void PutLengthPrefixed(std::string* out, std::string_view value) {
  PutVarint32(out, static_cast<uint32_t>(value.size()));
  out->append(value);
}

bool Decoder::GetByte(uint8_t* value) {
  if (rest_.empty()) return false;
  *value = static_cast<uint8_t>(rest_[0]);
  rest_.remove_prefix(1);
  return true;
}

bool Decoder::GetFixed16(uint16_t* value) {
  if (rest_.size() < sizeof *value) return false;
  *value = DecodeFixed16(rest_.data());
  rest_.remove_prefix(sizeof *value);
  return true;
}

bool Decoder::GetFixed32(uint32_t* value) {
  if (rest_.size() < sizeof *value) return false;
  *value = DecodeFixed32(rest_.data());
  rest_.remove_prefix(sizeof *value);
  return true;
}

bool Decoder::GetFixed64(uint64_t* value) {
  if (rest_.size() < sizeof *value) return false;
  *value = DecodeFixed64(rest_.data());
  rest_.remove_prefix(sizeof *value);
  return true;
}

bool Decoder::GetVarint64(uint64_t* value) {
  uint64_t result = 0;
  for (size_t i = 0; i < rest_.size() && i < 10; ++i) {
    const auto byte = static_cast<uint8_t>(rest_[i]);
    if (i == 9 && byte > 1) return false;
    result |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if ((byte & 0x80) == 0) {
      rest_.remove_prefix(i + 1);
      *value = result;
      return true;
    }
  }
  return false;
}

bool Decoder::GetVarint32(uint32_t* value) {
  const std::string_view saved = rest_;
  uint64_t wide = 0;
  if (!GetVarint64(&wide)) return false;
  if (wide > UINT32_MAX) {
    rest_ = saved;
    return false;
  }
  *value = static_cast<uint32_t>(wide);
  return true;
}

bool Decoder::GetLengthPrefixed(std::string_view* value) {
  const std::string_view saved = rest_;
  uint32_t bytes = 0;
  if (GetVarint32(&bytes) && GetRaw(bytes, value)) return true;
  rest_ = saved;
  return false;
}

bool Decoder::GetRaw(size_t bytes, std::string_view* value) {
  if (rest_.size() < bytes) return false;
  *value = rest_.substr(0, bytes);
  rest_.remove_prefix(bytes);
  return true;
}

}  // namespace terracefs::io
