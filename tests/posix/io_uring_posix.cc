#include <liburing.h>
#include <sys/uio.h>
#include <cstring>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class IoUringPosix : public PosixCase {};

// Asynchronous requests, direct and through the cache.
class Ring {
 public:
  Ring() { valid_ = io_uring_queue_init(64, &ring_, 0) == 0; }
  ~Ring() {
    if (valid_) io_uring_queue_exit(&ring_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  bool valid() const { return valid_; }
  io_uring_sqe* Next() { return io_uring_get_sqe(&ring_); }
  // Runs what was prepared; the results by user data.
  std::vector<int> Run(unsigned count) {
    std::vector<int> results(count, INT32_MIN);
    io_uring_submit_and_wait(&ring_, count);
    for (unsigned i = 0; i < count; ++i) {
      io_uring_cqe* answer = nullptr;
      if (io_uring_wait_cqe(&ring_, &answer) != 0) break;
      results[answer->user_data] = answer->res;
      io_uring_cqe_seen(&ring_, answer);
    }
    return results;
  }
  int One() { return Run(1)[0]; }

 private:
  io_uring ring_ = {};
  bool valid_ = false;
};

TEST_F(IoUringPosix, ManyRequestsAtOnce) {
  for (const int direct : {0, O_DIRECT}) {
    if (direct != 0 && OnTmpfs()) continue;
    const Parameter parameter(direct != 0 ? "direct" : "cached");
    Ring ring;
    if (!ring.valid()) GTEST_SKIP() << "no io_uring here";
    constexpr unsigned kCount = 32;
    constexpr size_t kBytes = 16384;
    const UniqueFd fd(OK(open(Path("file"), O_CREAT | O_TRUNC | O_RDWR | direct, 0600)));
    void* memory = nullptr;
    ASSERT_EQ(posix_memalign(&memory, 4096, kCount * kBytes), 0);
    char* const bytes = static_cast<char*>(memory);
    for (unsigned i = 0; i < kCount; ++i) {
      std::memset(bytes + i * kBytes, static_cast<int>('A' + i), kBytes);
      io_uring_sqe* const request = ring.Next();
      // Backwards, so that each one extends or fills.
      io_uring_prep_write(request, fd.get(), bytes + i * kBytes, kBytes, (kCount - 1 - i) * kBytes);
      request->user_data = i;
    }
    SAME("io_uring write", std::vector<int>(kCount, kBytes), ring.Run(kCount));
    SAME("io_uring write", static_cast<off_t>(kCount * kBytes), Stat("file").st_size);
    std::memset(bytes, 0, kCount * kBytes);
    for (unsigned i = 0; i < kCount; ++i) {
      io_uring_sqe* const request = ring.Next();
      io_uring_prep_read(request, fd.get(), bytes + i * kBytes, kBytes, i * kBytes);
      request->user_data = i;
    }
    SAME("io_uring read", std::vector<int>(kCount, kBytes), ring.Run(kCount));
    size_t good = 0;
    for (unsigned i = 0; i < kCount; ++i) {
      const std::string expected(kBytes, static_cast<char>('A' + kCount - 1 - i));
      good += std::memcmp(bytes + i * kBytes, expected.data(), kBytes) == 0 ? 1 : 0;
    }
    SAME("io_uring read", size_t{kCount}, good);
    io_uring_sqe* request = ring.Next();
    io_uring_prep_fsync(request, fd.get(), IORING_FSYNC_DATASYNC);
    request->user_data = 0;
    SAME("io_uring fsync", 0, ring.One());
    request = ring.Next();
    io_uring_prep_read(request, fd.get(), bytes, kBytes, kCount * kBytes);
    request->user_data = 0;
    SAME("io_uring read", 0, ring.One());
    free(memory);
  }
}

TEST_F(IoUringPosix, ErrorsComeAsResults) {
  Ring ring;
  if (!ring.valid()) GTEST_SKIP() << "no io_uring here";
  MakeFile("file", "content");
  MakeDirectory("dir");
  const UniqueFd in = Open("file", O_RDONLY);
  const UniqueFd dir = Open("dir", O_RDONLY);
  char buffer[64];
  const auto result = [&](const std::function<void(io_uring_sqe*)>& prepare) -> long {
    io_uring_sqe* const request = ring.Next();
    prepare(request);
    request->user_data = 0;
    const int got = ring.One();
    if (got < 0) errno = -got;
    return got < 0 ? -1 : got;
  };
  FAILS_AS("io_uring write", EBADF,
           result([&](io_uring_sqe* r) { io_uring_prep_write(r, in.get(), buffer, 1, 0); }));
  FAILS_AS("io_uring read", EBADF,
           result([&](io_uring_sqe* r) { io_uring_prep_read(r, -1, buffer, 1, 0); }));
  FAILS_AS("io_uring read", EISDIR,
           result([&](io_uring_sqe* r) { io_uring_prep_read(r, dir.get(), buffer, 1, 0); }));
  FAILS_AS("io_uring read", EFAULT,
           result([&](io_uring_sqe* r) { io_uring_prep_read(r, in.get(), Bad(), 5, 0); }));
  FAILS_AS("io_uring openat", ENOENT, result([&](io_uring_sqe* r) {
             io_uring_prep_openat(r, AT_FDCWD, Path("missing"), O_RDONLY, 0);
           }));
  FAILS_AS("io_uring openat", EEXIST, result([&](io_uring_sqe* r) {
             io_uring_prep_openat(r, AT_FDCWD, Path("file"), O_CREAT | O_EXCL | O_RDWR, 0600);
           }));
  FAILS_AS("io_uring mkdirat", EEXIST,
           result([&](io_uring_sqe* r) { io_uring_prep_mkdirat(r, AT_FDCWD, Path("dir"), 0700); }));
  FAILS_AS("io_uring unlinkat", EISDIR,
           result([&](io_uring_sqe* r) { io_uring_prep_unlinkat(r, AT_FDCWD, Path("dir"), 0); }));
  FAILS_AS("io_uring renameat", ENOENT, result([&](io_uring_sqe* r) {
             io_uring_prep_renameat(r, AT_FDCWD, Path("missing"), AT_FDCWD, Path("x"), 0);
           }));
  OK_AS("io_uring mkdirat",
        result([&](io_uring_sqe* r) { io_uring_prep_mkdirat(r, AT_FDCWD, Path("made"), 0700); }));
  OK_AS("io_uring renameat", result([&](io_uring_sqe* r) {
          io_uring_prep_renameat(r, AT_FDCWD, Path("made"), AT_FDCWD, Path("moved"), 0);
        }));
  OK_AS("io_uring unlinkat", result([&](io_uring_sqe* r) {
          io_uring_prep_unlinkat(r, AT_FDCWD, Path("moved"), AT_REMOVEDIR);
        }));
  SAME("io_uring read", 7,
       result([&](io_uring_sqe* r) { io_uring_prep_read(r, in.get(), buffer, sizeof buffer, 0); }));
}

}  // namespace
}  // namespace terracefs::posix
