#include "lsm/values/value_reference.h"

#include "io/base/coding.h"

namespace terracefs::lsm {

uint64_t ValueReference::ShareBytes() const {
  const uint64_t stored_bytes = stored_pages() * kValuePageBytes;
  return stored_bytes * (index + 1U) / record_pages - stored_bytes * index / record_pages;
}

void ValueReference::AppendTo(std::string* out) const {
  out->push_back(static_cast<char>(codec));
  io::PutVarint64(out, file);
  io::PutVarint64(out, page);
  io::PutFixed32(out, crc);
  if (codec != ValueCodec::kZstd) return;
  io::PutVarint32(out, record_bytes);
  out->push_back(static_cast<char>(record_pages));
  out->push_back(static_cast<char>(index));
}

io::Result<ValueReference> ValueReference::Decode(std::string_view value) {
  const auto bad = [] { return io::Status::Corruption("value reference does not parse"); };
  io::Decoder in(value);
  ValueReference reference;
  uint8_t codec = 0;
  if (!in.GetByte(&codec) || !in.GetVarint64(&reference.file) || !in.GetVarint64(&reference.page) ||
      !in.GetFixed32(&reference.crc)) {
    return bad();
  }
  // The page is where a byte offset stays far from overflowing.
  if (reference.file == 0 || reference.file > kFileNumberMax || reference.page >> 50 != 0) {
    return bad();
  }
  if (codec == static_cast<uint8_t>(ValueCodec::kZstd)) {
    reference.codec = ValueCodec::kZstd;
    if (!in.GetVarint32(&reference.record_bytes) || !in.GetByte(&reference.record_pages) ||
        !in.GetByte(&reference.index) || reference.record_pages < 2 ||
        reference.record_pages > kRecordPagesMax || reference.index >= reference.record_pages ||
        reference.record_bytes == 0 || reference.stored_pages() >= reference.record_pages) {
      return bad();
    }
  } else if (codec != static_cast<uint8_t>(ValueCodec::kPlain)) {
    return bad();
  }
  if (!in.empty()) return bad();
  return reference;
}

}  // namespace terracefs::lsm
