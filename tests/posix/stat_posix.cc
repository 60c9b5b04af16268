#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class StatPosix : public PosixCase {};

TEST_F(StatPosix, Errors) {
  static struct stat attributes;
  CheckPathErrors(
      {.name = "stat", .call = [](const char* path) { return stat(path, &attributes); }});
  CheckPathErrors({.name = "lstat",
                   .call = [](const char* path) { return lstat(path, &attributes); },
                   .follows = false});
  CheckPathErrors({.name = "fstatat", .call = [](const char* path) {
                     return fstatat(AT_FDCWD, path, &attributes, 0);
                   }});
  CheckAtErrors("fstatat",
                [](int at, const char* path) { return fstatat(at, path, &attributes, 0); });
  MakeFile("file");
  FAILS(EBADF, fstat(-1, &attributes));
  FAILS(EFAULT, stat(Path("file"), Bad<struct stat>()));
  FAILS(EFAULT, lstat(Path("file"), Bad<struct stat>()));
  const UniqueFd fd = Open("file", O_RDONLY);
  FAILS(EFAULT, fstat(fd.get(), Bad<struct stat>()));
  FAILS(EINVAL, fstatat(AT_FDCWD, Path("file"), &attributes, 1));
  FAILS(ENOENT, fstatat(fd.get(), "", &attributes, 0));
  OK(fstatat(fd.get(), "", &attributes, AT_EMPTY_PATH));
  SAME("fstatat", Stat("file").st_ino, attributes.st_ino);
}

TEST_F(StatPosix, EveryTypeIsTold) {
  MakeFile("file", "12345");
  MakeDirectory("dir");
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  ASSERT_EQ(mkfifo(Path("fifo"), 0644), 0);
  ASSERT_EQ(mknod(Path("socket"), S_IFSOCK | 0644, 0), 0);
  ASSERT_EQ(mknod(Path("char"), S_IFCHR | 0644, 0x102), 0);
  ASSERT_EQ(mknod(Path("block"), S_IFBLK | 0644, 0x103), 0);
  struct Case {
    const char* name;
    mode_t type;
  };
  for (const Case& c :
       {Case{"file", S_IFREG}, Case{"dir", S_IFDIR}, Case{"soft", S_IFLNK}, Case{"fifo", S_IFIFO},
        Case{"socket", S_IFSOCK}, Case{"char", S_IFCHR}, Case{"block", S_IFBLK}}) {
    const Parameter parameter(c.name);
    struct stat attributes {};
    OK(lstat(Path(c.name), &attributes));
    SAME("lstat", c.type, attributes.st_mode & S_IFMT);
    SAME("lstat", Stat("").st_dev, attributes.st_dev);
    SAME("lstat", true, attributes.st_ino != 0);
    SAME("lstat", true, attributes.st_blksize > 0);
    struct stat by_descriptor {};
    const UniqueFd fd(OK(open(Path(c.name), O_PATH | O_NOFOLLOW)));
    OK(fstat(fd.get(), &by_descriptor));
    SAME("fstat", attributes.st_ino, by_descriptor.st_ino);
    SAME("fstat", attributes.st_mode, by_descriptor.st_mode);
  }
  struct stat followed {};
  OK(stat(Path("soft"), &followed));
  SAME("stat", Stat("file").st_ino, followed.st_ino);
  SAME("stat", 5, followed.st_size);
  SAME("lstat", 4, Stat("soft").st_size);
}

TEST_F(StatPosix, SizesAndBlocks) {
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  SAME("stat", 0, Stat("file").st_blocks);
  const std::string data(100'000, 'x');
  ASSERT_EQ(write(fd.get(), data.data(), data.size()), 100'000);
  SAME("stat", 100'000, Stat("file").st_size);
  OK(fsync(fd.get()));
  const blkcnt_t blocks = Stat("file").st_blocks;
  SAME("stat", true, blocks >= 100'000 / 512 && blocks <= 300);
  OK(ftruncate(fd.get(), 50'000'000));
  SAME("stat", 50'000'000, Stat("file").st_size);
  SAME("stat", true, Stat("file").st_blocks <= blocks + 16);
  OK(ftruncate(fd.get(), 0));
  SAME("stat", 0, Stat("file").st_blocks);
}

TEST_F(StatPosix, NeedsNoPermissionOnTheFile) {
  MakeFile("file", "x", 0);
  ASSERT_EQ(chmod(Path("file"), 0), 0);
  struct stat attributes {};
  AsUser(kBob, [&] {
    OK(stat(Path("file"), &attributes));
    FAILS(EACCES, open(Path("file"), O_RDONLY));
  });
  MakeDirectory("unreadable", 0711);
  MakeFile("unreadable/x");
  AsUser(kBob, [&] { OK(stat(Path("unreadable/x"), &attributes)); });
}

TEST_F(StatPosix, LookingChangesNoTimes) {
  MakeFile("file");
  MakeDirectory("dir");
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  CheckTimes("stat", {{"file", ""}, {"dir", ""}, {"", ""}}, [&] {
    struct stat attributes {};
    OK(stat(Path("file"), &attributes));
    OK(stat(Path("dir"), &attributes));
    OK(access(Path("file"), R_OK));
  });
}

}  // namespace
}  // namespace terracefs::posix
