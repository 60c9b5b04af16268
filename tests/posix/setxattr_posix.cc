#include <sys/xattr.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class SetxattrPosix : public PosixCase {};

TEST_F(SetxattrPosix, Errors) {
  CheckPathErrors({.name = "setxattr",
                   .call = [](const char* path) { return setxattr(path, "user.a", "1", 1, 0); }});
  CheckPathErrors({.name = "lsetxattr",
                   .call = [](const char* path) { return lsetxattr(path, "trusted.a", "1", 1, 0); },
                   .follows = false});
  MakeFile("file");
  FAILS(EBADF, fsetxattr(-1, "user.a", "1", 1, 0));
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, fsetxattr(path_fd.get(), "user.a", "1", 1, 0));
  FAILS(EINVAL, setxattr(Path("file"), "user.a", "1", 1, 4));
  FAILS(ENODATA, setxattr(Path("file"), "user.a", "1", 1, XATTR_REPLACE));
  OK(setxattr(Path("file"), "user.a", "1", 1, XATTR_CREATE));
  FAILS(EEXIST, setxattr(Path("file"), "user.a", "2", 1, XATTR_CREATE));
  OK(setxattr(Path("file"), "user.a", "", 0, XATTR_REPLACE));
  SAME("setxattr", 0, getxattr(Path("file"), "user.a", nullptr, 0));
  FAILS(ERANGE, setxattr(Path("file"), "", "1", 1, 0));
  FAILS(ERANGE, setxattr(Path("file"), Keep("user." + std::string(251, 'n')), "x", 1, 0));
  FAILS(ERANGE, setxattr(Path("file"), Keep(std::string(300, 'n')), "x", 1, 0));
  OK(setxattr(Path("file"), Keep("user." + std::string(250, 'n')), "x", 1, 0));
  FAILS(EOPNOTSUPP, setxattr(Path("file"), "plain", "1", 1, 0));
  FAILS(EOPNOTSUPP, setxattr(Path("file"), "strange.a", "1", 1, 0));
  FAILS(E2BIG, setxattr(Path("file"), "user.large", std::string(65537, 'v').data(), 65537, 0));
  FAILS(EFAULT, setxattr(Path("file"), "user.b", Bad(), 5, 0));
  FAILS(EFAULT, setxattr(Path("file"), Bad(), "1", 1, 0));
}

TEST_F(SetxattrPosix, WhoMaySetWhat) {
  MakeFile("file");
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  ASSERT_EQ(mkfifo(Path("fifo"), 0666), 0);
  ASSERT_EQ(mknod(Path("device"), S_IFCHR | 0666, 0), 0);
  for (const std::string name : {"soft", "fifo", "device"}) {
    const Parameter parameter(name);
    FAILS(EPERM, lsetxattr(Path(name), "user.a", "1", 1, 0));
    OK(lsetxattr(Path(name), "trusted.a", "1", 1, 0));
  }
  MakeDirectory("sticky", 01777);
  ASSERT_EQ(chmod(Path("file"), 0644), 0);
  AsUser(kAlice, [&] {
    FAILS(EACCES, setxattr(Path("file"), "user.a", "1", 1, 0));
    FAILS(EPERM, setxattr(Path("sticky"), "user.a", "1", 1, 0));
    FAILS(EPERM, setxattr(Path("file"), "trusted.a", "1", 1, 0));
    FAILS(EPERM, setxattr(Path("file"), "security.a", "1", 1, 0));
    FAILS(EINVAL, setxattr(Path("file"), "security.capability", "1", 1, 0));
  });
  Give("file", kAlice);
  AsUser(kAlice, [&] {
    OK(setxattr(Path("file"), "user.a", "1", 1, 0));
    FAILS(EPERM, setxattr(Path("file"), "trusted.a", "1", 1, 0));
  });
  ASSERT_EQ(chmod(Path("file"), 0444), 0);
  AsUser(kAlice, [&] { FAILS(EACCES, setxattr(Path("file"), "user.a", "1", 1, 0)); });
  OK(setxattr(Path("file"), "security.a", "1", 1, 0));
  MakeFile("capable");
  FAILS(EINVAL, setxattr(Path("capable"), "security.capability", "junk", 4, 0));
}

TEST_F(SetxattrPosix, Times) {
  MakeFile("file");
  CheckTimes("setxattr", {{"file", "c"}, {"", ""}},
             [&] { OK(setxattr(Path("file"), "user.a", "1", 1, 0)); });
  CheckTimes("getxattr", {{"file", ""}}, [&] {
    char value[4];
    OK(getxattr(Path("file"), "user.a", value, 4));
    OK(listxattr(Path("file"), nullptr, 0));
  });
  CheckTimes("removexattr", {{"file", "c"}}, [&] { OK(removexattr(Path("file"), "user.a")); });
  CheckTimes("removexattr", {{"file", ""}},
             [&] { FAILS(ENODATA, removexattr(Path("file"), "user.a")); });
}

}  // namespace
}  // namespace terracefs::posix
