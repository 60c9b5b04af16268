// Attributes, times, setuid clearing, xattrs and space.
#include <sys/xattr.h>

#include <cerrno>

#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::Errno;
using testing::FsTest;

constexpr int64_t kDayNs = int64_t{24} * 3600 * 1'000'000'000;

class AttrTest : public FsTest {
 protected:
  uint32_t ModeAfter(InodeNumber ino, const AttributeChange& change) {
    const auto changed = fs().SetAttributes(context_, ino, change);
    EXPECT_TRUE(changed.ok());
    return changed->mode & 07777;
  }
  int SetX(InodeNumber ino, std::string_view name, std::string_view value, int flags = 0) {
    return Errno(fs().SetXattr(context_, ino, name, value, flags));
  }
};
// What looks behind the engine, or makes it fail.
class AttrMemoryTest : public AttrTest {};

TEST_P(AttrTest, ChmodKeepsTheTypeAndMovesCtime) {
  const Attributes file = Create(kRootInode, "file");
  Tick();
  AttributeChange change;
  change.mode = 0107777;
  EXPECT_EQ(ModeAfter(file.ino, change), 07777U);
  const Attributes after = Stat(file.ino);
  EXPECT_TRUE(S_ISREG(after.mode));
  EXPECT_EQ(after.ctime_ns, Now());
  EXPECT_LT(after.mtime_ns, Now());
}

TEST_P(AttrTest, ChownTakesSetuidAway) {
  const Attributes program = Create(kRootInode, "program", 06775);
  AttributeChange chown;
  chown.uid = 5;
  EXPECT_EQ(ModeAfter(program.ino, chown), 0775U);
}

TEST_P(AttrTest, WritingTakesSetuidAwayIfTheKernelSaysSo) {
  const Attributes program = Create(kRootInode, "program");
  const auto mode_after_write = [&](uint32_t mode, bool kill) {
    AttributeChange chmod;
    chmod.mode = mode;
    EXPECT_EQ(ModeAfter(program.ino, chmod), mode);
    const auto outcome = fs().Write(context_, program.ino, 0, io::AsBytes("x"), kill);
    EXPECT_TRUE(outcome.ok());
    const uint32_t after = Stat(program.ino).mode & 07777;
    EXPECT_EQ(outcome->mode_changed, after != mode);
    return after;
  };
  EXPECT_EQ(mode_after_write(06755, true), 0755U);
  EXPECT_EQ(mode_after_write(06755, false), 06755U);
  EXPECT_EQ(mode_after_write(0755, true), 0755U);
  // Without group execution setgid means mandatory locking, and stays.
  EXPECT_EQ(mode_after_write(06644, true), 02644U);
}

TEST_P(AttrTest, TruncationTakesSetuidAwayIfTheKernelSaysSo) {
  const Attributes program = Create(kRootInode, "program", 06775);
  AttributeChange change;
  change.size = 10;
  EXPECT_EQ(ModeAfter(program.ino, change), 06775U);
  change.kill_suid_sgid = true;
  EXPECT_EQ(ModeAfter(program.ino, change), 0775U);
}

TEST_P(AttrTest, ADirectoryKeepsItsSetgidBitWhenItChangesHands) {
  const Attributes directory = MakeDir(kRootInode, "d", 02775);
  AttributeChange chown;
  chown.gid = 7;
  EXPECT_EQ(ModeAfter(directory.ino, chown), 02775U);
}

TEST_P(AttrTest, TimesAreKeptToTheNanosecond) {
  const Attributes file = Create(kRootInode, "file");
  AttributeChange change;
  change.atime_ns = -1;
  change.mtime_ns = 4'000'000'000'123'456'789;
  ASSERT_TRUE(fs().SetAttributes(context_, file.ino, change).ok());
  Remount();
  EXPECT_EQ(Stat(file.ino).atime_ns, -1);
  EXPECT_EQ(Stat(file.ino).mtime_ns, 4'000'000'000'123'456'789);
}

