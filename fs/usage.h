#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "fs/file_system.h"
#include "fs/schema/records.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

// What is used and what is left. The sums are kept by the engine, atomically with each batch. Safe
// from any thread.
class Usage {
 public:
  // `size_bytes`: the capacity for file pages; 0: whatever the engine has room for.
  Usage(lsm::Db& db, uint64_t size_bytes) : db_(db), page_count_max_(size_bytes / kPageBytes) {}

  // Room for pages that a batch is about to add; given back when it goes, which must be after the
  // batch was written (the counter has them then) or abandoned.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept
        : usage_(std::exchange(other.usage_, nullptr)), page_count_(other.page_count_) {}
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() {
      // Relaxed: a stale value only makes the check below too strict or lets nothing extra in.
      if (usage_ != nullptr) {
        usage_->reserved_page_count_.fetch_sub(page_count_, std::memory_order_relaxed);
      }
    }

   private:
    friend class Usage;
    Reservation(Usage* usage, uint64_t page_count) : usage_(usage), page_count_(page_count) {}
    Usage* usage_ = nullptr;
    uint64_t page_count_ = 0;
  };
  // For `bytes` of content, `page_count` of its pages new. Posix(ENOSPC) if there is none.
  io::Result<Reservation> Reserve(uint64_t page_count, uint64_t bytes);
  // Posix(ENOSPC) if `bytes` more would leave the engine too little to delete with. Whatever adds
  // something asks; renaming and removing never has to.
  io::Status CheckRoom(uint64_t bytes) const;

  uint64_t inode_count() const;
  uint64_t page_count() const;
  SpaceUsage Space() const;

 private:
  uint64_t Count(CounterId id) const;

  lsm::Db& db_;
  const uint64_t page_count_max_;  // 0: no limit of its own
  std::atomic<uint64_t> reserved_page_count_{0};
};

}  // namespace terracefs::fs
