#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class ChmodPosix : public PosixTest {};

TEST_F(ChmodPosix, EveryBitIsKept) {
  WriteFile(Path("file"), "x");
  for (const mode_t mode : {0u, 0644u, 0777u, 04755u, 02755u, 01777u, 07777u}) {
    ASSERT_EQ(chmod(Path("file").c_str(), mode), 0);
    struct stat attributes {};
    ASSERT_EQ(stat(Path("file").c_str(), &attributes), 0);
    EXPECT_EQ(attributes.st_mode, S_IFREG | mode);
  }
  EXPECT_EQ(ERRNO_OF(chmod(Path("missing").c_str(), 0644)), ENOENT);
  EXPECT_EQ(ERRNO_OF(chmod(Path("file/x").c_str(), 0644)), ENOTDIR);
}

TEST_F(ChmodPosix, OnlyTheOwnerMay) {
  if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
  const std::string path = Path("file");
  WriteFile(path, "x");
  EXPECT_EQ(RunAsUser(1234, 1234, [&] { return ERRNO_OF(chmod(path.c_str(), 0777)); }), EPERM);
  ASSERT_EQ(chown(path.c_str(), 1234, 1234), 0);
  EXPECT_EQ(RunAsUser(1234, 1234, [&] { return ERRNO_OF(chmod(path.c_str(), 0777)); }), 0);
}

}  // namespace
}  // namespace terracefs::testing
