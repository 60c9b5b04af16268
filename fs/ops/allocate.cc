#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "fs/file_data.h"
#include "fs/file_system_impl.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

enum class RangeAction : uint8_t {
  kAllocate,  // holes become unwritten pages
  kZero,      // whole pages become unwritten, parts of others zeros
  kPunch,     // whole pages become holes, parts of others zeros
};

Result<RangeAction> ActionOf(int mode) {
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
      return RangeAction::kAllocate;
    case FALLOC_FL_ZERO_RANGE:
      return RangeAction::kZero;
    case FALLOC_FL_PUNCH_HOLE:
      if ((mode & FALLOC_FL_KEEP_SIZE) != 0) return RangeAction::kPunch;
      break;
    default:
      break;
  }
  return Status::Posix(EOPNOTSUPP);
}

// The stored bytes of a page with some of them zeroed: as many as before, so that it stays written.
struct ZeroedPage {
  std::array<char, kPageBytes> bytes;  // not initialised

  // Zeroes [begin, end) of `page`. The batch may refer to `bytes`. True if the page is stored.
  Result<bool> Stage(lsm::Db& db, bool may_wait, const InodeRecord& old, uint64_t page,
                     size_t begin, size_t end, Transaction* transaction);
};

Result<bool> ZeroedPage::Stage(lsm::Db& db, bool may_wait, const InodeRecord& old, uint64_t page,
                               size_t begin, size_t end, Transaction* transaction) {
  if (page >= PageEnd(old) || old.page_count == 0) return false;
  const std::optional<lsm::PinnedValue> stored = TRY(FindPage(db, may_wait, old.data_id, page));
  if (!stored) return false;
  const std::string_view content = stored->view();
  end = std::min(end, content.size());
  if (begin >= end) return true;
  std::memcpy(bytes.data(), content.data(), content.size());
  std::memset(bytes.data() + begin, 0, end - begin);
  const std::string_view whole(bytes.data(), content.size());
  const Key key = ExtentKey(old.data_id, page);
  if (whole.size() == kPageBytes) {
    transaction->batch().PutPage(key, whole);
    transaction->batch().NoteReplaced(ReplacedBytes(old, 1));
  } else {
    transaction->batch().Put(key, whole);
  }
  return true;
}

}  // namespace

// A byte range and what is to happen to it, in batches of at most kTrimBatchPageCount pages and the
// two at its ends. After each of them the file is in a state that a shorter range leads to.
struct FileSystemImpl::RangeChange {
  RangeChange(RangeAction what, bool keep_size, uint64_t begin, uint64_t end,
              const InodeRecord& old)
      : action(what),
        keeps_size(keep_size),
        begin_byte(begin),
        end_byte(end),
        had_unwritten(old.has_unwritten),
        first_page(begin / kPageBytes),
        end_page(PagesFor(end)) {
    if (action != RangeAction::kAllocate) {
      first_page = PagesFor(begin);
      end_page = end / kPageBytes;
      has_parts = true;
    }
    // Where the file ends in a page, the rest of that page is none of it.
    if (action == RangeAction::kPunch && end >= old.size) {
      end_page = std::max(end_page, PagesFor(old.size));
    }
    end_page = std::max(end_page, first_page);
    next_page = first_page;
  }

  bool is_last() const { return next_page >= end_page; }
  // Whether all that is stored goes.
  bool RemovesAll(const InodeRecord& old) const {
    return action == RangeAction::kPunch && begin_byte == 0 && end_page >= PageEnd(old) &&
           old.page_count > 0;
  }

  Status StageParts(lsm::Db& db, bool may_wait, const InodeRecord& old, Transaction* transaction);
  Status StagePart(lsm::Db& db, bool may_wait, const InodeRecord& old, ZeroedPage* zeroed,
                   uint64_t page, uint64_t begin, uint64_t to, Transaction* transaction);
  Status StagePages(lsm::Db& db, bool may_wait, const InodeRecord& old, Transaction* transaction);
  Status StageRemoval(lsm::Db& db, bool may_wait, const InodeRecord& old, Transaction* transaction);
  // How many pages are not there yet.
  Result<uint64_t> CountHoles(lsm::Db& db, bool may_wait, const InodeRecord& old) const;

