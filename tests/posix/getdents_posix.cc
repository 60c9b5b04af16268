#include <dirent.h>
#include <sys/syscall.h>
#include <map>
#include <set>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class GetdentsPosix : public PosixCase {};

TEST_F(GetdentsPosix, Errors) {
  MakeFile("file");
  MakeDirectory("dir");
  MakeDirectory("closed", 0700);
  char buffer[4096];
  const UniqueFd file = Open("file", O_RDONLY);
  const UniqueFd dir = Open("dir", O_RDONLY);
  const UniqueFd path_fd = Open("dir", O_PATH);
  FAILS(EBADF, getdents64(-1, buffer, sizeof buffer));
  FAILS(EBADF, getdents64(path_fd.get(), buffer, sizeof buffer));
  FAILS(ENOTDIR, getdents64(file.get(), buffer, sizeof buffer));
  FAILS_AS("getdents64", EFAULT, syscall(SYS_getdents64, dir.get(), Bad(), 4096));
  OK(rmdir(Path("dir")));
  FAILS(ENOENT, getdents64(dir.get(), buffer, sizeof buffer));
  const UniqueFd here = Open("", O_RDONLY);
  FAILS(EINVAL, getdents64(here.get(), buffer, 8));
  FAILS(ENOTDIR, opendir(Path("file")));
  FAILS(ENOENT, opendir(Path("missing")));
  AsUser(kAlice, [&] { FAILS(EACCES, opendir(Path("closed"))); });
  MakeDirectory("write_only", 0733);
  AsUser(kAlice, [&] { FAILS(EACCES, open(Path("write_only"), O_RDONLY)); });
}

std::map<std::string, int> List(const char* path) {
  std::map<std::string, int> types;
  DIR* const directory = opendir(path);
  if (directory == nullptr) return types;
  while (const dirent* entry = readdir(directory)) types[entry->d_name] = entry->d_type;
  closedir(directory);
  return types;
}

TEST_F(GetdentsPosix, TypesAreTold) {
  MakeFile("file");
  MakeDirectory("dir");
  ASSERT_EQ(symlink("x", Path("soft")), 0);
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  ASSERT_EQ(mknod(Path("socket"), S_IFSOCK | 0600, 0), 0);
  ASSERT_EQ(mknod(Path("char"), S_IFCHR | 0600, 0), 0);
  ASSERT_EQ(mknod(Path("block"), S_IFBLK | 0600, 0), 0);
  const std::map<std::string, int> expected = {
      {".", DT_DIR},     {"..", DT_DIR},      {"file", DT_REG}, {"dir", DT_DIR},  {"soft", DT_LNK},
      {"fifo", DT_FIFO}, {"socket", DT_SOCK}, {"char", DT_CHR}, {"block", DT_BLK}};
  SAME("getdents64", expected, List(Path("")));
  const std::map<std::string, int> empty = {{".", DT_DIR}, {"..", DT_DIR}};
  SAME("getdents64", empty, List(Path("dir")));
}

TEST_F(GetdentsPosix, InodeNumbersAgreeWithStat) {
  for (int i = 0; i < 100; ++i) MakeFile("f" + std::to_string(i));
  DIR* const directory = OK(opendir(Path("")));
  ASSERT_NE(directory, nullptr);
  while (const dirent* entry = readdir(directory)) {
    const Parameter parameter(entry->d_name);
    if (std::string_view(entry->d_name) == "..") continue;  // may belong to another filesystem
    SAME("getdents64", Stat(entry->d_name).st_ino, entry->d_ino);
  }
  OK(closedir(directory));
}

TEST_F(GetdentsPosix, PositionsComeBack) {
  MakeDirectory("dir");
  for (int i = 0; i < 500; ++i) MakeFile("dir/f" + std::to_string(i), "");
  DIR* const directory = OK(opendir(Path("dir")));
  ASSERT_NE(directory, nullptr);
  std::vector<std::pair<long, std::string>> seen;
  while (true) {
    const long position = telldir(directory);
    const dirent* const entry = readdir(directory);
    if (entry == nullptr) break;
    seen.emplace_back(position, entry->d_name);
  }
  SAME("getdents64", 502u, seen.size());
  for (size_t i : {0u, 1u, 2u, 250u, 500u, 501u, 77u, 3u}) {
    const Parameter parameter(std::to_string(i));
    seekdir(directory, seen[i].first);
    const dirent* const entry = readdir(directory);
    SAME("seekdir", true, entry != nullptr && seen[i].second == entry->d_name);
  }
  rewinddir(directory);
  size_t count = 0;
  while (readdir(directory) != nullptr) ++count;
  SAME("rewinddir", 502u, count);
  MakeFile("dir/later");
  rewinddir(directory);
  count = 0;
  while (readdir(directory) != nullptr) ++count;
  SAME("rewinddir", 503u, count);
  closedir(directory);
}

// What is there all the time is listed once, whatever else comes and goes.
TEST_F(GetdentsPosix, ChangesMeanwhileLoseNothing) {
  MakeDirectory("dir");
  std::set<std::string> stable;
  for (int i = 0; i < 400; ++i) {
    MakeFile("dir/stay" + std::to_string(i), "");
    MakeFile("dir/go" + std::to_string(i), "");
    stable.insert("stay" + std::to_string(i));
  }
  const UniqueFd fd = Open("dir", O_RDONLY | O_DIRECTORY);
  std::multiset<std::string> seen;
  std::vector<char> buffer(2048);
  int next = 0;
  while (true) {
    const ssize_t bytes = getdents64(fd.get(), buffer.data(), buffer.size());
    ASSERT_GE(bytes, 0);
    if (bytes == 0) break;
    for (ssize_t at = 0; at < bytes;) {
      const auto* const entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
      seen.insert(entry->d_name);
      at += entry->d_reclen;
    }
    for (int i = 0; i < 10; ++i, ++next) {
      unlink(Path("dir/go" + std::to_string(next)));
      MakeFile("dir/new" + std::to_string(next), "");
    }
    if (next > 2000) break;
  }
  size_t once = 0;
  for (const std::string& name : stable) once += seen.count(name) == 1 ? 1 : 0;
  SAME("getdents64", stable.size(), once);
}

TEST_F(GetdentsPosix, RemovingWhileListingFindsAll) {
  MakeDirectory("dir");
  for (int i = 0; i < 1000; ++i) MakeFile("dir/f" + std::to_string(i), "");
  DIR* const directory = OK(opendir(Path("dir")));
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') unlinkat(dirfd(directory), entry->d_name, 0);
  }
  closedir(directory);
  SAME("getdents64", 2u, List(Path("dir")).size());
  OK(rmdir(Path("dir")));
}

TEST_F(GetdentsPosix, Times) {
  MakeDirectory("dir");
  MakeFile("dir/file");
  CheckTimes("getdents64", {{"dir", "a"}, {"dir/file", ""}}, [&] { List(Path("dir")); });
}

}  // namespace
}  // namespace terracefs::posix
