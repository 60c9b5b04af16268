#include <sys/statvfs.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class SpacePosix : public PosixCase {};

constexpr size_t kChunk = 256 << 10;

// A filesystem that is full says so, keeps what it has and takes more once something is removed.
TEST_F(SpacePosix, AFullFilesystemSaysSo) {
  const std::string root = SmallFilesystem();
  if (root.empty()) GTEST_SKIP() << "no small filesystem of this kind";
  const auto at = [&](const std::string& name) { return Keep(root + "/" + name); };
  MakeFile("copy", "x");
  std::string data(kChunk, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 131 + i / 251);
  const UniqueFd fd(OK(open(at("large"), O_CREAT | O_RDWR, 0644)));
  off_t size = 0;
  ssize_t written = 0;
  int error = 0;
  // With a write-back cache the room may only be missed when the pages are written.
  while (size < off_t{64} << 20) {
    errno = 0;
    written = pwrite(fd.get(), data.data(), data.size(), size);
    if (written < 0 || fsync(fd.get()) != 0) {
      error = errno;
      break;
    }
    size += written;
    if (static_cast<size_t>(written) < data.size()) continue;
  }
  SAME("write", ENOSPC, error);
  SAME("write", true, size > off_t{1} << 20);
  if (!OnWriteback()) {
    FAILS(ENOSPC, pwrite(fd.get(), data.data(), data.size(), off_t{32} << 20));
  }
  const auto whole = static_cast<size_t>(size) / kChunk;
  std::string back(kChunk, '\0');
  size_t good = 0;
  for (size_t i = 0; i < whole; ++i) {
    if (pread(fd.get(), back.data(), kChunk, static_cast<off_t>(i * kChunk)) ==
            static_cast<ssize_t>(kChunk) &&
        back == data) {
      ++good;
    }
  }
  SAME("write", whole, good);
  FAILS(ENOSPC, fallocate(fd.get(), 0, size, off_t{64} << 20));
  SAME("fallocate", ENOSPC, posix_fallocate(fd.get(), size, off_t{64} << 20));
  struct statvfs info {};
  OK(statvfs(root.c_str(), &info));
  SAME("statvfs", true, info.f_bavail * info.f_frsize < kChunk * 8);
  OK(ftruncate(fd.get(), static_cast<off_t>(kChunk)));
  // Pages for which there was no room are told of once more.
  if (OnWriteback()) static_cast<void>(fsync(fd.get()));
  OK(fsync(fd.get()));
  SAME("pread", static_cast<ssize_t>(kChunk), pread(fd.get(), back.data(), kChunk, 0));
  SAME("pread", true, back == data);
  const UniqueFd again(OK(open(at("again"), O_CREAT | O_RDWR, 0644)));
  SAME("write", static_cast<ssize_t>(kChunk), write(again.get(), data.data(), data.size()));
  OK(fsync(again.get()));
  OK(unlink(at("large")));
  OK(unlink(at("again")));
}

}  // namespace
}  // namespace terracefs::posix
