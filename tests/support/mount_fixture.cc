#include "tests/support/mount_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>

#include "fs/cli/mount_client.h"
#include "fs/mount_table.h"
#include "fs/store_files.h"
#include "io/open_storage.h"
#include "io/unique_fd.h"

namespace terracefs::testing {

std::string TerracefsProgram() {
  const char* const program = std::getenv("TERRACEFS_BIN");
  return program == nullptr ? std::string() : program;
}

std::string WhyNoMounts() {
  if (TerracefsProgram().empty()) return "TERRACEFS_BIN does not name the program";
  if (access("/dev/fuse", R_OK | W_OK) != 0) return "/dev/fuse is missing or not for this user";
  return {};
}

ProcessResult Terracefs(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {TerracefsProgram()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return RunProcess(all);
}

TestMount::TestMount() {
  // mkdtemp keeps others out, and some tests let other users in.
  chmod(directory_.path().c_str(), 0755);
  const std::filesystem::path base = std::filesystem::canonical(directory_.path());
  store_ = base / "store";
  mountpoint_ = base / "mnt";
  log_ = base / "log";
  std::filesystem::create_directory(mountpoint_);
}

TestMount::~TestMount() { CleanUp(); }

std::string TestMount::Path(std::string_view name) const {
  return mountpoint_ + "/" + std::string(name);
}

std::string TestMount::Log() const {
  std::ifstream file(log_);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void TestMount::Mkfs() {
  const ProcessResult result = Terracefs({"mkfs", store_});
  ASSERT_EQ(result.exit_code, 0) << result.err;
}

ProcessResult TestMount::TryMount(const std::string& options) {
  std::string all = "log_file=" + log_;
  if (!options.empty()) all += "," + options;
  return Terracefs({"mount", "-o", all, store_, mountpoint_});
}

void TestMount::Mount(const std::string& options) {
  const ProcessResult result = TryMount(options);
  ASSERT_EQ(result.exit_code, 0) << result.err << Log();
  ASSERT_TRUE(IsMounted());
}

void TestMount::Umount() {
  const pid_t daemon = DaemonPid();
  const ProcessResult result = Terracefs({"umount", mountpoint_});
  ASSERT_EQ(result.exit_code, 0) << result.err << Log();
  ASSERT_FALSE(IsMounted());
  // "Returns when the daemon has exited."
  ASSERT_NE(daemon, 0);
  ASSERT_TRUE(WaitGone(daemon, std::chrono::seconds(0))) << "the daemon outlived umount";
}

bool TestMount::IsMounted() const {
  const auto mount = fs::FindMount(mountpoint_);
  return mount && mount->type == fs::kMountType;
}

pid_t TestMount::DaemonPid() const {
  std::ifstream file(store_ + "/LOCK");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const fs::LockHolder holder = fs::DecodeLockHolder(text);
  // The record outlives its writer: it counts only while the lock is held.
  const auto storage = io::OpenStorage(store_, io::IoBackend::kPosix);
  if (!storage.ok() || (*storage)->Lock("LOCK").ok()) return 0;
  if (!(*storage)->LockShared("LOCK").ok()) return holder.pid;
  // A mount that only reads writes nothing there, and has to be asked.
  const auto client = fs::MountClient::Open(mountpoint_);
  const auto stats = client.ok() ? client->Stats() : client.status();
  return stats.ok() ? static_cast<pid_t>(stats->daemon_pid) : 0;
}

void TestMount::KillDaemon() {
  const pid_t daemon = DaemonPid();
  ASSERT_NE(daemon, 0);
  ASSERT_EQ(kill(daemon, SIGKILL), 0);
  ASSERT_TRUE(WaitGone(daemon));
  umount2(mountpoint_.c_str(), MNT_DETACH);
}

bool TestMount::ClosedCleanly() const {
  std::string log = Log();
  while (!log.empty() && log.back() == '\n') log.pop_back();
  const size_t begin = log.rfind('\n');
  const std::string last = begin == std::string::npos ? log : log.substr(begin + 1);
  return last.find("unmounted " + mountpoint_) != std::string::npos;
}

void TestMount::CleanUp() {
  const pid_t daemon = DaemonPid();
  for (int stacked = 0; stacked < 4 && IsMounted(); ++stacked) {
    if (umount2(mountpoint_.c_str(), MNT_DETACH) != 0) {
      RunProcess({"fusermount3", "-u", "-z", "--", mountpoint_});
    }
  }
  if (daemon == 0 || WaitGone(daemon, std::chrono::seconds(10))) return;
  std::cerr << "daemon " << daemon << " had to be killed\n" << Log();
  kill(daemon, SIGKILL);
  WaitGone(daemon);
}

void MountTest::SetUp() {
  const std::string reason = WhyNoMounts();
  if (!reason.empty()) GTEST_SKIP() << "SKIPPED, NOTHING WAS TESTED: " << reason;
}

bool MountTest::IsRoot() { return geteuid() == 0; }

void TransportTest::SetUp() {
  MountTest::SetUp();
  if (IsSkipped()) return;
  mount_.emplace();
  mount_->Mkfs();
  if (std::string_view(GetParam()) != "uring") return;
  // Whether this machine has the transport, only the program knows.
  const ProcessResult tried = mount_->TryMount(Options());
  if (tried.err.find("transport=uring") != std::string::npos) {
    GTEST_SKIP() << "SKIPPED, IO_URING TRANSPORT NOT TESTED: " << tried.err;
  }
  ASSERT_EQ(tried.exit_code, 0) << tried.err;
  mount_->Umount();
}

std::string TransportTest::Options(const std::string& more) const {
  const std::string transport = std::string("transport=") + GetParam();
  return more.empty() ? transport : transport + "," + more;
}

bool IsDeathErrno(int os_errno) {
  return os_errno == ENOTCONN || os_errno == ECONNABORTED || os_errno == ECANCELED ||
         os_errno == EIO;
}

int OpenErrno(const std::string& path, int flags, mode_t mode) {
  const io::UniqueFd fd(open(path.c_str(), flags, mode));
  return fd.valid() ? 0 : errno;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> ListDirectory(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    names.push_back(entry.path().filename());
  }
  EXPECT_FALSE(error) << path << ": " << error.message();
  std::sort(names.begin(), names.end());
  return names;
}

std::string DescribeTree(const std::string& path) {
  std::vector<std::string> lines;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path, error)) {
    std::ostringstream line;
    line << entry.path().lexically_relative(path).string();
    if (entry.is_regular_file()) {
      const std::string content = ReadFile(entry.path());
      line << " " << content.size() << " " << std::hash<std::string>{}(content);
    }
    lines.push_back(line.str());
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

}  // namespace terracefs::testing
