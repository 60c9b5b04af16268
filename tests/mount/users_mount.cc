// What ordinary users may do, and how the choices that save requests look to them.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "fs/control/ioctl.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

constexpr uid_t kUser = 54321;
constexpr gid_t kGroup = 54322;
constexpr gid_t kOtherGroup = 54323;

class UsersMount : public TransportTest {
 protected:
  void SetUp() override {
    TransportTest::SetUp();
    if (IsSkipped()) return;
    if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root to become another user";
    mount_->Mount(Options("allow_other"));
    ASSERT_EQ(chmod(mount_->mountpoint().c_str(), 01777), 0);
    umask(0);
  }
};
INSTANTIATE_TRANSPORT_TEST(UsersMount);

// The kernel is told to make the node and to open it afterwards, which must not ask for permission
// again.
TEST_P(UsersMount, CreatingAReadOnlyFileGivesAWritableDescriptor) {
  const std::string path = mount_->Path("object");
  EXPECT_EQ(
      RunAsUser(kUser, kGroup,
                [&path] {
                  const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0444));
                  if (!fd.valid()) return errno;
                  return write(fd.get(), "data", 4) == 4 ? 0 : errno;
                }),
      0);
  EXPECT_EQ(ReadFile(path), "data");
  EXPECT_EQ(RunAsUser(kUser, kGroup, [&path] { return OpenErrno(path, O_WRONLY); }), EACCES);
  struct stat attributes {};
  ASSERT_EQ(stat(path.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode, static_cast<mode_t>(S_IFREG | 0444));
  EXPECT_EQ(attributes.st_uid, kUser);
  EXPECT_EQ(attributes.st_gid, kGroup);
}

TEST_P(UsersMount, CreatingWithTruncationAndExclusionBehavesAsOnAnyFilesystem) {
  const std::string path = mount_->Path("twice");
  const auto create = [&path](int flags) {
    return RunAsUser(kUser, kGroup,
                     [&] { return OpenErrno(path, O_CREAT | O_RDWR | flags, 0600); });
  };
  EXPECT_EQ(create(O_EXCL), 0);
  EXPECT_EQ(create(O_EXCL), EEXIST);
  EXPECT_EQ(create(O_TRUNC), 0);
  EXPECT_EQ(create(O_DIRECTORY), EINVAL);
}

