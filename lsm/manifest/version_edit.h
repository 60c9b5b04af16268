#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/base/result.h"
#include "lsm/drop_ranges.h"
#include "lsm/key.h"
#include "lsm/manifest/file_meta.h"

namespace terracefs::lsm {

// One atomic change of the set of files; one record of the manifest (lsm/FORMAT.md). Members
// without a value leave things as they are. A value; not thread-safe.
struct VersionEdit {
  struct AddedFile {
    int level = 0;
    FileRef file;
  };
  struct RemovedFile {
    int level = 0;
    FileNumber number = 0;
  };
  struct RetiredDrop {
    std::string begin;
    SequenceNumber sequence = 0;
  };

  std::optional<FileNumber> log_number;         // older logs are not needed any more
  std::optional<FileNumber> next_file_number;   // numbers below this may have been used
  std::optional<SequenceNumber> last_sequence;  // everything up to it is in tables
  std::optional<std::array<int64_t, kCounterCount>> counters;  // sums up to last_sequence
  std::optional<uint64_t> log_secret;                          // WalSalt's; never changes
  // Where the last compaction of a level ended (C1): a user key, "" = begin at the start.
  struct CompactPointer {
    int level = 0;
    std::string user_key;
  };
  std::vector<CompactPointer> compact_pointers;
  std::vector<RemovedFile> removed_files;
  std::vector<AddedFile> added_files;
  std::vector<DropRange> added_drops;
  std::vector<RetiredDrop> retired_drops;

  std::string Encode() const;
  // Corruption for anything malformed or unknown.
  static io::Result<VersionEdit> Decode(std::string_view input);
};

}  // namespace terracefs::lsm
