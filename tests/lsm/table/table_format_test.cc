#include "lsm/table/table_format.h"

#include <gtest/gtest.h>

#include <string>

#include "io/base/crc32c.h"
#include "lsm/table/table_builder.h"
#include "lsm/table/table_index.h"

namespace terracefs::lsm {
namespace {

std::string Key(std::string_view user_key, SequenceNumber sequence = 1) {
  return MakeInternalKey(user_key, sequence, EntryKind::kValue);
}

std::string Stored(std::string_view contents, FileNumber number, uint64_t offset) {
  std::string stored(contents);
  AppendBlockTrailer(&stored, contents, Codec::kPlain, number, offset);
  return stored;
}

bool IsCorruption(const io::Status& status) { return status.Is(io::StatusCode::kCorruption); }

TEST(TableFormatTest, BlockComesBack) {
  for (const Codec codec : {Codec::kPlain, Codec::kZstd}) {
    std::string stored = "contents";
    AppendBlockTrailer(&stored, "contents", codec, 7, 4096);
    EXPECT_EQ(stored.size(), 8 + kBlockTrailerBytes);
    const auto block = CheckBlock(stored, 7, 4096);
    ASSERT_TRUE(block.ok());
    EXPECT_EQ(block.value().bytes, "contents");
    EXPECT_EQ(block.value().codec, codec);
  }
}

TEST(TableFormatTest, EveryFlippedBitOfABlockIsCaught) {
  const std::string stored = Stored("some contents", 7, 4096);
  for (size_t bit = 0; bit < stored.size() * 8; ++bit) {
    std::string damaged = stored;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    EXPECT_TRUE(IsCorruption(CheckBlock(damaged, 7, 4096).status()));
  }
  for (size_t bytes = 0; bytes < stored.size(); ++bytes) {
    EXPECT_TRUE(IsCorruption(CheckBlock(stored.substr(0, bytes), 7, 4096).status()));
  }
}

TEST(TableFormatTest, MisdirectedBlockIsCaught) {
  const std::string stored = Stored("some contents", 7, 4096);
  EXPECT_TRUE(IsCorruption(CheckBlock(stored, 8, 4096).status()));
  EXPECT_TRUE(IsCorruption(CheckBlock(stored, 7, 8192).status()));
  EXPECT_TRUE(IsCorruption(CheckBlock(std::string(4096, '\0'), 7, 4096).status()));
}

TEST(TableFormatTest, UnknownCodecAndPaddingAreRefusedThoughTheirChecksumIsRight) {
  for (const std::string& tag :
       {std::string("\0\0\0\0", 4), std::string("\3\0\0\0", 4), std::string("\1\1\0\0", 4),
        std::string("\1\0\1\0", 4), std::string("\1\0\0\1", 4)}) {
    std::string covered = "contents" + tag;
    std::string stored = covered;
    io::PutFixed64(&covered, 7);
    io::PutFixed64(&covered, 4096);
    io::PutFixed32(&stored, io::Crc32c(io::AsBytes(covered)));
    EXPECT_TRUE(IsCorruption(CheckBlock(stored, 7, 4096).status()));
  }
}

Footer SampleFooter() {
  Footer footer;
  footer.number = 12;
  footer.filter = {10000, 500};
  footer.index = {10508, 1000};
  footer.properties = {11516, 100};
  return footer;
}
constexpr uint64_t kSampleFileBytes = 3 * kTableAlignment;

TEST(TableFormatTest, FooterComesBack) {
  std::string raw;
  SampleFooter().AppendTo(&raw);
  ASSERT_EQ(raw.size(), kFooterBytes);
  const auto footer = Footer::Decode(raw, kSampleFileBytes);
  ASSERT_TRUE(footer.ok()) << footer.status().ToString();
  EXPECT_EQ(footer.value().number, 12U);
  EXPECT_EQ(footer.value().filter, SampleFooter().filter);
  EXPECT_EQ(footer.value().index, SampleFooter().index);
  EXPECT_EQ(footer.value().properties, SampleFooter().properties);
}

TEST(TableFormatTest, EveryFlippedBitOfTheFooterIsCaught) {
  std::string raw;
  SampleFooter().AppendTo(&raw);
  for (size_t bit = 0; bit < raw.size() * 8; ++bit) {
    std::string damaged = raw;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    EXPECT_FALSE(Footer::Decode(damaged, kSampleFileBytes).ok()) << bit;
  }
}

TEST(TableFormatTest, FooterOfAnotherVersionIsNotSupported) {
  std::string raw;
  SampleFooter().AppendTo(&raw);
  for (const uint32_t version : {0U, 1U, kTableVersion + 1}) {
    io::EncodeFixed32(raw.data() + 56, version);
    io::EncodeFixed32(raw.data() + 60,
                      io::Crc32c(io::AsBytes(std::string_view(raw).substr(0, 60))));
    const io::Status status = Footer::Decode(raw, kSampleFileBytes).status();
    EXPECT_TRUE(status.Is(io::StatusCode::kNotSupported)) << status.ToString();
    EXPECT_NE(status.ToString().find("table version " + std::to_string(version)),
              std::string::npos);
  }
}

TEST(TableFormatTest, FooterThatDoesNotFitItsFileIsRefused) {
  const auto refused = [](const Footer& footer, uint64_t file_bytes) {
    std::string raw;
    footer.AppendTo(&raw);
    return IsCorruption(Footer::Decode(raw, file_bytes).status());
  };
  EXPECT_TRUE(refused(SampleFooter(), 2 * kTableAlignment));  // blocks beyond the end
  EXPECT_TRUE(refused(SampleFooter(), 4 * kTableAlignment));  // too much padding
  EXPECT_TRUE(refused(SampleFooter(), kFooterBytes));
  constexpr uint64_t kHuge[] = {~uint64_t{0}, ~uint64_t{0} - 7, uint64_t{1} << 63, 20000};
  for (const uint64_t huge : kHuge) {
    for (int field = 0; field < 6; ++field) {
      Footer footer = SampleFooter();
      uint64_t* const fields[] = {&footer.filter.offset,     &footer.filter.bytes,
                                  &footer.index.offset,      &footer.index.bytes,
                                  &footer.properties.offset, &footer.properties.bytes};
      *fields[field] = huge;
      EXPECT_TRUE(refused(footer, kSampleFileBytes)) << field;
    }
  }
  Footer gap = SampleFooter();
  ++gap.properties.offset;
  EXPECT_TRUE(refused(gap, kSampleFileBytes));
  Footer no_filter = SampleFooter();
  no_filter.filter = {10508, 0};
  EXPECT_FALSE(refused(no_filter, kSampleFileBytes));
}

TEST(TableFormatTest, PropertiesComeBackOrAreRefused) {
  TableInfo info;
  info.entry_count = 5;
  info.tombstone_count = 2;
  info.oldest_tombstone_seconds = 1234567;
  info.hidden_count = 4;
  info.tombstone_block_bytes = 77;
  info.raw_bytes = 999;
  info.smallest = Key("a");
  info.largest = Key("b");
  info.smallest_sequence = 3;
  info.largest_sequence = kSequenceMax;
  const std::string encoded = EncodeProperties(info);
  const auto back = DecodeProperties(encoded);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(EncodeProperties(back.value()), encoded);
  EXPECT_EQ(back->hidden_count, 4U);
  EXPECT_EQ(back->tombstone_block_bytes, 77U);
  for (size_t bytes = 0; bytes < encoded.size(); ++bytes) {
    EXPECT_TRUE(IsCorruption(DecodeProperties(encoded.substr(0, bytes)).status()));
  }
  EXPECT_TRUE(IsCorruption(DecodeProperties(encoded + "x").status()));
  for (const auto& spoil :
       {+[](TableInfo* i) { i->smallest = "short"; }, +[](TableInfo* i) { i->largest = ""; },
        +[](TableInfo* i) { std::swap(i->smallest, i->largest); },
        +[](TableInfo* i) { i->entry_count = 0; }, +[](TableInfo* i) { i->tombstone_count = 6; },
        +[](TableInfo* i) { i->hidden_count = 5; },
        +[](TableInfo* i) { i->largest_sequence = kSequenceMax + 1; },
        +[](TableInfo* i) { i->largest_sequence = 2; }}) {
    TableInfo spoiled = info;
    spoil(&spoiled);
    EXPECT_TRUE(IsCorruption(DecodeProperties(EncodeProperties(spoiled)).status()));
  }
}

TEST(TableFormatTest, TombstoneAlwaysHasATime) {
  std::string value;
  io::PutFixed64(&value, 1700000000);
  EXPECT_EQ(TombstoneSeconds(value), 1700000000);
  EXPECT_EQ(TombstoneSeconds(""), 1);
  EXPECT_EQ(TombstoneSeconds(std::string(8, '\0')), 1);
  EXPECT_EQ(TombstoneSeconds(std::string(8, '\xff')), 1);
}

TEST(TableIndexTest, FindsTheBlockOfAKey) {
  TableIndexBuilder builder;
  uint64_t data_bytes = 0;
  for (const std::string_view user_key : {"b", "d", "f"}) {
    builder.Add(Key(user_key, 5), 100);
    data_bytes += 100 + kBlockTrailerBytes;
  }
  const auto decoded = TableIndex::Decode(builder.Finish(), data_bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  const TableIndex& index = decoded.value();
  ASSERT_EQ(index.block_count(), 3U);
  EXPECT_EQ(index.handle(0), (BlockHandle{0, 100}));
  EXPECT_EQ(index.handle(2), (BlockHandle{216, 100}));
  EXPECT_EQ(index.last_key(1), Key("d", 5));
  EXPECT_EQ(index.FindBlock(MakeSeekKey("a", kSequenceMax)), 0U);
  EXPECT_EQ(index.FindBlock(MakeSeekKey("b", kSequenceMax)), 0U);
  EXPECT_EQ(index.FindBlock(MakeSeekKey("b", 5)), 0U);
  EXPECT_EQ(index.FindBlock(MakeSeekKey("b", 4)), 1U);  // older versions follow
  EXPECT_EQ(index.FindBlock(MakeSeekKey("f", 5)), 2U);
  EXPECT_EQ(index.FindBlock(MakeSeekKey("f", 4)), 3U);
  EXPECT_EQ(index.FindUserKey("b"), 0U);
  EXPECT_EQ(index.FindUserKey("c"), 1U);
  EXPECT_EQ(index.FindUserKey("g"), 3U);
}

TEST(TableIndexTest, WhatDoesNotTileTheFileIsRefused) {
  const auto decode = [](auto add, uint64_t data_bytes) {
    TableIndexBuilder builder;
    add(&builder);
    return TableIndex::Decode(builder.Finish(), data_bytes).status();
  };
  const auto two = [](TableIndexBuilder* b) {
    b->Add(Key("a"), 100);
    b->Add(Key("b"), 100);
  };
  EXPECT_TRUE(decode(two, 216).ok());
  EXPECT_TRUE(IsCorruption(decode(two, 215)));
  EXPECT_TRUE(IsCorruption(decode(two, 217)));
  EXPECT_TRUE(IsCorruption(decode([](TableIndexBuilder*) {}, 0)));
  EXPECT_TRUE(IsCorruption(decode([](TableIndexBuilder* b) { b->Add("short", 100); }, 108)));
  EXPECT_TRUE(IsCorruption(decode([](TableIndexBuilder* b) { b->Add(Key("a"), 0); }, 8)));
  EXPECT_TRUE(
      IsCorruption(decode([](TableIndexBuilder* b) { b->Add(Key("a"), ~uint64_t{0} - 7); }, 0)));
  EXPECT_TRUE(IsCorruption(decode(
      [](TableIndexBuilder* b) {
        b->Add(Key("b"), 100);
        b->Add(Key("a"), 100);
      },
      216)));
  TableIndexBuilder builder;
  two(&builder);
  std::string contents = builder.Finish();
  for (size_t bytes = 0; bytes < contents.size(); ++bytes) {
    EXPECT_TRUE(IsCorruption(TableIndex::Decode(contents.substr(0, bytes), 216).status()));
  }
  EXPECT_TRUE(IsCorruption(TableIndex::Decode(contents + "x", 216).status()));
  io::EncodeFixed32(contents.data(), 0xffffffff);  // must not allocate for that many
  EXPECT_TRUE(IsCorruption(TableIndex::Decode(contents, 216).status()));
}

}  // namespace
}  // namespace terracefs::lsm
