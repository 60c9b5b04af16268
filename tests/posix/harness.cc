#include "tests/posix/harness.h"

#include <grp.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include "io/base/check.h"
#include "io/base/mutex.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::posix {

const gid_t kTeam = 54400;
const User kAlice = {"alice", 54321, 54321, {kTeam}};
const User kBob = {"bob", 54322, 54322, {}};
const User kCarol = {"carol", 54323, kTeam, {}};

namespace {

constexpr size_t kAssertionsMin = 1500;
constexpr uint64_t kImageBytes = uint64_t{512} << 20;
constexpr uint64_t kSmallBytes = uint64_t{16} << 20;
constexpr mode_t kOpenToAll = 0777;

thread_local const char* current_user = "root";

std::string Environment(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

// What was checked: each place in the source, with its parameters, once.
class Coverage {
 public:
  void Add(const std::string& key, std::string_view call, std::string_view result) {
    const io::MutexLock lock(mutex_);
    ++executed_;
    if (!seen_.insert(key).second) return;
    ++table_[std::string(call)][std::string(result)];
  }
  void Enter(const std::string& parameter) {
    const io::MutexLock lock(mutex_);
    parameters_.push_back(parameter);
  }
  void Leave() {
    const io::MutexLock lock(mutex_);
    parameters_.pop_back();
  }
  std::string Parameters() {
    const io::MutexLock lock(mutex_);
    std::string all;
    for (const std::string& parameter : parameters_) all += parameter + "|";
    return all;
  }
  size_t size() const { return seen_.size(); }
  void Print(const std::string& what) const;

 private:
  io::Mutex mutex_;
  std::vector<std::string> parameters_;
  std::set<std::string> seen_;
  size_t executed_ = 0;
  std::map<std::string, std::map<std::string, size_t>> table_;
};

void Coverage::Print(const std::string& what) const {
  std::map<std::string, size_t> totals;
  // Without this word ctest keeps the first kilobyte of what a passed test prints.
  std::printf("CTEST_FULL_OUTPUT\n");
  std::printf("\nsystem call x errno on %s: different assertions\n", what.c_str());
  for (const auto& [call, results] : table_) {
    size_t sum = 0;
    std::string line;
    for (const auto& [result, count] : results) {
      sum += count;
      totals[result] += count;
      line += "  " + result + " " + std::to_string(count);
    }
    std::printf("| %-20s | %4zu |%s\n", call.c_str(), sum, line.c_str());
  }
  std::string line;
  for (const auto& [result, count] : totals) line += "  " + result + " " + std::to_string(count);
  std::printf("| %-20s | %4zu |%s\n", "all", seen_.size(), line.c_str());
  const size_t effects = totals["effect"];
  std::printf(
      "posix %s: %zu assertions on %zu system calls and %zu errnos: %zu of errors, "
      "%zu of success, %zu of effects; %zu checks were run\n",
      what.c_str(), seen_.size(), table_.size(), totals.size() - 2,
      seen_.size() - totals["ok"] - effects, totals["ok"], effects, executed_);
}

Coverage& coverage() {
  static Coverage& instance = *new Coverage;
  return instance;
}

// A filesystem of the kernel's on an image of its own, or one of ours.
class Filesystem {
 public:
  explicit Filesystem(Kind kind) : kind_(kind) { chmod(mount_.directory().c_str(), 0755); }
  ~Filesystem() {
    if (kind_ != Kind::kTerraceFs && is_mounted_) umount2(root().c_str(), MNT_DETACH);
  }
  const std::string& root() const { return mount_.mountpoint(); }

  void Make(uint64_t bytes) {
    bytes_ = bytes;
    if (kind_ == Kind::kTerraceFs) {
      // Without a size of its own it grows and shrinks with what others leave of the disk.
      constexpr uint64_t kDefaultBytes = uint64_t{4} << 30;
      const std::vector<std::string> arguments = {
          "mkfs", mount_.store(), "--size", std::to_string(bytes != 0 ? bytes : kDefaultBytes)};
      const auto result = testing::Terracefs(arguments);
      ASSERT_EQ(result.exit_code, 0) << result.err;
    } else if (kind_ == Kind::kExt4) {
      std::ofstream(Image()).close();
      std::filesystem::resize_file(Image(), bytes != 0 ? bytes : kImageBytes);
      Run({"mkfs.ext4", "-q", "-F", Image()});
    }
  }
  void Mount() {
    if (kind_ == Kind::kTerraceFs) {
      mount_.Mount("allow_other,transport=" + Environment("POSIX_TRANSPORT", "dev") + "," +
                   Environment("POSIX_CACHE", "nowriteback"));
    } else if (kind_ == Kind::kExt4) {
      Run({"mount", "-o", "loop,acl,user_xattr", Image(), root()});
    } else {
      const uint64_t bytes = bytes_ != 0 ? bytes_ : kImageBytes;
      Run({"mount", "-t", "tmpfs", "-o", "size=" + std::to_string(bytes), "tmpfs", root()});
    }
    is_mounted_ = true;
    chmod(root().c_str(), kOpenToAll);
  }
  void MakeReadOnly() {
    if (kind_ == Kind::kTerraceFs) {
      mount_.Umount();
      mount_.Mount("ro,allow_other,transport=" + Environment("POSIX_TRANSPORT", "dev"));
    } else {
      Run({"mount", "-o", "remount,ro", root()});
    }
  }

 private:
  std::string Image() const { return mount_.directory() + "/image"; }
  static void Run(const std::vector<std::string>& command) {
    const auto result = testing::RunProcess(command);
    ASSERT_EQ(result.exit_code, 0) << command[0] << ": " << result.err;
  }

  const Kind kind_;
  testing::TestMount mount_;
  uint64_t bytes_ = 0;
  bool is_mounted_ = false;
};

struct Target {
  Kind kind = Kind::kOther;
  std::string description;
  std::string root;
  std::string why_not;  // nothing can be tested
  std::unique_ptr<Filesystem> filesystem;
  std::unique_ptr<Filesystem> read_only;
  std::unique_ptr<Filesystem> small;
  std::optional<testing::TempDir> other;
};
Target target;

Kind KindOf(const std::string& directory) {
  struct statfs info {};
  if (statfs(directory.c_str(), &info) != 0) return Kind::kOther;
  if (info.f_type == EXT4_SUPER_MAGIC) return Kind::kExt4;
  if (info.f_type == TMPFS_MAGIC) return Kind::kTmpfs;
  return info.f_type == FUSE_SUPER_MAGIC ? Kind::kTerraceFs : Kind::kOther;
}

bool CannotDoUring(const std::string& transport) {
  if (transport != "uring") return false;
  testing::TestMount mount;
  mount.Mkfs();
  return mount.TryMount("transport=uring").err.find("transport=uring") != std::string::npos;
}

void SetUpTarget() {
  if (geteuid() != 0) {
    target.why_not = "SKIPPED, NOTHING WAS TESTED: needs root to become several users";
    return;
  }
  const std::string directory = Environment("POSIX_DIR", "");
  if (!directory.empty()) {
    target.kind = KindOf(directory);
    target.root = directory;
    target.description = directory;
    return;
  }
  target.description = Environment("POSIX_FS", "terracefs");
  target.kind = target.description == "ext4"    ? Kind::kExt4
                : target.description == "tmpfs" ? Kind::kTmpfs
                                                : Kind::kTerraceFs;
  if (target.kind == Kind::kTerraceFs) {
    const std::string reason = testing::WhyNoMounts();
    const std::string transport = Environment("POSIX_TRANSPORT", "dev");
    if (!reason.empty()) target.why_not = "SKIPPED, NOTHING WAS TESTED: " + reason;
    if (reason.empty() && CannotDoUring(transport)) {
      target.why_not = "SKIPPED, IO_URING TRANSPORT NOT TESTED: not on this machine";
    }
    target.description += " " + transport + " " + Environment("POSIX_CACHE", "nowriteback");
  }
  if (!target.why_not.empty()) return;
  target.filesystem = std::make_unique<Filesystem>(target.kind);
  target.filesystem->Make(0);
  target.filesystem->Mount();
  target.root = target.filesystem->root();
}

class PosixEnvironment : public ::testing::Environment {
 public:
  void SetUp() override {
    // A file that becomes too large is an errno here.
    signal(SIGXFSZ, SIG_IGN);
    SetUpTarget();
  }
  void TearDown() override {
    target.small.reset();
    target.read_only.reset();
    target.filesystem.reset();
    target.other.reset();
    if (!target.why_not.empty()) return;
    coverage().Print(target.description);
    if (::testing::GTEST_FLAG(filter) == "*") {
      EXPECT_GE(coverage().size(), kAssertionsMin);
    }
  }
};

const auto* const environment = ::testing::AddGlobalTestEnvironment(new PosixEnvironment);

// glibc would change all threads.
void Become(const User& user) {
  CHECK(syscall(SYS_setgroups, user.groups.size(), user.groups.data()) == 0);
  CHECK(syscall(SYS_setresgid, user.gid, user.gid, user.gid) == 0);
  CHECK(syscall(SYS_setresuid, user.uid, user.uid, user.uid) == 0);
}

}  // namespace

Kind TargetKind() { return target.kind; }
bool OnWriteback() {
  return OnTerraceFs() && Environment("POSIX_CACHE", "nowriteback") == "writeback";
}
bool OnSlowestMode() { return OnWriteback() && Environment("POSIX_TRANSPORT", "dev") == "dev"; }

void AsUser(const User& user, const std::function<void()>& body) {
  const std::string parameters = coverage().Parameters();
  std::thread([&] {
    current_user = user.name;
    Become(user);
    body();
  }).join();
}

void WithOwnDirectory(const std::function<void()>& body) {
  std::thread([&] {
    CHECK(unshare(CLONE_FS) == 0);
    body();
  }).join();
}

long InChild(const std::function<long()>& body) {
  struct Answer {
    long result;
    int error;
    bool given;
  };
  void* const shared =
      mmap(nullptr, sizeof(Answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  auto* const answer = static_cast<Answer*>(shared);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    errno = 0;
    answer->result = body();
    answer->error = errno;
    answer->given = true;
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const Answer copy = answer->given ? *answer : Answer{-1, ECHILD, true};
  munmap(shared, sizeof(Answer));
  errno = copy.error;
  return copy.result;
}

Parameter::Parameter(const std::string& text) : trace_(__FILE__, __LINE__, text) {
  coverage().Enter(text);
}
Parameter::~Parameter() { coverage().Leave(); }

void Count(const Site& site, std::string_view call, std::string_view result) {
  const int saved = errno;
  std::string key = std::string(site.file) + ":" + std::to_string(site.line) + "|";
  key += std::string(site.text) + "|" + std::string(call) + "|" + std::string(result) + "|" +
         current_user + "|" + coverage().Parameters();
  coverage().Add(key, call, result);
  errno = saved;
}

std::string_view CallName(std::string_view text) {
  size_t end = text.find('(');
  if (end == std::string_view::npos) end = text.size();
  return text.substr(0, end);
}

std::string ErrnoName(int os_errno) {
  if (os_errno == 0) return "0";
  const char* const name = strerrorname_np(os_errno);
  return name == nullptr ? std::to_string(os_errno) : name;
}

void ReportResult(const Site& site, bool failed, int os_errno, int expected) {
  const int got = failed ? os_errno : 0;
  if (failed == (expected != 0) && got == expected) return;
  ADD_FAILURE_AT(site.file, site.line) << current_user << ": " << site.text << "\n  expected "
                                       << (expected == 0 ? "success" : ErrnoName(expected))
                                       << ", got " << (failed ? ErrnoName(os_errno) : "success");
}

void PosixCase::SetUp() {
  if (!target.why_not.empty()) GTEST_SKIP() << target.why_not;
  umask(0);
  const auto* const info = ::testing::UnitTest::GetInstance()->current_test_info();
  directory_ = target.root + "/" + info->test_suite_name() + "." + info->name();
  ASSERT_EQ(mkdir(directory_.c_str(), kOpenToAll), 0) << directory_ << ": " << errno;
}

void PosixCase::TearDown() {
  if (directory_.empty()) return;
  std::error_code error;
  std::filesystem::remove_all(directory_, error);
  EXPECT_FALSE(error) << error.message();
}

const char* PosixCase::Keep(std::string text) const {
  return texts_.emplace_back(std::move(text)).c_str();
}

const char* PosixCase::Path(std::string_view name) const {
  return Keep(name.empty() ? directory_ : directory_ + "/" + std::string(name));
}

void PosixCase::MakeFile(std::string_view name, std::string_view content, mode_t mode) const {
  const UniqueFd fd(open(Path(name), O_CREAT | O_WRONLY | O_TRUNC, mode));
  ASSERT_TRUE(fd.valid()) << name << ": " << std::strerror(errno);
  const ssize_t written = write(fd.get(), content.data(), content.size());
  ASSERT_EQ(written, static_cast<ssize_t>(content.size())) << name;
}

void PosixCase::MakeDirectory(std::string_view name, mode_t mode) const {
  ASSERT_EQ(mkdir(Path(name), 0777), 0) << name << ": " << std::strerror(errno);
  ASSERT_EQ(chmod(Path(name), mode), 0);
}

void PosixCase::Give(std::string_view name, const User& user) const {
  ASSERT_EQ(lchown(Path(name), user.uid, user.gid), 0) << name << ": " << std::strerror(errno);
}

UniqueFd PosixCase::Open(std::string_view name, int flags, mode_t mode) const {
  UniqueFd fd(open(Path(name), flags, mode));
  EXPECT_TRUE(fd.valid()) << name << ": " << std::strerror(errno);
  return fd;
}

std::string PosixCase::Content(std::string_view name) const {
  std::ifstream file(Path(name), std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct stat PosixCase::Stat(std::string_view name) const {
  struct stat attributes {};
  EXPECT_EQ(lstat(Path(name), &attributes), 0) << name << ": " << std::strerror(errno);
  return attributes;
}

void PosixCase::CheckPathErrors(const PathCall& call) const {
  const Parameter name(std::string("paths of ") + call.name);
  const std::string base = std::string("paths_") + call.name + std::to_string(texts_.size());
  ASSERT_NO_FATAL_FAILURE(MakeDirectory(base, 0777));
  const auto path = [&](const std::string& rest) { return Path(base + "/" + rest); };
  MakeFile(base + "/file");
  MakeDirectory(base + "/dir");
  MakeDirectory(base + "/closed", 0700);
  MakeFile(base + "/closed/file", "x", 0666);
  MakeDirectory(base + "/closed/dir", 0777);
  ASSERT_EQ(symlink("gone", path("dangling")), 0);
  ASSERT_EQ(symlink("loop", path("loop")), 0);
  ASSERT_EQ(symlink("pong", path("ping")), 0);
  ASSERT_EQ(symlink("ping", path("pong")), 0);
  ASSERT_EQ(symlink("file", path("to_file")), 0);
  ASSERT_EQ(symlink("closed", path("to_closed")), 0);
  ASSERT_EQ(symlink("dir", path("chain0")), 0);
  for (int i = 1; i <= 40; ++i) {
    ASSERT_EQ(symlink(("chain" + std::to_string(i - 1)).c_str(), path("chain" + std::to_string(i))),
              0);
  }
  const std::string long_name(kMaxNameBytes + 1, 'n');
  const std::string prefix = path("");
  const std::string long_path =
      prefix + std::string(static_cast<size_t>(kMaxPathBytes) - 1 - prefix.size(), '/');

  struct Case {
    const char* what;
    std::string path;
    int error;
  };
  std::vector<Case> cases = {
      {"empty", "", ENOENT},
      {"prefix is missing", path("missing/x"), ENOENT},
      {"prefix dangles", path("dangling/x"), ENOENT},
      {"prefix is a file", path("file/x"), ENOTDIR},
      {"prefix leads to a file", path("to_file/x"), ENOTDIR},
      {"dot in a file", path("file/."), ENOTDIR},
      {"dot dot in a file", path("file/../x"), ENOTDIR},
      {"prefix is a loop", path("loop/x"), ELOOP},
      {"prefix is a loop of two", path("ping/x"), ELOOP},
      {"41 links", path("chain40/x"), ELOOP},
      {"name of 256 bytes", path(long_name), ENAMETOOLONG},
      {"prefix of 256 bytes", path(long_name + "/x"), ENAMETOOLONG},
      {"path of 4096 bytes", long_path + "x", ENAMETOOLONG},
      {"path of 8192 bytes", long_path + long_path, ENAMETOOLONG},
  };
  if (!call.makes) {
    cases.push_back({"missing", path("missing"), ENOENT});
    cases.push_back({"missing in a directory", path("dir/missing"), ENOENT});
    cases.push_back({"name of 255 bytes", path(long_name.substr(1)), ENOENT});
    cases.push_back({"file with a slash", path("file/"), ENOTDIR});
    cases.push_back({"40 links", path("chain39/missing"), ENOENT});
  }
  if (!call.makes && call.follows) {
    cases.push_back({"dangling", path("dangling"), ENOENT});
    cases.push_back({"loop", path("loop"), ELOOP});
    cases.push_back({"loop of two", path("ping"), ELOOP});
  }
  if (!call.makes && call.directory) {
    cases.push_back({"a file", path("file"), ENOTDIR});
    if (call.follows) cases.push_back({"leads to a file", path("to_file"), ENOTDIR});
  }
  for (const Case& c : cases) {
    const Parameter parameter(c.what);
    CheckFails(POSIX_SITE(c.what), call.name, c.error, [&] { return call.call(c.path.c_str()); });
  }
  {
    const Parameter parameter("bad address");
    CheckFails(POSIX_SITE("bad address"), call.name, EFAULT, [&] { return call.call(Bad()); });
  }
  AsUser(kAlice, [&] {
    for (const char* const inside :
         {"closed/file", "closed/new", "closed/dir/x", "closed/../x", "to_closed/file"}) {
      const Parameter parameter(inside);
      CheckFails(POSIX_SITE("search permission"), call.name, EACCES,
                 [&] { return call.call(path(inside)); });
    }
  });
}

void PosixCase::CheckAtErrors(const char* name,
                              const std::function<long(int, const char*)>& call) const {
  const Parameter parameter(std::string("descriptors of ") + name);
  const std::string base = std::string("at_") + name + std::to_string(texts_.size());
  MakeDirectory(base, 0777);
  MakeFile(base + "/file");
  MakeDirectory(base + "/removed");
  MakeDirectory(base + "/closed", 0700);
  const UniqueFd file = Open(base + "/file", O_RDONLY);
  const UniqueFd removed = Open(base + "/removed", O_RDONLY | O_DIRECTORY);
  const UniqueFd removed_path = Open(base + "/removed", O_PATH);
  const UniqueFd closed = Open(base + "/closed", O_PATH);
  ASSERT_EQ(rmdir(Path(base + "/removed")), 0);
  int unused = dup(file.get());
  close(unused);
  CheckFails(POSIX_SITE("no descriptor"), name, EBADF, [&] { return call(-1, "x"); });
  CheckFails(POSIX_SITE("closed descriptor"), name, EBADF, [&] { return call(unused, "x"); });
  CheckFails(POSIX_SITE("file"), name, ENOTDIR, [&] { return call(file.get(), "x"); });
  CheckFails(POSIX_SITE("removed directory"), name, ENOENT,
             [&] { return call(removed.get(), "x"); });
  CheckFails(POSIX_SITE("removed directory's path"), name, ENOENT,
             [&] { return call(removed_path.get(), "x"); });
  AsUser(kAlice, [&] {
    CheckFails(POSIX_SITE("closed directory"), name, EACCES,
               [&] { return call(closed.get(), "x"); });
  });
}

void PosixCase::CheckMaking(const char* name, const std::function<long(const char*)>& call) const {
  const Parameter parameter(std::string("making by ") + name);
  const std::string base = std::string("make_") + name;
  MakeDirectory(base, 0777);
  MakeFile(base + "/file");
  MakeDirectory(base + "/dir");
  ASSERT_EQ(symlink("gone", Path(base + "/dangling")), 0);
  ASSERT_EQ(symlink("dir", Path(base + "/to_dir")), 0);
  ASSERT_EQ(symlink("self", Path(base + "/self")), 0);
  ASSERT_EQ(mkfifo(Path(base + "/fifo"), 0600), 0);
  ASSERT_EQ(mknod(Path(base + "/socket"), S_IFSOCK | 0600, 0), 0);
  for (const char* const there :
       {"file", "dir", "dangling", "to_dir", "self", "fifo", "socket", "dir/.", "dir/..", "."}) {
    const Parameter what(there);
    CheckFails(POSIX_SITE("exists"), name, EEXIST, [&] { return call(Path(base + "/" + there)); });
  }
  MakeDirectory(base + "/unwritable", 0555);
  MakeDirectory(base + "/unsearchable", 0666);
  MakeDirectory(base + "/group", 0770);
  ASSERT_EQ(chown(Path(base + "/group"), 0, kTeam), 0);
  MakeDirectory(base + "/bobs", 0700);
  Give(base + "/bobs", kBob);
  MakeDirectory(base + "/not_even_mine", 0077);
  Give(base + "/not_even_mine", kAlice);
  const auto in = [&](const char* directory) { return Path(base + "/" + directory + "/new"); };
  AsUser(kAlice, [&] {
    CheckFails(POSIX_SITE("unwritable"), name, EACCES, [&] { return call(in("unwritable")); });
    CheckFails(POSIX_SITE("unsearchable"), name, EACCES, [&] { return call(in("unsearchable")); });
    CheckFails(POSIX_SITE("another's"), name, EACCES, [&] { return call(in("bobs")); });
    CheckFails(POSIX_SITE("owner's bits"), name, EACCES, [&] { return call(in("not_even_mine")); });
    CheckOk(POSIX_SITE("group"), name, [&] { return call(in("group")); });
  });
  AsUser(kBob, [&] {
    CheckFails(POSIX_SITE("not the group"), name, EACCES, [&] { return call(in("group")); });
    CheckOk(POSIX_SITE("own"), name, [&] { return call(in("bobs")); });
    CheckOk(POSIX_SITE("others' bits"), name, [&] { return call(in("not_even_mine")); });
  });
  CheckOk(POSIX_SITE("root everywhere"), name, [&] { return call(in("unwritable")); });
  CheckOk(POSIX_SITE("name of 255 bytes"), name, [&] {
    return call(Path(base + "/" + std::string(static_cast<size_t>(kMaxNameBytes), 'n')));
  });
}

void PosixCase::CheckRemoving(const char* name, const std::function<long(const char*)>& call,
                              const std::function<void(const std::string&)>& make) const {
  const Parameter parameter(std::string("removing by ") + name);
  const std::string base = std::string("remove_") + name;
  MakeDirectory(base, 0777);
  const auto prepare = [&](const char* directory, mode_t mode, const User* owner,
                           const User* owner_inside) {
    const std::string at = base + "/" + directory;
    MakeDirectory(at, 0777);
    make(at + "/x");
    if (owner_inside != nullptr) Give(at + "/x", *owner_inside);
    if (owner != nullptr) Give(at, *owner);
    ASSERT_EQ(chmod(Path(at), mode), 0);
  };
  prepare("unwritable", 0555, nullptr, &kAlice);
  prepare("unsearchable", 0666, nullptr, &kAlice);
  prepare("others_in_open", 0777, nullptr, &kBob);
  prepare("sticky_bobs", 01777, nullptr, &kBob);
  prepare("sticky_roots", 01777, nullptr, nullptr);
  prepare("sticky_mine", 01777, nullptr, &kAlice);
  prepare("my_sticky", 01777, &kAlice, &kBob);
  prepare("my_unwritable", 0555, &kAlice, &kAlice);
  const auto in = [&](const char* directory) { return Path(base + "/" + directory + "/x"); };
  AsUser(kAlice, [&] {
    CheckFails(POSIX_SITE("unwritable"), name, EACCES, [&] { return call(in("unwritable")); });
    CheckFails(POSIX_SITE("unsearchable"), name, EACCES, [&] { return call(in("unsearchable")); });
    CheckFails(POSIX_SITE("own unwritable"), name, EACCES,
               [&] { return call(in("my_unwritable")); });
    CheckFails(POSIX_SITE("sticky, another's"), name, EPERM,
               [&] { return call(in("sticky_bobs")); });
    CheckFails(POSIX_SITE("sticky, root's"), name, EPERM, [&] { return call(in("sticky_roots")); });
    CheckOk(POSIX_SITE("another's"), name, [&] { return call(in("others_in_open")); });
    CheckOk(POSIX_SITE("sticky, own"), name, [&] { return call(in("sticky_mine")); });
    CheckOk(POSIX_SITE("own sticky"), name, [&] { return call(in("my_sticky")); });
  });
  CheckOk(POSIX_SITE("root in sticky"), name, [&] { return call(in("sticky_bobs")); });
  CheckOk(POSIX_SITE("root in unwritable"), name, [&] { return call(in("unwritable")); });
}

void PosixCase::CheckTimes(const char* call, std::initializer_list<Touched> expected,
                           const std::function<void()>& operation) const {
  // Later than atime, so that a read is worth an atime under relatime.
  const timespec past[2] = {{1'000'000'000, 1}, {1'100'000'000, 2}};
  std::map<std::string, struct stat> before;
  for (const Touched& file : expected) {
    ASSERT_EQ(utimensat(AT_FDCWD, Path(file.name), past, AT_SYMLINK_NOFOLLOW), 0) << file.name;
    before[file.name] = Stat(file.name);
  }
  usleep(12'000);  // more than a tick
  operation();
  for (const Touched& file : expected) {
    const struct stat& old = before[file.name];
    const struct stat now = Stat(file.name);
    const auto differ = [](const timespec& a, const timespec& b) {
      return a.tv_sec != b.tv_sec || a.tv_nsec != b.tv_nsec;
    };
    std::string changed;
    if (differ(old.st_atim, now.st_atim)) changed += "a";
    if (differ(old.st_mtim, now.st_mtim)) changed += "m";
    if (differ(old.st_ctim, now.st_ctim)) changed += "c";
    const Parameter parameter(std::string(call) + " changes times of '" + file.name + "' " +
                              std::to_string(before.size()));
    CheckSame(POSIX_SITE("times that changed"), call, file.times, changed);
  }
}

std::string ReadOnlyFilesystem(const std::function<void(const std::string&)>& fill) {
  if (target.filesystem == nullptr) return "";
  if (target.read_only == nullptr) {
    target.read_only = std::make_unique<Filesystem>(target.kind);
    target.read_only->Make(0);
    target.read_only->Mount();
    fill(target.read_only->root());
    target.read_only->MakeReadOnly();
  }
  return target.read_only->root();
}

std::string SmallFilesystem() {
  if (target.filesystem == nullptr) return "";
  if (target.small == nullptr) {
    target.small = std::make_unique<Filesystem>(target.kind);
    target.small->Make(kSmallBytes);
    target.small->Mount();
  }
  return target.small->root();
}

std::string OtherFilesystem() {
  if (!target.other) {
    target.other.emplace();
    chmod(target.other->path().c_str(), kOpenToAll);
  }
  return target.other->path();
}

}  // namespace terracefs::posix
