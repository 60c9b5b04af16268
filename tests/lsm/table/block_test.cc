#include "lsm/table/block.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "io/base/random.h"
#include "lsm/table/block_builder.h"

namespace terracefs::lsm {
namespace {

std::string Key(std::string_view user_key, SequenceNumber sequence = 1) {
  return MakeInternalKey(user_key, sequence, EntryKind::kValue);
}

std::string Number(int i) {
  char text[16];
  std::snprintf(text, sizeof text, "key%06d", i);
  return text;
}

std::string BuildBlock(const std::vector<std::pair<std::string, std::string>>& entries) {
  BlockBuilder builder;
  for (const auto& [key, value] : entries) builder.Add(key, value);
  return std::string(builder.Finish());
}

std::shared_ptr<const Block> Open(std::string contents) {
  auto block = Block::FromString(std::move(contents));
  EXPECT_TRUE(block.ok()) << block.status().ToString();
  return block.ok() ? block.value() : nullptr;
}

// Small values, so that restarts are sparse; every third key has several versions.
std::vector<std::pair<std::string, std::string>> SampleEntries(int count, size_t value_bytes) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (int i = 0; i < count; ++i) {
    const int versions = i % 3 == 0 ? 3 : 1;
    for (int version = versions; version > 0; --version) {
      entries.emplace_back(Key(Number(i * 2), static_cast<SequenceNumber>(version)),
                           std::string(value_bytes, static_cast<char>('a' + i % 26)));
    }
  }
  return entries;
}

TEST(BlockTest, EntriesComeBackInOrder) {
  for (const size_t value_bytes : {0U, 1U, 100U, 127U, 128U, 4096U}) {
    const auto entries = SampleEntries(100, value_bytes);
    const auto block = Open(BuildBlock(entries));
    Block::Cursor cursor(*block);
    EXPECT_FALSE(cursor.Valid());
    cursor.SeekToFirst();
    for (const auto& [key, value] : entries) {
      ASSERT_TRUE(cursor.Valid());
      EXPECT_EQ(cursor.key(), key);
      EXPECT_EQ(cursor.value(), value);
      cursor.Next();
    }
    EXPECT_FALSE(cursor.Valid());
    EXPECT_TRUE(cursor.status().ok());
  }
}

TEST(BlockTest, SeekFindsTheFirstEntryAtOrAfterTheTarget) {
  const auto entries = SampleEntries(100, 30);
  const auto block = Open(BuildBlock(entries));
  Block::Cursor cursor(*block);
  for (int i = -1; i < 202; ++i) {
    for (const SequenceNumber sequence : {SequenceNumber{0}, SequenceNumber{2}, kSequenceMax}) {
      const std::string target = MakeSeekKey(i < 0 ? "" : Number(i), sequence);
      size_t expected = 0;
      while (expected < entries.size() && CompareInternal(entries[expected].first, target) < 0) {
        ++expected;
      }
      cursor.Seek(target);
      ASSERT_TRUE(cursor.status().ok());
      ASSERT_EQ(cursor.Valid(), expected < entries.size());
      if (cursor.Valid()) {
        EXPECT_EQ(cursor.key(), entries[expected].first);
        EXPECT_EQ(cursor.value(), entries[expected].second);
      }
    }
  }
}

TEST(BlockTest, PagesAreRestartsAndSmallEntriesShareThem) {
  const std::string pages = BuildBlock(SampleEntries(4, 4096));
  EXPECT_EQ(io::DecodeFixed32(pages.data() + pages.size() - 4), 8U);  // two of four have 3 versions
  const auto entries = SampleEntries(96, 10);
  const std::string small = BuildBlock(entries);
  EXPECT_EQ(io::DecodeFixed32(small.data() + small.size() - 4), (entries.size() + 15) / 16);
}

TEST(BlockTest, ChargesWhatItPins) {
  const std::string contents = BuildBlock(SampleEntries(10, 100));
  const auto owned = Open(contents);
  EXPECT_GE(owned->memory_bytes(), contents.size());
  EXPECT_LT(owned->memory_bytes(), contents.size() + 1024);
  io::AlignedBuffer buffer(1 << 20);
  std::memcpy(buffer.data() + 5000, contents.data(), contents.size());
  const auto kept = Block::FromBuffer(std::move(buffer), 5000, contents.size());
  ASSERT_TRUE(kept.ok());
  EXPECT_GE(kept.value()->memory_bytes(), size_t{1} << 20);
  EXPECT_EQ(kept.value()->contents(), contents);
}

TEST(BlockTest, RestartArrayThatDoesNotFitIsRefused) {
  for (size_t bytes = 0; bytes < 4; ++bytes) {
    EXPECT_FALSE(Block::FromString(std::string(bytes, '\0')).ok());
  }
  EXPECT_FALSE(Block::FromString(std::string(4, '\0')).ok());  // no restart
  std::string contents = BuildBlock(SampleEntries(10, 10));
  for (const uint32_t count : {0U, 1000U, 0x40000000U, 0xffffffffU}) {
    io::EncodeFixed32(contents.data() + contents.size() - 4, count);
    EXPECT_TRUE(Block::FromString(contents).status().Is(io::StatusCode::kCorruption)) << count;
  }
}

TEST(BlockTest, KeyWithoutTrailerIsCorruption) {
  BlockBuilder builder;
  builder.Add("short", "value");
  const auto block = Open(std::string(builder.Finish()));
  Block::Cursor cursor(*block);
  cursor.SeekToFirst();
  EXPECT_FALSE(cursor.Valid());
  EXPECT_TRUE(cursor.status().Is(io::StatusCode::kCorruption));
  cursor.Seek(MakeSeekKey("a", 1));
  EXPECT_FALSE(cursor.Valid());
  EXPECT_TRUE(cursor.status().Is(io::StatusCode::kCorruption));
}

TEST(BlockTest, CursorWithoutBlockIsAtItsEnd) {
  Block::Cursor cursor;
  cursor.SeekToFirst();
  EXPECT_FALSE(cursor.Valid());
  cursor.Seek(MakeSeekKey("a", 1));
  EXPECT_FALSE(cursor.Valid());
  EXPECT_TRUE(cursor.status().ok());
}

// Walks and searches whatever it is given. Nothing but crashes, endless loops and reads out of
// range (the sanitizers') can go wrong.
void Exercise(std::string contents) {
  const size_t bytes = contents.size();
  // A copy on the heap of exactly this length, so that the sanitizer sees the first byte too many.
  const std::unique_ptr<char[]> exact(new char[bytes]);
  std::memcpy(exact.get(), contents.data(), bytes);
  const auto block = Block::FromBorrowed({exact.get(), bytes});
  if (!block.ok()) return;
  Block::Cursor cursor(*block.value());
  size_t steps = 0;
  for (cursor.SeekToFirst(); cursor.Valid(); cursor.Next()) {
    ASSERT_GE(cursor.key().size(), kKeyTrailerBytes);
    ASSERT_LE(++steps, bytes);
  }
  for (const int i : {0, 7, 20, 1000}) {
    cursor.Seek(MakeSeekKey(Number(i), 1));
    if (cursor.Valid()) cursor.Next();
  }
}

TEST(BlockTest, DamagedContentsNeverReachOutOfRange) {
  const std::string contents = BuildBlock(SampleEntries(20, 12));
  for (size_t i = 0; i < contents.size(); ++i) {
    for (const int mask : {0x01, 0x80, 0xff, 0x7f}) {
      std::string damaged = contents;
      damaged[i] = static_cast<char>(damaged[i] ^ mask);
      Exercise(std::move(damaged));
    }
    Exercise(contents.substr(0, i));
    Exercise(contents.substr(i));
  }
  io::Random random(20);
  for (int round = 0; round < 20000; ++round) {
    std::string garbage(random.Uniform(80), '\0');
    for (char& byte : garbage) byte = static_cast<char>(random.Uniform(random.OneIn(2) ? 4 : 256));
    Exercise(std::move(garbage));
  }
}

}  // namespace
}  // namespace terracefs::lsm
