#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sys/xattr.h>
#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class XattrPosix : public PosixTest {};

TEST_F(XattrPosix, ValuesComeBackAndSizesAreAskedFor) {
  const std::string path = Path("file");
  WriteFile(path, "x");
  EXPECT_EQ(ERRNO_OF(getxattr(path.c_str(), "user.a", nullptr, 0)), ENODATA);
  ASSERT_EQ(setxattr(path.c_str(), "user.a", "value", 5, 0), 0);
  EXPECT_EQ(getxattr(path.c_str(), "user.a", nullptr, 0), 5);
  char value[16] = {};
  EXPECT_EQ(ERRNO_OF(getxattr(path.c_str(), "user.a", value, 4)), ERANGE);
  ASSERT_EQ(getxattr(path.c_str(), "user.a", value, sizeof value), 5);
  EXPECT_STREQ(value, "value");
}

TEST_F(XattrPosix, FlagsWantItMissingOrThere) {
  const std::string path = Path("file");
  WriteFile(path, "x");
  EXPECT_EQ(ERRNO_OF(setxattr(path.c_str(), "user.a", "1", 1, XATTR_REPLACE)), ENODATA);
  EXPECT_EQ(ERRNO_OF(setxattr(path.c_str(), "user.a", "1", 1, XATTR_CREATE)), 0);
  EXPECT_EQ(ERRNO_OF(setxattr(path.c_str(), "user.a", "2", 1, XATTR_CREATE)), EEXIST);
  EXPECT_EQ(ERRNO_OF(setxattr(path.c_str(), "user.a", "", 0, XATTR_REPLACE)), 0);
  EXPECT_EQ(getxattr(path.c_str(), "user.a", nullptr, 0), 0);
}

TEST_F(XattrPosix, ListsNamesAndRemovesThem) {
  const std::string path = Path("file");
  WriteFile(path, "x");
  EXPECT_EQ(listxattr(path.c_str(), nullptr, 0), 0);
  ASSERT_EQ(setxattr(path.c_str(), "user.one", "1", 1, 0), 0);
  ASSERT_EQ(setxattr(path.c_str(), "user.two", "2", 1, 0), 0);
  EXPECT_EQ(listxattr(path.c_str(), nullptr, 0), 18);
  char list[32] = {};
  EXPECT_EQ(ERRNO_OF(listxattr(path.c_str(), list, 17)), ERANGE);
  ASSERT_EQ(listxattr(path.c_str(), list, sizeof list), 18);
  EXPECT_EQ(ERRNO_OF(removexattr(path.c_str(), "user.one")), 0);
  EXPECT_EQ(ERRNO_OF(removexattr(path.c_str(), "user.one")), ENODATA);
  EXPECT_EQ(listxattr(path.c_str(), nullptr, 0), 9);
}

TEST_F(XattrPosix, LargeValuesAndTheirLimit) {
  const std::string path = Path("file");
  WriteFile(path, "x");
  const std::string value(65536, 'v');
  ASSERT_EQ(setxattr(path.c_str(), "user.large", value.data(), value.size(), 0), 0);
  std::string back(65536, '\0');
  ASSERT_EQ(getxattr(path.c_str(), "user.large", back.data(), back.size()), 65536);
  EXPECT_EQ(back, value);
  EXPECT_EQ(ERRNO_OF(setxattr(path.c_str(), "user.large", value.data(), 65537, 0)), E2BIG);
  const std::string name = "user." + std::string(251, 'n');
  EXPECT_EQ(ERRNO_OF(setxattr(path.c_str(), name.c_str(), "x", 1, 0)), ERANGE);
}

TEST_F(XattrPosix, SymbolicLinksTakeNoUserAttributes) {
  ASSERT_EQ(symlink("nowhere", Path("soft").c_str()), 0);
  EXPECT_EQ(ERRNO_OF(lsetxattr(Path("soft").c_str(), "user.a", "1", 1, 0)), EPERM);
}

}  // namespace
}  // namespace terracefs::testing
