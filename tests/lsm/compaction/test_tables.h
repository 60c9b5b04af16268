#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/base/clock.h"
#include "io/rate_limiter.h"
#include "lsm/compaction/ranges_in_use.h"
#include "lsm/compaction/table_set_writer.h"
#include "lsm/file_names.h"
#include "lsm/manifest/version.h"
#include "lsm/manifest/version_set.h"
#include "lsm/table/block_cache.h"
#include "lsm/table/table_cache.h"
#include "lsm/values/value_files.h"
#include "tests/support/environment.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm::compaction_test {

// A table as planning sees it; there is no file behind it.
struct TableSpec {
  FileNumber number = 0;
  std::string smallest;  // user keys
  std::string largest;
  uint64_t file_bytes = 1000;
  SequenceNumber sequence = 0;  // of all entries; 0: ten times the number
  uint64_t tombstone_count = 0;
  int64_t oldest_tombstone_seconds = 0;
  int64_t drop_pending_since_seconds = 0;
  SequenceNumber drop_sequence = 0;
  uint64_t hidden_count = 0;
  uint64_t dead_bytes = 0;
  uint64_t tombstone_block_bytes = 0;
  uint64_t wasted_reads = 0;
  std::vector<ValueUse> value_uses = {};
  uint64_t value_pages = 0;
  uint64_t value_runs = 0;
};

inline FileRef MakeTable(const TableSpec& spec) {
  const SequenceNumber sequence = spec.sequence != 0 ? spec.sequence : spec.number * 10;
  auto file = std::make_shared<FileMeta>();
  file->number = spec.number;
  file->drop_sequence = spec.drop_sequence;
  file->drop_pending_since_seconds = spec.drop_pending_since_seconds;
  file->dead_bytes = spec.dead_bytes;
  file->wasted_reads = spec.wasted_reads;
  TableInfo& info = file->info;
  info.file_bytes = spec.file_bytes;
  info.entry_count = 10;
  info.tombstone_count = spec.tombstone_count;
  info.oldest_tombstone_seconds = spec.oldest_tombstone_seconds;
  info.hidden_count = spec.hidden_count;
  info.tombstone_block_bytes = spec.tombstone_block_bytes;
  info.raw_bytes = spec.file_bytes;
  info.smallest = MakeInternalKey(spec.smallest, sequence, EntryKind::kValue);
  info.largest = MakeInternalKey(spec.largest, sequence, EntryKind::kValue);
  info.smallest_sequence = info.largest_sequence = sequence;
  info.value_uses = spec.value_uses;
  info.value_pages = spec.value_pages;
  info.value_runs = spec.value_runs;
  return file;
}

struct PlacedTable {
  int level = 0;
  TableSpec spec;
};

inline std::shared_ptr<const Version> MakeVersion(const std::vector<PlacedTable>& tables) {
  VersionEdit edit;
  for (const PlacedTable& table : tables) {
    edit.added_files.push_back({table.level, MakeTable(table.spec)});
  }
  auto version = Version::Apply(*Version::Empty(), edit);
  EXPECT_TRUE(version.ok()) << version.status().ToString();
  return version.ok() ? *version : Version::Empty();
}

inline std::vector<FileNumber> Numbers(const std::vector<FileRef>& files) {
  std::vector<FileNumber> numbers;
  for (const FileRef& file : files) numbers.push_back(file->number);
  return numbers;
}

// "size 1>2 [2]+[5]", "move ..." if it is one; nothing: "nothing".
inline std::string PlanText(const std::optional<CompactionPlan>& plan) {
  if (!plan) return "nothing";
  const auto list = [](const std::vector<FileRef>& files) {
    std::string text;
    for (const FileNumber number : Numbers(files)) {
      text += (text.empty() ? "" : " ") + std::to_string(number);
    }
    return "[" + text + "]";
  };
  std::string text = plan->kind == CompactionPlan::Kind::kMove ? "move " : "";
  text += std::string(plan->reason) + " " + std::to_string(plan->level) + ">" +
          std::to_string(plan->output_level) + " " + list(plan->inputs[0]);
  if (!plan->inputs[1].empty()) text += "+" + list(plan->inputs[1]);
  return text;
}

// Value files that tables can refer to; there is nothing on the disk. Outlives the tables.
class ValueStore {
 public:
  // Gives the tables of a version the files that they refer to. What is unknown is empty.
  void Attach(const Version& version) {
    for (int level = 0; level < kLevelCount; ++level) {
      for (const FileRef& table : version.files(level)) Attach(table.get());
    }
  }
  void Attach(FileMeta* table) {
    table->value_files.clear();
    for (const ValueUse& use : table->info.value_uses) {
      ValueFileRef file = files_.Find(use.file);
      if (file == nullptr) file = files_.Add(use.file, 0);
      table->value_files.push_back(std::move(file));
    }
  }
  ValueFiles& files() { return files_; }

 private:
  testing::SimStorage storage_;
  ValueFiles files_{storage_, 10};
};

