#include <sys/syscall.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class AccessPosix : public PosixCase {};

int faccessat2(int at, const char* path, int mode, int flags) {
  return static_cast<int>(syscall(SYS_faccessat2, at, path, mode, flags));
}

TEST_F(AccessPosix, Errors) {
  CheckPathErrors({.name = "access", .call = [](const char* path) { return access(path, F_OK); }});
  CheckPathErrors({.name = "faccessat2", .call = [](const char* path) {
                     return faccessat2(AT_FDCWD, path, R_OK, AT_EACCESS);
                   }});
  CheckPathErrors(
      {.name = "faccessat2",
       .call =
           [](const char* path) { return faccessat2(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW); },
       .follows = false});
  CheckAtErrors("faccessat2",
                [](int at, const char* path) { return faccessat2(at, path, F_OK, 0); });
  MakeFile("file");
  FAILS(EINVAL, access(Path("file"), 8));
  FAILS(EINVAL, access(Path("file"), -1));
  FAILS(EINVAL, faccessat2(AT_FDCWD, Path("file"), 8, 0));
  FAILS(EINVAL, faccessat2(AT_FDCWD, Path("file"), F_OK, 1));
}

TEST_F(AccessPosix, EveryModeForEverybody) {
  // Which digit of the mode counts for whom, of a file of alice's and kTeam's.
  struct Who {
    const User* user;
    int shift;
  };
  MakeFile("file");
  MakeDirectory("dir");
  for (const std::string name : {"file", "dir"}) {
    ASSERT_EQ(chown(Path(name), kAlice.uid, kTeam), 0);
    for (const mode_t mode : {0u, 0400u, 0200u, 0100u, 0040u, 0020u, 0010u, 0004u, 0002u, 0001u,
                              0750u, 0644u, 0077u, 0707u}) {
      ASSERT_EQ(chmod(Path(name), mode), 0);
      for (const Who& who : {Who{&kAlice, 6}, Who{&kCarol, 3}, Who{&kBob, 0}}) {
        AsUser(*who.user, [&] {
          for (const int wanted : {R_OK, W_OK, X_OK, R_OK | W_OK | X_OK}) {
            const Parameter parameter(name + " " + std::to_string(mode) + " for " +
                                      std::to_string(wanted));
            const int granted = static_cast<int>(mode >> who.shift) & 7;
            if ((granted & wanted) == wanted) {
              OK(access(Path(name), wanted));
            } else {
              FAILS(EACCES, access(Path(name), wanted));
            }
          }
        });
      }
    }
  }
}

TEST_F(AccessPosix, RootMayAllButRunWhatNobodyMay) {
  MakeFile("file");
  MakeDirectory("dir");
  ASSERT_EQ(chmod(Path("file"), 0), 0);
  ASSERT_EQ(chmod(Path("dir"), 0), 0);
  OK(access(Path("file"), R_OK | W_OK));
  FAILS(EACCES, access(Path("file"), X_OK));
  OK(access(Path("dir"), R_OK | W_OK | X_OK));
  ASSERT_EQ(chmod(Path("file"), 0001), 0);
  OK(access(Path("file"), X_OK));
  AsUser(kBob, [&] { OK(access(Path("file"), X_OK)); });
  AsUser(kBob, [&] { OK(access(Path("file"), F_OK)); });
}

TEST_F(AccessPosix, RealAndEffectiveUsersDiffer) {
  MakeFile("file");
  ASSERT_EQ(chmod(Path("file"), 0600), 0);
  // A thread whose real user is bob, and whose effective one is root.
  FAILS_AS("access", EACCES, InChild([&]() -> long {
             if (setresuid(kBob.uid, 0, 0) != 0) return 0;
             return access(Path("file"), R_OK);
           }));
  OK_AS("faccessat2", InChild([&]() -> long {
          if (setresuid(kBob.uid, 0, 0) != 0) return -1;
          return faccessat2(AT_FDCWD, Path("file"), R_OK, AT_EACCESS);
        }));
}

}  // namespace
}  // namespace terracefs::posix
