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
// What a page costs in the batch beside its bytes, and the inode record with all the rest.
constexpr size_t kPageOverheadBytes = 32;
constexpr size_t kWriteOverheadBytes = 512;

// Turns a byte range to be written into page records. A page that is overwritten as far as it
// has bytes is put blindly; others are read and patched. Counts the pages that were not there
// before.
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

 private:
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
  void Note(uint64_t page, std::string_view bytes);
  void StagePage(uint64_t page, Transaction* transaction) const;

  const InodeRecord& old_;
  const uint64_t offset_;
  const std::string_view data_;
  const uint64_t first_;
  const uint64_t end_;
  uint64_t added_count_ = 0;
  // Old bytes of the first and the last page, as far as they are needed.
  std::string first_bytes_;
  std::string last_bytes_;
};

void PageWriter::Note(uint64_t page, std::string_view bytes) {
  --added_count_;
  if (!NeedsOldBytes(page)) return;
  (page == first_ ? first_bytes_ : last_bytes_) = bytes;
}

Status PageWriter::Look(lsm::Db& db, bool may_wait) {
  added_count_ = end_ - first_;
  const uint64_t old_end = PagesFor(old_.size);
  const uint64_t look_end = std::min(end_, old_end);
  if (first_ >= look_end || old_.page_count == 0) return Status::Ok();
  const auto note = [&](uint64_t page, std::string_view bytes) {
    Note(page, bytes);
    return true;
  };
  if (!HasNoHoles(old_)) {
    return ForEachPage(db, may_wait, old_.data_id, first_, look_end, note);
  }
  // All of them exist; only the ends can matter. Note() counts those it sees.
  added_count_ = end_ - look_end;
  for (const uint64_t page : {first_, end_ - 1}) {
    if (!NeedsOldBytes(page)) continue;
    ++added_count_;
    TRY(ForEachPage(db, may_wait, old_.data_id, page, page + 1, note));
    if (first_ == end_ - 1) break;
  }
  return Status::Ok();
}

void PageWriter::StagePage(uint64_t page, Transaction* transaction) const {
  const size_t begin = WrittenBegin(page);
  const size_t end = WrittenEnd(page);
  const std::string_view written =
      data_.substr(static_cast<size_t>(page * kPageBytes + begin - offset_), end - begin);
  const std::string_view old_bytes = !NeedsOldBytes(page) ? std::string_view()
                                     : page == first_     ? first_bytes_
                                                          : last_bytes_;
  const Key key = ExtentKey(old_.data_id, page);
  if (begin == 0 && old_bytes.size() <= end) {
    transaction->batch().Put(key, std::string_view(&kInlineTag, 1), written);
    return;
  }
  // Tag, old bytes or zeros up to the written part; the part; old bytes behind it.
  std::array<char, 1 + kPageBytes> buffer;
  buffer[0] = kInlineTag;
  char* const bytes = buffer.data() + 1;
  const size_t copied = std::min(old_bytes.size(), begin);
  if (copied > 0) std::memcpy(bytes, old_bytes.data(), copied);
  std::memset(bytes + copied, 0, begin - copied);
  if (old_bytes.size() <= end) {
    transaction->batch().Put(key, {buffer.data(), 1 + begin}, written);
    return;
  }
  std::memcpy(bytes + begin, written.data(), written.size());
  std::memcpy(bytes + end, old_bytes.data() + end, old_bytes.size() - end);
  transaction->batch().Put(key, {buffer.data(), 1 + old_bytes.size()});
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
  transaction.batch().Reserve(data.size() + (data.size() / kPageBytes + 2) * kPageOverheadBytes +
                              2 * kPageBytes + kWriteOverheadBytes);
  writer.Stage(&transaction);
  if (kill_suid_sgid) {
    StagePrivilegeLoss(inode, &transaction);
  } else {
    StageCapabilityLoss(inode, &transaction);
  }
  InodeRecord& record = transaction.Edit(inode);
  record.size = std::max(record.size, offset + data.size());
  record.page_count += writer.added_count();
  record.mtime_ns = record.ctime_ns = Now();
  transaction.AddToCounter(CounterId::kPages, static_cast<int64_t>(writer.added_count()));
  const WriteOutcome outcome{.mode_changed = record.mode != inode.record().mode};
  TRY(transaction.Commit());
  return outcome;
}

Status FileSystemImpl::Sync() { return db_.Sync(); }

}  // namespace terracefs::fs
