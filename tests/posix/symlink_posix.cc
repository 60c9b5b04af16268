#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class SymlinkPosix : public PosixCase {};

TEST_F(SymlinkPosix, Errors) {
  const auto make = [](const char* path) { return symlink("target", path); };
  const auto make_at = [](const char* path) { return symlinkat("target", AT_FDCWD, path); };
  CheckPathErrors({.name = "symlink", .call = make, .makes = true});
  CheckPathErrors({.name = "symlinkat", .call = make_at, .makes = true});
  CheckAtErrors("symlinkat",
                [](int at, const char* path) { return symlinkat("target", at, path); });
  CheckMaking("symlink", make);
  CheckMaking("symlinkat", make_at);
  FAILS(ENOENT, symlink("", Path("soft")));
  FAILS(EFAULT, symlink(Bad(), Path("soft")));
  FAILS(ENAMETOOLONG, symlink(Keep(std::string(4096, 't')), Path("soft")));
  FAILS(ENOENT, symlink("x", Path("soft/")));
  MakeFile("file");
  FAILS(EEXIST, symlink("x", Path("file")));
  FAILS(ENOENT, symlink("x", Path("missing/x")));
}

TEST_F(SymlinkPosix, TargetsComeBackAsTheyWere) {
  const size_t longest = OnTmpfs() || OnExt4() ? 4000 : 4095;
  for (const std::string& target :
       {std::string("x"), std::string("../a b/c"), std::string("/"), std::string("a//b/./.."),
        std::string("\xff\x01\n"), std::string(59, 's'), std::string(60, 's'),
        std::string(255, 'm'), std::string(1024, 'm'), std::string(longest, 't')}) {
    const Parameter parameter(std::to_string(target.size()) + target.substr(0, 4));
    OK(symlink(target.c_str(), Path("soft")));
    std::string back(8192, '\0');
    back.resize(static_cast<size_t>(OK(readlink(Path("soft"), back.data(), back.size()))));
    SAME("readlink", target, back);
    SAME("symlink", S_IFLNK | 0777u, Stat("soft").st_mode);
    SAME("symlink", static_cast<off_t>(target.size()), Stat("soft").st_size);
    SAME("symlink", 1u, Stat("soft").st_nlink);
    OK(unlink(Path("soft")));
  }
}

TEST_F(SymlinkPosix, PathsGoThroughThem) {
  MakeDirectory("dir");
  MakeFile("dir/file", "inside");
  OK(symlink("dir", Path("soft")));
  OK(symlink("../dir/file", Path("dir/up")));
  OK(symlink(Path("dir"), Path("absolute")));
  SAME("symlink", "inside", Content("soft/file"));
  SAME("symlink", "inside", Content("soft/up"));
  SAME("symlink", "inside", Content("absolute/up"));
  SAME("symlink", true, S_ISLNK(Stat("soft").st_mode));
  SAME("symlink", true, S_ISDIR(Stat("soft/").st_mode));
  OK(rename(Path("dir"), Path("moved")));
  FAILS(ENOENT, open(Path("soft/file"), O_RDONLY));
  MakeDirectory("dir");
  MakeFile("dir/file", "other");
  SAME("symlink", "other", Content("soft/file"));
}

TEST_F(SymlinkPosix, OwnersAndTheUmask) {
  umask(077);
  AsUser(kAlice, [&] { OK(symlink("x", Path("soft"))); });
  umask(0);
  SAME("symlink", S_IFLNK | 0777u, Stat("soft").st_mode);
  SAME("symlink", kAlice.uid, Stat("soft").st_uid);
  SAME("symlink", kAlice.gid, Stat("soft").st_gid);
}

TEST_F(SymlinkPosix, Times) {
  MakeDirectory("parent");
  CheckTimes("symlink", {{"parent", "mc"}}, [&] { OK(symlink("x", Path("parent/new"))); });
  const struct stat made = Stat("parent/new");
  SAME("symlink", made.st_mtim.tv_nsec, made.st_ctim.tv_nsec);
}

}  // namespace
}  // namespace terracefs::posix
