// Stores written by earlier versions of this program must open for ever. tests/golden/lsm_v4 was
// written by version 4 of the format, the oldest that is read. After a change of format, write
// another beside it:
//   TERRACEFS_WRITE_GOLDEN=tests/golden/lsm_vN regression_test --gtest_filter='GoldenStore*'
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/base/clock.h"
#include "io/base/random.h"
#include "lsm/db.h"
#include "lsm/file_names.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using State = std::map<std::string, std::string>;

constexpr char kGoldenDirectory[] = "tests/golden/lsm_v4";

Options GoldenOptions() {
  Options options;
  options.memtable_bytes = io::kMiB;
  options.log_file_bytes = 24 * io::kKiB;
  options.block_bytes = 1024;
  options.table_bytes = 8 * io::kKiB;
  options.commit_interval_ms = 0;
  options.inline_max_bytes = 0;  // so that all pages go to value files
  options.value_file_bytes = 64 * io::kKiB;
  options.disable_automatic_compaction = true;
  options.dynamic_levels = false;  // so that it has tables at three levels
  return options;
}

std::string Key(int i) { return "key" + std::to_string(1000 + i); }

// Half of it compresses, half does not.
std::string Value(int i, int round) {
  std::string value = "value " + std::to_string(i) + " of round " + std::to_string(round) + ' ';
  if (i % 2 == 0) return value + std::string(100, '=');
  io::Random random(static_cast<uint64_t>(i));
  while (value.size() < 120) io::PutFixed64(&value, random.Next());
  return value;
}

// For a value file. The first ones do not compress, the others do.
std::string Page(int i, int round) {
  if (i >= 6) return std::string(kValuePageBytes, static_cast<char>('a' + i + round));
  io::Random random(static_cast<uint64_t>(100 * i + round));
  std::string page;
  while (page.size() < kValuePageBytes) io::PutFixed64(&page, random.Next());
  return page;
}

// The history of the store: overwritten, deleted and dead keys; tables at three levels; and batches
// that are only in the log. With `db` null only what it leaves.
State WriteHistory(Db* db) {
  State state;
  WriteBatch batch;
  const auto put = [&](const std::string& key, const std::string& value) {
    batch.Put(key, value);
    state[key] = value;
  };
  std::vector<std::string> pages;  // until their batch is written
  const auto put_pages = [&](int begin, int end, int round) {
    for (int i = begin; i < end; ++i) {
      state["page" + std::to_string(i)] = pages.emplace_back(Page(i, round));
    }
    for (int i = begin; i < end; ++i) {
      batch.PutPage("page" + std::to_string(i), pages[static_cast<size_t>(i - begin)]);
    }
  };
  const auto commit = [&](bool flush, int levels) {
    batch.AddCounter(0, 1);
    batch.AddCounter(7, -1000);
    if (db == nullptr) {
      pages.clear();
      return batch.Clear();
    }
    lsm::JobControl never;
    EXPECT_TRUE(db->Write(std::exchange(batch, WriteBatch()), true).ok());
    pages.clear();
    if (flush) {
      EXPECT_TRUE(db->Flush().ok());
    }
    for (int level = 0; level < levels; ++level)
      EXPECT_TRUE(db->Compact({level}, never, nullptr).ok());
  };
  for (int i = 0; i < 120; ++i) put(Key(i), Value(i, 1));
  for (int i = 0; i < 20; ++i) put("dead" + std::to_string(10 + i), "x");
  put_pages(0, 6, 1);
  commit(true, 2);
  for (int i = 0; i < 120; i += 3) put(Key(i), Value(i, 2));
  for (int i = 1; i < 120; i += 10) {
    batch.Delete(Key(i));
    state.erase(Key(i));
  }
  commit(true, 1);
  for (int i = 0; i < 120; i += 7) put(Key(i), Value(i, 3));
  if (db != nullptr) db->SetValueCompression(1);
  put_pages(4, 10, 3);
  batch.DropRange("dead", "deae");
  state.erase(state.lower_bound("dead"), state.lower_bound("deae"));
  commit(true, 0);
  for (int i = 0; i < 120; i += 11) put(Key(i), Value(i, 4));
  put_pages(2, 3, 4);
  batch.Delete(Key(0));
  state.erase(Key(0));
  commit(false, 0);
  put("", "the empty key");
  put(std::string("\0\xff\0", 3), "bytes");
  put("large", std::string(5000, 'L'));
  commit(false, 0);
  return state;
}

