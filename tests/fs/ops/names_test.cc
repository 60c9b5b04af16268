// Lookup, create, link, unlink, rmdir: the operations on names, errno by errno.
#include <cerrno>

#include "fs/schema/inode_number.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::Errno;
using testing::FsTest;

using Names = std::vector<std::string>;

class LookupTest : public FsTest {};

TEST_P(LookupTest, FindsWhatWasCreated) {
  const Attributes file = Create(kRootInode, "file");
  const auto found = fs().Lookup(context_, kRootInode, "file");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->ino, file.ino);
  EXPECT_EQ(fs().LookupCountTotal(), 2U);
}

TEST_P(LookupTest, AnswersWithTheErrnoOfTheSystemCall) {
  const Attributes file = Create(kRootInode, "file");
  EXPECT_EQ(Errno(fs().Lookup(context_, kRootInode, "none")), ENOENT);
  EXPECT_EQ(Errno(fs().Lookup(context_, kRootInode, std::string(256, 'x'))), ENAMETOOLONG);
  EXPECT_EQ(Errno(fs().Lookup(context_, kRootInode, std::string(255, 'x'))), ENOENT);
  EXPECT_EQ(Errno(fs().Lookup(context_, file.ino, "x")), ENOTDIR);
  EXPECT_EQ(Errno(fs().Lookup(context_, InodeNumber{777}, "x")), ESTALE);
  EXPECT_EQ(fs().LookupCountTotal(), 1U) << "a failed look-up must not raise a count";
}

TEST_P(LookupTest, DotsMeanTheDirectoryAndItsParent) {
  const Attributes a = MakeDir(kRootInode, "a");
  const Attributes b = MakeDir(a.ino, "b");
  EXPECT_EQ(Find(b.ino, "."), b.ino);
  EXPECT_EQ(Find(b.ino, ".."), a.ino);
  EXPECT_EQ(Find(kRootInode, ".."), kRootInode);
}

TEST_P(LookupTest, AnInodeIsFoundByItsNumberAfterARemount) {
  const Attributes file = Create(kRootInode, "file");
  Remount();
  EXPECT_EQ(Find(file.ino, "."), file.ino);
  EXPECT_EQ(Unlink(kRootInode, "file"), 0);
  EXPECT_EQ(Errno(fs().Lookup(context_, file.ino, ".")), ESTALE);
}
INSTANTIATE_FS_TEST(LookupTest);

class CreateTest : public FsTest {};

TEST_P(CreateTest, GivesTheInodeItsAttributes) {
  context_.umask = 022;
  const Attributes file = Create(kRootInode, "file", 0666);
  EXPECT_EQ(file.mode, uint32_t{S_IFREG | 0644});
  EXPECT_EQ(file.nlink, 1U);
  EXPECT_EQ(file.uid, kUid);
  EXPECT_EQ(file.gid, kGid);
  EXPECT_EQ(file.size, 0U);
  EXPECT_EQ(file.btime_ns, Now());
  EXPECT_EQ(file.mtime_ns, Now());
  Remount();
  const Attributes again = Stat(file.ino);
  EXPECT_EQ(again.mode, file.mode);
  EXPECT_EQ(again.btime_ns, file.btime_ns);
}

TEST_P(CreateTest, MovesTheTimesOfTheParent) {
  Tick();
  Create(kRootInode, "file");
  EXPECT_EQ(Stat(kRootInode).mtime_ns, Now());
  EXPECT_EQ(Stat(kRootInode).ctime_ns, Now());
  EXPECT_LT(Stat(kRootInode).atime_ns, Now());
}

TEST_P(CreateTest, RefusesNamesThatCannotBe) {
  Create(kRootInode, "file");
  const auto make = [&](InodeNumber parent, std::string_view name) {
    return Errno(fs().MakeNode(context_, parent, name, S_IFREG | 0644, 0));
  };
  EXPECT_EQ(make(kRootInode, "file"), EEXIST);
  EXPECT_EQ(make(kRootInode, "."), EEXIST);
  EXPECT_EQ(make(kRootInode, ".."), EEXIST);
  EXPECT_EQ(make(kRootInode, "a/b"), EINVAL);
  EXPECT_EQ(make(kRootInode, std::string(256, 'x')), ENAMETOOLONG);
  EXPECT_EQ(make(kRootInode, std::string(255, 'x')), 0);
  EXPECT_EQ(make(Find(kRootInode, "file"), "x"), ENOTDIR);
}

