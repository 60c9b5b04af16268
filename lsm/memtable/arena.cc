#include "lsm/memtable/arena.h"

#include <cstdint>

#include "io/base/check.h"

namespace terracefs::lsm {
namespace {

constexpr size_t kAlignment = alignof(void*);
static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= kAlignment, "a fresh block is aligned");

}  // namespace

char* Arena::AllocateAligned(size_t bytes) {
  const size_t past = reinterpret_cast<uintptr_t>(rest_) % kAlignment;
  const size_t padding = past == 0 ? 0 : kAlignment - past;
  // Every block begins aligned, so the slow path needs no padding.
  if (bytes + padding > rest_bytes_) return AllocateSlow(bytes);
  Cut(padding);
  return Cut(bytes);
}

char* Arena::AllocateSlow(size_t bytes) {
  DCHECK(bytes > 0);
  // A large piece gets a block of its own, so that the rest of the shared block is not wasted.
  if (bytes > kBlockBytes / 4) return NewBlock(bytes);
  rest_ = NewBlock(kBlockBytes);
  rest_bytes_ = kBlockBytes;
  return Cut(bytes);
}

char* Arena::NewBlock(size_t bytes) {
  // Not make_unique: that would write zeros over memory that is about to be filled.
  blocks_.emplace_back(new char[bytes]);
  memory_bytes_ += bytes;
  return blocks_.back().get();
}

}  // namespace terracefs::lsm
