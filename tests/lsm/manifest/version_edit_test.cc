#include "lsm/manifest/version_edit.h"

#include <gtest/gtest.h>

#include <functional>

#include "io/base/random.h"
#include "tests/lsm/compaction/test_tables.h"

namespace terracefs::lsm {
namespace {

using compaction_test::MakeTable;

VersionEdit FullEdit() {
  VersionEdit edit;
  edit.log_number = 7;
  edit.next_file_number = 300;
  edit.last_sequence = kSequenceMax - 1;
  edit.counters.emplace();
  for (size_t i = 0; i < kCounterCount; ++i) (*edit.counters)[i] = static_cast<int64_t>(i) - 4;
  (*edit.counters)[0] = INT64_MIN;
  edit.compact_pointers = {{1, "m"}, {5, ""}};
  edit.removed_files = {{0, 12}, {6, 1'000'000'000'000}};
  edit.added_files = {
      {0, MakeTable({13, "", std::string("\0\xff", 2), 4096, 5, 2, 1'700'000'000, 0, 4})},
      {3, MakeTable({14, "a", "z"})}};
  edit.added_files[0].file->info.hidden_count = 3;
  edit.added_files[0].file->info.tombstone_block_bytes = 123;
  edit.added_drops = {{"", "b", 9, 1'700'000'000},
                      {std::string(300, 'x'), std::string(300, 'y'), 1, 0}};
  edit.retired_drops = {{"", 9}, {"q", 2}};
  return edit;
}

TEST(VersionEditTest, EveryFieldComesBack) {
  const VersionEdit edit = FullEdit();
  const auto back = VersionEdit::Decode(edit.Encode());
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->Encode(), edit.Encode());
  EXPECT_EQ(back->log_number, edit.log_number);
  EXPECT_EQ(back->next_file_number, edit.next_file_number);
  EXPECT_EQ(back->last_sequence, edit.last_sequence);
  EXPECT_EQ(back->counters, edit.counters);
  ASSERT_EQ(back->added_files.size(), 2U);
  const FileMeta& file = *back->added_files[0].file;
  EXPECT_EQ(file.number, 13U);
  EXPECT_EQ(file.info.file_bytes, 4096U);
  EXPECT_EQ(file.info.tombstone_count, 2U);
  EXPECT_EQ(file.info.oldest_tombstone_seconds, 1'700'000'000);
  EXPECT_EQ(file.info.hidden_count, 3U);
  EXPECT_EQ(file.info.tombstone_block_bytes, 123U);
  EXPECT_EQ(file.drop_sequence, 4U);
  EXPECT_EQ(file.smallest_user_key(), "");
  EXPECT_EQ(file.largest_user_key(), std::string_view("\0\xff", 2));
  ASSERT_EQ(back->compact_pointers.size(), 2U);
  EXPECT_EQ(back->compact_pointers[0].level, 1);
  EXPECT_EQ(back->compact_pointers[0].user_key, "m");
  EXPECT_EQ(back->compact_pointers[1].user_key, "");
  ASSERT_EQ(back->removed_files.size(), 2U);
  EXPECT_EQ(back->removed_files[1].level, 6);
  EXPECT_EQ(back->removed_files[1].number, 1'000'000'000'000U);
  ASSERT_EQ(back->added_drops.size(), 2U);
  EXPECT_EQ(back->added_drops[0].end, "b");
  EXPECT_EQ(back->added_drops[0].seconds, 1'700'000'000);
  ASSERT_EQ(back->retired_drops.size(), 2U);
  EXPECT_EQ(back->retired_drops[1].begin, "q");
}

TEST(VersionEditTest, AnEmptyEditIsEmpty) {
  EXPECT_EQ(VersionEdit().Encode(), "");
  const auto back = VersionEdit::Decode("");
  ASSERT_TRUE(back.ok());
  EXPECT_FALSE(back->log_number || back->next_file_number || back->last_sequence || back->counters);
}

TEST(VersionEditTest, TheWorkedExampleOfTheFormat) {
  VersionEdit edit;
  edit.log_number = 5;
  edit.last_sequence = 9;
  EXPECT_EQ(edit.Encode(), std::string("\x01\x05\x03\x09", 4));
}

TEST(VersionEditTest, ACutEditIsCorruptionOrAWholeShorterOne) {
  const std::string whole = FullEdit().Encode();
  size_t whole_count = 0;
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const auto back = VersionEdit::Decode(std::string_view(whole).substr(0, bytes));
    if (!back.ok()) {
      EXPECT_TRUE(back.status().Is(io::StatusCode::kCorruption));
      continue;
    }
    EXPECT_EQ(back->Encode(), whole.substr(0, bytes));
    ++whole_count;
  }
  EXPECT_EQ(whole_count, 14U) << "one for each border of a field";
}

TEST(VersionEditTest, HostileFieldsAreCorruption) {
  const auto file = [](const std::function<void(FileMeta&, int&)>& spoil) {
    VersionEdit edit;
    edit.added_files = {{3, MakeTable({14, "a", "z"})}};
    spoil(*edit.added_files[0].file, edit.added_files[0].level);
    return edit.Encode();
  };
  const auto of = [](const std::function<void(VersionEdit&)>& make) {
    VersionEdit edit;
    make(edit);
    return edit.Encode();
  };
  const std::string hostile[] = {
      std::string("\0", 1),            // tag 0
      std::string("\x0b\x01", 2),      // a tag of the future
      std::string("\x09\x01", 2),      // half a secret
      std::string("\x0a\x07\x00", 3),  // pointer of level 7
      std::string("\xff", 1),
      std::string("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                  11),                             // varint of more than 64 bits
      std::string("\x05\x07\x01", 3),              // level 7
      std::string("\x08\xff\xff\xff\xff\x0f", 6),  // string longer than the input
      of([](VersionEdit& edit) { edit.next_file_number = 0; }),
      of([](VersionEdit& edit) { edit.next_file_number = UINT64_MAX; }),
      of([](VersionEdit& edit) { edit.log_number = UINT64_MAX; }),
      of([](VersionEdit& edit) { edit.last_sequence = kSequenceMax; }),
      of([](VersionEdit& edit) {
        edit.added_drops = {{"b", "b", 1, 0}};
      }),
      of([](VersionEdit& edit) {
        edit.added_drops = {{"c", "b", 1, 0}};
      }),
      of([](VersionEdit& edit) {
        edit.added_drops = {{"a", "b", UINT64_MAX, 0}};
      }),
      file([](FileMeta&, int& level) { level = kLevelCount; }),
      file([](FileMeta& f, int&) { f.number = 0; }),
      file([](FileMeta& f, int&) { f.number = UINT64_MAX; }),
      file([](FileMeta& f, int&) { f.info.smallest = "short"; }),
      file([](FileMeta& f, int&) { f.info.largest = ""; }),
      file([](FileMeta& f, int&) { std::swap(f.info.smallest, f.info.largest); }),
      file([](FileMeta& f, int&) { f.info.largest_sequence = UINT64_MAX; }),
      file([](FileMeta& f, int&) { f.drop_sequence = UINT64_MAX; }),
  };
  for (const std::string& input : hostile) {
    const auto back = VersionEdit::Decode(input);
    ASSERT_FALSE(back.ok()) << ::testing::PrintToString(input);
    EXPECT_TRUE(back.status().Is(io::StatusCode::kCorruption));
  }
}

TEST(VersionEditTest, RandomDamageIsNeverMoreThanAnError) {
  const std::string whole = FullEdit().Encode();
  io::Random random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = whole;
    for (uint64_t n = 1 + random.Uniform(4); n > 0; --n) {
      damaged[random.Uniform(damaged.size())] = static_cast<char>(random.Next());
    }
    if (random.OneIn(3)) damaged.resize(random.Uniform(damaged.size()));
    const auto back = VersionEdit::Decode(damaged);
    if (!back.ok()) continue;
    const auto version = Version::Apply(*Version::Empty(), *back);
    (version.ok() ? io::Status::Ok() : version.status()).IgnoreError("must only not crash");
  }
}

}  // namespace
}  // namespace terracefs::lsm
