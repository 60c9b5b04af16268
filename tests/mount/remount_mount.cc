// Mounts that only read, mounts that change while they live, and mount(8), umount(8) and fstab.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "fs/mount_table.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class RemountMount : public TransportTest {
 protected:
  void SetUp() override {
    TransportTest::SetUp();
    if (IsSkipped()) return;
    if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
    helpers_ = mount_->directory() + "/helpers";
    std::filesystem::create_directory(helpers_);
    for (const char* name : {"mount.fuse.terracefs", "umount.fuse.terracefs"}) {
      std::filesystem::create_symlink(TerracefsProgram(), Helper(name));
    }
  }
  std::string Helper(const std::string& name) const { return helpers_ + "/" + name; }
  // As mount(8) calls it.
  ProcessResult MountHelper(const std::string& options) {
    return RunProcess({Helper("mount.fuse.terracefs"), mount_->store(), mount_->mountpoint(), "-o",
                       options, "-t", "fuse.terracefs"});
  }
  unsigned long Flags() const {
    struct statvfs space {};
    EXPECT_EQ(statvfs(mount_->mountpoint().c_str(), &space), 0);
    return space.f_flag;
  }
  // Names, contents and times of change of everything in the store's directory.
  std::string DescribeStore() const {
    std::string text = DescribeTree(mount_->store());
    std::vector<std::string> names = ListDirectory(mount_->store());
    names.emplace_back(".");
    for (const std::string& name : names) {
      struct stat file {};
      EXPECT_EQ(stat((mount_->store() + "/" + name).c_str(), &file), 0) << name;
      text += name + " " + std::to_string(file.st_mtim.tv_sec) + "." +
              std::to_string(file.st_mtim.tv_nsec) + " " + std::to_string(file.st_ctim.tv_sec) +
              "." + std::to_string(file.st_ctim.tv_nsec) + " " + std::to_string(file.st_mode) +
              "\n";
    }
    return text;
  }
  void MakeTree() const {
    std::ofstream(mount_->Path("small")) << "small";
    std::ofstream(mount_->Path("large")) << std::string(3'000'000, 'x');
    std::filesystem::create_directory(mount_->Path("d"));
    for (int i = 0; i < 200; ++i) {
      std::ofstream(mount_->Path("d/" + std::to_string(i))) << "file " << i;
    }
    std::filesystem::create_symlink("small", mount_->Path("link"));
  }
  // What reads a mount, in all ways that could leave a trace.
  void UseReadOnly(const std::string& expected) const {
    EXPECT_EQ(DescribeTree(mount_->mountpoint()), expected);
    EXPECT_EQ(std::filesystem::read_symlink(mount_->Path("link")), "small");
    EXPECT_EQ(OpenErrno(mount_->Path("small"), O_WRONLY), EROFS);
    EXPECT_EQ(OpenErrno(mount_->mountpoint(), O_TMPFILE | O_RDWR, 0600), EROFS);
    EXPECT_EQ(ERRNO_OF(utimensat(AT_FDCWD, mount_->Path("small").c_str(), nullptr, 0)), EROFS);
    EXPECT_EQ(Terracefs({"sync", mount_->mountpoint()}).exit_code, 0);
    EXPECT_EQ(Terracefs({"stats", mount_->mountpoint()}).exit_code, 0);
    EXPECT_EQ(Terracefs({"space", mount_->mountpoint()}).exit_code, 0);
    EXPECT_NE(Terracefs({"compact", mount_->mountpoint()}).exit_code, 0);
  }

  std::string helpers_;
};
INSTANTIATE_TRANSPORT_TEST(RemountMount);

TEST_P(RemountMount, AReadOnlyMountNeverWritesToTheStore) {
  mount_->Mount(Options());
  MakeTree();
  const std::string tree = DescribeTree(mount_->mountpoint());
  mount_->Umount();
  for (const char* how : {"ro", "ro,strictatime", "ro,commit=0", "ro,io=posix"}) {
    SCOPED_TRACE(how);
    const std::string before = DescribeStore();
    mount_->Mount(Options(how));
    UseReadOnly(tree);
    EXPECT_EQ(DescribeStore(), before);
    mount_->Umount();
    EXPECT_EQ(DescribeStore(), before);
  }
}

