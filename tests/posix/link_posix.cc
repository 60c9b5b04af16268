#include <sys/syscall.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class LinkPosix : public PosixCase {};

// New names are made by anybody only of files that they may read and write (protected_hardlinks).
TEST_F(LinkPosix, Errors) {
  MakeFile("source", "x", 0666);
  ASSERT_EQ(chmod(Path("source"), 0666), 0);
  const std::string source = Path("source");
  const auto to = [&](const char* path) { return link(source.c_str(), path); };
  const auto to_at = [&](const char* path) {
    return linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path, 0);
  };
  CheckPathErrors({.name = "link", .call = to, .makes = true});
  CheckPathErrors({.name = "linkat", .call = to_at, .makes = true});
  CheckMaking("link", to);
  CheckMaking("linkat", to_at);
  CheckAtErrors("linkat", [&](int at, const char* path) {
    return linkat(AT_FDCWD, source.c_str(), at, path, 0);
  });
  MakeFile("file");
  MakeDirectory("dir");
  FAILS(ENOENT, link(Path("missing"), Path("x")));
  FAILS(EEXIST, link(Path("file"), Path("dir")));
  FAILS(EEXIST, link(Path("file"), Path("file")));
  FAILS(EPERM, link(Path("dir"), Path("x")));
  FAILS(EPERM, link(directory().c_str(), Path("dir/x")));
  FAILS(EEXIST, link(Path("dir"), Path("file")));
  FAILS(ENOENT, link(Path("file"), Path("missing/x")));
  FAILS(ENOENT, link(Path("file"), Path("x/")));
  FAILS(EXDEV, link(Path("file"), Keep(OtherFilesystem() + "/x")));
  FAILS(EINVAL, linkat(AT_FDCWD, Path("file"), AT_FDCWD, Path("x"), 1));
  FAILS(ENOENT, linkat(AT_FDCWD, "", AT_FDCWD, Path("x"), 0));
  FAILS(EBADF, linkat(-1, "file", AT_FDCWD, Path("x"), 0));
  FAILS(EFAULT, link(Bad(), Path("x")));
  FAILS(ENOENT, access(Path("x"), F_OK));
}

TEST_F(LinkPosix, ErrorsOfTheOldName) {
  const std::string target = Path("new_name");
  CheckPathErrors({.name = "link",
                   .call = [&](const char* path) { return link(path, target.c_str()); },
                   .follows = false});
  CheckPathErrors({.name = "linkat", .call = [&](const char* path) {
                     return linkat(AT_FDCWD, path, AT_FDCWD, target.c_str(), AT_SYMLINK_FOLLOW);
                   }});
  CheckAtErrors("linkat", [&](int at, const char* path) {
    return linkat(at, path, AT_FDCWD, target.c_str(), 0);
  });
}

TEST_F(LinkPosix, BothNamesAreOneFile) {
  MakeFile("one");
  OK(link(Path("one"), Path("two")));
  MakeFile("two", "changed");
  SAME("link", "changed", Content("one"));
  SAME("link", Stat("one").st_ino, Stat("two").st_ino);
  for (nlink_t count = 2; count < 12; ++count) {
    const Parameter parameter(std::to_string(count));
    SAME("link", count, Stat("one").st_nlink);
    OK(link(Path("one"), Path("more" + std::to_string(count))));
  }
  OK(chmod(Path("two"), 0600));
  SAME("link", 0600u, Mode("one"));
  OK(unlink(Path("one")));
  SAME("link", 11u, Stat("two").st_nlink);
  SAME("link", "changed", Content("two"));
}

