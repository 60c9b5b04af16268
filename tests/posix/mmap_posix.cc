#include <sys/mman.h>
#include <sys/wait.h>
#include <csignal>
#include <cstring>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class MmapPosix : public PosixCase {};

constexpr size_t kPage = 4096;

// A mapping that ends with its scope.
class Mapping {
 public:
  Mapping(void* address, size_t bytes) : address_(address), bytes_(bytes) {}
  ~Mapping() {
    if (address_ != MAP_FAILED) munmap(address_, bytes_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  char* get() const { return static_cast<char*>(address_); }

 private:
  void* address_;
  size_t bytes_;
};

TEST_F(MmapPosix, Errors) {
  MakeFile("file", std::string(kPage, 'x'));
  MakeDirectory("dir");
  const UniqueFd in = Open("file", O_RDONLY);
  const UniqueFd out = Open("file", O_WRONLY);
  const UniqueFd path_fd = Open("file", O_PATH);
  const UniqueFd dir = Open("dir", O_RDONLY);
  constexpr int kBoth = PROT_READ | PROT_WRITE;
  FAILS(EBADF, mmap(nullptr, kPage, PROT_READ, MAP_SHARED, -1, 0));
  FAILS(EBADF, mmap(nullptr, kPage, PROT_READ, MAP_SHARED, path_fd.get(), 0));
  FAILS(EACCES, mmap(nullptr, kPage, kBoth, MAP_SHARED, in.get(), 0));
  FAILS(EACCES, mmap(nullptr, kPage, PROT_READ, MAP_SHARED, out.get(), 0));
  FAILS(EACCES, mmap(nullptr, kPage, PROT_WRITE, MAP_SHARED, out.get(), 0));
  FAILS(EACCES, mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, out.get(), 0));
  FAILS(EINVAL, mmap(nullptr, 0, PROT_READ, MAP_SHARED, in.get(), 0));
  FAILS(EINVAL, mmap(nullptr, kPage, PROT_READ, MAP_SHARED, in.get(), 1));
  FAILS(EINVAL, mmap(nullptr, kPage, PROT_READ, 0, in.get(), 0));
  FAILS(ENODEV, mmap(nullptr, kPage, PROT_READ, MAP_SHARED, dir.get(), 0));
  FAILS(ENOMEM, mmap(nullptr, SIZE_MAX / 2, PROT_READ, MAP_SHARED, in.get(), 0));
  const Mapping read_only(OK(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, in.get(), 0)), kPage);
  FAILS(EACCES, mprotect(read_only.get(), kPage, kBoth));
  FAILS(EINVAL, msync(read_only.get() + 1, kPage, MS_SYNC));
  FAILS(EINVAL, msync(read_only.get(), kPage, MS_SYNC | MS_ASYNC));
  OK(msync(read_only.get(), kPage, MS_SYNC));
  const Mapping copy(OK(mmap(nullptr, kPage, kBoth, MAP_PRIVATE, in.get(), 0)), kPage);
}

TEST_F(MmapPosix, SharedMappingsAreTheFile) {
  MakeFile("file", std::string(3 * kPage, 'x'));
  const UniqueFd fd = Open("file", O_RDWR);
  const UniqueFd other = Open("file", O_RDWR);
  const Mapping map(OK(mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0)),
                    3 * kPage);
  ASSERT_NE(map.get(), MAP_FAILED);
  char c = 0;
  SAME("mmap", 'x', map.get()[2 * kPage]);
  map.get()[5] = 'm';
  SAME("mmap", 1, pread(other.get(), &c, 1, 5));
  SAME("mmap", 'm', c);
  SAME("mmap", 1, pwrite(other.get(), "w", 1, kPage + 7));
  SAME("mmap", 'w', map.get()[kPage + 7]);
  const Mapping second(
      OK(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, other.get(), static_cast<off_t>(kPage))),
      kPage);
  map.get()[kPage + 9] = 's';
  SAME("mmap", 's', second.get()[9]);
  OK(msync(map.get(), 3 * kPage, MS_SYNC));
  OK(msync(map.get(), kPage, MS_ASYNC));
  OK(msync(map.get(), kPage, MS_INVALIDATE));
  OK(fsync(fd.get()));
  OK(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED));
  SAME("mmap", 's', map.get()[kPage + 9]);
  std::string expected(3 * kPage, 'x');
  expected[5] = 'm';
  expected[kPage + 7] = 'w';
  expected[kPage + 9] = 's';
  SAME("mmap", true, expected == Content("file"));
}

