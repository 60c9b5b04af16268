#include <sys/xattr.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class RemovexattrPosix : public PosixCase {};

TEST_F(RemovexattrPosix, Errors) {
  CheckPathErrors({.name = "removexattr",
                   .call = [](const char* path) { return removexattr(path, "user.a"); }});
  CheckPathErrors({.name = "lremovexattr",
                   .call = [](const char* path) { return lremovexattr(path, "trusted.a"); },
                   .follows = false});
  MakeFile("file");
  FAILS(ENODATA, removexattr(Path("file"), "user.a"));
  OK(setxattr(Path("file"), "user.a", "1", 1, 0));
  FAILS(EBADF, fremovexattr(-1, "user.a"));
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, fremovexattr(path_fd.get(), "user.a"));
  FAILS(ERANGE, removexattr(Path("file"), ""));
  FAILS(ERANGE, removexattr(Path("file"), Keep(std::string(256, 'n'))));
  FAILS(EFAULT, removexattr(Path("file"), Bad()));
  FAILS(EOPNOTSUPP, removexattr(Path("file"), "plain"));
  AsUser(kAlice, [&] {
    FAILS(EACCES, removexattr(Path("file"), "user.a"));
    FAILS(EPERM, removexattr(Path("file"), "trusted.a"));
    FAILS(EPERM, removexattr(Path("file"), "security.a"));
  });
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  FAILS(EPERM, lremovexattr(Path("soft"), "user.a"));
  OK(removexattr(Path("soft"), "user.a"));
  FAILS(ENODATA, removexattr(Path("file"), "user.a"));
  OK(setxattr(Path("file"), "user.a", "2", 1, XATTR_CREATE));
  const UniqueFd fd = Open("file", O_RDONLY);
  OK(fremovexattr(fd.get(), "user.a"));
  FAILS(ENODATA, fgetxattr(fd.get(), "user.a", nullptr, 0));
}

}  // namespace
}  // namespace terracefs::posix
