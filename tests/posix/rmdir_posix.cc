#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class RmdirPosix : public PosixTest {};

TEST_F(RmdirPosix, Errors) {
  WriteFile(Path("file"), "x");
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  WriteFile(Path("dir/inside"), "x");
  EXPECT_EQ(ERRNO_OF(rmdir(Path("dir").c_str())), ENOTEMPTY);
  EXPECT_EQ(ERRNO_OF(rmdir(Path("file").c_str())), ENOTDIR);
  EXPECT_EQ(ERRNO_OF(rmdir(Path("missing").c_str())), ENOENT);
  EXPECT_EQ(ERRNO_OF(rmdir(Path("dir/.").c_str())), EINVAL);
  EXPECT_EQ(ERRNO_OF(rmdir(mount_->mountpoint().c_str())), EBUSY);
  ASSERT_EQ(unlink(Path("dir/inside").c_str()), 0);
  EXPECT_EQ(ERRNO_OF(rmdir(Path("dir").c_str())), 0);
}

TEST_F(RmdirPosix, ARemovedDirectoryThatIsOpenTakesNothing) {
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  const io::UniqueFd fd(open(Path("dir").c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(rmdir(Path("dir").c_str()), 0);
  EXPECT_EQ(ERRNO_OF(openat(fd.get(), "x", O_CREAT | O_RDWR, 0600)), ENOENT);
  EXPECT_EQ(ERRNO_OF(mkdirat(fd.get(), "x", 0700)), ENOENT);
  struct stat attributes {};
  ASSERT_EQ(fstat(fd.get(), &attributes), 0);
  EXPECT_EQ(attributes.st_nlink, 0u);
}

}  // namespace
}  // namespace terracefs::testing
