// ACLs in the filesystem: beside the mode, through chmod, and handed down.
#include "fs/acl.h"

#include <sys/xattr.h>

#include <cerrno>

#include "io/base/coding.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::Errno;
using testing::FsTest;
using testing::kErrnoWouldBlock;

// owner, user 7, group, mask, others
std::string Long(int owner, int user, int group, int mask, int others) {
  std::string value("\2\0\0\0", 4);
  const auto add = [&value](uint16_t tag, int permissions, uint32_t id = ~0U) {
    io::PutFixed16(&value, tag);
    io::PutFixed16(&value, static_cast<uint16_t>(permissions));
    io::PutFixed32(&value, id);
  };
  add(1, owner);
  if (user >= 0) add(2, user, 7);
  add(4, group);
  if (mask >= 0) add(16, mask);
  add(32, others);
  return value;
}
std::string Short(int owner, int group, int others) { return Long(owner, -1, group, -1, others); }

class AclFsTest : public FsTest {
 protected:
  int Set(InodeNumber ino, std::string_view name, std::string_view value, int flags = 0) {
    return Errno(fs().SetXattr(context_, ino, name, value, flags));
  }
  std::string Get(InodeNumber ino, std::string_view name) {
    const auto value = fs().GetXattr(context_, ino, name);
    return value.ok() ? *value : "errno " + std::to_string(Errno(value));
  }
  std::string Access(InodeNumber ino) { return Get(ino, kAccessAclXattr); }
  std::string Default(InodeNumber ino) { return Get(ino, kDefaultAclXattr); }
  uint32_t Mode(InodeNumber ino) { return Stat(ino).mode & 07777; }
  int Chmod(InodeNumber ino, uint32_t mode) {
    AttributeChange change;
    change.mode = mode;
    return Errno(fs().SetAttributes(context_, ino, change));
  }

  const std::string none_ = "errno " + std::to_string(ENODATA);
};
class AclMemoryTest : public AclFsTest {};

TEST_P(AclFsTest, AnAccessAclChangesTheMode) {
  const InodeNumber file = Create(kRootInode, "file", 04644).ino;
  EXPECT_EQ(Access(file), none_);
  Tick();
  ASSERT_EQ(Set(file, kAccessAclXattr, Long(7, 6, 4, 6, 0)), 0);
  EXPECT_EQ(Mode(file), 04760U);
  EXPECT_EQ(Stat(file).ctime_ns, Now());
  EXPECT_LT(Stat(file).mtime_ns, Now());
  Remount();
  EXPECT_EQ(Access(file), Long(7, 6, 4, 6, 0));
  EXPECT_EQ(Mode(file), 04760U);
  EXPECT_EQ(fs().ListXattr(context_, file).value(), std::string(kAccessAclXattr) + '\0');
  // One that is a mode takes the other's place, and is not kept.
  ASSERT_EQ(Set(file, kAccessAclXattr, Short(6, 5, 4)), 0);
  EXPECT_EQ(Mode(file), 04654U);
  EXPECT_EQ(Access(file), none_);
  EXPECT_EQ(fs().ListXattr(context_, file).value(), "");
}

TEST_P(AclFsTest, RemovingAnAclLeavesTheMode) {
  const InodeNumber file = Create(kRootInode, "file", 0644).ino;
  const auto remove = [&](std::string_view name) {
    return Errno(fs().RemoveXattr(context_, file, name));
  };
  EXPECT_EQ(remove(kAccessAclXattr), 0);  // as everywhere, though there is none
  EXPECT_EQ(remove(kDefaultAclXattr), 0);
  ASSERT_EQ(Set(file, kAccessAclXattr, Long(7, 6, 4, 6, 0)), 0);
  EXPECT_EQ(remove(kAccessAclXattr), 0);
  EXPECT_EQ(Access(file), none_);
  EXPECT_EQ(Mode(file), 0760U);
  ASSERT_EQ(Set(file, kAccessAclXattr, Long(7, 6, 4, 6, 0)), 0);
  EXPECT_EQ(Set(file, kAccessAclXattr, ""), 0);
  EXPECT_EQ(Access(file), none_);
}

TEST_P(AclFsTest, WhatMayHaveWhichAcl) {
  const InodeNumber file = Create(kRootInode, "file").ino;
  const InodeNumber directory = MakeDir(kRootInode, "directory").ino;
  const InodeNumber link = fs().MakeSymlink(context_, kRootInode, "link", "file")->ino;
  const std::string acl = Long(7, 6, 4, 6, 0);
  EXPECT_EQ(Set(file, kDefaultAclXattr, acl), EACCES);
  EXPECT_EQ(Set(file, kDefaultAclXattr, ""), 0);
  EXPECT_EQ(Set(directory, kDefaultAclXattr, acl), 0);
  EXPECT_EQ(Mode(directory), 0755U);
  EXPECT_EQ(Set(directory, kDefaultAclXattr, ""), 0);
  EXPECT_EQ(Default(directory), none_);
  EXPECT_EQ(Set(link, kAccessAclXattr, acl), EOPNOTSUPP);
  EXPECT_EQ(Set(link, kDefaultAclXattr, acl), EOPNOTSUPP);
  EXPECT_EQ(Set(file, kAccessAclXattr, Long(7, 6, 4, -1, 0)), EINVAL);
  EXPECT_EQ(Set(file, kAccessAclXattr, acl, XATTR_REPLACE), ENODATA);
  EXPECT_EQ(Set(file, kAccessAclXattr, acl, XATTR_CREATE), 0);
  EXPECT_EQ(Set(file, kAccessAclXattr, acl, XATTR_CREATE), EEXIST);
}

