#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/result.h"
#include "lsm/table/table_format.h"

namespace terracefs::lsm {

// Makes the index block: the last key and the length of every data block. Not thread-safe.
class TableIndexBuilder {
 public:
  void Add(std::string_view last_key, uint64_t block_bytes);
  size_t EstimatedBytes() const { return entries_.size() + 4; }
  std::string Finish() const;

 private:
  uint32_t count_ = 0;
  std::string entries_;
};

// The index in memory, flat: a 64 MiB table of 16 KiB blocks has 4096 entries, and two levels would
// only add a second read to a cold look-up. Immutable; safe from any thread.
class TableIndex {
 public:
  TableIndex() = default;
  // The data blocks lie one after the other from the start of the file up to `data_bytes`.
  // Corruption if `contents` does not say exactly that, or its keys do not ascend.
  static io::Result<TableIndex> Decode(std::string_view contents, uint64_t data_bytes);

  size_t block_count() const { return blocks_.size(); }
  BlockHandle handle(size_t block) const { return {blocks_[block].offset, blocks_[block].bytes}; }
  std::string_view last_key(size_t block) const {
    return {keys_.data() + blocks_[block].key_offset, blocks_[block].key_bytes};
  }
  // The first block that may hold keys at or after `internal_key`; block_count() if none does.
  size_t FindBlock(std::string_view internal_key) const;
  // The first block that may hold keys of users at or after `user_key`; block_count() if none.
  size_t FindUserKey(std::string_view user_key) const;

 private:
  struct Entry {
    uint64_t offset = 0;
    uint32_t bytes = 0;
    uint32_t key_offset = 0;
    uint32_t key_bytes = 0;
  };
  std::vector<Entry> blocks_;
  std::string keys_;
};

}  // namespace terracefs::lsm
