#include <sys/uio.h>
#include <cstring>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class ReadPosix : public PosixCase {};

TEST_F(ReadPosix, Errors) {
  MakeFile("file", "content");
  MakeDirectory("dir");
  char buffer[64];
  volatile int minus_one = -1;  // the compiler would object
  const UniqueFd in = Open("file", O_RDONLY);
  const UniqueFd out = Open("file", O_WRONLY);
  const UniqueFd dir = Open("dir", O_RDONLY);
  iovec one = {buffer, sizeof buffer};
  for (const int bad : {-1, out.get(), 1'000'000}) {
    const Parameter parameter(bad == out.get() ? "write-only" : std::to_string(bad));
    FAILS(EBADF, read(bad, buffer, 1));
    FAILS(EBADF, pread(bad, buffer, 1, 0));
    FAILS(EBADF, readv(bad, &one, 1));
    FAILS(EBADF, preadv(bad, &one, 1, 0));
  }
  FAILS(EISDIR, read(dir.get(), buffer, 1));
  FAILS(EISDIR, pread(dir.get(), buffer, 1, 0));
  FAILS(EISDIR, readv(dir.get(), &one, 1));
  FAILS(EFAULT, read(in.get(), Bad(), 5));
  FAILS(EFAULT, pread(in.get(), Bad(), 5, 0));
  FAILS(EINVAL, pread(in.get(), buffer, 1, -1));
  FAILS(EINVAL, preadv(in.get(), &one, 1, -1));
  FAILS(EINVAL, readv(in.get(), &one, minus_one));
  FAILS(EINVAL, readv(in.get(), std::vector<iovec>(1025, one).data(), 1025));
  FAILS(EFAULT, readv(in.get(), Bad<iovec>(), 1));
  iovec negative = {buffer, static_cast<size_t>(-1)};
  FAILS(EINVAL, readv(in.get(), &negative, 1));
  FAILS(EOPNOTSUPP, preadv2(in.get(), &one, 1, 0, 0x40000000));
}

TEST_F(ReadPosix, EndsAtTheEnd) {
  MakeFile("file", "0123456789");
  const UniqueFd fd = Open("file", O_RDONLY);
  char buffer[64] = {};
  SAME("read", 0, read(fd.get(), buffer, 0));
  SAME("read", 4, read(fd.get(), buffer, 4));
  SAME("read", std::string("0123"), std::string(buffer));
  SAME("read", 6, read(fd.get(), buffer, sizeof buffer));
  SAME("read", 0, read(fd.get(), buffer, sizeof buffer));
  SAME("pread", 3, pread(fd.get(), buffer, sizeof buffer, 7));
  SAME("pread", 0, pread(fd.get(), buffer, sizeof buffer, 10));
  SAME("pread", 0, pread(fd.get(), buffer, sizeof buffer, 1'000'000));
  SAME("pread", 0, pread(fd.get(), buffer, sizeof buffer, INT64_MAX - 100));
  SAME("lseek", 10, lseek(fd.get(), 0, SEEK_CUR));
  SAME("lseek", 100, lseek(fd.get(), 100, SEEK_SET));
  SAME("read", 0, read(fd.get(), buffer, 1));
}

TEST_F(ReadPosix, VectorsAreFilledInOrder) {
  MakeFile("file", "0123456789");
  const UniqueFd fd = Open("file", O_RDONLY);
  std::string a(3, '#');
  std::string b(0, '#');
  std::string c(20, '#');
  iovec parts[3] = {{a.data(), a.size()}, {b.data(), b.size()}, {c.data(), c.size()}};
  SAME("readv", 10, readv(fd.get(), parts, 3));
  SAME("readv", "012", a);
  SAME("readv", "3456789" + std::string(13, '#'), c);
  SAME("readv", 0, readv(fd.get(), parts, 3));
  SAME("readv", 0, readv(fd.get(), parts, 0));
  SAME("preadv", 8, preadv(fd.get(), parts, 3, 2));
  SAME("preadv", "234", a);
  SAME("preadv2", 8, preadv2(fd.get(), parts, 3, 2, 0));
  SAME("lseek", 10, lseek(fd.get(), 0, SEEK_CUR));
}

TEST_F(ReadPosix, EverySizeAndOffset) {
  std::string data(300'000, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 + i / 4096);
  MakeFile("file", data);
  const UniqueFd fd = Open("file", O_RDONLY);
  for (const size_t offset : {0u, 1u, 4095u, 4096u, 65'535u, 131'072u, 299'999u}) {
    for (const size_t size : {1u, 4096u, 4097u, 100'000u, 400'000u}) {
      const Parameter parameter(std::to_string(size) + " at " + std::to_string(offset));
      std::string back(size, '\0');
      const ssize_t got = OK(pread(fd.get(), back.data(), size, static_cast<off_t>(offset)));
      back.resize(static_cast<size_t>(got));
      SAME("pread", true, back == data.substr(offset, size));
    }
  }
}

// relatime: the first read after a change counts.
TEST_F(ReadPosix, Times) {
  MakeFile("file", "content");
  MakeDirectory("dir");
  const UniqueFd fd = Open("file", O_RDONLY);
  char buffer[16];
  const auto drop = [&] {
    ASSERT_EQ(fsync(fd.get()), 0);
    ASSERT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  };
  CheckTimes("read", {{"file", "a"}, {"", ""}}, [&] {
    drop();
    OK(read(fd.get(), buffer, 4));
  });
  CheckTimes("pread", {{"file", "a"}}, [&] {
    drop();
    OK(pread(fd.get(), buffer, 4, 0));
  });
  // FUSE leaves atime to the server, which never hears of what the kernel had in its cache.
  if (!OnTerraceFs()) {
    const Parameter parameter("from the cache");
    CheckTimes("read", {{"file", "a"}}, [&] { OK(pread(fd.get(), buffer, 4, 0)); });
  }
  if (!OnTmpfs()) {
    const Parameter parameter("nothing asked for");
    CheckTimes("read", {{"file", ""}}, [&] { OK(read(fd.get(), buffer, 0)); });
  }
  const UniqueFd quiet = Open("file", O_RDONLY | O_NOATIME);
  {
    const Parameter parameter("O_NOATIME");
    CheckTimes("read", {{"file", ""}}, [&] { OK(read(quiet.get(), buffer, 4)); });
  }
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  CheckTimes("readlink", {{"soft", "a"}}, [&] { OK(readlink(Path("soft"), buffer, 16)); });
}

}  // namespace
}  // namespace terracefs::posix
