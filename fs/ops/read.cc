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

  // Where the bytes of a whole page go, or null if the buffer does not hold all of it. Whoever puts
  // them there calls Add with them nevertheless.
  std::byte* PlaceFor(uint64_t page) const {
    const uint64_t begin = page * kPageBytes;
    if (begin < offset_ || begin + kPageBytes > offset_ + out_.size()) return nullptr;
    return out_.data() + (begin - offset_);
  }
  void Add(uint64_t page, std::string_view bytes) {
    const uint64_t page_begin = page * kPageBytes;
    const uint64_t begin = std::max(page_begin, offset_);
    const uint64_t end = std::min(page_begin + bytes.size(), offset_ + out_.size());
    if (begin >= end) return;
    ZeroUntil(static_cast<size_t>(begin - offset_));
    std::byte* const to = out_.data() + filled_;
    const char* const from = bytes.data() + (begin - page_begin);
    if (from != reinterpret_cast<const char*>(to)) {
      std::memcpy(to, from, static_cast<size_t>(end - begin));
    }
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

Status ReadPages(lsm::Db& db, bool may_wait, uint64_t data_id, uint64_t first, uint64_t end,
                 PageSink* sink) {
  if (end - first <= kPointLookupCountMax) {
    for (uint64_t page = first; page < end; ++page) {
      const auto stored = TRY(FindPage(db, may_wait, data_id, page));
      if (stored) sink->Add(page, stored->view());
    }
    return Status::Ok();
  }
  lsm::ReadOptions options;
  options.cache_only = !may_wait;
  const Key bound = ExtentKey(data_id, end);
  options.upper_bound = bound;
  const auto place = [&](std::string_view key) -> std::byte* {
    const Result<uint64_t> page = PageOfKey(key, data_id);
    return page.ok() ? sink->PlaceFor(*page) : nullptr;
  };
  const auto add = [&](std::string_view key, std::string_view value) -> Status {
    const uint64_t page = TRY(PageOfKey(key, data_id));
    sink->Add(page, TRY(DecodePage(value)));
    return Status::Ok();
  };
  Status damage;
  TRY(db.Scan(options, ExtentKey(data_id, first), place,
              [&](std::string_view key, std::string_view value) {
                damage = add(key, value);
                return damage.ok();
              }));
  return damage;
}

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
    TRY(ReadPages(db_, context.may_wait, record.data_id, offset / kPageBytes,
                  PagesFor(offset + count), &sink));
  }
  sink.Finish();
  const bool access_is_due = !context.no_access_time && AccessIsDue(record);
  locked.Release();
  if (access_is_due) NoteAccess(ino);
  return count;
}

}  // namespace terracefs::fs
