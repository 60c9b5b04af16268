#include <linux/falloc.h>
#include <sys/resource.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class FallocatePosix : public PosixCase {};

constexpr off_t kBlock = 4096;

TEST_F(FallocatePosix, Errors) {
  MakeFile("file", "content");
  MakeDirectory("dir");
  const UniqueFd in = Open("file", O_RDONLY);
  const UniqueFd out = Open("file", O_RDWR);
  const UniqueFd path_fd = Open("file", O_PATH);
  const UniqueFd dir = Open("dir", O_RDONLY);
  FAILS(EBADF, fallocate(-1, 0, 0, 1));
  FAILS(EBADF, fallocate(in.get(), 0, 0, 1));
  FAILS(EBADF, fallocate(path_fd.get(), 0, 0, 1));
  FAILS(EBADF, fallocate(dir.get(), 0, 0, 1));
  FAILS(EINVAL, fallocate(out.get(), 0, -1, 1));
  FAILS(EINVAL, fallocate(out.get(), 0, 0, 0));
  FAILS(EINVAL, fallocate(out.get(), 0, 0, -1));
  FAILS(EOPNOTSUPP, fallocate(out.get(), FALLOC_FL_PUNCH_HOLE, 0, 1));
  FAILS(EOPNOTSUPP, fallocate(out.get(), 0x1000, 0, 1));
  FAILS(EFBIG, fallocate(out.get(), 0, INT64_MAX, 1));
  FAILS(EFBIG, fallocate(out.get(), 0, 1, INT64_MAX));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  FAILS(ESPIPE, fallocate(ends[1], 0, 0, 1));
  close(ends[0]);
  close(ends[1]);
  FAILS_AS("fallocate", EFBIG, InChild([&]() -> long {
             const struct rlimit limit = {10'000, 10'000};
             setrlimit(RLIMIT_FSIZE, &limit);
             return fallocate(out.get(), 0, 0, 20'000);
           }));
  SAME("fallocate", "content", Content("file"));
}

TEST_F(FallocatePosix, AllocatingExtendsOrKeepsTheSize) {
  MakeFile("file", "content");
  const UniqueFd fd = Open("file", O_RDWR);
  OK(fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, 0, 100'000));
  SAME("fallocate", 7, Stat("file").st_size);
  SAME("fallocate", true, Stat("file").st_blocks >= 100'000 / 512);
  OK(fallocate(fd.get(), 0, 0, 5));
  SAME("fallocate", 7, Stat("file").st_size);
  OK(fallocate(fd.get(), 0, 0, 50'000));
  SAME("fallocate", 50'000, Stat("file").st_size);
  SAME("fallocate", "content" + std::string(49'993, '\0'), Content("file"));
  OK(fallocate(fd.get(), 0, 200'000, 1'000));
  SAME("fallocate", 201'000, Stat("file").st_size);
  OK(ftruncate(fd.get(), 7));
  SAME("fallocate", "content", Content("file"));
}

TEST_F(FallocatePosix, HolesReadAsZeros) {
  for (const off_t from : {off_t{0}, off_t{1}, kBlock - 1, kBlock, 3 * kBlock + 5}) {
    for (const off_t bytes : {off_t{1}, kBlock - 1, kBlock, 5 * kBlock, 100 * kBlock}) {
      const Parameter parameter(std::to_string(bytes) + " at " + std::to_string(from));
      std::string expected(20 * kBlock + 7, 'x');
      MakeFile("file", expected);
      const UniqueFd fd = Open("file", O_RDWR);
      OK(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, bytes));
      const size_t end = std::min(expected.size(), static_cast<size_t>(from + bytes));
      for (size_t i = static_cast<size_t>(from); i < end; ++i) expected[i] = '\0';
      SAME("fallocate", true, expected == Content("file"));
      SAME("fallocate", static_cast<off_t>(expected.size()), Stat("file").st_size);
    }
  }
}

TEST_F(FallocatePosix, PunchingGivesBlocksBack) {
  MakeFile("file", std::string(100 * kBlock, 'x'));
  const UniqueFd fd = Open("file", O_RDWR);
  OK(fsync(fd.get()));
  const blkcnt_t before = Stat("file").st_blocks;
  OK(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 50 * kBlock));
  OK(fsync(fd.get()));
  SAME("fallocate", true, Stat("file").st_blocks <= before * 6 / 10);
  OK(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 100 * kBlock));
  OK(fsync(fd.get()));
  SAME("fallocate", true, Stat("file").st_blocks <= 16);
  SAME("fallocate", 100 * kBlock, Stat("file").st_size);
}

TEST_F(FallocatePosix, RangesBecomeZero) {
  if (OnTmpfs()) GTEST_SKIP() << "tmpfs cannot";
  MakeFile("file", std::string(10'000, 'x'));
  const UniqueFd fd = Open("file", O_RDWR);
  OK(fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 1'000, 5'000));
  std::string expected =
      std::string(1'000, 'x') + std::string(5'000, '\0') + std::string(4'000, 'x');
  SAME("fallocate", true, expected == Content("file"));
  OK(fallocate(fd.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 9'000, 50'000));
  expected.replace(9'000, 1'000, 1'000, '\0');
  SAME("fallocate", true, expected == Content("file"));
  OK(fallocate(fd.get(), FALLOC_FL_ZERO_RANGE, 9'500, 10'500));
  expected.resize(20'000, '\0');
  SAME("fallocate", true, expected == Content("file"));
}

TEST_F(FallocatePosix, OtherModes) {
  MakeFile("file", std::string(10 * kBlock, 'x'));
  const UniqueFd fd = Open("file", O_RDWR);
  FAILS(OnExt4() ? EINVAL : EOPNOTSUPP, fallocate(fd.get(), FALLOC_FL_COLLAPSE_RANGE, 0, 100));
  FAILS(OnExt4() ? EINVAL : EOPNOTSUPP, fallocate(fd.get(), FALLOC_FL_INSERT_RANGE, 0, 100));
  SAME("fallocate", 0, posix_fallocate(fd.get(), 0, 20 * kBlock));
  SAME("posix_fallocate", 20 * kBlock, Stat("file").st_size);
  SAME("posix_fallocate", EBADF, posix_fallocate(-1, 0, 1));
  SAME("posix_fallocate", EINVAL, posix_fallocate(fd.get(), 0, 0));
}

TEST_F(FallocatePosix, Times) {
  MakeFile("file", std::string(3 * kBlock, 'x'));
  const UniqueFd fd = Open("file", O_RDWR);
  CheckTimes("fallocate", {{"file", "mc"}}, [&] { OK(fallocate(fd.get(), 0, 0, 5 * kBlock)); });
  CheckTimes("fallocate", {{"file", "mc"}, {"", ""}}, [&] {
    OK(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kBlock));
  });
  CheckTimes("fallocate", {{"file", ""}}, [&] { FAILS(EINVAL, fallocate(fd.get(), 0, 0, 0)); });
}

}  // namespace
}  // namespace terracefs::posix
