#include "lsm/wal/wal_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "io/base/check.h"
#include "io/base/coding.h"
#include "io/base/crc32c.h"
#include "io/base/units.h"

namespace terracefs::lsm {
namespace {

constexpr size_t kFirstBufferBytes = 64 << 10;

}  // namespace

WalWriter::WalWriter(std::unique_ptr<io::File> file, FileNumber log_number, uint64_t secret)
    : file_(std::move(file)), log_number_(log_number), salt_(WalSalt(secret, log_number)) {
  CHECK(file_ != nullptr);
  CHECK(log_number_ != 0);
}

void WalWriter::Append(SequenceNumber first_sequence, uint32_t count,
                       std::string_view representation) {
  CHECK(count > 0);
  CHECK(first_sequence > 0);
  CHECK(first_sequence <= kSequenceMax - count);
  // The first batch of a log may begin anywhere; after that there are no gaps.
  CHECK(last_sequence_ == 0 || first_sequence == last_sequence_ + 1);
  CHECK(representation.size() <= kWalPayloadBytesMax);
  const size_t payload_bytes = open_payload_bytes_ + kWalBatchHeaderBytes + representation.size();
  CHECK(payload_bytes <= kWalPayloadBytesMax);

  GrowBuffer(kWalHeaderBytes + payload_bytes);
  char* const out = reinterpret_cast<char*>(open_end());
  io::EncodeFixed64(out, first_sequence);
  io::EncodeFixed32(out + 8, count);
  io::EncodeFixed32(out + 12, static_cast<uint32_t>(representation.size()));
  std::memcpy(out + kWalBatchHeaderBytes, representation.data(), representation.size());

  if (open_payload_bytes_ == 0) open_first_sequence_ = first_sequence;
  open_payload_bytes_ = payload_bytes;
  ++open_batch_count_;
  last_sequence_ = first_sequence + count - 1;
}

void WalWriter::GrowBuffer(size_t bytes_needed) {
  if (bytes_needed <= open_buffer_.capacity()) return;
  const size_t doubled = open_buffer_.capacity() * 2;
  io::AlignedBuffer larger(std::max({bytes_needed, doubled, kFirstBufferBytes}));
  if (open_payload_bytes_ > 0) {
    std::memcpy(larger.data() + kWalHeaderBytes, open_buffer_.data() + kWalHeaderBytes,
                open_payload_bytes_);
  }
  open_buffer_ = std::move(larger);
}

WalChunk WalWriter::Seal(SequenceNumber durable_sequence) {
  CHECK(has_open_chunk());
  CHECK(durable_sequence < open_first_sequence_);
  WalChunk chunk;
  chunk.payload_bytes = open_payload_bytes_;
  chunk.padded_bytes = io::RoundUp(kWalHeaderBytes + open_payload_bytes_, kWalBlockBytes);
  chunk.offset = offset_;
  chunk.first_sequence = open_first_sequence_;
  chunk.last_sequence = last_sequence_;
  chunk.buffer = std::move(open_buffer_);
  CHECK(chunk.padded_bytes <= chunk.buffer.capacity());

  WalChunkHeader header;  // the checksum is left to WriteChunk, outside the owner's lock
  header.payload_bytes = static_cast<uint32_t>(open_payload_bytes_);
  header.batch_count = open_batch_count_;
  header.log_number = log_number_;
  header.first_sequence = open_first_sequence_;
  header.durable_sequence = durable_sequence;
  header.chunk_index = chunk_index_;
  header.salt = salt_;
  EncodeWalHeader(header, chunk.buffer.span());
  const size_t used_bytes = kWalHeaderBytes + open_payload_bytes_;
  std::memset(chunk.buffer.data() + used_bytes, 0, chunk.padded_bytes - used_bytes);

  open_buffer_ = io::AlignedBuffer();
  open_payload_bytes_ = 0;
  open_batch_count_ = 0;
  ++chunk_index_;
  offset_ += chunk.padded_bytes;
  return chunk;
}

io::Status WalWriter::WriteChunk(WalChunk& chunk, bool durable) {
  const io::Bytes used(chunk.buffer.data(), kWalHeaderBytes + chunk.payload_bytes);
  io::EncodeFixed32(reinterpret_cast<char*>(chunk.buffer.data()) + 4, WalChunkChecksum(used));
  const io::Bytes padded(chunk.buffer.data(), chunk.padded_bytes);
  return durable ? file_->WriteDurable(chunk.offset, padded) : file_->Write(chunk.offset, padded);
}

io::Status WalWriter::Sync() { return file_->Sync(); }

}  // namespace terracefs::lsm
