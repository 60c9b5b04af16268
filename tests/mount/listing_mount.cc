// Listings of directories that change meanwhile, and of large ones.
#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <set>
#include <string_view>
#include <thread>

#include "fs/control/ioctl.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class ListingMount : public TransportTest {
 protected:
  void SetUp() override {
    TransportTest::SetUp();
    if (!IsSkipped()) mount_->Mount(Options());
  }
  // How many times the kernel has asked for attributes.
  static uint64_t AttributeRequests(const io::UniqueFd& on_mount) {
    terracefs_stats stats{};
    stats.version = TERRACEFS_IOC_VERSION;
    EXPECT_EQ(ioctl(on_mount.get(), TERRACEFS_IOC_STATS, &stats), 0);
    uint64_t count = 0;
    for (const terracefs_op_stats& op : stats.op) {
      if (std::string_view(op.name) == "getattr") count += op.count;
    }
    return count;
  }
  std::string Name(int i) { return "entry-with-a-longer-name-" + std::to_string(i); }
  void MakeFiles(int begin, int end) {
    for (int i = begin; i < end; ++i) {
      const io::UniqueFd fd(open(mount_->Path(Name(i)).c_str(), O_CREAT | O_WRONLY, 0644));
      ASSERT_TRUE(fd.valid()) << i;
    }
  }
  // Names that one pass shows. Those that were there all the time must not come twice; one that was
  // removed and made again meanwhile may.
  std::set<std::string> Pass(const std::set<std::string>& may_come_twice = {}) {
    std::set<std::string> names;
    DIR* const directory = opendir(mount_->mountpoint().c_str());
    EXPECT_NE(directory, nullptr);
    while (const dirent* entry = readdir(directory)) {
      const bool is_new = names.insert(entry->d_name).second;
      EXPECT_TRUE(is_new || may_come_twice.contains(entry->d_name)) << entry->d_name;
    }
    closedir(directory);
    return names;
  }
};
INSTANTIATE_TRANSPORT_TEST(ListingMount);

TEST_P(ListingMount, LargeDirectoriesAreCompleteAlsoAfterRemount) {
  constexpr int kCount = 5000;
  MakeFiles(0, kCount);
  EXPECT_EQ(Pass().size(), kCount + 2u);
  mount_->Umount();
  mount_->Mount(Options());
  const std::set<std::string> names = Pass();
  EXPECT_EQ(names.size(), kCount + 2u);
  EXPECT_TRUE(names.contains(".") && names.contains(".."));
  // With every attribute, as `ls -l` asks for them.
  for (int i = 0; i < kCount; ++i) {
    struct stat attributes {};
    ASSERT_EQ(lstat(mount_->Path(Name(i)).c_str(), &attributes), 0) << i;
  }
  mount_->Umount();
}

TEST_P(ListingMount, EntriesThatStayAreShownWhileOthersComeAndGo) {
  constexpr int kStaying = 1000;
  constexpr int kChanging = 300;
  MakeFiles(0, kStaying);
  std::set<std::string> changing;
  for (int i = 0; i < kChanging; ++i) changing.insert(Name(kStaying + i));
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    for (int i = 0; !stop; ++i) {
      const std::string path = mount_->Path(Name(kStaying + i % kChanging));
      const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_WRONLY, 0644));
      if (i % 2 == 1) unlink(mount_->Path(Name(kStaying + i / 2 % kChanging)).c_str());
    }
  });
  for (int pass = 0; pass < 30; ++pass) {
    const std::set<std::string> names = Pass(changing);
    for (int i = 0; i < kStaying; ++i) ASSERT_TRUE(names.contains(Name(i))) << i;
  }
  stop = true;
  changer.join();
}

TEST_P(ListingMount, RemovingWhatIsListedEmptiesTheDirectory) {
  MakeFiles(0, 3000);
  DIR* const directory = opendir(mount_->mountpoint().c_str());
  ASSERT_NE(directory, nullptr);
  int removed = 0;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    ASSERT_EQ(unlinkat(dirfd(directory), entry->d_name, 0), 0) << entry->d_name;
    ++removed;
  }
  closedir(directory);
  EXPECT_EQ(removed, 3000);
  EXPECT_EQ(Pass().size(), 2u);
}

TEST_P(ListingMount, PositionsCanBeReturnedTo) {
  MakeFiles(0, 500);
  DIR* const directory = opendir(mount_->mountpoint().c_str());
  ASSERT_NE(directory, nullptr);
  std::vector<std::pair<long, std::string>> seen;
  for (;;) {
    const long position = telldir(directory);
    const dirent* const entry = readdir(directory);
    if (entry == nullptr) break;
    seen.emplace_back(position, entry->d_name);
  }
  ASSERT_EQ(seen.size(), 502u);
  for (size_t i = 0; i < seen.size(); i += 37) {
    seekdir(directory, seen[i].first);
    const dirent* const entry = readdir(directory);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->d_name, seen[i].second);
  }
  closedir(directory);
}

// The kernel cannot tell that an answer about a directory was overtaken by a new entry, so it must
// not believe it for long. Files have no such trouble.
TEST_P(ListingMount, OnlyAttributesOfDirectoriesAreAskedForAgain) {
  MakeFiles(0, 1);
  ASSERT_EQ(mkdir(mount_->Path("listed").c_str(), 0755), 0);
  mount_->Umount();
  mount_->Mount(Options());
  Pass();
  ASSERT_EQ(mkdir(mount_->Path("made").c_str(), 0755), 0);
  // Descriptors, because the directories on a path may be asked for too.
  const io::UniqueFd file(open(mount_->Path(Name(0)).c_str(), O_RDONLY));
  const io::UniqueFd listed(open(mount_->Path("listed").c_str(), O_RDONLY));
  const io::UniqueFd made(open(mount_->Path("made").c_str(), O_RDONLY));
  const auto requests_for = [](const io::UniqueFd& fd) {
    const uint64_t before = AttributeRequests(fd);
    struct stat attributes {};
    EXPECT_EQ(fstat(fd.get(), &attributes), 0);
    return AttributeRequests(fd) - before;
  };
  for (const io::UniqueFd* fd : {&file, &listed, &made}) requests_for(*fd);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_EQ(requests_for(file), 0u);
  EXPECT_EQ(requests_for(listed), 1u);
  EXPECT_EQ(requests_for(made), 1u);
}

TEST_P(ListingMount, NamesThatAreMissingAreRememberedUntilTheyExist) {
  const std::string path = mount_->Path("later");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ERRNO_OF(access(path.c_str(), F_OK)), ENOENT);
  ASSERT_EQ(mkdir(path.c_str(), 0755), 0);
  EXPECT_EQ(ERRNO_OF(access(path.c_str(), F_OK)), 0);
  ASSERT_EQ(rename(path.c_str(), mount_->Path("moved").c_str()), 0);
  EXPECT_EQ(ERRNO_OF(access(path.c_str(), F_OK)), ENOENT);
  EXPECT_EQ(ERRNO_OF(access(mount_->Path("moved").c_str(), F_OK)), 0);
}

}  // namespace
}  // namespace terracefs::testing
