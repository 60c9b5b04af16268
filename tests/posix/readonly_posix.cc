#include <linux/fs.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class ReadonlyPosix : public PosixCase {};

void Fill(const std::string& at) {
  close(open((at + "/file").c_str(), O_CREAT | O_WRONLY, 0666));
  close(open((at + "/other").c_str(), O_CREAT | O_WRONLY, 0666));
  ASSERT_EQ(mkdir((at + "/dir").c_str(), 0777), 0);
  ASSERT_EQ(symlink("file", (at + "/soft").c_str()), 0);
  ASSERT_EQ(mkfifo((at + "/fifo").c_str(), 0666), 0);
  ASSERT_EQ(truncate((at + "/file").c_str(), 100), 0);
  ASSERT_EQ(setxattr((at + "/file").c_str(), "user.a", "value", 5, 0), 0);
}

// EROFS of every call that would change something, and that the rest works.
TEST_F(ReadonlyPosix, NothingCanBeChanged) {
  const std::string root = ReadOnlyFilesystem(Fill);
  if (root.empty()) GTEST_SKIP() << "no read-only filesystem of this kind";
  const auto at = [&](const char* name) { return Keep(root + "/" + name); };
  const UniqueFd fd(OK(open(at("file"), O_RDONLY)));
  const UniqueFd dir(OK(open(at("dir"), O_RDONLY)));
  const auto check = [&] {
    FAILS(EROFS, open(at("file"), O_WRONLY));
    FAILS(EROFS, open(at("file"), O_RDWR));
    FAILS(EROFS, open(at("file"), O_RDONLY | O_TRUNC));
    FAILS(EROFS, open(at("new"), O_CREAT | O_RDWR, 0600));
    FAILS(EROFS, openat(dir.get(), "new", O_CREAT | O_EXCL | O_RDWR, 0600));
    FAILS(EROFS, creat(at("file"), 0600));
    FAILS(EROFS, creat(at("new"), 0600));
    FAILS(EROFS, mkdir(at("new"), 0700));
    FAILS(EROFS, mkdirat(dir.get(), "new", 0700));
    FAILS(EROFS, mknod(at("new"), S_IFIFO | 0600, 0));
    FAILS(EROFS, mknod(at("new"), S_IFREG | 0600, 0));
    FAILS(EROFS, mkfifo(at("new"), 0600));
    FAILS(EROFS, symlink("x", at("new")));
    FAILS(EROFS, symlinkat("x", dir.get(), "new"));
    FAILS(EROFS, link(at("file"), at("new")));
    FAILS(EROFS, linkat(AT_FDCWD, at("file"), dir.get(), "new", 0));
    FAILS(EROFS, unlink(at("file")));
    FAILS(EROFS, unlinkat(AT_FDCWD, at("file"), 0));
    FAILS(EROFS, rmdir(at("dir")));
    FAILS(EROFS, unlinkat(AT_FDCWD, at("dir"), AT_REMOVEDIR));
    FAILS(EROFS, rename(at("file"), at("new")));
    FAILS(EROFS, rename(at("file"), at("other")));
    FAILS(EROFS, renameat(AT_FDCWD, at("dir"), AT_FDCWD, at("new")));
    FAILS(EROFS, renameat2(AT_FDCWD, at("file"), AT_FDCWD, at("other"), RENAME_EXCHANGE));
    FAILS(EROFS, truncate(at("file"), 0));
    FAILS(EROFS, truncate(at("file"), 100));
    FAILS(EROFS, chmod(at("file"), 0600));
    FAILS(EROFS, chmod(at("file"), 0666));
    FAILS(EROFS, chmod(at("dir"), 0600));
    FAILS(EROFS, fchmod(fd.get(), 0600));
    FAILS(EROFS, fchmodat(AT_FDCWD, at("file"), 0600, 0));
    FAILS(EROFS, chown(at("file"), 1, 1));
    FAILS(EROFS, lchown(at("soft"), 1, 1));
    FAILS(EROFS, fchown(fd.get(), 1, 1));
    FAILS(EROFS, fchownat(AT_FDCWD, at("file"), 1, 1, 0));
    FAILS(EROFS, utimensat(AT_FDCWD, at("file"), nullptr, 0));
    FAILS(EROFS, utimensat(AT_FDCWD, at("soft"), nullptr, AT_SYMLINK_NOFOLLOW));
    FAILS(EROFS, futimens(fd.get(), nullptr));
    FAILS(EROFS, setxattr(at("file"), "user.a", "1", 1, 0));
    FAILS(EROFS, lsetxattr(at("soft"), "trusted.a", "1", 1, 0));
    FAILS(EROFS, fsetxattr(fd.get(), "user.a", "1", 1, 0));
    FAILS(EROFS, removexattr(at("file"), "user.a"));
    FAILS(EROFS, fremovexattr(fd.get(), "user.a"));
    FAILS(EROFS, access(at("file"), W_OK));
    FAILS(EROFS, access(at("dir"), W_OK));
  };
  check();
  AsUser(kAlice, check);
  // What is missing or there already is told as such.
  FAILS(EROFS, unlink(at("missing")));
  FAILS(ENOENT, truncate(at("missing"), 0));
  FAILS(EEXIST, mkdir(at("dir"), 0700));
  FAILS(EEXIST, open(at("file"), O_CREAT | O_EXCL | O_RDWR, 0600));
  FAILS(EXDEV, rename(at("file"), Path("x")));
}

TEST_F(ReadonlyPosix, EverythingCanBeRead) {
  const std::string root = ReadOnlyFilesystem(Fill);
  if (root.empty()) GTEST_SKIP() << "no read-only filesystem of this kind";
  const auto at = [&](const char* name) { return Keep(root + "/" + name); };
  const UniqueFd fd(OK(open(at("file"), O_RDONLY)));
  char buffer[256];
  SAME("read", 100, read(fd.get(), buffer, sizeof buffer));
  SAME("getxattr", 5, getxattr(at("file"), "user.a", buffer, sizeof buffer));
  SAME("readlink", 4, readlink(at("soft"), buffer, sizeof buffer));
  FAILS(EBADF, write(fd.get(), "x", 1));
  OK(access(at("file"), R_OK));
  const UniqueFd path_fd(OK(open(at("file"), O_PATH)));
  const UniqueFd fifo(OK(open(at("fifo"), O_RDWR)));  // fifos are not of the filesystem
  SAME("write", 1, write(fifo.get(), "x", 1));
  OK(fsync(fd.get()));
  struct statvfs info {};
  OK(statvfs(at("file"), &info));
  SAME("statvfs", static_cast<unsigned long>(ST_RDONLY), info.f_flag & ST_RDONLY);
}

}  // namespace
}  // namespace terracefs::posix
