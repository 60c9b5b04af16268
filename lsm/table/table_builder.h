#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/rate_limiter.h"
#include "io/storage.h"
#include "lsm/key.h"
#include "lsm/values/value_use.h"

namespace terracefs::lsm {

struct TableOptions {
  size_t block_bytes = 16 * 1024;  // uncompressed target of a data block
  // zstd level for data blocks, 0 = none. A block that does not shrink by an eighth stays plain.
  int zstd_level = 0;
  // Bits per key of the bloom filter; 0 = none. Only keys for which `filter_key` (may be null =
  // all) says so go in.
  double filter_bits_per_key = 10;
  bool (*filter_key)(std::string_view user_key) = nullptr;
};

// What is known of a finished table; goes into the manifest (lsm/manifest/version_edit.h) and,
// except file_bytes, into the table's own properties block.
struct TableInfo {
  uint64_t file_bytes = 0;
  uint64_t entry_count = 0;
  uint64_t tombstone_count = 0;
  int64_t oldest_tombstone_seconds = 0;  // wall time; 0 = no tombstone
  uint64_t hidden_count = 0;             // entries of a key that has a newer one in this table
  uint64_t tombstone_block_bytes =
      0;                   // stored, of data blocks half of whose entries are tombstones
  uint64_t raw_bytes = 0;  // keys and values before compression
  std::string smallest;    // internal keys
  std::string largest;
  SequenceNumber smallest_sequence = 0;
  SequenceNumber largest_sequence = 0;
  // Of the entries that are references, hidden ones included.
  std::vector<ValueUse> value_uses;  // by ascending file number
  uint64_t value_pages = 0;          // how many there are
  // Runs of references in which each value lies in its file right behind (or in the record of) that
  // of the entry before: value_pages / value_runs pages can be read at a time.
  uint64_t value_runs = 0;
};

// Writes one sorted table. Not thread-safe. Nothing is durable before Finish returned ok.
class TableBuilder {
 public:
  // `file` must be open for writing (direct) and empty, and have a table's name (lsm/file_names.h):
  // its number goes into every checksum. `limiter` may be null.
  TableBuilder(std::unique_ptr<io::File> file, const TableOptions& options,
               io::RateLimiter* limiter, io::IoPriority priority);
  ~TableBuilder();

  // Keys must come in strictly ascending internal order (CHECK). An I/O error is kept and reported
  // here or by Finish. Corruption for a key without trailer or of a kind that tables do not hold;
  // InvalidArgument above the limits of lsm/table/table_format.h.
  io::Status Add(std::string_view internal_key, std::string_view value);
  // Writes filter, index, properties and footer, and syncs the file. InvalidArgument for a table
  // without entries. Nothing may be called afterwards but the two accessors.
  io::Result<TableInfo> Finish();
  uint64_t entry_count() const;
  uint64_t value_pages() const;  // of them, references
  // Bytes written or about to be: decides where to cut.
  uint64_t EstimatedFileBytes() const;

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace terracefs::lsm
