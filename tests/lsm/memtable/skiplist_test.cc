#include "lsm/memtable/skiplist.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "io/base/random.h"

namespace terracefs::lsm {
namespace {

struct NumberOrder {
  static inline thread_local uint64_t comparison_count = 0;
  int operator()(uint64_t a, uint64_t b) const {
    ++comparison_count;
    return a < b ? -1 : a > b ? 1 : 0;
  }
};
using List = SkipList<uint64_t, NumberOrder>;

std::vector<uint64_t> Contents(const List& list) {
  std::vector<uint64_t> contents;
  List::Iterator position(list);
  for (position.SeekToFirst(); position.Valid(); position.Next()) {
    contents.push_back(position.entry());
  }
  return contents;
}

TEST(SkipListTest, EmptyListHasNothing) {
  Arena arena;
  const List list(arena, NumberOrder());
  EXPECT_TRUE(Contents(list).empty());
  EXPECT_EQ(list.Find(uint64_t{0}), nullptr);
  List::Iterator position(list);
  position.Seek(uint64_t{7});
  EXPECT_FALSE(position.Valid());
}

// Insertions in patterns that exercise the fingers, each with the finger chosen well, badly and at
// random; the outcome must not depend on it.
TEST(SkipListTest, AgreesWithASetWhateverTheFingers) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    io::Random random(seed);
    Arena arena;
    List list(arena, NumberOrder());
    std::set<uint64_t> model;
    const uint64_t range = 50 + random.Uniform(5'000);
    const uint64_t stream_count = 1 + random.Uniform(5);
    std::vector<uint64_t> streams(stream_count);
    for (uint64_t& at : streams) at = random.Uniform(range);
    for (int i = 0; i < 1'500; ++i) {
      const uint64_t stream = random.Uniform(stream_count);
      uint64_t number = random.Uniform(range);
      const uint64_t pattern = random.Uniform(10);
      if (pattern < 5) {
        number = ++streams[stream];  // ascending
      } else if (pattern < 8) {
        number = streams[stream] == 0 ? 0 : --streams[stream];  // descending
      }
      if (!model.insert(number).second) continue;
      const uint64_t finger = seed % 3 == 0 ? 0 : seed % 3 == 1 ? stream : random.Next();
      list.Insert(number, finger % List::kFingerCount);
    }
    EXPECT_EQ(Contents(list), std::vector<uint64_t>(model.begin(), model.end())) << seed;
    for (int i = 0; i < 500; ++i) {
      const uint64_t target = random.Uniform(range + 10);
      const auto expected = model.lower_bound(target);
      const uint64_t* const found = list.Find(target);
      ASSERT_EQ(found != nullptr, expected != model.end()) << seed;
      if (found != nullptr) {
        EXPECT_EQ(*found, *expected) << seed;
      }
    }
  }
}

// Fingers must make neighbours cheap in the middle of a long list, and streams that alternate too.
TEST(SkipListTest, NeighboursOfTheLastInsertionCostAConstant) {
  Arena arena;
  List list(arena, NumberOrder());
  io::Random random(5);
  for (uint64_t i = 0; i < 50'000; ++i) {
    list.Insert((random.Uniform(1'000'000) << 24 | i) << 1 | 1, 0);  // odd: all different
  }
  constexpr uint64_t kCount = 10'000;
  NumberOrder::comparison_count = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    list.Insert((uint64_t{300'000} << 24 | 5'000'000) * 2 + 2 * i, 1);  // ascending
    list.Insert((uint64_t{700'000} << 24 | 9'000'000) * 2 - 2 * i, 2);  // descending
  }
  // Two to find the place, and one per upper level of the node (a third of a level on average).
  EXPECT_LT(NumberOrder::comparison_count, kCount * 2 * 4);
}

// One writer, several readers: what was published before a look is found, and order always holds.
TEST(SkipListTest, ReadersBesideTheWriterSeeWholeSortedPrefixes) {
  Arena arena;
  List list(arena, NumberOrder());
  constexpr uint64_t kCount = 20'000;
  const auto number_at = [](uint64_t index) { return index * 0x9e3779b97f4a7c15; };  // all differ
  std::atomic<uint64_t> published{0};
  std::vector<std::thread> readers;
  for (uint64_t reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&, reader] {
      io::Random random(reader);
      uint64_t count = 0;
      while (count < kCount) {
        count = published.load(std::memory_order_acquire);
        for (int i = 0; i < 100 && count > 0; ++i) {
          const uint64_t number = number_at(random.Uniform(count));
          const uint64_t* const found = list.Find(number);
          ASSERT_NE(found, nullptr);
          ASSERT_EQ(*found, number);
        }
        List::Iterator position(list);
        position.Seek(random.Next());
        uint64_t previous = 0;
        for (int i = 0; i < 100 && position.Valid(); ++i, position.Next()) {
          ASSERT_GT(position.entry(), previous);
          previous = position.entry();
        }
      }
    });
  }
  for (uint64_t i = 0; i < kCount; ++i) {
    list.Insert(number_at(i), i % List::kFingerCount);
    published.store(i + 1, std::memory_order_release);
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(Contents(list).size(), kCount);
}

}  // namespace
}  // namespace terracefs::lsm
