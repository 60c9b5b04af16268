// Files without a name (O_TMPFILE): orphans that may be given one.
#include <cerrno>

#include "fs/schema/keys.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::CrashMode;
using testing::Errno;
using testing::FsTest;

using Names = std::vector<std::string>;

class TemporaryTest : public FsTest {
 protected:
  Attributes MakeTemporary(InodeNumber parent, uint32_t mode = 0600) {
    const auto made = fs().MakeTemporary(context_, parent, mode);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    return made.ok() ? *made : Attributes();
  }
  int Link(InodeNumber ino, std::string_view name) {
    return Errno(fs().Link(context_, ino, kRootInode, name));
  }
};
class TemporaryMemoryTest : public TemporaryTest {};

TEST_P(TemporaryTest, HasNoNameAndLeavesItsDirectoryAlone) {
  const Attributes before = Stat(kRootInode);
  Tick();
  context_.umask = 022;
  const Attributes file = MakeTemporary(kRootInode, 0666);
  EXPECT_EQ(file.mode, static_cast<uint32_t>(S_IFREG | 0644));
  EXPECT_EQ(file.nlink, 0U);
  EXPECT_EQ(file.uid, kUid);
  EXPECT_EQ(file.gid, kGid);
  EXPECT_EQ(file.btime_ns, Now());
  EXPECT_EQ(Stat(kRootInode).mtime_ns, before.mtime_ns);
  EXPECT_EQ(List(kRootInode), Names());
  EXPECT_EQ(Write(file.ino, 3, "text"), 0);
  EXPECT_EQ(Read(file.ino, 0, 10), std::string("\0\0\0text", 7));
  EXPECT_EQ(Check(), "");
  EXPECT_EQ(fs().LookupCountTotal(), 1U);
  EXPECT_EQ(fs().StatFs().value().inodes, 2U);
}

