// Tables whose checksums are right and whose contents are not: what a bug of ours (or an enemy)
// would leave behind. Nothing may crash or be mistaken for the end of the data.

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lsm/table/block_builder.h"
#include "lsm/table/filter.h"
#include "lsm/table/table_format.h"
#include "lsm/table/table_index.h"
#include "tests/lsm/table/table_fixture.h"

namespace terracefs::lsm::table_test {
namespace {

constexpr FileNumber kNumber = 5;
using Entries = std::vector<std::pair<std::string, std::string>>;

// Assembles a table of one block per element of `blocks`, as a TableBuilder would if its members
// did not protect it.
struct Forger {
  std::vector<Entries> blocks;
  std::vector<std::string> block_contents;  // instead of `blocks`, if not empty
  std::vector<std::string> index_keys;      // instead of the blocks' last keys, if not empty
  std::vector<std::string> filter_keys;     // user keys; empty: no filter
  TableInfo info;

  // Honest values for everything.
  explicit Forger(std::vector<Entries> blocks_in) : blocks(std::move(blocks_in)) {
    std::string_view last;
    ValueReference last_reference;
    for (const Entries& block : blocks) {
      for (const auto& [key, value] : block) {
        EXPECT_TRUE(CountEntry(key, value, last.empty() || UserKey(last) != UserKey(key),
                               &last_reference, &info)
                        .ok());
        last = key;
        filter_keys.emplace_back(UserKey(key));
      }
      index_keys.push_back(block.back().first);
      block_contents.push_back(Build(block));
    }
    info.largest = index_keys.back();
  }

  static std::string Build(const Entries& entries) {
    BlockBuilder builder;
    for (const auto& [key, value] : entries) builder.Add(key, value);
    return std::string(builder.Finish());
  }

  std::string Table() const {
    std::string file;
    const auto append = [&file](std::string_view contents) {
      const BlockHandle handle{file.size(), contents.size()};
      file += contents;
      AppendBlockTrailer(&file, contents, Codec::kPlain, kNumber, handle.offset);
      return handle;
    };
    TableIndexBuilder index;
    for (size_t i = 0; i < block_contents.size(); ++i) {
      index.Add(index_keys[i], append(block_contents[i]).bytes);
    }
    Footer footer;
    footer.number = kNumber;
    footer.filter.offset = file.size();
    if (!filter_keys.empty()) {
      FilterBuilder filter(10);
      for (const std::string& key : filter_keys) filter.Add(key);
      footer.filter = append(filter.Finish());
    }
    footer.index = append(index.Finish());
    footer.properties = append(EncodeProperties(info));
    file.resize(io::RoundUp(file.size() + kFooterBytes, kTableAlignment) - kFooterBytes, '\0');
    footer.AppendTo(&file);
    return file;
  }
};

std::vector<Entries> SampleBlocks() {
  return {{{Key("a", 9), "1"}, {Key("b", 8), "2"}},
          {{Key("c", 7), "3"}, {Key("c", 3), "4"}},
          {{Key("d", 2), "5"}, {Key("e", 1), "6"}}};
}

class TableForgedTest : public ::testing::Test {
 protected:
  io::Status OpenForged(const Forger& forger) {
    storage_.SetContent(TableName(kNumber), forger.Table());
    auto opened = OpenTable(storage_, kNumber, &cache_);
    if (!opened.ok()) return std::move(opened).status();
    reader_ = std::move(opened).value();
    return io::Status::Ok();
  }
  // How far a pass of a job gets, and how it ends.
  std::pair<int, io::Status> RunJob() {
    const auto job = reader_->NewJobIterator({});
    int count = 0;
    for (job->SeekToFirst(); job->Valid(); job->Next()) ++count;
    return {count, job->status()};
  }
  bool VerifyFails() {
    return reader_->Verify(nullptr, io::IoPriority::kScrub).Is(io::StatusCode::kCorruption);
  }
  void ExpectJobAndVerifyFail(const Forger& forger) {
    const io::Status opened = OpenForged(forger);
    ASSERT_TRUE(opened.ok()) << opened.ToString();
    EXPECT_TRUE(RunJob().second.Is(io::StatusCode::kCorruption));
    EXPECT_TRUE(VerifyFails());
    // The others must not crash.
    const auto range = reader_->NewIterator({});
    for (range->SeekToFirst(); range->Valid(); range->Next()) {
    }
    for (const char* user_key : {"a", "b", "c", "d", "e", "f"}) {
      (void)reader_->Get({}, user_key, kSequenceMax, nullptr);
    }
  }

