#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/bytes.h"
#include "io/base/result.h"
#include "lsm/values/value_reference.h"

namespace terracefs::lsm {

// One record as it goes to a value file: the next `page_count` pages of an append.
struct ValueRecord {
  ValueCodec codec = ValueCodec::kPlain;
  uint8_t page_count = 1;
  uint32_t bytes = 0;  // kZstd: of the frame
  std::string stored;  // kZstd: the frame, padded to whole pages; kPlain: empty, it is the page

  uint64_t stored_pages() const {
    return codec == ValueCodec::kPlain ? 1 : stored.size() / kValuePageBytes;
  }
  // What goes to the file; `pages` are those of the record.
  std::string_view Bytes(std::span<const std::string_view> pages) const {
    return codec == ValueCodec::kPlain ? pages[0] : std::string_view(stored);
  }
};

// Splits pages of kValuePageBytes each into records: runs of kRecordPagesMax that `zstd_level` (0:
// none) makes smaller by a page or more become one record, all others plain ones. Safe from any
// thread.
std::vector<ValueRecord> MakeValueRecords(std::span<const std::string_view> pages, int zstd_level);

// Appends the references to the values of `record`, which lies at `page` of `file`. Computes the
// checksums of `pages`, those of the record.
void AppendReferences(const ValueRecord& record, std::span<const std::string_view> pages,
                      FileNumber file, uint64_t page, std::vector<ValueReference>* references);

// Replaces `*pages` by all pages of the kZstd record of `reference`, whose stored bytes are given.
io::Status UncompressRecord(const ValueReference& reference, io::Bytes stored, std::string* pages);

}  // namespace terracefs::lsm
