// Steering a mount from outside, through the program and through its ioctls: which compactions run,
// how they are stopped and started, and with which settings.
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "fs/control/ioctl.h"
#include "io/base/random.h"
#include "io/base/units.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

using Json = nlohmann::json;

constexpr uid_t kUser = 54321;
constexpr gid_t kGroup = 54322;
constexpr std::chrono::seconds kPatience(60);

class ControlMount : public TransportTest {
 protected:
  // Its standard output; the test fails if it does not exit with `exit_code`.
  std::string Run(std::vector<std::string> arguments, int exit_code = 0) {
    const ProcessResult result = Terracefs(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << arguments[0] << ": " << result.err;
    EXPECT_EQ(result.err.empty(), exit_code == 0) << result.err;
    return result.out;
  }
  Json RunJson(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    arguments.push_back(mount_->mountpoint());
    const Json json = Json::parse(Run(arguments), nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << arguments[0];
    return json;
  }
  std::string Get(const std::string& key) {
    std::string value = Run({"config", "get", key, mount_->mountpoint()});
    if (!value.empty() && value.back() == '\n') value.pop_back();
    return value;
  }
  // One line that says why.
  std::string Refusal(std::vector<std::string> arguments, int exit_code) {
    const ProcessResult result = Terracefs(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_TRUE(result.err.starts_with("terracefs: ")) << result.err;
    EXPECT_EQ(result.out, "");
    return result.err;
  }
  // What no codec makes smaller.
  std::string Noise(size_t bytes) {
    std::string noise(bytes, '\0');
    for (char& c : noise) c = static_cast<char>(random_.Next());
    return noise;
  }
  void Write(const std::string& name, const std::string& content) {
    const std::string path = mount_->Path(name);
    const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644));
    ASSERT_TRUE(fd.valid()) << path;
    ASSERT_EQ(write(fd.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
  }
  // `count` files of a MiB.
  void Fill(const std::string& directory, int count) {
    std::filesystem::create_directories(mount_->Path(directory));
    for (int i = 0; i < count; ++i) {
      Write(directory + "/" + std::to_string(i), Noise(io::kMiB));
    }
  }
  Json Job(const std::string& action, uint64_t id) {
    return Json::parse(Run({"job", action, "--json", mount_->mountpoint(), std::to_string(id)}),
                       nullptr, false);
  }
  // A job that the limiter keeps busy for some minutes.
  uint64_t StartSlowJob() {
    mount_->Mount(Options("memtable=4M,compaction_rate=0"));
    Fill("a", 12);
    Run({"config", "set", "compaction_rate", "1M", mount_->mountpoint()});
    Fill("b", 12);
    for (int i = 0; i < 12; ++i) Write("a/" + std::to_string(i), Noise(io::kMiB));
    return RunJson({"compact", "--no-wait"})["job"];
  }
  std::string StateAfter(uint64_t id, const std::string& not_this) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      const std::string state = Job("status", id)["state"];
      if (state != not_this || std::chrono::steady_clock::now() > end) return state;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  std::vector<std::string> Tables() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(mount_->store())) {
      if (entry.path().extension() == ".sst") names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  io::Random random_{99};
};
INSTANTIATE_TRANSPORT_TEST(ControlMount);

TEST_P(ControlMount, SettingsAreShownAndChanged) {
  mount_->Mount(Options("cache=32M,commit=3s,garbage_ratio=0.25,compaction_workers=2"));
  EXPECT_EQ(Get("cache"), "32M");
  EXPECT_EQ(Get("log_level"), "info");
  EXPECT_EQ(Get("commit"), "3s");
  EXPECT_EQ(Get("garbage_ratio"), "0.25");
  EXPECT_EQ(Get("compaction_workers"), "2");
  EXPECT_EQ(Get("delete_deadline"), "10m");
  EXPECT_EQ(Get("compaction_rate"), "auto");
  EXPECT_EQ(Get("compress"), "none");
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"compaction_rate", "5M"},
                                                        {"compaction_workers", "3"},
                                                        {"delete_deadline", "1m"},
                                                        {"garbage_ratio", "0.5"},
                                                        {"compress", "zstd:3"},
                                                        {"commit", "500ms"},
                                                        {"cache", "16M"},
                                                        {"log_level", "warn"}}) {
    EXPECT_EQ(Run({"config", "set", key, value, mount_->mountpoint()}), "");
    EXPECT_EQ(Get(key), value);
  }
  EXPECT_EQ(Run({"config", "list", mount_->mountpoint()}),
            "compaction_rate=5M\ncompaction_workers=3\ndelete_deadline=1m\ngarbage_ratio=0.5\n"
            "compress=zstd:3\ncommit=500ms\ncache=16M\nlog_level=warn\n");
  mount_->Umount();
}

