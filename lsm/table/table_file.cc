#include "lsm/table/table_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "lsm/compression.h"
#include "lsm/file_names.h"

namespace terracefs::lsm {
namespace {

// Enough for footer, properties, index and filter of a small table in the first read.
constexpr uint64_t kTailReadBytes = 64 * io::kKiB;

io::Status WithFile(const io::Status& error, std::string_view name) {
  if (error.Is(io::StatusCode::kNotSupported)) {
    return io::Status::NotSupported(error.message(), name);
  }
  return error.Is(io::StatusCode::kCorruption) ? io::Status::Corruption(error.message(), name)
                                               : error;
}

// What lies behind the data blocks, in memory.
struct MetaBytes {
  io::AlignedBuffer buffer;
  uint64_t offset = 0;  // in the file, of the buffer's first byte
  uint64_t file_bytes = 0;

  std::string_view At(uint64_t begin, uint64_t bytes) const {
    CHECK(begin >= offset);
    CHECK(begin + bytes <= file_bytes);
    return io::AsView({buffer.data() + (begin - offset), bytes});
  }
};

io::Result<MetaBytes> ReadMeta(io::File& file, uint64_t file_bytes, uint64_t begin) {
  MetaBytes meta;
  meta.offset = io::RoundDown(begin, kTableAlignment);
  meta.file_bytes = file_bytes;
  const size_t bytes = file_bytes - meta.offset;
  meta.buffer = io::AlignedBuffer(bytes);
  TRY(file.ReadFull(meta.offset, {meta.buffer.data(), bytes}));
  return meta;
}

io::Status ParseMeta(const MetaBytes& meta, TableFile* table) {
  const Footer& footer = table->footer;
  std::string scratch;
  const auto unpack = [&](BlockHandle handle) {
    return table->UnpackBlock(meta.At(handle.offset, handle.bytes + kBlockTrailerBytes), handle,
                              &scratch);
  };
  const std::string_view properties = TRY(unpack(footer.properties));
  table->info = TRY(DecodeProperties(properties));
  table->info.file_bytes = meta.file_bytes;
  const std::string_view index = TRY(unpack(footer.index));
  table->index = TRY(TableIndex::Decode(index, footer.filter.offset));
  if (table->index.last_key(table->index.block_count() - 1) != table->info.largest) {
    return io::Status::Corruption("table index does not end with the largest key");
  }
  if (footer.filter.bytes != 0) {
    const std::string_view filter = TRY(unpack(footer.filter));
    table->filter = TRY(FilterReader::Decode(filter));
  }
  const uint64_t padding_begin = footer.properties.end();
  const std::string_view padding =
      meta.At(padding_begin, meta.file_bytes - kFooterBytes - padding_begin);
  if (padding.find_first_not_of('\0') != std::string_view::npos) {
    return io::Status::Corruption("table padding is not zero");
  }
  return io::Status::Ok();
}

}  // namespace

io::Result<TableFile> TableFile::Open(std::unique_ptr<io::File> file, FileNumber number,
                                      BlockCache* cache) {
  const std::string& name = file->name();
  const uint64_t file_bytes = TRY(file->SizeBytes());
  if (file_bytes < kTableAlignment || file_bytes % kTableAlignment != 0) {
    return io::Status::Corruption(
        fmt::format("table of {} bytes, expected a multiple of {}", file_bytes, kTableAlignment),
        name);
  }
  MetaBytes meta =
      TRY(ReadMeta(*file, file_bytes, file_bytes - std::min(file_bytes, kTailReadBytes)));
  auto footer = Footer::Decode(meta.At(file_bytes - kFooterBytes, kFooterBytes), file_bytes);
  if (!footer.ok()) return WithFile(footer.status(), name);
  if (footer->number != number) {
    return io::Status::Corruption(
        fmt::format("table says it is number {}, expected {}", footer->number, number), name);
  }
  if (footer->filter.offset < meta.offset) {
    meta = TRY(ReadMeta(*file, file_bytes, footer->filter.offset));
  }
  TableFile table;
  table.file = std::move(file);
  table.number = number;
  table.cache = cache;
  table.footer = *footer;
  const io::Status parsed = ParseMeta(meta, &table);
  if (!parsed.ok()) return WithFile(parsed, table.file->name());
  return table;
}

io::Status TableFile::VerifyMeta() const {
  const MetaBytes meta = TRY(ReadMeta(*file, info.file_bytes, footer.filter.offset));
  std::string expected_footer;
  footer.AppendTo(&expected_footer);
  if (meta.At(info.file_bytes - kFooterBytes, kFooterBytes) != expected_footer) {
    return io::Status::Corruption("table footer has changed", file->name());
  }
  TableFile again;
  again.number = number;
  again.footer = footer;
  const io::Status parsed = ParseMeta(meta, &again);
  if (!parsed.ok()) return WithFile(parsed, file->name());
  if (EncodeProperties(again.info) != EncodeProperties(info)) {
    return io::Status::Corruption("table properties have changed", file->name());
  }
  return io::Status::Ok();
}

std::string TableFile::Where(BlockHandle handle) const {
  return fmt::format("{} offset {}", FileName(FileKind::kTable, number), handle.offset);
}

io::Status TableFile::BlockError(const io::Status& error, BlockHandle handle) const {
  return io::Status::Corruption(error.message(), Where(handle));
}

io::Result<std::string_view> TableFile::UnpackBlock(std::string_view stored, BlockHandle handle,
                                                    std::string* scratch) const {
  const StoredBlock block = TRY(CheckBlock(stored, number, handle.offset));
  if (block.codec == Codec::kPlain) return block.bytes;
  const io::Status status = Uncompress(block.bytes, kBlockBytesMax, scratch);
  if (!status.ok()) return BlockError(status, handle);
  return std::string_view(*scratch);
}

std::shared_ptr<const Block> TableFile::CachedBlock(BlockHandle handle) const {
  return cache == nullptr ? nullptr : cache->Get(number, handle.offset);
}

AlignedRange AlignedRange::Around(uint64_t begin, uint64_t end) {
  const uint64_t offset = io::RoundDown(begin, io::kDirectAlignment);
  return {offset, io::RoundUp(end, io::kDirectAlignment) - offset};
}

io::AlignedBuffer ReadBuffer(size_t bytes) {
  return io::AlignedBuffer(bytes <= kReadRunBytesMax ? std::bit_ceil(bytes) : bytes);
}

namespace {

// A block with memory of its own, into the cache if asked for. It is copied out of the buffer it
// was read into: a cached block must not pin more than it is charged for, and the buffer goes back
// to the pool while it is still warm.
io::Result<std::shared_ptr<const Block>> OwnBlock(const TableFile& table, BlockHandle handle,
                                                  std::string_view stored, bool fill_cache) {
  std::string scratch;
  const std::string_view contents = TRY(table.UnpackBlock(stored, handle, &scratch));
  auto block = Block::FromString(contents.data() == scratch.data() ? std::move(scratch)
                                                                   : std::string(contents));
  if (!block.ok()) return table.BlockError(block.status(), handle);
  if (fill_cache && table.cache != nullptr) {
    table.cache->Insert(table.number, handle.offset, *block);
  }
  return block;
}

}  // namespace

namespace {

// Larger reads are somebody's scan: how long they take says more about their size.
constexpr size_t kTimedReadBytesMax = 256 * io::kKiB;

// Tells the cache how long a foreground read took.
class MissTimer {
 public:
  explicit MissTimer(BlockCache* cache)
      : cache_(cache), begin_ns_(cache == nullptr ? 0 : cache->clock().SteadyNs()) {}
  void Stop(size_t bytes) const {
    if (cache_ == nullptr || bytes > kTimedReadBytesMax) return;
    cache_->miss_latency().Record(cache_->clock().SteadyNs() - begin_ns_);
  }

