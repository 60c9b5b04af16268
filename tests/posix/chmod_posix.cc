#include <sys/syscall.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class ChmodPosix : public PosixCase {};

TEST_F(ChmodPosix, Errors) {
  CheckPathErrors({.name = "chmod", .call = [](const char* path) { return chmod(path, 0644); }});
  CheckPathErrors({.name = "fchmodat",
                   .call = [](const char* path) { return fchmodat(AT_FDCWD, path, 0644, 0); }});
  CheckAtErrors("fchmodat", [](int at, const char* path) { return fchmodat(at, path, 0644, 0); });
  MakeFile("file");
  FAILS(EBADF, fchmod(-1, 0644));
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, fchmod(path_fd.get(), 0644));
  FAILS(EINVAL, fchmodat(AT_FDCWD, Path("file"), 0644, 1));
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  FAILS(EOPNOTSUPP, fchmodat(AT_FDCWD, Path("soft"), 0600, AT_SYMLINK_NOFOLLOW));
  SAME("fchmodat", S_IFLNK | 0777u, Stat("soft").st_mode);
  FAILS(ENOENT, chmod(Path("missing"), 0644));
  FAILS(ENOTDIR, chmod(Path("file/x"), 0644));
}

TEST_F(ChmodPosix, EveryBitIsKept) {
  MakeFile("file");
  MakeDirectory("dir");
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  ASSERT_EQ(mknod(Path("device"), S_IFCHR | 0600, 0), 0);
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  const UniqueFd fd = Open("file", O_RDONLY);
  for (const std::string name : {"file", "dir", "fifo", "device"}) {
    const mode_t type = Stat(name).st_mode & S_IFMT;
    for (const mode_t mode :
         {0u, 0111u, 0222u, 0444u, 0644u, 0777u, 01777u, 02755u, 04755u, 07777u}) {
      const Parameter parameter(name + " " + std::to_string(mode));
      OK(chmod(Path(name), mode));
      SAME("chmod", type | mode, Stat(name).st_mode);
    }
  }
  for (const mode_t mode : {0600u, 06777u, 0u}) {
    const Parameter parameter(std::to_string(mode));
    OK(fchmod(fd.get(), mode));
    SAME("fchmod", mode, Mode("file"));
    OK(chmod(Path("soft"), mode | 1));
    SAME("chmod", mode | 1, Mode("file"));
  }
  OK(chmod(Path("file"), S_IFDIR | 0640));  // the type is not changed
  SAME("chmod", S_IFREG | 0640u, Stat("file").st_mode);
}

TEST_F(ChmodPosix, OnlyTheOwnerMay) {
  MakeFile("file");
  MakeDirectory("dir", 0777);
  AsUser(kAlice, [&] {
    FAILS(EPERM, chmod(Path("file"), 0777));
    FAILS(EPERM, chmod(Path("dir"), 0777));
    FAILS(EPERM, fchmodat(AT_FDCWD, Path("file"), 0777, 0));
    const UniqueFd fd = Open("file", O_RDONLY);
    FAILS(EPERM, fchmod(fd.get(), 0777));
  });
  Give("file", kAlice);
  AsUser(kAlice, [&] {
    OK(chmod(Path("file"), 0));
    FAILS(EACCES, open(Path("file"), O_RDONLY));
    OK(chmod(Path("file"), 0600));
    OK(chmod(Path("file"), 04700));
  });
  SAME("chmod", 04700u, Mode("file"));
  AsUser(kBob, [&] { FAILS(EPERM, chmod(Path("file"), 0777)); });
}

TEST_F(ChmodPosix, SetgidGoesIfTheGroupIsNotTheirs) {
  MakeFile("file");
  MakeDirectory("dir");
  for (const char* const name : {"file", "dir"}) {
    const Parameter parameter(name);
    ASSERT_EQ(chown(Path(name), kBob.uid, kTeam), 0);
    AsUser(kBob, [&] { OK(chmod(Path(name), 02755)); });
    SAME("chmod", 0755u, Mode(name));
    ASSERT_EQ(chown(Path(name), kAlice.uid, kTeam), 0);
    AsUser(kAlice, [&] { OK(chmod(Path(name), 06755)); });
    SAME("chmod", 06755u, Mode(name));
    OK(chmod(Path(name), 02755));  // root keeps it
    SAME("chmod", 02755u, Mode(name));
  }
  // The sticky bit of files is for everybody on Linux.
  ASSERT_EQ(chown(Path("file"), kAlice.uid, kAlice.gid), 0);
  AsUser(kAlice, [&] { OK(chmod(Path("file"), 01644)); });
  SAME("chmod", 01644u, Mode("file"));
}

TEST_F(ChmodPosix, Times) {
  MakeFile("file");
  MakeDirectory("dir");
  CheckTimes("chmod", {{"file", "c"}, {"", ""}}, [&] { OK(chmod(Path("file"), 0600)); });
  CheckTimes("chmod", {{"dir", "c"}}, [&] { OK(chmod(Path("dir"), 0700)); });
  CheckTimes("chmod", {{"file", ""}},
             [&] { AsUser(kAlice, [&] { FAILS(EPERM, chmod(Path("file"), 0777)); }); });
}

}  // namespace
}  // namespace terracefs::posix
