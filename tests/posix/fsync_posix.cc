#include <sys/sendfile.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class FsyncPosix : public PosixCase {};

TEST_F(FsyncPosix, Errors) {
  MakeFile("file");
  const UniqueFd path_fd = Open("file", O_PATH);
  const UniqueFd fd = Open("file", O_RDWR);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  for (const int bad : {-1, path_fd.get(), 1'000'000}) {
    const Parameter parameter(bad == path_fd.get() ? "O_PATH" : std::to_string(bad));
    FAILS(EBADF, fsync(bad));
    FAILS(EBADF, fdatasync(bad));
    FAILS(EBADF, sync_file_range(bad, 0, 1, SYNC_FILE_RANGE_WRITE));
    FAILS(EBADF, syncfs(bad));
  }
  FAILS(EINVAL, fsync(ends[0]));
  FAILS(EINVAL, fdatasync(ends[1]));
  FAILS(ESPIPE, sync_file_range(ends[0], 0, 1, SYNC_FILE_RANGE_WRITE));
  FAILS(EINVAL, sync_file_range(fd.get(), -1, 1, SYNC_FILE_RANGE_WRITE));
  FAILS(EINVAL, sync_file_range(fd.get(), 0, -1, SYNC_FILE_RANGE_WRITE));
  FAILS(EINVAL, sync_file_range(fd.get(), 0, 1, 64));
  close(ends[0]);
  close(ends[1]);
}

TEST_F(FsyncPosix, EveryOpenFileCanBeSynced) {
  MakeFile("file", std::string(100'000, 'x'));
  MakeDirectory("dir");
  const UniqueFd in = Open("file", O_RDONLY);
  const UniqueFd out = Open("file", O_RDWR);
  const UniqueFd dir = Open("dir", O_RDONLY);
  MakeFile("dir/new");
  for (const int fd : {in.get(), out.get(), dir.get()}) {
    const Parameter parameter(fd == in.get() ? "in" : fd == out.get() ? "out" : "dir");
    OK(fsync(fd));
    OK(fdatasync(fd));
    OK(syncfs(fd));
  }
  OK(sync_file_range(out.get(), 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
  OK(unlink(Path("file")));
  OK(fsync(out.get()));
  SAME("write", 1, write(out.get(), "y", 1));
  OK(fdatasync(out.get()));
  CheckTimes("fsync", {{"dir", ""}}, [&] { OK(fsync(dir.get())); });
}

}  // namespace
}  // namespace terracefs::posix
