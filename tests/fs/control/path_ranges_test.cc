#include "fs/control/path_ranges.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>

#include "fs/schema/keys.h"
#include "fs/schema/records.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::FsTest;

class PathRangesTest : public FsTest {
 protected:
  std::vector<lsm::KeyRange> Ranges(InodeNumber top, size_t count_max = kPathRangesMax) {
    lsm::JobControl control;
    auto ranges = KeyRangesOf(db(), top, control, count_max);
    EXPECT_TRUE(ranges.ok()) << ranges.status().ToString();
    for (size_t i = 0; ranges.ok() && i < ranges->size(); ++i) {
      EXPECT_LT((*ranges)[i].begin, (*ranges)[i].end);
      if (i == 0) continue;
      EXPECT_LE((*ranges)[i - 1].end, (*ranges)[i].begin) << "not in order";
    }
    return ranges.ok() ? *ranges : std::vector<lsm::KeyRange>();
  }
  static bool Covers(const std::vector<lsm::KeyRange>& ranges, std::string_view key) {
    return std::any_of(ranges.begin(), ranges.end(), [&](const lsm::KeyRange& range) {
      return range.begin <= key && key < range.end;
    });
  }
  // Whether the keys of an inode are in the ranges: all of them, none or some.
  std::string Cover(const std::vector<lsm::KeyRange>& ranges, InodeNumber ino) {
    const InodeRecord record = DecodeInode(db().Get({}, InodeKey(ino)).value()->view()).value();
    std::vector<std::string> keys = {std::string(InodeKey(ino)), std::string(XattrKey(ino, "a"))};
    if (record.is_directory()) {
      keys.emplace_back(DirentKey(ino, "a"));
      keys.emplace_back(ListingKey(ino, 3));
    } else {
      keys.emplace_back(ExtentKey(record.data_id, 0));
      keys.emplace_back(ExtentKey(record.data_id, UINT64_MAX));
    }
    const auto covered = static_cast<size_t>(std::count_if(
        keys.begin(), keys.end(), [&](const std::string& key) { return Covers(ranges, key); }));
    if (covered == keys.size()) return "all";
    return covered == 0 ? "none" : "some";
  }
};

TEST_P(PathRangesTest, ATreeIsEverythingBelowItAndNothingElse) {
  const InodeNumber before = Create(kRootInode, "before").ino;
  const InodeNumber top = MakeDir(kRootInode, "top").ino;
  const InodeNumber between = Create(kRootInode, "between").ino;
  const InodeNumber file = Create(top, "file").ino;
  const InodeNumber sub = MakeDir(top, "sub").ino;
  const InodeNumber sibling = MakeDir(kRootInode, "sibling").ino;
  const InodeNumber deep = MakeDir(sub, "deep").ino;
  const InodeNumber leaf = Create(deep, "leaf").ino;
  const InodeNumber late = Create(top, "late").ino;
  const InodeNumber after = Create(sibling, "after").ino;
  const auto ranges = Ranges(top);
  for (const InodeNumber ino : {top, file, sub, deep, leaf, late}) {
    EXPECT_EQ(Cover(ranges, ino), "all") << ino.value;
  }
  for (const InodeNumber ino : {kRootInode, before, between, sibling, after}) {
    EXPECT_EQ(Cover(ranges, ino), "none") << ino.value;
  }
}

