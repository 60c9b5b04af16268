#include <sys/wait.h>
#include <csignal>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class FcntlPosix : public PosixCase {};

struct flock Lock(short type, off_t start, off_t length) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return lock;
}

int SetLock(int fd, short type, off_t start, off_t length, int command = F_SETLK) {
  struct flock lock = Lock(type, start, length);
  return fcntl(fd, command, &lock);
}

TEST_F(FcntlPosix, Errors) {
  MakeFile("file");
  const UniqueFd in = Open("file", O_RDONLY);
  const UniqueFd out = Open("file", O_WRONLY);
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, fcntl(-1, F_GETFL));
  FAILS(EINVAL, fcntl(in.get(), 123'456));
  FAILS_AS("fcntl", EBADF, SetLock(-1, F_RDLCK, 0, 1));
  FAILS_AS("fcntl", EBADF, SetLock(in.get(), F_WRLCK, 0, 1));
  FAILS_AS("fcntl", EBADF, SetLock(out.get(), F_RDLCK, 0, 1));
  FAILS_AS("fcntl", EBADF, SetLock(path_fd.get(), F_RDLCK, 0, 1));
  FAILS_AS("fcntl", EINVAL, SetLock(in.get(), 77, 0, 1));
  FAILS_AS("fcntl", EINVAL, SetLock(in.get(), F_RDLCK, -1, 1));
  FAILS_AS("fcntl", EINVAL, SetLock(in.get(), F_RDLCK, 0, -1));
  FAILS_AS("fcntl", EOVERFLOW, SetLock(in.get(), F_RDLCK, INT64_MAX, 2));
  FAILS(EFAULT, fcntl(in.get(), F_SETLK, Bad()));
  FAILS(EINVAL, fcntl(in.get(), F_DUPFD, -1));
  FAILS(ENOTDIR, fcntl(in.get(), F_NOTIFY, 1));
  struct flock strange = Lock(F_RDLCK, 0, 1);
  strange.l_whence = 9;
  FAILS(EINVAL, fcntl(in.get(), F_SETLK, &strange));
  strange = Lock(F_RDLCK, 0, 1);
  strange.l_pid = 1;
  FAILS(EINVAL, fcntl(in.get(), F_OFD_SETLK, &strange));
  strange = Lock(F_UNLCK, 0, 1);
  FAILS(EINVAL, fcntl(in.get(), F_GETLK, &strange));
}

TEST_F(FcntlPosix, OtherProcessesAreKeptOut) {
  MakeFile("file", std::string(1000, 'x'));
  const UniqueFd fd = Open("file", O_RDWR);
  const auto other = [&](short type, off_t start, off_t length) {
    return InChild([&]() -> long { return SetLock(fd.get(), type, start, length); });
  };
  OK_AS("fcntl", SetLock(fd.get(), F_WRLCK, 100, 100));
  FAILS_AS("fcntl", EAGAIN, other(F_RDLCK, 100, 1));
  FAILS_AS("fcntl", EAGAIN, other(F_WRLCK, 199, 1));
  FAILS_AS("fcntl", EAGAIN, other(F_RDLCK, 0, 0));
  FAILS_AS("fcntl", EAGAIN, other(F_WRLCK, 0, 101));
  OK_AS("fcntl", other(F_WRLCK, 0, 100));
  OK_AS("fcntl", other(F_WRLCK, 200, 0));
  OK_AS("fcntl", SetLock(fd.get(), F_RDLCK, 100, 50));
  OK_AS("fcntl", other(F_RDLCK, 100, 50));
  FAILS_AS("fcntl", EAGAIN, other(F_WRLCK, 100, 50));
  OK_AS("fcntl", SetLock(fd.get(), F_UNLCK, 120, 10));
  OK_AS("fcntl", other(F_WRLCK, 120, 10));
  FAILS_AS("fcntl", EAGAIN, other(F_WRLCK, 119, 1));
  FAILS_AS("fcntl", EAGAIN, other(F_WRLCK, 130, 1));
  // Who is in the way.
  SAME("fcntl", getpid(), static_cast<pid_t>(InChild([&]() -> long {
         struct flock lock = Lock(F_WRLCK, 0, 0);
         return fcntl(fd.get(), F_GETLK, &lock) == 0 && lock.l_type == F_RDLCK &&
                        lock.l_start == 100 && lock.l_len == 20
                    ? lock.l_pid
                    : -1;
       })));
  struct flock mine = Lock(F_WRLCK, 0, 0);
  OK(fcntl(fd.get(), F_GETLK, &mine));
  SAME("fcntl", F_UNLCK, mine.l_type);  // one's own are not
}

TEST_F(FcntlPosix, ClosingAnyDescriptorGivesLocksUp) {
  MakeFile("file");
  const UniqueFd fd = Open("file", O_RDWR);
  OK_AS("fcntl", SetLock(fd.get(), F_WRLCK, 0, 0));
  const auto other = [&] {
    return InChild([&]() -> long { return SetLock(fd.get(), F_WRLCK, 0, 0); });
  };
  FAILS_AS("fcntl", EAGAIN, other());
  { const UniqueFd closed = Open("file", O_RDONLY); }
  OK_AS("fcntl", other());
  OK_AS("fcntl", SetLock(fd.get(), F_WRLCK, 0, 0));  // the child's went when it died
}

TEST_F(FcntlPosix, KilledProcessesLoseTheirs) {
  MakeFile("file");
  const UniqueFd fd = Open("file", O_RDWR);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    SetLock(fd.get(), F_WRLCK, 0, 10);
    [[maybe_unused]] const ssize_t said = write(ready[1], "x", 1);
    while (true) pause();
  }
  char c = 0;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  FAILS_AS("fcntl", EAGAIN, SetLock(fd.get(), F_WRLCK, 0, 1));
  kill(child, SIGKILL);
  // Waits until the lock is free.
  OK_AS("fcntl", SetLock(fd.get(), F_WRLCK, 0, 1, F_SETLKW));
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
}

