#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"

namespace terracefs::testing {

// Why nothing can be mounted here, or an empty text.
std::string WhyNoMounts();
// The program under test, from TERRACEFS_BIN.
std::string TerracefsProgram();
// `terracefs ARGUMENTS...`, to its end.
ProcessResult Terracefs(const std::vector<std::string>& arguments);

// A store and a mount point in a directory of their own, worked by the real program. Whatever
// happened, at the end nothing is mounted and the daemon is gone; only processes that serve this
// store are ended. Methods that must succeed fail the test if they do not.
class TestMount {
 public:
  TestMount();
  ~TestMount();
  TestMount(const TestMount&) = delete;
  TestMount& operator=(const TestMount&) = delete;

  const std::string& directory() const { return directory_.path(); }
  const std::string& store() const { return store_; }
  const std::string& mountpoint() const { return mountpoint_; }
  // A path below the mount point.
  std::string Path(std::string_view name) const;
  std::string Log() const;  // what the daemons wrote so far

  void Mkfs();
  // Adds log_file to `options`.
  void Mount(const std::string& options = "");
  ProcessResult TryMount(const std::string& options = "");
  void Umount();
  // The daemon that holds the store; 0 if none does.
  pid_t DaemonPid() const;
  bool IsMounted() const;
  // Ends the daemon like a crash and clears the dead mount away.
  void KillDaemon();
  // The last line that every daemon writes after an orderly end is there.
  bool ClosedCleanly() const;

 private:
  void CleanUp();

  TempDir directory_;
  std::string store_;
  std::string mountpoint_;
  std::string log_;
};

// Skips, loudly, where nothing can be mounted.
class MountTest : public ::testing::Test {
 protected:
  void SetUp() override;
  // For tests that change users or mount namespaces.
  static bool IsRoot();
};

// A mounted filesystem over the transport of the parameter, "dev" or "uring".
class TransportTest : public MountTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override;
  // `transport=...`, and whatever else is wanted.
  std::string Options(const std::string& more = "") const;

  std::optional<TestMount> mount_;  // formatted, not mounted
};

inline std::string TransportName(const ::testing::TestParamInfo<const char*>& info) {
  return info.param;
}

// True for what calls on a mount get after its daemon has died. Which, depends on the transport;
// over io_uring a request that was already handed to the ring while the kernel took it down fails
// with EIO or ECANCELED.
bool IsDeathErrno(int os_errno);

// The whole of a file; fails the test if it cannot be read.
std::string ReadFile(const std::string& path);
// Names of a directory's entries, sorted, without "." and "..".
std::vector<std::string> ListDirectory(const std::string& path);
// Everything below a directory: names, types, sizes and contents, as one text.
std::string DescribeTree(const std::string& path);

// open's errno, 0 if it worked; what it opened is closed again.
int OpenErrno(const std::string& path, int flags, mode_t mode = 0);

// errno after a call that has to fail, 0 if it did not.
#define ERRNO_OF(call) ((errno = 0, (call)) < 0 ? errno : 0)

}  // namespace terracefs::testing

#define INSTANTIATE_TRANSPORT_TEST(suite)                              \
  INSTANTIATE_TEST_SUITE_P(, suite, ::testing::Values("dev", "uring"), \
                           ::terracefs::testing::TransportName)