TEST_P(AttrTest, OnlyRegularFilesHaveASizeToSet) {
  const Attributes directory = MakeDir(kRootInode, "d");
  const auto pipe = fs().MakeNode(context_, kRootInode, "pipe", S_IFIFO | 0600, 0);
  const Attributes file = Create(kRootInode, "file");
  EXPECT_EQ(Truncate(directory.ino, 0), EISDIR);
  EXPECT_EQ(Truncate(pipe->ino, 0), EINVAL);
  EXPECT_EQ(Truncate(file.ino, kFileBytesMax + 1), EFBIG);
  EXPECT_EQ(Truncate(file.ino, kFileBytesMax), 0);
  EXPECT_EQ(Stat(file.ino).blocks, 0U);
}

TEST_P(AttrTest, RelatimeNotesTheFirstReadAndThenOneADay) {
  const Attributes file = Create(kRootInode, "file");
  ASSERT_EQ(Write(file.ino, 0, "x"), 0);
  Tick();
  Read(file.ino, 0, 1);
  const int64_t first = Stat(file.ino).atime_ns;
  EXPECT_EQ(first, Now());
  Tick();
  Read(file.ino, 0, 1);
  EXPECT_EQ(Stat(file.ino).atime_ns, first);
  clock_.AdvanceNs(kDayNs);
  Read(file.ino, 0, 1);
  EXPECT_EQ(Stat(file.ino).atime_ns, Now());
}

TEST_P(AttrTest, NoatimeNotesNothing) {
  options_.atime = AtimePolicy::kNone;
  Remount();
  const Attributes file = Create(kRootInode, "file");
  Tick();
  Read(file.ino, 0, 1);
  List(kRootInode);
  EXPECT_EQ(Stat(file.ino).atime_ns, kStartNs);
  EXPECT_EQ(Stat(kRootInode).atime_ns, kStartNs);
}

TEST_P(AttrTest, XattrsAreSetReadListedAndRemoved) {
  const Attributes file = Create(kRootInode, "file");
  EXPECT_EQ(Errno(fs().GetXattr(context_, file.ino, "user.a")), ENODATA);
  ASSERT_EQ(SetX(file.ino, "user.a", "one"), 0);
  ASSERT_EQ(SetX(file.ino, "trusted.b", ""), 0);
  ASSERT_EQ(SetX(file.ino, "user.a", std::string(65536, 'v')), 0);
  Remount();
  EXPECT_EQ(fs().GetXattr(context_, file.ino, "user.a").value(), std::string(65536, 'v'));
  EXPECT_EQ(fs().GetXattr(context_, file.ino, "trusted.b").value(), "");
  OpContext root = context_;
  root.uid = 0;
  EXPECT_EQ(fs().ListXattr(root, file.ino).value(), std::string("trusted.b\0user.a\0", 17));
  EXPECT_EQ(fs().ListXattr(context_, file.ino).value(), std::string("user.a\0", 7));
  ASSERT_TRUE(fs().RemoveXattr(context_, file.ino, "user.a").ok());
  EXPECT_EQ(Errno(fs().RemoveXattr(context_, file.ino, "user.a")), ENODATA);
  EXPECT_EQ(fs().ListXattr(root, file.ino).value(), std::string("trusted.b\0", 10));
  EXPECT_EQ(fs().ListXattr(context_, file.ino).value(), "");
}

