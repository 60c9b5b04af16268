#include "lsm/memtable/memtable.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "io/base/random.h"
#include "lsm/write_batch.h"
#include "tests/support/environment.h"

namespace terracefs::lsm {
namespace {

void Apply(MemTable* table, WriteBatch batch, SequenceNumber first_sequence,
           int64_t now_seconds = 1'000) {
  const uint32_t count = batch.count();
  table->Apply(batch.TakeRepresentation(), count, first_sequence, now_seconds);
}

TEST(MemTableTest, NewTableIsEmptyAndSmall) {
  const MemTable table;
  EXPECT_TRUE(table.empty());
  EXPECT_FALSE(table.Get("k", kSequenceMax));
  const auto iterator = table.NewIterator();
  iterator->SeekToFirst();
  EXPECT_FALSE(iterator->Valid());
  EXPECT_TRUE(iterator->status().ok());
}

TEST(MemTableTest, GetSeesTheNewestVersionAtOrBelowTheSnapshot) {
  MemTable table;
  for (SequenceNumber sequence = 10; sequence <= 30; sequence += 10) {
    WriteBatch batch;
    batch.Put("k", "v" + std::to_string(sequence));
    Apply(&table, std::move(batch), sequence);
  }
  EXPECT_FALSE(table.Get("k", 9));
  EXPECT_EQ(table.Get("k", 10)->value, "v10");
  EXPECT_EQ(table.Get("k", 19)->value, "v10");
  EXPECT_EQ(table.Get("k", 20)->value, "v20");
  EXPECT_EQ(table.Get("k", kSequenceMax)->value, "v30");
  EXPECT_EQ(table.Get("k", 25)->sequence, 20u);
  EXPECT_EQ(table.Get("k", 25)->kind, EntryKind::kValue);
  EXPECT_FALSE(table.Get("j", kSequenceMax));
  EXPECT_FALSE(table.Get("k0", kSequenceMax));
  EXPECT_FALSE(table.Get("", kSequenceMax));
}

TEST(MemTableTest, LaterEntryOfABatchWins) {
  MemTable table;
  WriteBatch batch;
  batch.Put("k", "first");
  batch.Delete("k");
  batch.Put("k", "last");
  Apply(&table, std::move(batch), 5);
  EXPECT_EQ(table.Get("k", kSequenceMax)->value, "last");
  EXPECT_EQ(table.Get("k", 6)->kind, EntryKind::kDelete);
  EXPECT_EQ(table.Get("k", 5)->value, "first");
}

TEST(MemTableTest, TombstonesCarryTheTimeOfDeletion) {
  MemTable table;
  WriteBatch batch;
  batch.Delete("a");
  batch.Delete("b");
  Apply(&table, std::move(batch), 1, 1'700'000'000);
  WriteBatch later;
  later.Delete("c");
  Apply(&table, std::move(later), 3, 1'700'000'099);
  for (const auto& [key, seconds] : std::map<std::string, uint64_t>{
           {"a", 1'700'000'000}, {"b", 1'700'000'000}, {"c", 1'700'000'099}}) {
    const auto found = table.Get(key, kSequenceMax);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->kind, EntryKind::kDelete);
    ASSERT_EQ(found->value.size(), 8u);
    EXPECT_EQ(io::DecodeFixed64(found->value.data()), seconds);
  }
  EXPECT_EQ(table.tombstone_count(), 3u);
  EXPECT_EQ(table.oldest_deletion_seconds(), 1'700'000'000);
}

TEST(MemTableTest, DroppedRangesAreKeptApartAndUseUpASequence) {
  MemTable table;
  WriteBatch batch;
  batch.Put("a", "1");
  batch.DropRange("m", "p");
  batch.DropRange("q", "q");  // nothing in it
  batch.Put("z", "2");
  Apply(&table, std::move(batch), 100, 77);
  ASSERT_EQ(table.dropped_ranges().size(), 1u);
  EXPECT_EQ(table.dropped_ranges()[0].begin, "m");
  EXPECT_EQ(table.dropped_ranges()[0].end, "p");
  EXPECT_EQ(table.dropped_ranges()[0].sequence, 101u);
  EXPECT_EQ(table.Get("z", kSequenceMax)->sequence, 103u);
  EXPECT_FALSE(table.Get("m", kSequenceMax));
  EXPECT_EQ(table.entry_count(), 2u);  // those that iterate
  EXPECT_EQ(table.tombstone_count(), 0u);
  EXPECT_EQ(table.oldest_deletion_seconds(), 77);
}

TEST(MemTableTest, CountersAreSummedApartAndUseUpASequence) {
  MemTable table;
  WriteBatch batch;
  batch.AddCounter(0, 5);
  batch.AddCounter(kCounterCount - 1, -3);
  batch.Put("k", "v");
  Apply(&table, std::move(batch), 1);
  WriteBatch later;
  later.AddCounter(0, -7);
  Apply(&table, std::move(later), 4);
  EXPECT_EQ(table.counter_deltas()[0], -2);
  EXPECT_EQ(table.counter_deltas()[1], 0);
  EXPECT_EQ(table.counter_deltas()[kCounterCount - 1], -3);
  EXPECT_EQ(table.Get("k", kSequenceMax)->sequence, 3u);
  EXPECT_EQ(table.entry_count(), 1u);
}

TEST(MemTableTest, TableWithOnlyADropHasNothingToIterateOver) {
  MemTable table;
  WriteBatch batch;
  batch.DropRange("a", "b");
  Apply(&table, std::move(batch), 1);
  EXPECT_TRUE(table.empty());
  EXPECT_EQ(table.dropped_ranges().size(), 1u);
}

TEST(MemTableTest, LargeValuesAreNotCopied) {
  MemTable table;
  WriteBatch batch;
  batch.Put("small", std::string(511, 's'));
  batch.Put("large", std::string(512, 'l'));
  const char* const begin = batch.representation().data();
  const char* const end = begin + batch.representation().size();
  Apply(&table, std::move(batch), 1);
  // Only addresses are compared; the batch's memory must still be there.
  const auto large = table.Get("large", kSequenceMax);
  EXPECT_TRUE(large->value.data() > begin && large->value.data() < end);
  EXPECT_EQ(large->value, std::string(512, 'l'));
  const auto small = table.Get("small", kSequenceMax);
  EXPECT_FALSE(small->value.data() > begin && small->value.data() < end);
}

TEST(MemTableTest, ValuesStayInPlaceAsTheTableGrows) {
  MemTable table;
  std::vector<std::string_view> views;
  for (uint64_t i = 0; i < 500; ++i) {
    WriteBatch batch;
    // Sizes around the border, and batches short enough for a string's own buffer in between.
    batch.Put("k" + std::to_string(i), std::string(i % 3 == 0 ? 600 : i % 5, 'x'));
    Apply(&table, std::move(batch), i + 1);
    views.push_back(table.Get("k" + std::to_string(i), kSequenceMax)->value);
  }
  for (uint64_t i = 0; i < 500; ++i) {
    EXPECT_EQ(views[i], std::string(i % 3 == 0 ? 600 : i % 5, 'x'));
    EXPECT_EQ(views[i].data(), table.Get("k" + std::to_string(i), kSequenceMax)->value.data());
  }
}

TEST(MemTableTest, MemoryIsAccountedFor) {
  MemTable table;
  size_t user_bytes = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    WriteBatch batch;
    batch.Put("key" + std::to_string(i), std::string(i % 2 == 0 ? 20'000 : 100, 'v'));
    user_bytes += batch.bytes();
    Apply(&table, std::move(batch), i + 1);
    EXPECT_GE(table.memory_bytes(), user_bytes / 2);
  }
  EXPECT_GE(table.memory_bytes(), user_bytes - 200 * 16);
  EXPECT_LE(table.memory_bytes(), user_bytes * 2 + Arena::kBlockBytes);
}

TEST(MemTableTest, MalformedBatchIsOurOwnBug) {
  MemTable table;
  EXPECT_DEATH(table.Apply("\x09nonsense", 1, 1, 0), "check failed");
}

struct ModelOrder {
  bool operator()(const std::string& a, const std::string& b) const {
    return CompareInternal(a, b) < 0;
  }
};

// Random batches against a std::map; SEED=n replays.
TEST(MemTableTest, AgreesWithAMapAtEverySnapshot) {
  const uint64_t seed = testing::FromEnvironment("SEED", 20'240'601);
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  io::Random random(seed);
  for (int round = 0; round < 20; ++round) {
    MemTable table;
    std::map<std::string, std::string, ModelOrder> model;  // internal key -> value
    SequenceNumber next = 1 + random.Uniform(1'000);
    const auto any_key = [&random] {
      std::string key(1, static_cast<char>(random.Uniform(4)));
      key += std::to_string(random.Uniform(30));
      return random.OneIn(40) ? std::string() : key;
    };
    for (int step = 0; step < 200; ++step) {
      WriteBatch batch;
      const SequenceNumber first = next;
      const auto now_seconds = static_cast<int64_t>(1'000 + step);
      for (uint64_t i = 1 + random.Uniform(10); i > 0; --i) {
        const std::string key = any_key();
        const uint64_t choice = random.Uniform(10);
        if (choice == 0) {
          batch.DropRange(key, key + "\xff");
        } else if (choice < 3) {
          batch.Delete(key);
          std::string seconds;
          io::PutFixed64(&seconds, static_cast<uint64_t>(now_seconds));
          model[MakeInternalKey(key, next, EntryKind::kDelete)] = seconds;
        } else {
          std::string value(random.Uniform(random.OneIn(4) ? 2'000 : 20), '\0');
          for (char& byte : value) byte = static_cast<char>(random.Next());
          batch.Put(key, value);
          model[MakeInternalKey(key, next, EntryKind::kValue)] = value;
        }
        ++next;
      }
      Apply(&table, std::move(batch), first, now_seconds);

      for (int look = 0; look < 5; ++look) {
        const std::string key = any_key();
        const SequenceNumber snapshot = random.OneIn(3) ? kSequenceMax : random.Uniform(next + 2);
        const auto found = table.Get(key, snapshot);
        const auto expected = model.lower_bound(MakeSeekKey(key, snapshot));
        const bool present = expected != model.end() && UserKey(expected->first) == key;
        ASSERT_EQ(found.has_value(), present);
        if (!present) continue;
        ASSERT_EQ(found->sequence, KeySequence(expected->first));
        ASSERT_EQ(found->kind, KeyKind(expected->first));
        ASSERT_EQ(found->value, expected->second);
      }
    }
    const auto iterator = table.NewIterator();
    iterator->SeekToFirst();
    for (const auto& [key, value] : model) {
      ASSERT_TRUE(iterator->Valid());
      ASSERT_EQ(iterator->key(), key);
      ASSERT_EQ(iterator->value(), value);
      iterator->Next();
    }
    EXPECT_FALSE(iterator->Valid());
    for (int look = 0; look < 100; ++look) {
      const std::string target = MakeSeekKey(any_key(), random.Uniform(next));
      iterator->Seek(target);
      const auto expected = model.lower_bound(target);
      ASSERT_EQ(iterator->Valid(), expected != model.end());
      if (iterator->Valid()) {
        ASSERT_EQ(iterator->key(), expected->first);
      }
    }
  }
}

// Each batch writes the same round to all keys. A reader that takes the published sequence as its
// snapshot must find one and the same round under every key, and whole values.
TEST(MemTableTest, ReadersBesideTheWriterSeeWholeBatches) {
  constexpr uint64_t kRoundCount = 1'500;
  constexpr uint64_t kKeyCount = 8;
  MemTable table;
  std::atomic<SequenceNumber> published{0};
  const auto key_at = [](uint64_t index) {
    return std::string(1, static_cast<char>(index)) + "key";
  };
  const auto value_at = [](uint64_t round, uint64_t index) {
    std::string value(index % 2 == 0 ? 30 : 700, static_cast<char>(round));
    io::PutFixed64(&value, round);
    return value;
  };

  std::vector<std::thread> readers;
  for (uint64_t reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&, reader] {
      io::Random random(reader);
      SequenceNumber last = 0;
      while (last < kRoundCount * kKeyCount) {
        last = published.load(std::memory_order_acquire);
        if (last == 0) continue;
        const SequenceNumber snapshot = kKeyCount * (1 + random.Uniform(last / kKeyCount));
        const uint64_t round = snapshot / kKeyCount - 1;
        for (uint64_t index = 0; index < kKeyCount; ++index) {
          const auto found = table.Get(key_at(index), snapshot);
          ASSERT_TRUE(found);
          ASSERT_EQ(found->value, value_at(round, index));
        }
        const auto iterator = table.NewIterator();
        iterator->Seek(MakeSeekKey(key_at(random.Uniform(kKeyCount)), snapshot));
        ASSERT_TRUE(iterator->Valid());
        ASSERT_EQ(KeySequence(iterator->key()) - round * kKeyCount - 1,
                  static_cast<uint64_t>(iterator->key()[0]));
      }
    });
  }
  for (uint64_t round = 0; round < kRoundCount; ++round) {
    WriteBatch batch;
    for (uint64_t index = 0; index < kKeyCount; ++index) {
      batch.Put(key_at(index), value_at(round, index));
    }
    Apply(&table, std::move(batch), round * kKeyCount + 1);
    published.store((round + 1) * kKeyCount, std::memory_order_release);
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(table.entry_count(), kRoundCount * kKeyCount);
}

}  // namespace
}  // namespace terracefs::lsm