TEST_P(CreateTest, InARemovedDirectoryIsEnoent) {
  const Attributes directory = MakeDir(kRootInode, "d");
  ASSERT_EQ(RemoveDir(kRootInode, "d"), 0);
  EXPECT_EQ(Errno(fs().MakeNode(context_, directory.ino, "x", S_IFREG, 0)), ENOENT);
  EXPECT_EQ(Errno(fs().MakeDirectory(context_, directory.ino, "x", 0)), ENOENT);
  EXPECT_EQ(Errno(fs().Lookup(context_, directory.ino, "x")), ENOENT);
  EXPECT_EQ(List(directory.ino, 0), Names());
}

TEST_P(CreateTest, ASetgidDirectoryHandsDownGroupAndBit) {
  const Attributes directory = MakeDir(kRootInode, "d");
  AttributeChange change;
  change.gid = 55;
  change.mode = 02775;
  ASSERT_TRUE(fs().SetAttributes(context_, directory.ino, change).ok());
  EXPECT_EQ(Create(directory.ino, "file").gid, 55U);
  const Attributes below = MakeDir(directory.ino, "below");
  EXPECT_EQ(below.gid, 55U);
  EXPECT_EQ(below.mode, uint32_t{S_IFDIR | S_ISGID | 0755});
}

TEST_P(CreateTest, KnowsEveryType) {
  for (const mode_t type : std::initializer_list<mode_t>{S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK}) {
    const std::string name = "node" + std::to_string(type);
    const auto node = fs().MakeNode(context_, kRootInode, name, type | 0600, 0x12345678);
    ASSERT_TRUE(node.ok());
    EXPECT_EQ(node->mode & S_IFMT, type);
    EXPECT_EQ(node->rdev, type == S_IFCHR || type == S_IFBLK ? 0x12345678U : 0U);
  }
  EXPECT_EQ(Errno(fs().MakeNode(context_, kRootInode, "x", S_IFDIR, 0)), EPERM);
  EXPECT_EQ(Errno(fs().MakeNode(context_, kRootInode, "x", 0150000, 0)), EINVAL);
}

TEST_P(CreateTest, ASymlinkKeepsItsTarget) {
  const std::string target(4095, 't');
  const auto link = fs().MakeSymlink(context_, kRootInode, "link", target);
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(link->size, target.size());
  Remount();
  const auto read = fs().ReadLink(context_, link->ino);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(*read, target);
  EXPECT_EQ(Errno(fs().MakeSymlink(context_, kRootInode, "l2", target + "t")), ENAMETOOLONG);
  EXPECT_EQ(Errno(fs().ReadLink(context_, kRootInode)), EINVAL);
}

TEST_P(CreateTest, DirectoriesCountTheirSubdirectories) {
  const Attributes a = MakeDir(kRootInode, "a");
  EXPECT_EQ(a.nlink, 2U);
  MakeDir(a.ino, "b");
  EXPECT_EQ(Stat(a.ino).nlink, 3U);
  EXPECT_EQ(Stat(kRootInode).nlink, 3U);
}

TEST_P(CreateTest, NumbersAreNotReusedAfterARemount) {
  const Attributes first = Create(kRootInode, "file");
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  Forget(first.ino);
  CrashAndMount();
  EXPECT_GT(Create(kRootInode, "file").ino, first.ino);
}

