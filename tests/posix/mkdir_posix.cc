#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class MkdirPosix : public PosixTest {};

TEST_F(MkdirPosix, ErrorsOfNames) {
  WriteFile(Path("file"), "x");
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  EXPECT_EQ(ERRNO_OF(mkdir(Path("dir").c_str(), 0755)), EEXIST);
  EXPECT_EQ(ERRNO_OF(mkdir(Path("file").c_str(), 0755)), EEXIST);
  EXPECT_EQ(ERRNO_OF(mkdir(Path("missing/x").c_str(), 0755)), ENOENT);
  EXPECT_EQ(ERRNO_OF(mkdir(Path("file/x").c_str(), 0755)), ENOTDIR);
  EXPECT_EQ(ERRNO_OF(mkdir(Path(std::string(256, 'n')).c_str(), 0755)), ENAMETOOLONG);
}

TEST_F(MkdirPosix, LinkCountsFollowSubdirectories) {
  struct stat attributes {};
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0750), 0);
  ASSERT_EQ(stat(Path("dir").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode, static_cast<mode_t>(S_IFDIR | 0750));
  EXPECT_EQ(attributes.st_nlink, 2u);
  ASSERT_EQ(mkdir(Path("dir/sub").c_str(), 0750), 0);
  ASSERT_EQ(stat(Path("dir").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_nlink, 3u);
  ASSERT_EQ(rmdir(Path("dir/sub").c_str()), 0);
  ASSERT_EQ(stat(Path("dir").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_nlink, 2u);
}

}  // namespace
}  // namespace terracefs::testing
