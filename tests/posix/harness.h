#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "io/unique_fd.h"

// Tests of system calls on one mounted filesystem, which a process mounts once and every test case
// gets a directory of. Which filesystem, the environment says:
//
//   POSIX_FS=terracefs|ext4|tmpfs   ours (default), or one of the kernel's to prove the tests on
//   POSIX_TRANSPORT=dev|uring, POSIX_CACHE=nowriteback|writeback   how ours is mounted
//   POSIX_DIR=/path                 any directory that exists, instead of mounting
//
// Every checked call is counted under its name and its errno; at its end the process prints that
// table, and a whole run with fewer than 1,500 different assertions fails.
namespace terracefs::posix {

using io::UniqueFd;

enum class Kind { kTerraceFs, kExt4, kTmpfs, kOther };
Kind TargetKind();
inline bool OnTerraceFs() { return TargetKind() == Kind::kTerraceFs; }
// Ours over /dev/fuse with the write-back cache: tests of many calls that both ways of caching
// treat alike may do without.
bool OnSlowestMode();
bool OnWriteback();
inline bool OnExt4() { return TargetKind() == Kind::kExt4; }
inline bool OnTmpfs() { return TargetKind() == Kind::kTmpfs; }

struct User {
  const char* name;
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};
// Ordinary users; alice is in kTeam, too, carol's group is kTeam.
extern const gid_t kTeam;
extern const User kAlice;
extern const User kBob;
extern const User kCarol;

// Runs `body` in a thread that is this user and has no capabilities. Checks work inside.
void AsUser(const User& user, const std::function<void()>& body);
// Runs `body` in a thread with its own current directory, root directory and umask.
void WithOwnDirectory(const std::function<void()>& body);
// Runs `body` in a child process; returns what it returns, with its errno. -1 with ECHILD if the
// process died. Checks do not work inside.
long InChild(const std::function<long()>& body);

// Until it is gone, checks count as different ones: what a loop or a helper is about.
class Parameter {
 public:
  explicit Parameter(const std::string& text);
  ~Parameter();
  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;

