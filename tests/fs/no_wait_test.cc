// What is asked not to wait answers WouldBlock before it changes anything.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>

#include "fs/inode_locks.h"
#include "fs/inode_table.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::Errno;
using testing::FsTest;
using testing::kErrnoWouldBlock;

class NoWaitTest : public FsTest {
 protected:
  void SetUp() override {
    FsTest::SetUp();
    directory_ = MakeDir(kRootInode, "d").ino;
    file_ = Create(kRootInode, "file").ino;
    ASSERT_EQ(Write(file_, 0, "text"), 0);
    ASSERT_TRUE(fs().SetXattr(context_, file_, "user.a", "v", 0).ok());
  }

  struct Step {
    const char* name;
    std::function<int(const OpContext&)> run;
  };
  // Each succeeds once, in this order.
  std::vector<Step> Changes() {
    return {
        {"mknod",
         [&](const OpContext& c) {
           return Errno(fs().MakeNode(c, kRootInode, "new", S_IFREG | 0644, 0));
         }},
        {"mkdir",
         [&](const OpContext& c) { return Errno(fs().MakeDirectory(c, directory_, "sub", 0755)); }},
        {"symlink",
         [&](const OpContext& c) { return Errno(fs().MakeSymlink(c, directory_, "link", "t")); }},
        {"link",
         [&](const OpContext& c) { return Errno(fs().Link(c, file_, directory_, "hard")); }},
        {"rename",
         [&](const OpContext& c) {
           return Errno(fs().Rename(c, directory_, "sub", kRootInode, "moved", 0));
         }},
        {"exchange",
         [&](const OpContext& c) {
           return Errno(fs().Rename(c, directory_, "link", kRootInode, "new", RENAME_EXCHANGE));
         }},
        {"unlink", [&](const OpContext& c) { return Errno(fs().Unlink(c, directory_, "hard")); }},
        {"rmdir",
         [&](const OpContext& c) { return Errno(fs().RemoveDirectory(c, kRootInode, "moved")); }},
        {"write",
         [&](const OpContext& c) {
           return Errno(fs().Write(c, file_, 9000, io::AsBytes("more"), false));
         }},
        {"punch",
         [&](const OpContext& c) {
           return Errno(
               fs().Allocate(c, file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, INT64_MAX));
         }},
        {"fallocate",
         [&](const OpContext& c) { return Errno(fs().Allocate(c, file_, 0, 100, 20'000)); }},
        {"setattr",
         [&](const OpContext& c) {
           AttributeChange change;
           change.size = 2;
           change.mode = 0600;
           return Errno(fs().SetAttributes(c, file_, change));
         }},
        {"setxattr",
         [&](const OpContext& c) { return Errno(fs().SetXattr(c, file_, "user.b", "w", 0)); }},
        {"removexattr",
         [&](const OpContext& c) { return Errno(fs().RemoveXattr(c, file_, "user.a")); }},
    };
  }
  uint64_t Sequence() { return db().LastSequence(); }

  InodeNumber directory_;
  InodeNumber file_;
};

TEST_P(NoWaitTest, NoChangeIsMadeWhereTheEngineWouldStall) {
  for (const Step& step : Changes()) {
    engine_->memory()->SetStalled(true);
    const uint64_t before = Sequence();
    EXPECT_EQ(step.run(no_wait_), kErrnoWouldBlock) << step.name;
    EXPECT_EQ(Sequence(), before) << step.name;
    EXPECT_EQ(step.run(context_), 0) << step.name << " may wait";
  }
  engine_->memory()->SetStalled(false);
}

TEST_P(NoWaitTest, EveryColdReadIsHandedBack) {
  options_.cached_inode_count_max = 0;
  options_.atime = AtimePolicy::kNone;
  Remount();
  engine_->memory()->SetWouldBlockOneIn(1, 1);
  for (const Step& step : Changes()) {
    const uint64_t before = Sequence();
    EXPECT_EQ(step.run(no_wait_), kErrnoWouldBlock) << step.name;
    EXPECT_EQ(Sequence(), before) << step.name;
    EXPECT_EQ(step.run(context_), 0) << step.name;
  }
  std::byte byte{};
  EXPECT_EQ(Errno(fs().Read(no_wait_, file_, 0, {&byte, 1})), kErrnoWouldBlock);
  EXPECT_EQ(Errno(fs().Seek(no_wait_, file_, 0, SEEK_DATA)), kErrnoWouldBlock);
  EXPECT_EQ(Errno(fs().Lookup(no_wait_, kRootInode, "file")), kErrnoWouldBlock);
  EXPECT_EQ(Errno(fs().GetXattr(no_wait_, file_, "user.b")), kErrnoWouldBlock);
  EXPECT_EQ(Errno(fs().ListXattr(no_wait_, file_)), kErrnoWouldBlock);
}

TEST_P(NoWaitTest, ARepeatedFailureNeverChangesAnything) {
  options_.atime = AtimePolicy::kNone;
  Remount();
  for (const Step& step : Changes()) {
    engine_->memory()->FailWriteAfter(0, io::Status::NoSpace("injected"));
    const uint64_t before = Sequence();
    const uint64_t counts = fs().LookupCountTotal();
    EXPECT_EQ(step.run(context_), testing::kErrnoNoSpace) << step.name;
    EXPECT_EQ(Sequence(), before) << step.name;
    EXPECT_EQ(fs().LookupCountTotal(), counts) << step.name;
    EXPECT_EQ(Check(), "") << step.name;
    EXPECT_EQ(step.run(context_), 0) << step.name;
  }
}

TEST_P(NoWaitTest, AForgottenOrphanIsCollectedInTheBackgroundIfItWouldStall) {
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  engine_->memory()->SetStalled(true);
  Forget(file_);
  // Waiting for the collecting thread, which the destructor joins.
  file_system_.reset();
  EXPECT_EQ(db().Counter(1), 2);
  engine_->memory()->SetStalled(false);
  Mount();
  EXPECT_EQ(Errno(fs().GetAttributes(context_, file_)), ESTALE);
}

INSTANTIATE_MEMORY_FS_TEST(NoWaitTest);

class InodeLocksTest : public FsTest {};

TEST_P(InodeLocksTest, WithoutWaitingAHeldLockIsOnlyTried) {
  const Attributes file = Create(kRootInode, "file");
  InodeTable table(db(), 10);
  auto reader = LockedInode::Shared(table, file.ino, true);
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(LockedInode::Shared(table, file.ino, false).ok());
  EXPECT_EQ(Errno(LockedInode::Exclusive(table, file.ino, false)), kErrnoWouldBlock);
  LockSet locks(table, false);
  EXPECT_EQ(Errno(locks.LockMany(std::array{kRootInode, file.ino})), kErrnoWouldBlock);
  EXPECT_TRUE(LockedInode::Exclusive(table, kRootInode, false).ok()) << "nothing stays locked";
  reader->Release();
  EXPECT_EQ(Errno(locks.LockMany(std::array{file.ino, kRootInode, file.ino})), 0);
  EXPECT_EQ(Errno(LockedInode::Shared(table, file.ino, false)), kErrnoWouldBlock);
}

TEST_P(InodeLocksTest, ExtendingAgainstTheOrderGivesWay) {
  const Attributes a = Create(kRootInode, "a");
  const Attributes b = Create(kRootInode, "b");
  InodeTable table(db(), 10);
  LockSet locks(table, true);
  ASSERT_TRUE(locks.LockMany(std::array{b.ino}).ok());
  EXPECT_TRUE(locks.Extend(std::array{a.ino}).value()) << "free, so out of order does not matter";
  locks.Release();
  auto reader = LockedInode::Shared(table, a.ino, true);
  ASSERT_TRUE(locks.LockMany(std::array{b.ino}).ok());
  EXPECT_FALSE(locks.Extend(std::array{a.ino}).value());
  EXPECT_FALSE(locks.Holds(b.ino));
}

TEST_P(InodeLocksTest, AnInodeWithoutARecordIsStale) {
  InodeTable table(db(), 10);
  EXPECT_EQ(Errno(LockedInode::Shared(table, InodeNumber{5000}, true)), ESTALE);
  LockSet locks(table, true);
  EXPECT_EQ(Errno(locks.LockMany(std::array{kRootInode, InodeNumber{5000}})), ESTALE);
  EXPECT_FALSE(locks.Holds(kRootInode));
}

TEST_P(InodeLocksTest, ThereIsOneObjectPerInodeWhileItIsHeld) {
  const Attributes file = Create(kRootInode, "file");
  InodeTable table(db(), 0);
  const InodeRef first = table.Get(file.ino, true).value();
  const InodeRef second = table.Get(file.ino, true).value();
  EXPECT_EQ(&*first, &*second);
}
INSTANTIATE_FS_TEST(InodeLocksTest);

}  // namespace
}  // namespace terracefs::fs