TEST_P(AclFsTest, SetgidGoesIfTheKernelSaysSo) {
  const InodeNumber file = Create(kRootInode, "file", 06755).ino;
  EXPECT_EQ(Set(file, kAccessAclXattr, Long(7, 6, 4, 6, 0)), 0);
  EXPECT_EQ(Mode(file), 06760U);
  EXPECT_EQ(Set(file, kAccessAclXattr, Short(7, 5, 5), kXattrKillSetgid), 0);
  EXPECT_EQ(Mode(file), 04755U);
}

TEST_P(AclFsTest, ChmodChangesTheMask) {
  const InodeNumber file = Create(kRootInode, "file").ino;
  ASSERT_EQ(Set(file, kAccessAclXattr, Long(6, 7, 5, 7, 1)), 0);
  ASSERT_EQ(Chmod(file, 02412), 0);
  EXPECT_EQ(Mode(file), 02412U);
  EXPECT_EQ(Access(file), Long(4, 7, 5, 1, 2));
}

TEST_P(AclFsTest, DefaultsAreHandedDownAndTheUmaskDoesNotCount) {
  const InodeNumber top = MakeDir(kRootInode, "top").ino;
  const std::string defaults = Long(7, 6, 5, 7, 4);
  ASSERT_EQ(Set(top, kDefaultAclXattr, defaults), 0);
  context_.umask = 077;
  const InodeNumber file = Create(top, "file", 0666).ino;
  EXPECT_EQ(Mode(file), 0664U);
  EXPECT_EQ(Access(file), Long(6, 6, 5, 6, 4));
  EXPECT_EQ(Default(file), none_);
  const InodeNumber directory = MakeDir(top, "directory", 0777).ino;
  EXPECT_EQ(Mode(directory), 0774U);
  EXPECT_EQ(Access(directory), defaults);
  EXPECT_EQ(Default(directory), defaults);
  const InodeNumber link = fs().MakeSymlink(context_, top, "link", "file")->ino;
  EXPECT_EQ(Mode(link), 0777U);
  EXPECT_EQ(fs().ListXattr(context_, link).value(), "");
  EXPECT_EQ(Mode(Create(kRootInode, "file", 0666).ino), 0600U);
  EXPECT_EQ(Mode(MakeDir(kRootInode, "directory", 0777).ino), 0700U);
  CrashAndMount();
  EXPECT_EQ(Access(Find(top, "file")), Long(6, 6, 5, 6, 4));
  EXPECT_EQ(Default(Find(top, "directory")), defaults);
  const InodeNumber deep = Create(Find(top, "directory"), "deep", 0600).ino;
  EXPECT_EQ(Access(deep), Long(6, 6, 5, 0, 0));
  // What is removed takes its ACLs along (CheckTree at the end).
  EXPECT_EQ(Unlink(top, "file"), 0);
}

TEST_P(AclFsTest, SetgidDirectoriesHandDownBoth) {
  const InodeNumber top = MakeDir(kRootInode, "top", 02775).ino;
  ASSERT_EQ(Set(top, kDefaultAclXattr, Short(7, 5, 0)), 0);
  const InodeNumber directory = MakeDir(top, "directory", 0777).ino;
  EXPECT_EQ(Mode(directory), 02750U);
  EXPECT_EQ(Access(directory), none_);
  EXPECT_EQ(Default(directory), Short(7, 5, 0));
}

TEST_P(AclMemoryTest, WithoutAclsNothingIsLookedUp) {
  const InodeNumber file = Create(kRootInode, "file").ino;
  ASSERT_EQ(Set(file, "user.a", "x"), 0);
  const uint64_t before = engine_->memory()->read_count();
  EXPECT_EQ(Access(file), none_);
  EXPECT_EQ(Default(kRootInode), none_);
  EXPECT_EQ(Get(file, "security.capability"), none_);
  EXPECT_EQ(Chmod(file, 0600), 0);
  EXPECT_EQ(engine_->memory()->read_count(), before);
  Create(kRootInode, "another");
  const uint64_t create_reads = engine_->memory()->read_count() - before;
  EXPECT_EQ(create_reads, 1U);  // whether the name is free
}

INSTANTIATE_FS_TEST(AclFsTest);
INSTANTIATE_MEMORY_FS_TEST(AclMemoryTest);

}  // namespace
}  // namespace terracefs::fs