TEST_P(AttrTest, XattrFlagsAndLimitsAreKept) {
  const Attributes file = Create(kRootInode, "file");
  const auto link = fs().MakeSymlink(context_, kRootInode, "link", "file");
  EXPECT_EQ(SetX(file.ino, "user.a", "", XATTR_REPLACE), ENODATA);
  EXPECT_EQ(SetX(file.ino, "user.a", "", XATTR_CREATE), 0);
  EXPECT_EQ(SetX(file.ino, "user.a", "", XATTR_CREATE), EEXIST);
  EXPECT_EQ(SetX(file.ino, "user.a", "", XATTR_REPLACE), 0);
  EXPECT_EQ(SetX(file.ino, "user.a", std::string(65537, 'v')), E2BIG);
  EXPECT_EQ(SetX(file.ino, "user." + std::string(250, 'n'), ""), 0);
  EXPECT_EQ(SetX(file.ino, "user." + std::string(251, 'n'), ""), ERANGE);
  EXPECT_EQ(SetX(file.ino, "user.", ""), EINVAL);
  EXPECT_EQ(SetX(file.ino, "system.posix_acl_other", ""), EOPNOTSUPP);
  EXPECT_EQ(SetX(file.ino, "none.a", ""), EOPNOTSUPP);
  EXPECT_EQ(SetX(link->ino, "user.a", ""), EPERM);
  EXPECT_EQ(SetX(link->ino, "security.a", ""), 0);
}

TEST_P(AttrTest, MoreXattrsThanCanBeListedAreSetReadAndRemoved) {
  const Attributes file = Create(kRootInode, "file");
  const auto name = [](int i) {
    return "user." + std::to_string(10000 + i) + std::string(245, 'n');
  };
  for (int i = 0; i < 256; ++i) ASSERT_EQ(SetX(file.ino, name(i), std::to_string(i)), 0);
  EXPECT_EQ(fs().ListXattr(context_, file.ino).value().size(), 65536U);
  for (int i = 256; i < 3000; ++i) ASSERT_EQ(SetX(file.ino, name(i), std::to_string(i)), 0);
  EXPECT_EQ(Errno(fs().ListXattr(context_, file.ino)), E2BIG);
  EXPECT_EQ(SetX(file.ino, name(2999), "", XATTR_CREATE), EEXIST);
  Remount();
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(fs().GetXattr(context_, file.ino, name(i)).value(), std::to_string(i));
  }
  for (int i = 256; i < 3000; ++i) {
    ASSERT_TRUE(fs().RemoveXattr(context_, file.ino, name(i)).ok());
  }
  EXPECT_EQ(fs().ListXattr(context_, file.ino).value().size(), 65536U);
}

TEST_P(AttrTest, ACapabilityGoesWithAWriteATruncationAndAChown) {
  const Attributes file = Create(kRootInode, "file", 0755);
  const auto has = [&] { return fs().GetXattr(context_, file.ino, "security.capability").ok(); };
  ASSERT_EQ(SetX(file.ino, "user.stays", "x"), 0);
  ASSERT_EQ(SetX(file.ino, "security.capability", "cap"), 0);
  ASSERT_EQ(Write(file.ino, 0, "x"), 0);
  EXPECT_FALSE(has());
  ASSERT_EQ(SetX(file.ino, "security.capability", "cap"), 0);
  ASSERT_EQ(Truncate(file.ino, 0), 0);
  EXPECT_FALSE(has());
  ASSERT_EQ(SetX(file.ino, "security.capability", "cap"), 0);
  AttributeChange chown;
  chown.uid = 1;
  ASSERT_TRUE(fs().SetAttributes(context_, file.ino, chown).ok());
  EXPECT_FALSE(has());
  EXPECT_EQ(fs().ListXattr(context_, file.ino).value(), std::string("user.stays\0", 11));
}

// What was written before the capability was given, and reaches us later.
TEST_P(AttrTest, ACapabilityStaysWhenTheKernelWritesBack) {
  const Attributes file = Create(kRootInode, "file", 0755);
  ASSERT_EQ(SetX(file.ino, "security.capability", "cap"), 0);
  OpContext write_back = context_;
  write_back.write_back = true;
  ASSERT_TRUE(fs().Write(write_back, file.ino, 0, io::AsBytes("x"), false).ok());
  EXPECT_EQ(fs().GetXattr(context_, file.ino, "security.capability").value(), "cap");
}

