#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "io/rate_limiter.h"
#include "io/storage.h"
#include "lsm/manifest/file_meta.h"
#include "lsm/options.h"
#include "lsm/table/table_builder.h"
#include "lsm/table/table_cache.h"

namespace terracefs::lsm {

// What background jobs work with; everything is borrowed and outlives them.
struct JobEnvironment {
  io::Storage& storage;
  const Options& options;
  TableCache& tables;
  io::RateLimiter& limiter;
  std::function<FileNumber()> new_file_number;
  ValueFiles& value_files;
  std::function<int()> value_zstd_level;
  std::function<uint64_t()> full_value_file_bytes;
};

// How tables of a level are written, given where level 0 goes and the deepest level in use. Level 0
// and the level it goes into (unless that is the last) are rewritten soon and stay uncompressed
// (H3). Filters (H4, after Monkey, Dayan et al., SIGMOD 2017): the deepest level has 10 bits per
// key, about 1 % false positives; each level above has level_multiplier times fewer, which costs
// little memory as it is that much smaller, so all levels together stay near the 1 %.
TableOptions TableOptionsFor(const Options& options, int level, int base_level, int deepest_level);

// Writes a run of tables of one level. Files that were begun but not handed out by Finish are
// removed by the destructor. Not thread-safe.
class TableSetWriter {
 public:
  TableSetWriter(const JobEnvironment& environment, const TableOptions& table_options,
                 io::IoPriority priority, SequenceNumber drop_sequence);
  ~TableSetWriter();
  TableSetWriter(const TableSetWriter&) = delete;
  TableSetWriter& operator=(const TableSetWriter&) = delete;

  // Creates a table lazily at the first entry (H1).
  io::Status Add(std::string_view internal_key, std::string_view value);
  // Ends the open table, if any: synced, then opened again as a check (H2).
  io::Status Cut();
  // Gives up the table that is open, if any. To be called in the thread that has added to it,
  // unless that calls Finish or the destructor.
  void CloseOpenTable();
  bool has_open_table() const { return builder_ != nullptr; }
  uint64_t open_table_bytes() const { return builder_ ? builder_->EstimatedFileBytes() : 0; }
  // The larger of its bytes, and what it refers to as a share of Options::table_value_bytes of
  // Options::table_bytes.
  uint64_t open_table_weight() const;
  uint64_t entry_count() const { return entry_count_; }
  uint64_t bytes() const { return finished_bytes_ + open_table_bytes(); }
  // Ends the open table and syncs the directory: all files are durable and owned by the caller, who
  // removes them if it cannot install them.
  io::Result<std::vector<FileRef>> Finish();

 private:
  const JobEnvironment& environment_;
  const TableOptions table_options_;
  const io::IoPriority priority_;
  const SequenceNumber drop_sequence_;
  std::unique_ptr<TableBuilder> builder_;
  FileNumber open_number_ = 0;
  std::vector<FileRef> finished_;
  uint64_t finished_bytes_ = 0;
  uint64_t entry_count_ = 0;
};

// Removes tables that were written but not installed.
void RemoveTables(const JobEnvironment& environment, const std::vector<FileRef>& files);

}  // namespace terracefs::lsm
