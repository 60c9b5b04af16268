#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class TruncatePosix : public PosixTest {};

TEST_F(TruncatePosix, ShorterCutsAndLongerReadsAsZeros) {
  WriteFile(Path("file"), std::string(10'000, 'x'));
  ASSERT_EQ(truncate(Path("file").c_str(), 5'000), 0);
  EXPECT_EQ(ReadFile(Path("file")), std::string(5'000, 'x'));
  ASSERT_EQ(truncate(Path("file").c_str(), 9'000), 0);
  EXPECT_EQ(ReadFile(Path("file")), std::string(5'000, 'x') + std::string(4'000, '\0'));
  ASSERT_EQ(truncate(Path("file").c_str(), 0), 0);
  EXPECT_EQ(ReadFile(Path("file")), "");
  struct stat attributes {};
  ASSERT_EQ(stat(Path("file").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_blocks, 0);
}

TEST_F(TruncatePosix, Errors) {
  WriteFile(Path("file"), "x");
  EXPECT_EQ(ERRNO_OF(truncate(Path("missing").c_str(), 1)), ENOENT);
  EXPECT_EQ(ERRNO_OF(truncate(mount_->mountpoint().c_str(), 1)), EISDIR);
  EXPECT_EQ(ERRNO_OF(truncate(Path("file").c_str(), -1)), EINVAL);
  const io::UniqueFd fd(open(Path("file").c_str(), O_RDONLY));
  EXPECT_EQ(ERRNO_OF(ftruncate(fd.get(), 5)), EINVAL);
}

TEST_F(TruncatePosix, TimesChange) {
  WriteFile(Path("file"), "x");
  struct stat before {};
  ASSERT_EQ(stat(Path("file").c_str(), &before), 0);
  usleep(20'000);
  ASSERT_EQ(truncate(Path("file").c_str(), 100), 0);
  struct stat after {};
  ASSERT_EQ(stat(Path("file").c_str(), &after), 0);
  EXPECT_NE(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_NE(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
}

}  // namespace
}  // namespace terracefs::testing
