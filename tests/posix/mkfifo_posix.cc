#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class MkfifoPosix : public PosixCase {};

TEST_F(MkfifoPosix, Errors) {
  const auto make = [](const char* path) { return mkfifo(path, 0666); };
  CheckPathErrors({.name = "mkfifo", .call = make, .makes = true});
  CheckAtErrors("mkfifoat", [](int at, const char* path) { return mkfifoat(at, path, 0666); });
  CheckMaking("mkfifo", make);
}

TEST_F(MkfifoPosix, WhatIsWrittenIsRead) {
  OK(mkfifo(Path("fifo"), 0640));
  SAME("mkfifo", S_IFIFO | 0640u, Stat("fifo").st_mode);
  FAILS(ENXIO, open(Path("fifo"), O_WRONLY | O_NONBLOCK));
  const UniqueFd in(OK(open(Path("fifo"), O_RDONLY | O_NONBLOCK)));
  char c = 0;
  SAME("read", 0, read(in.get(), &c, 1));
  UniqueFd out(OK(open(Path("fifo"), O_WRONLY | O_NONBLOCK)));
  FAILS(EAGAIN, read(in.get(), &c, 1));
  OK(write(out.get(), "x", 1));
  SAME("read", 1, read(in.get(), &c, 1));
  SAME("read", 'x', c);
  SAME("mkfifo", 0, Stat("fifo").st_size);
  FAILS(ESPIPE, lseek(in.get(), 0, SEEK_CUR));
  FAILS(EINVAL, ftruncate(out.get(), 0));
  FAILS(EINVAL, truncate(Path("fifo"), 0));
  OK(unlink(Path("fifo")));
  OK(write(out.get(), "y", 1));
  SAME("read", 1, read(in.get(), &c, 1));
  AsUser(kAlice, [&] {
    OK(mkfifo(Path("alices"), 0600));
    FAILS(ENXIO, open(Path("alices"), O_WRONLY | O_NONBLOCK));
  });
  AsUser(kBob, [&] { FAILS(EACCES, open(Path("alices"), O_RDONLY | O_NONBLOCK)); });
}

}  // namespace
}  // namespace terracefs::posix
