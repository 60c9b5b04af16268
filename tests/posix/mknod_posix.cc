#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sys/sysmacros.h>
#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class MknodPosix : public PosixTest {};

TEST_F(MknodPosix, SpecialFilesKeepTypeAndNumber) {
  ASSERT_EQ(mknod(Path("fifo").c_str(), S_IFIFO | 0640, 0), 0);
  ASSERT_EQ(mknod(Path("socket").c_str(), S_IFSOCK | 0600, 0), 0);
  struct stat attributes {};
  ASSERT_EQ(stat(Path("fifo").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode, static_cast<mode_t>(S_IFIFO | 0640));
  ASSERT_EQ(stat(Path("socket").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode, static_cast<mode_t>(S_IFSOCK | 0600));
  EXPECT_EQ(ERRNO_OF(mknod(Path("fifo").c_str(), S_IFIFO | 0640, 0)), EEXIST);
  if (!IsRoot()) return;
  ASSERT_EQ(mknod(Path("device").c_str(), S_IFBLK | 0600, makedev(259, 70'000)), 0);
  ASSERT_EQ(stat(Path("device").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode, static_cast<mode_t>(S_IFBLK | 0600));
  EXPECT_EQ(attributes.st_rdev, makedev(259, 70'000));
}

}  // namespace
}  // namespace terracefs::testing
