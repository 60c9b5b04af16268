#include <sys/mount.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class RmdirPosix : public PosixCase {};

TEST_F(RmdirPosix, Errors) {
  const auto at = [](const char* path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); };
  CheckPathErrors({.name = "rmdir", .call = rmdir, .follows = false, .directory = true});
  CheckPathErrors({.name = "unlinkat", .call = at, .follows = false, .directory = true});
  CheckRemoving("rmdir", rmdir,
                [&](const std::string& path) { ASSERT_EQ(mkdir(Path(path), 0777), 0); });
  MakeDirectory("dir");
  MakeFile("dir/inside");
  FAILS(ENOTEMPTY, rmdir(Path("dir")));
  FAILS(ENOTEMPTY, rmdir(Path("dir/")));
  FAILS(ENOTEMPTY, rmdir(Path("dir/..")));
  FAILS(EINVAL, rmdir(Path("dir/.")));
  FAILS(EINVAL, rmdir(Path("dir/./")));
  FAILS(EBUSY, rmdir("/"));
  FAILS(ENOTEMPTY, unlinkat(AT_FDCWD, Path("dir"), AT_REMOVEDIR));
  FAILS(EINVAL, unlinkat(AT_FDCWD, Path("dir"), AT_REMOVEDIR | 0x4000));
  FAILS(EINVAL, unlinkat(AT_FDCWD, Path("dir/."), AT_REMOVEDIR));
  OK(unlink(Path("dir/inside")));
  MakeDirectory("dir/sub");
  FAILS(ENOTEMPTY, rmdir(Path("dir")));
  OK(rmdir(Path("dir/sub/")));
  ASSERT_EQ(symlink("dir", Path("to_dir")), 0);
  FAILS(ENOTDIR, rmdir(Path("to_dir")));
  FAILS(ENOTDIR, rmdir(Path("to_dir/")));
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  FAILS(ENOTDIR, rmdir(Path("fifo")));
  OK(rmdir(Path("dir")));
  FAILS(ENOENT, rmdir(Path("dir")));
}

TEST_F(RmdirPosix, MountPointsAreBusy) {
  MakeDirectory("point");
  MakeDirectory("parent");
  MakeDirectory("parent/point");
  ASSERT_EQ(mount("none", Path("point"), "tmpfs", 0, nullptr), 0);
  ASSERT_EQ(mount("none", Path("parent/point"), "tmpfs", 0, nullptr), 0);
  FAILS(EBUSY, rmdir(Path("point")));
  FAILS(EBUSY, rmdir(Path("parent/point")));
  FAILS(ENOTEMPTY, rmdir(Path("parent")));
  FAILS(EBUSY, rename(Path("point"), Path("moved")));
  MakeDirectory("other");
  FAILS(EBUSY, rename(Path("other"), Path("point")));
  ASSERT_EQ(umount2(Path("point"), MNT_DETACH), 0);
  ASSERT_EQ(umount2(Path("parent/point"), MNT_DETACH), 0);
  OK(rmdir(Path("point")));
}

TEST_F(RmdirPosix, ARemovedDirectoryThatIsOpenTakesNothing) {
  MakeDirectory("dir");
  const UniqueFd fd = Open("dir", O_RDONLY | O_DIRECTORY);
  OK(rmdir(Path("dir")));
  FAILS(ENOENT, openat(fd.get(), "x", O_CREAT | O_RDWR, 0600));
  FAILS(ENOENT, openat(fd.get(), "x", O_RDONLY));
  FAILS(ENOENT, mkdirat(fd.get(), "x", 0700));
  FAILS(ENOENT, mknodat(fd.get(), "x", S_IFIFO | 0700, 0));
  FAILS(ENOENT, symlinkat("target", fd.get(), "x"));
  MakeFile("file");
  FAILS(ENOENT, linkat(AT_FDCWD, Path("file"), fd.get(), "x", 0));
  FAILS(ENOENT, renameat(AT_FDCWD, Path("file"), fd.get(), "x"));
  struct stat attributes {};
  OK(fstat(fd.get(), &attributes));
  SAME("rmdir", 0u, attributes.st_nlink);
  OK(fchmod(fd.get(), 0700));
  OK(fstat(fd.get(), &attributes));
  SAME("fchmod", S_IFDIR | 0700u, attributes.st_mode);
}

TEST_F(RmdirPosix, Times) {
  MakeDirectory("parent");
  MakeDirectory("parent/dir");
  CheckTimes("rmdir", {{"parent", "mc"}}, [&] { OK(rmdir(Path("parent/dir"))); });
  MakeDirectory("parent/full");
  MakeFile("parent/full/x");
  CheckTimes("rmdir", {{"parent", ""}, {"parent/full", ""}},
             [&] { FAILS(ENOTEMPTY, rmdir(Path("parent/full"))); });
}

}  // namespace
}  // namespace terracefs::posix
