#include "fs/lookup_counts.h"

#include <algorithm>
#include <utility>

#include "io/base/check.h"

namespace terracefs::fs {

size_t LookupCounts::Shard::Home(uint64_t ino) const {
  // The low bits chose the shard; the multiplication brings the high ones down to where the mask
  // looks.
  return static_cast<size_t>(((ino / kShardCount) * 0x9e3779b97f4a7c15) >> 32) &
         (slots_.size() - 1);
}

LookupCounts::Slot* LookupCounts::Shard::FindLocked(uint64_t ino) {
  if (slots_.empty()) return nullptr;
  const size_t mask = slots_.size() - 1;
  for (size_t i = Home(ino);; i = (i + 1) & mask) {
    if (slots_[i].ino == ino) return &slots_[i];
    if (slots_[i].ino == 0) return nullptr;
  }
}

LookupCounts::Slot* LookupCounts::Shard::FindOrInsertLocked(uint64_t ino) {
  if (Slot* slot = FindLocked(ino); slot != nullptr) return slot;
  if (slots_.empty()) {
    ResizeLocked(kSlotCountMin);
  } else if ((used_ + 1) * 8 > slots_.size() * 7) {
    ResizeLocked(slots_.size() * 2);
  }
  const size_t mask = slots_.size() - 1;
  size_t i = Home(ino);
  while (slots_[i].ino != 0) i = (i + 1) & mask;
  slots_[i].ino = ino;
  slots_[i].count = 0;
  ++used_;
  return &slots_[i];
}

void LookupCounts::Shard::EraseLocked(Slot* slot) {
  const size_t mask = slots_.size() - 1;
  size_t hole = static_cast<size_t>(slot - slots_.data());
  for (size_t i = (hole + 1) & mask; slots_[i].ino != 0; i = (i + 1) & mask) {
    // An entry may move back to the hole only if that is not before its home.
    if (((i - Home(slots_[i].ino)) & mask) >= ((i - hole) & mask)) {
      slots_[hole] = slots_[i];
      hole = i;
    }
  }
  slots_[hole] = Slot{};
  --used_;
  if (slots_.size() > kSlotCountMin && used_ * 8 < slots_.size()) ResizeLocked(slots_.size() / 4);
}

void LookupCounts::Shard::ResizeLocked(size_t slot_count) {
  std::vector<Slot> old(std::max(slot_count, kSlotCountMin));
  std::swap(old, slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.ino == 0) continue;
    size_t i = Home(slot.ino);
    while (slots_[i].ino != 0) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

void LookupCounts::Raise(InodeNumber ino) {
  Shard& shard = shards_[ShardIndex(ino)];
  io::MutexLock lock(shard.mutex);
  ++shard.FindOrInsertLocked(ino.value)->count;
  ++shard.total;
}

LookupCounts::Outcome LookupCounts::Lower(InodeNumber ino, uint64_t count) {
  Shard& shard = shards_[ShardIndex(ino)];
  io::MutexLock lock(shard.mutex);
  Slot* slot = shard.FindLocked(ino.value);
  if (slot == nullptr) return count == 0 ? Outcome::kReleased : Outcome::kUnderflow;
  const uint64_t held = slot->count & ~kMarks;
  const bool orphan = (slot->count & kOrphanBit) != 0;
  if (count < held) {
    slot->count -= count;
    shard.total -= count;
    return Outcome::kHeld;
  }
  shard.total -= held;
  shard.EraseLocked(slot);
  if (orphan) return Outcome::kOrphanReleased;
  return count == held ? Outcome::kReleased : Outcome::kUnderflow;
}

bool LookupCounts::Held(InodeNumber ino) const {
  Shard& shard = shards_[ShardIndex(ino)];
  io::MutexLock lock(shard.mutex);
  return shard.FindLocked(ino.value) != nullptr;
}

bool LookupCounts::MarkOrphan(InodeNumber ino) {
  Shard& shard = shards_[ShardIndex(ino)];
  io::MutexLock lock(shard.mutex);
  Slot* slot = shard.FindLocked(ino.value);
  if (slot == nullptr) return false;
  slot->count |= kOrphanBit;
  return true;
}

void LookupCounts::RaiseTemporary(InodeNumber ino) {
  Shard& shard = shards_[ShardIndex(ino)];
  io::MutexLock lock(shard.mutex);
  Slot* slot = shard.FindOrInsertLocked(ino.value);
  slot->count = (slot->count + 1) | kMarks;
  ++shard.total;
}

bool LookupCounts::TakeTemporary(InodeNumber ino) {
  Shard& shard = shards_[ShardIndex(ino)];
  io::MutexLock lock(shard.mutex);
  Slot* slot = shard.FindLocked(ino.value);
  if (slot == nullptr || (slot->count & kTemporaryBit) == 0) return false;
  slot->count = (slot->count & ~kMarks) + 1;
  ++shard.total;
  return true;
}

void LookupCounts::PutTemporaryBack(InodeNumber ino) {
  Shard& shard = shards_[ShardIndex(ino)];
  io::MutexLock lock(shard.mutex);
  Slot* slot = shard.FindLocked(ino.value);
  CHECK(slot != nullptr);
  slot->count |= kMarks;
}

uint64_t LookupCounts::Total() const {
  uint64_t total = 0;
  for (Shard& shard : shards_) {
    io::MutexLock lock(shard.mutex);
    total += shard.total;
  }
  return total;
}

std::vector<InodeNumber> LookupCounts::Orphans() const {
  std::vector<InodeNumber> orphans;
  for (Shard& shard : shards_) {
    io::MutexLock lock(shard.mutex);
    for (const Slot& slot : shard.slots()) {
      if ((slot.count & kOrphanBit) != 0) orphans.push_back(InodeNumber{slot.ino});
    }
  }
  return orphans;
}

}  // namespace terracefs::fs
