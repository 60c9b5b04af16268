#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace terracefs::lsm {

// Memory that is handed out in small pieces and given back all at once, with the arena. Pieces
// never move. One thread allocates; the pieces may be read by any thread the allocating one hands
// them to.
class Arena {
 public:
  // Small enough that an almost empty memtable costs little, large enough that the waste at the end
  // of a block (at most a quarter) and the calls to the allocator do not matter.
  static constexpr size_t kBlockBytes = 128 << 10;

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // `bytes` (not 0) with no alignment, for keys and values.
  char* Allocate(size_t bytes) {
    if (bytes > rest_bytes_) return AllocateSlow(bytes);
    return Cut(bytes);
  }
  // `bytes` (not 0) aligned for any type without extended alignment.
  char* AllocateAligned(size_t bytes);

  // Taken from the system so far.
  size_t memory_bytes() const { return memory_bytes_; }

 private:
  char* Cut(size_t bytes) {
    char* const piece = rest_;
    rest_ += bytes;
    rest_bytes_ -= bytes;
    return piece;
  }
  char* AllocateSlow(size_t bytes);
  char* NewBlock(size_t bytes);

  char* rest_ = nullptr;  // of the newest shared block
  size_t rest_bytes_ = 0;
  size_t memory_bytes_ = 0;
  std::vector<std::unique_ptr<char[]>> blocks_;
};

}  // namespace terracefs::lsm
