#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class StatfsPosix : public PosixCase {};

TEST_F(StatfsPosix, Errors) {
  static struct statfs info;
  CheckPathErrors({.name = "statfs", .call = [](const char* path) { return statfs(path, &info); }});
  MakeFile("file");
  const UniqueFd fd = Open("file", O_RDONLY);
  FAILS(EBADF, fstatfs(-1, &info));
  FAILS(EFAULT, fstatfs(fd.get(), Bad<struct statfs>()));
  FAILS(EFAULT, statfs(Path("file"), Bad<struct statfs>()));
  struct statvfs portable {};
  FAILS(EBADF, fstatvfs(-1, &portable));
  FAILS(ENOENT, statvfs(Path("missing"), &portable));
}

TEST_F(StatfsPosix, NumbersMakeSense) {
  MakeFile("file");
  const UniqueFd fd = Open("file", O_RDONLY);
  struct statfs by_path {};
  struct statfs by_descriptor {};
  OK(statfs(Path("file"), &by_path));
  OK(fstatfs(fd.get(), &by_descriptor));
  SAME("statfs", by_path.f_type, by_descriptor.f_type);
  SAME("statfs", by_path.f_blocks, by_descriptor.f_blocks);
  SAME("statfs", 255, by_path.f_namelen);
  SAME("statfs", true, by_path.f_blocks > 0);
  SAME("statfs", true, by_path.f_bfree <= by_path.f_blocks);
  SAME("statfs", true, by_path.f_bavail <= by_path.f_bfree);
  SAME("statfs", true, by_path.f_ffree <= by_path.f_files);
  SAME("statfs", true, by_path.f_ffree > 0);
  SAME("statfs", true, by_path.f_frsize > 0 && by_path.f_bsize > 0);
  struct statvfs portable {};
  OK(statvfs(Path(""), &portable));
  SAME("statvfs", static_cast<unsigned long>(by_path.f_blocks), portable.f_blocks);
  SAME("statvfs", 255u, portable.f_namemax);
  SAME("statvfs", 0u, portable.f_flag & ST_RDONLY);
}

}  // namespace
}  // namespace terracefs::posix
