#include <sys/file.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class FlockPosix : public PosixCase {};

TEST_F(FlockPosix, Errors) {
  MakeFile("file");
  const UniqueFd fd = Open("file", O_RDONLY);
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, flock(-1, LOCK_SH));
  FAILS(EBADF, flock(path_fd.get(), LOCK_SH));
  FAILS(EINVAL, flock(fd.get(), 0));
  FAILS(EINVAL, flock(fd.get(), LOCK_SH | LOCK_EX));
  FAILS(EINVAL, flock(fd.get(), LOCK_NB));
}

TEST_F(FlockPosix, BelongsToTheOpenFile) {
  MakeFile("file");
  MakeDirectory("dir");
  for (const char* const name : {"file", "dir"}) {
    const Parameter parameter(name);
    UniqueFd one = Open(name, O_RDONLY);
    const UniqueFd two = Open(name, O_RDONLY);
    OK(flock(one.get(), LOCK_SH));
    OK(flock(two.get(), LOCK_SH | LOCK_NB));
    FAILS(EWOULDBLOCK, flock(one.get(), LOCK_EX | LOCK_NB));
    OK(flock(two.get(), LOCK_UN));
    OK(flock(one.get(), LOCK_EX | LOCK_NB));
    FAILS(EWOULDBLOCK, flock(two.get(), LOCK_SH | LOCK_NB));
    FAILS(EWOULDBLOCK, flock(two.get(), LOCK_EX | LOCK_NB));
    // Another process with the same open file has the lock, too, and may give it up.
    OK_AS("flock", InChild([&]() -> long { return flock(one.get(), LOCK_EX | LOCK_NB); }));
    UniqueFd same(dup(one.get()));
    one.Reset();
    FAILS(EWOULDBLOCK, flock(two.get(), LOCK_SH | LOCK_NB));
    same.Reset();
    OK(flock(two.get(), LOCK_EX | LOCK_NB));
    // Goes when its only process dies.
    OK(flock(two.get(), LOCK_UN));
    OK_AS("flock", InChild([&]() -> long { return flock(open(Path(name), O_RDONLY), LOCK_EX); }));
    OK(flock(two.get(), LOCK_EX | LOCK_NB));
  }
}

}  // namespace
}  // namespace terracefs::posix
