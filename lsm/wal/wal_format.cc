#include "lsm/wal/wal_format.h"

#include "io/base/check.h"
#include "io/base/coding.h"
#include "io/base/crc32c.h"

namespace terracefs::lsm {

void EncodeWalHeader(const WalChunkHeader& header, io::MutableBytes chunk) {
  CHECK(chunk.size() >= kWalHeaderBytes);
  char* const out = reinterpret_cast<char*>(chunk.data());
  io::EncodeFixed32(out, kWalChunkMagic);
  io::EncodeFixed32(out + 4, header.crc);
  io::EncodeFixed32(out + 8, header.payload_bytes);
  io::EncodeFixed32(out + 12, header.batch_count);
  io::EncodeFixed64(out + 16, header.log_number);
  io::EncodeFixed64(out + 24, header.first_sequence);
  io::EncodeFixed64(out + 32, header.durable_sequence);
  io::EncodeFixed32(out + 40, header.chunk_index);
  io::EncodeFixed32(out + 44, header.salt);
}

std::optional<WalChunkHeader> DecodeWalHeader(io::Bytes chunk) {
  CHECK(chunk.size() >= kWalHeaderBytes);
  const char* const in = reinterpret_cast<const char*>(chunk.data());
  if (io::DecodeFixed32(in) != kWalChunkMagic) return std::nullopt;
  WalChunkHeader header;
  header.crc = io::DecodeFixed32(in + 4);
  header.payload_bytes = io::DecodeFixed32(in + 8);
  header.batch_count = io::DecodeFixed32(in + 12);
  header.log_number = io::DecodeFixed64(in + 16);
  header.first_sequence = io::DecodeFixed64(in + 24);
  header.durable_sequence = io::DecodeFixed64(in + 32);
  header.chunk_index = io::DecodeFixed32(in + 40);
  header.salt = io::DecodeFixed32(in + 44);
  return header;
}

uint32_t WalSalt(uint64_t secret, FileNumber log_number) {
  char bytes[16];
  io::EncodeFixed64(bytes, secret);
  io::EncodeFixed64(bytes + 8, log_number);
  return io::Crc32c(io::AsBytes({bytes, sizeof bytes}));
}

uint32_t WalChunkChecksum(io::Bytes chunk) { return io::Crc32c(chunk.subspan(kWalChecksumBegin)); }

}  // namespace terracefs::lsm
