// A disk that is full below the store: what users see, and that there is a way out.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "io/base/random.h"
#include "io/base/units.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

constexpr const char* kDiskSize = "size=384m";
constexpr const char* kSmallMemtable = "memtable=4M";
constexpr size_t kFileBytes = 3 * io::kMiB + 777;

// Nothing that could be compressed.
std::string Content(uint64_t seed) {
  io::Random random(seed);
  std::string content(kFileBytes, '\0');
  for (char& c : content) c = static_cast<char>(random.Next());
  return content;
}

class FullDiskMount : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root to make a small disk";
    ASSERT_EQ(mkdir(mount_.store().c_str(), 0700), 0);
    if (mount("tmpfs", mount_.store().c_str(), "tmpfs", 0, kDiskSize) != 0) {
      GTEST_SKIP() << "SKIPPED: cannot make a small disk: " << std::strerror(errno);
    }
    is_mounted_ = true;
    mount_.Mkfs();
    mount_.Mount(kSmallMemtable);
  }
  void TearDown() override {
    if (mount_.IsMounted()) mount_.Umount();
    if (!is_mounted_) return;
    EXPECT_EQ(umount2(mount_.store().c_str(), MNT_DETACH), 0);
  }
  std::string File(uint64_t i) const { return mount_.Path("file" + std::to_string(i)); }
  // 0 or the errno; what was written in part is removed.
  int WriteOne(uint64_t i) {
    const std::string content = Content(i);
    const io::UniqueFd fd(open(File(i).c_str(), O_CREAT | O_WRONLY, 0644));
    if (!fd.valid()) return errno;
    for (size_t done = 0; done < content.size();) {
      const ssize_t written = write(fd.get(), content.data() + done, content.size() - done);
      if (written < 0) {
        const int error = errno;
        EXPECT_EQ(unlink(File(i).c_str()), 0);
        return error;
      }
      done += static_cast<size_t>(written);
    }
    return 0;
  }
  // The number of files that fit.
  uint64_t Fill(uint64_t first) {
    uint64_t next = first;
    int error = 0;
    while ((error = WriteOne(next)) == 0) ++next;
    EXPECT_EQ(error, ENOSPC);
    return next - first;
  }
  // Space that was given up comes back by itself; ctest ends a test for which it never does.
  void AwaitFreeDisk() const {
    struct statvfs space {};
    while (statvfs(mount_.store().c_str(), &space) == 0 &&
           space.f_bavail < space.f_blocks * 6 / 10) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  void AwaitRoom(uint64_t i) {
    while (WriteOne(i) != 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }

  TestMount mount_;
  bool is_mounted_ = false;
};

TEST_F(FullDiskMount, EverythingCanBeDeletedAndTheSpaceComesBack) {
  const uint64_t count = Fill(0);
  ASSERT_GT(count, 20U);
  for (uint64_t i = 0; i < count; ++i) ASSERT_EQ(ReadFile(File(i)), Content(i)) << i;
  ASSERT_EQ(truncate(File(0).c_str(), 5), 0);
  for (uint64_t i = 1; i < count; ++i) ASSERT_EQ(unlink(File(i).c_str()), 0) << i;
  AwaitFreeDisk();  // file by file
  AwaitRoom(1);
  const uint64_t again = 1 + Fill(2);
  EXPECT_GT(again, count / 2);
  for (uint64_t i = 1; i <= again; ++i) ASSERT_EQ(ReadFile(File(i)), Content(i)) << i;
  EXPECT_EQ(ReadFile(File(0)), Content(0).substr(0, 5));
}

TEST_F(FullDiskMount, MountsAgainWhileItIsFull) {
  const uint64_t count = Fill(0);
  for (int round = 0; round < 3; ++round) {
    mount_.Umount();
    mount_.Mount(kSmallMemtable);
  }
  mount_.KillDaemon();
  mount_.Mount(kSmallMemtable);
  for (uint64_t i = 0; i < count; ++i) ASSERT_EQ(access(File(i).c_str(), F_OK), 0) << i;
  for (uint64_t i = 0; i < count; i += 2) ASSERT_EQ(unlink(File(i).c_str()), 0) << i;
  AwaitRoom(0);
  for (uint64_t i = 1; i < count; i += 2) ASSERT_EQ(ReadFile(File(i)), Content(i)) << i;
}

}  // namespace
}  // namespace terracefs::testing
