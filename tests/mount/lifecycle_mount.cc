// From mkfs to umount and back, over both transports.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "fs/mount_table.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class LifecycleMount : public TransportTest {};
INSTANTIATE_TRANSPORT_TEST(LifecycleMount);

// A little of everything, below `root`.
void MakeTree(const std::string& root) {
  std::filesystem::create_directories(root + "/a/b/c");
  for (int i = 0; i < 50; ++i) {
    const std::string path = root + "/a/b/file" + std::to_string(i);
    const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_WRONLY, 0644));
    ASSERT_TRUE(fd.valid()) << path;
    const std::string content(static_cast<size_t>(i) * 1777, static_cast<char>('a' + i % 26));
    ASSERT_EQ(write(fd.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
  }
  std::filesystem::create_symlink("a/b", root + "/link");
  std::filesystem::create_hard_link(root + "/a/b/file7", root + "/hard");
}

TEST_P(LifecycleMount, WhatWasWrittenIsThereAfterRemount) {
  mount_->Mount(Options());
  MakeTree(mount_->mountpoint());
  const std::string before = DescribeTree(mount_->mountpoint());
  mount_->Umount();
  EXPECT_TRUE(mount_->ClosedCleanly()) << mount_->Log();
  EXPECT_TRUE(std::filesystem::is_empty(mount_->mountpoint()));
  mount_->Mount(Options());
  EXPECT_EQ(DescribeTree(mount_->mountpoint()), before);
  EXPECT_EQ(std::filesystem::read_symlink(mount_->Path("link")), "a/b");
  struct stat attributes {};
  ASSERT_EQ(stat(mount_->Path("hard").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_nlink, 2u);
  mount_->Umount();
}

TEST_P(LifecycleMount, MountTableShowsStoreAndType) {
  mount_->Mount(Options());
  const auto entry = fs::FindMount(mount_->mountpoint());
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->type, "fuse.terracefs");
  EXPECT_EQ(entry->source, mount_->store());
  mount_->Umount();
}

