#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class ChrootPosix : public PosixCase {};

TEST_F(ChrootPosix, Errors) {
  WithOwnDirectory([&] {
    CheckPathErrors({.name = "chroot",
                     .call = [](const char* path) { return chroot(path); },
                     .directory = true});
    MakeDirectory("dir", 0755);
    MakeDirectory("closed", 0700);
    AsUser(kAlice, [&] {
      FAILS(EPERM, chroot(Path("dir")));
      FAILS(EACCES, chroot(Path("closed")));
    });
  });
}

TEST_F(ChrootPosix, NothingIsAboveTheRoot) {
  MakeDirectory("jail");
  MakeDirectory("jail/sub");
  MakeFile("jail/file", "inside");
  ASSERT_EQ(symlink("/file", Path("jail/sub/absolute")), 0);
  ASSERT_EQ(symlink("../../../../file", Path("jail/sub/up")), 0);
  MakeFile("outside");
  struct stat inside = Stat("jail/file");
  const std::string jail = Path("jail");
  WithOwnDirectory([&] {
    OK(chroot(jail.c_str()));
    OK(chdir("/"));
    struct stat attributes {};
    for (const char* const path : {"/file", "/../file", "/sub/absolute", "/sub/up", "file"}) {
      const Parameter parameter(path);
      OK(stat(path, &attributes));
      SAME("chroot", inside.st_ino, attributes.st_ino);
    }
    FAILS(ENOENT, stat("/../outside", &attributes));
    FAILS(ENOENT, stat("/outside", &attributes));
  });
}

}  // namespace
}  // namespace terracefs::posix
