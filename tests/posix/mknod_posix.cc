#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <cstring>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class MknodPosix : public PosixCase {};

TEST_F(MknodPosix, Errors) {
  for (const mode_t type : {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR}) {
    const Parameter parameter("type " + std::to_string(type));
    const auto make = [type](const char* path) { return mknod(path, type | 0666, 0); };
    CheckMaking("mknod", type == S_IFCHR ? [](const char* path) { return mknod(path, 0666, 0); }
                                         : std::function<long(const char*)>(make));
    for (const char* name : {"make_mknod"}) {
      ASSERT_EQ(rename(Path(name), Path(std::to_string(type))), 0);
    }
  }
  const auto fifo = [](const char* path) { return mknod(path, S_IFIFO | 0666, 0); };
  CheckPathErrors({.name = "mknod", .call = fifo, .makes = true});
  const auto fifo_at = [](const char* path) { return mknodat(AT_FDCWD, path, S_IFREG | 0666, 0); };
  CheckPathErrors({.name = "mknodat", .call = fifo_at, .makes = true});
  CheckAtErrors("mknodat",
                [](int at, const char* path) { return mknodat(at, path, S_IFIFO | 0666, 0); });
  CheckMaking("mknodat", fifo_at);
  FAILS(EPERM, mknod(Path("dir"), S_IFDIR | 0755, 0));
  FAILS(EINVAL, mknod(Path("link"), S_IFLNK | 0755, 0));
  FAILS(EINVAL, mknod(Path("strange"), 0150000 | 0755, 0));
  FAILS(EINVAL, mknodat(AT_FDCWD, Path("link"), S_IFLNK | 0755, 0));
  FAILS(ENOENT, mknod(Path("slash/"), S_IFREG | 0755, 0));
  AsUser(kAlice, [&] {
    FAILS(EPERM, mknod(Path("device"), S_IFCHR | 0666, makedev(1, 3)));
    FAILS(EPERM, mknod(Path("device"), S_IFBLK | 0666, makedev(7, 0)));
    OK(mknod(Path("fifo"), S_IFIFO | 0666, 0));
    OK(mknod(Path("socket"), S_IFSOCK | 0666, 0));
    OK(mknod(Path("whiteout"), S_IFCHR | 0666, makedev(0, 0)));
    OK(mknod(Path("regular"), S_IFREG | 0666, 0));
    OK(mknod(Path("typeless"), 0600, 0));
  });
  SAME("mknod", kAlice.uid, Stat("fifo").st_uid);
  SAME("mknod", kAlice.gid, Stat("socket").st_gid);
  SAME("mknod", S_IFREG | 0600u, Stat("typeless").st_mode);
  SAME("mknod", S_IFCHR | 0666u, Stat("whiteout").st_mode);
}

TEST_F(MknodPosix, TypeModeAndNumberAreKept) {
  struct Case {
    mode_t mode;
    dev_t device;
  };
  for (const Case& c :
       {Case{S_IFIFO | 0640, 0}, Case{S_IFSOCK | 0600, 0}, Case{S_IFREG | 0604, 0},
        Case{S_IFBLK | 0600, makedev(259, 70'000)}, Case{S_IFCHR | 0600, makedev(4095, 1'048'575)},
        Case{S_IFCHR | 0622, makedev(1, 3)}, Case{S_IFBLK | 07777, makedev(0, 0)}}) {
    const Parameter parameter(std::to_string(c.mode) + " " + std::to_string(c.device));
    OK(mknod(Path("node"), c.mode, c.device));
    SAME("mknod", c.mode, Stat("node").st_mode);
    SAME("mknod", c.device, Stat("node").st_rdev);
    SAME("mknod", 1u, Stat("node").st_nlink);
    SAME("mknod", 0, Stat("node").st_size);
    OK(unlink(Path("node")));
  }
  umask(037);
  OK(mknod(Path("node"), S_IFIFO | 0666, 0));
  umask(0);
  SAME("mknod", 0640u, Mode("node"));
}

TEST_F(MknodPosix, SpecialFilesWorkAsSuch) {
  ASSERT_EQ(mknod(Path("null"), S_IFCHR | 0666, makedev(1, 3)), 0);
  ASSERT_EQ(mknod(Path("socket"), S_IFSOCK | 0666, 0), 0);
  ASSERT_EQ(mknod(Path("nothing"), S_IFCHR | 0666, makedev(4000, 3)), 0);
  FAILS(ENXIO, open(Path("socket"), O_RDONLY));
  FAILS(ENXIO, open(Path("socket"), O_RDWR));
  FAILS(ENXIO, open(Path("nothing"), O_RDONLY));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  MakeDirectory("s");
  const std::string name = Path("s/x");
  if (name.size() >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  const UniqueFd server(socket(AF_UNIX, SOCK_STREAM, 0));
  const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
  OK(bind(server.get(), generic, sizeof address));
  SAME("bind", true, S_ISSOCK(Stat("s/x").st_mode));
  const UniqueFd again(socket(AF_UNIX, SOCK_STREAM, 0));
  FAILS(EADDRINUSE, bind(again.get(), generic, sizeof address));
  FAILS(ECONNREFUSED, connect(again.get(), generic, sizeof address));
  OK(listen(server.get(), 1));
  OK(connect(again.get(), generic, sizeof address));
}

TEST_F(MknodPosix, Times) {
  MakeDirectory("parent");
  CheckTimes("mknod", {{"parent", "mc"}},
             [&] { OK(mknod(Path("parent/new"), S_IFIFO | 0644, 0)); });
  const struct stat made = Stat("parent/new");
  SAME("mknod", made.st_mtim.tv_nsec, made.st_ctim.tv_nsec);
  SAME("mknod", made.st_mtim.tv_nsec, made.st_atim.tv_nsec);
}

}  // namespace
}  // namespace terracefs::posix
