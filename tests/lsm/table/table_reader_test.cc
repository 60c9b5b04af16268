#include "lsm/table/table_reader.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "lsm/table/job_iterator.h"
#include "lsm/table/table_format.h"
#include "tests/lsm/table/table_fixture.h"

namespace terracefs::lsm::table_test {
namespace {

// Offset and length of every data block (trailer included), found the way a reader does.
std::vector<BlockHandle> DataBlocks(OpenedTable& table) {
  std::vector<BlockHandle> blocks;
  BlockCache empty(0);
  auto reader = OpenTable(table.storage, OpenedTable::kNumber, &empty);
  EXPECT_TRUE(reader.ok());
  ReadOptions options;
  options.cache_only = true;
  for (const auto& [key, value] : table.model) {
    MissingBlock missing;
    EXPECT_TRUE(reader.value()
                    ->Get(options, UserKey(key), KeySequence(key), &missing)
                    .status()
                    .Is(io::StatusCode::kWouldBlock));
    if (blocks.empty() || blocks.back().offset != missing.handle.offset) {
      blocks.push_back(missing.handle);
    }
  }
  table.storage.TakeReads();
  return blocks;
}

TEST(TableReaderTest, GetFindsTheNewestVersionAtTheSnapshot) {
  // One user key with so many versions that they fill several blocks.
  Model model;
  model[Key("a", 7)] = "before";
  for (SequenceNumber sequence = 10; sequence < 400; sequence += 3) {
    model[Key("key", sequence)] = std::string(500, 'v') + std::to_string(sequence);
  }
  model[Key("z", 7)] = "after";
  OpenedTable table(model);
  for (SequenceNumber snapshot = 0; snapshot < 410; ++snapshot) {
    const auto found = table.reader->Get({}, "key", snapshot, nullptr);
    ASSERT_TRUE(found.ok());
    ASSERT_TRUE(IsRight(model, "key", snapshot, found.value())) << snapshot;
  }
  EXPECT_GT(SumBytes(table.storage.TakeReads()), 3 * 16384U);
}

TEST(TableReaderTest, SecondGetIsServedFromTheCache) {
  OpenedTable table(Pages(100));
  ReadOptions no_fill;
  no_fill.fill_cache = false;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(table.reader->Get(no_fill, PageKey(50), kSequenceMax, nullptr).ok());
    EXPECT_EQ(table.storage.TakeReads().size(), 1U);
  }
  ASSERT_TRUE(table.reader->Get({}, PageKey(50), kSequenceMax, nullptr).ok());
  EXPECT_EQ(table.storage.TakeReads().size(), 1U);
  ASSERT_TRUE(table.reader->Get({}, PageKey(50), kSequenceMax, nullptr).ok());
  EXPECT_EQ(table.storage.TakeReads().size(), 0U);
  // Charged for what it holds, not for the aligned buffer it came in.
  EXPECT_LT(table.cache.stats().bytes, 17500U);
}

TEST(TableReaderTest, AbsentKeysCostNoReads) {
  OpenedTable table(Pages(1000));
  ASSERT_FALSE(table.reader->MayContain("a"));
  ASSERT_FALSE(table.reader->MayContain("y"));
  int found = 0;
  for (uint64_t page = 0; page < 1000; ++page) {
    std::string absent = PageKey(page);
    absent.back() = 1;
    ASSERT_TRUE(IsRight(table.model, absent, kSequenceMax,
                        table.reader->Get({}, absent, kSequenceMax, nullptr).value()));
    found += table.reader->MayContain(absent) ? 1 : 0;
  }
  EXPECT_LT(found, 30);
  EXPECT_LE(table.storage.TakeReads().size(), static_cast<size_t>(found));
}

TEST(TableReaderTest, KeysLeftOutOfTheFilterAreFound) {
  Model model = Pages(50);
  for (int i = 0; i < 50; ++i) model[Key("inode" + std::to_string(i))] = "record";
  TableOptions options;
  options.filter_key = [](std::string_view user_key) { return user_key.front() == 'i'; };
  OpenedTable table(model, options);
  for (const auto& [key, value] : model) {
    ASSERT_TRUE(table.reader->MayContain(UserKey(key)));
    ASSERT_TRUE(IsRight(model, UserKey(key), kSequenceMax,
                        table.reader->Get({}, UserKey(key), kSequenceMax, nullptr).value()));
  }
  EXPECT_FALSE(table.reader->MayContain("inodeX") && table.reader->MayContain("inodeY") &&
               table.reader->MayContain("inodeZ"));
  EXPECT_TRUE(table.reader->Verify(nullptr, io::IoPriority::kScrub).ok());
}

TEST(TableReaderTest, CacheOnlyGetNamesTheBlockItMisses) {
  OpenedTable table(Pages(100));
  ReadOptions cache_only;
  cache_only.cache_only = true;
  MissingBlock missing;
  auto found = table.reader->Get(cache_only, PageKey(50), kSequenceMax, &missing);
  ASSERT_TRUE(found.status().Is(io::StatusCode::kWouldBlock));
  EXPECT_EQ(missing.table, table.reader);
  EXPECT_TRUE(table.reader->Get(cache_only, PageKey(50), kSequenceMax, nullptr)
                  .status()
                  .Is(io::StatusCode::kWouldBlock));
  EXPECT_TRUE(table.storage.TakeReads().empty());
  ASSERT_TRUE(TableReader::ReadBlocks({&missing, 1}).ok());
  found = table.reader->Get(cache_only, PageKey(50), kSequenceMax, &missing);
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(IsRight(table.model, PageKey(50), kSequenceMax, found.value()));
}

TEST(TableReaderTest, ReadBlocksOfSeveralTablesAreInFlightTogether) {
  MemoryStorage storage;
  BlockCache cache(64 << 20);
  std::vector<std::shared_ptr<TableReader>> tables;
  const Model model = Pages(200);
  for (FileNumber number = 1; number <= 3; ++number) {
    ASSERT_TRUE(WriteTable(storage, number, model).ok());
    tables.push_back(OpenTable(storage, number, &cache).value());
  }
  ReadOptions cache_only;
  cache_only.cache_only = true;
  std::vector<MissingBlock> missing;
  for (const uint64_t page : {150U, 10U, 12U, 90U, 150U}) {  // two share a block, one comes twice
    for (const auto& table : tables) {
      missing.emplace_back();
      ASSERT_FALSE(table->Get(cache_only, PageKey(page), kSequenceMax, &missing.back()).ok());
    }
  }
  storage.TakeReads();
  storage.in_flight_max();
  ASSERT_TRUE(TableReader::ReadBlocks(missing).ok());
  const auto reads = storage.TakeReads();
  EXPECT_LE(reads.size(), 12U);
  EXPECT_GE(reads.size(), 9U);
  EXPECT_EQ(storage.in_flight_max(), reads.size());
  std::set<int> submissions;
  for (const auto& read : reads) submissions.insert(read.submission);
  EXPECT_EQ(submissions.size(), 3U);
  for (const uint64_t page : {150U, 10U, 12U, 90U}) {
    for (const auto& table : tables) {
      const auto found = table->Get(cache_only, PageKey(page), kSequenceMax, nullptr);
      ASSERT_TRUE(found.ok());
      EXPECT_TRUE(IsRight(model, PageKey(page), kSequenceMax, found.value()));
    }
  }
}

TEST(TableReaderTest, ReadBlocksKeepsGoodBlocksBesideDamagedOnes) {
  OpenedTable table(Pages(100));
  const auto blocks = DataBlocks(table);
  table.content()[blocks[5].offset + 100] ^= 1;
  std::vector<MissingBlock> missing;
  for (const size_t i : {3U, 4U, 5U, 6U, 20U}) missing.push_back({table.reader, blocks[i]});
  EXPECT_TRUE(TableReader::ReadBlocks(missing).Is(io::StatusCode::kCorruption));
  for (const size_t i : {3U, 4U, 6U, 20U}) {
    EXPECT_NE(table.cache.Get(OpenedTable::kNumber, blocks[i].offset), nullptr) << i;
  }
  EXPECT_EQ(table.cache.Get(OpenedTable::kNumber, blocks[5].offset), nullptr);
}

TEST(TableReaderTest, IteratorHonoursItsUpperBound) {
  OpenedTable table(Pages(300));
  for (const uint64_t begin : {0U, 1U, 3U, 4U, 100U, 299U}) {
    for (const uint64_t end : {0U, 1U, 4U, 5U, 100U, 101U, 200U, 299U, 300U, 500U}) {
      const std::string bound = PageKey(end);
      ReadOptions options;
      options.upper_bound = bound;
      const auto iterator = table.reader->NewIterator(options);
      iterator->Seek(MakeSeekKey(PageKey(begin), kSequenceMax));
      const auto first = table.model.lower_bound(MakeSeekKey(PageKey(begin), kSequenceMax));
      const auto last = table.model.lower_bound(MakeSeekKey(bound, kSequenceMax));
      if (begin < end) {
        EXPECT_TRUE(ExpectRest(*iterator, first, last).ok());
      } else {
        EXPECT_FALSE(iterator->Valid());
        EXPECT_TRUE(iterator->status().ok());
      }
    }
  }
}

TEST(TableReaderTest, WhatIsOutsideTheTableCostsNoReads) {
  OpenedTable table(Pages(100));
  ReadOptions options;
  options.upper_bound = "a";
  auto iterator = table.reader->NewIterator(options);
  iterator->SeekToFirst();
  EXPECT_FALSE(iterator->Valid());
  iterator = table.reader->NewIterator({});
  iterator->Seek(MakeSeekKey("y", kSequenceMax));
  EXPECT_FALSE(iterator->Valid());
  EXPECT_TRUE(iterator->status().ok());
  EXPECT_TRUE(table.storage.TakeReads().empty());
}

TEST(TableReaderTest, SeekWithABoundReadsUpToItInOneSubmission) {
  OpenedTable table(Pages(2000));
  const std::string bound = PageKey(500);
  ReadOptions options;
  options.upper_bound = bound;
  const auto iterator = table.reader->NewIterator(options);
  iterator->Seek(MakeSeekKey(PageKey(100), kSequenceMax));
  ASSERT_TRUE(iterator->Valid());
  const auto reads = table.storage.TakeReads();
  ASSERT_FALSE(reads.empty());
  for (const auto& read : reads) {
    EXPECT_EQ(read.submission, reads.front().submission);
    EXPECT_LE(read.bytes, size_t{1} << 20);
  }
  EXPECT_LE(reads.size(), 2U);  // 1.6 MiB, in requests of 1 MiB
  EXPECT_NEAR(static_cast<double>(SumBytes(reads)), 400 * 4096 * 1.01, 50000);
  EXPECT_TRUE(ExpectRest(*iterator, table.model.lower_bound(Key(PageKey(100))),
                         table.model.lower_bound(Key(PageKey(500))))
                  .ok());
  EXPECT_TRUE(table.storage.TakeReads().empty());
}

TEST(TableReaderTest, ReadAheadIsBoundedHoweverFarTheBound) {
  OpenedTable table(Pages(2000));
  ReadOptions options;
  options.upper_bound = "y";
  const auto iterator = table.reader->NewIterator(options);
  iterator->SeekToFirst();
  EXPECT_LE(SumBytes(table.storage.TakeReads()), kReadAheadBytesMax + 16384);
  EXPECT_TRUE(ExpectRest(*iterator, table.model.begin(), table.model.end()).ok());
}

TEST(TableReaderTest, BlocksInTheCacheAreNotReadAgain) {
  OpenedTable table(Pages(200));
  for (const uint64_t page : {20U, 21U, 60U, 100U}) {
    ASSERT_TRUE(table.reader->Get({}, PageKey(page), kSequenceMax, nullptr).ok());
  }
  const auto cached = table.storage.TakeReads();
  ReadOptions options;
  options.upper_bound = "y";
  const auto iterator = table.reader->NewIterator(options);
  iterator->SeekToFirst();
  EXPECT_TRUE(ExpectRest(*iterator, table.model.begin(), table.model.end()).ok());
  const auto reads = table.storage.TakeReads();
  EXPECT_EQ(reads.size(), cached.size() + 1);  // the gaps between them
  // Once more: nothing at all.
  iterator->SeekToFirst();
  EXPECT_TRUE(ExpectRest(*iterator, table.model.begin(), table.model.end()).ok());
  EXPECT_TRUE(table.storage.TakeReads().empty());
}

TEST(TableReaderTest, WindowsGrowWhileReadingOn) {
  OpenedTable table(Pages(4000));
  ReadOptions options;
  options.fill_cache = false;
  const auto iterator = table.reader->NewIterator(options);
  iterator->Seek(MakeSeekKey(PageKey(10), kSequenceMax));
  EXPECT_LE(SumBytes(table.storage.TakeReads()), 24576U);  // one block
  std::vector<uint64_t> windows;
  for (; iterator->Valid(); iterator->Next()) {
    const uint64_t bytes = SumBytes(table.storage.TakeReads());
    if (bytes > 0) windows.push_back(bytes);
  }
  ASSERT_TRUE(iterator->status().ok());
  ASSERT_GE(windows.size(), 8U);
  for (size_t i = 1; i + 1 < windows.size(); ++i) {
    EXPECT_GE(windows[i], windows[i - 1] * 9 / 10);
    EXPECT_LE(windows[i], kReadAheadBytesMax + 32768);
  }
  EXPECT_GT(windows[windows.size() - 2], kReadAheadBytesMax * 9 / 10);
  EXPECT_EQ(table.cache.stats().bytes, 0U);
}

TEST(TableReaderTest, CacheOnlyIteratorSaysWouldBlock) {
  OpenedTable table(Pages(40));
  ReadOptions cache_only;
  cache_only.cache_only = true;
  const auto iterator = table.reader->NewIterator(cache_only);
  iterator->SeekToFirst();
  EXPECT_FALSE(iterator->Valid());
  EXPECT_TRUE(iterator->status().Is(io::StatusCode::kWouldBlock));
  // With the first blocks in memory it goes as far as they reach.
  for (const uint64_t page : {0U, 4U, 8U}) {
    ASSERT_TRUE(table.reader->Get({}, PageKey(page), kSequenceMax, nullptr).ok());
  }
  table.storage.TakeReads();
  iterator->SeekToFirst();
  EXPECT_TRUE(ExpectRest(*iterator, table.model.begin(), table.model.end())
                  .Is(io::StatusCode::kWouldBlock));
  EXPECT_TRUE(table.storage.TakeReads().empty());
  ASSERT_TRUE(ExpectRest(
                  *[&] {
                    auto all = table.reader->NewIterator({});
                    all->SeekToFirst();
                    return all;
                  }(),
                  table.model.begin(), table.model.end())
                  .ok());
  iterator->SeekToFirst();
  EXPECT_TRUE(ExpectRest(*iterator, table.model.begin(), table.model.end()).ok());
}

TEST(TableReaderTest, JobIteratorStreamsPastTheCache) {
  OpenedTable table(Pages(3000));
  const uint64_t hits_and_misses = table.cache.stats().hits + table.cache.stats().misses;
  const auto iterator = table.reader->NewJobIterator({});
  iterator->SeekToFirst();
  EXPECT_TRUE(ExpectRest(*iterator, table.model.begin(), table.model.end()).ok());
  const auto reads = table.storage.TakeReads();
  for (const auto& read : reads) EXPECT_LE(read.bytes, size_t{1} << 20);
  EXPECT_LE(reads.size(), 13U);
  EXPECT_LT(SumBytes(reads), table.info.file_bytes * 101 / 100);
  EXPECT_EQ(table.storage.in_flight_max(), JobIterator::kChunkCount);
  EXPECT_EQ(table.cache.stats().hits + table.cache.stats().misses, hits_and_misses);
  EXPECT_EQ(table.cache.stats().bytes, 0U);
}

TEST(TableReaderTest, FarSeekOfAJobIteratorSkipsWhatLiesBetween) {
  OpenedTable table(Pages(10000));  // 40 MiB
  const auto iterator = table.reader->NewJobIterator({});
  iterator->SeekToFirst();
  iterator->Seek(MakeSeekKey(PageKey(9990), kSequenceMax));
  EXPECT_TRUE(
      ExpectRest(*iterator, table.model.lower_bound(Key(PageKey(9990))), table.model.end()).ok());
  EXPECT_LE(SumBytes(table.storage.TakeReads()), 4U << 20);
  // Within what is buffered nothing is read again.
  iterator->Seek(MakeSeekKey(PageKey(9995), kSequenceMax));
  EXPECT_TRUE(
      ExpectRest(*iterator, table.model.lower_bound(Key(PageKey(9995))), table.model.end()).ok());
  EXPECT_TRUE(table.storage.TakeReads().empty());
  // Backwards works, too.
  iterator->Seek(MakeSeekKey(PageKey(5), kSequenceMax));
  ASSERT_TRUE(iterator->Valid());
  EXPECT_EQ(iterator->key(), Key(PageKey(5)));
  iterator->Seek(MakeSeekKey("y", kSequenceMax));
  EXPECT_FALSE(iterator->Valid());
  EXPECT_TRUE(iterator->status().ok());
}

TEST(TableReaderTest, LimiterIsChargedForEveryByteRead) {
  OpenedTable table(Pages(2000));
  io::ManualClock clock(0);
  io::RateLimiter limiter(uint64_t{1} << 40, clock);
  for (int i = 0; i < 100; ++i) clock.AdvanceNs(1'000'000'000);
  const auto iterator = table.reader->NewJobIterator({&limiter});
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
  }
  ASSERT_TRUE(iterator->status().ok());
  EXPECT_EQ(limiter.stats().bytes, SumBytes(table.storage.TakeReads()));
  const uint64_t before = limiter.stats().bytes;
  clock.AdvanceNs(1'000'000'000);
  ASSERT_TRUE(table.reader->Verify(&limiter, io::IoPriority::kScrub).ok());
  EXPECT_NEAR(static_cast<double>(limiter.stats().bytes - before),
              static_cast<double>(SumBytes(table.storage.TakeReads())), 4096);
}

TEST(TableReaderTest, ApproximateBytesFollowTheKeys) {
  OpenedTable table(Pages(1000));
  const uint64_t all = table.reader->ApproximateBytes("", "");
  EXPECT_NEAR(static_cast<double>(all), 1000 * 4096 * 1.01, 60000);
  EXPECT_EQ(table.reader->ApproximateBytes("", "zzz"), all);
  EXPECT_NEAR(static_cast<double>(table.reader->ApproximateBytes(PageKey(250), PageKey(500))),
              250 * 4096 * 1.01, 20000);
  EXPECT_EQ(table.reader->ApproximateBytes(PageKey(500), PageKey(250)), 0U);
  EXPECT_EQ(table.reader->ApproximateBytes("y", ""), 0U);
  EXPECT_EQ(table.reader->ApproximateBytes("", "a"), 0U);
  EXPECT_TRUE(table.storage.TakeReads().empty());
}

TEST(TableReaderTest, TableOfAnotherNumberIsRefused) {
  OpenedTable table(Pages(10));
  table.storage.SetContent(TableName(8), table.content());
  const auto opened = OpenTable(table.storage, 8, &table.cache);
  EXPECT_TRUE(opened.status().Is(io::StatusCode::kCorruption));
}

TEST(TableReaderTest, BlocksThatChangedPlacesAreCaught) {
  OpenedTable table(Pages(40));
  const auto blocks = DataBlocks(table);
  ASSERT_EQ(blocks[2].bytes, blocks[3].bytes);
  const size_t bytes = blocks[2].bytes + kBlockTrailerBytes;
  std::string& content = table.content();
  std::swap_ranges(content.begin() + static_cast<ptrdiff_t>(blocks[2].offset),
                   content.begin() + static_cast<ptrdiff_t>(blocks[2].offset + bytes),
                   content.begin() + static_cast<ptrdiff_t>(blocks[3].offset));
  EXPECT_TRUE(table.reader->Get({}, PageKey(9), kSequenceMax, nullptr)
                  .status()
                  .Is(io::StatusCode::kCorruption));
}

TEST(TableReaderTest, DamageHurtsOnlyTheReadsThatNeedIt) {
  OpenedTable table(Pages(400));
  const auto blocks = DataBlocks(table);
  table.content()[blocks[50].offset + 1234] ^= 0x10;
  int failed = 0;
  for (const auto& [key, value] : table.model) {
    const auto found = table.reader->Get({}, UserKey(key), kSequenceMax, nullptr);
    if (!found.ok()) {
      ++failed;
      EXPECT_TRUE(found.status().Is(io::StatusCode::kCorruption));
      EXPECT_NE(found.status().message().find("000007.sst offset"), std::string::npos)
          << found.status().message();
    } else {
      EXPECT_TRUE(IsRight(table.model, UserKey(key), kSequenceMax, found.value()));
    }
  }
  EXPECT_EQ(failed, 4);
  // An iterator that has read far ahead shows everything in front of the damage, and can go on
  // behind it.
  BlockCache empty(0);
  const auto reader = OpenTable(table.storage, OpenedTable::kNumber, &empty).value();
  ReadOptions options;
  options.upper_bound = "y";
  const auto iterator = reader->NewIterator(options);
  iterator->SeekToFirst();
  uint64_t shown = 0;
  for (; iterator->Valid(); iterator->Next()) ++shown;
  EXPECT_EQ(shown, 200U);
  EXPECT_TRUE(iterator->status().Is(io::StatusCode::kCorruption));
  iterator->Seek(MakeSeekKey(PageKey(204), kSequenceMax));
  EXPECT_TRUE(
      ExpectRest(*iterator, table.model.lower_bound(Key(PageKey(204))), table.model.end()).ok());
  EXPECT_TRUE(reader->Verify(nullptr, io::IoPriority::kScrub).Is(io::StatusCode::kCorruption));
}

TEST(TableReaderTest, MetadataThatRottedSinceOpenIsFoundByVerify) {
  for (const size_t back : {1U, 100U, 4000U, 5000U}) {
    OpenedTable table(Pages(1000));
    std::string& content = table.content();
    content[content.size() - back] ^= 1;
    EXPECT_TRUE(table.reader->Get({}, PageKey(5), kSequenceMax, nullptr).ok());
    EXPECT_TRUE(
        table.reader->Verify(nullptr, io::IoPriority::kScrub).Is(io::StatusCode::kCorruption))
        << back;
  }
}

}  // namespace
}  // namespace terracefs::lsm::table_test
