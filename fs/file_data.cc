#include "fs/file_data.h"

#include <algorithm>
#include <vector>

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

// The last page that stays ends inside: what is stored beyond must not come back when the file
// grows.
Status StageCutOfPage(lsm::Db& db, bool may_wait, uint64_t data_id, uint64_t new_size,
                      Transaction* transaction) {
  const size_t kept_bytes = new_size % kPageBytes;
  if (kept_bytes == 0) return Status::Ok();
  const uint64_t page = new_size / kPageBytes;
  const std::optional<lsm::PinnedValue> stored = TRY(FindPage(db, may_wait, data_id, page));
  if (stored && stored->view().size() > kept_bytes) {
    transaction->batch().Put(ExtentKey(data_id, page), stored->view().substr(0, kept_bytes));
  }
  return Status::Ok();
}

Status StagePageRemoval(lsm::Db& db, bool may_wait, const InodeRecord& old, uint64_t first,
                        uint64_t* removed_count, Transaction* transaction) {
  *removed_count = 0;
  return ForEachStoredPage(db, may_wait, old, first, PageEnd(old), [&](uint64_t page) {
    transaction->batch().Delete(ExtentKey(old.data_id, page));
    ++*removed_count;
    return true;
  });
}

Status RecoverTrim(lsm::Db& db, InodeTable& table, InodeNumber ino) {
  const InodeRef inode = TRY(table.Get(ino, /*may_wait=*/true));
  if (!inode->record().trim_pending) {
    return Status::Corruption("trim record without a pending trim");
  }
  // No lock: at mount there is nobody else.
  return FinishTrim(db, *inode);
}

}  // namespace

Result<std::optional<lsm::PinnedValue>> FindPage(lsm::Db& db, bool may_wait, uint64_t data_id,
                                                 uint64_t page) {
  lsm::ReadOptions options;
  options.cache_only = !may_wait;
  std::optional<lsm::PinnedValue> value = TRY(db.Get(options, ExtentKey(data_id, page)));
  if (value) TRY(DecodePage(value->view()));
  return value;
}

Result<uint64_t> PageOfKey(std::string_view key, uint64_t data_id) {
  const std::optional<ParsedKey> parsed = ParseKey(key);
  if (!parsed || parsed->domain != Domain::kExtent || parsed->id != data_id) {
    return Status::Corruption("page key of a wrong shape");
  }
  return parsed->number;
}

void StageRemovedCount(uint64_t removed_count, InodeRecord* record, Transaction* transaction) {
  // A stored count that is too low is damage for fsck to report, no reason to wrap around.
  const uint64_t count = std::min(removed_count, record->page_count);
  record->page_count -= count;
  if (record->page_count == 0) record->has_unwritten = false;
  transaction->AddToCounter(CounterId::kPages, -static_cast<int64_t>(count));
}

Status StageNoPages(InodeAllocator& allocator, bool may_wait, const InodeRecord& old,
                    InodeRecord* record, Transaction* transaction) {
  record->data_id = TRY(allocator.Allocate(may_wait));
  record->allocated_end = 0;
  transaction->DropGroup(Domain::kExtent, old.data_id, old.page_count);
  StageRemovedCount(old.page_count, record, transaction);
  return Status::Ok();
}

Status StageSizeChange(lsm::Db& db, InodeAllocator& allocator, bool may_wait, Inode& inode,
                       uint64_t new_size, Transaction* transaction) {
  const InodeRecord& old = inode.record();
  InodeRecord& record = transaction->Edit(inode);
  CHECK(!old.trim_pending);
  record.size = new_size;
  SetPageEnd(new_size > old.size ? old.allocated_end : 0, &record);
  if (new_size > old.size || old.page_count == 0) return Status::Ok();
  if (new_size == 0) return StageNoPages(allocator, may_wait, old, &record, transaction);
  if (new_size < old.size) TRY(StageCutOfPage(db, may_wait, old.data_id, new_size, transaction));
  const uint64_t first = PagesFor(new_size);
  const uint64_t going_max = std::min(old.page_count, PageEnd(old) - first);
  if (going_max == 0) return Status::Ok();
  if (going_max <= kTrimBatchPageCount) {
    uint64_t removed_count = 0;
    TRY(StagePageRemoval(db, may_wait, old, first, &removed_count, transaction));
    transaction->batch().NoteReplaced(ReplacedBytes(old, removed_count));
    StageRemovedCount(removed_count, &record, transaction);
    return Status::Ok();
  }
  if (!may_wait) return Status::WouldBlock();
  record.trim_pending = true;
  transaction->batch().Put(TrimKey(old.data_id),
                           EncodeTrim({.ino = inode.ino, .first_page = first}));
  return Status::Ok();
}

Status FinishTrim(lsm::Db& db, Inode& inode) {
  const uint64_t data_id = inode.record().data_id;
  const auto value = TRY(db.Get(lsm::ReadOptions{}, TrimKey(data_id)));
  if (!value) {
    return Status::Corruption("no trim record", "inode " + std::to_string(inode.ino.value));
  }
  TrimRecord trim = TRY(DecodeTrim(value->view()));
  bool more = true;
  while (more) {
    std::vector<uint64_t> pages;
    pages.reserve(kTrimBatchPageCount);
    TRY(ForEachPageKey(db, /*may_wait=*/true, data_id, trim.first_page, UINT64_MAX,
                       [&](uint64_t page) {
                         pages.push_back(page);
                         return pages.size() < kTrimBatchPageCount;
                       }));
    more = pages.size() == kTrimBatchPageCount;
    Transaction transaction(db, /*may_wait=*/true);
    for (const uint64_t page : pages) transaction.batch().Delete(ExtentKey(data_id, page));
    transaction.batch().NoteReplaced(ReplacedBytes(inode.record(), pages.size()));
    InodeRecord& record = transaction.Edit(inode);
    StageRemovedCount(pages.size(), &record, &transaction);
    if (more) {
      trim.first_page = pages.back() + 1;
      transaction.batch().Put(TrimKey(data_id), EncodeTrim(trim));
    } else {
      record.trim_pending = false;
      transaction.batch().Delete(TrimKey(data_id));
    }
    TRY(transaction.Commit());
  }
  return Status::Ok();
}

RecoveryReport RecoverTrims(lsm::Db& db, InodeTable& table) {
  RecoveryReport report;
  std::vector<InodeNumber> inos;
  const Key bound = GroupEnd(Domain::kTrim, UINT64_MAX - 1);
  lsm::ReadOptions options;
  options.upper_bound = bound;
  const std::unique_ptr<lsm::Iterator> trims = db.NewIterator(options);
  for (trims->Seek(GroupBegin(Domain::kTrim, 0)); trims->Valid(); trims->Next()) {
    const Result<TrimRecord> trim = DecodeTrim(trims->value());
    if (trim.ok()) inos.push_back(trim->ino);
    report.Note(trim.status());
  }
  report.Note(trims->status());
  for (const InodeNumber ino : inos) report.Note(ino, RecoverTrim(db, table, ino));
  return report;
}

}  // namespace terracefs::fs
