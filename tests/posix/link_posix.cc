#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class LinkPosix : public PosixTest {};

TEST_F(LinkPosix, Errors) {
  WriteFile(Path("file"), "x");
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  EXPECT_EQ(ERRNO_OF(link(Path("missing").c_str(), Path("x").c_str())), ENOENT);
  EXPECT_EQ(ERRNO_OF(link(Path("file").c_str(), Path("dir").c_str())), EEXIST);
  EXPECT_EQ(ERRNO_OF(link(Path("dir").c_str(), Path("x").c_str())), EPERM);
  EXPECT_EQ(ERRNO_OF(link(Path("file").c_str(), Path("missing/x").c_str())), ENOENT);
}

TEST_F(LinkPosix, BothNamesAreOneFile) {
  WriteFile(Path("one"), "x");
  ASSERT_EQ(link(Path("one").c_str(), Path("two").c_str()), 0);
  WriteFile(Path("two"), "changed");
  EXPECT_EQ(ReadFile(Path("one")), "changed");
  struct stat one {};
  struct stat two {};
  ASSERT_EQ(stat(Path("one").c_str(), &one), 0);
  ASSERT_EQ(stat(Path("two").c_str(), &two), 0);
  EXPECT_EQ(one.st_ino, two.st_ino);
  EXPECT_EQ(one.st_nlink, 2u);
}

TEST_F(LinkPosix, SymbolicLinksCanBeLinkedThemselves) {
  ASSERT_EQ(symlink("nowhere", Path("soft").c_str()), 0);
  ASSERT_EQ(linkat(AT_FDCWD, Path("soft").c_str(), AT_FDCWD, Path("again").c_str(), 0), 0);
  char target[16] = {};
  EXPECT_EQ(readlink(Path("again").c_str(), target, sizeof target), 7);
}

}  // namespace
}  // namespace terracefs::testing
