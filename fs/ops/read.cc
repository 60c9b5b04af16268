#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs/file_data.h"
#include "fs/file_system_impl.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

// Fills a buffer that stands for file bytes from `offset` on, front to back: bytes of pages as they
// come, zeros for what lies between.
class PageSink {
 public:
  PageSink(uint64_t offset, io::MutableBytes out) : offset_(offset), out_(out) {}

  void Add(uint64_t page, std::string_view bytes) {
    const uint64_t page_begin = page * kPageBytes;
    const uint64_t begin = std::max(page_begin, offset_);
    const uint64_t end = std::min(page_begin + bytes.size(), offset_ + out_.size());
    if (begin >= end) return;
    ZeroUntil(static_cast<size_t>(begin - offset_));
    std::memcpy(out_.data() + filled_, bytes.data() + (begin - page_begin),
                static_cast<size_t>(end - begin));
    filled_ = static_cast<size_t>(end - offset_);
  }
  void Finish() { ZeroUntil(out_.size()); }

 private:
  void ZeroUntil(size_t end) {
    if (end > filled_) std::memset(out_.data() + filled_, 0, end - filled_);
    filled_ = std::max(filled_, end);
  }

  const uint64_t offset_;
  const io::MutableBytes out_;
  size_t filled_ = 0;
};

}  // namespace

Result<size_t> FileSystemImpl::Read(const OpContext& context, InodeNumber ino, uint64_t offset,
                                    io::MutableBytes out) {
  LockedInode locked = TRY(LockedInode::Shared(table_, ino, context.may_wait));
  const InodeRecord& record = locked.record();
  if (record.is_directory()) return Status::Posix(EISDIR);
  if (!record.is_regular()) return Status::Posix(EINVAL);
  if (offset >= record.size || out.empty()) return size_t{0};
  const size_t count = static_cast<size_t>(std::min<uint64_t>(out.size(), record.size - offset));
  PageSink sink(offset, out.first(count));
  if (record.page_count > 0) {
    TRY(ForEachPage(db_, context.may_wait, record.data_id, offset / kPageBytes,
                    PagesFor(offset + count), [&](uint64_t page, std::string_view bytes) {
                      sink.Add(page, bytes);
                      return true;
                    }));
  }
  sink.Finish();
  const bool access_is_due = AccessIsDue(record);
  locked.Release();
  if (access_is_due) NoteAccess(ino);
  return count;
}

}  // namespace terracefs::fs
