#include "io/uring_storage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "io/unique_fd.h"
#include "tests/io/forbid_system_call.h"
#include "tests/support/temp_dir.h"

namespace terracefs::io {
namespace {

OpenOptions ForWriting() {
  OpenOptions options;
  options.write = true;
  options.create = true;
  return options;
}

class UringStorageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Storage>> storage = OpenUringStorage(directory_.path());
    if (!storage.ok() && storage.status().Is(StatusCode::kNotSupported)) {
      GTEST_SKIP() << "NO IO_URING HERE, NOT TESTED: " << storage.status().ToString();
    }
    ASSERT_TRUE(storage.ok()) << storage.status().ToString();
    storage_ = std::move(storage).value();
  }
  std::unique_ptr<File> Open(std::string_view name) {
    Result<std::unique_ptr<File>> file = storage_->Open(name, ForWriting());
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    return std::move(file).value();
  }

  terracefs::testing::TempDir directory_;
  std::unique_ptr<Storage> storage_;
};

// A pipe gives what it has, so a read of more is short, which breaks the kernel's chain. The
// remainder and what was linked behind it have to go out again, and in order.
TEST_F(UringStorageTest, AShortReadIsResumedWithItsFollowers) {
  const std::string path = directory_.path() + "/pipe";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const std::unique_ptr<File> pipe = Open("pipe");
  const UniqueFd feeder(open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(feeder.valid());
  for (int round = 0; round < 20; ++round) {
    ASSERT_EQ(write(feeder.get(), "abcd", 4), 4);
    std::string texts[] = {std::string(10, '-'), std::string(3, '-'), std::string(2, '-')};
    IoRequest requests[3];
    std::vector<IoRequest*> list;
    for (size_t i = 0; i < 3; ++i) {
      requests[i].kind = IoRequest::Kind::kRead;
      requests[i].data = AsMutableBytes(texts[i]).data();
      requests[i].bytes = texts[i].size();
      requests[i].link_next = i < 2;
      list.push_back(&requests[i]);
    }
    pipe->Start(list);
    std::thread late([&] {
      // Again less than the first read wants, and then more than that.
      EXPECT_EQ(write(feeder.get(), "ef", 2), 2);
      EXPECT_EQ(write(feeder.get(), "ghijKLMyz", 9), 9);
    });
    for (size_t i = 0; i < 3; ++i) {
      const Status status = pipe->Wait(requests[i]);
      EXPECT_TRUE(status.ok()) << i << " " << status.ToString();
    }
    late.join();
    EXPECT_EQ(texts[0], "abcdefghij");
    EXPECT_EQ(texts[1], "KLM");
    EXPECT_EQ(texts[2], "yz");
  }
}

TEST_F(UringStorageTest, ThreadsComeAndGo) {
  const std::unique_ptr<File> file = Open("file");
  for (int i = 0; i < 100; ++i) {
    std::thread([&] { EXPECT_TRUE(file->WriteDurable(0, AsBytes("x")).ok()); }).join();
  }
}

// The daemon opens the store, then forks into the background.
TEST_F(UringStorageTest, TheStoreWorksInTheChildOfAForkAndStillInTheParent) {
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(file->Write(0, AsBytes("parent")).ok());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::string text(6, '\0');
    const bool works = file->ReadFull(0, AsMutableBytes(text)).ok() && text == "parent" &&
                       file->WriteDurable(6, AsBytes(" child")).ok() &&
                       storage_->SyncDirectory().ok();
    _exit(works ? 0 : 1);
  }
  int outcome = -1;
  ASSERT_EQ(waitpid(child, &outcome, 0), child);
  EXPECT_TRUE(WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0);
  std::string text(12, '\0');
  ASSERT_TRUE(file->ReadFull(0, AsMutableBytes(text)).ok());
  EXPECT_EQ(text, "parent child");
}

TEST_F(UringStorageTest, AThreadThatGetsNoRingWorksWithoutOne) {
  const std::unique_ptr<File> file = Open("file");
  bool forbidden = false;
  Status written;
  Status read;
  std::string text(4, '\0');
  std::thread([&] {
    forbidden = ForbidUring(EMFILE);
    written = file->WriteDurable(0, AsBytes("text"));
    read = file->ReadFull(0, AsMutableBytes(text));
  }).join();
  if (!forbidden) GTEST_SKIP() << "no seccomp here, not tested";
  EXPECT_TRUE(written.ok()) << written.ToString();
  EXPECT_TRUE(read.ok()) << read.ToString();
  EXPECT_EQ(text, "text");
  EXPECT_EQ(storage_->stats().completed, 2U);
}

}  // namespace
}  // namespace terracefs::io