TEST_P(ControlMount, TheLimiterFollowsItsSetting) {
  mount_->Mount(Options());
  const auto limiter = [&] { return RunJson({"stats"})["limiter"]; };
  Run({"config", "set", "compaction_rate", "5M", mount_->mountpoint()});
  EXPECT_EQ(limiter()["mode"], "fixed");
  EXPECT_EQ(limiter()["rate"], 5 * io::kMiB);
  Run({"config", "set", "compaction_rate", "0", mount_->mountpoint()});
  EXPECT_EQ(limiter()["mode"], "unlimited");
  EXPECT_EQ(Get("compaction_rate"), "0");
  Run({"config", "set", "compaction_rate", "auto", mount_->mountpoint()});
  EXPECT_EQ(limiter()["mode"], "auto");
  mount_->Umount();
}

TEST_P(ControlMount, RefusedSettingsChangeNothing) {
  mount_->Mount(Options("compaction_rate=7M,cache=32M"));
  const std::string path = mount_->mountpoint();
  const std::string before = Run({"config", "list", path});
  EXPECT_NE(Refusal({"config", "set", "compaction_rate", "fast", path}, 1).find("not a size"),
            std::string::npos);
  EXPECT_NE(Refusal({"config", "set", "garbage_ratio", "2", path}, 1).find("0.01 to 1"),
            std::string::npos);
  EXPECT_NE(Refusal({"config", "set", "frob", "2", path}, 1).find("no such setting 'frob'"),
            std::string::npos);
  Refusal({"config", "set", "memtable", "16M", path}, 1);
  EXPECT_NE(Refusal({"config", "set", "compress", "zstd:20", path}, 1).find("zstd:1 to zstd:19"),
            std::string::npos);
  Refusal({"config", "set", "inline_max", "4K", path}, 1);
  Refusal({"config", "set", "cache", path}, 1);
  Refusal({"config", "get", "frob", path}, 1);
  Refusal({"config", "get", path}, 1);
  Refusal({"config", "frob", path}, 1);
  Refusal({"config", path}, 1);
  Refusal({"config", "list", mount_->store()}, 2);
  EXPECT_EQ(Run({"config", "list", path}), before);
  mount_->Umount();
}

TEST_P(ControlMount, OthersReadSettingsAndJobsAndChangeNothing) {
  if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root to become another user";
  mount_->Mount(Options("allow_other,cache=32M"));
  Fill("a", 1);
  const uint64_t id = RunJson({"compact"})["job"];
  const std::string path = mount_->mountpoint();
  const auto as_user = [&](std::vector<std::string> arguments) {
    return RunAsUser(kUser, kGroup, [&] { return Terracefs(arguments).exit_code; });
  };
  const std::string number = std::to_string(id);
  EXPECT_EQ(as_user({"config", "get", "cache", path}), 0);
  EXPECT_EQ(as_user({"config", "list", path}), 0);
  EXPECT_EQ(as_user({"job", "list", path}), 0);
  EXPECT_EQ(as_user({"job", "status", path, number}), 0);
  EXPECT_EQ(as_user({"config", "set", "cache", "64M", path}), 2);
  EXPECT_EQ(as_user({"compact", "--dry-run", path}), 2);
  for (const char* action : {"pause", "resume", "cancel"}) {
    EXPECT_EQ(as_user({"job", action, path, number}), 2) << action;
  }
  EXPECT_EQ(RunAsUser(kUser, kGroup,
                      [&path] {
                        const io::UniqueFd fd(open(path.c_str(), O_RDONLY));
                        terracefs_config data{};
                        data.version = TERRACEFS_IOC_VERSION;
                        data.action = TERRACEFS_CONFIG_SET;
                        std::strcpy(data.setting[0].key, "cache");
                        std::strcpy(data.setting[0].value, "64M");
                        return ERRNO_OF(ioctl(fd.get(), TERRACEFS_IOC_CONFIG, &data));
                      }),
            EPERM);
  EXPECT_EQ(Get("cache"), "32M");
  mount_->Umount();
}

