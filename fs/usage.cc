#include "fs/usage.h"

#include <algorithm>
#include <cerrno>

namespace terracefs::fs {
namespace {

// What an inode takes in the store: its record, its two directory entries, and their overhead.
constexpr uint64_t kInodeBytesEstimate = 512;

}  // namespace

uint64_t Usage::Count(CounterId id) const {
  return static_cast<uint64_t>(std::max<int64_t>(0, db_.Counter(static_cast<uint8_t>(id))));
}

uint64_t Usage::inode_count() const { return Count(CounterId::kInodes); }
uint64_t Usage::page_count() const { return Count(CounterId::kPages); }

io::Status Usage::CheckRoom(uint64_t bytes) const {
  return db_.RoomBytes() > bytes ? io::Status::Ok() : io::Status::Posix(ENOSPC);
}

io::Result<Usage::Reservation> Usage::Reserve(uint64_t page_count, uint64_t bytes) {
  TRY(CheckRoom(bytes));
  if (page_count_max_ == 0 || page_count == 0) return Reservation();
  // A batch that was written but whose reservation still stands counts twice for a moment; that
  // errs on the strict side.
  const uint64_t reserved =
      reserved_page_count_.fetch_add(page_count, std::memory_order_relaxed) + page_count;
  Reservation reservation(this, page_count);
  if (Count(CounterId::kPages) + reserved > page_count_max_) return io::Status::Posix(ENOSPC);
  return reservation;
}

SpaceUsage Usage::Space() const {
  SpaceUsage space;
  const uint64_t used_bytes = Count(CounterId::kPages) * kPageBytes;
  const uint64_t room_bytes = db_.RoomBytes();
  if (page_count_max_ != 0) {
    space.capacity_bytes = page_count_max_ * kPageBytes;
    space.free_bytes = space.capacity_bytes - std::min(used_bytes, space.capacity_bytes);
    space.free_bytes = std::min(space.free_bytes, room_bytes);
  } else {
    space.capacity_bytes = used_bytes + room_bytes;
    space.free_bytes = room_bytes;
  }
  space.available_bytes = space.free_bytes;
  space.inodes = Count(CounterId::kInodes);
  space.free_inodes = space.free_bytes / kInodeBytesEstimate;
  return space;
}

}  // namespace terracefs::fs
