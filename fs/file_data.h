#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "fs/file_system.h"
#include "fs/inode_allocator.h"
#include "fs/inode_table.h"
#include "fs/recovery_report.h"
#include "fs/schema/keys.h"
#include "fs/schema/records.h"
#include "fs/transaction.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

// The pages of a file: finding them and taking them away.

// No page is stored at or behind this one (but those that a pending trim removes).
inline uint64_t PageEnd(const InodeRecord& record) {
  return std::max(PagesFor(record.size), record.allocated_end);
}

// Whether every page before PageEnd is stored: then no look-up is needed.
inline bool HasNoHoles(const InodeRecord& record) {
  return record.page_count == PageEnd(record) && !record.trim_pending;
}

// What a change of `record`'s size, or of where its pages end, makes of allocated_end.
inline void SetPageEnd(uint64_t page_end, InodeRecord* record) {
  record->allocated_end = page_end > PagesFor(record->size) ? page_end : 0;
}

// Up to this many pages are looked up one by one, more with an iterator.
inline constexpr uint64_t kPointLookupCountMax = 2;
// Up to this many pages are removed in the batch that changes the size; more are trimmed after it,
// in batches of so many.
inline constexpr uint64_t kTrimBatchPageCount = 1024;

// What is stored of a page, at most kPageBytes; nothing for a hole.
io::Result<std::optional<lsm::PinnedValue>> FindPage(lsm::Db& db, bool may_wait, uint64_t data_id,
                                                     uint64_t page);

// Which page of `data_id` a key found among its pages stands for; Corruption if none.
io::Result<uint64_t> PageOfKey(std::string_view key, uint64_t data_id);

// Calls `visit(page)` for the stored pages in [first, end), ascending, until it returns false. No
// contents are read.
template <typename Visit>
io::Status ForEachPageKey(lsm::Db& db, bool may_wait, uint64_t data_id, uint64_t first,
                          uint64_t end, const Visit& visit) {
  lsm::ReadOptions options;
  options.cache_only = !may_wait;
  options.keys_only = true;
  if (end - first <= kPointLookupCountMax) {
    for (uint64_t page = first; page < end; ++page) {
      const auto value = TRY(db.Get(options, ExtentKey(data_id, page)));
      if (value && !visit(page)) return io::Status::Ok();
    }
    return io::Status::Ok();
  }
  const Key bound = ExtentKey(data_id, end);
  options.upper_bound = bound;
  const std::unique_ptr<lsm::Iterator> pages = db.NewIterator(options);
  for (pages->Seek(ExtentKey(data_id, first)); pages->Valid(); pages->Next()) {
    if (!visit(TRY(PageOfKey(pages->key(), data_id)))) return io::Status::Ok();
  }
  return pages->status();
}

// The same for the pages of a file, without look-ups where the record says enough. Requires the
// inode locked, and no pending trim.
template <typename Visit>
io::Status ForEachStoredPage(lsm::Db& db, bool may_wait, const InodeRecord& record, uint64_t first,
                             uint64_t end, const Visit& visit) {
  end = std::min(end, PageEnd(record));
  if (first >= end || record.page_count == 0) return io::Status::Ok();
  if (!HasNoHoles(record)) {
    return ForEachPageKey(db, may_wait, record.data_id, first, end, visit);
  }
  for (uint64_t page = first; page < end; ++page) {
    if (!visit(page)) break;
  }
  return io::Status::Ok();
}

// Stages that `removed_count` pages are no more, for the record and the sum.
void StageRemovedCount(uint64_t removed_count, InodeRecord* record, Transaction* transaction);

// Stages the removal of all pages at once, by giving the file a new data id.
io::Status StageNoPages(InodeAllocator& allocator, bool may_wait, const InodeRecord& old,
                        InodeRecord* record, Transaction* transaction);

// How many bytes the engine may take for garbage when so many pages of `record` are replaced or
// removed. Of unwritten pages there are none, and nobody knows how many of them it are.
inline uint64_t ReplacedBytes(const InodeRecord& record, uint64_t page_count) {
  return record.has_unwritten ? 0 : page_count * kPageBytes;
}

// Stages a new size, shorter or longer, and what that does to the pages. Pages beyond the size stay
// only if it grows. Requires that `inode` is a
// regular file, locked exclusively, without a pending trim. Afterwards the staged record may have
// trim_pending set: call FinishTrim after Commit, before the lock is released. WouldBlock if
// `may_wait` is false and something is not in memory, or so much goes that it takes several
// batches.
io::Status StageSizeChange(lsm::Db& db, InodeAllocator& allocator, bool may_wait, Inode& inode,
                           uint64_t new_size, Transaction* transaction);

// Removes the pages beyond the size of a file with a pending trim, in bounded batches; may wait.
// On error it is still pending, and can be called again. Requires `inode` locked exclusively.
io::Status FinishTrim(lsm::Db& db, Inode& inode);

// Finishes what a crash interrupted. What fails stays pending: the next change of that file's size
// or content meets it again.
RecoveryReport RecoverTrims(lsm::Db& db, InodeTable& table);

}  // namespace terracefs::fs
