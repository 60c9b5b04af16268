#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class OpenPosix : public PosixTest {};

TEST_F(OpenPosix, ErrorsOfNames) {
  WriteFile(Path("file"), "x");
  EXPECT_EQ(OpenErrno(Path("missing"), O_RDONLY), ENOENT);
  EXPECT_EQ(OpenErrno(Path("missing/x"), O_CREAT | O_RDWR, 0600), ENOENT);
  EXPECT_EQ(OpenErrno(Path("file/x"), O_CREAT | O_RDWR, 0600), ENOTDIR);
  EXPECT_EQ(OpenErrno(Path("file"), O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
  EXPECT_EQ(OpenErrno(mount_->mountpoint(), O_RDWR), EISDIR);
  EXPECT_EQ(OpenErrno(Path("file"), O_RDONLY | O_DIRECTORY), ENOTDIR);
  EXPECT_EQ(OpenErrno(Path(std::string(255, 'n')), O_CREAT | O_RDWR, 0600), 0);
  EXPECT_EQ(OpenErrno(Path(std::string(256, 'n')), O_CREAT | O_RDWR, 0600), ENAMETOOLONG);
}

TEST_F(OpenPosix, NewFilesHaveTheModeLessTheUmask) {
  umask(027);
  const io::UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_RDWR, 06777));
  umask(0);
  ASSERT_TRUE(fd.valid());
  struct stat attributes {};
  ASSERT_EQ(fstat(fd.get(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 0777, 0750u);
  EXPECT_TRUE(S_ISREG(attributes.st_mode));
  EXPECT_EQ(attributes.st_nlink, 1u);
  EXPECT_EQ(attributes.st_size, 0);
  EXPECT_EQ(attributes.st_uid, geteuid());
}

TEST_F(OpenPosix, TruncatingEmptiesAndAppendingExtends) {
  WriteFile(Path("file"), "0123456789");
  io::UniqueFd fd(open(Path("file").c_str(), O_WRONLY | O_APPEND));
  ASSERT_EQ(write(fd.get(), "ab", 2), 2);
  EXPECT_EQ(ReadFile(Path("file")), "0123456789ab");
  fd = io::UniqueFd(open(Path("file").c_str(), O_WRONLY | O_TRUNC));
  EXPECT_EQ(ReadFile(Path("file")), "");
}

TEST_F(OpenPosix, HolesReadAsZeros) {
  const io::UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_RDWR, 0600));
  ASSERT_EQ(pwrite(fd.get(), "end", 3, 1'000'000), 3);
  std::string content = ReadFile(Path("file"));
  ASSERT_EQ(content.size(), 1'000'003u);
  EXPECT_EQ(content.find_first_not_of('\0'), 1'000'000u);
  struct stat attributes {};
  ASSERT_EQ(fstat(fd.get(), &attributes), 0);
  EXPECT_LT(attributes.st_blocks, 100);
}

TEST_F(OpenPosix, FarOffsetsAreReadBack) {
  const io::UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_RDWR, 0600));
  const off_t far = INT64_MAX - 4096;
  ASSERT_EQ(pwrite(fd.get(), "far", 3, far), 3);
  char back[3] = {};
  ASSERT_EQ(pread(fd.get(), back, 3, far), 3);
  EXPECT_EQ(std::string(back, 3), "far");
}

}  // namespace
}  // namespace terracefs::testing
