#include <sys/xattr.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class GetxattrPosix : public PosixCase {};

TEST_F(GetxattrPosix, Errors) {
  static char value[64];
  CheckPathErrors({.name = "getxattr", .call = [](const char* path) -> long {
                     return getxattr(path, "user.a", value, sizeof value);
                   }});
  CheckPathErrors({.name = "lgetxattr",
                   .call = [](const char* path) -> long {
                     return lgetxattr(path, "user.a", value, sizeof value);
                   },
                   .follows = false});
  MakeFile("file");
  FAILS(ENODATA, getxattr(Path("file"), "user.a", nullptr, 0));
  FAILS(ENODATA, getxattr(Path("file"), "trusted.a", nullptr, 0));
  OK(setxattr(Path("file"), "user.a", "value", 5, 0));
  for (size_t size : {1u, 4u}) {
    const Parameter parameter(std::to_string(size));
    FAILS(ERANGE, getxattr(Path("file"), "user.a", value, size));
  }
  SAME("getxattr", 5, getxattr(Path("file"), "user.a", nullptr, 0));
  SAME("getxattr", 5, getxattr(Path("file"), "user.a", value, 5));
  SAME("getxattr", std::string("value"), std::string(value, 5));
  FAILS(EFAULT, getxattr(Path("file"), "user.a", Bad(), 5));
  FAILS(EFAULT, getxattr(Path("file"), Bad(), value, 5));
  FAILS(ERANGE, getxattr(Path("file"), "", value, 5));
  FAILS(ERANGE, getxattr(Path("file"), Keep(std::string(256, 'n')), value, 5));
  FAILS(EOPNOTSUPP, getxattr(Path("file"), "plain", value, 5));
  FAILS(EBADF, fgetxattr(-1, "user.a", value, 5));
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, fgetxattr(path_fd.get(), "user.a", value, 5));
  ASSERT_EQ(chmod(Path("file"), 0600), 0);
  OK(setxattr(Path("file"), "trusted.a", "x", 1, 0));
  AsUser(kAlice, [&] {
    FAILS(EACCES, getxattr(Path("file"), "user.a", value, 5));
    FAILS(ENODATA, getxattr(Path("file"), "trusted.a", value, 5));
  });
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  SAME("getxattr", 5, getxattr(Path("soft"), "user.a", value, 5));
  FAILS(ENODATA, lgetxattr(Path("soft"), "user.a", value, 5));
}

TEST_F(GetxattrPosix, ValuesComeBack) {
  MakeFile("file");
  MakeDirectory("dir");
  for (const std::string name : {"file", "dir"}) {
    for (size_t size : {0u, 1u, 255u, 1000u, 3000u, 16'000u, 65'536u}) {
      if (size > 3000 && !OnTerraceFs()) continue;  // ext4 keeps them in one block
      const Parameter parameter(name + " " + std::to_string(size));
      const std::string value(size, 'v');
      OK(setxattr(Path(name), "user.x", value.data(), size, 0));
      std::string back(size, '\0');
      SAME("getxattr", static_cast<ssize_t>(size), getxattr(Path(name), "user.x", nullptr, 0));
      SAME("getxattr", static_cast<ssize_t>(size),
           size == 0 ? 0 : getxattr(Path(name), "user.x", back.data(), size));
      SAME("getxattr", true, value == back);
    }
  }
  const std::string bytes("\0\x01\xff\n", 4);
  OK(setxattr(Path("file"), "user.bytes", bytes.data(), bytes.size(), 0));
  char back[4];
  SAME("getxattr", 4, getxattr(Path("file"), "user.bytes", back, 4));
  SAME("getxattr", bytes, std::string(back, 4));
  ASSERT_EQ(link(Path("file"), Path("second")), 0);
  SAME("getxattr", 4, getxattr(Path("second"), "user.bytes", back, 4));
  ASSERT_EQ(rename(Path("second"), Path("third")), 0);
  SAME("getxattr", 4, getxattr(Path("third"), "user.bytes", back, 4));
}

}  // namespace
}  // namespace terracefs::posix
