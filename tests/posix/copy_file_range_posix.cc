#include <sys/resource.h>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class CopyFileRangePosix : public PosixCase {};

TEST_F(CopyFileRangePosix, Errors) {
  MakeFile("from", "0123456789");
  MakeFile("to", "");
  MakeDirectory("dir");
  const UniqueFd in = Open("from", O_RDONLY);
  const UniqueFd in_out = Open("from", O_RDWR);
  const UniqueFd out = Open("to", O_WRONLY);
  const UniqueFd append = Open("to", O_WRONLY | O_APPEND);
  const UniqueFd dir = Open("dir", O_RDONLY);
  off64_t at = 0;
  off64_t negative = -1;
  off64_t inside = 5;
  FAILS(EBADF, copy_file_range(-1, nullptr, out.get(), nullptr, 1, 0));
  FAILS(EBADF, copy_file_range(in.get(), nullptr, -1, nullptr, 1, 0));
  FAILS(EBADF, copy_file_range(out.get(), nullptr, out.get(), nullptr, 1, 0));
  FAILS(EBADF, copy_file_range(in.get(), nullptr, in.get(), nullptr, 1, 0));
  FAILS(EBADF, copy_file_range(in.get(), nullptr, append.get(), nullptr, 1, 0));
  FAILS(EISDIR, copy_file_range(dir.get(), nullptr, out.get(), nullptr, 1, 0));
  FAILS(EISDIR, copy_file_range(in.get(), nullptr, dir.get(), nullptr, 1, 0));
  FAILS(EINVAL, copy_file_range(in.get(), nullptr, out.get(), nullptr, 1, 1));
  FAILS(EOVERFLOW, copy_file_range(in.get(), &negative, out.get(), nullptr, 1, 0));
  FAILS(EOVERFLOW, copy_file_range(in.get(), nullptr, out.get(), &negative, 1, 0));
  FAILS(EINVAL, copy_file_range(in_out.get(), &at, in_out.get(), &inside, 10, 0));
  FAILS(EFAULT, copy_file_range(in.get(), Bad<off64_t>(), out.get(), nullptr, 1, 0));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  FAILS(EINVAL, copy_file_range(ends[0], nullptr, out.get(), nullptr, 1, 0));
  FAILS(EINVAL, copy_file_range(in.get(), nullptr, ends[1], nullptr, 1, 0));
  close(ends[0]);
  close(ends[1]);
  off64_t far = INT64_MAX - 3;
  if (OnExt4()) FAILS(EFBIG, copy_file_range(in.get(), nullptr, out.get(), &far, 10, 0));
  FAILS_AS("copy_file_range", EFBIG, InChild([&]() -> long {
             const struct rlimit limit = {100, 100};
             setrlimit(RLIMIT_FSIZE, &limit);
             off64_t behind = 100;
             return copy_file_range(in.get(), nullptr, out.get(), &behind, 5, 0);
           }));
  SAME("copy_file_range", "", Content("to"));
}

TEST_F(CopyFileRangePosix, CopiesWhatItSays) {
  std::string data(300'000, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 + i / 4096);
  MakeFile("from", data);
  const UniqueFd in = Open("from", O_RDONLY);
  for (const off64_t from : {0, 1, 4096, 100'000, 299'999}) {
    for (const off64_t to : {0, 1, 4096, 50'001}) {
      for (const size_t bytes : {size_t{1}, size_t{4096}, size_t{100'000}, size_t{1'000'000}}) {
        const Parameter parameter(std::to_string(bytes) + " from " + std::to_string(from) + " to " +
                                  std::to_string(to));
        MakeFile("to", std::string(60'000, '#'));
        const UniqueFd out = Open("to", O_RDWR);
        off64_t source = from;
        off64_t target = to;
        const std::string part = data.substr(static_cast<size_t>(from), bytes);
        size_t done = 0;
        while (done < part.size()) {
          const ssize_t copied =
              OK(copy_file_range(in.get(), &source, out.get(), &target, bytes - done, 0));
          if (copied <= 0) break;
          done += static_cast<size_t>(copied);
        }
        SAME("copy_file_range", part.size(), done);
        SAME("copy_file_range", from + static_cast<off64_t>(done), source);
        SAME("copy_file_range", to + static_cast<off64_t>(done), target);
        std::string expected(60'000, '#');
        if (expected.size() < static_cast<size_t>(to) + part.size()) {
          expected.resize(static_cast<size_t>(to) + part.size());
        }
        expected.replace(static_cast<size_t>(to), part.size(), part);
        SAME("copy_file_range", true, expected == Content("to"));
      }
    }
  }
}

TEST_F(CopyFileRangePosix, OffsetsOfTheFilesMove) {
  MakeFile("from", "0123456789");
  const UniqueFd in = Open("from", O_RDONLY);
  const UniqueFd out = Open("to", O_RDWR | O_CREAT);
  SAME("copy_file_range", 4, copy_file_range(in.get(), nullptr, out.get(), nullptr, 4, 0));
  SAME("copy_file_range", 4, lseek(in.get(), 0, SEEK_CUR));
  SAME("copy_file_range", 4, lseek(out.get(), 0, SEEK_CUR));
  SAME("copy_file_range", 6, copy_file_range(in.get(), nullptr, out.get(), nullptr, 100, 0));
  SAME("copy_file_range", 0, copy_file_range(in.get(), nullptr, out.get(), nullptr, 100, 0));
  SAME("copy_file_range", 0, copy_file_range(in.get(), nullptr, out.get(), nullptr, 0, 0));
  SAME("copy_file_range", "0123456789", Content("to"));
}

TEST_F(CopyFileRangePosix, WithinOneFileAndOfDirtyPages) {
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  ASSERT_EQ(write(fd.get(), std::string(10'000, 'a').data(), 10'000), 10'000);
  off64_t source = 0;
  off64_t target = 10'000;
  SAME("copy_file_range", 10'000, copy_file_range(fd.get(), &source, fd.get(), &target, 10'000, 0));
  SAME("copy_file_range", std::string(20'000, 'a'), Content("file"));
  ASSERT_EQ(pwrite(fd.get(), "b", 1, 0), 1);
  source = 0;
  target = 19'999;
  SAME("copy_file_range", 1, copy_file_range(fd.get(), &source, fd.get(), &target, 1, 0));
  char c = 0;
  SAME("copy_file_range", 1, pread(fd.get(), &c, 1, 19'999));
  SAME("copy_file_range", 'b', c);
}

TEST_F(CopyFileRangePosix, TimesAndPrivileges) {
  MakeFile("from", "0123456789");
  MakeFile("to", "0123456789");
  const UniqueFd in = Open("from", O_RDONLY);
  const UniqueFd out = Open("to", O_RDWR);
  off64_t source = 0;
  off64_t target = 0;
  CheckTimes("copy_file_range", {{"to", "mc"}},
             [&] { OK(copy_file_range(in.get(), &source, out.get(), &target, 5, 0)); });
  Give("to", kAlice);
  ASSERT_EQ(chmod(Path("to"), 06777), 0);
  AsUser(kAlice, [&] {
    const UniqueFd mine = Open("to", O_RDWR);
    source = target = 0;
    OK(copy_file_range(in.get(), &source, mine.get(), &target, 5, 0));
  });
  SAME("copy_file_range", 0777u, Mode("to"));
}

}  // namespace
}  // namespace terracefs::posix
