#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "io/base/result.h"
#include "lsm/key.h"

namespace terracefs::lsm {

// What value files hold: values of exactly this size. Also the unit of places in a value file.
inline constexpr size_t kValuePageBytes = 4096;
// Pages of one compressed record.
inline constexpr size_t kRecordPagesMax = 16;

// How a record of a value file is stored. Never renumber.
enum class ValueCodec : uint8_t {
  kPlain = 1,  // one page as it is
  kZstd = 2,   // 2 to kRecordPagesMax pages as one zstd frame, padded with zeros to whole pages
};

// Where a value of kValuePageBytes lies, and what it must be: the value of an entry of kind
// kReference (section "Value file" of lsm/FORMAT.md). A value type.
struct ValueReference {
  FileNumber file = 0;
  uint64_t page = 0;  // of the file, where the record begins
  ValueCodec codec = ValueCodec::kPlain;
  uint32_t crc = 0;  // CRC-32C of the value's bytes, uncompressed
  // Of a kZstd record: its compressed bytes, how many pages are in it, and which of them this is.
  uint32_t record_bytes = 0;
  uint8_t record_pages = 1;
  uint8_t index = 0;

  // Pages that the record takes in the file.
  uint64_t stored_pages() const {
    return codec == ValueCodec::kPlain ? 1 : (record_bytes + kValuePageBytes - 1) / kValuePageBytes;
  }
  // The page of the file right behind the record.
  uint64_t end_page() const { return page + stored_pages(); }
  // This value's share of the record's place, bytes; the shares of all values of a record add up to
  // it.
  uint64_t ShareBytes() const;

  // Whether it can be read together with `before`: it is of the same record, or of the next.
  bool Follows(const ValueReference& before) const {
    if (file != before.file || before.file == 0) return false;
    return page == before.end_page() || (page == before.page && index > before.index);
  }

  void AppendTo(std::string* out) const;
  // Corruption for anything that AppendTo does not make.
  static io::Result<ValueReference> Decode(std::string_view value);

  bool operator==(const ValueReference&) const = default;
};
inline constexpr size_t kValueReferenceBytesMax = 1 + 10 + 10 + 4 + 5 + 2;

}  // namespace terracefs::lsm
