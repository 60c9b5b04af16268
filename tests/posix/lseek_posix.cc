#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class LseekPosix : public PosixCase {};

TEST_F(LseekPosix, Errors) {
  MakeFile("file", "0123456789");
  const UniqueFd fd = Open("file", O_RDONLY);
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, lseek(-1, 0, SEEK_SET));
  FAILS(EBADF, lseek(path_fd.get(), 0, SEEK_SET));
  FAILS(EINVAL, lseek(fd.get(), -1, SEEK_SET));
  FAILS(EINVAL, lseek(fd.get(), -1, SEEK_CUR));
  FAILS(EINVAL, lseek(fd.get(), -11, SEEK_END));
  FAILS(EINVAL, lseek(fd.get(), 0, 5));
  FAILS(EINVAL, lseek(fd.get(), 0, -1));
  FAILS(ENXIO, lseek(fd.get(), 10, SEEK_DATA));
  FAILS(ENXIO, lseek(fd.get(), 10, SEEK_HOLE));
  FAILS(ENXIO, lseek(fd.get(), 1'000'000, SEEK_DATA));
  FAILS(ENXIO, lseek(fd.get(), 1'000'000, SEEK_HOLE));
  FAILS(ENXIO, lseek(fd.get(), -1, SEEK_DATA));
  FAILS(ENXIO, lseek(fd.get(), -1, SEEK_HOLE));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  FAILS(ESPIPE, lseek(ends[0], 0, SEEK_SET));
  close(ends[0]);
  close(ends[1]);
  SAME("lseek", 0, lseek(fd.get(), 0, SEEK_CUR));
}

TEST_F(LseekPosix, Positions) {
  MakeFile("file", "0123456789");
  const UniqueFd fd = Open("file", O_RDWR);
  const UniqueFd same(dup(fd.get()));
  const UniqueFd other = Open("file", O_RDWR);
  SAME("lseek", 5, lseek(fd.get(), 5, SEEK_SET));
  SAME("lseek", 5, lseek(same.get(), 0, SEEK_CUR));
  SAME("lseek", 0, lseek(other.get(), 0, SEEK_CUR));
  SAME("lseek", 3, lseek(fd.get(), -2, SEEK_CUR));
  SAME("lseek", 10, lseek(fd.get(), 0, SEEK_END));
  SAME("lseek", 7, lseek(fd.get(), -3, SEEK_END));
  SAME("lseek", 1'000'010, lseek(fd.get(), 1'000'000, SEEK_END));
  SAME("lseek", 10, Stat("file").st_size);
  SAME("write", 1, write(other.get(), "x", 1));
  SAME("pwrite", 1, pwrite(other.get(), "y", 1, 49));
  SAME("lseek", 50, lseek(fd.get(), 0, SEEK_END));  // sees what another descriptor wrote
  OK(ftruncate(other.get(), 20));
  SAME("lseek", 20, lseek(fd.get(), 0, SEEK_END));
}

TEST_F(LseekPosix, DataAndHoles) {
  constexpr off_t kMiB = 1 << 20;
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  const std::string data(65536, 'x');
  ASSERT_EQ(pwrite(fd.get(), data.data(), data.size(), kMiB), 65536);
  ASSERT_EQ(pwrite(fd.get(), data.data(), data.size(), 4 * kMiB), 65536);
  ASSERT_EQ(ftruncate(fd.get(), 8 * kMiB), 0);
  for (const bool synced : {false, true}) {
    const Parameter parameter(synced ? "synced" : "dirty");
    if (synced) OK(fsync(fd.get()));
    SAME("lseek", kMiB, lseek(fd.get(), 0, SEEK_DATA));
    SAME("lseek", 0, lseek(fd.get(), 0, SEEK_HOLE));
    SAME("lseek", 12'345, lseek(fd.get(), 12'345, SEEK_HOLE));
    SAME("lseek", kMiB, lseek(fd.get(), 12'345, SEEK_DATA));
    SAME("lseek", kMiB + 5, lseek(fd.get(), kMiB + 5, SEEK_DATA));
    SAME("lseek", kMiB + 65536, lseek(fd.get(), kMiB, SEEK_HOLE));
    SAME("lseek", kMiB + 65536, lseek(fd.get(), kMiB + 5, SEEK_HOLE));
    SAME("lseek", 4 * kMiB, lseek(fd.get(), kMiB + 65536, SEEK_DATA));
    SAME("lseek", 4 * kMiB + 65536, lseek(fd.get(), 4 * kMiB, SEEK_HOLE));
    FAILS(ENXIO, lseek(fd.get(), 4 * kMiB + 65536, SEEK_DATA));
    SAME("lseek", 7 * kMiB, lseek(fd.get(), 7 * kMiB, SEEK_HOLE));
    FAILS(ENXIO, lseek(fd.get(), 8 * kMiB, SEEK_HOLE));
    FAILS(ENXIO, lseek(fd.get(), 8 * kMiB, SEEK_DATA));
  }
  MakeFile("full", data);
  const UniqueFd full = Open("full", O_RDONLY);
  SAME("lseek", 0, lseek(full.get(), 0, SEEK_DATA));
  SAME("lseek", 65536, lseek(full.get(), 0, SEEK_HOLE));  // the end is one
  SAME("lseek", 65535, lseek(full.get(), 65535, SEEK_DATA));
  const UniqueFd empty = Open("empty", O_CREAT | O_RDWR);
  FAILS(ENXIO, lseek(empty.get(), 0, SEEK_DATA));
  FAILS(ENXIO, lseek(empty.get(), 0, SEEK_HOLE));
}

}  // namespace
}  // namespace terracefs::posix