TEST_P(PathRangesTest, AFileIsItselfAndItsPagesWhereverTheyAre) {
  const InodeNumber file = Create(kRootInode, "file").ino;
  ASSERT_EQ(Write(file, 0, std::string(10'000, 'x')), 0);
  const InodeNumber other = Create(kRootInode, "other").ino;
  ASSERT_EQ(Truncate(file, 0), 0);  // takes a new data id
  ASSERT_EQ(Write(file, 0, std::string(10'000, 'y')), 0);
  const InodeNumber last = Create(kRootInode, "last").ino;
  const auto ranges = Ranges(file);
  EXPECT_EQ(Cover(ranges, file), "all");
  EXPECT_EQ(Cover(ranges, other), "none");
  EXPECT_EQ(Cover(ranges, last), "none");
  EXPECT_EQ(Cover(ranges, kRootInode), "none");
}

TEST_P(PathRangesTest, WhatWasRemovedFromTheTreeIsStillFound) {
  const InodeNumber top = MakeDir(kRootInode, "top").ino;
  std::vector<InodeNumber> removed;
  for (int i = 0; i < 20; ++i) {
    removed.push_back(Create(top, "file" + std::to_string(i)).ino);
    ASSERT_EQ(Write(removed.back(), 0, "content"), 0);
  }
  const InodeNumber next = Create(kRootInode, "next").ino;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(Unlink(top, "file" + std::to_string(i)), 0);
    Forget(removed[static_cast<size_t>(i)]);
  }
  Remount();  // waits for those who collect
  const auto ranges = Ranges(top);
  for (const InodeNumber ino : removed) {
    EXPECT_TRUE(Covers(ranges, InodeKey(ino)));
    EXPECT_TRUE(Covers(ranges, ExtentKey(ino.value, 0)));
  }
  EXPECT_EQ(Cover(ranges, next), "none");
}

TEST_P(PathRangesTest, LargeDirectoriesAreWalkedInPieces) {
  const InodeNumber top = MakeDir(kRootInode, "top").ino;
  std::vector<InodeNumber> inside;
  std::vector<InodeNumber> outside;
  for (int i = 0; i < 700; ++i) {
    const std::string name = std::to_string(i);
    inside.push_back(i % 50 == 0 ? MakeDir(top, name).ino : Create(top, name).ino);
    outside.push_back(Create(kRootInode, name).ino);
  }
  const auto ranges = Ranges(top);
  for (const InodeNumber ino : inside) EXPECT_EQ(Cover(ranges, ino), "all") << ino.value;
  for (const InodeNumber ino : outside) EXPECT_EQ(Cover(ranges, ino), "none") << ino.value;

  const auto few = Ranges(top, 100);
  EXPECT_LE(few.size(), 100u);
  for (const InodeNumber ino : inside) EXPECT_EQ(Cover(few, ino), "all") << ino.value;
}

TEST_P(PathRangesTest, AWalkMindsNoChanges) {
  if (memory()) return;  // it knows what must not be looked up, but not that somebody just may have
  const InodeNumber top = MakeDir(kRootInode, "top").ino;
  const InodeNumber stays = Create(top, "stays").ino;
  std::atomic<bool> stop = false;
  std::thread changes([&] {
    for (int i = 0; !stop; ++i) {
      const std::string name = std::to_string(i % 50);
      const InodeNumber made = MakeDir(top, name).ino;
      if (made != InodeNumber{}) Forget(Create(made, "inside").ino);
      EXPECT_EQ(Unlink(made, "inside"), 0);
      EXPECT_EQ(RemoveDir(top, name), 0);
      Forget(made);
    }
  });
  for (int i = 0; i < 200; ++i) ASSERT_EQ(Cover(Ranges(top), stays), "all");
  stop = true;
  changes.join();
}

TEST_P(PathRangesTest, AMissingInodeIsNotFound) {
  lsm::JobControl control;
  EXPECT_TRUE(
      KeyRangesOf(db(), InodeNumber{12345}, control).status().Is(io::StatusCode::kNotFound));
}

TEST_P(PathRangesTest, ACancelledWalkEnds) {
  lsm::JobControl control;
  control.Pause();
  control.Cancel();
  EXPECT_TRUE(KeyRangesOf(db(), kRootInode, control).status().Is(io::StatusCode::kCancelled));
}

INSTANTIATE_FS_TEST(PathRangesTest);

}  // namespace
}  // namespace terracefs::fs