TEST_F(MmapPosix, PrivateMappingsAreNot) {
  MakeFile("file", std::string(kPage, 'x'));
  const UniqueFd fd = Open("file", O_RDONLY);
  const Mapping map(OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd.get(), 0)),
                    kPage);
  map.get()[3] = 'p';
  OK(msync(map.get(), kPage, MS_SYNC));
  SAME("mmap", std::string(kPage, 'x'), Content("file"));
  SAME("mmap", 'p', map.get()[3]);
}

// What a process that does this dies of.
int DiesOf(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGBUS, SIG_DFL);
    body();
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

TEST_F(MmapPosix, BeyondTheEndIsABusError) {
  MakeFile("file", std::string(kPage + 10, 'x'));
  const UniqueFd fd = Open("file", O_RDWR);
  const Mapping map(OK(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0)),
                    4 * kPage);
  volatile char* const bytes = map.get();
  SAME("mmap", '\0', static_cast<char>(bytes[kPage + 10]));  // the rest of the last page
  SAME("mmap", SIGBUS, DiesOf([&] { static_cast<void>(bytes[2 * kPage]); }));
  SAME("mmap", SIGBUS, DiesOf([&] { bytes[3 * kPage] = 'x'; }));
  SAME("mmap", 0, DiesOf([&] { bytes[kPage + 100] = 'x'; }));
  OK(ftruncate(fd.get(), 4 * kPage));
  SAME("mmap", 0, DiesOf([&] { bytes[3 * kPage] = 'y'; }));
  SAME("mmap", 'y', static_cast<char>(bytes[3 * kPage]));
  SAME("mmap", '\0', static_cast<char>(bytes[2 * kPage]));
  OK(ftruncate(fd.get(), 100));
  SAME("mmap", SIGBUS, DiesOf([&] { static_cast<void>(bytes[kPage]); }));
  SAME("mmap", SIGBUS, DiesOf([&] { static_cast<void>(bytes[3 * kPage]); }));
  SAME("mmap", 'x', static_cast<char>(bytes[50]));
  // What was cut off does not come back.
  OK(ftruncate(fd.get(), 2 * kPage));
  SAME("mmap", '\0', static_cast<char>(bytes[kPage + 5]));
  SAME("mmap", '\0', static_cast<char>(bytes[200]));
}

// Bytes that are stored behind the end are no part of the file.
TEST_F(MmapPosix, WhatIsWrittenBehindTheEndIsNotKept) {
  if (OnTmpfs()) GTEST_SKIP() << "tmpfs keeps it";
  MakeFile("file", "short");
  const UniqueFd fd = Open("file", O_RDWR);
  {
    const Mapping map(OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0)),
                      kPage);
    map.get()[0] = 'S';
    map.get()[100] = '!';
    OK(msync(map.get(), kPage, MS_SYNC));
  }
  SAME("mmap", "Short", Content("file"));
  OK(ftruncate(fd.get(), 200));
  SAME("mmap", "Short" + std::string(195, '\0'), Content("file"));
}

TEST_F(MmapPosix, MappingsOutliveNamesAndDescriptors) {
  MakeFile("file", std::string(kPage, 'x'));
  UniqueFd fd = Open("file", O_RDWR);
  const Mapping map(OK(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0)),
                    kPage);
  fd.Reset();
  OK(unlink(Path("file")));
  map.get()[1] = 'y';
  OK(msync(map.get(), kPage, MS_SYNC));
  SAME("mmap", 'y', map.get()[1]);
  SAME("mmap", 'x', map.get()[2]);
}

TEST_F(MmapPosix, HolesCanBeWritten) {
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  OK(ftruncate(fd.get(), 64 * kPage));
  const Mapping map(OK(mmap(nullptr, 64 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0)),
                    64 * kPage);
  std::string expected(64 * kPage, '\0');
  for (size_t page = 0; page < 64; page += 3) {
    map.get()[page * kPage + page] = 'h';
    expected[page * kPage + page] = 'h';
  }
  SAME("mmap", true, expected == Content("file"));
  OK(msync(map.get(), 64 * kPage, MS_SYNC));
  OK(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED));
  SAME("mmap", true, expected == Content("file"));
}

TEST_F(MmapPosix, Times) {
  MakeFile("file", std::string(kPage, 'x'));
  const UniqueFd fd = Open("file", O_RDWR);
  const Mapping map(OK(mmap(nullptr, kPage, PROT_WRITE, MAP_SHARED, fd.get(), 0)), kPage);
  CheckTimes("mmap", {{"file", "mc"}}, [&] {
    map.get()[0] = 'y';
    OK(msync(map.get(), kPage, MS_SYNC));
  });
}

}  // namespace
}  // namespace terracefs::posix
