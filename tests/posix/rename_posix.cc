#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class RenamePosix : public PosixTest {};

int Rename2(const std::string& from, const std::string& to, unsigned flags) {
  return renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags);
}

TEST_F(RenamePosix, ErrorsOfNames) {
  WriteFile(Path("file"), "x");
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("full").c_str(), 0755), 0);
  WriteFile(Path("full/x"), "x");
  EXPECT_EQ(ERRNO_OF(rename(Path("missing").c_str(), Path("x").c_str())), ENOENT);
  EXPECT_EQ(ERRNO_OF(rename(Path("file").c_str(), Path("missing/x").c_str())), ENOENT);
  EXPECT_EQ(ERRNO_OF(rename(Path("file").c_str(), Path("dir").c_str())), EISDIR);
  EXPECT_EQ(ERRNO_OF(rename(Path("dir").c_str(), Path("file").c_str())), ENOTDIR);
  EXPECT_EQ(ERRNO_OF(rename(Path("dir").c_str(), Path("full").c_str())), ENOTEMPTY);
  EXPECT_EQ(ERRNO_OF(rename(Path("dir").c_str(), Path("dir/inside").c_str())), EINVAL);
  EXPECT_EQ(ERRNO_OF(rename(Path("file").c_str(), Path(std::string(256, 'n')).c_str())),
            ENAMETOOLONG);
}

TEST_F(RenamePosix, ReplacingKeepsTheSourceAndDropsTheTarget) {
  WriteFile(Path("new"), "new");
  WriteFile(Path("old"), "old");
  const io::UniqueFd fd(open(Path("old").c_str(), O_RDONLY));
  ASSERT_EQ(rename(Path("new").c_str(), Path("old").c_str()), 0);
  EXPECT_EQ(ReadFile(Path("old")), "new");
  EXPECT_EQ(ERRNO_OF(access(Path("new").c_str(), F_OK)), ENOENT);
  char back[4] = {};
  EXPECT_EQ(read(fd.get(), back, sizeof back), 3);
  EXPECT_STREQ(back, "old");
}

TEST_F(RenamePosix, LinksToOneFileStayBoth) {
  WriteFile(Path("a"), "x");
  ASSERT_EQ(link(Path("a").c_str(), Path("b").c_str()), 0);
  EXPECT_EQ(rename(Path("a").c_str(), Path("b").c_str()), 0);
  EXPECT_EQ(ReadFile(Path("a")), "x");
  EXPECT_EQ(ReadFile(Path("b")), "x");
}

TEST_F(RenamePosix, MovedDirectoriesKnowTheirNewParent) {
  ASSERT_EQ(mkdir(Path("from").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("to").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("from/sub").c_str(), 0755), 0);
  ASSERT_EQ(rename(Path("from/sub").c_str(), Path("to/sub").c_str()), 0);
  struct stat to {};
  struct stat above {};
  ASSERT_EQ(stat(Path("to").c_str(), &to), 0);
  ASSERT_EQ(stat(Path("to/sub/..").c_str(), &above), 0);
  EXPECT_EQ(to.st_ino, above.st_ino);
  EXPECT_EQ(to.st_nlink, 3u);
}

TEST_F(RenamePosix, FlagsExcludeAndExchange) {
  WriteFile(Path("a"), "a");
  WriteFile(Path("b"), "b");
  EXPECT_EQ(ERRNO_OF(Rename2(Path("a"), Path("b"), RENAME_NOREPLACE)), EEXIST);
  EXPECT_EQ(ERRNO_OF(Rename2(Path("a"), Path("c"), RENAME_EXCHANGE)), ENOENT);
  EXPECT_EQ(ERRNO_OF(Rename2(Path("a"), Path("b"), RENAME_NOREPLACE | RENAME_EXCHANGE)), EINVAL);
  ASSERT_EQ(Rename2(Path("a"), Path("b"), RENAME_EXCHANGE), 0);
  EXPECT_EQ(ReadFile(Path("a")), "b");
  EXPECT_EQ(ReadFile(Path("b")), "a");
  ASSERT_EQ(Rename2(Path("a"), Path("c"), RENAME_NOREPLACE), 0);
  EXPECT_EQ(ReadFile(Path("c")), "b");
}

}  // namespace
}  // namespace terracefs::testing
