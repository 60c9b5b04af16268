#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class MkdirPosix : public PosixCase {};

TEST_F(MkdirPosix, Errors) {
  const auto make = [](const char* path) { return mkdir(path, 0777); };
  const auto make_at = [](const char* path) { return mkdirat(AT_FDCWD, path, 0777); };
  CheckPathErrors({.name = "mkdir", .call = make, .makes = true});
  CheckPathErrors({.name = "mkdirat", .call = make_at, .makes = true});
  CheckAtErrors("mkdirat", [](int at, const char* path) { return mkdirat(at, path, 0777); });
  CheckMaking("mkdir", make);
  CheckMaking("mkdirat", make_at);
  MakeFile("file");
  FAILS(EEXIST, mkdir(Path("file/"), 0755));
  FAILS(EEXIST, mkdir("/", 0755));
  FAILS(EEXIST, mkdir(directory().c_str(), 0755));
  OK(mkdir(Path("with_slash/"), 0755));
  FAILS(EEXIST, mkdir(Path("with_slash//"), 0755));
  ASSERT_EQ(symlink("gone", Path("dangling")), 0);
  FAILS(EEXIST, mkdir(Path("dangling"), 0755));
  FAILS(EEXIST, mkdir(Path("dangling/"), 0755));
}

TEST_F(MkdirPosix, ModesLessTheUmask) {
  for (const mode_t mask : {0u, 022u, 077u, 0777u}) {
    for (const mode_t mode : {0777u, 0750u, 0u, 01777u}) {
      const Parameter parameter(std::to_string(mode) + " less " + std::to_string(mask));
      umask(mask);
      OK(mkdir(Path("dir"), mode));
      umask(0);
      SAME("mkdir", S_IFDIR | (mode & ~mask), Stat("dir").st_mode);
      OK(rmdir(Path("dir")));
    }
  }
}

TEST_F(MkdirPosix, WhatANewDirectoryIs) {
  MakeDirectory("open", 0777);
  AsUser(kAlice, [&] { OK(mkdir(Path("open/alices"), 0750)); });
  const struct stat attributes = Stat("open/alices");
  SAME("mkdir", kAlice.uid, attributes.st_uid);
  SAME("mkdir", kAlice.gid, attributes.st_gid);
  SAME("mkdir", S_IFDIR | 0750u, attributes.st_mode);
  SAME("mkdir", 2u, attributes.st_nlink);
  SAME("mkdir", Stat("open").st_dev, attributes.st_dev);
  struct stat above {};
  OK(stat(Path("open/alices/.."), &above));
  SAME("mkdir", Stat("open").st_ino, above.st_ino);
  OK(stat(Path("open/alices/."), &above));
  SAME("mkdir", attributes.st_ino, above.st_ino);
}

TEST_F(MkdirPosix, LinkCountsFollowSubdirectories) {
  MakeDirectory("dir", 0750);
  SAME("mkdir", 2u, Stat("dir").st_nlink);
  for (nlink_t i = 0; i < 5; ++i) {
    const Parameter parameter(std::to_string(i));
    OK(mkdirat(AT_FDCWD, Path("dir/sub" + std::to_string(i)), 0700));
    SAME("mkdirat", 3 + i, Stat("dir").st_nlink);
  }
  MakeFile("dir/file");
  SAME("mkdir", 7u, Stat("dir").st_nlink);
  OK(rmdir(Path("dir/sub0")));
  SAME("rmdir", 6u, Stat("dir").st_nlink);
}

TEST_F(MkdirPosix, Times) {
  MakeDirectory("parent");
  CheckTimes("mkdir", {{"parent", "mc"}}, [&] { OK(mkdir(Path("parent/new"), 0755)); });
  const struct stat made = Stat("parent/new");
  SAME("mkdir", made.st_mtim.tv_nsec, made.st_ctim.tv_nsec);
  SAME("mkdir", made.st_mtim.tv_nsec, made.st_atim.tv_nsec);
  CheckTimes("mkdir", {{"parent", ""}}, [&] { FAILS(EEXIST, mkdir(Path("parent/new"), 0755)); });
}

TEST_F(MkdirPosix, DeepTreesWork) {
  std::string path = "d";
  for (int depth = 0; depth < 60; ++depth, path += "/d") {
    ASSERT_EQ(mkdir(Path(path), 0755), 0) << depth;
  }
  OK(access(Path(path.substr(0, path.size() - 2)), F_OK));
  FAILS(ENOENT, access(Path(path), F_OK));
}

}  // namespace
}  // namespace terracefs::posix
