#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dirent.h>
#include <cerrno>

#include <map>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class ReaddirPosix : public PosixTest {};

TEST_F(ReaddirPosix, TypesAreTold) {
  WriteFile(Path("file"), "x");
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  ASSERT_EQ(symlink("x", Path("soft").c_str()), 0);
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  DIR* const directory = opendir(mount_->mountpoint().c_str());
  ASSERT_NE(directory, nullptr);
  std::map<std::string, int> types;
  while (const dirent* entry = readdir(directory)) types[entry->d_name] = entry->d_type;
  closedir(directory);
  const std::map<std::string, int> expected = {{".", DT_DIR},    {"..", DT_DIR},
                                               {"file", DT_REG}, {"dir", DT_DIR},
                                               {"soft", DT_LNK}, {"fifo", DT_FIFO}};
  EXPECT_EQ(types, expected);
}

TEST_F(ReaddirPosix, InodeNumbersAgreeWithStat) {
  for (int i = 0; i < 100; ++i) WriteFile(Path("f" + std::to_string(i)), "x");
  DIR* const directory = opendir(mount_->mountpoint().c_str());
  ASSERT_NE(directory, nullptr);
  while (const dirent* entry = readdir(directory)) {
    if (std::string_view(entry->d_name) == "..") continue;  // belongs to another filesystem
    struct stat attributes {};
    ASSERT_EQ(lstat(Path(entry->d_name).c_str(), &attributes), 0);
    EXPECT_EQ(attributes.st_ino, entry->d_ino) << entry->d_name;
  }
  closedir(directory);
}

TEST_F(ReaddirPosix, Errors) {
  WriteFile(Path("file"), "x");
  EXPECT_EQ(opendir(Path("file").c_str()), nullptr);
  EXPECT_EQ(errno, ENOTDIR);
  EXPECT_EQ(opendir(Path("missing").c_str()), nullptr);
  EXPECT_EQ(errno, ENOENT);
}

}  // namespace
}  // namespace terracefs::testing
