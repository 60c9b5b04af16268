#include <sys/mount.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class UnlinkPosix : public PosixCase {};

TEST_F(UnlinkPosix, Errors) {
  const auto at = [](const char* path) { return unlinkat(AT_FDCWD, path, 0); };
  CheckPathErrors({.name = "unlink", .call = unlink, .follows = false});
  CheckPathErrors({.name = "unlinkat", .call = at, .follows = false});
  CheckAtErrors("unlinkat", [](int fd, const char* path) { return unlinkat(fd, path, 0); });
  const auto make = [&](const std::string& path) { MakeFile(path); };
  CheckRemoving("unlink", unlink, make);
  CheckRemoving("unlinkat", at, make);
  MakeDirectory("dir");
  MakeFile("file");
  FAILS(EISDIR, unlink(Path("dir")));
  FAILS(EISDIR, unlink(Path("dir/")));
  FAILS(EISDIR, unlink(Path("dir/.")));
  FAILS(EISDIR, unlink(Path("dir/..")));
  FAILS(EISDIR, unlink("/"));
  FAILS(EISDIR, unlinkat(AT_FDCWD, Path("dir"), 0));
  FAILS(EINVAL, unlinkat(AT_FDCWD, Path("file"), 1));
  FAILS(ENOTDIR, unlinkat(AT_FDCWD, Path("file"), AT_REMOVEDIR));
  OK(unlink(Path("file")));
  FAILS(ENOENT, unlink(Path("file")));
  AsUser(kAlice, [&] { FAILS(EISDIR, unlink(Path("dir"))); });
}

TEST_F(UnlinkPosix, EveryTypeGoes) {
  MakeFile("file");
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  ASSERT_EQ(symlink("gone", Path("dangling")), 0);
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  ASSERT_EQ(mknod(Path("socket"), S_IFSOCK | 0600, 0), 0);
  ASSERT_EQ(mknod(Path("device"), S_IFCHR | 0600, 0), 0);
  for (const char* const name : {"soft", "dangling", "fifo", "socket", "device"}) {
    const Parameter parameter(name);
    OK(unlink(Path(name)));
    FAILS(ENOENT, unlink(Path(name)));
  }
  OK(access(Path("file"), F_OK));
}

TEST_F(UnlinkPosix, AnOpenFileStaysUntilItIsClosed) {
  MakeFile("file", "content");
  const UniqueFd fd = Open("file", O_RDWR);
  OK(unlink(Path("file")));
  struct stat attributes {};
  OK(fstat(fd.get(), &attributes));
  SAME("unlink", 0u, attributes.st_nlink);
  SAME("unlink", 7, attributes.st_size);
  char back[16] = {};
  SAME("unlink", 7, pread(fd.get(), back, sizeof back, 0));
  SAME("unlink", std::string("content"), std::string(back));
  SAME("unlink", 4, pwrite(fd.get(), "more", 4, 7));
  OK(ftruncate(fd.get(), 9));
  OK(fchmod(fd.get(), 0600));
  OK(fchown(fd.get(), 5, 6));
  OK(futimens(fd.get(), nullptr));
  OK(fsync(fd.get()));
  SAME("unlink", 9, pread(fd.get(), back, sizeof back, 0));
  MakeFile("file", "new");
  SAME("unlink", 9, pread(fd.get(), back, sizeof back, 0));
  SAME("unlink", "new", Content("file"));
  FAILS(ENOTEMPTY, rmdir(directory().c_str()));
}

TEST_F(UnlinkPosix, MountPointsAreBusy) {
  MakeFile("point");
  MakeFile("source");
  ASSERT_EQ(mount(Path("source"), Path("point"), nullptr, MS_BIND, nullptr), 0);
  FAILS(EBUSY, unlink(Path("point")));
  FAILS(EBUSY, rename(Path("point"), Path("moved")));
  FAILS(EBUSY, rename(Path("source"), Path("point")));
  ASSERT_EQ(umount2(Path("point"), MNT_DETACH), 0);
  OK(unlink(Path("point")));
}

TEST_F(UnlinkPosix, Times) {
  MakeDirectory("parent");
  MakeFile("parent/one");
  ASSERT_EQ(link(Path("parent/one"), Path("parent/two")), 0);
  CheckTimes("unlink", {{"parent", "mc"}, {"parent/one", "c"}},
             [&] { OK(unlink(Path("parent/two"))); });
  SAME("unlink", 1u, Stat("parent/one").st_nlink);
  MakeDirectory("parent/dir");
  CheckTimes("unlink", {{"parent", ""}, {"parent/dir", ""}},
             [&] { FAILS(EISDIR, unlink(Path("parent/dir"))); });
}

}  // namespace
}  // namespace terracefs::posix
