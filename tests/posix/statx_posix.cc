#include <linux/stat.h>
#include <sys/sysmacros.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class StatxPosix : public PosixCase {};

TEST_F(StatxPosix, Errors) {
  static struct statx attributes;
  CheckPathErrors({.name = "statx", .call = [](const char* path) {
                     return statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &attributes);
                   }});
  CheckAtErrors("statx", [](int at, const char* path) {
    return statx(at, path, 0, STATX_BASIC_STATS, &attributes);
  });
  MakeFile("file");
  FAILS(EINVAL, statx(AT_FDCWD, Path("file"), 1, STATX_BASIC_STATS, &attributes));
  FAILS(EINVAL, statx(AT_FDCWD, Path("file"), AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC,
                      STATX_BASIC_STATS, &attributes));
  FAILS(EINVAL, statx(AT_FDCWD, Path("file"), 0, 0x80000000U, &attributes));
  FAILS(EFAULT, statx(AT_FDCWD, Path("file"), 0, STATX_BASIC_STATS, Bad<struct statx>()));
  FAILS(ENOENT, statx(AT_FDCWD, "", 0, STATX_BASIC_STATS, &attributes));
}

TEST_F(StatxPosix, AgreesWithStat) {
  MakeFile("file", "12345");
  MakeDirectory("dir");
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  ASSERT_EQ(mknod(Path("device"), S_IFCHR | 0644, makedev(7, 9)), 0);
  for (const std::string name : {"file", "dir", "soft", "device"}) {
    for (const int sync : {AT_STATX_SYNC_AS_STAT, AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC}) {
      const Parameter parameter(name + " " + std::to_string(sync));
      struct statx x {};
      OK(statx(AT_FDCWD, Path(name), AT_SYMLINK_NOFOLLOW | sync, STATX_BASIC_STATS, &x));
      const struct stat s = Stat(name);
      SAME("statx", s.st_ino, x.stx_ino);
      SAME("statx", s.st_mode, x.stx_mode);
      SAME("statx", s.st_nlink, x.stx_nlink);
      SAME("statx", static_cast<uint64_t>(s.st_size), x.stx_size);
      SAME("statx", s.st_mtim.tv_nsec, static_cast<long>(x.stx_mtime.tv_nsec));
      SAME("statx", s.st_rdev, makedev(x.stx_rdev_major, x.stx_rdev_minor));
      SAME("statx", s.st_dev, makedev(x.stx_dev_major, x.stx_dev_minor));
      SAME("statx", STATX_BASIC_STATS, x.stx_mask & STATX_BASIC_STATS);
    }
  }
}

TEST_F(StatxPosix, TimesOfBirthStay) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  MakeFile("file");
  const auto birth = [&] {
    struct statx x {};
    OK(statx(AT_FDCWD, Path("file"), 0, STATX_BTIME | STATX_BASIC_STATS, &x));
    SAME("statx", STATX_BTIME, x.stx_mask & STATX_BTIME);
    return x.stx_btime.tv_sec * 1'000'000'000 + x.stx_btime.tv_nsec;
  };
  const int64_t born = birth();
  SAME("statx", true, std::abs(born / 1'000'000'000 - now.tv_sec) <= 2);
  const timespec past[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, Path("file"), past, 0), 0);
  ASSERT_EQ(chmod(Path("file"), 0600), 0);
  MakeFile("file", "more");
  const Parameter parameter("later");
  SAME("statx", born, birth());
}

TEST_F(StatxPosix, RootsOfMountsAreMarked) {
  MakeDirectory("dir");
  struct statx x {};
  OK(statx(AT_FDCWD, Path("dir"), 0, STATX_BASIC_STATS, &x));
  SAME("statx", true, (x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0);
  SAME("statx", 0u, x.stx_attributes & STATX_ATTR_MOUNT_ROOT);
  OK(statx(AT_FDCWD, Path("dir"), 0, STATX_MNT_ID, &x));
  SAME("statx", STATX_MNT_ID, x.stx_mask & STATX_MNT_ID);
}

}  // namespace
}  // namespace terracefs::posix
