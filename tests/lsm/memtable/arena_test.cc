#include "lsm/memtable/arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "io/base/random.h"

namespace terracefs::lsm {
namespace {

TEST(ArenaTest, EmptyArenaHoldsNoMemory) { EXPECT_EQ(Arena().memory_bytes(), 0u); }

TEST(ArenaTest, PiecesDoNotOverlapAndStayInPlace) {
  Arena arena;
  io::Random random(3);
  struct Piece {
    char* memory;
    size_t bytes;
    char mark;
  };
  std::vector<Piece> pieces;
  size_t total_bytes = 0;
  for (int i = 0; i < 5'000; ++i) {
    // Mostly small, some at and above the size that gets a block of its own.
    const size_t bytes = 1 + random.Uniform(random.OneIn(50) ? Arena::kBlockBytes * 2 : 200);
    const bool aligned = random.OneIn(2);
    char* const memory = aligned ? arena.AllocateAligned(bytes) : arena.Allocate(bytes);
    if (aligned) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % alignof(void*), 0u);
    }
    const char mark = static_cast<char>(random.Next());
    std::memset(memory, mark, bytes);
    pieces.push_back({memory, bytes, mark});
    total_bytes += bytes;
  }
  for (const Piece& piece : pieces) {
    EXPECT_EQ(piece.memory[0], piece.mark);
    EXPECT_EQ(piece.memory[piece.bytes - 1], piece.mark);
  }
  EXPECT_GE(arena.memory_bytes(), total_bytes);
  EXPECT_LT(arena.memory_bytes(), total_bytes * 3 / 2 + Arena::kBlockBytes);
}

TEST(ArenaTest, LargePieceDoesNotWasteTheSharedBlock) {
  Arena arena;
  char* const before = arena.Allocate(10);
  arena.Allocate(Arena::kBlockBytes);
  char* const after = arena.Allocate(10);
  EXPECT_EQ(after, before + 10);
}

}  // namespace
}  // namespace terracefs::lsm
