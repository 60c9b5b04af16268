#include "lsm/table/table_builder.h"

#include <gtest/gtest.h>

#include <string>

#include "lsm/table/table_format.h"
#include "tests/lsm/table/table_fixture.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm::table_test {
namespace {

TableBuilder MakeBuilder(MemoryStorage& storage, const TableOptions& options = {}) {
  io::OpenOptions open;
  open.write = open.create = open.direct = true;
  auto file = storage.Open(TableName(1), open);
  CHECK(file.ok());
  return TableBuilder(std::move(file).value(), options, nullptr, io::IoPriority::kFlush);
}

TEST(TableBuilderTest, InfoSaysWhatWentIn) {
  std::string time_1000;
  std::string time_2000;
  io::PutFixed64(&time_1000, 1000);
  io::PutFixed64(&time_2000, 2000);
  Model model;
  model[Key("a", 9)] = "newer";
  model[Key("a", 3)] = "older";
  model[Key("b", 5, EntryKind::kDelete)] = time_2000;
  model[Key("c", 4, EntryKind::kDelete)] = time_1000;
  const std::string reference = ReferenceValue(12, 300);
  model[Key("d", 7, EntryKind::kReference)] = reference;
  OpenedTable table(model);
  for (const TableInfo& info : {table.info, table.reader->info()}) {
    EXPECT_EQ(info.entry_count, 5U);
    EXPECT_EQ(info.tombstone_count, 2U);
    EXPECT_EQ(info.oldest_tombstone_seconds, 1000);
    EXPECT_EQ(info.hidden_count, 1U);
    EXPECT_EQ(info.tombstone_block_bytes, 0U) << "two of five";
    EXPECT_EQ(info.raw_bytes, 5 * 9 + 5 + 5 + 8 + 8 + reference.size());
    EXPECT_EQ(info.smallest, Key("a", 9));
    EXPECT_EQ(info.largest, Key("d", 7, EntryKind::kReference));
    EXPECT_EQ(info.smallest_sequence, 3U);
    EXPECT_EQ(info.largest_sequence, 9U);
    EXPECT_EQ(info.file_bytes, table.content().size());
  }
}

TEST(TableBuilderTest, UsesOfValueFilesAreCounted) {
  Model model;
  model[Key("a", 5, EntryKind::kReference)] = ReferenceValue(12, 300);
  model[Key("a", 4, EntryKind::kReference)] = ReferenceValue(12, 301);  // hidden, counts as well
  model[Key("b", 5)] = "inline";
  model[Key("c", 5, EntryKind::kReference)] = ReferenceValue(12, 302);
  model[Key("d", 5, EntryKind::kReference)] = ReferenceValue(7, 303);
  model[Key("e", 5, EntryKind::kReference)] = ReferenceValue(12, 10, true);
  OpenedTable table(model);
  for (const TableInfo& info : {table.info, table.reader->info()}) {
    EXPECT_EQ(info.value_pages, 5U);
    EXPECT_EQ(info.value_runs, 3U) << "300 to 302, 303 of another file, 10";
    EXPECT_EQ(info.value_uses, (std::vector<ValueUse>{{7, 4096, 304}, {12, 3 * 4096 + 2048, 303}}));
  }
}

TEST(TableBuilderTest, BadReferencesAreRefused) {
  MemoryStorage storage;
  TableBuilder builder = MakeBuilder(storage);
  const io::Status status = builder.Add(Key("d", 7, EntryKind::kReference), "reference");
  EXPECT_TRUE(status.Is(io::StatusCode::kCorruption)) << status.ToString();
}

// Those through which a scan walks without finding anything.
TEST(TableBuilderTest, BlocksOfTombstonesAreCounted) {
  const auto bytes_of = [](uint64_t every) {
    Model model;
    std::string time;
    io::PutFixed64(&time, 1000);
    for (uint64_t i = 0; i < 2000; ++i) {
      const bool deletion = i >= 1000 && i % every == 0;
      model[Key(PageKey(i), 1, deletion ? EntryKind::kDelete : EntryKind::kValue)] = time;
    }
    TableOptions options;
    options.block_bytes = 512;
    OpenedTable table(model, options);
    EXPECT_EQ(table.info.tombstone_block_bytes, table.reader->info().tombstone_block_bytes);
    return static_cast<double>(table.info.tombstone_block_bytes) /
           static_cast<double>(table.info.file_bytes);
  };
  EXPECT_GT(bytes_of(1), 0.4) << "all of the second half";
  EXPECT_LT(bytes_of(1), 0.55);
  EXPECT_GT(bytes_of(2), 0.2) << "every other one: at least every other block";
  EXPECT_DOUBLE_EQ(bytes_of(3), 0) << "a third is no half of any block";
}

TEST(TableBuilderTest, EstimateIsCloseToTheFile) {
  for (const int zstd_level : {0, 1}) {
    MemoryStorage storage;
    TableOptions options;
    options.zstd_level = zstd_level;
    TableBuilder builder = MakeBuilder(storage, options);
    for (const auto& [key, value] : Pages(500)) {
      const uint64_t before = builder.EstimatedFileBytes();
      ASSERT_TRUE(builder.Add(key, value).ok());
      if (zstd_level == 0) {
        EXPECT_GT(builder.EstimatedFileBytes(), before);
      }
    }
    EXPECT_EQ(builder.entry_count(), 500U);
    const auto estimate = static_cast<double>(builder.EstimatedFileBytes());
    const auto info = builder.Finish();
    ASSERT_TRUE(info.ok());
    EXPECT_NEAR(estimate, static_cast<double>(info.value().file_bytes), 20000);
  }
}

TEST(TableBuilderTest, OutOfOrderKeyIsABugOfOurs) {
  const auto add_two = [](const std::string& first, const std::string& second) {
    MemoryStorage storage;
    TableBuilder builder = MakeBuilder(storage);
    builder.Add(first, "").IgnoreError("not what is tested");
    builder.Add(second, "").IgnoreError("not what is tested");
  };
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(add_two(Key("b"), Key("a")), "check failed");
  EXPECT_DEATH(add_two(Key("a", 3), Key("a", 3)), "check failed");
  EXPECT_DEATH(add_two(Key("a", 3), Key("a", 4)), "check failed");
  add_two(Key("a", 4), Key("a", 3));
}

TEST(TableBuilderTest, WhatReadersWouldCallCorruptIsNotWritten) {
  struct Case {
    std::string key;
    size_t value_bytes;
    io::StatusCode code;
  };
  const Case cases[] = {
      {"short", 0, io::StatusCode::kCorruption},
      {"", 0, io::StatusCode::kCorruption},
      {Key("z", 1, EntryKind::kDropRange), 0, io::StatusCode::kCorruption},
      {Key("z", 1, static_cast<EntryKind>(0)), 0, io::StatusCode::kCorruption},
      {Key(std::string(kTableKeyBytesMax, 'z')), 0, io::StatusCode::kInvalidArgument},
      {Key("z"), kTableValueBytesMax + 1, io::StatusCode::kInvalidArgument},
  };
  for (const Case& c : cases) {
    MemoryStorage storage;
    TableBuilder builder = MakeBuilder(storage);
    ASSERT_TRUE(builder.Add(Key("a"), "value").ok());
    EXPECT_TRUE(builder.Add(c.key, std::string(c.value_bytes, 'v')).Is(c.code));
    EXPECT_TRUE(builder.Add(Key("zz"), "value").Is(c.code));  // kept
    EXPECT_TRUE(builder.Finish().status().Is(c.code));
  }
}

TEST(TableBuilderTest, TableWithoutEntriesIsRefused) {
  MemoryStorage storage;
  TableBuilder builder = MakeBuilder(storage);
  EXPECT_TRUE(builder.Finish().status().Is(io::StatusCode::kInvalidArgument));
}

TEST(TableBuilderTest, AbandonedTableIsNoTable) {
  MemoryStorage storage;
  {
    TableBuilder builder = MakeBuilder(storage);
    for (const auto& [key, value] : Pages(1000)) ASSERT_TRUE(builder.Add(key, value).ok());
  }
  BlockCache cache(1 << 20);
  EXPECT_FALSE(OpenTable(storage, 1, &cache).ok());
}

TEST(TableBuilderTest, LargeEntryGetsABlockOfItsOwn) {
  Model model;
  for (int i = 0; i < 40; ++i) model[Key("k" + std::to_string(100 + i))] = std::string(100, 'v');
  model[Key("k120x")] = std::string(200000, 'L');
  OpenedTable table(model);
  const auto found = table.reader->Get({}, "k105", kSequenceMax, nullptr);
  ASSERT_TRUE(found.ok());
  ASSERT_TRUE(found.value().has_value());
  EXPECT_LT(SumBytes(table.storage.TakeReads()), 20000U);
  EXPECT_TRUE(table.reader->Verify(nullptr, io::IoPriority::kScrub).ok());
}

TEST(TableBuilderTest, EveryFailedWriteIsReported) {
  const Model model = Pages(1500);  // six buffers of the writer
  int injected = 0;
  for (int request = 0;; ++request) {
    MemoryStorage storage;
    storage.FailRequest(request);
    const auto written = WriteTable(storage, 1, model);
    if (storage.injected_count() == 0) {
      EXPECT_TRUE(written.ok());
      break;
    }
    ++injected;
    EXPECT_TRUE(written.status().Is(io::StatusCode::kIoError)) << request;
  }
  EXPECT_GE(injected, 7);
}

TEST(TableBuilderTest, CompressesWhatShrinks) {
  Model text;
  for (uint64_t page = 0; page < 100; ++page) text[Key(PageKey(page))] = std::string(4096, 't');
  TableOptions options;
  const uint64_t plain = OpenedTable(text, options).info.file_bytes;
  options.zstd_level = 1;
  EXPECT_LT(OpenedTable(text, options).info.file_bytes, plain / 10);
  EXPECT_EQ(OpenedTable(Pages(100), options).info.file_bytes,
            OpenedTable(Pages(100)).info.file_bytes);
}

TEST(TableBuilderTest, FinishedTableSurvivesAPowerCut) {
  testing::SimStorage storage;
  const Model model = Pages(300);
  ASSERT_TRUE(WriteTable(storage, 1, model).ok());
  ASSERT_TRUE(storage.SyncDirectory().ok());
  const auto after = storage.CrashClone(1, testing::CrashMode::kLoseAllUnsynced);
  BlockCache cache(1 << 20);
  const auto table = OpenTable(*after, 1, &cache);
  ASSERT_TRUE(table.ok()) << table.status().ToString();
  EXPECT_TRUE(table.value()->Verify(nullptr, io::IoPriority::kScrub).ok());
}

// The example of lsm/FORMAT.md. If this fails, the format has changed: version, FORMAT.md and the
// reading of old tables have to change with it.
TEST(TableBuilderTest, BytesAreAsInTheFormatDescription) {
  constexpr std::pair<size_t, std::string_view> kRows[] = {
      {0x0000, "00 0b 03 64 69 72 02 07 00 00 00 00 00 00 6f 6e"},
      {0x0010, "65 03 09 08 74 01 06 00 00 00 00 00 00 00 f1 53"},
      {0x0020, "65 00 00 00 00 00 00 00 00 01 00 00 00 01 00 00"},
      {0x0030, "00 a8 fa 85 ba 00 00 00 00 00 00 00 00 00 04 00"},
      {0x0040, "02 00 00 00 00 00 80 00 00 00 04 00 00 00 00 00"},
      {0x0050, "01 00 00 00 00 00 00 00 00 00 00 00 00 40 10 00"},
      {0x0060, "00 80 00 00 00 00 08 00 20 00 00 00 10 01 40 00"},
      {0x0090, "00 00 00 00 00 07 00 00 00 01 00 00 00 01 00 00"},
      {0x00a0, "00 27 60 ba 8e 01 00 00 00 0c 64 69 72 74 01 06"},
      {0x00b0, "00 00 00 00 00 00 2d 01 00 00 00 20 49 e3 d7 02"},
      {0x00c0, "00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00"},
      {0x00d0, "f1 53 65 00 00 00 00 00 00 00 00 00 00 00 00 2d"},
      {0x00e0, "00 00 00 00 00 00 00 22 00 00 00 00 00 00 00 06"},
      {0x00f0, "00 00 00 00 00 00 00 07 00 00 00 00 00 00 00 0b"},
      {0x0100, "64 69 72 02 07 00 00 00 00 00 00 0c 64 69 72 74"},
      {0x0110, "01 06 00 00 00 00 00 00 00 00 00 01 00 00 00 d5"},
      {0x0120, "15 43 bd 00 00 00 00 00 00 00 00 00 00 00 00 00"},
      {0x0fb0, "00 00 00 00 00 00 00 00 35 00 00 00 00 00 00 00"},
      {0x0fc0, "68 00 00 00 00 00 00 00 a5 00 00 00 00 00 00 00"},
      {0x0fd0, "12 00 00 00 00 00 00 00 bf 00 00 00 00 00 00 00"},
      {0x0fe0, "5c 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00"},
      {0x0ff0, "03 00 00 00 0d 74 8e ee 74 72 66 74 61 62 6c 65"},
  };
  std::string expected(4096, '\0');
  for (const auto& [offset, row] : kRows) {
    for (size_t i = 0; i < 16; ++i) {
      expected[offset + i] =
          static_cast<char>(std::stoi(std::string(row.substr(i * 3, 2)), nullptr, 16));
    }
  }
  std::string time;
  io::PutFixed64(&time, 1700000000);
  Model model;
  model[Key("dir", 7)] = "one";
  model[Key("dirt", 6, EntryKind::kDelete)] = time;
  MemoryStorage storage;
  ASSERT_TRUE(WriteTable(storage, 1, model).ok());
  EXPECT_TRUE(storage.content(TableName(1)) == expected);

  storage.SetContent(TableName(1), expected);
  BlockCache cache(1 << 20);
  const auto table = OpenTable(storage, 1, &cache);
  ASSERT_TRUE(table.ok());
  EXPECT_TRUE(table.value()->Verify(nullptr, io::IoPriority::kScrub).ok());
}

}  // namespace
}  // namespace terracefs::lsm::table_test
