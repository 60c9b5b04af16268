#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "io/aligned_buffer.h"
#include "io/storage.h"
#include "lsm/key.h"
#include "lsm/wal/wal_format.h"

namespace terracefs::lsm {

// A full chunk on its way to the log file. Made by WalWriter::Seal.
struct WalChunk {
  io::AlignedBuffer buffer;
  size_t payload_bytes = 0;
  size_t padded_bytes = 0;  // multiple of kWalBlockBytes
  uint64_t offset = 0;      // in the file
  SequenceNumber first_sequence = 0;
  SequenceNumber last_sequence = 0;
};

// Appends batches to one log file. Append and Seal are called by one thread at a time (the owner of
// the write queue's lock) and only touch memory; WriteChunk does the I/O and may run in several
// threads at once, for different chunks. A chunk is written once and never again: no block that was
// acknowledged is ever rewritten.
class WalWriter {
 public:
  // `file` must be open for direct writing. It may hold the remains of an earlier life (recycled)
  // or zeros (preallocated): both are overwritten from offset 0.
  // `secret` as for WalSalt.
  WalWriter(std::unique_ptr<io::File> file, FileNumber log_number, uint64_t secret);

  // Adds one batch of `count` > 0 entries to the open chunk. Sequences must continue without a gap
  // from the batch before. The chunk, and so any batch, must stay within kWalPayloadBytesMax: seal
  // a chunk that has reached kWalChunkBytesTarget before adding to it.
  void Append(SequenceNumber first_sequence, uint32_t count, std::string_view representation);
  bool has_open_chunk() const { return open_payload_bytes_ > 0; }
  size_t open_bytes() const { return open_payload_bytes_; }
  // Closes the open chunk (there must be one) and assigns its place in the file.
  // `durable_sequence`: everything up to it is known to be on stable storage (so it is before the
  // chunk's own first sequence); recovery uses it to tell a torn tail from damage.
  WalChunk Seal(SequenceNumber durable_sequence);
  // Checksums and writes `chunk`. After an error the chunk may or may not be in the file, in whole
  // or in part, and the log must not be continued. With `durable` it is on stable storage on
  // return, earlier chunks only if they were durable already.
  io::Status WriteChunk(WalChunk& chunk, bool durable);
  // fdatasync: all chunks whose WriteChunk returned before are on stable storage.
  io::Status Sync();

  FileNumber log_number() const { return log_number_; }
  // Bytes handed out by Seal so far. Under the owner's lock.
  uint64_t offset() const { return offset_; }

 private:
  void GrowBuffer(size_t bytes_needed);
  std::byte* open_end() const {
    return open_buffer_.data() + kWalHeaderBytes + open_payload_bytes_;
  }

  const std::unique_ptr<io::File> file_;
  const FileNumber log_number_;
  const uint32_t salt_;
  io::AlignedBuffer open_buffer_;
  size_t open_payload_bytes_ = 0;
  uint32_t open_batch_count_ = 0;
  SequenceNumber open_first_sequence_ = 0;
  SequenceNumber last_sequence_ = 0;
  uint32_t chunk_index_ = 0;  // of the open chunk
  uint64_t offset_ = 0;
};

}  // namespace terracefs::lsm
