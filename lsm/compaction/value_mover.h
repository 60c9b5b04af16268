#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lsm/compaction/ranges_in_use.h"
#include "lsm/compaction/table_set_writer.h"
#include "lsm/values/value_file_writer.h"

namespace terracefs::lsm {

// Stands between a merge and its tables: entries whose values lie in files that the plan vacuums
// get references to copies in new files, in the order of their keys. All other entries pass.
// Entries keep their sequences, so that whatever writers do meanwhile needs no care: newer versions
// lie above, and the tables are swapped in one change of the manifest. Not thread-safe.
class ValueMover {
 public:
  // Gets the entries, in order.
  using Sink = std::function<io::Status(std::string_view internal_key, std::string_view value)>;

  // `plan` and `environment` outlive it.
  ValueMover(const JobEnvironment& environment, const CompactionPlan& plan, Sink sink);

  // May keep the entry back until others have come, at most about a mebibyte of values.
  io::Status Add(std::string_view internal_key, std::string_view value);
  // Passes on what was kept back, and makes the new files durable.
  io::Status Finish();
  // Those with values that could not be read, after a failure.
  const std::set<FileNumber>& unreadable_files() const { return unreadable_files_; }
  // Of values, so far.
  uint64_t bytes_read() const { return bytes_read_; }
  uint64_t bytes_written() const { return writer_ ? writer_->bytes() : 0; }

 private:
  struct Entry {
    std::string key;
    std::string value;
    bool moves = false;
  };
  bool Moves(const ValueReference& reference) const;
  io::Status MoveValues();

  const JobEnvironment& environment_;
  const CompactionPlan& plan_;
  const Sink sink_;
  std::unique_ptr<ValueFileWriter> writer_;
  // Hold the new files until the tables that refer to them do.
  std::vector<ValueFileRef> written_files_;
  std::vector<Entry> entries_;
  std::vector<ValueReference> moving_;  // of those entries that move, in order
  std::vector<std::byte> memory_;
  std::set<FileNumber> unreadable_files_;
  uint64_t bytes_read_ = 0;
};

}  // namespace terracefs::lsm