  const RangeAction action;
  const bool keeps_size;
  const uint64_t begin_byte;
  const uint64_t end_byte;
  const bool had_unwritten;
  // Pages that are changed as a whole: [first_page, end_page), those from `next_page` on are still
  // to do.
  uint64_t first_page;
  uint64_t end_page;
  uint64_t next_page;
  bool has_parts = false;  // of pages, at the ends, still to do
  // Of the batch that is being made.
  uint64_t added_count = 0;
  uint64_t replaced_count = 0;
  uint64_t removed_count = 0;
  ZeroedPage zeroed_first;
  ZeroedPage zeroed_last;
};

Status FileSystemImpl::RangeChange::StagePart(lsm::Db& db, bool may_wait, const InodeRecord& old,
                                              ZeroedPage* zeroed, uint64_t page, uint64_t begin,
                                              uint64_t to, Transaction* transaction) {
  const uint64_t page_begin = page * kPageBytes;
  const bool is_stored =
      TRY(zeroed->Stage(db, may_wait, old, page, static_cast<size_t>(begin - page_begin),
                        static_cast<size_t>(to - page_begin), transaction));
  if (is_stored || action == RangeAction::kPunch) return Status::Ok();
  transaction->batch().Put(ExtentKey(old.data_id, page), std::string_view());
  ++added_count;
  return Status::Ok();
}

// The parts of pages at both ends, which may be in one page.
Status FileSystemImpl::RangeChange::StageParts(lsm::Db& db, bool may_wait, const InodeRecord& old,
                                               Transaction* transaction) {
  const uint64_t first_byte = first_page * kPageBytes;
  if (begin_byte < first_byte) {
    TRY(StagePart(db, may_wait, old, &zeroed_first, first_page - 1, begin_byte,
                  std::min(first_byte, end_byte), transaction));
  }
  const uint64_t last_byte = end_page * kPageBytes;
  if (end_byte <= last_byte) return Status::Ok();
  return StagePart(db, may_wait, old, &zeroed_last, end_page, last_byte, end_byte, transaction);
}

// Makes the next pages unwritten: all of them, or those that are holes.
Status FileSystemImpl::RangeChange::StagePages(lsm::Db& db, bool may_wait, const InodeRecord& old,
                                               Transaction* transaction) {
  const auto put = [&](uint64_t page) {
    transaction->batch().Put(ExtentKey(old.data_id, page), std::string_view());
  };
  const auto fill_until = [&](uint64_t page) {
    for (; next_page < page; ++next_page) {
      put(next_page);
      ++added_count;
    }
  };
  // A batch that changes nothing would only cost time.
  const uint64_t before = added_count;
  while (!is_last() && added_count + replaced_count == before) {
    const uint64_t stop = std::min(end_page, next_page + kTrimBatchPageCount);
    TRY(ForEachStoredPage(db, may_wait, old, next_page, stop, [&](uint64_t page) {
      fill_until(page);
      if (action == RangeAction::kZero) {
        put(page);
        ++replaced_count;
      }
      next_page = page + 1;
      return true;
    }));
    fill_until(stop);
  }
  if (!had_unwritten) transaction->batch().NoteReplaced(replaced_count * kPageBytes);
  return Status::Ok();
}

Status FileSystemImpl::RangeChange::StageRemoval(lsm::Db& db, bool may_wait, const InodeRecord& old,
                                                 Transaction* transaction) {
  const uint64_t from = next_page;
  next_page = end_page;
  TRY(ForEachStoredPage(db, may_wait, old, from, end_page, [&](uint64_t page) {
    transaction->batch().Delete(ExtentKey(old.data_id, page));
    if (++removed_count < kTrimBatchPageCount) return true;
    next_page = page + 1;
    return false;
  }));
  transaction->batch().NoteReplaced(ReplacedBytes(old, removed_count));
  return Status::Ok();
}