// What a pick goes by; for fixtures to derive from.
class PickBench {
 protected:
  // Gives the tables the value files that they refer to.
  void SetTables(const std::vector<PlacedTable>& tables) {
    shape_.version = MakeVersion(tables);
    store_.Attach(*shape_.version);
  }
  // Bytes by number. To be made before the tables.
  void SetFiles(const std::map<FileNumber, uint64_t>& bytes) {
    for (const auto& [number, size] : bytes) held_.push_back(store_.files().Add(number, size));
  }
  // A job that has taken a table and does nothing else.
  void TakeTable(int level, size_t index) {
    CompactionPlan running;
    running.level = running.output_level = level;
    running.inputs[0] = {shape_.version->files(level)[index]};
    in_use_.Register(running);
  }

  ValueStore store_;  // outlives the tables
  std::vector<ValueFileRef> held_;
  Options options_;
  Shape shape_{Version::Empty(), std::make_shared<DropRangeSet>(), 0};
  RangesInUse in_use_;
  std::set<FileNumber> quarantined_;
};

// A table that refers to value files.
inline PlacedTable TableWithValues(int level, FileNumber number, const std::string& smallest,
                                   const std::string& largest, const std::vector<ValueUse>& uses,
                                   uint64_t table_bytes = 1000) {
  TableSpec spec{number, smallest, largest, table_bytes};
  spec.value_uses = uses;
  return {level, spec};
}

// A key that sorts like its number.
inline std::string KeyOf(uint64_t number) {
  std::string text = std::to_string(number);
  return std::string(6 - text.size(), '0') + text;
}

// Calls `run` for `count` seeds from `first` on, or for SEED of the environment alone. Says which
// on a failure and ends there.
template <typename Run>
void ForEachSeed(uint64_t first, uint64_t count, const Run& run) {
  const uint64_t replayed = testing::FromEnvironment("SEED", 0);
  if (replayed != 0) {
    first = replayed;
    count = 1;
  }
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("SEED=" + std::to_string(seed));
    run(seed);
    if (::testing::Test::HasFailure()) {
      std::printf("SEED=%llu replays it\n", static_cast<unsigned long long>(seed));
      return;
    }
  }
}

// An entry of a test table; a deletion if `value` is "-".
struct TestEntry {
  std::string user_key;
  SequenceNumber sequence = 0;
  std::string value;
};

// What jobs work with, on a simulated disk.
class JobBench {
 public:
  JobBench() {
    options_.block_bytes = 256;
    options_.table_bytes = 64 * io::kKiB;
    table_options_.block_bytes = 256;
  }

  // A table in the storage; entries in internal order.
  FileRef WriteTable(const std::vector<TestEntry>& entries) {
    TableSetWriter writer(environment_, table_options_, io::IoPriority::kFlush, 0);
    for (const TestEntry& entry : entries) {
      const bool deletion = entry.value == "-";
      std::string value = entry.value;
      if (deletion) {
        value.clear();
        io::PutFixed64(&value, 1000);
      }
      const io::Status status =
          writer.Add(MakeInternalKey(entry.user_key, entry.sequence,
                                     deletion ? EntryKind::kDelete : EntryKind::kValue),
                     value);
      EXPECT_TRUE(status.ok()) << status.ToString();
    }
    auto files = writer.Finish();
    EXPECT_TRUE(files.ok()) << files.status().ToString();
    EXPECT_EQ(files->size(), 1U);
    return files->front();
  }

  // "key@sequence=value" for each entry of the tables, in order.
  std::vector<std::string> Read(const std::vector<FileRef>& files) {
    std::vector<std::string> found;
    for (const FileRef& file : files) {
      auto table = tables_.Get(file->number);
      EXPECT_TRUE(table.ok()) << table.status().ToString();
      if (!table.ok()) return found;
      const std::unique_ptr<Iterator> it = (*table)->NewIterator(ReadOptions());
      for (it->SeekToFirst(); it->Valid(); it->Next()) {
        const bool deletion = KeyKind(it->key()) == EntryKind::kDelete;
        found.push_back(std::string(UserKey(it->key())) + "@" +
                        std::to_string(KeySequence(it->key())) + "=" +
                        (deletion ? "-" : std::string(it->value())));
      }
      EXPECT_TRUE(it->status().ok()) << it->status().ToString();
    }
    return found;
  }

  std::vector<std::string> TableNames() {
    std::vector<std::string> names;
    const auto list = storage_.List();
    EXPECT_TRUE(list.ok());
    for (const std::string& name : *list) {
      const auto parsed = ParseFileName(name);
      if (parsed && parsed->kind == FileKind::kTable) names.push_back(name);
    }
    return names;
  }

  testing::SimStorage& storage() { return storage_; }
  Options& options() { return options_; }
  TableCache& tables() { return tables_; }
  TableOptions& table_options() { return table_options_; }  // of WriteTable
  io::RateLimiter& limiter() { return limiter_; }
  const JobEnvironment& environment() { return environment_; }
  ValueFiles& value_files() { return value_files_; }

 private:
  testing::SimStorage storage_;
  ValueFiles value_files_{storage_, 100};
  Options options_;
  TableOptions table_options_;
  BlockCache blocks_{io::kMiB};
  TableCache tables_{storage_, blocks_, 100};
  io::RateLimiter limiter_{0, io::SystemClock()};
  std::atomic<FileNumber> next_number_{1};  // the parts of a merge ask at once
  JobEnvironment environment_{storage_,
                              options_,
                              tables_,
                              limiter_,
                              [this] { return next_number_++; },
                              value_files_,
                              [] { return 0; },
                              [this] { return options_.value_file_bytes; }};
};

}  // namespace terracefs::lsm::compaction_test