TEST_P(CreateTest, NothingChangesOnAReadOnlyMount) {
  const Attributes file = Create(kRootInode, "file");
  options_.read_only = true;
  Remount();
  EXPECT_EQ(Errno(fs().MakeNode(context_, kRootInode, "x", S_IFREG, 0)), EROFS);
  EXPECT_EQ(Unlink(kRootInode, "file"), EROFS);
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "x"), EROFS);
  EXPECT_EQ(Write(file.ino, 0, "x"), EROFS);
  EXPECT_EQ(Truncate(file.ino, 0), EROFS);
  EXPECT_EQ(Errno(fs().SetXattr(context_, file.ino, "user.a", "", 0)), EROFS);
  EXPECT_EQ(List(kRootInode), Names{"file"});
}
TEST_P(CreateTest, AMountCanBecomeReadOnlyAndWritableAgain) {
  ASSERT_TRUE(fs().SetReadOnly(true).ok());
  EXPECT_EQ(Errno(fs().MakeNode(context_, kRootInode, "x", S_IFREG, 0)), EROFS);
  ASSERT_TRUE(fs().SetReadOnly(false).ok());
  Create(kRootInode, "x");
  options_.read_only = true;
  Remount();
  EXPECT_EQ(Errno(fs().SetReadOnly(false)), EROFS);
  EXPECT_TRUE(fs().SetReadOnly(true).ok());
}
INSTANTIATE_FS_TEST(CreateTest);

class LinkTest : public FsTest {};

TEST_P(LinkTest, NamesOneInodeTwice) {
  const Attributes file = Create(kRootInode, "file");
  Tick();
  const auto linked = fs().Link(context_, file.ino, kRootInode, "link");
  ASSERT_TRUE(linked.ok());
  EXPECT_EQ(linked->nlink, 2U);
  EXPECT_EQ(linked->ctime_ns, Now());
  EXPECT_EQ(fs().LookupCountTotal(), 2U);
  ASSERT_EQ(Write(file.ino, 0, "text"), 0);
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  Forget(file.ino, 2);
  EXPECT_EQ(Read(Find(kRootInode, "link"), 0, 10), "text");
  EXPECT_EQ(Stat(file.ino).nlink, 1U);
}

TEST_P(LinkTest, RefusesWhatPosixRefuses) {
  const Attributes file = Create(kRootInode, "file");
  const Attributes directory = MakeDir(kRootInode, "d");
  EXPECT_EQ(Errno(fs().Link(context_, directory.ino, kRootInode, "x")), EPERM);
  EXPECT_EQ(Errno(fs().Link(context_, file.ino, kRootInode, "d")), EEXIST);
  EXPECT_EQ(Errno(fs().Link(context_, file.ino, file.ino, "x")), ENOTDIR);
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  EXPECT_EQ(Errno(fs().Link(context_, file.ino, kRootInode, "x")), ENOENT);
}
INSTANTIATE_FS_TEST(LinkTest);

class RemoveTest : public FsTest {};
// What looks behind the engine, or makes it fail.
class RemoveMemoryTest : public RemoveTest {};

TEST_P(RemoveTest, AnUnlinkedFileLivesUntilItIsForgotten) {
  const Attributes file = Create(kRootInode, "file");
  ASSERT_EQ(Write(file.ino, 0, "still here"), 0);
  Tick();
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  EXPECT_EQ(Stat(file.ino).nlink, 0U);
  EXPECT_EQ(Stat(file.ino).ctime_ns, Now());
  EXPECT_EQ(Read(file.ino, 0, 100), "still here");
  EXPECT_EQ(Write(file.ino, 5, " is more"), 0);
  EXPECT_EQ(Check(), "");
  Forget(file.ino);
  EXPECT_EQ(Errno(fs().GetAttributes(context_, file.ino)), ESTALE);
  const SpaceUsage space = fs().StatFs().value();
  EXPECT_EQ(space.inodes, 1U);
  EXPECT_EQ(space.capacity_bytes, space.free_bytes);
}

