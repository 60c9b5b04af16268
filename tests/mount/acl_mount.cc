// ACLs as users meet them: who gets in, what is inherited, what the tools make of it. And which
// changes take a capability away.
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "fs/acl.h"
#include "io/base/coding.h"
#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

constexpr uid_t kAlice = 54321;
constexpr uid_t kBob = 54324;
constexpr gid_t kStaff = 54322;
constexpr gid_t kTeam = 54323;

class AclMount : public TransportTest {
 protected:
  void SetUp() override {
    TransportTest::SetUp();
    if (IsSkipped()) return;
    if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root to become other users";
    MountWith("allow_other");
    umask(0);
  }
  void MountWith(const std::string& options) {
    if (mount_->IsMounted()) mount_->Umount();
    mount_->Mount(Options(options));
    ASSERT_EQ(chmod(mount_->mountpoint().c_str(), 0777), 0);
  }
  std::string Path(std::string_view name) const { return mount_->Path(name); }
  void Make(const std::string& path, mode_t mode) {
    const io::UniqueFd fd(open(path.c_str(), O_CREAT | O_EXCL | O_RDWR, mode));
    ASSERT_TRUE(fd.valid());
    ASSERT_EQ(write(fd.get(), "0123456789", 10), 10);
  }
  static uint32_t Mode(const std::string& path) {
    struct stat attributes {};
    EXPECT_EQ(lstat(path.c_str(), &attributes), 0) << path;
    return attributes.st_mode & 07777;
  }
  static void SetFacl(const std::string& arguments, const std::string& path) {
    std::vector<std::string> all = {"setfacl"};
    for (size_t begin = 0; begin < arguments.size();) {
      const size_t end = std::min(arguments.find(' ', begin), arguments.size());
      all.push_back(arguments.substr(begin, end - begin));
      begin = end + 1;
    }
    all.push_back(path);
    const ProcessResult result = RunProcess(all);
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  // Entries in getfacl's form, separated by spaces.
  static std::string GetFacl(const std::string& path) {
    const ProcessResult result = RunProcess({"getfacl", "-cnEp", path});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::string line = result.out;
    while (!line.empty() && line.back() == '\n') line.pop_back();
    for (char& c : line) c = c == '\n' ? ' ' : c;
    return line;
  }
  // What open says to a user whose groups are `group` and `others`.
  static int OpenAs(uid_t user, gid_t group, const std::vector<gid_t>& others,
                    const std::string& path, int flags) {
    return RunAs(user, group, others, [&] { return OpenErrno(path, flags); });
  }
  static int RunAs(uid_t user, gid_t group, const std::vector<gid_t>& others,
                   const std::function<int()>& body) {
    return RunAsUser(0, 0, [&] {
      if (setgroups(others.size(), others.data()) != 0 || setresgid(group, group, group) != 0 ||
          setresuid(user, user, user) != 0) {
        return -1;
      }
      return body();
    });
  }
};
INSTANTIATE_TRANSPORT_TEST(AclMount);

TEST_P(AclMount, NamedUsersAndGroupsComeInAsFarAsTheMaskLetsThem) {
  const std::string path = Path("file");
  Make(path, 0600);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-m u:54321:rw,g:54323:r", path));
  EXPECT_EQ(Mode(path), 0660U);
  EXPECT_EQ(GetFacl(path),
            "user::rw- user:54321:rw- group::--- group:54323:r-- mask::rw- other::---");
  const auto expect = [&](int alice_reads, int alice_writes, int team_reads) {
    EXPECT_EQ(OpenAs(kAlice, kStaff, {}, path, O_RDONLY), alice_reads);
    EXPECT_EQ(OpenAs(kAlice, kStaff, {}, path, O_WRONLY), alice_writes);
    EXPECT_EQ(OpenAs(kBob, kTeam, {}, path, O_RDONLY), team_reads);
    EXPECT_EQ(OpenAs(kBob, kStaff, {kTeam}, path, O_RDONLY), team_reads);
    EXPECT_EQ(OpenAs(kBob, kTeam, {}, path, O_WRONLY), EACCES);
    EXPECT_EQ(OpenAs(kBob, kStaff, {}, path, O_RDONLY), EACCES);
    EXPECT_EQ(OpenErrno(path, O_RDWR), 0);
  };
  expect(0, 0, 0);
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  expect(0, EACCES, 0);
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  expect(EACCES, EACCES, EACCES);
  ASSERT_EQ(chmod(path.c_str(), 0660), 0);
  expect(0, 0, 0);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-m m::r", path));
  EXPECT_EQ(Mode(path), 0640U);
  expect(0, EACCES, 0);
  // What is stored counts, not what the kernel remembers.
  MountWith("allow_other");
  expect(0, EACCES, 0);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-x u:54321 -x g:54323", path));
  expect(EACCES, EACCES, EACCES);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-b", path));
  EXPECT_EQ(GetFacl(path), "user::rw- group::--- other::---");
  EXPECT_EQ(listxattr(path.c_str(), nullptr, 0), 0);
}

TEST_P(AclMount, DirectoriesLetNamedUsersThrough) {
  const std::string directory = Path("directory");
  ASSERT_EQ(mkdir(directory.c_str(), 0700), 0);
  Make(directory + "/file", 0666);
  EXPECT_EQ(OpenAs(kAlice, kStaff, {}, directory + "/file", O_RDONLY), EACCES);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-m u:54321:x", directory));
  EXPECT_EQ(OpenAs(kAlice, kStaff, {}, directory + "/file", O_RDWR), 0);
  EXPECT_EQ(OpenAs(kAlice, kStaff, {}, directory, O_RDONLY), EACCES);
  EXPECT_EQ(OpenAs(kBob, kStaff, {}, directory + "/file", O_RDONLY), EACCES);
}

TEST_P(AclMount, OnlyTheOwnerChangesAcls) {
  const std::string path = Path("file");
  Make(path, 0666);
  ASSERT_EQ(chown(path.c_str(), kAlice, kStaff), 0);
  const auto remove = [&path] {
    return ERRNO_OF(removexattr(path.c_str(), "system.posix_acl_access"));
  };
  ASSERT_NO_FATAL_FAILURE(SetFacl("-m u:54324:rw", path));
  EXPECT_EQ(RunAs(kBob, kStaff, {}, remove), EPERM);
  EXPECT_EQ(RunAs(kAlice, kStaff, {}, remove), 0);
}

TEST_P(AclMount, WhatIsMadeInsideInherits) {
  const std::string top = Path("top");
  ASSERT_EQ(mkdir(top.c_str(), 0777), 0);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-m d:u:54321:rwx,d:g:54323:rx,d:o::-", top));
  EXPECT_EQ(Mode(top), 0777U);
  EXPECT_EQ(RunAs(kBob, kStaff, {},
                  [&top] {
                    umask(077);  // which does not count here
                    const io::UniqueFd fd(open((top + "/file").c_str(), O_CREAT | O_RDWR, 0666));
                    if (!fd.valid()) return errno;
                    if (mkdir((top + "/sub").c_str(), 0777) != 0) return errno;
                    if (symlink("x", (top + "/link").c_str()) != 0) return errno;
                    return ERRNO_OF(mknod((top + "/fifo").c_str(), S_IFIFO | 0600, 0));
                  }),
            0);
  EXPECT_EQ(Mode(top + "/file"), 0660U);
  EXPECT_EQ(GetFacl(top + "/file"),
            "user::rw- user:54321:rwx group::rwx group:54323:r-x mask::rw- other::---");
  EXPECT_EQ(OpenAs(kAlice, kStaff, {}, top + "/file", O_RDWR), 0);
  EXPECT_EQ(OpenAs(kAlice + 1, kTeam, {}, top + "/file", O_RDONLY), 0);
  EXPECT_EQ(OpenAs(kAlice + 1, kTeam, {}, top + "/file", O_RDWR), EACCES);
  EXPECT_EQ(Mode(top + "/sub"), 0770U);
  const std::string entries =
      "user::rwx user:54321:rwx group::rwx group:54323:r-x mask::rwx other::---";
  std::string defaults = " " + entries;
  for (size_t at = 0; (at = defaults.find(' ', at)) != defaults.npos; at += 9) {
    defaults.insert(at + 1, "default:");
  }
  EXPECT_EQ(GetFacl(top + "/sub"), entries + defaults);
  EXPECT_EQ(Mode(top + "/fifo"), 0600U);
  EXPECT_EQ(GetFacl(top + "/fifo"),
            "user::rw- user:54321:rwx group::rwx group:54323:r-x mask::--- other::---");
  EXPECT_EQ(Mode(top + "/link"), 0777U);
  // Beside it the umask counts.
  EXPECT_EQ(RunAs(kBob, kStaff, {},
                  [this] {
                    umask(027);
                    const io::UniqueFd fd(open(Path("plain").c_str(), O_CREAT | O_RDWR, 0666));
                    if (!fd.valid()) return errno;
                    return ERRNO_OF(mkdir(Path("plain_directory").c_str(), 0777));
                  }),
            0);
  EXPECT_EQ(Mode(Path("plain")), 0640U);
  EXPECT_EQ(Mode(Path("plain_directory")), 0750U);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-k", top));
  EXPECT_EQ(listxattr(top.c_str(), nullptr, 0), 0);
}

TEST_P(AclMount, SetgidStaysWithMembersOnly) {
  const std::string path = Path("file");
  Make(path, 0755);
  ASSERT_EQ(chown(path.c_str(), kAlice, kTeam), 0);
  const auto mode_after = [&](gid_t group, const std::vector<gid_t>& others) {
    SetFacl("-b", path);  // setfacl sets nothing that is there already
    EXPECT_EQ(chmod(path.c_str(), 02755), 0);
    EXPECT_EQ(RunAs(kAlice, group, others,
                    [&path] {
                      return RunProcess({"setfacl", "-m", "u:5:r", path}).exit_code;
                    }),
              0);
    return Mode(path);
  };
  EXPECT_EQ(mode_after(kTeam, {}), 02755U);
  EXPECT_EQ(mode_after(kStaff, {kTeam}), 02755U);
  EXPECT_EQ(mode_after(kStaff, {}), 0755U);
  ASSERT_EQ(chmod(path.c_str(), 02755), 0);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-m u:5:rw", path));
  EXPECT_EQ(Mode(path), 02775U);
}

TEST_P(AclMount, WhatIsNoAclIsRefused) {
  const std::string file = Path("file");
  Make(file, 0644);
  ASSERT_EQ(symlink("file", Path("link").c_str()), 0);
  std::string acl("\2\0\0\0", 4);
  for (const uint16_t tag : std::initializer_list<uint16_t>{1, 4, 32}) {
    io::PutFixed16(&acl, tag);
    io::PutFixed16(&acl, 5);
    io::PutFixed32(&acl, ~0U);
  }
  const auto set = [](const std::string& path, const char* name, const std::string& value) {
    return ERRNO_OF(lsetxattr(path.c_str(), name, value.data(), value.size(), 0));
  };
  const std::string access(fs::kAccessAclXattr);
  const std::string fallback(fs::kDefaultAclXattr);
  EXPECT_EQ(set(file, access.c_str(), acl), 0);
  EXPECT_EQ(Mode(file), 0555U);
  EXPECT_EQ(ERRNO_OF(getxattr(file.c_str(), access.c_str(), nullptr, 0)), ENODATA);
  EXPECT_EQ(set(file, access.c_str(), acl + "x"), EINVAL);
  EXPECT_EQ(set(file, access.c_str(), acl.substr(0, 20)), EINVAL);
  EXPECT_EQ(set(file, fallback.c_str(), acl), EACCES);
  EXPECT_EQ(set(Path("link"), access.c_str(), acl), EOPNOTSUPP);
  EXPECT_EQ(set(file, "system.other", acl), EOPNOTSUPP);
  EXPECT_EQ(ERRNO_OF(removexattr(file.c_str(), access.c_str())), 0);
}

TEST_P(AclMount, CopiesAndArchivesKeepAcls) {
  const std::string from = Path("from");
  ASSERT_EQ(mkdir(from.c_str(), 0755), 0);
  Make(from + "/file", 0640);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-m u:54321:rwx,d:g:54323:rwx", from));
  ASSERT_NO_FATAL_FAILURE(SetFacl("-m u:54321:rw,g:54323:---,m::rw", from + "/file"));
  const std::string directory_acl = GetFacl(from);
  const std::string file_acl = GetFacl(from + "/file");
  const auto expect_same = [&](const std::string& to) {
    EXPECT_EQ(GetFacl(to), directory_acl);
    EXPECT_EQ(GetFacl(to + "/file"), file_acl);
  };
  const auto run = [](const std::vector<std::string>& arguments) {
    const ProcessResult result = RunProcess(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  run({"cp", "-a", from, Path("copy")});
  expect_same(Path("copy"));
  run({"rsync", "-aAX", from + "/", Path("synced")});
  expect_same(Path("synced"));
  const std::string backup = mount_->directory() + "/acls";
  run({"sh", "-c",
       "cd '" + mount_->mountpoint() + "' && getfacl -R from > '" + backup +
           "' && setfacl -bR from && setfacl --restore='" + backup + "'"});
  expect_same(from);
  MountWith("allow_other");
  expect_same(Path("copy"));
}

TEST_P(AclMount, WithoutAclsTheyAreNeitherCheckedNorShownButStay) {
  const std::string path = Path("file");
  Make(path, 0600);
  ASSERT_NO_FATAL_FAILURE(SetFacl("-m u:54321:rw", path));
  const std::string entries = GetFacl(path);
  MountWith("allow_other,noacl");
  EXPECT_EQ(OpenAs(kAlice, kStaff, {}, path, O_RDONLY), EACCES);
  EXPECT_EQ(ERRNO_OF(getxattr(path.c_str(), "system.posix_acl_access", nullptr, 0)), EOPNOTSUPP);
  EXPECT_EQ(ERRNO_OF(removexattr(path.c_str(), "system.posix_acl_access")), EOPNOTSUPP);
  EXPECT_EQ(RunAs(kAlice, kStaff, {},
                  [this] {
                    umask(027);
                    return OpenErrno(Path("masked"), O_CREAT | O_RDWR, 0666);
                  }),
            0);
  EXPECT_EQ(Mode(Path("masked")), 0640U);
  MountWith("allow_other");
  EXPECT_EQ(GetFacl(path), entries);
  EXPECT_EQ(OpenAs(kAlice, kStaff, {}, path, O_RDONLY), 0);
}

// As on ext4, with which all of this was compared.
TEST_P(AclMount, ACapabilityGoesWithWhateverChangesTheFile) {
  struct {
    uint32_t magic = 0x02000001;
    uint32_t sets[4] = {1U << CAP_NET_BIND_SERVICE, 0, 0, 0};
  } const capability;
  const char* const name = "security.capability";
  const auto write_with = [](const std::string& path, int flags) {
    alignas(4096) static char page[4096] = "page";
    const io::UniqueFd fd(open(path.c_str(), O_WRONLY | flags));
    if (!fd.valid()) return errno;
    if (write(fd.get(), page, sizeof page) != sizeof page) return errno;
    return ERRNO_OF(fsync(fd.get()));
  };
  const auto map_and_write = [](const std::string& path, const std::function<void()>& before_sync) {
    const io::UniqueFd fd(open(path.c_str(), O_RDWR));
    if (!fd.valid()) return errno;
    void* const memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) return errno;
    std::memcpy(memory, "mapped", 6);
    before_sync();
    const int result = ERRNO_OF(msync(memory, 4096, MS_SYNC));
    munmap(memory, 4096);
    return result;
  };
  struct Change {
    const char* what;
    bool keeps;
    std::function<int(const std::string&)> make;
  };
  const Change changes[] = {
      {"write", false, [&](const std::string& path) { return write_with(path, 0); }},
      {"direct write", false, [&](const std::string& path) { return write_with(path, O_DIRECT); }},
      {"synchronous write", false,
       [&](const std::string& path) { return write_with(path, O_SYNC); }},
      {"truncate", false,
       [](const std::string& path) { return ERRNO_OF(truncate(path.c_str(), 3)); }},
      {"open to truncate", false,
       [](const std::string& path) { return OpenErrno(path, O_WRONLY | O_TRUNC); }},
      {"write through a mapping", true,
       [&](const std::string& path) { return map_and_write(path, [] {}); }},
      {"read", true, [](const std::string& path) { return ReadFile(path).empty() ? 1 : 0; }},
  };
  for (const char* options : {"allow_other", "allow_other,writeback"}) {
    MountWith(options);
    const std::string path = Path("program");
    unlink(path.c_str());
    Make(path, 0777);
    const auto give = [&] {
      ASSERT_EQ(setxattr(path.c_str(), name, &capability, sizeof capability, 0), 0);
    };
    const auto has = [&] {
      sync();
      return getxattr(path.c_str(), name, nullptr, 0) == sizeof capability;
    };
    for (const Change& change : changes) {
      for (const uid_t user : {uid_t{0}, kAlice}) {
        give();
        EXPECT_EQ(RunAsUser(user, kStaff, [&] { return change.make(path); }), 0) << change.what;
        EXPECT_EQ(has(), change.keeps) << change.what << " by " << user << " with " << options;
        ASSERT_EQ(truncate(path.c_str(), 8192), 0);
      }
    }
    give();
    ASSERT_EQ(chown(path.c_str(), kAlice, kStaff), 0);
    EXPECT_FALSE(has());
    // What was written before stays to be written when the capability has come.
    EXPECT_EQ(map_and_write(path, give), 0);
    EXPECT_TRUE(has());
    const io::UniqueFd fd(open(path.c_str(), O_WRONLY));
    ASSERT_EQ(write(fd.get(), "early", 5), 5);
    give();
    ASSERT_EQ(fsync(fd.get()), 0);
    EXPECT_TRUE(has()) << options;
    ASSERT_EQ(write(fd.get(), "late", 4), 4);
    EXPECT_FALSE(has()) << options;
  }
}

TEST_P(AclMount, TrustedAttributesAreHiddenFromOthers) {
  const std::string path = Path("file");
  Make(path, 0666);
  ASSERT_EQ(setxattr(path.c_str(), "trusted.secret", "1", 1, 0), 0);
  ASSERT_EQ(setxattr(path.c_str(), "user.open", "1", 1, 0), 0);
  EXPECT_EQ(listxattr(path.c_str(), nullptr, 0), 25);
  EXPECT_EQ(RunAsUser(kAlice, kStaff,
                      [&path] {
                        char names[64] = {};
                        if (listxattr(path.c_str(), names, sizeof names) != 10) return 1;
                        if (std::strcmp(names, "user.open") != 0) return 2;
                        return ERRNO_OF(getxattr(path.c_str(), "trusted.secret", names, 1));
                      }),
            ENODATA);
}

TEST_P(AclMount, MoreAttributesThanCanBeListed) {
  const std::string path = Path("file");
  Make(path, 0666);
  const auto name = [](int i) {
    return "user." + std::to_string(10000 + i) + std::string(245, 'n');
  };
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(setxattr(path.c_str(), name(i).c_str(), "v", 1, XATTR_CREATE), 0) << i;
  }
  std::string names(65536, '\0');
  EXPECT_EQ(ERRNO_OF(listxattr(path.c_str(), names.data(), names.size())), E2BIG);
  EXPECT_EQ(getxattr(path.c_str(), name(999).c_str(), nullptr, 0), 1);
  for (int i = 256; i < 1000; ++i) ASSERT_EQ(removexattr(path.c_str(), name(i).c_str()), 0);
  EXPECT_EQ(listxattr(path.c_str(), names.data(), names.size()), 65536);
}

}  // namespace
}  // namespace terracefs::testing