TEST_F(LinkPosix, EveryTypeButDirectoriesCanBeLinked) {
  ASSERT_EQ(symlink("nowhere", Path("soft")), 0);
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  ASSERT_EQ(mknod(Path("socket"), S_IFSOCK | 0600, 0), 0);
  ASSERT_EQ(mknod(Path("device"), S_IFCHR | 0600, 0), 0);
  for (const std::string name : {"soft", "fifo", "socket", "device"}) {
    const Parameter parameter(name);
    OK(link(Path(name), Path(name + "2")));
    SAME("link", Stat(name).st_ino, Stat(name + "2").st_ino);
    SAME("link", 2u, Stat(name).st_nlink);
    OK(linkat(AT_FDCWD, Path(name), AT_FDCWD, Path(name + "3"), 0));
    SAME("linkat", 3u, Stat(name).st_nlink);
  }
  char target[16] = {};
  SAME("readlink", 7, readlink(Path("soft2"), target, sizeof target));
  MakeFile("file");
  ASSERT_EQ(symlink("file", Path("to_file")), 0);
  OK(linkat(AT_FDCWD, Path("to_file"), AT_FDCWD, Path("followed"), AT_SYMLINK_FOLLOW));
  SAME("linkat", Stat("file").st_ino, Stat("followed").st_ino);
  FAILS(ENOENT, linkat(AT_FDCWD, Path("soft"), AT_FDCWD, Path("x"), AT_SYMLINK_FOLLOW));
}

TEST_F(LinkPosix, DescriptorsCanBeLinked) {
  MakeFile("file");
  const UniqueFd fd = Open("file", O_RDONLY);
  const UniqueFd path_fd = Open("file", O_PATH);
  OK(linkat(fd.get(), "", AT_FDCWD, Path("by_fd"), AT_EMPTY_PATH));
  OK(linkat(path_fd.get(), "", AT_FDCWD, Path("by_path"), AT_EMPTY_PATH));
  const std::string proc = "/proc/self/fd/" + std::to_string(fd.get());
  OK(linkat(AT_FDCWD, proc.c_str(), AT_FDCWD, Path("by_proc"), AT_SYMLINK_FOLLOW));
  SAME("linkat", 4u, Stat("file").st_nlink);
  for (const char* const name : {"file", "by_fd", "by_path", "by_proc"}) unlink(Path(name));
  // Only O_TMPFILE makes files whose first name comes later.
  FAILS(ENOENT, linkat(fd.get(), "", AT_FDCWD, Path("again"), AT_EMPTY_PATH));
  FAILS(ENOENT, linkat(AT_FDCWD, proc.c_str(), AT_FDCWD, Path("again"), AT_SYMLINK_FOLLOW));
}

TEST_F(LinkPosix, Times) {
  MakeDirectory("parent");
  MakeFile("file");
  CheckTimes("link", {{"parent", "mc"}, {"file", "c"}},
             [&] { OK(link(Path("file"), Path("parent/new"))); });
  CheckTimes("link", {{"parent", ""}, {"file", ""}},
             [&] { FAILS(EEXIST, link(Path("file"), Path("parent/new"))); });
}

// A link more than the filesystem can count.
TEST_F(LinkPosix, TooManyLinks) {
  if (!OnTerraceFs() && !OnExt4()) GTEST_SKIP() << "the filesystem's limit is out of reach";
  // Slow there, and the count of links has nothing to do with how file data is cached.
  if (OnSlowestMode()) GTEST_SKIP() << "done over the other transport";
  MakeDirectory("many");
  MakeFile("many/file");
  const UniqueFd many = Open("many", O_RDONLY | O_DIRECTORY);
  nlink_t count = 1;
  while (linkat(many.get(), "file", many.get(), std::to_string(count).c_str(), 0) == 0) ++count;
  SAME("linkat", EMLINK, errno);
  SAME("linkat", 65000u, count);
  FAILS(EMLINK, link(Path("many/file"), Path("x")));
  SAME("linkat", 65000u, Stat("many/file").st_nlink);
  OK(unlink(Path("many/17")));
  OK(link(Path("many/file"), Path("x")));
  FAILS(EMLINK, link(Path("many/file"), Path("y")));
}

}  // namespace
}  // namespace terracefs::posix