 private:
  BlockCache* const cache_;
  const int64_t begin_ns_;
};

}  // namespace

io::Result<std::shared_ptr<const Block>> TableFile::ReadBlock(BlockHandle handle,
                                                              bool fill_cache) const {
  const AlignedRange range = AlignedRange::Around(handle.offset, handle.end());
  io::AlignedBuffer buffer = ReadBuffer(range.bytes);
  const MissTimer timer(cache);
  TRY(file->ReadFull(range.offset, {buffer.data(), range.bytes}));
  timer.Stop(range.bytes);
  const size_t begin = handle.offset - range.offset;
  const std::string_view stored =
      io::AsView({buffer.data() + begin, handle.bytes + kBlockTrailerBytes});
  if (fill_cache) return OwnBlock(*this, handle, stored, true);
  std::string scratch;
  const std::string_view contents = TRY(UnpackBlock(stored, handle, &scratch));
  auto block = contents.data() == stored.data()
                   ? Block::FromBuffer(std::move(buffer), begin, contents.size())
                   : Block::FromString(std::move(scratch));
  if (!block.ok()) return BlockError(block.status(), handle);
  return block;
}

namespace {

// Blocks [begin, end) of a list of reads, which one request reads.
struct Run {
  size_t begin = 0;
  size_t end = 0;
  AlignedRange range;
  io::AlignedBuffer buffer;
  io::IoRequest request;
};

Run NextRun(std::span<const BlockRead> reads, size_t begin) {
  Run run;
  run.begin = begin;
  run.end = begin + 1;
  const uint64_t offset = reads[begin].handle.offset;
  run.range = AlignedRange::Around(offset, reads[begin].handle.end());
  while (run.end < reads.size()) {
    const BlockRead& previous = reads[run.end - 1];
    const BlockRead& next = reads[run.end];
    if (next.table != previous.table || next.handle.offset != previous.handle.end()) break;
    const AlignedRange longer = AlignedRange::Around(offset, next.handle.end());
    if (longer.bytes > kReadRunBytesMax) break;
    run.range = longer;
    ++run.end;
  }
  return run;
}

void StartRuns(std::span<const BlockRead> reads, std::span<Run> runs) {
  std::vector<io::IoRequest*> requests;
  for (size_t i = 0; i < runs.size(); ++i) {
    Run& run = runs[i];
    run.buffer = ReadBuffer(run.range.bytes);
    run.request.kind = io::IoRequest::Kind::kRead;
    run.request.offset = run.range.offset;
    run.request.data = run.buffer.data();
    run.request.bytes = run.range.bytes;
    requests.push_back(&run.request);
    const TableFile* const table = reads[run.begin].table;
    if (i + 1 == runs.size() || reads[runs[i + 1].begin].table != table) {
      table->file->Start(requests);
      requests.clear();
    }
  }
}

void SplitRun(std::span<BlockRead> reads, const Run& run, const io::Status& status,
              bool fill_cache) {
  for (BlockRead& read : reads.subspan(run.begin, run.end - run.begin)) {
    if (!status.ok()) {
      read.status = status;
      continue;
    }
    const size_t begin = read.handle.offset - run.range.offset;
    auto block =
        OwnBlock(*read.table, read.handle,
                 io::AsView({run.buffer.data() + begin, read.handle.bytes + kBlockTrailerBytes}),
                 fill_cache);
    read.status = block.status();
    if (block.ok()) read.block = std::move(block).value();
  }
}

}  // namespace

void ReadTogether(std::span<BlockRead> reads, bool fill_cache) {
  size_t next = 0;
  while (next < reads.size()) {
    std::vector<Run> runs;
    size_t bytes = 0;
    while (next < reads.size() && bytes < kReadTogetherBytesMax) {
      runs.push_back(NextRun(reads, next));
      next = runs.back().end;
      bytes += runs.back().range.bytes;
    }
    const MissTimer timer(reads[runs[0].begin].table->cache);
    StartRuns(reads, runs);
    // Every request is waited for, whatever becomes of the others: the kernel writes to our memory.
    for (Run& run : runs) {
      const io::Status status = reads[run.begin].table->file->Wait(run.request);
      if (&run == &runs.back()) timer.Stop(bytes);
      SplitRun(reads, run, status, fill_cache);
      run.buffer = io::AlignedBuffer();
    }
  }
}

}  // namespace terracefs::lsm
