#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class CreatPosix : public PosixCase {};

TEST_F(CreatPosix, Errors) {
  const auto make = [](const char* path) {
    const int fd = creat(path, 0666);
    if (fd >= 0) close(fd);
    return fd;
  };
  CheckPathErrors({.name = "creat", .call = make, .makes = true});
  MakeDirectory("dir");
  MakeFile("file", "content", 0644);
  MakeFile("read_only", "content", 0444);
  FAILS(EISDIR, creat(Path("dir"), 0644));
  FAILS(EISDIR, creat(Path("dir/"), 0644));
  FAILS(EISDIR, creat(Path("new/"), 0644));
  FAILS(EISDIR, creat(Path("."), 0644));
  FAILS(EISDIR, creat(Path("dir/.."), 0644));
  ASSERT_EQ(symlink("loop", Path("loop")), 0);
  FAILS(ELOOP, creat(Path("loop"), 0644));
  ASSERT_EQ(symlink("made", Path("dangling")), 0);
  const UniqueFd made(OK(creat(Path("dangling"), 0600)));
  SAME("creat", S_IFREG | 0600u, Stat("made").st_mode);
  MakeDirectory("unwritable", 0555);
  AsUser(kAlice, [&] {
    FAILS(EACCES, creat(Path("unwritable/x"), 0644));
    FAILS(EACCES, creat(Path("read_only"), 0644));
    FAILS(EACCES, creat(Path("file"), 0644));
    const UniqueFd fd(OK(creat(Path("mine"), 0444)));
    SAME("creat", 3, write(fd.get(), "abc", 3));
    FAILS(EACCES, creat(Path("mine"), 0444));
  });
  SAME("creat", "content", Content("read_only"));
}

TEST_F(CreatPosix, MakesOrTruncates) {
  umask(027);
  UniqueFd fd(OK(creat(Path("file"), 07777)));
  umask(0);
  SAME("creat", S_IFREG | 07750u, Stat("file").st_mode);
  char c = 0;
  FAILS(EBADF, read(fd.get(), &c, 1));
  SAME("creat", 4, write(fd.get(), "data", 4));
  const ino_t ino = Stat("file").st_ino;
  const UniqueFd again(OK(creat(Path("file"), 0600)));
  SAME("creat", 0, Stat("file").st_size);
  SAME("creat", ino, Stat("file").st_ino);
  SAME("creat", 0750u, Mode("file") & 0777u);
  SAME("creat", 4, write(fd.get(), "tail", 4));
  SAME("creat", std::string(4, '\0') + "tail", Content("file"));
}

TEST_F(CreatPosix, Times) {
  MakeDirectory("parent");
  CheckTimes("creat", {{"parent", "mc"}},
             [&] { const UniqueFd fd(OK(creat(Path("parent/new"), 0644))); });
  MakeFile("parent/full", "content");
  CheckTimes("creat", {{"parent", ""}, {"parent/full", "mc"}},
             [&] { const UniqueFd fd(OK(creat(Path("parent/full"), 0644))); });
  CheckTimes("creat", {{"parent", ""}, {"parent/full", "mc"}}, [&] {
    const Parameter parameter("empty already");
    const UniqueFd fd(OK(creat(Path("parent/full"), 0644)));
  });
}

}  // namespace
}  // namespace terracefs::posix
