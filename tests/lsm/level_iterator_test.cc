#include "lsm/level_iterator.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/lsm/compaction/test_tables.h"
#include "tests/lsm/test_iterators.h"

namespace terracefs::lsm {
namespace {

using compaction_test::MakeTable;

std::string Key(const std::string& user_key) {
  return MakeInternalKey(user_key, 1, EntryKind::kValue);
}

// Three tables of a level, some of which may fail.
class LevelIteratorTest : public ::testing::Test {
 protected:
  LevelIteratorTest() {
    AddTable(1, {"b", "c"});
    AddTable(2, {"e", "g"});
    AddTable(3, {"k"});
  }
  void AddTable(FileNumber number, const std::vector<std::string>& keys) {
    files_.push_back(MakeTable({number, keys.front(), keys.back(), 1000, 1}));
    keys_[number] = keys;
  }
  std::unique_ptr<Iterator> NewIterator(std::string_view upper_bound = {}) {
    return NewLevelIterator(
        files_,
        [this](const FileRef& file) -> std::unique_ptr<Iterator> {
          opened_.push_back(file->number);
          if (fail_open_ == file->number) {
            return NewErrorIterator(io::Status::IoError("injected", "open", 5));
          }
          ListIterator::Entries entries;
          for (const std::string& key : keys_[file->number]) entries.emplace_back(Key(key), "v");
          const size_t fail_at = fail_read_ == file->number ? 1 : ListIterator::kNever;
          return std::make_unique<ListIterator>(std::move(entries), fail_at);
        },
        upper_bound);
  }
  static std::string Rest(Iterator& it) {
    std::string keys;
    for (; it.Valid(); it.Next()) keys += UserKey(it.key());
    return keys + (it.status().ok() ? "." : "!");
  }

  std::vector<FileRef> files_;
  std::map<FileNumber, std::vector<std::string>> keys_;
  std::vector<FileNumber> opened_;
  FileNumber fail_open_ = 0;
  FileNumber fail_read_ = 0;
};

TEST_F(LevelIteratorTest, WalksAllTablesOpeningEachWhenItIsReached) {
  const auto it = NewIterator();
  EXPECT_FALSE(it->Valid());
  EXPECT_TRUE(opened_.empty());
  it->SeekToFirst();
  EXPECT_EQ(opened_, (std::vector<FileNumber>{1}));
  EXPECT_EQ(Rest(*it), "bcegk.");
  EXPECT_EQ(opened_, (std::vector<FileNumber>{1, 2, 3}));
}

TEST_F(LevelIteratorTest, SeekFindsTheRightTableOrTheGapBehindIt) {
  const auto it = NewIterator();
  for (const auto& [target, expected] : std::map<std::string, std::string>{{"a", "bcegk."},
                                                                           {"b", "bcegk."},
                                                                           {"c", "cegk."},
                                                                           {"d", "egk."},
                                                                           {"f", "gk."},
                                                                           {"h", "k."},
                                                                           {"k", "k."},
                                                                           {"l", "."},
                                                                           {"", "bcegk."}}) {
    it->Seek(MakeSeekKey(target, kSequenceMax));
    EXPECT_EQ(Rest(*it), expected) << target;
  }
  opened_.clear();
  it->Seek(MakeSeekKey("k", kSequenceMax));
  it->Seek(MakeSeekKey("k", kSequenceMax));
  EXPECT_EQ(opened_.size(), 1U) << "stays in its table";
}

TEST_F(LevelIteratorTest, AnErrorIsNeverTakenForTheEndOfATable) {
  for (const bool open : {true, false}) {
    (open ? fail_open_ : fail_read_) = 2;
    const auto it = NewIterator();
    it->SeekToFirst();
    EXPECT_EQ(Rest(*it), open ? "bc!" : "bce!");
    it->Seek(MakeSeekKey("g", kSequenceMax));
    EXPECT_EQ(Rest(*it), "!");
    it->Seek(MakeSeekKey("h", kSequenceMax));
    EXPECT_EQ(Rest(*it), "k.") << "what does not need the bad table works";
    it->Seek(MakeSeekKey("g", kSequenceMax));
    EXPECT_FALSE(it->status().ok());
    fail_open_ = fail_read_ = 0;
    it->Seek(MakeSeekKey("g", kSequenceMax));
    EXPECT_EQ(Rest(*it), "gk.") << "the table is opened anew after an error";
  }
}

TEST_F(LevelIteratorTest, TablesBehindTheBoundAreNotOpened) {
  const auto it = NewIterator("e");
  it->SeekToFirst();
  EXPECT_EQ(Rest(*it), "bc.");
  it->Seek(MakeSeekKey("f", kSequenceMax));
  EXPECT_FALSE(it->Valid());
  EXPECT_TRUE(it->status().ok());
  EXPECT_EQ(opened_, (std::vector<FileNumber>{1}));
}

TEST_F(LevelIteratorTest, NoTablesNoEntries) {
  files_.clear();
  const auto it = NewIterator();
  it->SeekToFirst();
  EXPECT_EQ(Rest(*it), ".");
  it->Seek(MakeSeekKey("a", 1));
  EXPECT_EQ(Rest(*it), ".");
}

}  // namespace
}  // namespace terracefs::lsm
