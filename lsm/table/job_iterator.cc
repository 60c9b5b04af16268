#include "lsm/table/job_iterator.h"

#include <fmt/format.h>

#include <algorithm>

namespace terracefs::lsm {

JobIterator::JobIterator(std::shared_ptr<const TableFile> table, const JobReads& reads)
    : owner_(std::move(table)), table_(*owner_), reads_(reads) {}

JobIterator::~JobIterator() { DropAllChunks(); }

void JobIterator::SeekToFirst() {
  status_ = io::Status::Ok();
  previous_key_.clear();
  entry_count_ = 0;
  whole_pass_ = true;
  if (!EnterBlock(0)) return;
  cursor_.SeekToFirst();
  Settle();
}

void JobIterator::Seek(std::string_view target) {
  status_ = io::Status::Ok();
  previous_key_.clear();
  whole_pass_ = false;
  if (!EnterBlock(table_.index.FindBlock(target))) return;
  cursor_.Seek(target);
  if (!cursor_.Valid() && cursor_.status().ok()) {
    return FailBlock("block ends before its key in the index");
  }
  Settle();
}

void JobIterator::Next() {
  DCHECK(valid_);
  previous_key_.assign(cursor_.key());
  cursor_.Next();
  Settle();
}

// Moves on to the next block if the cursor is at the end of one, and judges the entry it finds.
void JobIterator::Settle() {
  valid_ = false;
  if (!cursor_.Valid()) {
    if (!cursor_.status().ok()) {
      return Fail(table_.BlockError(cursor_.status(), table_.index.handle(block_index_)));
    }
    if (previous_key_ != table_.index.last_key(block_index_)) {
      return FailBlock("block does not end with its key in the index");
    }
    if (!EnterBlock(block_index_ + 1)) return;
    cursor_.SeekToFirst();
    if (!cursor_.Valid()) {
      return cursor_.status().ok()
                 ? FailBlock("block without entries")
                 : Fail(table_.BlockError(cursor_.status(), table_.index.handle(block_index_)));
    }
  }
  if (!previous_key_.empty() && CompareInternal(previous_key_, cursor_.key()) >= 0) {
    return FailBlock("table keys do not ascend");
  }
  if (!IsTableKind(static_cast<uint8_t>(KeyKind(cursor_.key())))) {
    return FailBlock("unknown kind of entry");
  }
  ++entry_count_;
  valid_ = true;
}

// False at the end (status ok) or on an error.
bool JobIterator::EnterBlock(size_t block) {
  valid_ = false;
  if (block >= table_.index.block_count()) {
    if (whole_pass_ && entry_count_ != table_.info.entry_count) {
      Fail(io::Status::Corruption(
          fmt::format("table has {} entries, expected {}", entry_count_, table_.info.entry_count),
          table_.file->name()));
    }
    return false;
  }
  block_index_ = block;
  if (!HaveBlock(block)) return false;
  const BlockHandle handle = table_.index.handle(block);
  Chunk& first = chunk(0);
  auto contents =
      table_.UnpackBlock(io::AsView({first.buffer.data() + (handle.offset - first.range.offset),
                                     handle.bytes + kBlockTrailerBytes}),
                         handle, &scratch_);
  if (!contents.ok()) {
    Fail(std::move(contents).status());
    return false;
  }
  auto borrowed = Block::FromBorrowed(*contents);
  if (!borrowed.ok()) {
    Fail(table_.BlockError(borrowed.status(), handle));
    return false;
  }
  block_ = std::move(borrowed).value();
  cursor_.Reset(*block_);
  return true;
}

// Makes chunk(0) the one that holds `block`, done reading. False on an error.
bool JobIterator::HaveBlock(size_t block) {
  if (chunk_count_ > 0 && (block < chunk(0).block_begin || block >= next_block_)) DropAllChunks();
  while (chunk_count_ > 0 && block >= chunk(0).block_end) DropFirstChunk();
  if (chunk_count_ == 0) next_block_ = block;
  Prefetch();
  Chunk& first = chunk(0);
  if (!first.in_flight) return true;
  first.in_flight = false;
  io::Status status = table_.file->Wait(first.request);
  if (status.ok()) return true;
  // What is behind an error is not wanted, and the next Seek must not find it.
  DropAllChunks();
  Fail(std::move(status));
  return false;
}

// Starts reading until all chunks are in use or the table ends. Each chunk goes out as soon as the
// limiter grants it, so that the first does not wait for the tokens of the last.
void JobIterator::Prefetch() {
  const TableIndex& index = table_.index;
  size_t run_bytes_max = kReadRunBytesMax;
  if (reads_.limiter != nullptr) {
    run_bytes_max = std::min<uint64_t>(run_bytes_max, reads_.limiter->RequestBytesMax());
  }
  while (chunk_count_ < kChunkCount && next_block_ < index.block_count()) {
    Chunk& last = chunk(chunk_count_);
    last.block_begin = next_block_;
    const uint64_t offset = index.handle(next_block_).offset;
    last.range = AlignedRange::Around(offset, index.handle(next_block_).end());
    for (++next_block_; next_block_ < index.block_count(); ++next_block_) {
      const AlignedRange longer = AlignedRange::Around(offset, index.handle(next_block_).end());
      if (longer.bytes > run_bytes_max) break;
      last.range = longer;
    }
    last.block_end = next_block_;
    if (last.buffer.capacity() < last.range.bytes) {
      last.buffer = ReadBuffer(last.range.bytes);
    }
    last.request.kind = io::IoRequest::Kind::kRead;
    last.request.offset = last.range.offset;
    last.request.data = last.buffer.data();
    last.request.bytes = last.range.bytes;
    if (reads_.limiter != nullptr) reads_.limiter->Acquire(last.range.bytes, reads_.priority);
    if (reads_.bytes_read != nullptr) {
      reads_.bytes_read->fetch_add(last.range.bytes, std::memory_order_relaxed);
    }
    io::IoRequest* const list[] = {&last.request};
    table_.file->Start(list);
    last.in_flight = true;
    ++chunk_count_;
  }
}

void JobIterator::DropFirstChunk() {
  Chunk& first = chunk(0);
  if (first.in_flight) {
    table_.file->Wait(first.request).IgnoreError("nobody needs these blocks");
    first.in_flight = false;
  }
  first_chunk_ = (first_chunk_ + 1) % kChunkCount;
  --chunk_count_;
}

void JobIterator::DropAllChunks() {
  while (chunk_count_ > 0) DropFirstChunk();
}

void JobIterator::Fail(io::Status status) {
  valid_ = false;
  status_ = std::move(status);
}

void JobIterator::FailBlock(const char* what) {
  Fail(io::Status::Corruption(what, table_.Where(table_.index.handle(block_index_))));
}

}  // namespace terracefs::lsm
