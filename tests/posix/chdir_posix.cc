#include <sys/syscall.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class ChdirPosix : public PosixCase {};

TEST_F(ChdirPosix, Errors) {
  WithOwnDirectory([&] {
    CheckPathErrors({.name = "chdir", .call = chdir, .directory = true});
    MakeFile("file");
    MakeDirectory("closed", 0700);
    MakeDirectory("unsearchable", 0666);
    const UniqueFd file = Open("file", O_RDONLY);
    const UniqueFd closed = Open("closed", O_RDONLY);
    FAILS(EBADF, fchdir(-1));
    FAILS(ENOTDIR, fchdir(file.get()));
    AsUser(kAlice, [&] {
      FAILS(EACCES, chdir(Path("closed")));
      FAILS(EACCES, chdir(Path("unsearchable")));
      FAILS(EACCES, fchdir(closed.get()));
    });
    char buffer[4096];
    OK(chdir(Path("closed")));
    FAILS(ERANGE, getcwd(buffer, 2));
    FAILS_AS("getcwd", EFAULT, syscall(SYS_getcwd, Bad(), 4096));
    OK(rmdir(Path("closed")));
    FAILS(ENOENT, getcwd(buffer, sizeof buffer));
    FAILS(ENOENT, open("x", O_CREAT | O_RDWR, 0600));
    FAILS(ENOENT, mkdir("x", 0700));
    FAILS(ENOENT, chdir("x"));
    OK(chdir("."));
    OK(chdir("/"));
  });
}

TEST_F(ChdirPosix, RelativePathsFollow) {
  MakeDirectory("a");
  MakeDirectory("a/b");
  MakeFile("a/b/file", "inside");
  ASSERT_EQ(symlink("a/b", Path("soft")), 0);
  WithOwnDirectory([&] {
    char buffer[4096];
    OK(chdir(Path("soft")));
    OK(getcwd(buffer, sizeof buffer));
    SAME("chdir", directory() + "/a/b", std::string(buffer));
    OK(access("file", F_OK));
    OK(access("../b/./file", F_OK));
    OK(rename(Path("a"), Path("moved")));
    OK(getcwd(buffer, sizeof buffer));
    SAME("rename", directory() + "/moved/b", std::string(buffer));
    OK(access("file", F_OK));
    OK(chdir(".."));
    OK(access("b/file", F_OK));
    const UniqueFd dir(open("b", O_PATH));
    OK(fchdir(dir.get()));
    OK(access("file", F_OK));
  });
}

}  // namespace
}  // namespace terracefs::posix
