#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fs/file_data.h"
#include "fs/file_system_impl.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

// The first page in [first, end) that is written (`written`), or the first that is not; `end` if
// there is none. Reads no contents.
Result<uint64_t> FindFirst(lsm::Db& db, bool may_wait, uint64_t data_id, uint64_t first,
                           uint64_t end, bool written) {
  lsm::ReadOptions options;
  options.cache_only = !may_wait;
  options.keys_only = true;
  const Key bound = ExtentKey(data_id, end);
  options.upper_bound = bound;
  const std::unique_ptr<lsm::Iterator> pages = db.NewIterator(options);
  uint64_t expected = first;
  for (pages->Seek(ExtentKey(data_id, first)); pages->Valid(); pages->Next()) {
    const uint64_t page = TRY(PageOfKey(pages->key(), data_id));
    const bool is_written = pages->value_bytes() > 0;
    if (written && is_written) return page;
    if (!written && (!is_written || page != expected)) return expected;
    ++expected;
  }
  TRY(pages->status());
  return written ? end : expected;
}

}  // namespace

Result<uint64_t> FileSystemImpl::Seek(const OpContext& context, InodeNumber ino, uint64_t offset,
                                      int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return Status::Posix(EINVAL);
  const LockedInode locked = TRY(LockedInode::Shared(table_, ino, context.may_wait));
  const InodeRecord& record = locked.record();
  if (!record.is_regular()) return Status::Posix(record.is_directory() ? EISDIR : EINVAL);
  if (offset >= record.size) return Status::Posix(ENXIO);
  const bool wants_data = whence == SEEK_DATA;
  const uint64_t first = offset / kPageBytes;
  uint64_t found = PagesFor(record.size);
  if (record.page_count == 0) {
    if (!wants_data) found = first;
  } else if (HasNoHoles(record) && !record.has_unwritten) {
    if (wants_data) found = first;
  } else {
    found = TRY(FindFirst(db_, context.may_wait, record.data_id, first, found, wants_data));
  }
  if (found < PagesFor(record.size)) return std::max(offset, found * kPageBytes);
  if (wants_data) return Status::Posix(ENXIO);
  return record.size;
}

}  // namespace terracefs::fs
