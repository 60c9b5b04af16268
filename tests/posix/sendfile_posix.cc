#include <sys/sendfile.h>
#include <sys/socket.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class SendfilePosix : public PosixCase {};

TEST_F(SendfilePosix, Errors) {
  MakeFile("from", "0123456789");
  const UniqueFd in = Open("from", O_RDONLY);
  const UniqueFd out = Open("to", O_CREAT | O_RDWR);
  const UniqueFd append = Open("to", O_WRONLY | O_APPEND);
  off_t negative = -1;
  FAILS(EBADF, sendfile(-1, in.get(), nullptr, 1));
  FAILS(EBADF, sendfile(out.get(), -1, nullptr, 1));
  FAILS(EBADF, sendfile(in.get(), in.get(), nullptr, 1));
  FAILS(EBADF, sendfile(out.get(), append.get(), nullptr, 1));
  FAILS(EINVAL, sendfile(append.get(), in.get(), nullptr, 1));
  FAILS(EINVAL, sendfile(out.get(), in.get(), &negative, 1));
  FAILS(EFAULT, sendfile(out.get(), in.get(), Bad<off_t>(), 1));
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
  FAILS(EINVAL, sendfile(out.get(), ends[0], nullptr, 1));
  off_t at = 0;
  while (sendfile(ends[0], in.get(), &(at = 0), 10) > 0) {
  }
  FAILS(EAGAIN, sendfile(ends[0], in.get(), &at, 10));
  close(ends[0]);
  close(ends[1]);
}

TEST_F(SendfilePosix, SendsToSocketsAndFiles) {
  const std::string data(200'000, 's');
  MakeFile("from", data);
  const UniqueFd in = Open("from", O_RDONLY);
  const UniqueFd out = Open("to", O_CREAT | O_RDWR);
  SAME("sendfile", 200'000, sendfile(out.get(), in.get(), nullptr, 300'000));
  SAME("sendfile", true, data == Content("to"));
  SAME("sendfile", 200'000, lseek(in.get(), 0, SEEK_CUR));
  off_t at = 199'990;
  SAME("sendfile", 10, sendfile(out.get(), in.get(), &at, 100));
  SAME("sendfile", 200'000, at);
  SAME("sendfile", 0, sendfile(out.get(), in.get(), &at, 100));
  SAME("sendfile", 200'010, Stat("to").st_size);
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  at = 5;
  SAME("sendfile", 7, sendfile(ends[0], in.get(), &at, 7));
  char buffer[16] = {};
  SAME("sendfile", 7, read(ends[1], buffer, sizeof buffer));
  SAME("sendfile", std::string("sssssss"), std::string(buffer));
  close(ends[0]);
  close(ends[1]);
}

TEST_F(SendfilePosix, SplicesThroughPipes) {
  MakeFile("from", "0123456789");
  const UniqueFd in = Open("from", O_RDONLY);
  const UniqueFd out = Open("to", O_CREAT | O_RDWR);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
  FAILS(EINVAL, splice(in.get(), nullptr, out.get(), nullptr, 1, 0));
  FAILS(EBADF, splice(-1, nullptr, ends[1], nullptr, 1, 0));
  loff_t at = 2;
  FAILS(ESPIPE, splice(ends[0], &at, out.get(), nullptr, 1, 0));
  FAILS(EAGAIN, splice(ends[0], nullptr, out.get(), nullptr, 1, SPLICE_F_NONBLOCK));
  SAME("splice", 5, splice(in.get(), &at, ends[1], nullptr, 5, 0));
  SAME("splice", 5, splice(ends[0], nullptr, out.get(), nullptr, 100, 0));
  SAME("splice", "23456", Content("to"));
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace terracefs::posix