Result<uint64_t> FileSystemImpl::RangeChange::CountHoles(lsm::Db& db, bool may_wait,
                                                         const InodeRecord& old) const {
  uint64_t stored_count = 0;
  TRY(ForEachStoredPage(db, may_wait, old, first_page, end_page, [&](uint64_t) {
    ++stored_count;
    return true;
  }));
  return end_page - first_page - stored_count;
}

Status FileSystemImpl::CommitRangeBatch(const OpContext& context, Inode& inode,
                                        RangeChange* change) {
  const InodeRecord& old = inode.record();
  Transaction transaction(db_, context.may_wait);
  InodeRecord& record = transaction.Edit(inode);
  change->added_count = change->replaced_count = change->removed_count = 0;
  if (change->RemovesAll(old)) {
    TRY(StageNoPages(allocator_, context.may_wait, old, &record, &transaction));
    change->next_page = change->end_page;
  } else {
    if (change->has_parts) TRY(change->StageParts(db_, context.may_wait, old, &transaction));
    change->has_parts = false;
    TRY(change->action == RangeAction::kPunch
            ? change->StageRemoval(db_, context.may_wait, old, &transaction)
            : change->StagePages(db_, context.may_wait, old, &transaction));
  }
  // What only removes must not need room.
  const Usage::Reservation room =
      change->added_count == 0
          ? Usage::Reservation()
          : TRY(usage_.Reserve(change->added_count, change->added_count * kPageBytes));

  uint64_t page_end = PageEnd(record);
  if (change->action == RangeAction::kPunch) {
    StageRemovedCount(change->removed_count, &record, &transaction);
    // Pages beyond the size may be gone.
    if (change->is_last() && change->end_page >= page_end)
      page_end = std::min(page_end, change->first_page);
  } else {
    record.page_count += change->added_count;
    if (change->added_count + change->replaced_count > 0) record.has_unwritten = true;
    transaction.AddToCounter(CounterId::kPages, static_cast<int64_t>(change->added_count));
    page_end = std::max(page_end, PagesFor(change->end_byte));
    if (change->is_last() && !change->keeps_size) {
      record.size = std::max(record.size, change->end_byte);
    }
  }
  SetPageEnd(page_end, &record);
  if (context.uid != 0) {
    StagePrivilegeLoss(inode, &transaction);
  } else {
    StageCapabilityLoss(inode, &transaction);
  }
  record.mtime_ns = record.ctime_ns = Now();
  return transaction.Commit();
}

Result<WriteOutcome> FileSystemImpl::Allocate(const OpContext& context, InodeNumber ino, int mode,
                                              uint64_t offset, uint64_t length) {
  TRY(CheckWritable());
  if (length == 0) return Status::Posix(EINVAL);
  const RangeAction action = TRY(ActionOf(mode));
  if (offset > kFileBytesMax || length > kFileBytesMax - offset) return Status::Posix(EFBIG);
  const LockedInode locked = TRY(LockedInode::Exclusive(table_, ino, context.may_wait));
  Inode& inode = locked.inode();
  if (inode.record().is_directory()) return Status::Posix(EISDIR);
  if (!inode.record().is_regular()) return Status::Posix(ENODEV);
  TRY(SettleTrim(context, inode));

  const InodeRecord& record = inode.record();
  const uint32_t old_mode = record.mode;
  RangeChange change(action, (mode & FALLOC_FL_KEEP_SIZE) != 0, offset, offset + length, record);
  uint64_t changed_count_max = change.end_page - change.first_page;
  if (action == RangeAction::kPunch) {
    changed_count_max =
        change.RemovesAll(record) ? 0 : std::min(changed_count_max, record.page_count);
  }
  if (changed_count_max > kTrimBatchPageCount) {
    if (!context.may_wait) return Status::WouldBlock();
    if (action != RangeAction::kPunch) {
      // All or nothing, unless others take the room meanwhile.
      const uint64_t hole_count = TRY(change.CountHoles(db_, context.may_wait, record));
      TRY(usage_.Reserve(hole_count, hole_count * kPageBytes));
    }
  }
  do {
    TRY(CommitRangeBatch(context, inode, &change));
  } while (!change.is_last());
  return WriteOutcome{.mode_changed = inode.record().mode != old_mode};
}

}  // namespace terracefs::fs