  MemoryStorage storage_;
  BlockCache cache_{0};
  std::shared_ptr<TableReader> reader_;
};

TEST_F(TableForgedTest, HonestTableIsGood) {
  ASSERT_TRUE(OpenForged(Forger(SampleBlocks())).ok());
  const auto [count, status] = RunJob();
  EXPECT_EQ(count, 6);
  EXPECT_TRUE(status.ok());
  EXPECT_FALSE(VerifyFails());
}

TEST_F(TableForgedTest, EntriesThatAreNotThereAreMissed) {
  Forger forger(SampleBlocks());
  ++forger.info.entry_count;
  ExpectJobAndVerifyFail(forger);
  forger.info.entry_count -= 2;
  ExpectJobAndVerifyFail(forger);
}

TEST_F(TableForgedTest, BlockThatEndsEarlyIsNoticed) {
  Forger forger(SampleBlocks());
  forger.block_contents[1] = Forger::Build({{Key("c", 7), "3"}});
  ExpectJobAndVerifyFail(forger);
  EXPECT_TRUE(reader_->Get({}, "c", 5, nullptr).status().Is(io::StatusCode::kCorruption));
  const auto range = reader_->NewIterator({});
  range->Seek(Key("c", 4));
  EXPECT_TRUE(range->status().Is(io::StatusCode::kCorruption));
}

TEST_F(TableForgedTest, BlockWithoutEntriesIsNoticed) {
  Forger forger(SampleBlocks());
  forger.block_contents[1] = std::string("\0\0\0\0\1\0\0\0", 8);  // one restart, no entry
  ExpectJobAndVerifyFail(forger);
  const auto range = reader_->NewIterator({});
  for (range->SeekToFirst(); range->Valid(); range->Next()) {
  }
  EXPECT_TRUE(range->status().Is(io::StatusCode::kCorruption));
  forger.block_contents[0] = forger.block_contents[1];
  ExpectJobAndVerifyFail(forger);
}

TEST_F(TableForgedTest, KeysThatDoNotAscendAreNoticed) {
  Forger within(SampleBlocks());
  within.block_contents[1] = Forger::Build({{Key("c", 2), "4"}, {Key("c", 3), "3"}});
  ExpectJobAndVerifyFail(within);
  Forger twice(SampleBlocks());
  twice.block_contents[1] = Forger::Build({{Key("c", 3), "4"}, {Key("c", 3), "3"}});
  ExpectJobAndVerifyFail(twice);
  Forger between(SampleBlocks());
  between.block_contents[2] = Forger::Build({{Key("b", 2), "5"}, {Key("e", 1), "6"}});
  ExpectJobAndVerifyFail(between);
}

TEST_F(TableForgedTest, KeyWithoutTrailerAndUnknownKindAreCorruption) {
  Forger forger(SampleBlocks());
  forger.block_contents[1] = Forger::Build({{"cc", "3"}, {Key("c", 3), "4"}});
  ExpectJobAndVerifyFail(forger);
  for (const auto kind :
       {EntryKind::kDropRange, static_cast<EntryKind>(0), static_cast<EntryKind>(200)}) {
    forger.block_contents[1] = Forger::Build({{Key("c", 7, kind), "3"}, {Key("c", 3), "4"}});
    ExpectJobAndVerifyFail(forger);
    EXPECT_TRUE(
        reader_->Get({}, "c", kSequenceMax, nullptr).status().Is(io::StatusCode::kCorruption));
  }
}

TEST_F(TableForgedTest, FilterThatMissesAKeyIsFoundByVerify) {
  Forger forger(SampleBlocks());
  forger.filter_keys = {"x"};
  ASSERT_TRUE(OpenForged(forger).ok());
  EXPECT_TRUE(VerifyFails());
}

TEST_F(TableForgedTest, WrongPropertiesAreFoundByVerify) {
  for (const auto& spoil :
       {+[](TableInfo* i) { ++i->tombstone_count; },
        +[](TableInfo* i) { i->oldest_tombstone_seconds = 5; },
        +[](TableInfo* i) { ++i->hidden_count; }, +[](TableInfo* i) { ++i->raw_bytes; },
        +[](TableInfo* i) { i->smallest_sequence = 0; },
        +[](TableInfo* i) { i->largest_sequence = 100; },
        +[](TableInfo* i) { i->smallest = Key("A", 1); }}) {
    Forger forger(SampleBlocks());
    spoil(&forger.info);
    ASSERT_TRUE(OpenForged(forger).ok());
    EXPECT_TRUE(VerifyFails());
  }
}

TEST_F(TableForgedTest, IndexThatContradictsThePropertiesDoesNotOpen) {
  Forger forger(SampleBlocks());
  forger.info.largest = Key("f", 1);
  EXPECT_TRUE(OpenForged(forger).Is(io::StatusCode::kCorruption));
  Forger unsorted(SampleBlocks());
  std::swap(unsorted.index_keys[0], unsorted.index_keys[1]);
  EXPECT_TRUE(OpenForged(unsorted).Is(io::StatusCode::kCorruption));
}

}  // namespace
}  // namespace terracefs::lsm::table_test
