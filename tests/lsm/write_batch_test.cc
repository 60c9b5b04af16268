#include "lsm/write_batch.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "io/base/random.h"

namespace terracefs::lsm {
namespace {

struct Seen {
  EntryKind kind;
  std::string key;
  std::string value;
  bool operator==(const Seen&) const = default;
};

// What ForEach shows of a representation, and what it says in the end.
std::pair<std::vector<Seen>, io::Status> Walk(std::string_view representation, uint32_t count) {
  std::vector<Seen> seen;
  io::Status status = WriteBatch::ForEach(
      representation, count, [&seen](EntryKind kind, std::string_view key, std::string_view value) {
        seen.push_back({kind, std::string(key), std::string(value)});
      });
  return {std::move(seen), std::move(status)};
}

WriteBatch OneOfEach() {
  WriteBatch batch;
  batch.Put("apple", "red");
  batch.Put("pear", "gre", "en");
  batch.Delete("fig");
  batch.DropRange("k1", "k2");
  batch.AddCounter(3, -2);
  return batch;
}

TEST(WriteBatchTest, ShowsItsEntriesInOrder) {
  const WriteBatch batch = OneOfEach();
  const auto [seen, status] = Walk(batch.representation(), batch.count());
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(batch.count(), 5u);
  EXPECT_EQ(batch.bytes(), batch.representation().size());
  const std::vector<Seen> expected = {
      {EntryKind::kValue, "apple", "red"},
      {EntryKind::kValue, "pear", "green"},
      {EntryKind::kDelete, "fig", ""},
      {EntryKind::kDropRange, "k1", "k2"},
      {EntryKind::kCounter, "\x03", "\xfe" + std::string(7, '\xff')}};
  EXPECT_EQ(seen, expected);
}

TEST(WriteBatchTest, RepresentationIsAsDescribed) {
  WriteBatch batch;
  batch.Put("k", "vw");
  batch.Delete("d");
  EXPECT_EQ(batch.representation(), std::string("\x02\x01k\x02vw\x01\x01"
                                                "d\x00",
                                                10));
}

TEST(WriteBatchTest, KeysAndValuesMayHoldAnyBytesAndBeEmpty) {
  const std::string zeros(3, '\0');
  const std::string large(300'000, '\xff');
  WriteBatch batch;
  batch.Put("", "");
  batch.Put(zeros, large);
  batch.Put("h", "", "tail");
  batch.Delete("");
  const auto [seen, status] = Walk(batch.representation(), batch.count());
  ASSERT_TRUE(status.ok()) << status.ToString();
  const std::vector<Seen> expected = {{EntryKind::kValue, "", ""},
                                      {EntryKind::kValue, zeros, large},
                                      {EntryKind::kValue, "h", "tail"},
                                      {EntryKind::kDelete, "", ""}};
  EXPECT_EQ(seen, expected);
}

TEST(WriteBatchTest, GivesItsBytesAway) {
  WriteBatch batch = OneOfEach();
  const std::string bytes = batch.representation();
  EXPECT_EQ(batch.TakeRepresentation(), bytes);
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.bytes(), 0u);
  batch.Put("again", "usable");
  EXPECT_TRUE(Walk(batch.representation(), 1).second.ok());
}

TEST(WriteBatchTest, ClearEmptiesIt) {
  WriteBatch batch = OneOfEach();
  batch.Clear();
  EXPECT_TRUE(batch.empty());
  EXPECT_TRUE(Walk(batch.representation(), 0).second.ok());
}

TEST(WriteBatchTest, WrongCountIsCorruption) {
  const WriteBatch batch = OneOfEach();
  for (const uint32_t count : {0u, 4u, 6u, UINT32_MAX}) {
    EXPECT_TRUE(Walk(batch.representation(), count).second.Is(io::StatusCode::kCorruption))
        << count;
  }
  EXPECT_TRUE(Walk("", 1).second.Is(io::StatusCode::kCorruption));
}

TEST(WriteBatchTest, EveryCutIsCorruption) {
  const WriteBatch batch = OneOfEach();
  const std::string_view whole = batch.representation();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_TRUE(Walk(whole.substr(0, bytes), batch.count()).second.Is(io::StatusCode::kCorruption))
        << bytes;
  }
}

TEST(WriteBatchTest, UnknownKindsAreCorruption) {
  for (int kind = 0; kind < 256; ++kind) {
    const std::string raw = std::string(1, static_cast<char>(kind)) + std::string("\x01k\x00", 3);
    const bool known = kind >= 1 && kind <= 4 && kind != static_cast<int>(EntryKind::kReference);
    EXPECT_EQ(Walk(raw, 1).second.ok(), known) << kind;
  }
}

TEST(WriteBatchTest, PagesBecomeValuesOrReferences) {
  const std::string page(kValuePageBytes, 'p');
  ValueReference reference;
  reference.file = 12;
  reference.page = 300;
  std::string encoded;
  reference.AppendTo(&encoded);
  for (const bool inline_pages : {false, true}) {
    WriteBatch batch;
    batch.PutPage("k", page);
    batch.Put("a", "1");
    EXPECT_EQ(batch.page_count(), 1U);
    EXPECT_EQ(batch.count(), 1U);
    if (inline_pages) {
      batch.PutPagesInline();
    } else {
      batch.PutPagesAsReferences(std::vector<ValueReference>{reference});
    }
    EXPECT_EQ(batch.page_count(), 0U);
    WriteBatch expected;
    expected.Put("a", "1");
    std::string representation = expected.representation();
    if (inline_pages) {
      expected.Put("k", page);
      representation = expected.representation();
    } else {
      representation += std::string("\x03\x01k", 3) + static_cast<char>(encoded.size()) + encoded;
    }
    EXPECT_EQ(batch.representation(), representation);
    EXPECT_EQ(batch.count(), 2U);
    EXPECT_TRUE(Walk(representation, 2).second.ok());
  }
}

TEST(WriteBatchTest, BadReferencesAreCorruption) {
  EXPECT_TRUE(
      Walk(std::string("\x03\x01k\x02\x01\x0c", 6), 1).second.Is(io::StatusCode::kCorruption));
}

TEST(WriteBatchTest, DeletionWithAValueIsCorruption) {
  EXPECT_TRUE(Walk("\x01\x01k\x01v", 1).second.Is(io::StatusCode::kCorruption));
}

TEST(WriteBatchTest, MalformedCountersAreCorruption) {
  const std::string eight(8, 'd');
  EXPECT_TRUE(Walk("\x05\x01\x07\x08" + eight, 1).second.ok());
  EXPECT_FALSE(Walk("\x05\x01\x08\x08" + eight, 1).second.ok());      // no such counter
  EXPECT_FALSE(Walk("\x05\x02\x07\x07\x08" + eight, 1).second.ok());  // id of two bytes
  EXPECT_FALSE(Walk("\x05\x01\x07\x07" + eight.substr(1), 1).second.ok());
  EXPECT_FALSE(Walk("\x05\x01\x07\x09" + eight + "d", 1).second.ok());
}

TEST(WriteBatchTest, HostileLengthsAreCorruption) {
  const std::string huge = "\xff\xff\xff\xff\x0f";      // 2^32 - 1
  const std::string too_wide = "\xff\xff\xff\xff\x7f";  // does not fit 32 bits
  const std::string endless(20, '\xff');
  for (const std::string& length : {huge, too_wide, endless}) {
    EXPECT_FALSE(Walk("\x02" + length + "key", 1).second.ok());
    EXPECT_FALSE(Walk("\x02\x01k" + length + "value", 1).second.ok());
  }
}

TEST(WriteBatchTest, RandomBytesAreNeverReadOutOfRange) {
  io::Random random(42);
  for (int round = 0; round < 20'000; ++round) {
    // An exact heap block, so that the address sanitizer sees the first byte too many.
    std::vector<char> raw(random.Uniform(40));
    for (char& byte : raw) byte = static_cast<char>(random.Uniform(random.OneIn(3) ? 256 : 6));
    const std::string_view input(raw.data(), raw.size());
    uint32_t count = 0;
    const auto visit = [&](EntryKind, std::string_view key, std::string_view value) {
      ++count;
      for (const std::string_view part : {key, value}) {
        if (part.empty()) continue;
        ASSERT_GE(part.data(), input.data());
        ASSERT_LE(part.data() + part.size(), input.data() + input.size());
      }
    };
    const auto expected = static_cast<uint32_t>(random.Uniform(4));
    const io::Status status = WriteBatch::ForEach(input, expected, visit);
    EXPECT_LE(count, expected);
    EXPECT_EQ(status.ok(), status.ok() && count == expected);
  }
}

}  // namespace
}  // namespace terracefs::lsm
