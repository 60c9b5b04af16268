#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class UnlinkPosix : public PosixTest {};

TEST_F(UnlinkPosix, Errors) {
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  WriteFile(Path("file"), "x");
  EXPECT_EQ(ERRNO_OF(unlink(Path("missing").c_str())), ENOENT);
  EXPECT_EQ(ERRNO_OF(unlink(Path("dir").c_str())), EISDIR);
  EXPECT_EQ(ERRNO_OF(unlink(Path("file/x").c_str())), ENOTDIR);
  EXPECT_EQ(ERRNO_OF(unlink(Path(std::string(256, 'n')).c_str())), ENAMETOOLONG);
  EXPECT_EQ(ERRNO_OF(unlink(Path("file").c_str())), 0);
  EXPECT_EQ(ERRNO_OF(unlink(Path("file").c_str())), ENOENT);
}

TEST_F(UnlinkPosix, OneLinkLessChangesCountAndTime) {
  WriteFile(Path("one"), "x");
  ASSERT_EQ(link(Path("one").c_str(), Path("two").c_str()), 0);
  struct stat before {};
  ASSERT_EQ(stat(Path("one").c_str(), &before), 0);
  usleep(20'000);
  ASSERT_EQ(unlink(Path("two").c_str()), 0);
  struct stat after {};
  ASSERT_EQ(stat(Path("one").c_str(), &after), 0);
  EXPECT_EQ(after.st_nlink, 1u);
  EXPECT_NE(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
}

}  // namespace
}  // namespace terracefs::testing
