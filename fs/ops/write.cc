#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "fs/file_data.h"
#include "fs/file_system_impl.h"
#include "fs/permissions.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

// One write is one batch; the kernel's largest is 1 MiB.
constexpr size_t kWriteBytesMax = 8 << 20;
// What a page costs in the batch beside its bytes: its key and a reference. And the inode record
// with all the rest.
constexpr size_t kPageOverheadBytes = 64;
constexpr size_t kWriteOverheadBytes = 512;

// Turns a byte range to be written into page records. A page that is overwritten as far as it
// has bytes is put blindly; others are read and patched. Counts the pages that were not there
// before. `data` and this object must live until the transaction was committed: whole pages are
// not copied.
class PageWriter {
 public:
  PageWriter(const InodeRecord& old, uint64_t offset, std::string_view data)
      : old_(old),
        offset_(offset),
        data_(data),
        first_(offset / kPageBytes),
        end_(PagesFor(offset + data.size())) {}

  // Reads what has to be known about the old pages.
  Status Look(lsm::Db& db, bool may_wait);
  void Stage(Transaction* transaction);
  uint64_t added_count() const { return added_count_; }
  uint64_t replaced_count() const { return end_ - first_ - added_count_; }
  // About what Stage adds to the batch: whole pages are not in it.
  size_t BatchBytes() const {
    return static_cast<size_t>(end_ - first_) * kPageOverheadBytes + 2 * kPageBytes;
  }

 private:
  // The first or the last page, if it keeps some of its old bytes.
  struct PatchedPage {
    std::optional<lsm::PinnedValue> old;
    std::array<char, kPageBytes> bytes;  // not initialised
  };

  // The part of `page` that is written, as offsets in the page.
  size_t WrittenBegin(uint64_t page) const {
    return page == first_ ? static_cast<size_t>(offset_ % kPageBytes) : 0;
  }
  size_t WrittenEnd(uint64_t page) const {
    return static_cast<size_t>(
        std::min<uint64_t>(kPageBytes, offset_ + data_.size() - page * kPageBytes));
  }
  // How many bytes of `page` the old size lets have a meaning.
  size_t OldBytesMax(uint64_t page) const {
    const uint64_t begin = page * kPageBytes;
    return begin >= old_.size ? 0 : static_cast<size_t>(std::min(kPageBytes, old_.size - begin));
  }
  bool NeedsOldBytes(uint64_t page) const {
    return OldBytesMax(page) > 0 &&
           (WrittenBegin(page) > 0 || WrittenEnd(page) < OldBytesMax(page));
  }
  // Only of the first and the last page.
  PatchedPage& PatchedFor(uint64_t page) { return page == first_ ? patched_first_ : patched_last_; }
  Status LookInside(lsm::Db& db, bool may_wait, uint64_t first, uint64_t end);
  void StagePage(uint64_t page, Transaction* transaction);
  void StagePatched(uint64_t page, std::string_view written, Transaction* transaction);

  const InodeRecord& old_;
  const uint64_t offset_;
  const std::string_view data_;
  const uint64_t first_;
  const uint64_t end_;
  uint64_t added_count_ = 0;
  PatchedPage patched_first_;
  PatchedPage patched_last_;
};

Status PageWriter::Look(lsm::Db& db, bool may_wait) {
  added_count_ = end_ - first_;
  const uint64_t look_end = std::min(end_, PageEnd(old_));
  if (first_ >= look_end || old_.page_count == 0) return Status::Ok();
  uint64_t inside_first = first_;
  uint64_t inside_end = look_end;
  for (const uint64_t page : {first_, end_ - 1}) {
    if (!NeedsOldBytes(page)) continue;
    std::optional<lsm::PinnedValue>& old = PatchedFor(page).old;
    old = TRY(FindPage(db, may_wait, old_.data_id, page));
    if (old) --added_count_;
    if (page == first_) inside_first = first_ + 1;
    if (page == end_ - 1) inside_end = end_ - 1;
    if (first_ == end_ - 1) break;
  }
  return LookInside(db, may_wait, inside_first, inside_end);
}

