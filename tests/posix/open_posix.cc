#include <linux/openat2.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <algorithm>
#include <csignal>
#include <cstring>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class OpenPosix : public PosixCase {};

int openat2(int at, const char* path, const open_how& how, size_t size = sizeof(open_how)) {
  return static_cast<int>(syscall(SYS_openat2, at, path, &how, size));
}

int Closed(int fd) {
  if (fd >= 0) close(fd);
  return fd;
}

TEST_F(OpenPosix, Errors) {
  const auto look = [](const char* path) { return Closed(open(path, O_RDONLY)); };
  const auto look_at = [](const char* path) { return Closed(openat(AT_FDCWD, path, O_RDONLY)); };
  const auto directory_only = [](const char* path) {
    return Closed(openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  };
  const auto path_only = [](const char* path) { return Closed(open(path, O_PATH)); };
  const auto path_of_link = [](const char* path) {
    return Closed(openat(AT_FDCWD, path, O_PATH | O_NOFOLLOW));
  };
  const auto make = [](const char* path) {
    return Closed(open(path, O_CREAT | O_EXCL | O_RDWR, 0666));
  };
  const auto make_at = [](const char* path) {
    return Closed(openat(AT_FDCWD, path, O_CREAT | O_EXCL | O_WRONLY, 0666));
  };
  CheckPathErrors({.name = "open", .call = look});
  {
    const Parameter parameter("O_DIRECTORY");
    CheckPathErrors({.name = "openat", .call = directory_only, .directory = true});
  }
  CheckPathErrors({.name = "openat", .call = look_at});
  {
    const Parameter parameter("O_PATH");
    CheckPathErrors({.name = "open", .call = path_only});
    CheckPathErrors({.name = "openat", .call = path_of_link, .follows = false});
  }
  const Parameter parameter("O_EXCL");
  CheckPathErrors({.name = "open", .call = make, .makes = true});
  CheckAtErrors("openat", [](int at, const char* path) {
    return Closed(openat(at, path, O_CREAT | O_EXCL | O_RDWR, 0666));
  });
  CheckMaking("open", make);
  CheckMaking("openat", make_at);
}

TEST_F(OpenPosix, ErrorsOfFlagsAndTypes) {
  MakeFile("file");
  MakeDirectory("dir");
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  ASSERT_EQ(symlink("dir", Path("to_dir")), 0);
  ASSERT_EQ(symlink("gone", Path("dangling")), 0);
  FAILS(ENOENT, open(Path("missing"), O_RDONLY));
  FAILS(ENOENT, open(Path("missing/x"), O_CREAT | O_RDWR, 0600));
  FAILS(ENOTDIR, open(Path("file/x"), O_CREAT | O_RDWR, 0600));
  FAILS(EEXIST, open(Path("file"), O_CREAT | O_EXCL | O_RDWR, 0600));
  FAILS(EEXIST, open(Path("dangling"), O_CREAT | O_EXCL | O_RDWR, 0600));
  for (const char* const name : {"dir", "", "to_dir", "dir/."}) {
    const Parameter parameter(name);
    FAILS(EISDIR, open(Path(name), O_RDWR));
    FAILS(EISDIR, open(Path(name), O_WRONLY));
    FAILS(EISDIR, open(Path(name), O_RDONLY | O_CREAT, 0600));
    FAILS(EISDIR, open(Path(name), O_RDONLY | O_TRUNC));
    FAILS(EISDIR, open(Path(name), O_WRONLY | O_DIRECTORY));
  }
  FAILS(EISDIR, open(Path("new/"), O_CREAT | O_RDWR, 0600));
  FAILS(EISDIR, open(Path("file/"), O_CREAT | O_RDWR, 0600));
  FAILS(ENOTDIR, open(Path("file"), O_RDONLY | O_DIRECTORY));
  FAILS(ENOTDIR, open(Path("soft"), O_RDONLY | O_DIRECTORY));
  FAILS(ENOTDIR, open(Path("file"), O_PATH | O_DIRECTORY));
  FAILS(EINVAL, open(Path("new"), O_CREAT | O_DIRECTORY | O_RDONLY, 0600));
  FAILS(ELOOP, open(Path("soft"), O_RDONLY | O_NOFOLLOW));
  FAILS(ELOOP, open(Path("soft"), O_RDWR | O_NOFOLLOW));
  FAILS(ELOOP, open(Path("dangling"), O_CREAT | O_RDWR | O_NOFOLLOW, 0600));
  FAILS(ENOTDIR, open(Path("to_dir"), O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
  OK_AS("open", Closed(open(Path("to_dir/."), O_RDONLY | O_NOFOLLOW | O_DIRECTORY)));
  OK_AS("open", Closed(open(Path("soft"), O_PATH | O_NOFOLLOW)));
  FAILS(ENOENT, access(Path("new"), F_OK));
  OK_AS("open", Closed(open(Path(std::string(255, 'n')), O_CREAT | O_RDWR, 0600)));
  FAILS(ENAMETOOLONG, open(Path(std::string(256, 'n')), O_CREAT | O_RDWR, 0600));
  OK_AS("open", Closed(open(Path("dangling"), O_CREAT | O_RDWR, 0600)));
  OK(access(Path("gone"), F_OK));
}

TEST_F(OpenPosix, DescriptorsRunOut) {
  MakeFile("file");
  // EMFILE comes before anything is made.
  FAILS_AS("open", EMFILE, InChild([&]() -> long {
             const struct rlimit limit = {3, 3};
             setrlimit(RLIMIT_NOFILE, &limit);
             close(3);
             return open(Path("file"), O_RDONLY);
           }));
  FAILS_AS("open", EMFILE, InChild([&]() -> long {
             const struct rlimit limit = {3, 3};
             setrlimit(RLIMIT_NOFILE, &limit);
             return open(Path("new"), O_CREAT | O_RDWR, 0600);
           }));
  FAILS(ENOENT, access(Path("new"), F_OK));
}

TEST_F(OpenPosix, Permissions) {
  struct Case {
    mode_t mode;
    int read;
    int write;
  };
  for (const Case& c :
       {Case{0600, EACCES, EACCES}, Case{0604, 0, EACCES}, Case{0602, EACCES, 0}, Case{0606, 0, 0},
        Case{0660, EACCES, EACCES}, Case{0, EACCES, EACCES}, Case{0771, EACCES, EACCES}}) {
    const Parameter parameter("mode " + std::to_string(c.mode));
    MakeFile("file");
    ASSERT_EQ(chmod(Path("file"), c.mode), 0);
    const auto check = [&](int flags, int expected) {
      const Parameter how("flags " + std::to_string(flags));
      if (expected == 0) {
        OK_AS("open", Closed(open(Path("file"), flags)));
      } else {
        FAILS(expected, open(Path("file"), flags));
      }
    };
    AsUser(kBob, [&] {
      check(O_RDONLY, c.read);
      check(O_WRONLY, c.write);
      check(O_RDWR, std::max(c.read, c.write));
      check(O_WRONLY | O_TRUNC, c.write);
      check(O_WRONLY | O_APPEND, c.write);
      check(O_RDONLY | O_TRUNC, std::max(c.read, c.write));
      check(O_RDONLY | O_CREAT, c.read);
      check(O_PATH, 0);
    });
    check(O_RDWR, 0);  // root
    // The owner's and the group's bits alone count for them.
    ASSERT_EQ(chown(Path("file"), kAlice.uid, kTeam), 0);
    ASSERT_EQ(chmod(Path("file"), 0046), 0);
    AsUser(kAlice, [&] { check(O_RDONLY, EACCES); });
    AsUser(kCarol, [&] {
      check(O_RDONLY, 0);
      check(O_WRONLY, EACCES);
    });
    AsUser(kBob, [&] { check(O_RDWR, 0); });
    ASSERT_EQ(unlink(Path("file")), 0);
  }
  MakeFile("roots");
  AsUser(kAlice, [&] {
    FAILS(EPERM, open(Path("roots"), O_RDONLY | O_NOATIME));
    OK_AS("open", Closed(open(Path("made"), O_CREAT | O_EXCL | O_WRONLY, 0)));
    FAILS(EACCES, open(Path("made"), O_RDONLY));
    OK_AS("open", Closed(open(Path("mine"), O_CREAT | O_EXCL | O_WRONLY, 0600)));
    OK_AS("open", Closed(open(Path("mine"), O_RDONLY | O_NOATIME)));
  });
}

TEST_F(OpenPosix, NewFilesHaveTheModeLessTheUmask) {
  for (const mode_t mask : {0u, 022u, 027u, 0777u}) {
    for (const mode_t mode : {0666u, 0600u, 06777u, 0u}) {
      const Parameter parameter(std::to_string(mode) + " less " + std::to_string(mask));
      umask(mask);
      const UniqueFd fd(OK(open(Path("file"), O_CREAT | O_RDWR, mode)));
      umask(0);
      struct stat attributes {};
      ASSERT_EQ(fstat(fd.get(), &attributes), 0);
      SAME("open", S_IFREG | (mode & ~mask), attributes.st_mode);
      SAME("open", 1u, attributes.st_nlink);
      SAME("open", 0, attributes.st_size);
      SAME("open", 0, attributes.st_blocks);
      SAME("open", 4, write(fd.get(), "data", 4));
      ASSERT_EQ(unlink(Path("file")), 0);
    }
  }
  AsUser(kAlice, [&] { OK_AS("open", Closed(open(Path("file"), O_CREAT | O_RDWR, 0600))); });
  SAME("open", kAlice.uid, Stat("file").st_uid);
  SAME("open", kAlice.gid, Stat("file").st_gid);
}

TEST_F(OpenPosix, AccessModesAreKept) {
  MakeFile("file", "content");
  char buffer[8];
  const UniqueFd in = Open("file", O_RDONLY);
  const UniqueFd out = Open("file", O_WRONLY);
  const UniqueFd path = Open("file", O_PATH);
  const UniqueFd neither = Open("file", 3);
  FAILS(EBADF, write(in.get(), "x", 1));
  FAILS(EBADF, pwrite(in.get(), "x", 1, 0));
  FAILS(EBADF, read(out.get(), buffer, 1));
  FAILS(EBADF, pread(out.get(), buffer, 1, 0));
  FAILS(EBADF, read(path.get(), buffer, 1));
  FAILS(EBADF, write(path.get(), buffer, 1));
  FAILS(EBADF, read(neither.get(), buffer, 1));
  FAILS(EBADF, write(neither.get(), buffer, 1));
  FAILS(EBADF, fsync(path.get()));
  FAILS(EBADF, ftruncate(path.get(), 1));
  struct stat attributes {};
  OK(fstat(path.get(), &attributes));
  SAME("open", O_RDONLY, fcntl(in.get(), F_GETFL) & O_ACCMODE);
  SAME("open", O_WRONLY, fcntl(out.get(), F_GETFL) & O_ACCMODE);
  SAME("open", FD_CLOEXEC, fcntl(Open("file", O_RDONLY | O_CLOEXEC).get(), F_GETFD));
}

TEST_F(OpenPosix, TruncatingEmptiesAndAppendingExtends) {
  MakeFile("file", "0123456789");
  const UniqueFd one = Open("file", O_WRONLY | O_APPEND);
  const UniqueFd two = Open("file", O_WRONLY | O_APPEND);
  SAME("write", 2, write(one.get(), "ab", 2));
  SAME("write", 2, write(two.get(), "cd", 2));
  SAME("write", 2, write(one.get(), "ef", 2));
  SAME("open", "0123456789abcdef", Content("file"));
  SAME("pwrite", 1, pwrite(one.get(), "g", 1, 0));  // Linux appends in spite of the offset
  SAME("open", "0123456789abcdefg", Content("file"));
  OK(ftruncate(two.get(), 3));
  SAME("write", 1, write(one.get(), "h", 1));
  SAME("open", "012h", Content("file"));
  const UniqueFd truncated = Open("file", O_WRONLY | O_TRUNC);
  SAME("open", "", Content("file"));
  SAME("write", 1, write(one.get(), "i", 1));
  const UniqueFd reader(OK(open(Path("file"), O_RDONLY | O_TRUNC)));
  SAME("open", 0, Stat("file").st_size);
}

TEST_F(OpenPosix, CreatingIsAtomicWithExclusion) {
  const UniqueFd fd(OK(open(Path("file"), O_CREAT | O_EXCL | O_RDWR, 0600)));
  SAME("write", 3, write(fd.get(), "abc", 3));
  FAILS(EEXIST, open(Path("file"), O_CREAT | O_EXCL | O_TRUNC | O_RDWR, 0600));
  SAME("open", "abc", Content("file"));
  OK_AS("open", Closed(open(Path("file"), O_CREAT | O_RDWR, 0)));
  SAME("open", 0600u, Mode("file"));
  OK_AS("open", Closed(open(Path("file"), O_EXCL | O_RDWR)));
}

TEST_F(OpenPosix, DirectFilesWantAlignedRequests) {
  if (OnTmpfs()) GTEST_SKIP() << "tmpfs is always in memory";
  const UniqueFd fd(OK(open(Path("file"), O_CREAT | O_RDWR | O_DIRECT, 0600)));
  void* memory = nullptr;
  ASSERT_EQ(posix_memalign(&memory, 4096, 16384), 0);
  std::memset(memory, 'd', 16384);
  SAME("pwrite", 8192, pwrite(fd.get(), memory, 8192, 0));
  SAME("pwrite", 4096, pwrite(fd.get(), memory, 4096, 16384));
  SAME("open", 20480, Stat("file").st_size);
  std::memset(memory, 'x', 16384);
  SAME("pread", 16384, pread(fd.get(), memory, 16384, 0));
  const char* const got = static_cast<const char*>(memory);
  SAME("pread", std::string(8192, 'd') + std::string(8192, '\0'), std::string(got, 16384));
  SAME("pread", 4096, pread(fd.get(), memory, 8192, 16384));
  SAME("pread", 0, pread(fd.get(), memory, 4096, 20480));
  SAME("open", std::string(8192, 'd') + std::string(8192, '\0') + std::string(4096, 'd'),
       Content("file"));
  // Whoever writes past the cache is seen by whoever reads from it, and the reverse.
  const UniqueFd cached = Open("file", O_RDWR);
  std::memset(memory, 'e', 4096);
  SAME("pwrite", 4096, pwrite(fd.get(), memory, 4096, 4096));
  char c = 0;
  SAME("pread", 1, pread(cached.get(), &c, 1, 5000));
  SAME("pread", 'e', c);
  SAME("pwrite", 1, pwrite(cached.get(), "f", 1, 5000));
  SAME("pread", 4096, pread(fd.get(), memory, 4096, 4096));
  SAME("pread", 'f', got[5000 - 4096]);
  free(memory);
}

TEST_F(OpenPosix, SynchronousFilesWriteAsOthers) {
  for (const int flag : {O_SYNC, O_DSYNC}) {
    const Parameter parameter(std::to_string(flag));
    const UniqueFd fd(OK(open(Path("file"), O_CREAT | O_TRUNC | O_RDWR | flag, 0600)));
    SAME("write", 5, write(fd.get(), "hello", 5));
    SAME("write", 5, pwrite(fd.get(), "world", 5, 100'000));
    SAME("open", 100'005, Stat("file").st_size);
    SAME("open", flag, fcntl(fd.get(), F_GETFL) & flag);
  }
}

TEST_F(OpenPosix, TemporaryFilesHaveNoName) {
  const UniqueFd fd(OK(open(Path(""), O_TMPFILE | O_RDWR, 0640)));
  if (!fd.valid()) return;
  struct stat attributes {};
  OK(fstat(fd.get(), &attributes));
  SAME("open", S_IFREG | 0640u, attributes.st_mode);
  SAME("open", 0u, attributes.st_nlink);
  SAME("open", 0, attributes.st_size);
  SAME("write", 4, write(fd.get(), "data", 4));
  OK(linkat(fd.get(), "", AT_FDCWD, Path("named"), AT_EMPTY_PATH));
  SAME("open", "data", Content("named"));
  SAME("open", 1u, Stat("named").st_nlink);
  OK(unlink(Path("named")));
  FAILS(ENOENT, linkat(fd.get(), "", AT_FDCWD, Path("again"), AT_EMPTY_PATH));
  const UniqueFd never(OK(open(Path(""), O_TMPFILE | O_EXCL | O_RDWR, 0600)));
  FAILS(ENOENT, linkat(never.get(), "", AT_FDCWD, Path("never"), AT_EMPTY_PATH));
  MakeDirectory("setgid");
  ASSERT_EQ(chown(Path("setgid"), 0, kTeam), 0);
  ASSERT_EQ(chmod(Path("setgid"), 02777), 0);
  AsUser(kBob, [&] {
    const UniqueFd bobs(OK(open(Path("setgid"), O_TMPFILE | O_WRONLY, 0600)));
    OK(fstat(bobs.get(), &attributes));
  });
  SAME("open", kBob.uid, attributes.st_uid);
  SAME("open", kTeam, attributes.st_gid);
}

TEST_F(OpenPosix, ErrorsOfTemporaryFiles) {
  MakeFile("file");
  MakeDirectory("unwritable", 0555);
  FAILS(EINVAL, open(Path(""), O_TMPFILE | O_RDONLY, 0600));
  FAILS(EINVAL, open(Path(""), O_TMPFILE | O_CREAT | O_RDWR, 0600));
  FAILS(ENOTDIR, open(Path("file"), O_TMPFILE | O_RDWR, 0600));
  FAILS(ENOENT, open(Path("missing"), O_TMPFILE | O_RDWR, 0600));
  AsUser(kAlice, [&] { FAILS(EACCES, open(Path("unwritable"), O_TMPFILE | O_RDWR, 0600)); });
}

TEST_F(OpenPosix, ProgramsThatRunAreBusy) {
  std::string program = "/bin/sleep";
  char real[4096] = {};
  ASSERT_NE(realpath(program.c_str(), real), nullptr);
  const UniqueFd source(open(real, O_RDONLY));
  std::string bytes(1 << 20, '\0');
  const ssize_t size = read(source.get(), bytes.data(), bytes.size());
  ASSERT_GT(size, 0);
  MakeFile("program", bytes.substr(0, static_cast<size_t>(size)), 0755);
  {
    const UniqueFd writer = Open("program", O_WRONLY);
    FAILS_AS("execve", ETXTBSY,
             InChild([&]() -> long { return execl(Path("program"), "sleep", "0", nullptr); }));
  }
  int started[2];
  ASSERT_EQ(pipe2(started, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    execl(Path("program"), "sleep", "1000", nullptr);
    _exit(1);
  }
  close(started[1]);
  char c = 0;
  SAME("execve", 0, read(started[0], &c, 1));  // the pipe closes when the program starts
  close(started[0]);
  FAILS(ETXTBSY, open(Path("program"), O_WRONLY));
  FAILS(ETXTBSY, open(Path("program"), O_RDWR | O_TRUNC));
  FAILS(ETXTBSY, truncate(Path("program"), 0));
  OK_AS("open", Closed(open(Path("program"), O_RDONLY)));
  OK(rename(Path("program"), Path("moved")));
  FAILS(ETXTBSY, open(Path("moved"), O_WRONLY));
  OK(unlink(Path("moved")));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  MakeFile("script", "no magic", 0644);
  FAILS_AS("execve", EACCES, execl(Path("script"), "x", nullptr));
  ASSERT_EQ(chmod(Path("script"), 0755), 0);
  FAILS_AS("execve", ENOEXEC, execl(Path("script"), "x", nullptr));
}

TEST_F(OpenPosix, ResolutionCanBeRestricted) {
  MakeDirectory("dir");
  MakeFile("dir/file");
  ASSERT_EQ(symlink("file", Path("dir/soft")), 0);
  ASSERT_EQ(symlink("../dir", Path("dir/out")), 0);
  ASSERT_EQ(symlink("/", Path("dir/root")), 0);
  const UniqueFd dir = Open("dir", O_PATH);
  const auto how = [](uint64_t resolve) { return open_how{O_RDONLY, 0, resolve}; };
  OK_AS("openat2", Closed(openat2(dir.get(), "file", how(RESOLVE_BENEATH))));
  FAILS(EXDEV, openat2(dir.get(), "../dir", how(RESOLVE_BENEATH)));
  FAILS(EXDEV, openat2(dir.get(), "out/file", how(RESOLVE_BENEATH)));
  FAILS(EXDEV, openat2(dir.get(), "root", how(RESOLVE_BENEATH)));
  FAILS(EXDEV, openat2(dir.get(), Path("dir/file"), how(RESOLVE_BENEATH)));
  FAILS(ELOOP, openat2(dir.get(), "soft", how(RESOLVE_NO_SYMLINKS)));
  FAILS(EXDEV, openat2(dir.get(), "root/etc", how(RESOLVE_NO_XDEV)));
  OK_AS("openat2", Closed(openat2(dir.get(), "root", how(RESOLVE_IN_ROOT))));
  OK_AS("openat2", Closed(openat2(dir.get(), "/file", how(RESOLVE_IN_ROOT))));
  FAILS(EINVAL, openat2(dir.get(), "file", open_how{1ULL << 40, 0, 0}));
  FAILS(EINVAL, openat2(dir.get(), "file", open_how{O_RDONLY, 0600, 0}));
  FAILS(EINVAL, openat2(dir.get(), "file", open_how{O_RDONLY, 0, 1U << 30}));
  FAILS(EINVAL, openat2(dir.get(), "file", how(0), 1));
  FAILS(E2BIG, openat2(dir.get(), "file", how(0), 8192));
}

TEST_F(OpenPosix, HolesReadAsZeros) {
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  SAME("pwrite", 3, pwrite(fd.get(), "end", 3, 1'000'000));
  const std::string content = Content("file");
  SAME("pwrite", 1'000'003u, content.size());
  SAME("pwrite", 1'000'000u, content.find_first_not_of('\0'));
  OK(fsync(fd.get()));
  SAME("pwrite", true, Stat("file").st_blocks < 100);
}

TEST_F(OpenPosix, FarOffsetsAreReadBack) {
  if (!OnTerraceFs()) GTEST_SKIP() << "other filesystems end earlier";
  const UniqueFd fd = Open("file", O_CREAT | O_RDWR);
  const off_t far = INT64_MAX - 4096;
  SAME("pwrite", 3, pwrite(fd.get(), "far", 3, far));
  char back[4] = {};
  SAME("pread", 3, pread(fd.get(), back, 3, far));
  SAME("pread", std::string("far"), std::string(back));
}

TEST_F(OpenPosix, Times) {
  MakeDirectory("parent");
  MakeFile("parent/file", "content");
  CheckTimes("open", {{"parent", ""}, {"parent/file", ""}}, [&] {
    for (const int flags : {O_RDONLY, O_RDWR, O_WRONLY | O_APPEND, O_RDWR | O_CREAT}) {
      const Parameter parameter(std::to_string(flags));
      OK_AS("open", Closed(open(Path("parent/file"), flags, 0600)));
    }
  });
  CheckTimes("open", {{"parent", "mc"}},
             [&] { OK_AS("open", Closed(open(Path("parent/new"), O_CREAT | O_RDWR, 0600))); });
  CheckTimes("open", {{"parent", ""}, {"parent/file", "mc"}},
             [&] { OK_AS("open", Closed(open(Path("parent/file"), O_TRUNC | O_RDWR))); });
  const struct stat made = Stat("parent/new");
  SAME("open", made.st_mtim.tv_nsec, made.st_ctim.tv_nsec);
  SAME("open", made.st_mtim.tv_nsec, made.st_atim.tv_nsec);
}

}  // namespace
}  // namespace terracefs::posix
