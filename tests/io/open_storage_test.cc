#include "io/open_storage.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "tests/io/forbid_system_call.h"
#include "tests/support/temp_dir.h"

namespace terracefs::io {
namespace {

class OpenStorageTest : public ::testing::TestWithParam<IoBackend> {
 protected:
  terracefs::testing::TempDir directory_;
};

INSTANTIATE_TEST_SUITE_P(Backends, OpenStorageTest,
                         ::testing::Values(IoBackend::kUring, IoBackend::kPosix));

TEST_P(OpenStorageTest, MissingDirectoryIsNotFound) {
  const auto storage = OpenStorage(directory_.path() + "/missing", GetParam());
  EXPECT_TRUE(storage.status().Is(StatusCode::kNotFound)) << storage.status().ToString();
}

TEST_P(OpenStorageTest, AFileIsNotADirectory) {
  const std::string path = directory_.path() + "/file";
  std::ofstream(path) << "x";
  const auto storage = OpenStorage(path, GetParam());
  EXPECT_TRUE(storage.status().Is(StatusCode::kInvalidArgument)) << storage.status().ToString();
}

TEST_P(OpenStorageTest, WithoutPermissionTheErrorSaysSo) {
  if (geteuid() == 0) {
    // Root may do everything, so somebody else tries. Errors travel as exit codes.
    ASSERT_EQ(chmod(directory_.path().c_str(), 0700), 0);
    const pid_t child = fork();
    if (child == 0) {
      if (setuid(65534) != 0) _exit(100);
      const auto storage = OpenStorage(directory_.path(), GetParam());
      const bool right =
          storage.status().Is(StatusCode::kIoError) && storage.status().os_errno() == EACCES;
      _exit(right ? 0 : 1);
    }
    int outcome = -1;
    ASSERT_EQ(waitpid(child, &outcome, 0), child);
    ASSERT_TRUE(WIFEXITED(outcome));
    EXPECT_EQ(WEXITSTATUS(outcome), 0);
    return;
  }
  ASSERT_EQ(chmod(directory_.path().c_str(), 0), 0);
  const auto storage = OpenStorage(directory_.path(), GetParam());
  ASSERT_EQ(chmod(directory_.path().c_str(), 0700), 0);
  EXPECT_TRUE(storage.status().Is(StatusCode::kIoError));
  EXPECT_EQ(storage.status().os_errno(), EACCES);
}

TEST_P(OpenStorageTest, GivesWhatWasAskedFor) {
  const auto storage = OpenStorage(directory_.path(), GetParam());
  ASSERT_TRUE(storage.ok()) << storage.status().ToString();
  const std::string backend = storage.value()->backend();
  if (GetParam() == IoBackend::kPosix) {
    EXPECT_EQ(backend, "posix");
  } else if (backend != "io_uring") {
    GTEST_SKIP() << "NO IO_URING HERE, NOT TESTED";
  }
}

TEST(OpenStorageFallbackTest, WhereUringIsForbiddenPosixTakesItsPlace) {
  for (const int error : {EPERM, ENOSYS}) {
    const terracefs::testing::TempDir directory;
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      if (!ForbidUring(error)) _exit(100);
      const auto storage = OpenStorage(directory.path(), IoBackend::kUring);
      if (!storage.ok()) _exit(1);
      _exit(std::string(storage.value()->backend()) == "posix" ? 0 : 2);
    }
    int outcome = -1;
    ASSERT_EQ(waitpid(child, &outcome, 0), child);
    ASSERT_TRUE(WIFEXITED(outcome));
    if (WEXITSTATUS(outcome) == 100) GTEST_SKIP() << "no seccomp here, not tested";
    EXPECT_EQ(WEXITSTATUS(outcome), 0);
  }
}

}  // namespace
}  // namespace terracefs::io