TEST_P(UsersMount, SetgidDirectoriesHandOnTheirGroup) {
  const std::string directory = mount_->Path("team");
  ASSERT_EQ(mkdir(directory.c_str(), 0777), 0);
  ASSERT_EQ(chown(directory.c_str(), 0, kOtherGroup), 0);
  ASSERT_EQ(chmod(directory.c_str(), 02777), 0);
  EXPECT_EQ(RunAsUser(kUser, kGroup,
                      [&directory] {
                        const std::string file = directory + "/file";
                        const io::UniqueFd fd(open(file.c_str(), O_CREAT | O_WRONLY, 0644));
                        if (!fd.valid()) return errno;
                        return ERRNO_OF(mkdir((directory + "/sub").c_str(), 0755));
                      }),
            0);
  struct stat attributes {};
  ASSERT_EQ(stat((directory + "/file").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_gid, kOtherGroup);
  EXPECT_EQ(attributes.st_uid, kUser);
  ASSERT_EQ(stat((directory + "/sub").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_gid, kOtherGroup);
  EXPECT_EQ(attributes.st_mode & 07777, 02755u);
}

TEST_P(UsersMount, WritingByOthersClearsSetuid) {
  const std::string path = mount_->Path("program");
  {
    const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_WRONLY, 0755));
    ASSERT_EQ(write(fd.get(), "#!", 2), 2);
  }
  ASSERT_EQ(chmod(path.c_str(), 06777), 0);
  EXPECT_EQ(RunAsUser(kUser, kGroup,
                      [&path] {
                        const io::UniqueFd fd(open(path.c_str(), O_WRONLY));
                        if (!fd.valid()) return errno;
                        return write(fd.get(), "x", 1) == 1 ? 0 : errno;
                      }),
            0);
  struct stat attributes {};
  ASSERT_EQ(stat(path.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 07777, 0777u);
}

// It arrives as a request that sets nothing.
TEST_P(UsersMount, ChownThatNamesNobodyTakesSetuidAway) {
  const std::string path = mount_->Path("program");
  const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_WRONLY, 0755));
  ASSERT_EQ(chmod(path.c_str(), 06755), 0);
  const auto chown_as = [&path](uid_t uid) {
    return RunAsUser(uid, kGroup, [&path] {
      return ERRNO_OF(chown(path.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(-1)));
    });
  };
  // ext4 answers EPERM, which here would be that of a write, too.
  EXPECT_EQ(chown_as(kUser), 0);
  struct stat untouched {};
  ASSERT_EQ(stat(path.c_str(), &untouched), 0);
  EXPECT_EQ(untouched.st_mode & 07777, 06755u) << "only the owner changes modes";
  ASSERT_EQ(chown(path.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(-1)), 0);
  struct stat attributes {};
  ASSERT_EQ(stat(path.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 07777, 0755u);
  EXPECT_EQ(chown_as(kUser), 0) << "nothing to take away";
  // A write by another user takes it away and needs no owner.
  ASSERT_EQ(chmod(path.c_str(), 04777), 0);
  EXPECT_EQ(RunAsUser(kUser, kGroup,
                      [&path] {
                        const io::UniqueFd writer(open(path.c_str(), O_WRONLY));
                        return write(writer.get(), "x", 1) == 1 ? 0 : errno;
                      }),
            0);
  ASSERT_EQ(stat(path.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 07777, 0777u);
}

TEST_P(UsersMount, ReadingWithNoatimeLeavesNoTrace) {
  const std::string path = mount_->Path("file");
  for (const int flags : {O_NOATIME, 0}) {
    const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_RDWR | flags, 0644));
    ASSERT_EQ(pwrite(fd.get(), "text", 4, 0), 4);
    struct timespec times[2] = {{1000, 0}, {2000, 0}};
    ASSERT_EQ(futimens(fd.get(), times), 0);
    ASSERT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
    char c = 0;
    ASSERT_EQ(pread(fd.get(), &c, 1, 0), 1);
    struct stat attributes {};
    ASSERT_EQ(fstat(fd.get(), &attributes), 0);
    EXPECT_EQ(attributes.st_atim.tv_sec == 1000, flags == O_NOATIME);
  }
}

// As on any other filesystem: who may set the bit keeps it. Also when it is the kernel that writes
// back what was written before the bit was set.
TEST_P(UsersMount, WritingByRootLeavesSetuid) {
  for (const char* options : {"allow_other", "allow_other,writeback"}) {
    mount_->Umount();
    mount_->Mount(Options(options));
    const std::string path = mount_->Path("program");
    {
      const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0755));
      ASSERT_EQ(write(fd.get(), "#!", 2), 2);
      ASSERT_EQ(fchmod(fd.get(), 06755), 0);
      ASSERT_EQ(fsync(fd.get()), 0);
      ASSERT_EQ(write(fd.get(), "/bin/sh", 7), 7);
    }
    mount_->Umount();
    mount_->Mount(Options(options));
    struct stat attributes {};
    ASSERT_EQ(stat(path.c_str(), &attributes), 0);
    EXPECT_EQ(attributes.st_mode & 07777, 06755u) << options;
  }
}

