#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/base/result.h"
#include "io/storage.h"
#include "lsm/table/block.h"
#include "lsm/table/block_cache.h"
#include "lsm/table/filter.h"
#include "lsm/table/table_builder.h"
#include "lsm/table/table_format.h"
#include "lsm/table/table_index.h"

namespace terracefs::lsm {

// One request reads at most this much, unless a single block is larger.
inline constexpr size_t kReadRunBytesMax = io::kMiB;

// What TableReader and its iterators share: the file and what is in memory of it. Immutable once
// open; safe from any thread.
struct TableFile {
  // Reads and verifies the footer and the blocks it names. Corruption for damage, NotSupported for
  // a version of the format that this build does not know.
  static io::Result<TableFile> Open(std::unique_ptr<io::File> file, FileNumber number,
                                    BlockCache* cache);

  // Reads again what Open read, and verifies that it still says the same.
  io::Status VerifyMeta() const;
  // Reads a block for the foreground, past the cache. With `fill_cache` it owns exactly its own
  // bytes and goes into the cache; otherwise it may keep the buffer it was read into.
  io::Result<std::shared_ptr<const Block>> ReadBlock(BlockHandle handle, bool fill_cache) const;
  std::shared_ptr<const Block> CachedBlock(BlockHandle handle) const;

  // `stored` is a block with its trailer, as read from `handle`. Plain contents are returned as
  // they lie in `stored`, others are uncompressed into `scratch`.
  io::Result<std::string_view> UnpackBlock(std::string_view stored, BlockHandle handle,
                                           std::string* scratch) const;
  // "000012.sst offset 4096".
  std::string Where(BlockHandle handle) const;
  // Adds file and offset to what a block's cursor complains about.
  io::Status BlockError(const io::Status& error, BlockHandle handle) const;

  std::unique_ptr<io::File> file;
  FileNumber number = 0;
  BlockCache* cache = nullptr;  // may be null
  Footer footer;
  TableIndex index;
  FilterReader filter;
  TableInfo info;
};

// The aligned piece of a file that holds some blocks that follow each other.
struct AlignedRange {
  uint64_t offset = 0;
  size_t bytes = 0;

  // Of [begin, end).
  static AlignedRange Around(uint64_t begin, uint64_t end);
};

// Room to read `bytes` into, of a size that the buffer pool keeps.
io::AlignedBuffer ReadBuffer(size_t bytes);

// One of several blocks to be read together.
struct BlockRead {
  const TableFile* table = nullptr;
  BlockHandle handle;
  // Result: a block that owns its memory, or an error.
  std::shared_ptr<const Block> block;
  io::Status status;
};

// For the foreground. Reads all of them, those that follow each other in a file with one request,
// and puts them into the cache if `fill_cache`. At most kReadTogetherBytesMax are in flight at a
// time. `reads` is sorted by table, then offset. Errors are per block, but a request that fails
// fails all blocks in it.
inline constexpr size_t kReadTogetherBytesMax = 8 * io::kMiB;
void ReadTogether(std::span<BlockRead> reads, bool fill_cache);

}  // namespace terracefs::lsm
