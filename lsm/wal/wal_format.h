#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "io/base/bytes.h"
#include "lsm/key.h"

namespace terracefs::lsm {

// A log file is a run of chunks, each a multiple of kWalBlockBytes long and written with one
// request. Bytes and rules: lsm/FORMAT.md.
inline constexpr size_t kWalBlockBytes = 4096;
inline constexpr uint32_t kWalChunkMagic = 0x314c4154;  // "TAL1"
// Chunk header: fixed32 magic, fixed32 crc32c (of all that follows up to the end of the payload),
// fixed32 payload bytes, fixed32 batch count, fixed64 log number, fixed64 first sequence,
// fixed64 durable sequence, fixed32 chunk index, fixed32 salt.
inline constexpr size_t kWalHeaderBytes = 48;
inline constexpr size_t kWalChecksumBegin = 8;  // the checksum covers from here
// A chunk is handed to the device when it has grown past this, whether or not somebody syncs.
inline constexpr size_t kWalChunkBytesTarget = 1 << 20;
inline constexpr size_t kWalPayloadBytesMax = size_t{1} << 30;
// Payload: for each batch: fixed64 first sequence, fixed32 count, fixed32 representation bytes,
// then the representation.
inline constexpr size_t kWalBatchHeaderBytes = 16;

struct WalChunkHeader {
  uint32_t crc = 0;
  uint32_t payload_bytes = 0;
  uint32_t batch_count = 0;
  FileNumber log_number = 0;
  SequenceNumber first_sequence = 0;
  // Everything up to here was on stable storage when the chunk was sealed.
  SequenceNumber durable_sequence = 0;
  uint32_t chunk_index = 0;
  // WalSalt of the log: file contents made to look like chunks are not taken for some.
  uint32_t salt = 0;
};

// Writes all fields to the first kWalHeaderBytes of `chunk`.
void EncodeWalHeader(const WalChunkHeader& header, io::MutableBytes chunk);
// Nothing if `chunk` (at least kWalHeaderBytes) does not begin with the magic number. No field is
// checked.
std::optional<WalChunkHeader> DecodeWalHeader(io::Bytes chunk);
// What all chunks of a log have in common. `secret`: the store's, known to nobody who only writes
// files (lsm/manifest).
uint32_t WalSalt(uint64_t secret, FileNumber log_number);
// The checksum of a chunk: `chunk` holds header and payload, without the padding.
uint32_t WalChunkChecksum(io::Bytes chunk);

}  // namespace terracefs::lsm