TEST_P(RemoveTest, AForgottenFileGoesAtOnce) {
  const Attributes file = Create(kRootInode, "file");
  ASSERT_EQ(Write(file.ino, 0, std::string(100'000, 'x')), 0);
  Forget(file.ino);
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  EXPECT_EQ(fs().StatFs().value().inodes, 1U);
  EXPECT_EQ(Errno(fs().GetAttributes(context_, file.ino)), ESTALE);
  EXPECT_EQ(Errno(fs().Read(context_, file.ino, 0, {})), ESTALE);
}

TEST_P(RemoveTest, OrphansOfACrashAreCollectedAtMount) {
  const Attributes file = Create(kRootInode, "file");
  const Attributes directory = MakeDir(kRootInode, "d");
  ASSERT_EQ(Write(file.ino, 0, std::string(10'000, 'x')), 0);
  ASSERT_TRUE(fs().SetXattr(context_, file.ino, "user.a", "v", 0).ok());
  Create(directory.ino, "x");
  ASSERT_EQ(Unlink(directory.ino, "x"), 0);
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  ASSERT_EQ(RemoveDir(kRootInode, "d"), 0);
  CrashAndMount();
  EXPECT_EQ(fs().StatFs().value().inodes, 1U);
  EXPECT_EQ(Errno(fs().GetAttributes(context_, file.ino)), ESTALE);
  EXPECT_EQ(Errno(fs().GetAttributes(context_, directory.ino)), ESTALE);
}

TEST_P(RemoveTest, OrphansHeldAtUnmountAreCollectedThen) {
  const Attributes file = Create(kRootInode, "file");
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  file_system_.reset();
  engine_->Restart();
  EXPECT_EQ(engine_->db().Counter(1), 1);
  Mount();
  EXPECT_EQ(Errno(fs().GetAttributes(context_, file.ino)), ESTALE);
}

TEST_P(RemoveTest, RefusesWhatPosixRefuses) {
  Create(kRootInode, "file");
  const Attributes directory = MakeDir(kRootInode, "d");
  Create(directory.ino, "x");
  EXPECT_EQ(Unlink(kRootInode, "d"), EISDIR);
  EXPECT_EQ(Unlink(kRootInode, "none"), ENOENT);
  EXPECT_EQ(RemoveDir(kRootInode, "file"), ENOTDIR);
  EXPECT_EQ(RemoveDir(kRootInode, "d"), ENOTEMPTY);
  EXPECT_EQ(RemoveDir(kRootInode, "none"), ENOENT);
  EXPECT_EQ(RemoveDir(kRootInode, "."), EINVAL);
  EXPECT_EQ(RemoveDir(kRootInode, ".."), ENOTEMPTY);
  ASSERT_EQ(Unlink(directory.ino, "x"), 0);
  EXPECT_EQ(RemoveDir(kRootInode, "d"), 0);
  EXPECT_EQ(Stat(kRootInode).nlink, 2U);
  EXPECT_EQ(Stat(directory.ino).nlink, 0U);
}

TEST_P(RemoveMemoryTest, ACollectedFileLeavesNothingBehind) {
  const std::vector<std::string> before = engine_->memory()->Keys();
  const Attributes directory = MakeDir(kRootInode, "d");
  const Attributes file = Create(directory.ino, "file");
  ASSERT_EQ(Write(file.ino, 0, std::string(100'000, 'x')), 0);
  ASSERT_TRUE(fs().SetXattr(context_, file.ino, "user.a", "v", 0).ok());
  Forget(file.ino);
  Forget(directory.ino);
  ASSERT_EQ(Unlink(directory.ino, "file"), 0);
  ASSERT_EQ(RemoveDir(kRootInode, "d"), 0);
  EXPECT_EQ(engine_->memory()->Keys(), before);
}

TEST_P(RemoveMemoryTest, UnlinkOfALargeFileIsSmall) {
  const Attributes file = Create(kRootInode, "file");
  for (uint64_t i = 0; i < 16; ++i) {
    ASSERT_EQ(Write(file.ino, i << 20, std::string(1 << 20, 'x')), 0);
  }
  Forget(file.ino);
  const uint64_t before = engine_->memory()->written_bytes();
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  EXPECT_LT(engine_->memory()->written_bytes() - before, 250U);
}
INSTANTIATE_FS_TEST(RemoveTest);
INSTANTIATE_MEMORY_FS_TEST(RemoveMemoryTest);

}  // namespace
}  // namespace terracefs::fs
