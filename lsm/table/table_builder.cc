#include "lsm/table/table_builder.h"

#include <fmt/format.h>

#include <optional>

#include "io/sequential_writer.h"
#include "lsm/compression.h"
#include "lsm/file_names.h"
#include "lsm/table/block_builder.h"
#include "lsm/table/filter.h"
#include "lsm/table/table_format.h"
#include "lsm/table/table_index.h"

namespace terracefs::lsm {
namespace {

// A name that is no table's gives 0, which no reader accepts.
FileNumber NumberOf(const io::File& file) {
  const std::string_view path = file.name();
  const size_t slash = path.rfind('/');
  const auto parsed =
      ParseFileName(slash == std::string_view::npos ? path : path.substr(slash + 1));
  return parsed && parsed->kind == FileKind::kTable ? parsed->number : 0;
}

}  // namespace

struct TableBuilder::Rep {
  Rep(std::unique_ptr<io::File> file_in, const TableOptions& options_in, io::RateLimiter* limiter,
      io::IoPriority priority)
      : file(std::move(file_in)),
        number(NumberOf(*file)),
        options(options_in),
        writer(*file, limiter, priority) {
    if (options.filter_bits_per_key > 0) filter.emplace(options.filter_bits_per_key);
  }

  io::Status CheckEntry(std::string_view internal_key, std::string_view value) const;
  io::Status EndBlock();
  io::Result<BlockHandle> WriteBlock(std::string_view contents, int zstd_level);
  io::Status WriteTail();
  // Keeps the first error.
  io::Status Fail(io::Status error) {
    if (status.ok()) status = std::move(error);
    return status;
  }

