#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

constexpr uid_t kSameOwner = static_cast<uid_t>(-1);
constexpr gid_t kSameGroup = static_cast<gid_t>(-1);

class ChownPosix : public PosixTest {};

TEST_F(ChownPosix, RootGivesAwayAndOthersMayNot) {
  if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
  const std::string path = Path("file");
  WriteFile(path, "x");
  ASSERT_EQ(chown(path.c_str(), 1234, 5678), 0);
  struct stat attributes {};
  ASSERT_EQ(stat(path.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_uid, 1234u);
  EXPECT_EQ(attributes.st_gid, 5678u);
  EXPECT_EQ(RunAsUser(1234, 5678, [&] { return ERRNO_OF(chown(path.c_str(), 1, kSameGroup)); }),
            EPERM);
  EXPECT_EQ(RunAsUser(1234, 9, [&] { return ERRNO_OF(chown(path.c_str(), kSameOwner, 9)); }), 0);
  EXPECT_EQ(RunAsUser(1234, 9, [&] { return ERRNO_OF(chown(path.c_str(), kSameOwner, 10)); }),
            EPERM);
}

TEST_F(ChownPosix, SetuidAndSetgidGoWithTheOwner) {
  if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
  const std::string path = Path("file");
  WriteFile(path, "x");
  ASSERT_EQ(chown(path.c_str(), 1234, 1234), 0);
  ASSERT_EQ(chmod(path.c_str(), 06755), 0);
  EXPECT_EQ(RunAsUser(1234, 1234, [&] { return ERRNO_OF(chown(path.c_str(), kSameOwner, 1234)); }),
            0);
  struct stat attributes {};
  ASSERT_EQ(stat(path.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 07777, 0755u);
}

TEST_F(ChownPosix, SymbolicLinksHaveOwnersToo) {
  if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
  ASSERT_EQ(symlink("nowhere", Path("soft").c_str()), 0);
  ASSERT_EQ(lchown(Path("soft").c_str(), 77, 88), 0);
  struct stat attributes {};
  ASSERT_EQ(lstat(Path("soft").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_uid, 77u);
  EXPECT_EQ(attributes.st_gid, 88u);
}

}  // namespace
}  // namespace terracefs::testing