TEST_P(LifecycleMount, StoreWithStrangeCharactersInItsPathMounts) {
  const std::string store = mount_->directory() + "/a, b\\c";
  ASSERT_EQ(Terracefs({"mkfs", store}).exit_code, 0);
  const ProcessResult result = Terracefs({"mount", "-o", Options(), store, mount_->mountpoint()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(fs::FindMount(mount_->mountpoint())->source, std::filesystem::canonical(store));
  EXPECT_EQ(Terracefs({"umount", mount_->mountpoint()}).exit_code, 0);
}

TEST_P(LifecycleMount, ReadOnlyMountReadsAndRefusesWrites) {
  mount_->Mount(Options());
  MakeTree(mount_->mountpoint());
  const std::string before = DescribeTree(mount_->mountpoint());
  mount_->Umount();
  mount_->Mount(Options("ro"));
  EXPECT_EQ(DescribeTree(mount_->mountpoint()), before);
  EXPECT_EQ(OpenErrno(mount_->Path("new"), O_CREAT | O_WRONLY, 0644), EROFS);
  EXPECT_EQ(ERRNO_OF(unlink(mount_->Path("hard").c_str())), EROFS);
  EXPECT_EQ(Terracefs({"compact", mount_->mountpoint()}).exit_code, 2);
  EXPECT_EQ(Terracefs({"sync", mount_->mountpoint()}).exit_code, 0);
  mount_->Umount();
}

TEST_P(LifecycleMount, UnlinkedButOpenFileStaysReadableAndWritable) {
  mount_->Mount(Options());
  const std::string path = mount_->Path("gone");
  const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_RDWR, 0600));
  ASSERT_TRUE(fd.valid());
  const std::string content(300'000, 'x');
  ASSERT_EQ(write(fd.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  ASSERT_EQ(unlink(path.c_str()), 0);
  EXPECT_EQ(OpenErrno(path, O_RDONLY), ENOENT);
  ASSERT_EQ(pwrite(fd.get(), "yy", 2, 100'000), 2);
  std::string back(content.size(), '\0');
  ASSERT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  ASSERT_EQ(pread(fd.get(), back.data(), back.size(), 0), static_cast<ssize_t>(back.size()));
  EXPECT_EQ(back.substr(99'998, 6), "xxyyxx");
  struct stat attributes {};
  ASSERT_EQ(fstat(fd.get(), &attributes), 0);
  EXPECT_EQ(attributes.st_nlink, 0u);
  EXPECT_EQ(fsync(fd.get()), 0);
}

TEST_P(LifecycleMount, MappedPagesReachTheStore) {
  mount_->Mount(Options());
  const std::string path = mount_->Path("mapped");
  const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_RDWR, 0600));
  ASSERT_EQ(ftruncate(fd.get(), 1 << 20), 0);
  void* const memory = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memset(memory, 'm', 1 << 20);
  ASSERT_EQ(munmap(memory, 1 << 20), 0);
  ASSERT_EQ(fsync(fd.get()), 0);
  mount_->KillDaemon();
  mount_->Mount(Options());
  EXPECT_EQ(ReadFile(path), std::string(1 << 20, 'm'));
  mount_->Umount();
}

TEST_P(LifecycleMount, BusyMountIsNotUnmounted) {
  mount_->Mount(Options());
  const io::UniqueFd fd(open(mount_->Path("held").c_str(), O_CREAT | O_RDWR, 0600));
  const ProcessResult result = Terracefs({"umount", mount_->mountpoint()});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "terracefs: umount: " + mount_->mountpoint() + ": it is in use\n");
  EXPECT_EQ(write(fd.get(), "still alive", 11), 11);
}

class SignalMount : public LifecycleMount {
 protected:
  // Ends a daemon that nobody uses; everything must be there afterwards.
  void EndBySignal(int signal) {
    mount_->Mount(Options("commit=0"));
    MakeTree(mount_->mountpoint());
    const std::string before = DescribeTree(mount_->mountpoint());
    const pid_t daemon = mount_->DaemonPid();
    ASSERT_EQ(kill(daemon, signal), 0);
    ASSERT_TRUE(WaitGone(daemon));
    EXPECT_FALSE(mount_->IsMounted());
    EXPECT_TRUE(mount_->ClosedCleanly()) << mount_->Log();
    mount_->Mount(Options());
    EXPECT_EQ(DescribeTree(mount_->mountpoint()), before);
    mount_->Umount();
  }
};
INSTANTIATE_TRANSPORT_TEST(SignalMount);

TEST_P(SignalMount, SigtermUnmountsCleanly) { EndBySignal(SIGTERM); }
TEST_P(SignalMount, SighupUnmountsCleanly) { EndBySignal(SIGHUP); }

TEST_P(SignalMount, SigtermEndsABusyMountToo) {
  mount_->Mount(Options());
  const io::UniqueFd fd(open(mount_->Path("held").c_str(), O_CREAT | O_RDWR, 0600));
  ASSERT_EQ(write(fd.get(), "kept", 4), 4);
  const pid_t daemon = mount_->DaemonPid();
  ASSERT_EQ(kill(daemon, SIGTERM), 0);
  ASSERT_TRUE(WaitGone(daemon));
  EXPECT_FALSE(mount_->IsMounted());
  EXPECT_TRUE(IsDeathErrno(ERRNO_OF(write(fd.get(), "x", 1))));
  mount_->Mount(Options());
  EXPECT_EQ(ReadFile(mount_->Path("held")), "kept");
}

TEST_P(SignalMount, CtrlCInTheForegroundUnmountsCleanly) {
  const pid_t program =
      StartProcess({TerracefsProgram(), "mount", "-f", "-o", Options("log_level=off"),
                    mount_->store(), mount_->mountpoint()});
  ASSERT_GT(program, 0);
  for (int i = 0; i < 600 && !mount_->IsMounted(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_TRUE(mount_->IsMounted());
  std::filesystem::create_directory(mount_->Path("made"));
  ASSERT_EQ(kill(program, SIGINT), 0);
  EXPECT_EQ(WaitProcess(program), 0);
  EXPECT_FALSE(mount_->IsMounted());
  mount_->Mount(Options());
  EXPECT_TRUE(std::filesystem::is_directory(mount_->Path("made")));
  mount_->Umount();
}

TEST_P(LifecycleMount, PlainUmountThenAtOnceMountWaitsForTheOldDaemon) {
  for (int round = 0; round < 5; ++round) {
    mount_->Mount(Options());
    MakeTree(mount_->Path("round" + std::to_string(round)));
    const ProcessResult unmounted = RunProcess({"umount", mount_->mountpoint()});
    ASSERT_EQ(unmounted.exit_code, 0) << unmounted.err;
  }
  mount_->Mount(Options());
  EXPECT_EQ(ListDirectory(mount_->mountpoint()).size(), 5u);
  mount_->Umount();
}

class CommandMount : public LifecycleMount {
 protected:
  nlohmann::json Json(const std::vector<std::string>& arguments) {
    const ProcessResult result = Terracefs(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  }
};
INSTANTIATE_TRANSPORT_TEST(CommandMount);

TEST_P(CommandMount, StatsJsonHasTheFieldsOfTheInterface) {
  mount_->Mount(Options());
  MakeTree(mount_->mountpoint());
  const nlohmann::json stats = Json({"stats", "--json", mount_->mountpoint()});
  ASSERT_TRUE(stats.is_object());
  for (const char* key : {"version", "uptime_s", "fuse", "io", "write_path", "levels", "compaction",
                          "limiter", "cache", "user_bytes_written", "write_amplification"}) {
    EXPECT_TRUE(stats.contains(key)) << key;
  }
  EXPECT_EQ(stats["fuse"]["transport"], GetParam());
  for (const char* key : {"count", "p50_us", "p99_us", "max_us"}) {
    EXPECT_TRUE(stats["fuse"]["requests"]["write"].contains(key)) << key;
  }
  EXPECT_GE(stats["fuse"]["requests"]["write"]["count"], 49);
  for (const char* key :
       {"backend", "submitted", "completed", "bytes_read", "bytes_written", "fsyncs"}) {
    EXPECT_TRUE(stats["io"].contains(key)) << key;
  }
  for (const char* key : {"wal_bytes", "blob_bytes", "flush_bytes", "stall_ms"}) {
    EXPECT_TRUE(stats["write_path"].contains(key)) << key;
  }
  for (const char* key : {"running", "jobs", "bytes_read", "bytes_written", "pending_bytes",
                          "trivial_moves", "delete_only", "dropped", "jobs_by_reason"}) {
    EXPECT_TRUE(stats["compaction"].contains(key)) << key;
  }
  for (const char* key : {"rate", "mode", "bytes", "waited_ms"}) {
    EXPECT_TRUE(stats["limiter"].contains(key)) << key;
  }
  for (const char* key : {"level", "files", "bytes", "target_bytes", "score", "tombstones",
                          "garbage_bytes", "jobs", "bytes_read", "bytes_written", "seconds"}) {
    EXPECT_TRUE(stats["levels"][0].contains(key)) << key;
  }
  EXPECT_NE(Terracefs({"stats", mount_->mountpoint()}).out.find("transport"), std::string::npos);
  mount_->Umount();
}

TEST_P(CommandMount, CompactionRunsToItsEndAndIsRemembered) {
  mount_->Mount(Options());
  MakeTree(mount_->mountpoint());
  std::filesystem::remove_all(mount_->Path("a"));
  const nlohmann::json job = Json({"compact", "--json", mount_->mountpoint()});
  EXPECT_EQ(job["state"], "done");
  EXPECT_EQ(job["job"], 1);
  ASSERT_FALSE(job["passes"].empty());
  for (const char* key : {"name", "bytes_read", "bytes_written", "seconds"}) {
    EXPECT_TRUE(job["passes"][0].contains(key)) << key;
  }
  for (const char* key : {"bytes_read", "bytes_written", "bytes_reclaimed", "seconds"}) {
    EXPECT_TRUE(job.contains(key)) << key;
  }
  const ProcessResult text = Terracefs({"compact", "--level", "0", mount_->mountpoint()});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("took"), std::string::npos);
  EXPECT_EQ(text.err, "") << "a bar without a terminal";
  EXPECT_EQ(Json({"job", "list", "--json", mount_->mountpoint()})["jobs"].size(), 2u);
  EXPECT_EQ(Json({"job", "status", "--json", mount_->mountpoint(), "1"})["state"], "done");
  EXPECT_EQ(Json({"job", "wait", "--json", mount_->mountpoint(), "2"})["state"], "done");
  EXPECT_EQ(Terracefs({"job", "cancel", mount_->mountpoint(), "77"}).exit_code, 2);
  EXPECT_EQ(Terracefs({"compact", "--level", "9", mount_->mountpoint()}).exit_code, 1);
  EXPECT_EQ(Terracefs({"compact", "--path", "x", mount_->mountpoint()}).exit_code, 2);
  mount_->Umount();
}

TEST_P(CommandMount, SyncMakesEverythingDurable) {
  mount_->Mount(Options("commit=0"));
  MakeTree(mount_->mountpoint());
  const std::string before = DescribeTree(mount_->mountpoint());
  const ProcessResult synced = Terracefs({"sync", mount_->mountpoint()});
  ASSERT_EQ(synced.exit_code, 0) << synced.err;
  mount_->KillDaemon();
  mount_->Mount(Options());
  EXPECT_EQ(DescribeTree(mount_->mountpoint()), before);
  mount_->Umount();
}

TEST_P(CommandMount, StatfsReportsTheSizeOfMkfs) {
  const std::string store = mount_->directory() + "/small";
  ASSERT_EQ(Terracefs({"mkfs", "--size", "1G", store}).exit_code, 0);
  ASSERT_EQ(Terracefs({"mount", "-o", Options(), store, mount_->mountpoint()}).exit_code, 0);
  struct statvfs space {};
  ASSERT_EQ(statvfs(mount_->mountpoint().c_str(), &space), 0);
  EXPECT_EQ(space.f_blocks * space.f_frsize, uint64_t{1} << 30);
  EXPECT_EQ(space.f_namemax, 255u);
  EXPECT_EQ(Terracefs({"umount", mount_->mountpoint()}).exit_code, 0);
}

}  // namespace
}  // namespace terracefs::testing
