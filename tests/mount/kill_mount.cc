// The daemon is killed while it works.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <string>
#include <string_view>
#include <thread>

#include "io/base/mutex.h"
#include "io/base/random.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class KillMount : public TransportTest {};
INSTANTIATE_TRANSPORT_TEST(KillMount);

// Writes files with different sizes and fsyncs each until the daemon dies; remembers what was
// acknowledged.
class Writer {
 public:
  Writer(std::string directory, uint64_t seed) : directory_(std::move(directory)), random_(seed) {}

  void Run() {
    for (int i = 0;; ++i) {
      const std::string name = "f" + std::to_string(i % 40);
      std::string content(random_.Uniform(60'000) + 1, '\0');
      for (char& c : content) c = static_cast<char>('a' + random_.Uniform(26));
      // While a file is being replaced nothing is promised about it.
      Forget(name);
      if (!WriteDurably(directory_ + "/" + name, content)) return;
      const io::MutexLock lock(mutex_);
      durable_[name] = content;
    }
  }
  std::map<std::string, std::string> durable() {
    const io::MutexLock lock(mutex_);
    return durable_;
  }

 private:
  void Forget(const std::string& name) {
    const io::MutexLock lock(mutex_);
    durable_.erase(name);
  }
  static bool WriteDurably(const std::string& path, const std::string& content) {
    const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644));
    return fd.valid() &&
           write(fd.get(), content.data(), content.size()) ==
               static_cast<ssize_t>(content.size()) &&
           fsync(fd.get()) == 0;
  }

  const std::string directory_;
  io::Random random_;
  io::Mutex mutex_;
  std::map<std::string, std::string> durable_ GUARDED_BY(mutex_);
};

TEST_P(KillMount, FsyncedFilesSurviveByteForByte) {
  constexpr int kRounds = 3;
  constexpr int kWriters = 4;
  for (int round = 0; round < kRounds; ++round) {
    mount_->Mount(Options());
    std::vector<std::unique_ptr<Writer>> writers;
    std::vector<std::thread> threads;
    for (int i = 0; i < kWriters; ++i) {
      const std::string directory = mount_->Path("w" + std::to_string(i));
      ASSERT_TRUE(mkdir(directory.c_str(), 0755) == 0 || errno == EEXIST);
      writers.push_back(
          std::make_unique<Writer>(directory, static_cast<uint64_t>(round * kWriters + i)));
      threads.emplace_back([&writer = *writers.back()] { writer.Run(); });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(700 + 300 * round));
    const pid_t daemon = mount_->DaemonPid();
    ASSERT_NE(daemon, 0);
    ASSERT_EQ(kill(daemon, SIGKILL), 0);
    for (std::thread& thread : threads) thread.join();
    ASSERT_TRUE(WaitGone(daemon));

    // The dead mount is still there: mounting again clears it away.
    mount_->Mount(Options());
    size_t checked = 0;
    for (int i = 0; i < kWriters; ++i) {
      for (const auto& [name, content] : writers[static_cast<size_t>(i)]->durable()) {
        const std::string path = mount_->Path("w" + std::to_string(i) + "/" + name);
        ASSERT_EQ(ReadFile(path), content) << path;
        ++checked;
      }
    }
    EXPECT_GT(checked, 0u);
    mount_->Umount();
  }
}

// The kernel's own asynchronous interface, one write at a time; -1 or what the write returned.
class AsyncWriter {
 public:
  AsyncWriter() { EXPECT_EQ(syscall(SYS_io_setup, 1, &context_), 0); }
  ~AsyncWriter() { syscall(SYS_io_destroy, context_); }
  AsyncWriter(const AsyncWriter&) = delete;
  AsyncWriter& operator=(const AsyncWriter&) = delete;

