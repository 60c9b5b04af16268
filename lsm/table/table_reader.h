#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "io/base/result.h"
#include "io/rate_limiter.h"
#include "io/storage.h"
#include "lsm/iterator.h"
#include "lsm/memtable/memtable.h"
#include "lsm/read_options.h"
#include "lsm/table/block.h"
#include "lsm/table/block_cache.h"
#include "lsm/table/table_builder.h"
#include "lsm/table/table_format.h"

namespace terracefs::lsm {

// An entry together with what holds its value.
struct PinnedEntry {
  FoundEntry entry;
  std::shared_ptr<const void> owner;
};

// A data block that a cache-only look-up would have had to read. Keeps its table open: the table
// cache may let go of it meanwhile.
struct MissingBlock {
  std::shared_ptr<class TableReader> table;
  BlockHandle handle;
};

struct TableFile;

// What the reads of a background job are charged to; all borrowed.
struct JobReads {
  io::RateLimiter* limiter = nullptr;  // may be null
  io::IoPriority priority = io::IoPriority::kCompaction;
  std::atomic<uint64_t>* bytes_read = nullptr;  // counts, relaxed; may be null
};

// An open table. Index and filter are in memory. Safe from any thread. Damage in a block makes
// the reads that need it fail with Corruption naming file and offset, and no others.
class TableReader : public std::enable_shared_from_this<TableReader> {
 public:
  // Verifies footer, index, filter and properties. `file` is open for reading, direct or not.
  // `cache` is borrowed and may be null. Corruption for damage, NotSupported for an unknown format
  // version.
  static io::Result<std::shared_ptr<TableReader>> Open(std::unique_ptr<io::File> file,
                                                       FileNumber number, BlockCache* cache);
  ~TableReader();
  TableReader(const TableReader&) = delete;
  TableReader& operator=(const TableReader&) = delete;

  // The newest version of `user_key` at or below `snapshot`, tombstones included. With
  // options.cache_only and the block not in memory: WouldBlock, and `missing` (if not null) is
  // filled in. `looked` (may be null) becomes true if a data block was needed: key range and filter
  // did not rule the key out.
  io::Result<std::optional<PinnedEntry>> Get(const ReadOptions& options, std::string_view user_key,
                                             SequenceNumber snapshot, MissingBlock* missing,
                                             bool* looked = nullptr);
  // False only if the table cannot hold the key. No I/O.
  bool MayContain(std::string_view user_key) const;

  // Over internal keys, those at or after options.upper_bound left out; all versions:
  // options.snapshot is not looked at. Reads ahead (lsm/table/range_iterator.h). Iterators keep the
  // file and what is in memory of it; they may outlive the reader.
  std::unique_ptr<Iterator> NewIterator(const ReadOptions& options);
  // The same for a background job: reads 1 MiB at a time with the next read already in flight, past
  // the block cache. A Seek that lands beyond what is buffered
  // skips the blocks in between without reading them. Keys that do not ascend, or a pass from
  // SeekToFirst to the end that does not see every entry, are Corruption. The iterator stays in one
  // thread, destructor included.
  std::unique_ptr<Iterator> NewJobIterator(const JobReads& reads);

  // Reads the blocks into the cache, all at once (they may belong to different tables, and the same
  // may be named twice). One submission per table: a File takes only its own requests. Tries all of
  // them and returns the first error. A block may be gone from a small cache when this returns:
  // look again with cache_only off, or not for ever.
  static io::Status ReadBlocks(std::span<const MissingBlock> blocks);

  // Bytes of data blocks that lie between two user keys (half-open; an empty `end` is no bound), to
  // the precision of a block, from the index; no I/O.
  uint64_t ApproximateBytes(std::string_view begin, std::string_view end) const;
  // A data block as the index knows it.
  struct BlockSpan {
    std::optional<std::string> after;  // last user key of the block before; none: it is the first
    std::string last;                  // its own
    uint64_t bytes = 0;                // in the file
  };
  // The block at this byte of the data. No I/O.
  BlockSpan BlockAt(uint64_t offset) const;
  // The first block that may hold the key, which lies in the table's range. No I/O.
  BlockSpan BlockOf(std::string_view user_key) const;
  // Reads everything and verifies checksums, order, counts and bounds against the properties, and
  // that the filter knows every key.
  io::Status Verify(io::RateLimiter* limiter, io::IoPriority priority);

  FileNumber number() const;
  const TableInfo& info() const;

 private:
  explicit TableReader(std::shared_ptr<const TableFile> table);
  BlockSpan SpanOf(size_t block) const;

  const std::shared_ptr<const TableFile> table_;  // iterators have it, too
};

}  // namespace terracefs::lsm
