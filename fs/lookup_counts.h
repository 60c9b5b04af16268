#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fs/schema/inode_number.h"
#include "io/base/mutex.h"

namespace terracefs::fs {

// How often the kernel knows each inode: the lookups it owes a Forget for. Millions of inodes are
// remembered at once, so an entry is 16 bytes in an open-addressed table. Safe from any thread.
class LookupCounts {
 public:
  enum class Outcome : uint8_t {
    kHeld,            // still above zero
    kReleased,        // zero now
    kOrphanReleased,  // zero now, and the inode had been marked as an orphan: collect it
    kUnderflow,       // more forgotten than was looked up; zero now
  };

  void Raise(InodeNumber ino);
  Outcome Lower(InodeNumber ino, uint64_t count);
  bool Held(InodeNumber ino) const;
  // The inode lost its last link. False if its count is zero, so that nobody will be told to
  // collect it.
  bool MarkOrphan(InodeNumber ino);
  // A file without a name has come, which may be given one: one lookup, and an orphan until
  // TakeTemporary.
  void RaiseTemporary(InodeNumber ino);
  // Ends what RaiseTemporary began: raises the count and takes the mark away, so that the inode
  // stays whatever is forgotten meanwhile. False, and nothing has changed, for any other inode.
  bool TakeTemporary(InodeNumber ino);
  // Undoes TakeTemporary, but for the raised count, which Lower takes back afterwards.
  void PutTemporaryBack(InodeNumber ino);
  // The sum of all counts.
  uint64_t Total() const;
  // The marked ones whose count is above zero.
  std::vector<InodeNumber> Orphans() const;

 private:
  static constexpr size_t kShardCount = 64;
  static constexpr size_t kSlotCountMin = 64;
  static constexpr uint64_t kOrphanBit = uint64_t{1} << 63;
  static constexpr uint64_t kTemporaryBit = uint64_t{1} << 62;  // only beside kOrphanBit
  static constexpr uint64_t kMarks = kOrphanBit | kTemporaryBit;

  struct Slot {
    uint64_t ino = 0;    // 0: free
    uint64_t count = 0;  // and kMarks
  };

  // Linear probing over a power of two of slots, at most 7/8 full; removal shifts later entries
  // back, so there are no tombstones.
  class Shard {
   public:
    mutable io::Mutex mutex;
    uint64_t total GUARDED_BY(mutex) = 0;

    // Null if there is none.
    Slot* FindLocked(uint64_t ino) REQUIRES(mutex);
    Slot* FindOrInsertLocked(uint64_t ino) REQUIRES(mutex);
    void EraseLocked(Slot* slot) REQUIRES(mutex);
    const std::vector<Slot>& slots() const REQUIRES(mutex) { return slots_; }

   private:
    size_t Home(uint64_t ino) const REQUIRES(mutex);
    void ResizeLocked(size_t slot_count) REQUIRES(mutex);

    std::vector<Slot> slots_ GUARDED_BY(mutex);
    size_t used_ GUARDED_BY(mutex) = 0;
  };

  static size_t ShardIndex(InodeNumber ino) { return ino.value % kShardCount; }

  mutable std::array<Shard, kShardCount> shards_;
};

}  // namespace terracefs::fs
