// The ioctl interface through the kernel: honest and hostile calls.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "fs/control/ioctl.h"
#include "io/base/random.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class IoctlMount : public TransportTest {
 protected:
  void SetUp() override {
    TransportTest::SetUp();
    if (IsSkipped()) return;
    mount_->Mount(Options());
    directory_ = io::UniqueFd(open(mount_->mountpoint().c_str(), O_RDONLY));
    file_ = io::UniqueFd(open(mount_->Path("file").c_str(), O_CREAT | O_RDWR, 0644));
    ASSERT_TRUE(directory_.valid() && file_.valid());
  }
  void TearDown() override {
    directory_.Reset();
    file_.Reset();
  }

  io::UniqueFd directory_;
  io::UniqueFd file_;
};
INSTANTIATE_TRANSPORT_TEST(IoctlMount);

TEST_P(IoctlMount, StatisticsComeFromFilesAndDirectories) {
  for (const io::UniqueFd* fd : {&directory_, &file_}) {
    terracefs_stats stats{};
    stats.version = TERRACEFS_IOC_VERSION;
    ASSERT_EQ(ERRNO_OF(ioctl(fd->get(), TERRACEFS_IOC_STATS, &stats)), 0);
    EXPECT_EQ(static_cast<pid_t>(stats.daemon_pid), mount_->DaemonPid());
    EXPECT_STREQ(stats.store_path, mount_->store().c_str());
    EXPECT_STREQ(stats.transport, GetParam());
  }
}

TEST_P(IoctlMount, SyncReportsHowFarHistoryIsDurable) {
  terracefs_sync sync{};
  sync.version = TERRACEFS_IOC_VERSION;
  ASSERT_EQ(ERRNO_OF(ioctl(file_.get(), TERRACEFS_IOC_SYNC, &sync)), 0);
  EXPECT_GT(sync.durable_sequence, 0u);
}

TEST_P(IoctlMount, WrongVersionsSizesAndValuesAreRefused) {
  terracefs_stats stats{};
  EXPECT_EQ(ERRNO_OF(ioctl(file_.get(), TERRACEFS_IOC_STATS, &stats)), EINVAL);
  stats.version = 99;
  EXPECT_EQ(ERRNO_OF(ioctl(file_.get(), TERRACEFS_IOC_STATS, &stats)), EINVAL);
  std::vector<char> memory(16384, 1);
  for (const unsigned size : {0u, 1u, 4u, 63u, 4096u, 16383u}) {
    for (const unsigned number : {1u, 2u, 3u, 4u, 5u, 7u}) {
      const unsigned long command = _IOC(_IOC_READ | _IOC_WRITE, TERRACEFS_IOC_MAGIC, number, size);
      EXPECT_EQ(ERRNO_OF(ioctl(file_.get(), command, memory.data())), EINVAL) << size;
    }
  }
  EXPECT_EQ(ERRNO_OF(ioctl(file_.get(), _IO(TERRACEFS_IOC_MAGIC, 3), 0)), EINVAL);
  EXPECT_EQ(ERRNO_OF(ioctl(file_.get(), _IO(TERRACEFS_IOC_MAGIC, 200), 0)), ENOTTY);
  EXPECT_EQ(ERRNO_OF(ioctl(file_.get(), TIOCGWINSZ, memory.data())), ENOTTY);
  EXPECT_EQ(ERRNO_OF(ioctl(file_.get(), TERRACEFS_IOC_STATS, nullptr)), EFAULT);
}

// The path of a compaction is the file on which it is asked for.
TEST_P(IoctlMount, CompactionsOfAPathStartOnAnyFileOrDirectory) {
  for (const io::UniqueFd* fd : {&directory_, &file_}) {
    terracefs_compact compact{};
    compact.version = TERRACEFS_IOC_VERSION;
    compact.level = -1;
    compact.flags = TERRACEFS_COMPACT_PATH;
    ASSERT_EQ(ERRNO_OF(ioctl(fd->get(), TERRACEFS_IOC_COMPACT, &compact)), 0);
    EXPECT_EQ(
        Terracefs({"job", "wait", mount_->mountpoint(), std::to_string(compact.job)}).exit_code, 0);
  }
}

TEST_P(IoctlMount, TextsWithoutAnEndAreRefused) {
  terracefs_config config{};
  config.version = TERRACEFS_IOC_VERSION;
  ASSERT_EQ(ERRNO_OF(ioctl(file_.get(), TERRACEFS_IOC_CONFIG, &config)), 0);
  EXPECT_GT(config.count, 0u);
  config.action = TERRACEFS_CONFIG_SET;
  std::memset(config.setting, 'c', sizeof config.setting);
  EXPECT_EQ(ERRNO_OF(ioctl(file_.get(), TERRACEFS_IOC_CONFIG, &config)), EINVAL);
  config.action = 77;
  EXPECT_EQ(ERRNO_OF(ioctl(file_.get(), TERRACEFS_IOC_CONFIG, &config)), EINVAL);
}

TEST_P(IoctlMount, RandomCommandsDoNoHarm) {
  io::Random random(4711);
  std::vector<char> memory(16384);
  for (int i = 0; i < 3000; ++i) {
    for (char& c : memory) c = static_cast<char>(random.Next());
    // Half of them get as far as the checks of values.
    if (random.OneIn(2)) std::memcpy(memory.data(), "\1\0\0\0", 4);
    const auto size =
        static_cast<unsigned>(random.OneIn(2) ? sizeof(terracefs_job) : random.Uniform(16384));
    const unsigned long command =
        random.OneIn(3) ? TERRACEFS_IOC_COMPACT
                        : _IOC(static_cast<unsigned>(random.Uniform(4)), TERRACEFS_IOC_MAGIC,
                               static_cast<unsigned>(random.Uniform(9)), size);
    EXPECT_NE(ERRNO_OF(ioctl(file_.get(), command, memory.data())), 0);
  }
  EXPECT_EQ(Terracefs({"stats", mount_->mountpoint()}).exit_code, 0);
  EXPECT_EQ(mount_->Log().find("dropped without an answer"), std::string::npos);
}

}  // namespace
}  // namespace terracefs::testing