TEST_P(ControlMount, APausedJobStandsStillWhileTheMountGoesOn) {
  const uint64_t id = StartSlowJob();
  const std::string path = mount_->mountpoint();
  EXPECT_EQ(Job("pause", id)["state"], "paused");
  // What was in the middle of an entry ends it.
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const Json paused = Job("status", id);
  EXPECT_EQ(paused["state"], "paused");
  for (int i = 0; i < 8; ++i) Write("new" + std::to_string(i), Noise(io::kMiB));
  Run({"sync", path});
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const Json still = Job("status", id);
  EXPECT_EQ(still["state"], "paused");
  EXPECT_EQ(still["bytes_read"], paused["bytes_read"]);
  EXPECT_EQ(still["bytes_written"], paused["bytes_written"]);
  EXPECT_EQ(RunJson({"job", "list"})["jobs"][0]["state"], "paused");

  EXPECT_EQ(Job("resume", id)["state"], "running");
  Run({"config", "set", "compaction_rate", "0", path});
  EXPECT_EQ(StateAfter(id, "running"), "done");
  EXPECT_EQ(std::filesystem::file_size(mount_->Path("new7")), io::kMiB);
  mount_->Umount();
}

TEST_P(ControlMount, JobsAreCancelledWhilePausedAndByCtrlC) {
  const uint64_t id = StartSlowJob();
  EXPECT_EQ(Job("pause", id)["state"], "paused");
  Job("cancel", id);
  EXPECT_EQ(StateAfter(id, "running"), "cancelled");
  Refusal({"job", "pause", mount_->mountpoint(), "99"}, 2);

  const pid_t follower = StartProcess({TerracefsProgram(), "compact", mount_->mountpoint()});
  ASSERT_GT(follower, 0);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (RunJson({"job", "list"})["jobs"].size() < 2 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_EQ(kill(follower, SIGINT), 0);
  EXPECT_EQ(WaitProcess(follower), 130);
  EXPECT_EQ(RunJson({"job", "status"})["state"], "cancelled");
  mount_->Umount();
}

TEST_P(ControlMount, UnmountEndsAPausedJob) {
  const uint64_t id = StartSlowJob();
  Job("pause", id);
  mount_->Umount();
  EXPECT_TRUE(mount_->ClosedCleanly()) << mount_->Log();
}

TEST_P(ControlMount, ADryRunSaysWhatItWouldDoAndDoesNothing) {
  mount_->Mount(Options("memtable=4M,commit=0,compaction_rate=0"));
  Fill("a", 16);
  std::filesystem::remove_all(mount_->Path("a"));
  Fill("b", 4);
  // What is in memory is in tables, and everything that is due by itself over.
  RunJson({"compact", "--dry-run"});
  std::vector<std::string> before;
  do {
    before = Tables();
    std::this_thread::sleep_for(std::chrono::seconds(1));
  } while (Tables() != before || RunJson({"stats"})["compaction"]["running"] != 0);
  const Json levels = RunJson({"stats"})["levels"];

  const Json estimate = RunJson({"compact", "--dry-run"});
  EXPECT_EQ(estimate["state"], "done");
  EXPECT_EQ(estimate["estimate"], true);
  EXPECT_GT(estimate["passes"].size(), 0u);
  EXPECT_EQ(Tables(), before);
  const Json after = RunJson({"stats"})["levels"];
  for (size_t i = 0; i < levels.size(); ++i) {
    EXPECT_EQ(after[i]["files"], levels[i]["files"]) << i;
    EXPECT_EQ(after[i]["bytes"], levels[i]["bytes"]) << i;
  }
  const std::string text = Run({"compact", "--dry-run", mount_->mountpoint()});
  EXPECT_NE(text.find("would read"), std::string::npos) << text;

  // And it was right, more or less.
  const Json real = RunJson({"compact"});
  EXPECT_FALSE(real.contains("estimate"));
  const auto bytes = [](const Json& json, const char* key) { return json[key].get<double>(); };
  for (const char* key : {"bytes_read", "bytes_written"}) {
    const double allowed = std::max(4.0 * io::kMiB, bytes(real, key) * 0.5);
    EXPECT_NEAR(bytes(estimate, key), bytes(real, key), allowed) << key;
  }
  mount_->Umount();
}

TEST_P(ControlMount, APathLimitsACompactionToWhatBelongsToIt) {
  mount_->Mount(Options("memtable=4M,compaction_rate=0"));
  Fill("keep", 8);
  Fill("old", 16);
  Run({"compact", mount_->mountpoint()});
  for (int i = 0; i < 12; ++i) std::filesystem::remove(mount_->Path("old/" + std::to_string(i)));
  const std::string kept = DescribeTree(mount_->mountpoint());

  const Json job = RunJson({"compact", "--path", mount_->Path("old")});
  EXPECT_EQ(job["state"], "done");
  EXPECT_EQ(job["passes"][0]["name"], "walk");
  const Json single = RunJson({"compact", "--path", "keep/3"});
  EXPECT_EQ(single["state"], "done") << "relative to the mount point";
  EXPECT_LE(single["bytes_read"], 8 * io::kMiB) << "one file of a MiB";
  uint64_t left = 0;
  for (const Json& level : RunJson({"stats"})["levels"]) left += level["bytes"].get<uint64_t>();
  EXPECT_LE(left, 15 * io::kMiB) << "12 MiB remain; the removed files are gone";
  EXPECT_EQ(DescribeTree(mount_->mountpoint()), kept);

  const std::string path = mount_->mountpoint();
  EXPECT_NE(Refusal({"compact", "--path", path + "/none", path}, 2).find("No such file"),
            std::string::npos);
  EXPECT_NE(Refusal({"compact", "--path", mount_->store(), path}, 2).find("not on this mount"),
            std::string::npos);
  ASSERT_EQ(mkfifo(mount_->Path("fifo").c_str(), 0644), 0);
  Refusal({"compact", "--path", "fifo", path}, 2);
  mount_->Umount();
}

TEST_P(ControlMount, OnTheirOwnLevelTablesDoNotSink) {
  mount_->Mount(Options("memtable=4M,compaction_rate=0"));
  Fill("a", 16);
  Run({"compact", mount_->mountpoint()});
  const auto level_files = [&] {
    std::vector<bool> used;
    for (const Json& level : RunJson({"stats"})["levels"]) used.push_back(level["files"] > 0);
    return used;
  };
  const std::vector<bool> used = level_files();
  std::filesystem::remove_all(mount_->Path("a"));
  Run({"sync", mount_->mountpoint()});
  const Json job = RunJson({"compact", "--self-level"});
  EXPECT_EQ(job["state"], "done");
  const std::vector<bool> now = level_files();
  for (size_t i = 1; i < used.size(); ++i) {
    EXPECT_TRUE(used[i] || !now[i]) << "something sank to level " << i;
  }
  mount_->Umount();
}

TEST_P(ControlMount, AReclaimGoalEndsTheJobEarly) {
  mount_->Mount(Options("memtable=4M,compaction_rate=0,compaction_workers=1"));
  Refusal({"compact", "--reclaim", "0", mount_->mountpoint()}, 1);
  Refusal({"compact", "--reclaim", "much", mount_->mountpoint()}, 1);
  Fill("a", 32);
  Run({"compact", mount_->mountpoint()});
  for (int i = 0; i < 32; i += 2) Write("a/" + std::to_string(i), Noise(io::kMiB));
  const Json job = RunJson({"compact", "--reclaim", "2M"});
  EXPECT_EQ(job["state"], "done");
  EXPECT_LE(job["bytes_read"], RunJson({"stats"})["io"]["bytes_written"]);
  mount_->Umount();
}

}  // namespace
}  // namespace terracefs::testing