 private:
  ::testing::ScopedTrace trace_;
};

// What the macros below are made of. `text` is the call as the source has it.
struct Site {
  const char* file;
  int line;
  std::string_view text;
};
void Count(const Site& site, std::string_view call, std::string_view result);
std::string_view CallName(std::string_view text);
std::string ErrnoName(int os_errno);
void ReportResult(const Site& site, bool failed, int os_errno, int expected);

template <typename R>
bool IsFailure(const R& result) {
  if constexpr (std::is_pointer_v<R>) {
    return result == nullptr || reinterpret_cast<intptr_t>(result) == -1;
  } else {
    return result < 0;
  }
}

template <typename F>
auto CheckOk(const Site& site, std::string_view call, F&& function) {
  errno = 0;
  const auto result = function();
  const int error = errno;
  Count(site, call, "ok");
  ReportResult(site, IsFailure(result), error, 0);
  errno = error;
  return result;
}

template <typename F>
void CheckFails(const Site& site, std::string_view call, int expected, F&& function) {
  errno = 0;
  const auto result = function();
  const int error = errno;
  Count(site, call, ErrnoName(expected));
  ReportResult(site, IsFailure(result), error, expected);
}

// What a failure shows of a value.
template <typename T>
std::string Shown(const T& value) {
  constexpr size_t kShownMax = 400;
  std::string text = ::testing::PrintToString(value);
  if (text.size() > kShownMax) text = text.substr(0, kShownMax) + "...";
  return text;
}

template <typename E, typename A>
void CheckSame(const Site& site, std::string_view call, const E& expected, const A& actual) {
  Count(site, call, "effect");
  if (expected == actual) return;
  ADD_FAILURE_AT(site.file, site.line)
      << site.text << "\n  expected " << Shown(expected) << "\n       got " << Shown(actual);
}

#define POSIX_SITE(text) \
  ::terracefs::posix::Site { __FILE__, __LINE__, text }
// The call succeeds; its result.
#define OK(...)                                                           \
  ::terracefs::posix::CheckOk(POSIX_SITE(#__VA_ARGS__),                   \
                              ::terracefs::posix::CallName(#__VA_ARGS__), \
                              [&] { return (__VA_ARGS__); })
// The call fails with this errno.
#define FAILS(code, ...)                                                           \
  ::terracefs::posix::CheckFails(POSIX_SITE(#__VA_ARGS__),                         \
                                 ::terracefs::posix::CallName(#__VA_ARGS__), code, \
                                 [&] { return (__VA_ARGS__); })
// The same where the source does not begin with the name of the system call.
#define OK_AS(name, ...) \
  ::terracefs::posix::CheckOk(POSIX_SITE(#__VA_ARGS__), name, [&] { return (__VA_ARGS__); })
#define FAILS_AS(name, code, ...)                                      \
  ::terracefs::posix::CheckFails(POSIX_SITE(#__VA_ARGS__), name, code, \
                                 [&] { return (__VA_ARGS__); })
// What the system call `name` gave or did is as expected.
#define SAME(name, expected, ...)                                                            \
  ::terracefs::posix::CheckSame(POSIX_SITE(#expected " == " #__VA_ARGS__), name, (expected), \
                                (__VA_ARGS__))
#define HOLDS(name, ...)                                              \
  ::terracefs::posix::CheckSame(POSIX_SITE(#__VA_ARGS__), name, true, \
                                static_cast<bool>(__VA_ARGS__))

// An address that no system call can read or write. The compiler must not know.
inline volatile uintptr_t bad_address = 8;
template <typename T = char>
T* Bad() {
  return reinterpret_cast<T*>(bad_address);
}

inline constexpr long kMaxNameBytes = 255;
inline constexpr long kMaxPathBytes = 4096;  // with the final zero

// A directory of its own on the filesystem under test, writable for everybody; umask is 0.
class PosixCase : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  const std::string& directory() const { return directory_; }
  // Of a name in the directory; good until the test ends. An empty name: the directory.
  const char* Path(std::string_view name) const;
  // Keeps any text until the test ends.
  const char* Keep(std::string text) const;

  // Unchecked helpers: they fail the test if they do not work.
  void MakeFile(std::string_view name, std::string_view content = "x", mode_t mode = 0644) const;
  void MakeDirectory(std::string_view name, mode_t mode = 0755) const;
  void Give(std::string_view name, const User& user) const;
  UniqueFd Open(std::string_view name, int flags, mode_t mode = 0644) const;
  std::string Content(std::string_view name) const;
  struct stat Stat(std::string_view name) const;  // does not follow
  mode_t Mode(std::string_view name) const { return Stat(name).st_mode & 07777; }

  // Checks what every system call that takes a path says to bad ones.
  struct PathCall {
    const char* name;
    std::function<long(const char*)> call;
    bool follows = true;     // a symbolic link that the path names
    bool makes = false;      // the path names something new
    bool directory = false;  // the path has to be a directory
  };
  void CheckPathErrors(const PathCall& call) const;
  // The same for one that takes a directory's descriptor and a path relative to it.
  void CheckAtErrors(const char* name, const std::function<long(int, const char*)>& call) const;
  // A call that makes a name: EEXIST for every type, and what it may do in whose directory.
  void CheckMaking(const char* name, const std::function<long(const char*)>& call) const;
  // A call that takes names away: write permission and sticky directories. `make` makes what it
  // removes.
  void CheckRemoving(const char* name, const std::function<long(const char*)>& call,
                     const std::function<void(const std::string&)>& make) const;

  // The times that an operation changes: "a", "m" and "c" of `name`, as a set. Prepares by setting
  // atime and mtime into the past.
  struct Touched {
    std::string name;
    std::string times;
  };
  void CheckTimes(const char* call, std::initializer_list<Touched> expected,
                  const std::function<void()>& operation) const;

 private:
  std::string directory_;
  mutable std::deque<std::string> texts_;
};

// Further filesystems of the kind under test; an empty text if there are none (POSIX_DIR).
// Read-only, with what `fill` made in it. Made once: the first caller's `fill` counts.
std::string ReadOnlyFilesystem(const std::function<void(const std::string&)>& fill);
// Has room for some MiB only.
std::string SmallFilesystem();
// Any other filesystem's directory, writable for everybody.
std::string OtherFilesystem();

}  // namespace terracefs::posix
