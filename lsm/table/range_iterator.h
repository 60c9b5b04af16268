#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "lsm/iterator.h"
#include "lsm/read_options.h"
#include "lsm/table/block.h"
#include "lsm/table/table_file.h"

namespace terracefs::lsm {

// TableReader::NewIterator: iterates through the block cache and reads ahead.
//
// Blocks come in windows. With an upper bound the first window reaches up to it (at most
// kReadAheadBytesMax); without one it is a single block. Each further window of a sequential pass
// is twice as large. What is damaged in a window counts only when it is reached.
class RangeIterator final : public Iterator {
 public:
  RangeIterator(std::shared_ptr<const TableFile> table, const ReadOptions& options);

  bool Valid() const override { return valid_; }
  void SeekToFirst() override;
  void Seek(std::string_view target) override;
  void Next() override;
  std::string_view key() const override { return cursor_.key(); }
  std::string_view value() const override { return cursor_.value(); }
  io::Status status() const override { return status_; }

 private:
  bool EnterBlock(size_t block);
  io::Result<std::shared_ptr<const Block>> TakeBlock(size_t block);
  void LoadWindow(size_t begin);
  void Settle();
  void Fail(io::Status status);

  const std::shared_ptr<const TableFile> owner_;
  const TableFile& table_;  // *owner_
  const ReadOptions options_;
  size_t block_end_ = 0;  // the first block that lies beyond the bound

  // Blocks from window_begin_ on; null: not read (any more), or reading it failed.
  std::vector<std::shared_ptr<const Block>> window_;
  size_t window_begin_ = 0;
  size_t window_bytes_max_ = 0;

  std::shared_ptr<const Block> block_;
  size_t block_index_ = 0;
  bool check_bound_ = false;  // the bound lies within the current block
  Block::Cursor cursor_;
  bool valid_ = false;
  io::Status status_;
};

}  // namespace terracefs::lsm
