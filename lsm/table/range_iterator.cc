#include "lsm/table/range_iterator.h"

#include <algorithm>

namespace terracefs::lsm {
namespace {

constexpr size_t kFirstWindowBytes = 16 * io::kKiB;

}  // namespace

RangeIterator::RangeIterator(std::shared_ptr<const TableFile> table, const ReadOptions& options)
    : owner_(std::move(table)),
      table_(*owner_),
      options_(options),
      block_end_(table_.index.block_count()) {
  const std::string_view bound = options_.upper_bound;
  if (bound.empty()) return;
  if (bound <= UserKey(table_.info.smallest)) {
    block_end_ = 0;
  } else {
    block_end_ = std::min(block_end_, table_.index.FindUserKey(bound) + 1);
  }
}

void RangeIterator::SeekToFirst() {
  status_ = io::Status::Ok();
  if (!EnterBlock(0)) return;
  cursor_.SeekToFirst();
  if (!cursor_.Valid() && cursor_.status().ok()) {
    return Fail(
        io::Status::Corruption("block without entries", table_.Where(table_.index.handle(0))));
  }
  Settle();
}

void RangeIterator::Seek(std::string_view target) {
  status_ = io::Status::Ok();
  const size_t block = table_.index.FindBlock(target);
  if (!EnterBlock(block)) return;
  cursor_.Seek(target);
  if (!cursor_.Valid() && cursor_.status().ok()) {
    return Fail(io::Status::Corruption("block ends before its key in the index",
                                       table_.Where(table_.index.handle(block))));
  }
  Settle();
}

void RangeIterator::Next() {
  DCHECK(valid_);
  cursor_.Next();
  Settle();
}

// Moves on to the next blocks until the cursor is on an entry, and judges that entry.
void RangeIterator::Settle() {
  while (!cursor_.Valid()) {
    if (!cursor_.status().ok()) {
      return Fail(table_.BlockError(cursor_.status(), table_.index.handle(block_index_)));
    }
    if (!EnterBlock(block_index_ + 1)) return;
    cursor_.SeekToFirst();
    if (!cursor_.Valid() && cursor_.status().ok()) {
      return Fail(io::Status::Corruption("block without entries",
                                         table_.Where(table_.index.handle(block_index_))));
    }
  }
  valid_ = !check_bound_ || UserKey(cursor_.key()) < options_.upper_bound;
}

// False at the end (status ok) or on an error.
bool RangeIterator::EnterBlock(size_t block) {
  valid_ = false;
  if (block >= block_end_) return false;
  auto taken = TakeBlock(block);
  if (!taken.ok()) {
    Fail(std::move(taken).status());
    return false;
  }
  block_ = std::move(taken).value();
  block_index_ = block;
  check_bound_ = !options_.upper_bound.empty() &&
                 UserKey(table_.index.last_key(block)) >= options_.upper_bound;
  cursor_.Reset(*block_);
  return true;
}

io::Result<std::shared_ptr<const Block>> RangeIterator::TakeBlock(size_t block) {
  if (block_ != nullptr && block == block_index_) return std::move(block_);
  if (block < window_begin_ || block >= window_begin_ + window_.size()) LoadWindow(block);
  std::shared_ptr<const Block> taken = std::move(window_[block - window_begin_]);
  if (taken != nullptr) return taken;
  // Seeked back to, or its window failed. Alone it fails only for a reason of its own.
  const BlockHandle handle = table_.index.handle(block);
  taken = table_.CachedBlock(handle);
  if (taken != nullptr) return taken;
  if (options_.cache_only) return io::Status::WouldBlock();
  return table_.ReadBlock(handle, options_.fill_cache);
}

void RangeIterator::LoadWindow(size_t begin) {
  const bool sequential = !window_.empty() && begin == window_begin_ + window_.size();
  if (sequential) {
    window_bytes_max_ = std::min(window_bytes_max_ * 2, kReadAheadBytesMax);
  } else {
    window_bytes_max_ = options_.upper_bound.empty() ? kFirstWindowBytes : kReadAheadBytesMax;
  }
  window_.clear();
  window_begin_ = begin;
  std::vector<BlockRead> missing;
  size_t bytes = 0;
  for (size_t block = begin; block < block_end_; ++block) {
    const BlockHandle handle = table_.index.handle(block);
    bytes += handle.bytes + kBlockTrailerBytes;
    if (block > begin && (bytes > window_bytes_max_ || options_.cache_only)) break;
    window_.push_back(table_.CachedBlock(handle));
    if (window_.back() == nullptr) missing.push_back({&table_, handle, nullptr, {}});
  }
  if (missing.empty() || options_.cache_only) return;
  ReadTogether(missing, options_.fill_cache);
  auto read = missing.begin();
  for (std::shared_ptr<const Block>& slot : window_) {
    // Errors are forgotten here: whoever needs the block reads it again and gets its own.
    if (slot == nullptr) slot = std::move((read++)->block);
  }
}

void RangeIterator::Fail(io::Status status) {
  valid_ = false;
  status_ = std::move(status);
}

}  // namespace terracefs::lsm
