// `terracefs space`: where the bytes of a store are, before and after files go.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "io/base/random.h"
#include "io/base/units.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

using Json = nlohmann::json;

constexpr double kMiB = static_cast<double>(io::kMiB);
constexpr std::chrono::seconds kPatience(60);

double Sum(const Json& json) {
  double sum = 0;
  for (const auto& [key, value] : json.items())
    sum += value.is_object() ? Sum(value) : double{value};
  return sum;
}

class SpaceMount : public TransportTest {
 protected:
  Json Run(const std::vector<std::string>& arguments) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--json", mount_->mountpoint()});
    const ProcessResult result = Terracefs(all);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const Json json = Json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << result.out;
    return json;
  }
  double StoreBytes() const {
    uint64_t bytes = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(mount_->store())) {
      const uint64_t size = entry.file_size(error);
      if (!error) bytes += size;  // it may be gone by now
    }
    return static_cast<double>(bytes);
  }
  // What the program says, at a moment at which the store's directory stood still, checked for what
  // must hold of it at any time.
  Json Space() {
    Json space;
    double before = 0;
    double after = 0;
    const auto end = std::chrono::steady_clock::now() + kPatience;
    do {
      before = StoreBytes();
      space = Run({"space"});
      after = StoreBytes();
    } while (before != after && std::chrono::steady_clock::now() < end);
    const double physical = space["physical"];
    EXPECT_NEAR(physical, after, 0.05 * after);
    EXPECT_NEAR(double{space["live"]} + Sum(space["reclaimable"]) + Sum(space["overhead"]),
                physical, 0.05 * physical)
        << space;
    EXPECT_LE(double{space["overhead"]["metadata"]}, 0.05 * physical + kMiB) << space;
    EXPECT_GE(double{space["capacity"]}, double{space["live"]});
    return space;
  }
  // What no codec makes smaller.
  void Write(const std::string& name, size_t mebibytes) {
    std::string noise(io::kMiB, '\0');
    const std::string path = mount_->Path(name);
    const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644));
    ASSERT_TRUE(fd.valid()) << path;
    for (size_t i = 0; i < mebibytes; ++i) {
      for (char& c : noise) c = static_cast<char>(random_.Next());
      ASSERT_EQ(write(fd.get(), noise.data(), noise.size()), static_cast<ssize_t>(noise.size()));
    }
  }

  io::Random random_{7};
};
INSTANTIATE_TRANSPORT_TEST(SpaceMount);

TEST_P(SpaceMount, FiguresAddUpWhileFilesComeAndGo) {
  mount_->Mount(Options("memtable=4M,compaction_rate=0"));
  Space();
  for (int i = 0; i < 6; ++i) Write(std::to_string(i), 8);
  Run({"compact"});
  Json space = Space();
  EXPECT_NEAR(double{space["live"]}, 48 * kMiB, 4 * kMiB) << space;
  EXPECT_EQ(space["reclaimable"]["open_unlinked"], 0u);
  EXPECT_TRUE(space["reclaimable"]["snapshots"].is_object());
  EXPECT_EQ(space["rate"], 0u);
  EXPECT_EQ(space["eta_s"], 0u);

  // Unlinked, but open: not live, and not to be had.
  io::UniqueFd held(open(mount_->Path("0").c_str(), O_RDONLY));
  ASSERT_TRUE(held.valid());
  std::filesystem::remove(mount_->Path("0"));
  space = Space();
  EXPECT_NEAR(double{space["reclaimable"]["open_unlinked"]}, 8 * kMiB, 0.5 * kMiB) << space;
  EXPECT_NEAR(double{space["live"]}, 40 * kMiB, 4 * kMiB) << space;

  // Overwritten and removed: garbage until somebody cleans up.
  Write("1", 8);
  for (const char* name : {"2", "3"}) std::filesystem::remove(mount_->Path(name));
  Run({"compact", "--dry-run"});
  Space();

  held.Reset();
  Run({"compact", "--vacuum"});
  // The kernel forgets a closed inode a moment later.
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (double{Run({"space"})["reclaimable"]["open_unlinked"]} > 0 &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  Run({"compact", "--vacuum"});
  // Whoever has just looked at an older state of the store keeps its files a moment longer.
  while (Sum(Run({"space"})["reclaimable"]) > 4 * kMiB && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  space = Space();
  EXPECT_EQ(space["reclaimable"]["open_unlinked"], 0u);
  EXPECT_NEAR(double{space["live"]}, 24 * kMiB, 4 * kMiB) << space;
  EXPECT_LE(Sum(space["reclaimable"]), 4 * kMiB) << space;
  EXPECT_LE(double{space["physical"]} - Sum(space["overhead"]), 30 * kMiB) << space;
  mount_->Umount();
}

TEST_P(SpaceMount, TheTableForHumansNamesEveryHolder) {
  mount_->Mount(Options("compaction_rate=5M"));
  const ProcessResult result = Terracefs({"space", mount_->mountpoint()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  for (const char* what :
       {"capacity", "on disk", "live", "reclaimable", "tombstones", "blob garbage", "open unlinked",
        "obsolete files", "overhead", "log", "spare", "metadata"}) {
    EXPECT_NE(result.out.find(what), std::string::npos) << what << " in\n" << result.out;
  }
  EXPECT_EQ(Run({"space"})["rate"], 5 * io::kMiB);
  mount_->Umount();
}

}  // namespace
}  // namespace terracefs::testing
