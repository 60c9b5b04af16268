#include "lsm/table/block.h"

#include <limits>

namespace terracefs::lsm {
namespace {

// Reads a varint32 of [p, limit) and returns one past it, or null.
const char* ReadVarint32(const char* p, const char* limit, uint32_t* value) {
  uint32_t result = 0;
  for (uint32_t shift = 0; shift <= 28 && p < limit; shift += 7) {
    const auto byte = static_cast<unsigned char>(*p++);
    if (shift == 28 && byte > 0x0f) return nullptr;  // more than 32 bits
    result |= static_cast<uint32_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = result;
      return p;
    }
  }
  return nullptr;
}

}  // namespace

io::Result<std::shared_ptr<const Block>> Block::Checked(std::shared_ptr<Block> block) {
  const std::string_view contents = block->contents_;
  if (contents.size() < 4 || contents.size() > std::numeric_limits<uint32_t>::max()) {
    return io::Status::Corruption("block without a restart count");
  }
  const uint64_t restart_count = io::DecodeFixed32(contents.data() + contents.size() - 4);
  if (restart_count == 0 || restart_count > (contents.size() - 4) / 4) {
    return io::Status::Corruption("block restart array does not fit");
  }
  return std::shared_ptr<const Block>(std::move(block));
}

io::Result<std::shared_ptr<const Block>> Block::FromString(std::string contents) {
  std::shared_ptr<Block> block(new Block);
  block->string_ = std::move(contents);
  block->contents_ = block->string_;
  block->memory_bytes_ = sizeof(Block) + block->string_.capacity();
  return Checked(std::move(block));
}

io::Result<std::shared_ptr<const Block>> Block::FromBuffer(io::AlignedBuffer buffer, size_t begin,
                                                           size_t bytes) {
  CHECK(begin <= buffer.capacity());
  CHECK(bytes <= buffer.capacity() - begin);
  std::shared_ptr<Block> block(new Block);
  block->buffer_ = std::move(buffer);
  block->contents_ = io::AsView({block->buffer_.data() + begin, bytes});
  block->memory_bytes_ = sizeof(Block) + block->buffer_.capacity();
  return Checked(std::move(block));
}

io::Result<std::shared_ptr<const Block>> Block::FromBorrowed(std::string_view contents) {
  std::shared_ptr<Block> block(new Block);
  block->contents_ = contents;
  block->memory_bytes_ = sizeof(Block);
  return Checked(std::move(block));
}

struct Block::Cursor::EntryHeader {
  uint32_t shared = 0;
  uint32_t unshared = 0;
  uint32_t value_bytes = 0;
  const char* key = nullptr;  // the unshared bytes; the value follows. Both lie within the block.
};

void Block::Cursor::Reset(const Block& block) {
  // Block::Checked has verified that the array fits.
  const std::string_view contents = block.contents();
  restart_count_ = io::DecodeFixed32(contents.data() + contents.size() - 4);
  entries_ = contents.substr(0, contents.size() - 4 - size_t{restart_count_} * 4);
  restarts_ = entries_.data() + entries_.size();
  next_offset_ = 0;
  valid_ = false;
  if (!status_.ok()) status_ = io::Status::Ok();
}

uint32_t Block::Cursor::RestartOffset(uint32_t index) const {
  return io::DecodeFixed32(restarts_ + size_t{index} * 4);
}

bool Block::Cursor::ParseHeader(size_t offset, EntryHeader* header) const {
  if (offset >= entries_.size()) return false;
  const char* p = entries_.data() + offset;
  const char* const limit = entries_.data() + entries_.size();
  if (limit - p >= 3 && ((p[0] | p[1] | p[2]) & 0x80) == 0) [[likely]] {
    header->shared = static_cast<unsigned char>(p[0]);
    header->unshared = static_cast<unsigned char>(p[1]);
    header->value_bytes = static_cast<unsigned char>(p[2]);
    p += 3;
  } else {
    p = ReadVarint32(p, limit, &header->shared);
    if (p != nullptr) p = ReadVarint32(p, limit, &header->unshared);
    if (p != nullptr) p = ReadVarint32(p, limit, &header->value_bytes);
    if (p == nullptr) return false;
  }
  header->key = p;
  return uint64_t{header->unshared} + header->value_bytes <= static_cast<uint64_t>(limit - p);
}

bool Block::Cursor::RestartKey(uint32_t index, std::string_view* key) const {
  EntryHeader header;
  if (!ParseHeader(RestartOffset(index), &header) || header.shared != 0 ||
      header.unshared < kKeyTrailerBytes) {
    return false;
  }
  *key = {header.key, header.unshared};
  return true;
}

void Block::Cursor::ParseEntryAt(size_t offset) {
  EntryHeader header;
  if (!ParseHeader(offset, &header)) return Fail("block entry does not fit");
  if (header.shared > key_.size()) return Fail("block entry shares more than there is");
  if (header.shared + size_t{header.unshared} < kKeyTrailerBytes) {
    return Fail("block key shorter than its trailer");
  }
  key_.resize(header.shared);
  key_.append(header.key, header.unshared);
  value_ = {header.key + header.unshared, header.value_bytes};
  next_offset_ = static_cast<size_t>(value_.data() + value_.size() - entries_.data());
  valid_ = true;
}

void Block::Cursor::MoveToRestart(uint32_t index) {
  key_.clear();  // so that an entry which claims to share something fails
  ParseEntryAt(RestartOffset(index));
}

void Block::Cursor::SeekToFirst() {
  valid_ = false;
  if (restart_count_ == 0) return;  // no block
  if (!status_.ok()) status_ = io::Status::Ok();
  if (RestartOffset(0) != 0) return Fail("block does not begin with a restart");
  MoveToRestart(0);
}

void Block::Cursor::Seek(std::string_view target) {
  valid_ = false;
  if (restart_count_ == 0) return;
  if (!status_.ok()) status_ = io::Status::Ok();
  if (RestartOffset(0) != 0) return Fail("block does not begin with a restart");
  // The last restart whose key is before the target, or the first one of all.
  uint32_t low = 0;
  uint32_t high = restart_count_ - 1;
  while (low < high) {
    const uint32_t middle = low + (high - low + 1) / 2;
    std::string_view middle_key;
    if (!RestartKey(middle, &middle_key)) return Fail("block restart is no whole entry");
    if (CompareInternal(middle_key, target) < 0) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  MoveToRestart(low);
  while (valid_ && CompareInternal(key_, target) < 0) Next();
}

void Block::Cursor::Next() {
  DCHECK(valid_);
  valid_ = false;
  if (next_offset_ < entries_.size()) ParseEntryAt(next_offset_);
}

void Block::Cursor::Fail(const char* what) {
  valid_ = false;
  status_ = io::Status::Corruption(what);
}

}  // namespace terracefs::lsm