  // `rw_flags` as for pwritev2.
  int64_t Write(int fd, std::string_view data, int64_t offset, int rw_flags) {
    iocb write{};
    write.aio_lio_opcode = IOCB_CMD_PWRITE;
    write.aio_fildes = static_cast<uint32_t>(fd);
    write.aio_buf = reinterpret_cast<uint64_t>(data.data());
    write.aio_nbytes = data.size();
    write.aio_offset = offset;
    write.aio_rw_flags = rw_flags;
    iocb* const one = &write;
    io_event done{};
    if (syscall(SYS_io_submit, context_, 1, &one) != 1) return -1;
    if (syscall(SYS_io_getevents, context_, 1, 1, &done, nullptr) != 1) return -1;
    return done.res;
  }

 private:
  aio_context_t context_ = 0;
};

// No FSYNC follows such a write: its own answer says that it is durable.
TEST_P(KillMount, AsynchronousSynchronisedDirectWritesSurvive) {
  // Parts of pages, so that from the second mount on an answer has to wait for old bytes first.
  constexpr size_t kBytes = 1000;
  struct Case {
    int open_flags;
    int rw_flags;
  };
  const std::string path = mount_->Path("file");
  std::string expected(40'000, 'y');
  mount_->Mount(Options("commit=1h"));
  {
    const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_WRONLY, 0644));
    ASSERT_EQ(write(fd.get(), expected.data(), expected.size()),
              static_cast<ssize_t>(expected.size()));
    ASSERT_EQ(fsync(fd.get()), 0);
  }
  AsyncWriter writer;
  int64_t offset = 100;
  for (const Case& how : {Case{O_DSYNC, 0}, Case{O_SYNC, 0}, Case{0, RWF_DSYNC}}) {
    if (!mount_->IsMounted()) mount_->Mount(Options("commit=1h"));
    const io::UniqueFd fd(open(path.c_str(), O_WRONLY | O_DIRECT | how.open_flags));
    ASSERT_TRUE(fd.valid());
    const std::string data(kBytes, 'z');
    ASSERT_EQ(writer.Write(fd.get(), data, offset, how.rw_flags), static_cast<int64_t>(kBytes));
    expected.replace(static_cast<size_t>(offset), kBytes, data);
    offset += 10'000;
    mount_->KillDaemon();
  }
  mount_->Mount(Options());
  EXPECT_TRUE(ReadFile(path) == expected);
}

TEST_P(KillMount, DeadMountAnswersWithErrorsAndUmountClearsIt) {
  mount_->Mount(Options());
  const pid_t daemon = mount_->DaemonPid();
  ASSERT_EQ(kill(daemon, SIGKILL), 0);
  ASSERT_TRUE(WaitGone(daemon));
  const int error = ERRNO_OF(access(mount_->Path("x").c_str(), F_OK));
  EXPECT_TRUE(IsDeathErrno(error)) << error;
  EXPECT_EQ(Terracefs({"stats", mount_->mountpoint()}).exit_code, 2);
  const ProcessResult result = Terracefs({"umount", mount_->mountpoint()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("had died"), std::string::npos) << result.err;
  EXPECT_FALSE(mount_->IsMounted());
}

TEST_P(KillMount, AbortedConnectionClosesTheStoreCleanly) {
  if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
  mount_->Mount(Options());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  // Requests are waiting for the disk when the connection is cut.
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const std::string path = mount_->Path("f" + std::to_string(i));
      const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_WRONLY, 0644));
      while (!stop && write(fd.get(), "x", 1) == 1 && fsync(fd.get()) == 0) {
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const pid_t daemon = mount_->DaemonPid();
  ASSERT_NE(daemon, 0);
  umount2(mount_->mountpoint().c_str(), MNT_FORCE | MNT_DETACH);
  umount2(mount_->mountpoint().c_str(), MNT_DETACH);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(WaitGone(daemon));
  EXPECT_TRUE(mount_->ClosedCleanly()) << mount_->Log();
}

}  // namespace
}  // namespace terracefs::testing
