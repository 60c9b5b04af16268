#include "lsm/table/table_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "io/base/coding.h"
#include "io/base/crc32c.h"
#include "lsm/file_names.h"
#include "lsm/table/table_builder.h"

namespace terracefs::lsm {
namespace {

constexpr size_t kFooterCrcOffset = 60;
static_assert(kFooterBytes == 6 * 8 + 8 + 4 + 4 + 8);
constexpr size_t kTagBytes = 4;  // codec and padding
static_assert(kBlockTrailerBytes == kTagBytes + 4);

uint32_t BlockCrc(std::string_view stored, std::string_view tag, FileNumber number,
                  uint64_t offset) {
  char place[kTagBytes + 16];
  std::memcpy(place, tag.data(), kTagBytes);
  io::EncodeFixed64(place + kTagBytes, number);
  io::EncodeFixed64(place + kTagBytes + 8, offset);
  return io::Crc32c(io::AsBytes({place, sizeof place}), io::Crc32c(io::AsBytes(stored)));
}

std::string Where(FileNumber number, uint64_t offset) {
  return fmt::format("{} offset {}", FileName(FileKind::kTable, number), offset);
}

}  // namespace

void AppendBlockTrailer(std::string* out, std::string_view stored, Codec codec, FileNumber number,
                        uint64_t offset) {
  const char tag[kTagBytes] = {static_cast<char>(codec), 0, 0, 0};
  const uint32_t crc = BlockCrc(stored, {tag, sizeof tag}, number, offset);
  out->append(tag, sizeof tag);
  io::PutFixed32(out, crc);
}

io::Result<StoredBlock> CheckBlock(std::string_view stored, FileNumber number, uint64_t offset) {
  if (stored.size() < kBlockTrailerBytes) {
    return io::Status::Corruption("block shorter than its trailer", Where(number, offset));
  }
  const std::string_view bytes = stored.substr(0, stored.size() - kBlockTrailerBytes);
  const std::string_view trailer = stored.substr(bytes.size());
  const uint32_t found = io::DecodeFixed32(trailer.data() + kTagBytes);
  const uint32_t expected = BlockCrc(bytes, trailer.substr(0, kTagBytes), number, offset);
  if (found != expected) [[unlikely]] {
    return io::Status::Corruption(
        fmt::format("block crc {:#010x}, expected {:#010x}", found, expected),
        Where(number, offset));
  }
  const auto codec = static_cast<Codec>(trailer[0]);
  if ((codec != Codec::kPlain && codec != Codec::kZstd) || trailer[1] != 0 || trailer[2] != 0 ||
      trailer[3] != 0) {
    return io::Status::Corruption(
        fmt::format("unknown block codec {}", static_cast<unsigned char>(trailer[0])),
        Where(number, offset));
  }
  return StoredBlock{codec, bytes};
}

void Footer::AppendTo(std::string* out) const {
  const size_t begin = out->size();
  for (const BlockHandle& handle : {filter, index, properties}) {
    io::PutFixed64(out, handle.offset);
    io::PutFixed64(out, handle.bytes);
  }
  io::PutFixed64(out, number);
  io::PutFixed32(out, kTableVersion);
  io::PutFixed32(out, io::Crc32c(io::AsBytes(std::string_view(*out).substr(begin))));
  io::PutFixed64(out, kTableMagic);
}

io::Result<Footer> Footer::Decode(std::string_view raw, uint64_t file_bytes) {
  CHECK(raw.size() == kFooterBytes);
  io::Decoder in(raw);
  Footer footer;
  bool complete = true;
  for (BlockHandle* handle : {&footer.filter, &footer.index, &footer.properties}) {
    complete = complete && in.GetFixed64(&handle->offset) && in.GetFixed64(&handle->bytes);
  }
  uint32_t version = 0;
  uint32_t crc = 0;
  uint64_t magic = 0;
  complete = complete && in.GetFixed64(&footer.number) && in.GetFixed32(&version) &&
             in.GetFixed32(&crc) && in.GetFixed64(&magic) && in.empty();
  CHECK(complete);
  if (magic != kTableMagic) {
    return io::Status::Corruption(
        fmt::format("table magic {:#018x}, expected {:#018x}", magic, kTableMagic));
  }
  const uint32_t expected = io::Crc32c(io::AsBytes(raw.substr(0, kFooterCrcOffset)));
  if (crc != expected) {
    return io::Status::Corruption(
        fmt::format("table footer crc {:#010x}, expected {:#010x}", crc, expected));
  }
  if (version != kTableVersion) {
    return io::Status::NotSupported(
        fmt::format("table version {}, this build knows {}", version, kTableVersion));
  }
  CHECK(file_bytes >= kFooterBytes);
  const uint64_t meta_end_max = file_bytes - kFooterBytes;
  // Each number is bounded before it is used in a sum, so no sum wraps around.
  const auto fits = [meta_end_max](const BlockHandle& handle) {
    return handle.offset <= meta_end_max && handle.bytes <= kBlockBytesMax &&
           handle.end() <= meta_end_max;
  };
  const bool has_filter = footer.filter.bytes != 0;
  if (!fits(footer.filter) || !fits(footer.index) || !fits(footer.properties) ||
      footer.index.offset != (has_filter ? footer.filter.end() : footer.filter.offset) ||
      footer.properties.offset != footer.index.end() ||
      meta_end_max - footer.properties.end() >= kTableAlignment) {
    return io::Status::Corruption(
        fmt::format("table footer does not fit a file of {} bytes", file_bytes));
  }
  return footer;
}

int64_t TombstoneSeconds(std::string_view value) {
  if (value.size() != 8) return 1;
  return std::max<int64_t>(1, static_cast<int64_t>(io::DecodeFixed64(value.data())));
}

io::Status CountEntry(std::string_view internal_key, std::string_view value, bool is_newest,
                      ValueReference* last_reference, TableInfo* info) {
  if (KeyKind(internal_key) == EntryKind::kReference) {
    const ValueReference reference = TRY(ValueReference::Decode(value));
    AddValueUse(reference, &info->value_uses);
    ++info->value_pages;
    if (!reference.Follows(*last_reference)) ++info->value_runs;
    *last_reference = reference;
  }
  const SequenceNumber sequence = KeySequence(internal_key);
  if (info->entry_count == 0) {
    info->smallest = internal_key;
    info->smallest_sequence = sequence;
    info->largest_sequence = sequence;
  }
  ++info->entry_count;
  if (!is_newest) ++info->hidden_count;
  info->raw_bytes += internal_key.size() + value.size();
  info->smallest_sequence = std::min(info->smallest_sequence, sequence);
  info->largest_sequence = std::max(info->largest_sequence, sequence);
  if (KeyKind(internal_key) != EntryKind::kDelete) return io::Status::Ok();
  ++info->tombstone_count;
  const int64_t seconds = TombstoneSeconds(value);
  if (info->oldest_tombstone_seconds == 0 || seconds < info->oldest_tombstone_seconds) {
    info->oldest_tombstone_seconds = seconds;
  }
  return io::Status::Ok();
}

void PutValueUses(std::string* out, const TableInfo& info) {
  io::PutVarint64(out, info.value_pages);
  io::PutVarint64(out, info.value_runs);
  io::PutVarint64(out, info.value_uses.size());
  for (const ValueUse& use : info.value_uses) {
    io::PutVarint64(out, use.file);
    io::PutVarint64(out, use.bytes);
    io::PutVarint64(out, use.end_page);
  }
}

bool GetValueUses(io::Decoder* in, TableInfo* info) {
  uint64_t count = 0;
  if (!in->GetVarint64(&info->value_pages) || !in->GetVarint64(&info->value_runs) ||
      !in->GetVarint64(&count) || info->value_runs > info->value_pages ||
      count > info->value_runs || (count == 0) != (info->value_pages == 0)) {
    return false;
  }
  for (uint64_t i = 0; i < count; ++i) {
    ValueUse use;
    if (!in->GetVarint64(&use.file) || !in->GetVarint64(&use.bytes) ||
        !in->GetVarint64(&use.end_page) || use.file > kFileNumberMax || use.end_page == 0 ||
        use.end_page >> 51 != 0 || use.file <= (i == 0 ? 0 : info->value_uses.back().file)) {
      return false;
    }
    info->value_uses.push_back(use);
  }
  return true;
}

std::string EncodeProperties(const TableInfo& info) {
  std::string out;
  io::PutFixed64(&out, info.entry_count);
  io::PutFixed64(&out, info.tombstone_count);
  io::PutFixed64(&out, static_cast<uint64_t>(info.oldest_tombstone_seconds));
  io::PutFixed64(&out, info.hidden_count);
  io::PutFixed64(&out, info.tombstone_block_bytes);
  io::PutFixed64(&out, info.raw_bytes);
  io::PutFixed64(&out, info.smallest_sequence);
  io::PutFixed64(&out, info.largest_sequence);
  io::PutLengthPrefixed(&out, info.smallest);
  io::PutLengthPrefixed(&out, info.largest);
  PutValueUses(&out, info);
  return out;
}

io::Result<TableInfo> DecodeProperties(std::string_view contents) {
  io::Decoder in(contents);
  TableInfo info;
  uint64_t oldest_tombstone = 0;
  std::string_view smallest;
  std::string_view largest;
  if (!in.GetFixed64(&info.entry_count) || !in.GetFixed64(&info.tombstone_count) ||
      !in.GetFixed64(&oldest_tombstone) || !in.GetFixed64(&info.hidden_count) ||
      !in.GetFixed64(&info.tombstone_block_bytes) || !in.GetFixed64(&info.raw_bytes) ||
      !in.GetFixed64(&info.smallest_sequence) || !in.GetFixed64(&info.largest_sequence) ||
      !in.GetLengthPrefixed(&smallest) || !in.GetLengthPrefixed(&largest) ||
      !GetValueUses(&in, &info) || !in.empty()) {
    return io::Status::Corruption("table properties do not parse");
  }
  if (smallest.size() < kKeyTrailerBytes || largest.size() < kKeyTrailerBytes ||
      CompareInternal(smallest, largest) > 0 || info.entry_count == 0 ||
      info.tombstone_count > info.entry_count || info.hidden_count >= info.entry_count ||
      info.value_pages > info.entry_count || info.largest_sequence > kSequenceMax ||
      info.smallest_sequence > info.largest_sequence) {
    return io::Status::Corruption("table properties contradict each other");
  }
  info.oldest_tombstone_seconds = static_cast<int64_t>(oldest_tombstone);
  info.smallest = smallest;
  info.largest = largest;
  return info;
}

}  // namespace terracefs::lsm
