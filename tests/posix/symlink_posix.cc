#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class SymlinkPosix : public PosixTest {};

std::string Target(const std::string& path) {
  std::string target(8192, '\0');
  const ssize_t bytes = readlink(path.c_str(), target.data(), target.size());
  target.resize(bytes < 0 ? 0 : static_cast<size_t>(bytes));
  return target;
}

TEST_F(SymlinkPosix, TargetsComeBackAsTheyWere) {
  for (const std::string& target :
       {std::string("x"), std::string("../a b/c"), std::string(4095, 't')}) {
    ASSERT_EQ(symlink(target.c_str(), Path("soft").c_str()), 0);
    EXPECT_EQ(Target(Path("soft")), target);
    struct stat attributes {};
    ASSERT_EQ(lstat(Path("soft").c_str(), &attributes), 0);
    EXPECT_TRUE(S_ISLNK(attributes.st_mode));
    EXPECT_EQ(attributes.st_size, static_cast<off_t>(target.size()));
    ASSERT_EQ(unlink(Path("soft").c_str()), 0);
  }
}

TEST_F(SymlinkPosix, Errors) {
  WriteFile(Path("file"), "x");
  EXPECT_EQ(ERRNO_OF(symlink("x", Path("file").c_str())), EEXIST);
  EXPECT_EQ(ERRNO_OF(symlink("x", Path("missing/x").c_str())), ENOENT);
  char target[8];
  EXPECT_EQ(ERRNO_OF(readlink(Path("file").c_str(), target, sizeof target)), EINVAL);
  ASSERT_EQ(symlink("loop", Path("loop").c_str()), 0);
  EXPECT_EQ(OpenErrno(Path("loop"), O_RDONLY), ELOOP);
}

TEST_F(SymlinkPosix, PathsGoThroughThem) {
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  WriteFile(Path("dir/file"), "inside");
  ASSERT_EQ(symlink("dir", Path("soft").c_str()), 0);
  EXPECT_EQ(ReadFile(Path("soft/file")), "inside");
}

}  // namespace
}  // namespace terracefs::testing
