#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class UtimensatPosix : public PosixTest {};

TEST_F(UtimensatPosix, NanosecondsAndTimesBeforeTheEpochAreKept) {
  WriteFile(Path("file"), "x");
  for (const time_t seconds :
       {time_t{0}, time_t{-1}, time_t{1'700'000'000}, time_t{5'000'000'000}}) {
    const timespec times[2] = {{seconds, 123'456'789}, {seconds + 1, 987'654'321}};
    ASSERT_EQ(utimensat(AT_FDCWD, Path("file").c_str(), times, 0), 0);
    struct stat attributes {};
    ASSERT_EQ(stat(Path("file").c_str(), &attributes), 0);
    EXPECT_EQ(attributes.st_atim.tv_sec, seconds);
    EXPECT_EQ(attributes.st_atim.tv_nsec, 123'456'789);
    EXPECT_EQ(attributes.st_mtim.tv_sec, seconds + 1);
    EXPECT_EQ(attributes.st_mtim.tv_nsec, 987'654'321);
  }
}

TEST_F(UtimensatPosix, TimesTooFarAwayBecomeTheNearestThatIsKept) {
  WriteFile(Path("file"), "x");
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
    const timespec times[2] = {c.asked, c.asked};
    ASSERT_EQ(utimensat(AT_FDCWD, Path("file").c_str(), times, 0), 0);
    struct stat attributes {};
    ASSERT_EQ(stat(Path("file").c_str(), &attributes), 0);
    for (const timespec& got : {attributes.st_atim, attributes.st_mtim}) {
      EXPECT_EQ(got.tv_sec, c.kept.tv_sec);
      EXPECT_EQ(got.tv_nsec, c.kept.tv_nsec);
    }
  }
}

TEST_F(UtimensatPosix, OmittedTimesStayAndNowIsNow) {
  WriteFile(Path("file"), "x");
  const timespec old[2] = {{1000, 0}, {2000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, Path("file").c_str(), old, 0), 0);
  const timespec change[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  const time_t before = time(nullptr);
  ASSERT_EQ(utimensat(AT_FDCWD, Path("file").c_str(), change, 0), 0);
  struct stat attributes {};
  ASSERT_EQ(stat(Path("file").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_atim.tv_sec, 1000);
  EXPECT_GE(attributes.st_mtim.tv_sec, before - 1);
}

TEST_F(UtimensatPosix, OthersMaySetNowOnlyIfTheyMayWrite) {
  if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
  const std::string path = Path("file");
  WriteFile(path, "x");
  const auto set = [&path](const timespec* times) {
    return RunAsUser(1234, 1234,
                     [&] { return ERRNO_OF(utimensat(AT_FDCWD, path.c_str(), times, 0)); });
  };
  const timespec some[2] = {{1, 0}, {1, 0}};
  EXPECT_EQ(set(nullptr), 0) << "the file is writable for all";
  EXPECT_EQ(set(some), EPERM);
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(set(nullptr), EACCES);
}

}  // namespace
}  // namespace terracefs::testing