// Of pages that are overwritten it only matters whether they exist.
Status PageWriter::LookInside(lsm::Db& db, bool may_wait, uint64_t first, uint64_t end) {
  if (first >= end) return Status::Ok();
  if (HasNoHoles(old_)) {
    added_count_ -= end - first;
    return Status::Ok();
  }
  return ForEachPageKey(db, may_wait, old_.data_id, first, end, [&](uint64_t) {
    --added_count_;
    return true;
  });
}

void PageWriter::StagePage(uint64_t page, Transaction* transaction) {
  const size_t begin = WrittenBegin(page);
  const size_t end = WrittenEnd(page);
  const std::string_view written =
      data_.substr(static_cast<size_t>(page * kPageBytes + begin - offset_), end - begin);
  if (begin > 0 || NeedsOldBytes(page)) return StagePatched(page, written, transaction);
  const Key key = ExtentKey(old_.data_id, page);
  if (written.size() == kPageBytes) {
    transaction->batch().PutPage(key, written);
  } else {
    transaction->batch().Put(key, written);
  }
}

// Old bytes or zeros up to the written part; the part; old bytes behind it.
void PageWriter::StagePatched(uint64_t page, std::string_view written, Transaction* transaction) {
  PatchedPage& patched = PatchedFor(page);
  const std::string_view old = patched.old ? patched.old->view() : std::string_view();
  const size_t begin = WrittenBegin(page);
  const size_t end = WrittenEnd(page);
  char* const bytes = patched.bytes.data();
  const size_t copied = std::min(old.size(), begin);
  if (copied > 0) std::memcpy(bytes, old.data(), copied);
  std::memset(bytes + copied, 0, begin - copied);
  std::memcpy(bytes + begin, written.data(), written.size());
  if (old.size() > end) std::memcpy(bytes + end, old.data() + end, old.size() - end);
  const std::string_view whole(bytes, std::max(old.size(), end));
  const Key key = ExtentKey(old_.data_id, page);
  if (whole.size() == kPageBytes) {
    transaction->batch().PutPage(key, whole);
  } else {
    transaction->batch().Put(key, whole);
  }
}

void PageWriter::Stage(Transaction* transaction) {
  for (uint64_t page = first_; page < end_; ++page) StagePage(page, transaction);
}

}  // namespace

Result<WriteOutcome> FileSystemImpl::Write(const OpContext& context, InodeNumber ino,
                                           uint64_t offset, io::Bytes data, bool kill_suid_sgid) {
  TRY(CheckWritable());
  if (data.size() > kWriteBytesMax) return Status::InvalidArgument("a write of more than 8 MiB");
  const LockedInode locked = TRY(LockedInode::Exclusive(table_, ino, context.may_wait));
  Inode& inode = locked.inode();
  if (inode.record().is_directory()) return Status::Posix(EISDIR);
  if (!inode.record().is_regular()) return Status::Posix(EINVAL);
  if (offset > kFileBytesMax || data.size() > kFileBytesMax - offset) return Status::Posix(EFBIG);
  if (data.empty()) return WriteOutcome{};
  TRY(SettleTrim(context, inode));

  PageWriter writer(inode.record(), offset, io::AsView(data));
  TRY(writer.Look(db_, context.may_wait));
  const Usage::Reservation room = TRY(usage_.Reserve(writer.added_count(), data.size()));
  Transaction transaction(db_, context.may_wait);
  transaction.batch().Reserve(writer.BatchBytes() + kWriteOverheadBytes);
  writer.Stage(&transaction);
  transaction.batch().NoteReplaced(ReplacedBytes(inode.record(), writer.replaced_count()));
  if (kill_suid_sgid) {
    StagePrivilegeLoss(inode, &transaction);
  } else if (!context.write_back) {
    StageCapabilityLoss(inode, &transaction);
  }
  InodeRecord& record = transaction.Edit(inode);
  record.size = std::max(record.size, offset + data.size());
  SetPageEnd(record.allocated_end, &record);
  record.page_count += writer.added_count();
  record.mtime_ns = record.ctime_ns = Now();
  transaction.AddToCounter(CounterId::kPages, static_cast<int64_t>(writer.added_count()));
  const WriteOutcome outcome{.mode_changed = record.mode != inode.record().mode};
  TRY(transaction.Commit());
  return outcome;
}

Status FileSystemImpl::Sync() { return db_.Sync(); }

}  // namespace terracefs::fs
