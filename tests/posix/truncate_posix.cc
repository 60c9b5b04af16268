#include <sys/resource.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class TruncatePosix : public PosixCase {};

TEST_F(TruncatePosix, Errors) {
  CheckPathErrors({.name = "truncate", .call = [](const char* path) { return truncate(path, 0); }});
  MakeFile("file");
  MakeDirectory("dir");
  FAILS(ENOENT, truncate(Path("missing"), 1));
  FAILS(EISDIR, truncate(Path("dir"), 1));
  FAILS(EISDIR, truncate(Path(""), 0));
  FAILS(EINVAL, truncate(Path("file"), -1));
  const UniqueFd in = Open("file", O_RDONLY);
  const UniqueFd out = Open("file", O_WRONLY);
  const UniqueFd dir = Open("dir", O_RDONLY);
  FAILS(EINVAL, ftruncate(in.get(), 5));
  FAILS(EINVAL, ftruncate(out.get(), -1));
  FAILS(EINVAL, ftruncate(dir.get(), 0));
  FAILS(EBADF, ftruncate(-1, 0));
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  FAILS(EINVAL, truncate(Path("fifo"), 0));
  ASSERT_EQ(mknod(Path("socket"), S_IFSOCK | 0600, 0), 0);
  FAILS(EINVAL, truncate(Path("socket"), 0));
  ASSERT_EQ(chmod(Path("file"), 0644), 0);
  AsUser(kAlice, [&] { FAILS(EACCES, truncate(Path("file"), 0)); });
  SAME("truncate", 1, Stat("file").st_size);
}

TEST_F(TruncatePosix, ShorterCutsAndLongerReadsAsZeros) {
  for (const size_t size : {0u, 1u, 100u, 4096u, 10'000u, 70'000u, 200'000u}) {
    for (const size_t cut : {0u, 1u, 50u, 4095u, 4096u, 9'999u, 65'536u, 300'000u}) {
      const Parameter parameter(std::to_string(size) + " to " + std::to_string(cut));
      MakeFile("file", std::string(size, 'x'));
      OK(truncate(Path("file"), static_cast<off_t>(cut)));
      std::string expected(size, 'x');
      expected.resize(cut, '\0');
      SAME("truncate", true, expected == Content("file"));
      expected.resize(cut + 5'000, '\0');
      const UniqueFd fd = Open("file", O_RDWR);
      OK(ftruncate(fd.get(), static_cast<off_t>(cut + 5'000)));
      SAME("ftruncate", true, expected == Content("file"));
    }
  }
  OK(truncate(Path("file"), 0));
  SAME("truncate", "", Content("file"));
  SAME("truncate", 0, Stat("file").st_blocks);
}

TEST_F(TruncatePosix, TheOffsetStays) {
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  SAME("write", 10, write(fd.get(), "0123456789", 10));
  OK(ftruncate(fd.get(), 4));
  SAME("lseek", 10, lseek(fd.get(), 0, SEEK_CUR));
  SAME("write", 1, write(fd.get(), "x", 1));
  SAME("ftruncate", std::string("0123") + std::string(6, '\0') + "x", Content("file"));
}

TEST_F(TruncatePosix, TooLarge) {
  MakeFile("file");
  FAILS_AS("truncate", EFBIG, InChild([&]() -> long {
             const struct rlimit limit = {1000, 1000};
             setrlimit(RLIMIT_FSIZE, &limit);
             return truncate(Path("file"), 1001);
           }));
  OK_AS("truncate", InChild([&]() -> long {
          const struct rlimit limit = {1000, 1000};
          setrlimit(RLIMIT_FSIZE, &limit);
          return truncate(Path("file"), 1000);
        }));
  if (OnExt4()) FAILS(EFBIG, truncate(Path("file"), INT64_MAX));
  if (OnTerraceFs()) {
    OK(truncate(Path("file"), INT64_MAX));
    SAME("truncate", INT64_MAX, Stat("file").st_size);
    OK(truncate(Path("file"), 3));
    SAME("truncate", std::string("x") + std::string(2, '\0'), Content("file"));
  }
}

TEST_F(TruncatePosix, Times) {
  MakeFile("file", "content");
  CheckTimes("truncate", {{"file", "mc"}, {"", ""}}, [&] { OK(truncate(Path("file"), 100)); });
  CheckTimes("truncate", {{"file", "mc"}}, [&] { OK(truncate(Path("file"), 3)); });
  // With the write-back cache the kernel of FUSE changes no times then, as truncate(2) permits.
  if (!OnWriteback()) {
    const Parameter parameter("the same size");
    CheckTimes("truncate", {{"file", "mc"}}, [&] { OK(truncate(Path("file"), 3)); });
  }
  const UniqueFd fd = Open("file", O_RDWR);
  CheckTimes("ftruncate", {{"file", "mc"}}, [&] { OK(ftruncate(fd.get(), 50)); });
  CheckTimes("ftruncate", {{"file", ""}}, [&] { FAILS(EINVAL, ftruncate(fd.get(), -1)); });
}

}  // namespace
}  // namespace terracefs::posix
