#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class ReadlinkPosix : public PosixCase {};

TEST_F(ReadlinkPosix, Errors) {
  static char buffer[64];
  const auto read = [](const char* path) {
    return static_cast<long>(readlink(path, buffer, sizeof buffer));
  };
  const auto read_at = [](const char* path) {
    return static_cast<long>(readlinkat(AT_FDCWD, path, buffer, sizeof buffer));
  };
  CheckPathErrors({.name = "readlink", .call = read, .follows = false});
  CheckPathErrors({.name = "readlinkat", .call = read_at, .follows = false});
  CheckAtErrors("readlinkat", [](int at, const char* path) {
    return static_cast<long>(readlinkat(at, path, buffer, sizeof buffer));
  });
  MakeFile("file");
  MakeDirectory("dir");
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  ASSERT_EQ(symlink("dir", Path("soft")), 0);
  for (const char* const name : {"file", "dir", "fifo", "", "soft/", "soft/."}) {
    const Parameter parameter(name);
    FAILS(EINVAL, readlink(Path(name), buffer, sizeof buffer));
    FAILS(EINVAL, readlinkat(AT_FDCWD, Path(name), buffer, sizeof buffer));
  }
  FAILS(EINVAL, readlink(Path("soft"), buffer, 0));
  FAILS(EFAULT, readlink(Path("soft"), Bad(), 16));
  const UniqueFd file = Open("file", O_RDONLY);
  FAILS(ENOENT, readlinkat(file.get(), "", buffer, sizeof buffer));
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(ENOENT, readlinkat(path_fd.get(), "", buffer, sizeof buffer));
}

TEST_F(ReadlinkPosix, CutsAtTheBuffer) {
  ASSERT_EQ(symlink("0123456789", Path("soft")), 0);
  for (size_t size : {1u, 5u, 9u, 10u, 11u, 100u}) {
    const Parameter parameter(std::to_string(size));
    std::string buffer(128, '#');
    const auto bytes = static_cast<size_t>(OK(readlink(Path("soft"), buffer.data(), size)));
    SAME("readlink", std::min<size_t>(size, 10), bytes);
    SAME("readlink", std::string("0123456789").substr(0, bytes) + std::string(128 - bytes, '#'),
         buffer);
  }
  const UniqueFd fd = Open("soft", O_PATH | O_NOFOLLOW);
  char buffer[16] = {};
  SAME("readlinkat", 10, readlinkat(fd.get(), "", buffer, sizeof buffer));
  SAME("readlinkat", std::string("0123456789"), std::string(buffer));
  OK(unlink(Path("soft")));
  SAME("readlinkat", 10, readlinkat(fd.get(), "", buffer, sizeof buffer));
}

TEST_F(ReadlinkPosix, NeedsNoPermissionOnTheLink) {
  MakeDirectory("dir", 0755);
  ASSERT_EQ(symlink("target", Path("dir/soft")), 0);
  char buffer[16];
  AsUser(kBob, [&] { OK(readlink(Path("dir/soft"), buffer, sizeof buffer)); });
}

}  // namespace
}  // namespace terracefs::posix
