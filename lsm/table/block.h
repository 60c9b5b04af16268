#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "io/aligned_buffer.h"
#include "io/base/result.h"
#include "lsm/iterator.h"
#include "lsm/key.h"

namespace terracefs::lsm {

// One block of a table, verified and uncompressed, immutable. Safe from any thread. It owns a
// string, or a part of the aligned buffer it was read into (no copy for uncompressed blocks), or
// nothing.
class Block {
 public:
  // Corruption if the restart array does not fit.
  static io::Result<std::shared_ptr<const Block>> FromString(std::string contents);
  // Keeps all of `buffer`, and says so in memory_bytes: for a buffer much larger than the block,
  // copy.
  static io::Result<std::shared_ptr<const Block>> FromBuffer(io::AlignedBuffer buffer, size_t begin,
                                                             size_t bytes);
  // The caller keeps `contents` alive as long as the block. Never for the cache.
  static io::Result<std::shared_ptr<const Block>> FromBorrowed(std::string_view contents);

  std::string_view contents() const { return contents_; }
  // Everything that lives because the block does.
  size_t memory_bytes() const { return memory_bytes_; }

  // Iterates over internal keys; borrows the block (the caller keeps it alive). Malformed entries
  // end it with Corruption (without file or offset: the caller knows them). Every key it shows has
  // a trailer.
  class Cursor final : public Iterator {
   public:
    Cursor() = default;
    explicit Cursor(const Block& block) { Reset(block); }
    // As if new, but keeps its memory.
    void Reset(const Block& block);
    bool Valid() const override { return valid_; }
    void SeekToFirst() override;
    void Seek(std::string_view target) override;
    void Next() override;
    std::string_view key() const override { return key_; }
    std::string_view value() const override { return value_; }
    io::Status status() const override { return status_; }

   private:
    struct EntryHeader;

    uint32_t RestartOffset(uint32_t index) const;
    bool ParseHeader(size_t offset, EntryHeader* header) const;
    bool RestartKey(uint32_t index, std::string_view* key) const;
    void MoveToRestart(uint32_t index);
    void ParseEntryAt(size_t offset);
    void Fail(const char* what);

    std::string_view entries_;
    const char* restarts_ = nullptr;
    uint32_t restart_count_ = 0;
    size_t next_offset_ = 0;  // of the entry after the current one
    bool valid_ = false;
    std::string key_;
    std::string_view value_;
    io::Status status_;
  };

 private:
  Block() = default;
  static io::Result<std::shared_ptr<const Block>> Checked(std::shared_ptr<Block> block);

  std::string string_;
  io::AlignedBuffer buffer_;
  std::string_view contents_;
  size_t memory_bytes_ = 0;
};

}  // namespace terracefs::lsm
