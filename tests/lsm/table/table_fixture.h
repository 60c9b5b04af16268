#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "io/base/random.h"
#include "lsm/file_names.h"
#include "lsm/table/table_builder.h"
#include "lsm/table/table_reader.h"
#include "tests/lsm/table/memory_storage.h"

namespace terracefs::lsm::table_test {

struct InternalOrder {
  bool operator()(const std::string& a, const std::string& b) const {
    return CompareInternal(a, b) < 0;
  }
};
// What a table should hold: internal key -> value.
using Model = std::map<std::string, std::string, InternalOrder>;

inline std::string Key(std::string_view user_key, SequenceNumber sequence = 1,
                       EntryKind kind = EntryKind::kValue) {
  return MakeInternalKey(user_key, sequence, kind);
}

// Like a file page's key: domain, inode, offset.
inline std::string PageKey(uint64_t page) {
  std::string key = "x";
  io::PutOrdered64(&key, 42);
  io::PutOrdered64(&key, page * 4096);
  return key;
}
inline std::string PageValue(uint64_t page) {
  std::string value(4096, '\0');
  io::Random random(page);
  for (size_t i = 0; i < value.size(); i += 8) io::EncodeFixed64(value.data() + i, random.Next());
  return value;
}
inline Model Pages(uint64_t count) {
  Model model;
  for (uint64_t page = 0; page < count; ++page) model[Key(PageKey(page))] = PageValue(page);
  return model;
}

// The value of an entry that refers to a plain page, or to a page of a compressed record.
inline std::string ReferenceValue(FileNumber file, uint64_t page, bool compressed = false) {
  ValueReference reference;
  reference.file = file;
  reference.page = page;
  reference.crc = static_cast<uint32_t>(page * 2654435761U);
  if (compressed) {
    reference.codec = ValueCodec::kZstd;
    reference.record_bytes = 5000;
    reference.record_pages = 4;
    reference.index = 1;
  }
  std::string value;
  reference.AppendTo(&value);
  return value;
}

inline std::string TableName(FileNumber number) { return FileName(FileKind::kTable, number); }

inline io::Result<TableInfo> WriteTable(io::Storage& storage, FileNumber number, const Model& model,
                                        const TableOptions& options = {}) {
  io::OpenOptions open;
  open.write = open.create = open.truncate = open.direct = true;
  auto file = TRY(storage.Open(TableName(number), open));
  TableBuilder builder(std::move(file), options, nullptr, io::IoPriority::kFlush);
  for (const auto& [key, value] : model) TRY(builder.Add(key, value));
  return builder.Finish();
}

inline io::Result<std::shared_ptr<TableReader>> OpenTable(io::Storage& storage, FileNumber number,
                                                          BlockCache* cache) {
  io::OpenOptions open;
  open.direct = true;
  auto file = TRY(storage.Open(TableName(number), open));
  return TableReader::Open(std::move(file), number, cache);
}

// The newest version at or below `snapshot`; end() if there is none.
inline Model::const_iterator Find(const Model& model, std::string_view user_key,
                                  SequenceNumber snapshot) {
  const auto found = model.lower_bound(MakeSeekKey(user_key, snapshot));
  return found != model.end() && UserKey(found->first) == user_key ? found : model.end();
}

// True if `found` is exactly what the model says.
inline bool IsRight(const Model& model, std::string_view user_key, SequenceNumber snapshot,
                    const std::optional<PinnedEntry>& found) {
  const auto expected = Find(model, user_key, snapshot);
  if (expected == model.end()) return !found.has_value();
  return found.has_value() && found->entry.value == expected->second &&
         found->entry.sequence == KeySequence(expected->first) &&
         found->entry.kind == KeyKind(expected->first);
}

// A table of `model` in memory, open.
struct OpenedTable {
  explicit OpenedTable(Model model_in, const TableOptions& options = {},
                       size_t cache_bytes = 64 << 20)
      : model(std::move(model_in)), cache(cache_bytes) {
    auto written = WriteTable(storage, kNumber, model, options);
    EXPECT_TRUE(written.ok()) << written.status().ToString();
    if (written.ok()) info = std::move(written).value();
    auto opened = OpenTable(storage, kNumber, &cache);
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    if (opened.ok()) reader = std::move(opened).value();
    storage.TakeReads();
    storage.in_flight_max();
  }
  std::string& content() { return storage.content(TableName(kNumber)); }

  static constexpr FileNumber kNumber = 7;
  const Model model;
  MemoryStorage storage;
  BlockCache cache;
  TableInfo info;
  std::shared_ptr<TableReader> reader;
};

inline uint64_t SumBytes(const std::vector<MemoryStorage::Read>& reads) {
  uint64_t sum = 0;
  for (const auto& read : reads) sum += read.bytes;
  return sum;
}

// Moves on from where `iterator` is and compares with [begin, end). Everything it shows must be
// right; it may stop early only with an error, which is returned.
inline io::Status ExpectRest(Iterator& iterator, Model::const_iterator begin,
                             Model::const_iterator end) {
  auto expected = begin;
  for (; iterator.Valid(); iterator.Next(), ++expected) {
    if (expected == end) {
      ADD_FAILURE() << "an entry too many";
      return io::Status::Ok();
    }
    EXPECT_EQ(iterator.key(), expected->first);
    EXPECT_TRUE(iterator.value() == expected->second);
    if (::testing::Test::HasFailure()) return io::Status::Ok();
  }
  io::Status status = iterator.status();
  if (status.ok()) {
    EXPECT_TRUE(expected == end) << "ends early without an error";
  }
  return status;
}

// TSan makes a byte-by-byte loop fifty times slower and has nothing to find in it: such loops take
// every n-th step there.
#if defined(__SANITIZE_THREAD__)
inline constexpr size_t kExhaustiveStride = 23;
#else
inline constexpr size_t kExhaustiveStride = 1;
#endif

}  // namespace terracefs::lsm::table_test
