// Files without a name, whiteouts, and files that are opened by handle.
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "fs/cli/mount_client.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

constexpr uid_t kUser = 54321;
constexpr gid_t kGroup = 54322;

class HandleMount : public TransportTest {
 protected:
  void SetUp() override {
    TransportTest::SetUp();
    if (IsSkipped()) return;
    if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
    mount_->Mount(Options("allow_other"));
    umask(0);
  }
  io::UniqueFd Tmpfile(int flags = 0, mode_t mode = 0600) {
    io::UniqueFd fd(
        open(mount_->mountpoint().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, mode));
    EXPECT_TRUE(fd.valid()) << std::strerror(errno);
    return fd;
  }
  static int LinkErrno(const io::UniqueFd& fd, const std::string& path) {
    const std::string self = "/proc/self/fd/" + std::to_string(fd.get());
    return ERRNO_OF(linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW));
  }
  uint64_t InodeCount() {
    struct statfs space {};
    EXPECT_EQ(statfs(mount_->mountpoint().c_str(), &space), 0);
    return space.f_files - space.f_ffree;
  }
  // The kernel forgets what nobody uses.
  static void DropCaches() {
    sync();
    std::ofstream("/proc/sys/vm/drop_caches") << "2";
  }
};
INSTANTIATE_TRANSPORT_TEST(HandleMount);

std::string ContentOf(int fd) {
  std::string text(1000, '\0');
  const ssize_t bytes = pread(fd, text.data(), text.size(), 0);
  text.resize(bytes < 0 ? 0 : static_cast<size_t>(bytes));
  return text;
}

