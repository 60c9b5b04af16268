#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/base/coding.h"
#include "io/base/result.h"
#include "io/base/units.h"
#include "io/storage.h"
#include "lsm/key.h"
#include "lsm/values/value_reference.h"

namespace terracefs::lsm {

struct TableInfo;

// The bytes of a table file, section "Table" of lsm/FORMAT.md. Everything here is a pure function;
// decoders never read out of range and report Corruption.

inline constexpr uint64_t kTableMagic = 0x656c626174667274;  // "trftable" in the file
inline constexpr uint32_t kTableVersion = 3;
inline constexpr size_t kBlockTrailerBytes = 8;
inline constexpr size_t kFooterBytes = 72;
// A table's length is a multiple of this, so that direct reads never reach past its end.
inline constexpr size_t kTableAlignment = 4096;
static_assert(kTableAlignment % io::kDirectAlignment == 0);
// Larger ones are neither written nor believed, stored or uncompressed.
inline constexpr size_t kBlockBytesMax = 64 * io::kMiB;
inline constexpr size_t kTableKeyBytesMax = 64 * io::kKiB;  // internal key
inline constexpr size_t kTableValueBytesMax = 32 * io::kMiB;

// How a block's bytes are stored. Never renumber.
enum class Codec : uint8_t {
  kPlain = 1,
  kZstd = 2,
};

// Where a block lies in its file, trailer excluded.
struct BlockHandle {
  uint64_t offset = 0;
  uint64_t bytes = 0;

  uint64_t end() const { return offset + bytes + kBlockTrailerBytes; }  // trailer included
  bool operator==(const BlockHandle&) const = default;
};

// Appends the trailer of a block stored as `stored` at `offset` of table `number`. The checksum
// covers number and offset too, so that a block read from the wrong place never passes.
void AppendBlockTrailer(std::string* out, std::string_view stored, Codec codec, FileNumber number,
                        uint64_t offset);

// A block's bytes as stored, checked.
struct StoredBlock {
  Codec codec = Codec::kPlain;
  std::string_view bytes;
};
// `stored` is a block followed by its trailer.
io::Result<StoredBlock> CheckBlock(std::string_view stored, FileNumber number, uint64_t offset);

// The last bytes of a table.
struct Footer {
  FileNumber number = 0;
  BlockHandle filter;  // 0 bytes: there is none
  BlockHandle index;
  BlockHandle properties;

  void AppendTo(std::string* out) const;
  // `raw` is exactly kFooterBytes, `file_bytes` (no less) the length of the file it ends. Besides
  // checksum, magic and version, the three blocks must follow each other and leave less than
  // kTableAlignment before the footer.
  static io::Result<Footer> Decode(std::string_view raw, uint64_t file_bytes);
};

// The wall time of a tombstone, from its value; never 0, which means "no tombstone". One without a
// time counts as as old as can be, so that it is collected early rather than never.
int64_t TombstoneSeconds(std::string_view value);

// Adds an entry, the next of its table, to everything in `info` but `largest`, `file_bytes` and
// `tombstone_block_bytes`. `is_newest`: the entry before it is of another user key.
// `last_reference` is the table's last reference before it (file 0: there is none) and becomes this
// one, if it is one. Corruption for a reference that does not parse.
io::Status CountEntry(std::string_view internal_key, std::string_view value, bool is_newest,
                      ValueReference* last_reference, TableInfo* info);

// What a table refers to in value files, as in its properties and in the manifest.
void PutValueUses(std::string* out, const TableInfo& info);
bool GetValueUses(io::Decoder* in, TableInfo* info);

// The properties block: all of TableInfo except file_bytes.
std::string EncodeProperties(const TableInfo& info);
io::Result<TableInfo> DecodeProperties(std::string_view contents);

}  // namespace terracefs::lsm