TEST_P(AttrMemoryTest, AnInodeWithoutXattrsNeedsNoLookUp) {
  const Attributes file = Create(kRootInode, "file");
  const uint64_t before = engine_->memory()->read_count();
  EXPECT_EQ(Errno(fs().GetXattr(context_, file.ino, "security.capability")), ENODATA);
  ASSERT_EQ(Write(file.ino, 0, "x"), 0);
  EXPECT_EQ(engine_->memory()->read_count(), before);
}

TEST_P(AttrMemoryTest, SpaceCountsPagesAndInodes) {
  engine_->memory()->SetRoomBytes(uint64_t{1} << 30);
  const Attributes file = Create(kRootInode, "file");
  ASSERT_EQ(Write(file.ino, 100, std::string(kPageBytes, 'x')), 0);
  const SpaceUsage space = fs().StatFs().value();
  EXPECT_EQ(space.inodes, 2U);
  EXPECT_EQ(space.free_bytes, uint64_t{1} << 30);
  EXPECT_EQ(space.capacity_bytes, (uint64_t{1} << 30) + 2 * kPageBytes);
}

TEST_P(AttrMemoryTest, WithoutRoomNothingIsAddedButAllCanBeRemoved) {
  const Attributes file = Create(kRootInode, "file");
  ASSERT_EQ(Write(file.ino, 0, std::string(3 * kPageBytes, 'x')), 0);
  engine_->memory()->SetRoomBytes(0);
  EXPECT_EQ(Write(file.ino, 0, "y"), ENOSPC) << "an overwrite takes space, too, until a compaction";
  EXPECT_EQ(Errno(fs().MakeNode(context_, kRootInode, "new", S_IFREG | 0600, 0)), ENOSPC);
  EXPECT_EQ(Errno(fs().MakeDirectory(context_, kRootInode, "new", 0700)), ENOSPC);
  EXPECT_EQ(Errno(fs().MakeSymlink(context_, kRootInode, "new", "file")), ENOSPC);
  EXPECT_EQ(Errno(fs().Link(context_, file.ino, kRootInode, "new")), ENOSPC);
  EXPECT_EQ(Errno(fs().SetXattr(context_, file.ino, "user.a", "v", 0)), ENOSPC);
  EXPECT_EQ(Rename(kRootInode, "file", kRootInode, "renamed"), 0);
  EXPECT_EQ(Truncate(file.ino, kPageBytes + 1), 0);
  EXPECT_EQ(Unlink(kRootInode, "renamed"), 0);
  EXPECT_EQ(fs().StatFs().value().free_bytes, 0U);
}

TEST_P(AttrTest, AFixedSizeIsNotExceeded) {
  Format({.size_bytes = 10 * kPageBytes, .label = "small"});
  const Attributes file = Create(kRootInode, "file");
  ASSERT_EQ(Write(file.ino, 0, std::string(8 * kPageBytes, 'x')), 0);
  EXPECT_EQ(Write(file.ino, 8 * kPageBytes, std::string(2 * kPageBytes + 1, 'x')), ENOSPC);
  EXPECT_EQ(Stat(file.ino).size, 8 * kPageBytes) << "all or nothing";
  EXPECT_EQ(Write(file.ino, 0, std::string(8 * kPageBytes, 'y')), 0) << "overwriting adds nothing";
  EXPECT_EQ(Write(file.ino, 8 * kPageBytes, std::string(2 * kPageBytes, 'x')), 0);
  EXPECT_EQ(fs().StatFs().value().free_bytes, 0U);
  EXPECT_EQ(Truncate(file.ino, 0), 0);
  EXPECT_EQ(fs().StatFs().value().free_bytes, 10 * kPageBytes);
}
INSTANTIATE_FS_TEST(AttrTest);
INSTANTIATE_MEMORY_FS_TEST(AttrMemoryTest);

}  // namespace
}  // namespace terracefs::fs
