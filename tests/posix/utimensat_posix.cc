#include <sys/time.h>
#include <utime.h>
#include <cstdint>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class UtimensatPosix : public PosixCase {};

TEST_F(UtimensatPosix, Errors) {
  static const timespec times[2] = {{1, 0}, {2, 0}};
  CheckPathErrors({.name = "utimensat", .call = [](const char* path) {
                     // A null path would mean the descriptor.
                     return utimensat(AT_FDCWD, path, times, 0);
                   }});
  CheckPathErrors(
      {.name = "utimensat",
       .call =
           [](const char* path) { return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW); },
       .follows = false});
  CheckPathErrors({.name = "utime", .call = [](const char* path) { return utime(path, nullptr); }});
  CheckPathErrors(
      {.name = "utimes", .call = [](const char* path) { return utimes(path, nullptr); }});
  CheckAtErrors("utimensat",
                [](int at, const char* path) { return utimensat(at, path, times, 0); });
  MakeFile("file");
  FAILS(EBADF, futimens(-1, times));
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, futimens(path_fd.get(), times));
  FAILS(EINVAL, utimensat(AT_FDCWD, Path("file"), times, 1));
  const timespec wrong[2] = {{1, 1'000'000'000}, {1, 0}};
  FAILS(EINVAL, utimensat(AT_FDCWD, Path("file"), wrong, 0));
  const timespec negative[2] = {{1, 0}, {1, -1}};
  FAILS(EINVAL, utimensat(AT_FDCWD, Path("file"), negative, 0));
  FAILS(EFAULT, utimensat(AT_FDCWD, Path("file"), Bad<timespec>(), 0));
}

TEST_F(UtimensatPosix, NanosecondsAndTimesBeforeTheEpochAreKept) {
  MakeFile("file");
  MakeDirectory("dir");
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  for (const std::string name : {"file", "dir", "soft", "fifo"}) {
    for (const time_t seconds :
         {time_t{0}, time_t{-1}, time_t{1'700'000'000}, time_t{5'000'000'000}, time_t{-86'400}}) {
      const Parameter parameter(name + " " + std::to_string(seconds));
      const timespec times[2] = {{seconds, 123'456'789}, {seconds + 1, 987'654'321}};
      OK(utimensat(AT_FDCWD, Path(name), times, AT_SYMLINK_NOFOLLOW));
      const struct stat attributes = Stat(name);
      SAME("utimensat", seconds, attributes.st_atim.tv_sec);
      SAME("utimensat", 123'456'789, attributes.st_atim.tv_nsec);
      SAME("utimensat", seconds + 1, attributes.st_mtim.tv_sec);
      SAME("utimensat", 987'654'321, attributes.st_mtim.tv_nsec);
    }
  }
  const UniqueFd fd = Open("file", O_RDONLY);
  const timespec times[2] = {{77, 1}, {88, 2}};
  OK(futimens(fd.get(), times));
  SAME("futimens", 77, Stat("file").st_atim.tv_sec);
  SAME("futimens", 88, Stat("file").st_mtim.tv_sec);
}

TEST_F(UtimensatPosix, TimesTooFarAwayBecomeTheNearestThatIsKept) {
  if (!OnTerraceFs()) GTEST_SKIP() << "other filesystems keep other times";
  MakeFile("file");
  constexpr time_t kLast = INT64_MAX / 1'000'000'000;       // in 2262
  constexpr time_t kFirst = INT64_MIN / 1'000'000'000 - 1;  // in 1677
  struct Case {
    timespec asked;
    timespec kept;
  };
  for (const Case& c :
       {Case{{99'999'999'999, 5}, {kLast, 854'775'807}},
        Case{{kLast, 999'999'999}, {kLast, 854'775'807}}, Case{{kLast, 5}, {kLast, 5}},
        Case{{-99'999'999'999, 5}, {kFirst, 145'224'192}}, Case{{kFirst, 5}, {kFirst, 145'224'192}},
        Case{{kFirst, 145'224'193}, {kFirst, 145'224'193}},
        Case{{kFirst + 1, 5}, {kFirst + 1, 5}}}) {
    const Parameter parameter(std::to_string(c.asked.tv_sec) + "." +
                              std::to_string(c.asked.tv_nsec));
    const timespec times[2] = {c.asked, c.asked};
    OK(utimensat(AT_FDCWD, Path("file"), times, 0));
    const struct stat attributes = Stat("file");
    SAME("utimensat", c.kept.tv_sec, attributes.st_atim.tv_sec);
    SAME("utimensat", c.kept.tv_nsec, attributes.st_atim.tv_nsec);
    // With the write-back cache the kernel believes its own mtime for as long as it has the inode.
    if (OnWriteback()) continue;
    SAME("utimensat", c.kept.tv_sec, attributes.st_mtim.tv_sec);
    SAME("utimensat", c.kept.tv_nsec, attributes.st_mtim.tv_nsec);
  }
}

TEST_F(UtimensatPosix, OmittedTimesStayAndNowIsNow) {
  MakeFile("file");
  const timespec old[2] = {{1000, 0}, {2000, 0}};
  OK(utimensat(AT_FDCWD, Path("file"), old, 0));
  const timespec change[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  const time_t before = time(nullptr);
  OK(utimensat(AT_FDCWD, Path("file"), change, 0));
  SAME("utimensat", 1000, Stat("file").st_atim.tv_sec);
  SAME("utimensat", true, Stat("file").st_mtim.tv_sec >= before - 1);
  const timespec other[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  OK(utimensat(AT_FDCWD, Path("file"), old, 0));
  OK(utimensat(AT_FDCWD, Path("file"), other, 0));
  SAME("utimensat", true, Stat("file").st_atim.tv_sec >= before - 1);
  SAME("utimensat", 2000, Stat("file").st_mtim.tv_sec);
  const timespec neither[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
  CheckTimes("utimensat", {{"file", ""}},
             [&] { OK(utimensat(AT_FDCWD, Path("file"), neither, 0)); });
  AsUser(kBob, [&] { OK(utimensat(AT_FDCWD, Path("file"), neither, 0)); });
  OK(utimensat(AT_FDCWD, Path("file"), nullptr, 0));
  SAME("utimensat", true, Stat("file").st_atim.tv_sec >= before - 1);
}

TEST_F(UtimensatPosix, OthersMaySetNowOnlyIfTheyMayWrite) {
  const timespec some[2] = {{1, 0}, {1, 0}};
  const timespec one_now[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  const timespec both_now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
  MakeFile("file");
  for (const mode_t mode : {0666u, 0644u, 0622u}) {
    const Parameter parameter(std::to_string(mode));
    ASSERT_EQ(chmod(Path("file"), mode), 0);
    AsUser(kAlice, [&] {
      FAILS(EPERM, utimensat(AT_FDCWD, Path("file"), some, 0));
      FAILS(EPERM, utimensat(AT_FDCWD, Path("file"), one_now, 0));
      if ((mode & 2) != 0) {
        OK(utimensat(AT_FDCWD, Path("file"), nullptr, 0));
        OK(utimensat(AT_FDCWD, Path("file"), both_now, 0));
      } else {
        FAILS(EACCES, utimensat(AT_FDCWD, Path("file"), nullptr, 0));
        FAILS(EACCES, utimensat(AT_FDCWD, Path("file"), both_now, 0));
      }
    });
  }
  ASSERT_EQ(chmod(Path("file"), 0444), 0);
  Give("file", kAlice);
  AsUser(kAlice, [&] {
    OK(utimensat(AT_FDCWD, Path("file"), some, 0));
    OK(utimensat(AT_FDCWD, Path("file"), nullptr, 0));
    OK(utimensat(AT_FDCWD, Path("file"), one_now, 0));
  });
}

TEST_F(UtimensatPosix, ChangesTheTimeOfChange) {
  MakeFile("file");
  const timespec some[2] = {{1, 0}, {1, 0}};
  CheckTimes("utimensat", {{"file", "amc"}, {"", ""}},
             [&] { OK(utimensat(AT_FDCWD, Path("file"), some, 0)); });
  const timespec only[2] = {{1, 0}, {0, UTIME_OMIT}};
  CheckTimes("utimensat", {{"file", "ac"}},
             [&] { OK(utimensat(AT_FDCWD, Path("file"), only, 0)); });
}

}  // namespace
}  // namespace terracefs::posix