TEST_P(HandleMount, AFileWithoutANameIsAFileAndCanBeGivenOne) {
  const io::UniqueFd fd = Tmpfile(0, 0640);
  struct stat attributes {};
  ASSERT_EQ(fstat(fd.get(), &attributes), 0);
  EXPECT_EQ(attributes.st_nlink, 0u);
  EXPECT_EQ(attributes.st_mode, static_cast<mode_t>(S_IFREG | 0640));
  EXPECT_TRUE(ListDirectory(mount_->mountpoint()).empty());
  const std::string content(300'000, 'x');
  ASSERT_EQ(write(fd.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  ASSERT_EQ(pwrite(fd.get(), "begin", 5, 0), 5);
  ASSERT_EQ(fsync(fd.get()), 0);
  void* const map = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_EQ(std::memcmp(map, "beginx", 6), 0);
  munmap(map, 4096);

  ASSERT_EQ(LinkErrno(fd, mount_->Path("named")), 0);
  ASSERT_EQ(fstat(fd.get(), &attributes), 0);
  EXPECT_EQ(attributes.st_nlink, 1u);
  ASSERT_EQ(ERRNO_OF(linkat(fd.get(), "", AT_FDCWD, mount_->Path("second").c_str(), AT_EMPTY_PATH)),
            0);
  EXPECT_EQ(LinkErrno(fd, mount_->Path("named")), EEXIST);
  ASSERT_EQ(fstat(fd.get(), &attributes), 0);
  EXPECT_EQ(attributes.st_nlink, 2u);
  EXPECT_EQ(ReadFile(mount_->Path("second")).size(), content.size());
  mount_->KillDaemon();
  mount_->Mount(Options());
  // Synced before it was named.
  for (const std::string& name : ListDirectory(mount_->mountpoint())) {
    EXPECT_EQ(ReadFile(mount_->Path(name)).substr(0, 6), "beginx") << name;
  }
}

TEST_P(HandleMount, WhatMayNotBeNamedIsNot) {
  const io::UniqueFd exclusive = Tmpfile(O_EXCL);
  EXPECT_EQ(LinkErrno(exclusive, mount_->Path("x")), ENOENT);
  const io::UniqueFd fd = Tmpfile();
  ASSERT_EQ(LinkErrno(fd, mount_->Path("x")), 0);
  ASSERT_EQ(unlink(mount_->Path("x").c_str()), 0);
  EXPECT_EQ(LinkErrno(fd, mount_->Path("x")), ENOENT) << "its last name is gone";
  EXPECT_EQ(OpenErrno(mount_->mountpoint(), O_TMPFILE | O_RDONLY, 0600), EINVAL);
  EXPECT_EQ(OpenErrno(mount_->Path("none"), O_TMPFILE | O_RDWR, 0600), ENOENT);
  ASSERT_EQ(mkdir(mount_->Path("private").c_str(), 0755), 0);
  EXPECT_EQ(RunAsUser(kUser, kGroup,
                      [&] { return OpenErrno(mount_->Path("private"), O_TMPFILE | O_RDWR, 0600); }),
            EACCES);
  ASSERT_EQ(chmod(mount_->Path("private").c_str(), 02777), 0);
  EXPECT_EQ(RunAsUser(kUser, kGroup,
                      [&] {
                        umask(027);
                        const io::UniqueFd own(
                            open(mount_->Path("private").c_str(), O_TMPFILE | O_WRONLY, 0444));
                        struct stat made {};
                        if (!own.valid() || fstat(own.get(), &made) != 0) return errno;
                        if (write(own.get(), "x", 1) != 1) return errno;
                        return made.st_uid == kUser && made.st_gid == 0 &&
                                       made.st_mode == (S_IFREG | 0440)
                                   ? 0
                                   : -1;
                      }),
            0);
}

TEST_P(HandleMount, FilesWithoutANameGoWithTheirLastUserOrTheDaemon) {
  const uint64_t before = InodeCount();
  for (int i = 0; i < 20; ++i) {
    const io::UniqueFd fd = Tmpfile();
    ASSERT_EQ(write(fd.get(), "some", 4), 4);
  }
  // Forgetting is not waited for.
  for (int i = 0; i < 200 && InodeCount() != before; ++i) usleep(50'000);
  EXPECT_EQ(InodeCount(), before);
  {
    const io::UniqueFd fd = Tmpfile();
    ASSERT_EQ(write(fd.get(), "more", 4), 4);
    ASSERT_EQ(fsync(fd.get()), 0);
    EXPECT_EQ(InodeCount(), before + 1);
    mount_->KillDaemon();
  }
  mount_->Mount(Options());
  EXPECT_EQ(InodeCount(), before);
}

TEST_P(HandleMount, AWhiteoutStaysWhereARenamedFileWas) {
  const std::string from = mount_->Path("from");
  const std::string to = mount_->Path("to");
  const auto rename_with = [](const std::string& source, const std::string& target,
                              unsigned flags) {
    return ERRNO_OF(renameat2(AT_FDCWD, source.c_str(), AT_FDCWD, target.c_str(), flags));
  };
  std::ofstream(from) << "text";
  ASSERT_EQ(rename_with(from, to, RENAME_WHITEOUT), 0);
  EXPECT_EQ(ReadFile(to), "text");
  struct stat attributes {};
  ASSERT_EQ(lstat(from.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode, static_cast<mode_t>(S_IFCHR));
  EXPECT_EQ(attributes.st_rdev, makedev(0, 0));
  EXPECT_EQ(rename_with(to, from, RENAME_WHITEOUT | RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(rename_with(to, from, RENAME_WHITEOUT | RENAME_EXCHANGE), EINVAL);
  EXPECT_EQ(rename_with(to, from, RENAME_NOREPLACE | RENAME_EXCHANGE), EINVAL);
  EXPECT_EQ(rename_with(to, from, 8), EINVAL);
  EXPECT_EQ(rename_with(to, from, RENAME_WHITEOUT), 0) << "over the whiteout";
  EXPECT_EQ(ReadFile(from), "text");
  ASSERT_EQ(mkdir(mount_->Path("d").c_str(), 0755), 0);
  EXPECT_EQ(rename_with(mount_->Path("d"), mount_->Path("e"), RENAME_WHITEOUT | RENAME_NOREPLACE),
            0);
  EXPECT_EQ(ListDirectory(mount_->mountpoint()),
            (std::vector<std::string>{"d", "e", "from", "to"}));
  EXPECT_EQ(unlink(to.c_str()), 0);
  mount_->Umount();
  mount_->Mount(Options());
  EXPECT_EQ(ListDirectory(mount_->mountpoint()), (std::vector<std::string>{"d", "e", "from"}));
}

struct Handle {
  std::vector<char> memory = std::vector<char>(sizeof(file_handle) + MAX_HANDLE_SZ);
  file_handle* get() { return reinterpret_cast<file_handle*>(memory.data()); }
};

Handle HandleOf(int directory, const std::string& path, int flags) {
  Handle handle;
  handle.get()->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  EXPECT_EQ(name_to_handle_at(directory, path.c_str(), handle.get(), &mount_id, flags), 0)
      << path << ": " << std::strerror(errno);
  return handle;
}
Handle HandleOf(const std::string& path) { return HandleOf(AT_FDCWD, path, 0); }

// What it opens, or errno.
struct Opened {
  io::UniqueFd fd;
  int error = 0;
};
Opened OpenHandle(const std::string& mountpoint, Handle& handle, int flags) {
  const io::UniqueFd mount(open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Opened opened;
  opened.fd = io::UniqueFd(open_by_handle_at(mount.get(), handle.get(), flags | O_CLOEXEC));
  if (!opened.fd.valid()) opened.error = errno;
  return opened;
}

TEST_P(HandleMount, HandlesStayGoodAsLongAsTheInodeLives) {
  ASSERT_EQ(mkdir(mount_->Path("a").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(mount_->Path("a/b").c_str(), 0755), 0);
  std::ofstream(mount_->Path("a/b/file")) << "content";
  std::ofstream(mount_->Path("gone")) << "gone";
  ASSERT_EQ(symlink("target", mount_->Path("a/symlink").c_str()), 0);
  Handle file = HandleOf(mount_->Path("a/b/file"));
  Handle directory = HandleOf(mount_->Path("a/b"));
  Handle root = HandleOf(mount_->mountpoint());
  Handle gone = HandleOf(mount_->Path("gone"));
  Handle symbolic = HandleOf(mount_->Path("a/symlink"));
  struct stat inode {};
  ASSERT_EQ(stat(mount_->Path("a/b/file").c_str(), &inode), 0);

  const auto check_all = [&](const char* when) {
    SCOPED_TRACE(when);
    Opened opened = OpenHandle(mount_->mountpoint(), file, O_RDWR);
    ASSERT_EQ(opened.error, 0);
    EXPECT_EQ(ContentOf(opened.fd.get()), "content");
    struct stat now {};
    ASSERT_EQ(fstat(opened.fd.get(), &now), 0);
    EXPECT_EQ(now.st_ino, inode.st_ino);
    opened = OpenHandle(mount_->mountpoint(), directory, O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(opened.error, 0);
    const std::string self = "/proc/self/fd/" + std::to_string(opened.fd.get());
    EXPECT_EQ(ListDirectory(self), std::vector<std::string>{"file"});
    // The kernel finds the way up by "..".
    EXPECT_EQ(std::filesystem::read_symlink(self), mount_->Path("a/b"));
    EXPECT_EQ(OpenHandle(mount_->mountpoint(), root, O_RDONLY | O_DIRECTORY).error, 0);
    opened = OpenHandle(mount_->mountpoint(), symbolic, O_PATH | O_NOFOLLOW);
    ASSERT_EQ(opened.error, 0);
    char target[16] = {};
    EXPECT_EQ(readlinkat(opened.fd.get(), "", target, sizeof target), 6);
  };
  check_all("at once");
  DropCaches();
  check_all("with nothing cached");
  ASSERT_EQ(rename(mount_->Path("a/b/file").c_str(), mount_->Path("a/b/moved").c_str()), 0);
  ASSERT_EQ(rename(mount_->Path("a/b/moved").c_str(), mount_->Path("a/b/file").c_str()), 0);
  mount_->Umount();
  mount_->Mount(Options());
  check_all("after a remount");
  mount_->Umount();
  mount_->Mount(Options());
  DropCaches();
  {
    const Opened opened = OpenHandle(mount_->mountpoint(), gone, O_RDONLY);
    ASSERT_EQ(opened.error, 0);
    ASSERT_EQ(unlink(mount_->Path("gone").c_str()), 0);
    DropCaches();
    const Opened again = OpenHandle(mount_->mountpoint(), gone, O_RDONLY);
    ASSERT_EQ(again.error, 0) << "unlinked, but open";
    EXPECT_EQ(ContentOf(again.fd.get()), "gone");
  }
  DropCaches();
  EXPECT_EQ(OpenHandle(mount_->mountpoint(), gone, O_RDONLY).error, ESTALE);
  for (int i = 0; i < 2000; ++i) {
    std::ofstream(mount_->Path("new" + std::to_string(i))) << "other";
  }
  DropCaches();
  EXPECT_EQ(OpenHandle(mount_->mountpoint(), gone, O_RDONLY).error, ESTALE);

  // The last four bytes are the generation, the eight before them the inode's number.
  Handle forged = HandleOf(mount_->Path("a/b/file"));
  forged.get()->f_handle[8] ^= 1;
  EXPECT_EQ(OpenHandle(mount_->mountpoint(), forged, O_RDONLY).error, ESTALE);
  forged = HandleOf(mount_->Path("a/b/file"));
  forged.get()->f_handle[2] ^= 0x40;
  EXPECT_EQ(OpenHandle(mount_->mountpoint(), forged, O_RDONLY).error, ESTALE);
}

TEST_P(HandleMount, AFileWithoutANameHasAHandle) {
  const io::UniqueFd fd = Tmpfile();
  ASSERT_EQ(write(fd.get(), "nameless", 8), 8);
  Handle handle = HandleOf(fd.get(), "", AT_EMPTY_PATH);
  DropCaches();
  const Opened opened = OpenHandle(mount_->mountpoint(), handle, O_RDONLY);
  ASSERT_EQ(opened.error, 0);
  EXPECT_EQ(ContentOf(opened.fd.get()), "nameless");
}

// What the kernel asks for ordinary work: handles cost nothing where nobody uses them.
TEST_P(HandleMount, OrdinaryOperationsSendTheSameRequests) {
  std::ofstream(mount_->Path("file")) << "text";
  ASSERT_EQ(mkdir(mount_->Path("d").c_str(), 0755), 0);
  DropCaches();
  const auto counts = [this] {
    std::map<std::string, uint64_t> by_name;
    const auto client = fs::MountClient::Open(mount_->mountpoint());
    EXPECT_TRUE(client.ok());
    const auto stats = client->Stats();
    EXPECT_TRUE(stats.ok());
    for (const auto& op : stats->op) by_name[fs::FieldText(op.name)] = op.count;
    return by_name;
  };
  auto before = counts();
  ASSERT_EQ(ReadFile(mount_->Path("file")), "text");
  ASSERT_EQ(rename(mount_->Path("file").c_str(), mount_->Path("d/moved").c_str()), 0);
  ASSERT_EQ(unlink(mount_->Path("d/moved").c_str()), 0);
  auto after = counts();
  EXPECT_LE(after["lookup"] - before["lookup"], 3u) << "file, d, and the absent d/moved";
  EXPECT_EQ(after["open"] - before["open"], 0u);
  EXPECT_EQ(after["read"] - before["read"], 1u);
  EXPECT_EQ(after["rename"] - before["rename"], 1u);
  EXPECT_EQ(after["unlink"] - before["unlink"], 1u);
}

}  // namespace
}  // namespace terracefs::testing
