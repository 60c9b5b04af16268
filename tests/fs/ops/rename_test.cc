#include <linux/fs.h>

#include <cerrno>

#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::FsTest;

using Names = std::vector<std::string>;

class RenameTest : public FsTest {};

TEST_P(RenameTest, MovesAFileBetweenDirectories) {
  const Attributes a = MakeDir(kRootInode, "a");
  const Attributes b = MakeDir(kRootInode, "b");
  const Attributes file = Create(a.ino, "file");
  Tick();
  ASSERT_EQ(Rename(a.ino, "file", b.ino, "moved"), 0);
  EXPECT_EQ(List(a.ino), Names());
  EXPECT_EQ(List(b.ino), Names{"moved"});
  EXPECT_EQ(Find(b.ino, "moved"), file.ino);
  EXPECT_EQ(Stat(file.ino).ctime_ns, Now());
  EXPECT_EQ(Stat(a.ino).mtime_ns, Now());
  EXPECT_EQ(Stat(b.ino).mtime_ns, Now());
}

TEST_P(RenameTest, ReplacesAFile) {
  const Attributes source = Create(kRootInode, "source");
  const Attributes target = Create(kRootInode, "target");
  ASSERT_EQ(Rename(kRootInode, "source", kRootInode, "target"), 0);
  EXPECT_EQ(Find(kRootInode, "target"), source.ino);
  EXPECT_EQ(Stat(target.ino).nlink, 0U) << "it is still referenced";
  Forget(target.ino);
  EXPECT_EQ(fs().StatFs().value().inodes, 2U);
}

TEST_P(RenameTest, ReplacesAnEmptyDirectoryOnly) {
  const Attributes source = MakeDir(kRootInode, "source");
  const Attributes target = MakeDir(kRootInode, "target");
  Create(target.ino, "x");
  EXPECT_EQ(Rename(kRootInode, "source", kRootInode, "target"), ENOTEMPTY);
  ASSERT_EQ(Unlink(target.ino, "x"), 0);
  EXPECT_EQ(Rename(kRootInode, "source", kRootInode, "target"), 0);
  EXPECT_EQ(Find(kRootInode, "target"), source.ino);
  EXPECT_EQ(Stat(kRootInode).nlink, 3U);
}

TEST_P(RenameTest, TypesMustFit) {
  MakeDir(kRootInode, "d");
  Create(kRootInode, "file");
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "d"), EISDIR);
  EXPECT_EQ(Rename(kRootInode, "d", kRootInode, "file"), ENOTDIR);
  EXPECT_EQ(Rename(kRootInode, "none", kRootInode, "x"), ENOENT);
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, std::string(256, 'x')), ENAMETOOLONG);
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, ".."), EBUSY);
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "x", 8), EINVAL);
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "x", RENAME_NOREPLACE | RENAME_EXCHANGE),
            EINVAL);
}

TEST_P(RenameTest, ADirectoryCannotMoveBelowItself) {
  const Attributes a = MakeDir(kRootInode, "a");
  const Attributes b = MakeDir(a.ino, "b");
  const Attributes c = MakeDir(b.ino, "c");
  EXPECT_EQ(Rename(kRootInode, "a", a.ino, "x"), EINVAL);
  EXPECT_EQ(Rename(kRootInode, "a", c.ino, "x"), EINVAL);
  EXPECT_EQ(Rename(a.ino, "b", c.ino, "x"), EINVAL);
  // And what is above it cannot be replaced or exchanged.
  EXPECT_EQ(Rename(b.ino, "c", kRootInode, "a"), ENOTEMPTY);
  EXPECT_EQ(Rename(b.ino, "c", kRootInode, "a", RENAME_EXCHANGE), EINVAL);
}

TEST_P(RenameTest, AMovedDirectoryHasANewParent) {
  const Attributes a = MakeDir(kRootInode, "a");
  const Attributes b = MakeDir(kRootInode, "b");
  const Attributes moved = MakeDir(a.ino, "moved");
  ASSERT_EQ(Rename(a.ino, "moved", b.ino, "moved"), 0);
  EXPECT_EQ(Find(moved.ino, ".."), b.ino);
  EXPECT_EQ(Stat(a.ino).nlink, 2U);
  EXPECT_EQ(Stat(b.ino).nlink, 3U);
  Remount();
  EXPECT_EQ(Find(moved.ino, ".."), b.ino);
}

TEST_P(RenameTest, OntoALinkOfTheSameFileDoesNothing) {
  const Attributes file = Create(kRootInode, "file");
  ASSERT_TRUE(fs().Link(context_, file.ino, kRootInode, "link").ok());
  Tick();
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "link"), 0);
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "file"), 0);
  EXPECT_EQ(List(kRootInode), (Names{"file", "link"}));
  EXPECT_EQ(Stat(file.ino).nlink, 2U);
  EXPECT_LT(Stat(file.ino).ctime_ns, Now());
}

