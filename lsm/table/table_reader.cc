#include "lsm/table/table_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "lsm/table/job_iterator.h"
#include "lsm/table/range_iterator.h"
#include "lsm/table/table_file.h"

namespace terracefs::lsm {

TableReader::TableReader(std::shared_ptr<const TableFile> table) : table_(std::move(table)) {}
TableReader::~TableReader() = default;

FileNumber TableReader::number() const { return table_->number; }
const TableInfo& TableReader::info() const { return table_->info; }

io::Result<std::shared_ptr<TableReader>> TableReader::Open(std::unique_ptr<io::File> file,
                                                           FileNumber number, BlockCache* cache) {
  TableFile table = TRY(TableFile::Open(std::move(file), number, cache));
  return std::shared_ptr<TableReader>(
      new TableReader(std::make_shared<const TableFile>(std::move(table))));
}

bool TableReader::MayContain(std::string_view user_key) const {
  const TableFile& table = *table_;
  return user_key >= UserKey(table.info.smallest) && user_key <= UserKey(table.info.largest) &&
         table.filter.MayContain(user_key);
}

io::Result<std::optional<PinnedEntry>> TableReader::Get(const ReadOptions& options,
                                                        std::string_view user_key,
                                                        SequenceNumber snapshot,
                                                        MissingBlock* missing, bool* looked) {
  if (!MayContain(user_key)) return std::optional<PinnedEntry>();
  if (looked != nullptr) *looked = true;
  const TableFile& table = *table_;
  const std::string target = MakeSeekKey(user_key, snapshot);
  const size_t index = table.index.FindBlock(target);
  if (index == table.index.block_count()) return std::optional<PinnedEntry>();

  const BlockHandle handle = table.index.handle(index);
  std::shared_ptr<const Block> block = table.CachedBlock(handle);
  if (block == nullptr) {
    if (options.cache_only) {
      if (missing != nullptr) *missing = {shared_from_this(), handle};
      return io::Status::WouldBlock();
    }
    block = TRY(table.ReadBlock(handle, options.fill_cache));
  }
  Block::Cursor cursor(*block);
  cursor.Seek(target);
  if (!cursor.Valid()) {
    // The index promised an entry at or after the target: its absence is never an answer.
    if (!cursor.status().ok()) return table.BlockError(cursor.status(), handle);
    return io::Status::Corruption("block ends before its key in the index", table.Where(handle));
  }
  if (UserKey(cursor.key()) != user_key) return std::optional<PinnedEntry>();
  const EntryKind kind = KeyKind(cursor.key());
  if (!IsTableKind(static_cast<uint8_t>(kind))) {
    return io::Status::Corruption("unknown kind of entry", table.Where(handle));
  }
  PinnedEntry found;
  found.entry = {kind, KeySequence(cursor.key()), cursor.value()};
  found.owner = std::move(block);
  return std::optional<PinnedEntry>(std::move(found));
}

std::unique_ptr<Iterator> TableReader::NewIterator(const ReadOptions& options) {
  return std::make_unique<RangeIterator>(table_, options);
}

std::unique_ptr<Iterator> TableReader::NewJobIterator(const JobReads& reads) {
  return std::make_unique<JobIterator>(table_, reads);
}

io::Status TableReader::ReadBlocks(std::span<const MissingBlock> blocks) {
  std::vector<BlockRead> reads;
  reads.reserve(blocks.size());
  for (const MissingBlock& block : blocks) {
    reads.push_back({block.table->table_.get(), block.handle, nullptr, {}});
  }
  const auto before = [](const BlockRead& a, const BlockRead& b) {
    if (a.table != b.table) return std::less<>()(a.table, b.table);
    return a.handle.offset < b.handle.offset;
  };
  const auto same = [](const BlockRead& a, const BlockRead& b) {
    return a.table == b.table && a.handle.offset == b.handle.offset;
  };
  std::sort(reads.begin(), reads.end(), before);
  reads.erase(std::unique(reads.begin(), reads.end(), same), reads.end());
  ReadTogether(reads, true);
  for (const BlockRead& read : reads) {
    if (!read.status.ok()) return read.status;
  }
  return io::Status::Ok();
}

uint64_t TableReader::ApproximateBytes(std::string_view begin, std::string_view end) const {
  const TableFile& table = *table_;
  const TableIndex& index = table.index;
  const uint64_t data_bytes = table.footer.filter.offset;
  const auto offset_of = [&](std::string_view user_key) {
    const size_t block = index.FindUserKey(user_key);
    return block == index.block_count() ? data_bytes : index.handle(block).offset;
  };
  const uint64_t begin_offset = offset_of(begin);
  const uint64_t end_offset = end.empty() ? data_bytes : offset_of(end);
  return end_offset > begin_offset ? end_offset - begin_offset : 0;
}

TableReader::BlockSpan TableReader::SpanOf(size_t block) const {
  const TableIndex& index = table_->index;
  BlockSpan span;
  if (block > 0) span.after = UserKey(index.last_key(block - 1));
  span.last = UserKey(index.last_key(block));
  span.bytes = index.handle(block).bytes;
  return span;
}

TableReader::BlockSpan TableReader::BlockAt(uint64_t offset) const {
  const TableIndex& index = table_->index;
  size_t block = 0;
  size_t past = index.block_count();
  while (past - block > 1) {
    const size_t middle = block + (past - block) / 2;
    (index.handle(middle).offset <= offset ? block : past) = middle;
  }
  return SpanOf(block);
}

TableReader::BlockSpan TableReader::BlockOf(std::string_view user_key) const {
  const size_t block = table_->index.FindUserKey(user_key);
  CHECK(block < table_->index.block_count());
  return SpanOf(block);
}

io::Status TableReader::Verify(io::RateLimiter* limiter, io::IoPriority priority) {
  const TableFile& table = *table_;
  const TableInfo& expected = table.info;
  const auto breach = [&table](std::string_view what) {
    return io::Status::Corruption(what, table.file->name());
  };
  // What was verified at open may have rotted since.
  if (limiter != nullptr) {
    const AlignedRange meta = AlignedRange::Around(table.footer.filter.offset, expected.file_bytes);
    limiter->Acquire(meta.bytes, priority);
  }
  TRY(table.VerifyMeta());

  TableInfo found;
  std::string last_key;
  ValueReference last_reference;
  JobIterator entries(table_, {limiter, priority, nullptr});
  for (entries.SeekToFirst(); entries.Valid(); entries.Next()) {
    TRY(CountEntry(entries.key(), entries.value(),
                   last_key.empty() || UserKey(last_key) != UserKey(entries.key()), &last_reference,
                   &found));
    last_key.assign(entries.key());
    if (!table.filter.MayContain(UserKey(last_key))) return breach("filter misses a key");
  }
  TRY(entries.status());
  if (found.entry_count != expected.entry_count) return breach("table entry count is wrong");
  if (found.tombstone_count != expected.tombstone_count) {
    return breach("table tombstone count is wrong");
  }
  if (found.hidden_count != expected.hidden_count) return breach("table hidden count is wrong");
  if (found.oldest_tombstone_seconds != expected.oldest_tombstone_seconds) {
    return breach("table tombstone time is wrong");
  }
  if (found.raw_bytes != expected.raw_bytes) return breach("table raw bytes are wrong");
  if (found.value_uses != expected.value_uses || found.value_pages != expected.value_pages ||
      found.value_runs != expected.value_runs) {
    return breach("table value uses are wrong");
  }
  if (found.smallest_sequence != expected.smallest_sequence ||
      found.largest_sequence != expected.largest_sequence) {
    return breach("table sequence range is wrong");
  }
  if (found.smallest != expected.smallest || last_key != expected.largest) {
    return breach("table key range is wrong");
  }
  return io::Status::Ok();
}

}  // namespace terracefs::lsm
