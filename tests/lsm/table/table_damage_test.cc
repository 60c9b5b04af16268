// Whatever happens to the bytes of a table or to the reads of it: an answer is right or an error.

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "lsm/table/table_format.h"
#include "tests/lsm/table/table_fixture.h"

namespace terracefs::lsm::table_test {
namespace {

Model SmallModel() {
  Model model;
  for (int i = 0; i < 60; ++i) {
    const std::string user_key = "key" + std::to_string(100 + i);
    for (SequenceNumber version = 1; version <= (i % 4 == 0 ? 3U : 1U); ++version) {
      model[Key(user_key, version * 5)] =
          std::string(static_cast<size_t>(i) * 2, 'v') + std::to_string(version);
    }
  }
  return model;
}

TableOptions SmallBlocks(int zstd_level) {
  TableOptions options;
  options.block_bytes = 512;
  options.zstd_level = zstd_level;
  return options;
}

bool IsDamage(const io::Status& status) {
  return status.Is(io::StatusCode::kCorruption) || status.Is(io::StatusCode::kNotSupported);
}
bool IsIoError(const io::Status& status) { return status.Is(io::StatusCode::kIoError); }

// Reads everything in every way. Returns whether anything failed; what did not must be right.
bool ReadEverything(TableReader& reader, const Model& model, bool (*expected)(const io::Status&)) {
  bool failed = false;
  const auto note = [&](const io::Status& status) {
    if (status.ok()) return;
    failed = true;
    EXPECT_TRUE(expected(status)) << status.ToString();
  };
  for (const auto& [key, value] : model) {
    const auto found = reader.Get({}, UserKey(key), KeySequence(key), nullptr);
    note(found.status());
    if (found.ok()) {
      EXPECT_TRUE(IsRight(model, UserKey(key), KeySequence(key), found.value()));
    }
  }
  ReadOptions to_the_end;
  to_the_end.upper_bound = "zzz";
  to_the_end.fill_cache = false;
  for (const ReadOptions& options : {ReadOptions(), to_the_end}) {
    const auto iterator = reader.NewIterator(options);
    iterator->SeekToFirst();
    note(ExpectRest(*iterator, model.begin(), model.end()));
    const std::string target = MakeSeekKey("key130", kSequenceMax);
    iterator->Seek(target);
    note(ExpectRest(*iterator, model.lower_bound(target), model.end()));
  }
  const auto job = reader.NewJobIterator({});
  job->SeekToFirst();
  note(ExpectRest(*job, model.begin(), model.end()));
  return failed;
}

TEST(TableDamageTest, EveryFlippedByteIsFoundAndNeverBelieved) {
  const Model model = SmallModel();
  for (const int zstd_level : {0, 3}) {
    OpenedTable table(model, SmallBlocks(zstd_level));
    const std::string original = table.content();
    io::Random random(1);
    for (size_t i = 0; i < original.size() && !HasFailure(); i += kExhaustiveStride) {
      std::string damaged = original;
      damaged[i] =
          static_cast<char>(static_cast<unsigned char>(damaged[i]) ^ (random.Uniform(255) + 1));
      table.storage.SetContent(TableName(OpenedTable::kNumber), std::move(damaged));
      BlockCache cache(1 << 20);
      const auto opened = OpenTable(table.storage, OpenedTable::kNumber, &cache);
      if (!opened.ok()) {
        EXPECT_TRUE(IsDamage(opened.status())) << opened.status().ToString();
        continue;
      }
      EXPECT_TRUE(ReadEverything(*opened.value(), model, IsDamage)) << "byte " << i;
      EXPECT_TRUE(IsDamage(opened.value()->Verify(nullptr, io::IoPriority::kScrub))) << i;
    }
  }
}

// The file changes under an open table.
TEST(TableDamageTest, FlippedBytesUnderAnOpenTableAreNeverBelieved) {
  const Model model = SmallModel();
  OpenedTable table(model, SmallBlocks(3));
  std::string& content = table.content();
  for (size_t i = 0; i < content.size() && !HasFailure(); i += kExhaustiveStride) {
    content[i] = static_cast<char>(content[i] ^ 0x20);
    table.cache.SetCapacity(0);
    table.cache.SetCapacity(1 << 20);
    ReadEverything(*table.reader, model, IsDamage);
    EXPECT_TRUE(IsDamage(table.reader->Verify(nullptr, io::IoPriority::kScrub))) << i;
    content[i] = static_cast<char>(content[i] ^ 0x20);
  }
}

TEST(TableDamageTest, TruncatedTableDoesNotOpen) {
  OpenedTable table(SmallModel(), SmallBlocks(0));
  const std::string original = table.content();
  BlockCache cache(1 << 20);
  for (size_t bytes = 0; bytes < original.size(); ++bytes) {
    table.storage.SetContent(TableName(9), original.substr(0, bytes));
    const auto opened = OpenTable(table.storage, 9, &cache);
    EXPECT_TRUE(IsDamage(opened.status())) << bytes;
  }
  for (const size_t more : {1U, 72U, 4095U, 4096U, 8192U}) {
    table.storage.SetContent(TableName(OpenedTable::kNumber), original + std::string(more, '\0'));
    EXPECT_TRUE(IsDamage(OpenTable(table.storage, OpenedTable::kNumber, &cache).status()));
  }
}

TEST(TableDamageTest, TableCutOffWhileOpenFailsOnlyBehindTheCut) {
  OpenedTable table(SmallModel(), SmallBlocks(0), 0);
  ASSERT_GE(table.content().size(), 2 * kTableAlignment);
  table.content().resize(kTableAlignment);
  EXPECT_TRUE(ReadEverything(*table.reader, table.model, IsIoError));
  EXPECT_TRUE(table.reader->Get({}, "key100", kSequenceMax, nullptr).ok());
}

TEST(TableDamageTest, GarbageDoesNotOpen) {
  MemoryStorage storage;
  BlockCache cache(1 << 20);
  io::Random random(5);
  for (int round = 0; round < 300; ++round) {
    std::string garbage(kTableAlignment * (1 + random.Uniform(3)), '\0');
    if (round > 0) {
      for (char& byte : garbage) byte = static_cast<char>(random.Next());
    }
    storage.SetContent(TableName(1), garbage);
    EXPECT_TRUE(OpenTable(storage, 1, &cache).status().Is(io::StatusCode::kCorruption));
  }
}

// Fails each request of `operation` in turn, once alone and once with all after it.
void InjectEverywhere(OpenedTable& table, const std::function<void(bool failing)>& operation) {
  for (const bool sticky : {false, true}) {
    for (int request = 0;; ++request) {
      table.cache.SetCapacity(0);
      table.cache.SetCapacity(1 << 20);
      const int before = table.storage.injected_count();
      table.storage.FailRequest(request, sticky);
      operation(true);
      table.storage.StopFailing();
      if (table.storage.injected_count() == before) break;
      ASSERT_LT(request, 100000);
    }
  }
  operation(false);
}

TEST(TableDamageTest, FailedReadsSurfaceOrDoNoHarm) {
  OpenedTable table(SmallModel(), SmallBlocks(0));
  int surfaced = 0;
  InjectEverywhere(table, [&](bool failing) {
    const bool failed = ReadEverything(*table.reader, table.model, IsIoError);
    surfaced += failed ? 1 : 0;
    if (!failing) {
      EXPECT_FALSE(failed);
    }
  });
  EXPECT_GT(surfaced, 10);
  InjectEverywhere(table, [&](bool failing) {
    const auto opened = OpenTable(table.storage, OpenedTable::kNumber, &table.cache);
    if (!opened.ok()) {
      EXPECT_TRUE(IsIoError(opened.status()));
      EXPECT_TRUE(failing);
    }
  });
  InjectEverywhere(table, [&](bool failing) {
    const io::Status status = table.reader->Verify(nullptr, io::IoPriority::kScrub);
    EXPECT_TRUE(status.ok() || (failing && IsIoError(status))) << status.ToString();
  });
}

TEST(TableDamageTest, FailedReadsOfAJobSurface) {
  OpenedTable table(Pages(2500));
  int surfaced = 0;
  InjectEverywhere(table, [&](bool failing) {
    const auto job = table.reader->NewJobIterator({});
    job->SeekToFirst();
    io::Status status = ExpectRest(*job, table.model.begin(), table.model.end());
    if (status.ok()) return;
    EXPECT_TRUE(failing && IsIoError(status));
    ++surfaced;
    // The same iterator recovers when the device does.
    table.storage.StopFailing();
    job->SeekToFirst();
    EXPECT_TRUE(ExpectRest(*job, table.model.begin(), table.model.end()).ok());
  });
  EXPECT_GE(surfaced, 20);
}

}  // namespace
}  // namespace terracefs::lsm::table_test
