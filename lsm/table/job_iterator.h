#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "io/aligned_buffer.h"
#include "io/rate_limiter.h"
#include "io/storage.h"
#include "lsm/iterator.h"
#include "lsm/table/block.h"
#include "lsm/table/table_file.h"
#include "lsm/table/table_reader.h"

namespace terracefs::lsm {

// TableReader::NewJobIterator: streams a table past the block cache.
//
// A ring of chunks, each a run of whole blocks of up to 1 MiB: one is consumed, the others are in
// flight. Trusts nothing: besides the checksums it verifies that keys ascend, that each block ends
// where the index says, and that a pass from the first entry to the end saw as many entries as the
// table has, so that a job never takes a damaged table for a short one.
//
// Used by one thread, from the first Seek to the destructor (its reads are waited for by the thread
// that started them).
class JobIterator final : public Iterator {
 public:
  static constexpr size_t kChunkCount = 3;

  // What `reads` names must outlive the iterator.
  JobIterator(std::shared_ptr<const TableFile> table, const JobReads& reads);
  ~JobIterator() override;
  JobIterator(const JobIterator&) = delete;
  JobIterator& operator=(const JobIterator&) = delete;

  bool Valid() const override { return valid_; }
  void SeekToFirst() override;
  void Seek(std::string_view target) override;
  void Next() override;
  std::string_view key() const override { return cursor_.key(); }
  std::string_view value() const override { return cursor_.value(); }
  io::Status status() const override { return status_; }

 private:
  struct Chunk {
    size_t block_begin = 0;
    size_t block_end = 0;
    AlignedRange range;
    io::AlignedBuffer buffer;
    io::IoRequest request;
    bool in_flight = false;
  };

  Chunk& chunk(size_t position) { return chunks_[(first_chunk_ + position) % kChunkCount]; }
  bool EnterBlock(size_t block);
  bool HaveBlock(size_t block);
  void Prefetch();
  void DropFirstChunk();
  void DropAllChunks();
  void Settle();
  void Fail(io::Status status);
  void FailBlock(const char* what);

  const std::shared_ptr<const TableFile> owner_;
  const TableFile& table_;  // *owner_
  const JobReads reads_;

  // Chunks chunk(0) .. chunk(chunk_count_ - 1) hold or are reading adjacent runs of blocks, the
  // last of which ends before next_block_.
  std::array<Chunk, kChunkCount> chunks_;
  size_t first_chunk_ = 0;
  size_t chunk_count_ = 0;
  size_t next_block_ = 0;

  size_t block_index_ = 0;
  std::string scratch_;                 // the current block's contents, if it was compressed
  std::shared_ptr<const Block> block_;  // borrows from chunk or scratch
  Block::Cursor cursor_;
  std::string previous_key_;  // of the entry before the current one; empty: none known
  uint64_t entry_count_ = 0;  // seen since SeekToFirst
  bool whole_pass_ = false;   // no Seek since SeekToFirst
  bool valid_ = false;
  io::Status status_;
};

}  // namespace terracefs::lsm