TEST_P(TemporaryTest, GoesWithItsLastUser) {
  const Attributes file = MakeTemporary(kRootInode);
  ASSERT_EQ(Write(file.ino, 0, std::string(100'000, 'x')), 0);
  EXPECT_GT(fs().UnlinkedPageCount().value(), 0U);
  Forget(file.ino);
  EXPECT_EQ(Errno(fs().GetAttributes(context_, file.ino)), ESTALE);
  EXPECT_EQ(Link(file.ino, "late"), ESTALE);
  const SpaceUsage space = fs().StatFs().value();
  EXPECT_EQ(space.inodes, 1U);
  EXPECT_EQ(space.capacity_bytes, space.free_bytes);
}

TEST_P(TemporaryTest, GoesWithTheMount) {
  const Attributes file = MakeTemporary(kRootInode);
  Remount();
  EXPECT_EQ(Errno(fs().GetAttributes(context_, file.ino)), ESTALE);
  EXPECT_EQ(fs().StatFs().value().inodes, 1U);
}

TEST_P(TemporaryTest, GoesAtTheMountAfterACrash) {
  const Attributes file = MakeTemporary(kRootInode);
  ASSERT_EQ(Write(file.ino, 0, std::string(10'000, 'x')), 0);
  const Attributes named = MakeTemporary(kRootInode);
  ASSERT_EQ(Write(named.ino, 0, "kept"), 0);
  ASSERT_EQ(Link(named.ino, "named"), 0);
  CrashAndMount();
  EXPECT_EQ(Errno(fs().GetAttributes(context_, file.ino)), ESTALE);
  EXPECT_EQ(List(kRootInode), Names{"named"});
  EXPECT_EQ(Read(Find(kRootInode, "named"), 0, 10), "kept");
  EXPECT_EQ(fs().StatFs().value().inodes, 2U);
}

TEST_P(TemporaryTest, ALinkMakesItAFileLikeAnyOther) {
  const Attributes file = MakeTemporary(kRootInode);
  ASSERT_EQ(Write(file.ino, 0, "content"), 0);
  Tick();
  const auto linked = fs().Link(context_, file.ino, kRootInode, "file");
  ASSERT_TRUE(linked.ok());
  EXPECT_EQ(linked->nlink, 1U);
  EXPECT_EQ(linked->ctime_ns, Now());
  EXPECT_EQ(Stat(kRootInode).mtime_ns, Now());
  EXPECT_EQ(Check(), "");
  EXPECT_EQ(fs().LookupCountTotal(), 2U);
  ASSERT_EQ(Link(file.ino, "second"), 0);
  Forget(file.ino, 3);
  Remount();
  EXPECT_EQ(List(kRootInode), (Names{"file", "second"}));
  EXPECT_EQ(Read(Find(kRootInode, "second"), 0, 10), "content");
}

TEST_P(TemporaryTest, IsNamedOnceOnly) {
  const Attributes file = MakeTemporary(kRootInode);
  ASSERT_EQ(Link(file.ino, "file"), 0);
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  EXPECT_EQ(Link(file.ino, "again"), ENOENT) << "its last name is gone";
  Forget(file.ino, 2);
  EXPECT_EQ(fs().StatFs().value().inodes, 1U);
}

TEST_P(TemporaryTest, AFailedLinkLeavesItNameless) {
  const Attributes file = MakeTemporary(kRootInode);
  Create(kRootInode, "taken");
  EXPECT_EQ(Link(file.ino, "taken"), EEXIST);
  EXPECT_EQ(Link(file.ino, std::string(256, 'x')), ENAMETOOLONG);
  EXPECT_EQ(Errno(fs().Link(context_, file.ino, file.ino, "x")), ENOTDIR);
  EXPECT_EQ(Check(), "");
  EXPECT_EQ(Link(file.ino, "free"), 0);
}

TEST_P(TemporaryTest, RefusesWhatIsNoDirectory) {
  const Attributes file = Create(kRootInode, "file");
  EXPECT_EQ(Errno(fs().MakeTemporary(context_, file.ino, 0600)), ENOTDIR);
  EXPECT_EQ(Errno(fs().MakeTemporary(context_, InodeNumber{4711}, 0600)), ESTALE);
  const Attributes directory = MakeDir(kRootInode, "d");
  ASSERT_EQ(RemoveDir(kRootInode, "d"), 0);
  EXPECT_EQ(Errno(fs().MakeTemporary(context_, directory.ino, 0600)), ENOENT);
}

TEST_P(TemporaryTest, ASetgidDirectoryHandsDownItsGroup) {
  const Attributes directory = MakeDir(kRootInode, "d", 02755);
  context_.gid = kGid + 5;
  const Attributes file = MakeTemporary(directory.ino);
  EXPECT_EQ(file.gid, kGid);
  EXPECT_EQ(file.mode, static_cast<uint32_t>(S_IFREG | 0600));
}

TEST_P(TemporaryTest, NeedsAWritableMount) {
  options_.read_only = true;
  Remount();
  EXPECT_EQ(Errno(fs().MakeTemporary(context_, kRootInode, 0600)), EROFS);
}
INSTANTIATE_FS_TEST(TemporaryTest);

TEST_P(TemporaryMemoryTest, AWriteThatFailsChangesNothing) {
  testing::MemoryDb& raw = *engine_->memory();
  raw.FailWriteAfter(0, io::Status::IoError("injected", "", EIO));
  EXPECT_EQ(Errno(fs().MakeTemporary(context_, kRootInode, 0600)), testing::kErrnoIo);
  raw.FailWriteAfter(UINT64_MAX, io::Status::Ok());
  const Attributes file = MakeTemporary(kRootInode);
  raw.FailWriteAfter(0, io::Status::IoError("injected", "", EIO));
  EXPECT_EQ(Link(file.ino, "name"), testing::kErrnoIo);
  raw.FailWriteAfter(UINT64_MAX, io::Status::Ok());
  EXPECT_EQ(fs().LookupCountTotal(), 1U);
  EXPECT_EQ(Check(), "");
  ASSERT_EQ(Link(file.ino, "name"), 0) << "it can still be named";
  EXPECT_EQ(Check(), "");
}
INSTANTIATE_MEMORY_FS_TEST(TemporaryMemoryTest);

// Power cuts at many moments of making, naming and dropping such files, every one of which leaves a
// sound tree, without an inode that nobody can reach.
TEST(TemporaryCrashTest, APowerCutLeavesNoInodeWithoutAName) {
  const io::ManualClock clock(int64_t{1'700'000'000} * 1'000'000'000);
  lsm::Options engine_options;
  engine_options.commit_interval_ms = 1;
  const auto engine = testing::TestEngine::Real(engine_options);
  ASSERT_TRUE(FileSystem::Format(engine->db(), {}, 0, 0, clock).ok());
  FileSystemOptions options;
  options.clock = &clock;
  auto mounted = FileSystem::Mount(engine->db(), options);
  ASSERT_TRUE(mounted.ok());
  FileSystem& file_system = **mounted;
  const OpContext context;
  for (uint64_t i = 0; i < 60; ++i) {
    const auto file = file_system.MakeTemporary(context, kRootInode, 0644);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file_system.Write(context, file->ino, 0, io::AsBytes("some content"), false).ok());
    uint64_t lookups = 1;
    if (i % 3 != 0) {
      const std::string name = "f" + std::to_string(i);
      ASSERT_TRUE(file_system.Link(context, file->ino, kRootInode, name).ok());
      ++lookups;
      if (i % 3 == 1) {
        ASSERT_TRUE(file_system.Unlink(context, kRootInode, name).ok());
      }
    }
    if (i % 2 == 0) file_system.Forget(file->ino, lookups);
    if (i % 7 == 0) {
      ASSERT_TRUE(file_system.Sync().ok());
    }

    const auto crashed = engine->AfterCrash(/*seed=*/i, CrashMode::kRandom);
    auto again = FileSystem::Mount(crashed->db(), options);
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    const auto messages = (*again)->CheckTree(/*read_data=*/true);
    ASSERT_TRUE(messages.ok());
    for (const std::string& message : *messages) ADD_FAILURE() << "seed " << i << ": " << message;
    uint64_t named = 0;
    ASSERT_TRUE((*again)
                    ->ReadDirectory(context, kRootInode, 2, /*with_attributes=*/false,
                                    [&named](const DirectoryEntry&) { return ++named, true; })
                    .ok());
    EXPECT_EQ((*again)->StatFs()->inodes, named + 1) << "seed " << i;
    again->reset();
    ASSERT_TRUE(crashed->db().Close().ok());
  }
  mounted->reset();
  ASSERT_TRUE(engine->db().Close().ok());
}

}  // namespace
}  // namespace terracefs::fs
