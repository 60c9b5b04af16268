// The daemon is killed while `compact --vacuum` moves the pages of files.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "io/base/random.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr uint64_t kFilePages = 4096;

// A page's number of change is in every word of it, mixed with the word's place.
std::string PageOf(uint64_t change, uint64_t page) {
  std::string bytes(kPageBytes, '\0');
  io::Random random(change << 24 | page);
  for (size_t i = 0; i < kPageBytes; i += sizeof(uint64_t)) {
    const uint64_t word = i == 0 ? change : random.Next();
    std::memcpy(bytes.data() + i, &word, sizeof(word));
  }
  return bytes;
}

// Overwrites runs of pages of one file at random, one after the other, until the daemon dies;
// fsyncs now and then. Afterwards the file must be what it was after some change, at or behind the
// last fsync.
class Overwriter {
 public:
  Overwriter(std::string path, uint64_t seed)
      : path_(std::move(path)), random_(seed), synced_(kFilePages) {}

  void Run() {
    const io::UniqueFd fd(open(path_.c_str(), O_CREAT | O_WRONLY, 0644));
    while (fd.valid() && !stop_) {
      // All of it first, in order.
      Change change{last_change_ + 1, filled_pages_, kFillPages};
      if (filled_pages_ == kFilePages) {
        change.page_count = 1 + random_.Uniform(kFillPages);
        change.page = random_.Uniform(kFilePages - change.page_count + 1);
      } else {
        filled_pages_ += kFillPages;
      }
      unsynced_.push_back(change);
      last_change_ = change.number;
      std::string bytes;
      for (uint64_t i = 0; i < change.page_count; ++i) {
        bytes += PageOf(change.number, change.page + i);
      }
      // One request, and so one batch.
      if (pwrite(fd.get(), bytes.data(), bytes.size(),
                 static_cast<off_t>(change.page * kPageBytes)) !=
          static_cast<ssize_t>(bytes.size())) {
        return;
      }
      written_pages_ += change.page_count;
      if (!random_.OneIn(100)) continue;
      if (fsync(fd.get()) != 0) return;
      Apply(unsynced_, UINT64_MAX, &synced_);
      unsynced_.clear();
    }
  }
  void Stop() { stop_ = true; }
  uint64_t written_pages() const { return written_pages_; }

  // After the crash: takes what is found as the new beginning.
  void Check() {
    const std::string content = ReadFile(path_);
    ASSERT_EQ(content.size() % kPageBytes, 0U);
    ASSERT_LE(content.size(), kFilePages * kPageBytes);
    std::vector<uint64_t> found(kFilePages);
    uint64_t newest = 0;
    for (uint64_t page = 0; page < content.size() / kPageBytes; ++page) {
      std::memcpy(&found[page], content.data() + page * kPageBytes, sizeof(uint64_t));
      newest = std::max(newest, found[page]);
      ASSERT_TRUE(content.compare(page * kPageBytes, kPageBytes, PageOf(found[page], page)) == 0)
          << "page " << page << " of " << path_ << " is nothing that was ever written";
    }
    std::vector<uint64_t> expected = synced_;
    Apply(unsynced_, newest, &expected);
    for (uint64_t page = 0; page < kFilePages; ++page) {
      ASSERT_EQ(found[page], expected[page])
          << "page " << page << " of " << path_ << ", whose newest change is " << newest << " of "
          << last_change_;
    }
    synced_ = found;
    filled_pages_ = content.size() / kPageBytes;
    unsynced_.clear();
  }

 private:
  struct Change {
    uint64_t number = 0;
    uint64_t page = 0;
    uint64_t page_count = 0;
  };
  static constexpr uint64_t kFillPages = 32;
  static_assert(kFilePages % kFillPages == 0);

  static void Apply(const std::vector<Change>& changes, uint64_t last,
                    std::vector<uint64_t>* numbers) {
    for (const Change& change : changes) {
      if (change.number > last) return;
      for (uint64_t i = 0; i < change.page_count; ++i) {
        (*numbers)[change.page + i] = change.number;
      }
    }
  }

  const std::string path_;
  io::Random random_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> written_pages_{0};
  uint64_t filled_pages_ = 0;
  uint64_t last_change_ = 0;
  std::vector<uint64_t> synced_;  // number of the last change, by page
  std::vector<Change> unsynced_;  // since then
};

class KillVacuumMount : public TransportTest {
 protected:
  // Starts a vacuum and waits until it is at that pass; false if it was over first.
  bool StartVacuum() {
    const ProcessResult started =
        Terracefs({"compact", "--vacuum", "--no-wait", "--json", mount_->mountpoint()});
    EXPECT_EQ(started.exit_code, 0) << started.err;
    if (started.exit_code != 0) return false;
    const std::string id =
        std::to_string(nlohmann::json::parse(started.out)["job"].get<uint64_t>());
    while (true) {
      const ProcessResult status = Terracefs({"job", "status", "--json", mount_->mountpoint(), id});
      EXPECT_EQ(status.exit_code, 0) << status.err;
      if (status.exit_code != 0) return false;
      const nlohmann::json job = nlohmann::json::parse(status.out);
      if (job["state"] != "running") return false;
      if (job["passes"].empty()) continue;
      const auto pass = job["passes"].back()["name"].get<std::string>();
      if (pass == "value files") return true;
    }
  }
};
INSTANTIATE_TRANSPORT_TEST(KillVacuumMount);

TEST_P(KillVacuumMount, NothingSyncedIsLostAndFilesAreOfOneMoment) {
  constexpr int kRounds = 4;
  constexpr int kWriters = 2;
  std::vector<std::unique_ptr<Overwriter>> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.push_back(std::make_unique<Overwriter>(mount_->Path("f" + std::to_string(i)),
                                                   static_cast<uint64_t>(i)));
  }
  int killed_in_vacuum = 0;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    // Slow, so that vacuum is still at work when it is seen.
    mount_->Mount(Options("compaction_rate=64M,garbage_ratio=0.9,commit=1s"));
    std::vector<std::thread> threads;
    for (const auto& writer : writers) {
      threads.emplace_back([&writer = *writer] { writer.Run(); });
    }
    for (const auto& writer : writers) {
      const uint64_t wanted = writer->written_pages() + 2 * kFilePages;
      while (writer->written_pages() < wanted) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
    killed_in_vacuum += StartVacuum() ? 1 : 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(150 * round));
    const pid_t daemon = mount_->DaemonPid();
    ASSERT_NE(daemon, 0);
    ASSERT_EQ(kill(daemon, SIGKILL), 0);
    for (std::thread& thread : threads) thread.join();
    ASSERT_TRUE(WaitGone(daemon));

    mount_->Mount(Options());
    for (const auto& writer : writers) ASSERT_NO_FATAL_FAILURE(writer->Check());
    // Vacuum begins again where it is needed, to its end, and what it leaves is the same.
    if (round % 2 == 1) {
      const ProcessResult result = Terracefs({"compact", "--vacuum", mount_->mountpoint()});
      EXPECT_EQ(result.exit_code, 0) << result.err;
      for (const auto& writer : writers) ASSERT_NO_FATAL_FAILURE(writer->Check());
    }
    mount_->Umount();
  }
  EXPECT_GT(killed_in_vacuum, 0);
}

}  // namespace
}  // namespace terracefs::testing