TEST_F(FcntlPosix, DeadlocksAreFound) {
  MakeFile("file");
  const UniqueFd fd = Open("file", O_RDWR);
  OK_AS("fcntl", SetLock(fd.get(), F_WRLCK, 0, 1));
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    SetLock(fd.get(), F_WRLCK, 1, 1);
    [[maybe_unused]] const ssize_t said = write(ready[1], "x", 1);
    SetLock(fd.get(), F_WRLCK, 0, 1, F_SETLKW);
    _exit(0);
  }
  char c = 0;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  // The child waits for us, or will: then it is the one who is told.
  usleep(20'000);
  FAILS_AS("fcntl", EDEADLK, SetLock(fd.get(), F_WRLCK, 1, 1, F_SETLKW));
  OK_AS("fcntl", SetLock(fd.get(), F_UNLCK, 0, 0));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  close(ready[0]);
  close(ready[1]);
}

TEST_F(FcntlPosix, LocksOfOpenFiles) {
  MakeFile("file");
  UniqueFd one = Open("file", O_RDWR);
  const UniqueFd two = Open("file", O_RDWR);
  OK_AS("fcntl", SetLock(one.get(), F_WRLCK, 0, 10, F_OFD_SETLK));
  FAILS_AS("fcntl", EAGAIN, SetLock(two.get(), F_RDLCK, 5, 1, F_OFD_SETLK));
  FAILS_AS("fcntl", EAGAIN, SetLock(two.get(), F_WRLCK, 5, 1, F_SETLK));
  OK_AS("fcntl", SetLock(two.get(), F_WRLCK, 10, 1, F_OFD_SETLK));
  struct flock lock = Lock(F_WRLCK, 0, 0);
  OK(fcntl(two.get(), F_OFD_GETLK, &lock));
  SAME("fcntl", -1, lock.l_pid);
  SAME("fcntl", 10, lock.l_len);
  { const UniqueFd closed = Open("file", O_RDWR); }
  FAILS_AS("fcntl", EAGAIN, SetLock(two.get(), F_WRLCK, 5, 1, F_OFD_SETLK));
  one.Reset();
  OK_AS("fcntl", SetLock(two.get(), F_WRLCK, 5, 1, F_OFD_SETLK));
}

TEST_F(FcntlPosix, FlagsAndLeases) {
  MakeFile("file");
  const UniqueFd fd = Open("file", O_RDWR);
  OK(fcntl(fd.get(), F_SETFL, O_APPEND | O_NONBLOCK));
  SAME("fcntl", O_APPEND | O_NONBLOCK, fcntl(fd.get(), F_GETFL) & (O_APPEND | O_NONBLOCK));
  SAME("write", 2, write(fd.get(), "yz", 2));
  SAME("fcntl", "xyz", Content("file"));
  OK(fcntl(fd.get(), F_SETFL, 0));
  SAME("write", 1, write(fd.get(), "!", 1));
  SAME("fcntl", "xyz!", Content("file"));
  AsUser(kAlice, [&] { FAILS(EPERM, fcntl(fd.get(), F_SETFL, O_NOATIME)); });
}

}  // namespace
}  // namespace terracefs::posix
