#pragma once

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

// How many pages cover `bytes` bytes.
constexpr uint64_t PagesFor(uint64_t bytes) {
  return bytes / kPageBytes + (bytes % kPageBytes != 0);
}

// Whether every page inside the size is stored, and whether none is: then no look-up is needed.
inline bool HasNoHoles(const InodeRecord& record) {
  return record.page_count == PagesFor(record.size);
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

// Stages a new size, shorter or longer, and what that does to the pages. Requires that `inode` is a
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