// Exec asks for no attributes: it trusts what the kernel remembers, and so does a stat of the mode
// alone.
TEST_P(UsersMount, WhatOthersHaveChangedRunsWithoutSetuid) {
  const auto cached_mode = [](const std::string& path) -> uint32_t {
    struct statx attributes {};
    EXPECT_EQ(statx(AT_FDCWD, path.c_str(), 0, STATX_MODE, &attributes), 0);
    return attributes.stx_mode & 07777u;
  };
  using Change = int (*)(const std::string& path);
  const Change append = [](const std::string& path) {
    const io::UniqueFd fd(open(path.c_str(), O_WRONLY | O_APPEND));
    return write(fd.get(), "x", 1) == 1 ? 0 : errno;
  };
  const Change lengthen = [](const std::string& path) {
    return ERRNO_OF(truncate(path.c_str(), 1'000'000));
  };
  for (const char* options : {"allow_other", "allow_other,writeback"}) {
    mount_->Umount();
    mount_->Mount(Options(options));
    for (const Change change : {append, lengthen}) {
      const std::string path = mount_->Path("id");
      std::filesystem::copy_file("/usr/bin/id", path);
      ASSERT_EQ(chmod(path.c_str(), 04777), 0);
      EXPECT_EQ(RunAsUser(kUser, kGroup,
                          [&path] {
                            return RunProcess({path, "-u"}).out == "0\n" ? 0 : 1;
                          }),
                0);
      EXPECT_EQ(RunAsUser(kUser, kGroup, [&] { return change(path); }), 0);
      EXPECT_EQ(cached_mode(path), 0777u) << options;
      ASSERT_EQ(chmod(path.c_str(), 04777), 0);
      EXPECT_EQ(RunAsUser(kUser, kGroup, [&] { return change(path); }), 0);
      EXPECT_EQ(
          RunAsUser(kUser, kGroup,
                    [&path] {
                      return RunProcess({path, "-u"}).out == std::to_string(kUser) + "\n" ? 0 : 1;
                    }),
          0)
          << options;
      ASSERT_EQ(unlink(path.c_str()), 0);
    }
  }
}

TEST_P(UsersMount, StickyDirectoriesProtectFromOthers) {
  const std::string path = mount_->Path("mine");
  ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
  EXPECT_EQ(RunAsUser(kUser, kGroup, [&path] { return ERRNO_OF(rmdir(path.c_str())); }), EPERM);
  EXPECT_EQ(RunAsUser(kUser, kGroup, [&path] { return ERRNO_OF(chmod(path.c_str(), 0777)); }),
            EPERM);
  EXPECT_EQ(
      RunAsUser(kUser, kGroup, [&path] { return ERRNO_OF(access((path + "/x").c_str(), F_OK)); }),
      EACCES);
}

TEST_P(UsersMount, WithoutAllowOtherNobodyElseComesIn) {
  mount_->Umount();
  mount_->Mount(Options());
  const std::string path = mount_->mountpoint();
  EXPECT_EQ(RunAsUser(kUser, kGroup, [&path] { return ERRNO_OF(access(path.c_str(), R_OK)); }),
            EACCES);
}

TEST_P(UsersMount, AnybodyReadsStatisticsButOnlyTheOwnerStartsJobs) {
  const std::string path = mount_->mountpoint();
  EXPECT_EQ(RunAsUser(kUser, kGroup, [&path] { return Terracefs({"stats", path}).exit_code; }), 0);
  EXPECT_EQ(RunAsUser(kUser, kGroup, [&path] { return Terracefs({"sync", path}).exit_code; }), 0);
  EXPECT_EQ(RunAsUser(kUser, kGroup,
                      [&path] {
                        const io::UniqueFd fd(open(path.c_str(), O_RDONLY));
                        terracefs_compact data{};
                        data.version = TERRACEFS_IOC_VERSION;
                        data.level = -1;
                        return ERRNO_OF(ioctl(fd.get(), TERRACEFS_IOC_COMPACT, &data));
                      }),
            EPERM);
  EXPECT_EQ(RunAsUser(kUser, kGroup,
                      [&path] {
                        return Terracefs({"compact", path}).exit_code;
                      }),
            2);
  EXPECT_EQ(Terracefs({"compact", path}).exit_code, 0);
}

TEST_P(UsersMount, RootMountsHonourDeviceFilesUnlessToldOtherwise) {
  const std::string null = mount_->Path("null");
  ASSERT_EQ(mknod(null.c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  EXPECT_EQ(OpenErrno(null, O_RDWR), 0);
  mount_->Umount();
  mount_->Mount(Options("nodev"));
  EXPECT_EQ(OpenErrno(null, O_RDWR), EACCES);
}

}  // namespace
}  // namespace terracefs::testing