TEST_P(RemountMount, AStoreThatCrashedIsReplayedInMemoryOnly) {
  mount_->Mount(Options());
  MakeTree();
  const io::UniqueFd orphan(open(mount_->Path("orphan").c_str(), O_CREAT | O_RDWR, 0600));
  ASSERT_EQ(pwrite(orphan.get(), "x", 1, 100'000), 1);
  ASSERT_EQ(unlink(mount_->Path("orphan").c_str()), 0);
  ASSERT_EQ(truncate(mount_->Path("large").c_str(), 1000), 0);
  ASSERT_EQ(fsync(orphan.get()), 0);
  const std::string tree = DescribeTree(mount_->mountpoint());
  mount_->KillDaemon();
  const std::string before = DescribeStore();
  for (int i = 0; i < 2; ++i) {
    mount_->Mount(Options("ro"));
    UseReadOnly(tree);
    EXPECT_EQ(DescribeStore(), before);
    if (i == 0) mount_->Umount();
  }
  mount_->KillDaemon();
  EXPECT_EQ(DescribeStore(), before);
  mount_->Mount(Options());
  EXPECT_EQ(DescribeTree(mount_->mountpoint()), tree);
}

TEST_P(RemountMount, AStoreOnAReadOnlyDiskMountsReadOnly) {
  mount_->Mount(Options());
  MakeTree();
  const std::string tree = DescribeTree(mount_->mountpoint());
  ASSERT_EQ(Terracefs({"sync", mount_->mountpoint()}).exit_code, 0);
  mount_->KillDaemon();
  const std::string before = DescribeStore();
  const std::string view = mount_->directory() + "/view";
  std::filesystem::create_directory(view);
  ASSERT_EQ(mount(mount_->store().c_str(), view.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(mount(nullptr, view.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), 0);
  const ProcessResult writing = Terracefs({"mount", "-o", Options(), view, mount_->mountpoint()});
  EXPECT_EQ(writing.exit_code, 32) << writing.err;
  const ProcessResult reading =
      Terracefs({"mount", "-o", Options("ro"), view, mount_->mountpoint()});
  EXPECT_EQ(reading.exit_code, 0) << reading.err;
  UseReadOnly(tree);
  EXPECT_EQ(Terracefs({"umount", mount_->mountpoint()}).exit_code, 0);
  EXPECT_EQ(umount2(view.c_str(), MNT_DETACH), 0);
  EXPECT_EQ(DescribeStore(), before);
}

TEST_P(RemountMount, ReadersShareAStoreAndKeepWritersOut) {
  mount_->Mount(Options("ro"));
  const std::string other = mount_->directory() + "/other";
  std::filesystem::create_directory(other);
  EXPECT_EQ(Terracefs({"mount", "-o", Options("ro"), mount_->store(), other}).exit_code, 0);
  EXPECT_EQ(Terracefs({"umount", other}).exit_code, 0);
  ProcessResult refused = Terracefs({"mount", "-o", Options(), mount_->store(), other});
  EXPECT_EQ(refused.exit_code, 32);
  EXPECT_NE(refused.err.find("read-only"), std::string::npos) << refused.err;
  refused = Terracefs({"mkfs", "--force", mount_->store()});
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  mount_->Umount();
  mount_->Mount(Options());
  refused = Terracefs({"mount", "-o", Options("ro"), mount_->store(), other});
  EXPECT_EQ(refused.exit_code, 32);
  EXPECT_NE(refused.err.find("already mounted at " + mount_->mountpoint()), std::string::npos)
      << refused.err;
}

TEST_P(RemountMount, RemountingReadOnlyAndBack) {
  mount_->Mount(Options("commit=1h"));
  std::ofstream(mount_->Path("file")) << "text";
  {
    const io::UniqueFd writer(open(mount_->Path("file").c_str(), O_WRONLY));
    const ProcessResult busy = MountHelper("remount,ro");
    EXPECT_EQ(busy.exit_code, 32);
    EXPECT_NE(busy.err.find("open for writing"), std::string::npos) << busy.err;
    EXPECT_EQ(pwrite(writer.get(), "T", 1, 0), 1) << "nothing has changed";
  }
  // As libmount says it: the mount table's words, and those of the command line at the end.
  ProcessResult result = MountHelper(
      "rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions,allow_other,remount,ro");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(Flags() & (ST_RDONLY | ST_NOSUID | ST_NODEV),
            static_cast<unsigned long>(ST_RDONLY | ST_NOSUID | ST_NODEV));
  EXPECT_EQ(OpenErrno(mount_->Path("file"), O_WRONLY), EROFS);
  EXPECT_EQ(OpenErrno(mount_->Path("new"), O_WRONLY | O_CREAT, 0600), EROFS);
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(stat(mount_->Path("file").c_str(), &before), 0);
  EXPECT_EQ(ReadFile(mount_->Path("file")), "Text");
  const io::UniqueFd fd(open(mount_->Path("file").c_str(), O_RDONLY));
  ASSERT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_EQ(ReadFile(mount_->Path("file")), "Text");
  ASSERT_EQ(stat(mount_->Path("file").c_str(), &after), 0);
  EXPECT_EQ(before.st_atim.tv_nsec, after.st_atim.tv_nsec) << "no access time is noted";

  // What was there is durable, though nobody synced it and the log is written once an hour.
  mount_->KillDaemon();
  mount_->Mount(Options());
  EXPECT_EQ(ReadFile(mount_->Path("file")), "Text");

  ASSERT_EQ(MountHelper("remount,ro").exit_code, 0);
  ASSERT_EQ(MountHelper("remount,ro").exit_code, 0);
  ASSERT_EQ(MountHelper("ro,remount,rw,noexec,cache=32M").exit_code, 0);
  EXPECT_EQ(Flags() & (ST_RDONLY | ST_NOEXEC), static_cast<unsigned long>(ST_NOEXEC));
  std::ofstream(mount_->Path("new")) << "new";
  EXPECT_EQ(ReadFile(mount_->Path("new")), "new");
  EXPECT_NE(Terracefs({"config", "get", "cache", mount_->mountpoint()}).out.find("32M"),
            std::string::npos);
  result = MountHelper("remount,rw,cache=nonsense");
  EXPECT_EQ(result.exit_code, 32);
  EXPECT_NE(result.err.find("option cache"), std::string::npos) << result.err;
}

TEST_P(RemountMount, WhatWasMountedReadOnlyStaysSo) {
  mount_->Mount(Options("ro"));
  const ProcessResult result = MountHelper("remount,rw");
  EXPECT_EQ(result.exit_code, 32);
  EXPECT_NE(result.err.find("mounted read-only"), std::string::npos) << result.err;
  EXPECT_EQ(Flags() & ST_RDONLY, static_cast<unsigned long>(ST_RDONLY));
  EXPECT_EQ(MountHelper("remount,ro,nodev").exit_code, 0);
  mount_->Umount();
  EXPECT_EQ(MountHelper("remount,ro").exit_code, 32) << "nothing is mounted there";
}

TEST_P(RemountMount, RemountingChangesWhatAccessTimesAreNoted) {
  mount_->Mount(Options("strictatime"));
  std::ofstream(mount_->Path("file")) << "text";
  const auto reading_is_noted = [this] {
    const io::UniqueFd fd(open(mount_->Path("file").c_str(), O_RDONLY));
    struct stat before {};
    struct stat after {};
    EXPECT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
    EXPECT_EQ(fstat(fd.get(), &before), 0);
    usleep(2000);
    char c = 0;
    EXPECT_EQ(pread(fd.get(), &c, 1, 0), 1);
    EXPECT_EQ(fstat(fd.get(), &after), 0);
    return before.st_atim.tv_sec != after.st_atim.tv_sec ||
           before.st_atim.tv_nsec != after.st_atim.tv_nsec;
  };
  EXPECT_TRUE(reading_is_noted());
  EXPECT_TRUE(reading_is_noted());
  ASSERT_EQ(MountHelper("rw,relatime,remount,noatime").exit_code, 0);
  EXPECT_FALSE(reading_is_noted());
  ASSERT_EQ(MountHelper("rw,noatime,remount,strictatime").exit_code, 0);
  EXPECT_TRUE(reading_is_noted());
  EXPECT_TRUE(reading_is_noted());
}

TEST_P(RemountMount, TheHelpersMountAndUnmount) {
  // Everything fstab may say to others.
  ASSERT_EQ(MountHelper("rw,noauto,user,_netdev,nofail,x-systemd.automount,defaults,nosuid,nodev,"
                        "noexec,comment=x,X-mount.mkdir,lazytime," +
                        Options("commit=1h"))
                .exit_code,
            0);
  EXPECT_EQ(Flags() & (ST_NOSUID | ST_NODEV | ST_NOEXEC),
            static_cast<unsigned long>(ST_NOSUID | ST_NODEV | ST_NOEXEC));
  std::ofstream(mount_->Path("file")) << "text";
  const pid_t daemon = mount_->DaemonPid();
  {
    const io::UniqueFd user(open(mount_->Path("file").c_str(), O_RDONLY));
    EXPECT_NE(RunProcess({Helper("umount.fuse.terracefs"), mount_->mountpoint()}).exit_code, 0);
  }
  EXPECT_EQ(RunProcess({Helper("umount.fuse.terracefs"), mount_->mountpoint()}).exit_code, 0);
  EXPECT_FALSE(mount_->IsMounted());
  EXPECT_TRUE(WaitGone(daemon, std::chrono::seconds(0))) << "it returns when the daemon is gone";
  ASSERT_EQ(MountHelper(Options()).exit_code, 0);
  EXPECT_EQ(ReadFile(mount_->Path("file")), "text");
  const io::UniqueFd user(open(mount_->Path("file").c_str(), O_RDONLY));
  EXPECT_EQ(RunProcess({Helper("umount.fuse.terracefs"), mount_->mountpoint(), "-l"}).exit_code, 0);
  EXPECT_FALSE(mount_->IsMounted());

  EXPECT_EQ(MountHelper("nonsense").exit_code, 1);
  EXPECT_EQ(RunProcess({Helper("mount.fuse.terracefs"), mount_->store()}).exit_code, 1);
  EXPECT_EQ(RunProcess({Helper("mount.fuse.terracefs"), "-x"}).exit_code, 1);
  EXPECT_EQ(RunProcess({Helper("umount.fuse.terracefs")}).exit_code, 1);
}

TEST_P(RemountMount, UnmountingOneOfTwoBoundMountsDoesNotWaitForTheDaemon) {
  mount_->Mount(Options());
  const std::string bound = mount_->directory() + "/bound";
  std::filesystem::create_directory(bound);
  ASSERT_EQ(mount(mount_->mountpoint().c_str(), bound.c_str(), nullptr, MS_BIND, nullptr), 0);
  const ProcessResult result =
      RunProcess({Helper("umount.fuse.terracefs"), bound}, std::chrono::seconds(50));
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::ofstream(mount_->Path("file")) << "text";
  mount_->Umount();
}

// In a mount namespace of its own, where this program takes the place of mount.fuse3, mount(8)
// finds it as it would find the installed links.
TEST_P(RemountMount, MountAndFstabWork) {
  const std::string fstab = mount_->directory() + "/fstab";
  std::ofstream(fstab) << mount_->store() << " " << mount_->mountpoint()
                       << " fuse.terracefs defaults,nofail,x-a.b,cache=48M," << Options()
                       << " 0 0\n";
  const std::string script = R"sh(
set -e
mount --bind "$1" "$(readlink -f /sbin/mount.fuse)"
mount -T "$3" -a
grep -q " $2 fuse.terracefs rw" /proc/self/mounts
echo text >"$2/file"
mount -o remount,ro "$2"
grep -q " $2 fuse.terracefs ro" /proc/self/mounts
if echo more 2>/dev/null >"$2/file"; then exit 1; fi
mount -o remount,rw "$2"
echo more >>"$2/file"
umount "$2"
while ! flock -n "$4/LOCK" true; do sleep 0.05; done
mount -t fuse.terracefs -o ro,nosuid "$4" "$2"
test "$(tr '\n' ' ' <"$2/file")" = 'text more '
umount "$2"
echo fine
)sh";
  const ProcessResult result =
      RunProcess({"unshare", "-m", "sh", "-c", script, "sh", TerracefsProgram(),
                  mount_->mountpoint(), fstab, mount_->store()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "fine\n") << result.err;
}

// Nothing but fuse3 is installed: its mount.fuse3 calls `terracefs STORE MOUNTPOINT -o ...`.
TEST_P(RemountMount, MountFuseWorksToo) {
  const std::string script = R"sh(
set -e
mount -t tmpfs none /usr/local/bin
ln -s "$1" /usr/local/bin/terracefs
mount -t fuse.terracefs -o "$4" "$3" "$2"
grep " $2 fuse.terracefs rw" /proc/self/mounts | grep -q nodev
echo text >"$2/file"
mount -i -o remount,ro "$2"
umount "$2"
echo fine
)sh";
  const ProcessResult result =
      RunProcess({"unshare", "-m", "sh", "-c", script, "sh", TerracefsProgram(),
                  mount_->mountpoint(), mount_->store(), Options("nodev")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "fine\n") << result.err;
}

// A crash right after the call loses nothing.
TEST_P(RemountMount, SyncAndDirsyncMountsAnswerOnceItIsDurable) {
  for (const char* option : {"sync", "dirsync"}) {
    SCOPED_TRACE(option);
    mount_->Mount(Options(std::string(option) + ",commit=1h"));
    std::ofstream(mount_->Path("file")) << "text";
    ASSERT_EQ(mkdir(mount_->Path("d").c_str(), 0700), 0);
    ASSERT_EQ(rename(mount_->Path("file").c_str(), mount_->Path("d/moved").c_str()), 0);
    ASSERT_EQ(chmod(mount_->Path("d").c_str(), 0711), 0);
    if (option == std::string("dirsync")) {
      ASSERT_EQ(symlink("x", mount_->Path("s").c_str()), 0);  // syncs what came before
    }
    mount_->KillDaemon();
    mount_->Mount(Options());
    EXPECT_EQ(ReadFile(mount_->Path("d/moved")), "text");
    struct stat directory {};
    ASSERT_EQ(stat(mount_->Path("d").c_str(), &directory), 0);
    EXPECT_EQ(directory.st_mode & 07777, 0711u);
    std::filesystem::remove_all(mount_->Path("d"));
    mount_->Umount();
  }
}

}  // namespace
}  // namespace terracefs::testing
