// Random tables, read in every way, against a std::map. SEED=n replays one.

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "io/base/units.h"
#include "tests/lsm/table/table_fixture.h"
#include "tests/support/environment.h"

namespace terracefs::lsm::table_test {
namespace {

bool FilterOnlyLower(std::string_view user_key) {
  return user_key.empty() || (user_key.front() >= 'a' && user_key.front() <= 'm');
}

std::string RandomUserKey(io::Random& random) {
  // A small alphabet and few lengths make long shared prefixes and near misses.
  const size_t bytes = random.OneIn(20) ? random.Uniform(300) : random.Uniform(12);
  std::string key;
  for (size_t i = 0; i < bytes; ++i) {
    key.push_back(random.OneIn(30) ? static_cast<char>(random.Next())
                                   : static_cast<char>('a' + random.Uniform(i == 0 ? 26 : 3)));
  }
  return key;
}

std::string RandomValue(io::Random& random) {
  static constexpr size_t kSizes[] = {0, 1, 8, 100, 100, 100, 130, 4096, 4096, 40000};
  std::string value(kSizes[random.Uniform(random.OneIn(20) ? 10 : 9)], '\0');
  const bool compressible = random.OneIn(2);
  for (char& byte : value) byte = static_cast<char>(random.Uniform(compressible ? 3 : 256));
  return value;
}

Model RandomModel(io::Random& random) {
  Model model;
  const uint64_t count = 1 + random.Uniform(random.OneIn(3) ? 20 : 1500);
  for (uint64_t i = 0; i < count; ++i) {
    const std::string user_key = RandomUserKey(random);
    const uint64_t versions = random.OneIn(10) ? 1 + random.Uniform(30) : 1;
    for (uint64_t version = 0; version < versions; ++version) {
      const auto kind = static_cast<EntryKind>(1 + random.Uniform(3));
      const SequenceNumber sequence = random.OneIn(50) ? kSequenceMax : random.Uniform(1000);
      std::string value = RandomValue(random);
      if (kind == EntryKind::kDelete) {
        value.clear();
        io::PutFixed64(&value, 1 + random.Uniform(1000000));
      } else if (kind == EntryKind::kReference) {
        value = ReferenceValue(1 + random.Uniform(5), random.Uniform(100), random.OneIn(2));
      }
      // One entry per key and sequence, as in a real history.
      if (!model.contains(Key(user_key, sequence, EntryKind::kDelete)) &&
          !model.contains(Key(user_key, sequence, EntryKind::kValue)) &&
          !model.contains(Key(user_key, sequence, EntryKind::kReference))) {
        model[Key(user_key, sequence, kind)] = std::move(value);
      }
    }
  }
  return model;
}

std::string SomeUserKey(io::Random& random, const Model& model) {
  if (random.OneIn(3)) return RandomUserKey(random);
  auto entry = model.lower_bound(MakeSeekKey(RandomUserKey(random), kSequenceMax));
  if (entry == model.end()) entry = model.begin();
  std::string key(UserKey(entry->first));
  if (random.OneIn(4)) key.push_back('\0');
  return key;
}

SequenceNumber SomeSnapshot(io::Random& random) {
  return random.OneIn(2) ? kSequenceMax : random.Uniform(1001);
}

void CheckGets(io::Random& random, OpenedTable& table) {
  for (const auto& [key, value] : table.model) {
    ASSERT_TRUE(table.reader->MayContain(UserKey(key)));
  }
  for (int i = 0; i < 600; ++i) {
    const std::string user_key = SomeUserKey(random, table.model);
    const SequenceNumber snapshot = SomeSnapshot(random);
    ReadOptions options;
    options.fill_cache = random.OneIn(2);
    options.cache_only = random.OneIn(2);
    MissingBlock missing;
    auto found = table.reader->Get(options, user_key, snapshot, &missing);
    if (options.cache_only && found.status().Is(io::StatusCode::kWouldBlock)) {
      ASSERT_TRUE(TableReader::ReadBlocks({&missing, 1}).ok());
      options.cache_only = false;
      found = table.reader->Get(options, user_key, snapshot, nullptr);
    }
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    ASSERT_TRUE(IsRight(table.model, user_key, snapshot, found.value()));
  }
}

// Seeks, sometimes far, and reads on for a while each time. `bound` limits what is to be seen.
void CheckIterator(io::Random& random, const Model& model, Iterator& iterator,
                   std::string_view bound, int seeks) {
  const auto end =
      bound.empty() ? model.end() : model.lower_bound(MakeSeekKey(bound, kSequenceMax));
  for (int i = 0; i < seeks; ++i) {
    auto expected = model.begin();
    if (random.OneIn(8)) {
      iterator.SeekToFirst();
    } else {
      const std::string target = MakeSeekKey(SomeUserKey(random, model), SomeSnapshot(random));
      iterator.Seek(target);
      expected = model.lower_bound(target);
    }
    // A target beyond the bound.
    if (expected == model.end() || (!bound.empty() && UserKey(expected->first) >= bound)) {
      expected = end;
    }
    uint64_t steps = random.OneIn(4) ? 100000 : random.Uniform(40);
    for (; expected != end && steps > 0; ++expected, --steps) {
      ASSERT_TRUE(iterator.Valid()) << iterator.status().ToString();
      ASSERT_EQ(iterator.key(), expected->first);
      ASSERT_TRUE(iterator.value() == expected->second);
      iterator.Next();
    }
    if (steps > 0) {
      ASSERT_FALSE(iterator.Valid());
    }
    ASSERT_TRUE(iterator.status().ok()) << iterator.status().ToString();
  }
}

void RunSeed(uint64_t seed) {
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  io::Random random(seed);
  TableOptions options;
  options.block_bytes = random.OneIn(2) ? 16 * io::kKiB : 1 + random.Uniform(5000);
  options.zstd_level = random.OneIn(2) ? 1 : 0;
  options.filter_bits_per_key = random.OneIn(4) ? 0 : 10;
  options.filter_key = random.OneIn(2) ? FilterOnlyLower : nullptr;
  OpenedTable table(RandomModel(random), options,
                    random.OneIn(4) ? random.Uniform(io::kMiB) : 64 * io::kMiB);
  ASSERT_NE(table.reader, nullptr);
  EXPECT_EQ(table.info.entry_count, table.model.size());
  EXPECT_EQ(table.info.smallest, table.model.begin()->first);
  EXPECT_EQ(table.info.largest, table.model.rbegin()->first);

  const auto whole = table.reader->NewIterator({});
  whole->SeekToFirst();
  ASSERT_TRUE(ExpectRest(*whole, table.model.begin(), table.model.end()).ok());
  CheckGets(random, table);
  for (int i = 0; i < 6 && !::testing::Test::HasFailure(); ++i) {
    const std::string bound = i < 2 ? "" : SomeUserKey(random, table.model);
    ReadOptions read;
    read.upper_bound = bound;
    read.fill_cache = random.OneIn(2);
    CheckIterator(random, table.model, *table.reader->NewIterator(read), bound, 12);
  }
  const auto job = table.reader->NewJobIterator({});
  CheckIterator(random, table.model, *job, "", 25);
  const io::Status verified = table.reader->Verify(nullptr, io::IoPriority::kScrub);
  EXPECT_TRUE(verified.ok()) << verified.ToString();
}

TEST(TableRandomTest, AgreesWithAMap) {
  const uint64_t replayed = testing::FromEnvironment("SEED", 0);
  const bool replay = replayed != 0;
  const uint64_t first = replay ? replayed : 20240;
  std::printf("SEED=%llu%s\n", static_cast<unsigned long long>(first), replay ? "" : " and on");
  const uint64_t count = replay ? 1 : kExhaustiveStride > 1 ? 8 : 60;
  for (uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) {
    RunSeed(seed);
  }
}

}  // namespace
}  // namespace terracefs::lsm::table_test
