#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

class FallocatePosix : public TransportTest {
 protected:
  void SetUp() override {
    TransportTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    mount_->Mount(Options(IsRoot() ? "allow_other" : ""));
    path_ = mount_->Path("file");
    fd_ = io::UniqueFd(open(path_.c_str(), O_RDWR | O_CREAT, 0644));
    ASSERT_TRUE(fd_.valid());
  }
  void TearDown() override { fd_ = io::UniqueFd(); }
  struct stat Stat() {
    struct stat attributes {};
    EXPECT_EQ(fstat(fd_.get(), &attributes), 0);
    return attributes;
  }
  void Write(off_t offset, const std::string& data) {
    ASSERT_EQ(pwrite(fd_.get(), data.data(), data.size(), offset),
              static_cast<ssize_t>(data.size()));
  }

  std::string path_;
  io::UniqueFd fd_;
};

TEST_P(FallocatePosix, TheKernelSeesSizeBlocksAndContentAtOnce) {
  ASSERT_EQ(fallocate(fd_.get(), 0, 0, 10'000), 0);
  EXPECT_EQ(Stat().st_size, 10'000);
  EXPECT_EQ(Stat().st_blocks, 24);
  ASSERT_EQ(fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, 0, 40'960), 0);
  EXPECT_EQ(Stat().st_size, 10'000);
  EXPECT_EQ(Stat().st_blocks, 80);
  ASSERT_EQ(ftruncate(fd_.get(), 10'000), 0);
  EXPECT_EQ(Stat().st_blocks, 24);
  std::string expected(10'000, 'x');
  Write(0, expected);
  EXPECT_EQ(ReadFile(path_), expected);  // cached from now on
  ASSERT_EQ(fallocate(fd_.get(), kPunch, 100, 8'092), 0);
  expected.replace(100, 8'092, 8'092, '\0');
  EXPECT_EQ(ReadFile(path_), expected);
  EXPECT_EQ(Stat().st_blocks, 16);
  ASSERT_EQ(fallocate(fd_.get(), FALLOC_FL_ZERO_RANGE, 9'000, 10'000), 0);
  expected.resize(9'000);
  expected.resize(19'000);
  EXPECT_EQ(ReadFile(path_), expected);
  EXPECT_EQ(Stat().st_size, 19'000);
  fd_ = io::UniqueFd();
  mount_->Umount();
  mount_->Mount(Options());
  EXPECT_EQ(ReadFile(path_), expected);
}

TEST_P(FallocatePosix, MappedPagesAreWrittenBeforeTheyArePunched) {
  Write(0, std::string(16'384, 'x'));
  char* const map =
      static_cast<char*>(mmap(nullptr, 16'384, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  map[10] = 'a';
  map[5000] = 'b';
  ASSERT_EQ(fallocate(fd_.get(), kPunch, 4096, 4096), 0);
  EXPECT_EQ(map[10], 'a');
  EXPECT_EQ(map[5000], '\0');
  map[5001] = 'c';
  munmap(map, 16'384);
  std::string expected(16'384, 'x');
  expected[10] = 'a';
  expected.replace(4096, 4096, 4096, '\0');
  expected[5001] = 'c';
  EXPECT_EQ(ReadFile(path_), expected);
}

TEST_P(FallocatePosix, Errors) {
  EXPECT_EQ(ERRNO_OF(fallocate(fd_.get(), 0, 0, 0)), EINVAL);
  EXPECT_EQ(ERRNO_OF(fallocate(fd_.get(), 0, -1, 1)), EINVAL);
  EXPECT_EQ(ERRNO_OF(fallocate(fd_.get(), 0, INT64_MAX - 1, 10)), EFBIG);
  EXPECT_EQ(ERRNO_OF(fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE, 0, 1)), EOPNOTSUPP);
  EXPECT_EQ(ERRNO_OF(fallocate(fd_.get(), FALLOC_FL_COLLAPSE_RANGE, 0, 4096)), EOPNOTSUPP);
  EXPECT_EQ(ERRNO_OF(fallocate(fd_.get(), FALLOC_FL_INSERT_RANGE, 0, 4096)), EOPNOTSUPP);
  EXPECT_EQ(ERRNO_OF(fallocate(fd_.get(), 0, 0, int64_t{1} << 60)), ENOSPC);
  const io::UniqueFd reader(open(path_.c_str(), O_RDONLY));
  EXPECT_EQ(ERRNO_OF(fallocate(reader.get(), 0, 0, 1)), EBADF);
}

TEST_P(FallocatePosix, OthersLoseSetuidOfTheFile) {
  if (!IsRoot()) GTEST_SKIP() << "needs root";
  ASSERT_EQ(fchmod(fd_.get(), 06777), 0);
  EXPECT_EQ(Stat().st_mode & 07777U, 06777U);
  ASSERT_EQ(fallocate(fd_.get(), 0, 0, 10), 0);
  EXPECT_EQ(Stat().st_mode & 07777U, 06777U);
  ASSERT_EQ(chmod(mount_->mountpoint().c_str(), 0777), 0);
  const pid_t child = fork();
  if (child == 0) {
    const bool done =
        setgid(1000) == 0 && setuid(1000) == 0 && fallocate(fd_.get(), 0, 0, 100) == 0;
    _exit(done ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(Stat().st_mode & 07777U, 0777U);
}

INSTANTIATE_TRANSPORT_TEST(FallocatePosix);

}  // namespace
}  // namespace terracefs::testing