State ReadAll(Db& db) {
  State state;
  const std::unique_ptr<Iterator> it = db.NewIterator({});
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    // Nothing is promised about what a reader sees of a dead range.
    if (!it->key().starts_with("dead")) state.emplace(it->key(), it->value());
  }
  EXPECT_TRUE(it->status().ok()) << it->status().ToString();
  return state;
}

void CheckStore(Db& db) {
  const State found = ReadAll(db);
  const State expected = WriteHistory(nullptr);
  EXPECT_EQ(found.size(), expected.size());
  for (const auto& [key, value] : expected) {
    const auto it = found.find(key);
    EXPECT_TRUE(it != found.end() && it->second == value) << key;
  }
  EXPECT_EQ(db.Counter(0), 5);
  EXPECT_EQ(db.Counter(7), -5000);
  const io::Status verified = db.VerifyInvariants(true);
  EXPECT_TRUE(verified.ok()) << verified.ToString();
}

// As a killed process would leave it.
void WriteGolden(const std::filesystem::path& directory) {
  testing::SimStorage storage;
  ASSERT_TRUE(Db::Create(GoldenOptions(), storage).ok());
  auto db = Db::Open(GoldenOptions(), storage);
  ASSERT_TRUE(db.ok());
  WriteHistory(db->get());
  const auto left = storage.CrashClone(1, testing::CrashMode::kKeepAll);
  std::filesystem::create_directories(directory);
  const auto names = left->List();
  for (const std::string& name : *names) {
    std::string contents = *left->Contents(name);
    if (name.starts_with("MANIFEST") || name.ends_with(".blob")) {
      // What was allocated ahead is zeros, which a reader takes as the end, like the end of the
      // file.
      const size_t unit = name.ends_with(".blob") ? kValuePageBytes : 16;
      contents.resize((contents.find_last_not_of('\0') + unit) / unit * unit);
    }
    std::ofstream(directory / name, std::ios::binary) << contents;
  }
}

std::unique_ptr<testing::SimStorage> LoadGolden() {
  auto storage = std::make_unique<testing::SimStorage>();
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldenDirectory)) {
    std::ifstream file(entry.path(), std::ios::binary);
    storage->PutContents(entry.path().filename().string(),
                         std::string(std::istreambuf_iterator<char>(file), {}));
    ++count;
  }
  EXPECT_GT(count, 4U);
  return storage;
}

TEST(GoldenStoreTest, TheFirstFormatStillOpens) {
  if (const char* directory = std::getenv("TERRACEFS_WRITE_GOLDEN")) WriteGolden(directory);
  const auto storage = LoadGolden();
  auto db = Db::Open(GoldenOptions(), *storage);
  ASSERT_TRUE(db.ok()) << db.status().ToString();
  const DbStats stats = (*db)->Stats();
  EXPECT_GT(stats.levels[0].files, 0U);
  EXPECT_GT(stats.levels[1].files, 0U);
  EXPECT_GT(stats.levels[2].files, 0U);
  CheckStore(**db);
  // It is a store like any other from now on.
  lsm::JobControl never;
  ASSERT_TRUE((*db)->Compact({}, never, nullptr).ok());
  CheckStore(**db);
  ASSERT_TRUE((*db)->Close().ok());
  db = Db::Open(GoldenOptions(), *storage);
  ASSERT_TRUE(db.ok());
  CheckStore(**db);
}

TEST(GoldenStoreTest, TheFirstFormatStillOpensReadOnly) {
  const auto storage = LoadGolden();
  Options options = GoldenOptions();
  options.read_only = true;
  auto db = Db::Open(options, *storage);
  ASSERT_TRUE(db.ok()) << db.status().ToString();
  CheckStore(**db);
}

TEST(GoldenStoreTest, AnOlderFormatIsRefusedByName) {
  const auto storage = LoadGolden();
  std::string current = *storage->Contents(kCurrentFileName);
  ASSERT_TRUE(current.starts_with("terracefs-lsm 4\n")) << current;
  current[14] = '3';
  storage->PutContents(kCurrentFileName, current);
  const auto db = Db::Open(GoldenOptions(), *storage);
  ASSERT_FALSE(db.ok());
  EXPECT_TRUE(db.status().Is(io::StatusCode::kNotSupported)) << db.status().ToString();
  EXPECT_NE(db.status().ToString().find("another version"), std::string::npos);
  EXPECT_NE(db.status().ToString().find("terracefs-lsm 3"), std::string::npos);
}

}  // namespace
}  // namespace terracefs::lsm
