#include <linux/fs.h>
#include <sys/mount.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class RenamePosix : public PosixCase {};

// Shorter than glibc's, and found in its place.
int renameat2(const char* from, const char* to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

TEST_F(RenamePosix, ErrorsOfTheOldName) {
  const std::string target = Path("new_name");
  CheckPathErrors({.name = "rename",
                   .call = [&](const char* path) { return rename(path, target.c_str()); },
                   .follows = false});
  CheckPathErrors(
      {.name = "renameat2",
       .call = [&](const char* path) { return renameat2(path, target.c_str(), RENAME_NOREPLACE); },
       .follows = false});
  CheckAtErrors("renameat", [&](int at, const char* path) {
    return renameat(at, path, AT_FDCWD, target.c_str());
  });
}

TEST_F(RenamePosix, ErrorsOfTheNewName) {
  MakeFile("source", "x", 0666);
  const std::string source = Path("source");
  CheckPathErrors({.name = "rename",
                   .call = [&](const char* path) { return rename(source.c_str(), path); },
                   .makes = true});
  CheckPathErrors({.name = "renameat2",
                   .call = [&](const char* path) { return renameat2(source.c_str(), path, 0); },
                   .makes = true});
  CheckPathErrors(
      {.name = "renameat2",
       .call = [&](const char* path) { return renameat2(source.c_str(), path, RENAME_EXCHANGE); },
       .follows = false});
  CheckAtErrors("renameat", [&](int at, const char* path) {
    return renameat(AT_FDCWD, source.c_str(), at, path);
  });
}

TEST_F(RenamePosix, WhoMayTakeAndGive) {
  MakeDirectory("target", 0777);
  int next = 0;
  const auto away = [&](const char* path) {
    return rename(path, Path("target/" + std::to_string(next++)));
  };
  CheckRemoving("rename", away, [&](const std::string& path) { MakeFile(path); });
  // Replacing takes the target away.
  MakeDirectory("sources", 0777);
  const auto over = [&](const char* path) {
    const char* const source = Path("sources/" + std::to_string(next++));
    close(creat(source, 0600));
    return rename(source, path);
  };
  CheckRemoving("renameat", over, [&](const std::string& path) { MakeFile(path); });
  MakeDirectory("unwritable", 0555);
  MakeFile("unwritable/there");
  MakeFile("free", "x", 0666);
  MakeDirectory("bobs_dir", 0755);
  Give("bobs_dir", kBob);
  AsUser(kAlice, [&] {
    FAILS(EACCES, rename(Path("free"), Path("unwritable/new")));
    FAILS(EACCES, rename(Path("free"), Path("unwritable/there")));
    FAILS(EACCES, renameat2(Path("free"), Path("unwritable/there"), RENAME_EXCHANGE));
    FAILS(EEXIST, renameat2(Path("free"), Path("unwritable/there"), RENAME_NOREPLACE));
    // Its ".." would change, so moving a directory elsewhere needs write permission on it.
    FAILS(EACCES, rename(Path("bobs_dir"), Path("target/bobs_dir")));
    OK(rename(Path("bobs_dir"), Path("bobs_moved")));
  });
  MakeDirectory("sticky", 01777);
  MakeFile("sticky/bobs");
  Give("sticky/bobs", kBob);
  MakeFile("sticky/alices");
  Give("sticky/alices", kAlice);
  AsUser(kAlice, [&] {
    FAILS(EPERM, rename(Path("sticky/bobs"), Path("sticky/moved")));
    FAILS(EPERM, rename(Path("sticky/alices"), Path("sticky/bobs")));
    FAILS(EPERM, renameat2(Path("sticky/alices"), Path("sticky/bobs"), RENAME_EXCHANGE));
    FAILS(EPERM, renameat2(Path("free"), Path("sticky/bobs"), 0));
    OK(rename(Path("sticky/alices"), Path("sticky/moved")));
  });
}

TEST_F(RenamePosix, TypesHaveToFit) {
  MakeFile("file");
  MakeDirectory("dir");
  MakeDirectory("full");
  MakeFile("full/x");
  ASSERT_EQ(symlink("dir", Path("soft")), 0);
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  FAILS(ENOENT, rename(Path("missing"), Path("x")));
  FAILS(ENOENT, rename(Path("file"), Path("missing/x")));
  FAILS(ENOENT, rename(Path("missing"), Path("file")));
  FAILS(EISDIR, rename(Path("file"), Path("dir")));
  FAILS(EISDIR, rename(Path("fifo"), Path("dir")));
  FAILS(EISDIR, rename(Path("soft"), Path("dir")));
  FAILS(EISDIR, rename(Path("file"), Path("full")));
  FAILS(ENOTDIR, rename(Path("dir"), Path("file")));
  FAILS(ENOTDIR, rename(Path("dir"), Path("soft")));
  FAILS(ENOTDIR, rename(Path("dir"), Path("fifo")));
  FAILS(ENOTEMPTY, rename(Path("dir"), Path("full")));
  FAILS(EINVAL, rename(Path("dir"), Path("dir/inside")));
  FAILS(EINVAL, rename(Path("full"), Path("full/a")));
  MakeDirectory("dir/sub");
  MakeDirectory("dir/sub/below");
  FAILS(EINVAL, rename(Path("dir"), Path("dir/sub/inside")));
  FAILS(EINVAL, rename(Path("dir"), Path("dir/sub/below")));
  FAILS(ENOTEMPTY, rename(Path("dir/sub/below"), Path("dir/sub")));
  FAILS(ENOTEMPTY, rename(Path("dir/sub/below"), Path("dir")));
  FAILS(ENOTEMPTY, rename(Path("full/x"), Path("full")));
  FAILS(EBUSY, rename(Path("dir/."), Path("x")));
  FAILS(EBUSY, rename(Path("dir/.."), Path("x")));
  FAILS(EBUSY, rename(Path("file"), Path("dir/.")));
  FAILS(EBUSY, rename(Path("file"), Path("dir/..")));
  FAILS(EXDEV, rename("/", Path("x")));
  FAILS(ENOTDIR, rename(Path("file/"), Path("x")));
  FAILS(ENOTDIR, rename(Path("file"), Path("x/")));
  FAILS(ENOTDIR, rename(Path("soft/"), Path("x")));
  FAILS(EXDEV, rename(Path("file"), Keep(OtherFilesystem() + "/x")));
  FAILS(EXDEV, rename(Path("dir"), Keep(OtherFilesystem() + "/x")));
  FAILS(ENAMETOOLONG, rename(Path("file"), Path(std::string(256, 'n'))));
  OK(rename(Path("dir/"), Path("moved/")));
  SAME("rename", true, S_ISDIR(Stat("moved/sub").st_mode));
}

TEST_F(RenamePosix, MountPointsAreBusy) {
  MakeDirectory("point");
  ASSERT_EQ(mount("none", Path("point"), "tmpfs", 0, nullptr), 0);
  MakeDirectory("dir");
  MakeFile("file");
  FAILS(EBUSY, rename(Path("point"), Path("x")));
  FAILS(EBUSY, rename(Path("dir"), Path("point")));
  FAILS(EXDEV, rename(Path("file"), Path("point/file")));
  FAILS(EXDEV, link(Path("file"), Path("point/file")));
  ASSERT_EQ(umount2(Path("point"), MNT_DETACH), 0);
}

TEST_F(RenamePosix, ReplacingKeepsTheSourceAndDropsTheTarget) {
  MakeFile("new", "new");
  MakeFile("old", "old");
  const UniqueFd fd = Open("old", O_RDONLY);
  const ino_t ino = Stat("new").st_ino;
  OK(rename(Path("new"), Path("old")));
  SAME("rename", "new", Content("old"));
  SAME("rename", ino, Stat("old").st_ino);
  FAILS(ENOENT, access(Path("new"), F_OK));
  char back[4] = {};
  SAME("rename", 3, read(fd.get(), back, sizeof back));
  SAME("rename", std::string("old"), std::string(back));
  struct stat attributes {};
  OK(fstat(fd.get(), &attributes));
  SAME("rename", 0u, attributes.st_nlink);
  ASSERT_EQ(symlink("nowhere", Path("soft")), 0);
  OK(rename(Path("soft"), Path("old")));
  SAME("rename", true, S_ISLNK(Stat("old").st_mode));
  MakeFile("file");
  OK(rename(Path("file"), Path("old")));
  SAME("rename", true, S_ISREG(Stat("old").st_mode));
  MakeDirectory("a");
  MakeDirectory("b");
  MakeFile("a/inside");
  OK(rename(Path("a"), Path("b")));
  SAME("rename", "x", Content("b/inside"));
  OK(rename(Path("b"), Path("b")));
  OK(rename(Path("old"), Path("old")));
}

TEST_F(RenamePosix, LinksToOneFileStayBoth) {
  MakeFile("a");
  ASSERT_EQ(link(Path("a"), Path("b")), 0);
  OK(rename(Path("a"), Path("b")));
  SAME("rename", "x", Content("a"));
  SAME("rename", "x", Content("b"));
  SAME("rename", 2u, Stat("a").st_nlink);
  MakeFile("c");
  OK(rename(Path("c"), Path("b")));
  SAME("rename", 1u, Stat("a").st_nlink);
}

TEST_F(RenamePosix, MovedDirectoriesKnowTheirNewParent) {
  MakeDirectory("from");
  MakeDirectory("to");
  MakeDirectory("from/sub");
  OK(rename(Path("from/sub"), Path("to/sub")));
  SAME("rename", Stat("to").st_ino, Stat("to/sub/..").st_ino);
  SAME("rename", 3u, Stat("to").st_nlink);
  SAME("rename", 2u, Stat("from").st_nlink);
  MakeDirectory("from/empty");
  OK(rename(Path("to/sub"), Path("from/empty")));
  SAME("rename", 2u, Stat("to").st_nlink);
  SAME("rename", 3u, Stat("from").st_nlink);
  MakeFile("to/file");
  OK(renameat2(Path("to/file"), Path("from/empty"), RENAME_EXCHANGE));
  SAME("renameat2", 3u, Stat("to").st_nlink);
  SAME("renameat2", 2u, Stat("from").st_nlink);
  SAME("renameat2", Stat("to").st_ino, Stat("to/file/..").st_ino);
}

TEST_F(RenamePosix, FlagsExcludeAndExchange) {
  MakeFile("a", "a");
  MakeFile("b", "b");
  MakeDirectory("dir");
  MakeFile("dir/inside");
  ASSERT_EQ(symlink("gone", Path("dangling")), 0);
  FAILS(EEXIST, renameat2(Path("a"), Path("b"), RENAME_NOREPLACE));
  FAILS(EEXIST, renameat2(Path("a"), Path("a"), RENAME_NOREPLACE));
  FAILS(EEXIST, renameat2(Path("a"), Path("dir"), RENAME_NOREPLACE));
  FAILS(EEXIST, renameat2(Path("a"), Path("dangling"), RENAME_NOREPLACE));
  FAILS(EEXIST, renameat2(Path("a"), Path("dir/."), RENAME_NOREPLACE));
  FAILS(ENOENT, renameat2(Path("a"), Path("c"), RENAME_EXCHANGE));
  FAILS(ENOENT, renameat2(Path("c"), Path("a"), RENAME_EXCHANGE));
  FAILS(EINVAL, renameat2(Path("a"), Path("b"), RENAME_NOREPLACE | RENAME_EXCHANGE));
  FAILS(EINVAL, renameat2(Path("a"), Path("b"), RENAME_WHITEOUT | RENAME_EXCHANGE));
  FAILS(EINVAL, renameat2(Path("a"), Path("b"), 8));
  FAILS(EINVAL, renameat2(Path("a"), Path("b"), 0x80000000U));
  FAILS(EINVAL, renameat2(Path("dir"), Path("dir/inside"), RENAME_EXCHANGE));
  FAILS(EINVAL, renameat2(Path("dir/inside"), Path("dir"), RENAME_EXCHANGE));
  FAILS(EXDEV, renameat2(Path("a"), Keep(OtherFilesystem() + "/x"), RENAME_NOREPLACE));
  OK(renameat2(Path("a"), Path("b"), RENAME_EXCHANGE));
  SAME("renameat2", "b", Content("a"));
  SAME("renameat2", "a", Content("b"));
  OK(renameat2(Path("a"), Path("c"), RENAME_NOREPLACE));
  SAME("renameat2", "b", Content("c"));
  OK(renameat2(Path("c"), Path("dir"), RENAME_EXCHANGE));
  SAME("renameat2", "b", Content("dir"));
  SAME("renameat2", "x", Content("c/inside"));
  OK(renameat2(Path("dangling"), Path("dir"), RENAME_EXCHANGE));
  SAME("renameat2", true, S_ISLNK(Stat("dir").st_mode));
  OK(renameat2(Path("dir"), Path("dir"), RENAME_EXCHANGE));
}

TEST_F(RenamePosix, WhiteoutsStayBehind) {
  MakeFile("file", "content");
  OK(renameat2(Path("file"), Path("moved"), RENAME_WHITEOUT));
  SAME("renameat2", "content", Content("moved"));
  const struct stat whiteout = Stat("file");
  SAME("renameat2", true, S_ISCHR(whiteout.st_mode));
  SAME("renameat2", 0u, whiteout.st_rdev);
  MakeFile("second", "second");
  OK(renameat2(Path("second"), Path("moved"), RENAME_WHITEOUT));
  SAME("renameat2", "second", Content("moved"));
  FAILS(EEXIST, renameat2(Path("moved"), Path("file"), RENAME_WHITEOUT | RENAME_NOREPLACE));
  OK(renameat2(Path("moved"), Path("new"), RENAME_WHITEOUT | RENAME_NOREPLACE));
  MakeDirectory("dir");
  OK(renameat2(Path("dir"), Path("moved_dir"), RENAME_WHITEOUT));
  SAME("renameat2", true, S_ISCHR(Stat("dir").st_mode));
  SAME("renameat2", true, S_ISDIR(Stat("moved_dir").st_mode));
  OK(unlink(Path("dir")));
}

TEST_F(RenamePosix, Times) {
  MakeDirectory("from");
  MakeDirectory("to");
  MakeFile("from/file");
  MakeFile("to/target");
  ASSERT_EQ(link(Path("to/target"), Path("kept")), 0);
  // Looked at by another name, which stays.
  ASSERT_EQ(link(Path("from/file"), Path("moved")), 0);
  CheckTimes("rename", {{"from", "mc"}, {"to", "mc"}, {"moved", "c"}},
             [&] { OK(rename(Path("from/file"), Path("to/new"))); });
  MakeFile("from/file");
  CheckTimes("rename", {{"from", "mc"}, {"to", "mc"}, {"kept", "c"}},
             [&] { OK(rename(Path("from/file"), Path("to/target"))); });
  MakeFile("from/again");
  CheckTimes("rename", {{"from", ""}, {"to", ""}, {"from/again", ""}}, [&] {
    FAILS(EEXIST, renameat2(Path("from/again"), Path("to/new"), RENAME_NOREPLACE));
  });
  ASSERT_EQ(link(Path("from/again"), Path("again")), 0);
  CheckTimes("renameat2", {{"from", "mc"}, {"to", "mc"}, {"again", "c"}, {"moved", "c"}},
             [&] { OK(renameat2(Path("from/again"), Path("to/new"), RENAME_EXCHANGE)); });
}

}  // namespace
}  // namespace terracefs::posix
