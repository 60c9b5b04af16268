#include <sys/xattr.h>
#include <set>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class ListxattrPosix : public PosixCase {};

// Without those that a security module sets itself.
std::set<std::string> Names(const char* path) {
  char list[8192];
  const ssize_t bytes = listxattr(path, list, sizeof list);
  std::set<std::string> names;
  for (ssize_t at = 0; at < bytes;) {
    const std::string name(list + at);
    if (name != "security.selinux") names.insert(name);
    at += static_cast<ssize_t>(name.size()) + 1;
  }
  return names;
}

TEST_F(ListxattrPosix, Errors) {
  static char list[64];
  CheckPathErrors({.name = "listxattr", .call = [](const char* path) -> long {
                     return listxattr(path, list, sizeof list);
                   }});
  CheckPathErrors(
      {.name = "llistxattr",
       .call = [](const char* path) -> long { return llistxattr(path, list, sizeof list); },
       .follows = false});
  MakeFile("file");
  FAILS(EBADF, flistxattr(-1, list, sizeof list));
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, flistxattr(path_fd.get(), list, sizeof list));
  OK(setxattr(Path("file"), "user.one", "1", 1, 0));
  OK(setxattr(Path("file"), "user.two", "2", 1, 0));
  SAME("listxattr", 18, listxattr(Path("file"), nullptr, 0));
  FAILS(ERANGE, listxattr(Path("file"), list, 17));
  FAILS(ERANGE, listxattr(Path("file"), list, 1));
  SAME("listxattr", 18, listxattr(Path("file"), list, sizeof list));
  FAILS(EFAULT, listxattr(Path("file"), Bad(), 64));
}

TEST_F(ListxattrPosix, NamesAreThoseThatWereSet) {
  MakeFile("file");
  SAME("listxattr", std::set<std::string>(), Names(Path("file")));
  std::set<std::string> expected;
  for (int i = 0; i < 40; ++i) {
    const std::string name = "user.name" + std::to_string(i);
    const Parameter parameter(name);
    OK(setxattr(Path("file"), name.c_str(), "v", 1, 0));
    expected.insert(name);
    SAME("listxattr", expected, Names(Path("file")));
  }
  OK(setxattr(Path("file"), "trusted.t", "v", 1, 0));
  AsUser(kAlice, [&] { SAME("listxattr", expected, Names(Path("file"))); });
  expected.insert("trusted.t");
  SAME("listxattr", expected, Names(Path("file")));
  OK(removexattr(Path("file"), "user.name7"));
  expected.erase("user.name7");
  SAME("listxattr", expected, Names(Path("file")));
  // Reading names needs no permission on the file.
  ASSERT_EQ(chmod(Path("file"), 0), 0);
  AsUser(kAlice, [&] { OK(listxattr(Path("file"), nullptr, 0)); });
}

}  // namespace
}  // namespace terracefs::posix