TEST_P(RenameTest, NoReplaceReplacesNothing) {
  Create(kRootInode, "a");
  Create(kRootInode, "b");
  EXPECT_EQ(Rename(kRootInode, "a", kRootInode, "b", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(Rename(kRootInode, "a", kRootInode, "c", RENAME_NOREPLACE), 0);
}

TEST_P(RenameTest, ExchangeSwapsAFileAndADirectory) {
  const Attributes a = MakeDir(kRootInode, "a");
  const Attributes b = MakeDir(kRootInode, "b");
  const Attributes file = Create(a.ino, "x");
  const Attributes directory = MakeDir(b.ino, "y");
  Create(directory.ino, "inside");
  EXPECT_EQ(Rename(a.ino, "x", b.ino, "none", RENAME_EXCHANGE), ENOENT);
  ASSERT_EQ(Rename(a.ino, "x", b.ino, "y", RENAME_EXCHANGE), 0);
  EXPECT_EQ(Find(a.ino, "x"), directory.ino);
  EXPECT_EQ(Find(b.ino, "y"), file.ino);
  EXPECT_EQ(Find(directory.ino, ".."), a.ino);
  EXPECT_EQ(Stat(a.ino).nlink, 3U);
  EXPECT_EQ(Stat(b.ino).nlink, 2U);
  EXPECT_EQ(List(directory.ino), Names{"inside"});
}

TEST_P(RenameTest, AWhiteoutStaysAtTheOldName) {
  const Attributes a = MakeDir(kRootInode, "a", 02755);
  const Attributes b = MakeDir(kRootInode, "b");
  const Attributes file = Create(a.ino, "file");
  context_.uid = kUid + 1;
  context_.gid = kGid + 1;
  Tick();
  ASSERT_EQ(Rename(a.ino, "file", b.ino, "moved", RENAME_WHITEOUT), 0);
  EXPECT_EQ(fs().LookupCountTotal(), 3U) << "nobody was told of the whiteout";
  EXPECT_EQ(Find(b.ino, "moved"), file.ino);
  EXPECT_EQ(List(a.ino), Names{"file"});
  const Attributes whiteout = Stat(Find(a.ino, "file"));
  EXPECT_EQ(whiteout.mode, static_cast<uint32_t>(S_IFCHR));
  EXPECT_EQ(whiteout.rdev, 0U);
  EXPECT_EQ(whiteout.nlink, 1U);
  EXPECT_EQ(whiteout.uid, kUid + 1);
  EXPECT_EQ(whiteout.gid, kGid) << "from the setgid directory";
  EXPECT_EQ(whiteout.btime_ns, Now());
  EXPECT_EQ(fs().StatFs().value().inodes, 5U);

  // Within one directory, over another file, and of a directory.
  ASSERT_EQ(Rename(b.ino, "moved", b.ino, "again", RENAME_WHITEOUT), 0);
  EXPECT_EQ(List(b.ino), (Names{"again", "moved"}));
  EXPECT_EQ(Find(b.ino, "again"), file.ino);
  ASSERT_EQ(Rename(b.ino, "again", b.ino, "moved", RENAME_WHITEOUT), 0);
  EXPECT_EQ(List(b.ino), (Names{"moved", "again"}));
  EXPECT_EQ(Find(b.ino, "moved"), file.ino);
  MakeDir(a.ino, "d");
  ASSERT_EQ(Rename(a.ino, "d", b.ino, "d", RENAME_WHITEOUT | RENAME_NOREPLACE), 0);
  EXPECT_EQ(Stat(a.ino).nlink, 2U);
  EXPECT_EQ(Stat(b.ino).nlink, 3U);
  EXPECT_EQ(List(a.ino), (Names{"file", "d"}));
  EXPECT_EQ(Unlink(a.ino, "d"), 0);
  EXPECT_EQ(Check(), "");
}

TEST_P(RenameTest, WhiteoutsGoWithTheOtherFlagsAsTheyShould) {
  const Attributes file = Create(kRootInode, "file");
  Create(kRootInode, "other");
  ASSERT_TRUE(fs().Link(context_, file.ino, kRootInode, "link").ok());
  const uint32_t with_no_replace = RENAME_WHITEOUT | RENAME_NOREPLACE;
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "other", with_no_replace), EEXIST);
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "other", RENAME_WHITEOUT | RENAME_EXCHANGE),
            EINVAL);
  EXPECT_EQ(Rename(kRootInode, "none", kRootInode, "x", RENAME_WHITEOUT), ENOENT);
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "link", RENAME_WHITEOUT), 0);
  EXPECT_EQ(List(kRootInode), (Names{"file", "other", "link"})) << "one file: nothing happens";
}

TEST_P(RenameTest, InAndOutOfARemovedDirectoryIsEnoent) {
  const Attributes gone = MakeDir(kRootInode, "gone");
  Create(kRootInode, "file");
  ASSERT_EQ(RemoveDir(kRootInode, "gone"), 0);
  EXPECT_EQ(Rename(kRootInode, "file", gone.ino, "x"), ENOENT);
  EXPECT_EQ(Rename(gone.ino, "x", kRootInode, "y"), ENOENT);
}

TEST_P(RenameTest, AListingUnderWayMeetsARenamedEntryOnce) {
  Create(kRootInode, "a");
  Create(kRootInode, "b");
  Create(kRootInode, "c");
  ASSERT_EQ(Rename(kRootInode, "a", kRootInode, "z"), 0);
  EXPECT_EQ(List(kRootInode), (Names{"z", "b", "c"})) << "it kept its cookie";
  ASSERT_EQ(Rename(kRootInode, "z", kRootInode, "c"), 0);
  EXPECT_EQ(List(kRootInode), (Names{"b", "c"})) << "the replaced name kept its own";
}
INSTANTIATE_FS_TEST(RenameTest);

}  // namespace
}  // namespace terracefs::fs