  const std::unique_ptr<io::File> file;
  const FileNumber number;
  const TableOptions options;
  io::SequentialWriter writer;
  BlockBuilder block;
  TableIndexBuilder index;
  std::optional<FilterBuilder> filter;
  std::string compressed;
  std::string trailer;
  TableInfo info;
  uint64_t block_entries = 0;  // of the open block
  uint64_t block_tombstones = 0;
  std::string last_key;
  ValueReference last_reference;
  bool finished = false;
  io::Status status;
};

TableBuilder::TableBuilder(std::unique_ptr<io::File> file, const TableOptions& options,
                           io::RateLimiter* limiter, io::IoPriority priority)
    : rep_(std::make_unique<Rep>(std::move(file), options, limiter, priority)) {}

TableBuilder::~TableBuilder() = default;

uint64_t TableBuilder::entry_count() const { return rep_->info.entry_count; }

uint64_t TableBuilder::value_pages() const { return rep_->info.value_pages; }

uint64_t TableBuilder::EstimatedFileBytes() const {
  const Rep& r = *rep_;
  const uint64_t filter_bytes = r.filter ? r.filter->EstimatedBytes() : 0;
  return r.writer.offset() + r.block.EstimatedBytes() + filter_bytes + r.index.EstimatedBytes() +
         kFooterBytes;
}

// What a reader would call corrupt is not written in the first place: it came out of a damaged
// input, and copying it would hide where.
io::Status TableBuilder::Rep::CheckEntry(std::string_view internal_key,
                                         std::string_view value) const {
  if (internal_key.size() < kKeyTrailerBytes) {
    return io::Status::Corruption(
        fmt::format("key of {} bytes has no trailer", internal_key.size()), file->name());
  }
  if (!IsTableKind(static_cast<uint8_t>(KeyKind(internal_key)))) {
    return io::Status::Corruption(
        fmt::format("entry kind {} in a table", static_cast<int>(KeyKind(internal_key))),
        file->name());
  }
  if (internal_key.size() > kTableKeyBytesMax || value.size() > kTableValueBytesMax) {
    return io::Status::InvalidArgument(
        fmt::format("entry of {} + {} bytes is too large for a table", internal_key.size(),
                    value.size()),
        file->name());
  }
  return io::Status::Ok();
}

io::Status TableBuilder::Add(std::string_view internal_key, std::string_view value) {
  Rep& r = *rep_;
  CHECK(!r.finished);
  if (!r.status.ok()) return r.status;
  io::Status checked = r.CheckEntry(internal_key, value);
  if (!checked.ok()) return r.Fail(std::move(checked));
  const bool first = r.info.entry_count == 0;
  CHECK(first || CompareInternal(r.last_key, internal_key) < 0);

  const std::string_view user_key = UserKey(internal_key);
  if (r.filter && (first || UserKey(r.last_key) != user_key)) {
    if (r.options.filter_key == nullptr || r.options.filter_key(user_key)) {
      r.filter->Add(user_key);
    } else {
      r.filter->LeaveOut(user_key);
    }
  }
  // A large entry gets a block of its own rather than swelling the one that small ones are read
  // from.
  if (!r.block.empty() &&
      r.block.EstimatedBytes() + internal_key.size() + value.size() > 2 * r.options.block_bytes) {
    TRY(r.EndBlock());
  }
  io::Status counted = CountEntry(internal_key, value, first || UserKey(r.last_key) != user_key,
                                  &r.last_reference, &r.info);
  if (!counted.ok()) return r.Fail(std::move(counted));
  r.block.Add(internal_key, value);
  ++r.block_entries;
  if (KeyKind(internal_key) == EntryKind::kDelete) ++r.block_tombstones;
  r.last_key = internal_key;
  if (r.block.EstimatedBytes() >= r.options.block_bytes) return r.EndBlock();
  return io::Status::Ok();
}

io::Status TableBuilder::Rep::EndBlock() {
  auto handle = WriteBlock(block.Finish(), options.zstd_level);
  if (!handle.ok()) return Fail(std::move(handle).status());
  index.Add(last_key, handle->bytes);
  if (2 * block_tombstones >= block_entries) info.tombstone_block_bytes += handle->bytes;
  block_entries = block_tombstones = 0;
  block.Reset();
  return io::Status::Ok();
}

io::Result<BlockHandle> TableBuilder::Rep::WriteBlock(std::string_view contents, int zstd_level) {
  if (contents.size() > kBlockBytesMax) {
    return io::Status::InvalidArgument(
        fmt::format("table block of {} bytes, at most {}", contents.size(), kBlockBytesMax),
        file->name());
  }
  Codec codec = Codec::kPlain;
  if (zstd_level != 0 && Compress(contents, zstd_level, &compressed)) {
    codec = Codec::kZstd;
    contents = compressed;
  }
  const BlockHandle handle{writer.offset(), contents.size()};
  trailer.clear();
  AppendBlockTrailer(&trailer, contents, codec, number, handle.offset);
  TRY(writer.Append(contents));
  TRY(writer.Append(trailer));
  return handle;
}

io::Status TableBuilder::Rep::WriteTail() {
  Footer footer;
  footer.number = number;
  footer.filter.offset = writer.offset();
  if (filter) footer.filter = TRY(WriteBlock(filter->Finish(), 0));
  footer.index = TRY(WriteBlock(index.Finish(), 0));
  footer.properties = TRY(WriteBlock(EncodeProperties(info), 0));
  // The footer ends the file, and the file ends on an alignment border.
  info.file_bytes = io::RoundUp(writer.offset() + kFooterBytes, kTableAlignment);
  std::string tail(info.file_bytes - kFooterBytes - writer.offset(), '\0');
  footer.AppendTo(&tail);
  TRY(writer.Append(tail));
  TRY(writer.Finish());
  CHECK(writer.offset() == info.file_bytes);
  return io::Status::Ok();
}

io::Result<TableInfo> TableBuilder::Finish() {
  Rep& r = *rep_;
  CHECK(!r.finished);
  r.finished = true;
  if (!r.status.ok()) return r.status;
  if (r.info.entry_count == 0) {
    return r.Fail(io::Status::InvalidArgument("table without entries", r.file->name()));
  }
  if (!r.block.empty()) TRY(r.EndBlock());
  r.info.largest = r.last_key;
  io::Status written = r.WriteTail();
  if (!written.ok()) return r.Fail(std::move(written));
  return r.info;
}

}  // namespace terracefs::lsm
