#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <csignal>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class WritePosix : public PosixCase {};

TEST_F(WritePosix, Errors) {
  MakeFile("file", "content");
  MakeDirectory("dir");
  const UniqueFd in = Open("file", O_RDONLY);
  const UniqueFd out = Open("file", O_WRONLY);
  char data[64] = "data";
  volatile int minus_one = -1;  // the compiler would object
  iovec one = {data, 4};
  for (const int bad : {-1, in.get(), 1'000'000}) {
    const Parameter parameter(bad == in.get() ? "read-only" : std::to_string(bad));
    FAILS(EBADF, write(bad, data, 1));
    FAILS(EBADF, pwrite(bad, data, 1, 0));
    FAILS(EBADF, writev(bad, &one, 1));
    FAILS(EBADF, pwritev(bad, &one, 1, 0));
  }
  const UniqueFd dir = Open("dir", O_RDONLY);
  FAILS(EBADF, write(dir.get(), data, 1));
  FAILS(EFAULT, write(out.get(), Bad(), 5));
  FAILS(EFAULT, pwrite(out.get(), Bad(), 5, 0));
  FAILS(EINVAL, pwrite(out.get(), data, 1, -1));
  FAILS(EINVAL, pwritev(out.get(), &one, 1, -1));
  FAILS(EINVAL, writev(out.get(), &one, minus_one));
  FAILS(EINVAL, writev(out.get(), std::vector<iovec>(1025, one).data(), 1025));
  FAILS(EFAULT, writev(out.get(), Bad<iovec>(), 1));
  iovec negative = {data, static_cast<size_t>(-1)};
  FAILS(EINVAL, writev(out.get(), &negative, 1));
  FAILS(EOPNOTSUPP, pwritev2(out.get(), &one, 1, 0, 0x40000000));
  SAME("write", "content", Content("file"));
}

TEST_F(WritePosix, EverySizeAndOffset) {
  std::string expected;
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  char next = 'a';
  for (const size_t offset : {0u, 1u, 4095u, 4096u, 20'000u, 65'535u, 200'000u}) {
    for (const size_t size : {0u, 1u, 10u, 4096u, 4097u, 100'000u}) {
      const Parameter parameter(std::to_string(size) + " at " + std::to_string(offset));
      const std::string data(size, next++);
      SAME("pwrite", static_cast<ssize_t>(size),
           pwrite(fd.get(), data.data(), size, static_cast<off_t>(offset)));
      if (size == 0) continue;
      if (expected.size() < offset + size) expected.resize(offset + size, char{0});
      expected.replace(offset, size, data);
      SAME("pwrite", true, expected == Content("file"));
      SAME("pwrite", static_cast<off_t>(expected.size()), Stat("file").st_size);
    }
  }
  SAME("lseek", 0, lseek(fd.get(), 0, SEEK_CUR));
}

TEST_F(WritePosix, VectorsAreWrittenInOrder) {
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  char a[] = "one";
  char b[] = "two";
  iovec parts[3] = {{a, 3}, {nullptr, 0}, {b, 3}};
  SAME("writev", 6, writev(fd.get(), parts, 3));
  SAME("pwritev", 6, pwritev(fd.get(), parts, 3, 10));
  SAME("writev", 0, writev(fd.get(), parts, 0));
  SAME("writev", 6, writev(fd.get(), parts, 3));
  SAME("pwritev2", 6, pwritev2(fd.get(), parts, 3, 20, RWF_SYNC));
  SAME("pwritev2", 6, pwritev2(fd.get(), parts, 3, 0, RWF_APPEND));
  SAME("writev", std::string("onetwoonetwoetwo") + std::string(4, '\0') + "onetwoonetwo",
       Content("file"));
}

// Beyond the limit of file sizes nothing is written; up to it, a part.
TEST_F(WritePosix, LimitsOfFileSizes) {
  const auto limited = [&](const std::function<long(int)>& body) {
    return [this, body]() -> long {
      const struct rlimit limit = {1000, 1000};
      setrlimit(RLIMIT_FSIZE, &limit);
      return body(open(Path("file"), O_RDWR | O_CREAT, 0600));
    };
  };
  const auto write_at = [](off_t offset, size_t size) {
    return [offset, size](int fd) -> long {
      return pwrite(fd, std::string(size, 'x').data(), size, offset);
    };
  };
  SAME("pwrite", 1000, InChild(limited(write_at(0, 2000))));
  SAME("pwrite", 100, InChild(limited(write_at(900, 200))));
  FAILS_AS("pwrite", EFBIG, InChild(limited(write_at(1000, 1))));
  FAILS_AS("pwrite", EFBIG, InChild(limited(write_at(5000, 1))));
  FAILS_AS("ftruncate", EFBIG,
           InChild(limited([](int fd) -> long { return ftruncate(fd, 1001); })));
  OK_AS("ftruncate", InChild(limited([](int fd) -> long { return ftruncate(fd, 1000); })));
  SAME("pwrite", 1000, Stat("file").st_size);
  // With the signal at its default the process ends.
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_DFL);
    const struct rlimit core = {0, 0};
    setrlimit(RLIMIT_CORE, &core);
    limited(write_at(1000, 1))();
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  SAME("pwrite", true, WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
}

TEST_F(WritePosix, FarOffsets) {
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  FAILS(EINVAL, pwrite(fd.get(), "x", 1, INT64_MAX));
  if (OnExt4()) FAILS(EFBIG, pwrite(fd.get(), "x", 1, int64_t{1} << 60));
  SAME("pwrite", 0, Stat("file").st_size);
  SAME("pwrite", 1, pwrite(fd.get(), "x", 1, int64_t{1} << 40));
  SAME("pwrite", (int64_t{1} << 40) + 1, Stat("file").st_size);
  char c = 0;
  SAME("pread", 1, pread(fd.get(), &c, 1, int64_t{1} << 40));
  SAME("pread", 'x', c);
}

TEST_F(WritePosix, Times) {
  MakeFile("file", "content");
  UniqueFd fd = Open("file", O_RDWR);
  CheckTimes("write", {{"file", "mc"}, {"", ""}}, [&] { OK(write(fd.get(), "x", 1)); });
  CheckTimes("pwrite", {{"file", "mc"}}, [&] { OK(pwrite(fd.get(), "x", 1, 1000)); });
  {
    const Parameter parameter("nothing");
    CheckTimes("write", {{"file", ""}}, [&] { OK(write(fd.get(), "x", 0)); });
  }
  // Writing, then setting times: those stay, whenever the pages are written.
  OK(write(fd.get(), "more", 4));
  const timespec times[2] = {{1000, 5}, {2000, 6}};
  OK(futimens(fd.get(), times));
  OK(fsync(fd.get()));
  fd.Reset();
  SAME("write", 2000, Stat("file").st_mtim.tv_sec);
  SAME("write", 6, Stat("file").st_mtim.tv_nsec);
}

}  // namespace
}  // namespace terracefs::posix
