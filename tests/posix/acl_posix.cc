#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>
#include <cstring>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class AclPosix : public PosixCase {};

constexpr const char* kAccess = "system.posix_acl_access";
constexpr const char* kDefault = "system.posix_acl_default";
constexpr uint32_t kNoId = 0xffffffffU;

struct Entry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id = kNoId;
};

// What the kernel takes as the value of such an attribute.
std::string Encode(const std::vector<Entry>& entries, uint32_t version = 2) {
  std::string value(4 + 8 * entries.size(), '\0');
  std::memcpy(value.data(), &version, 4);
  for (size_t i = 0; i < entries.size(); ++i) {
    std::memcpy(value.data() + 4 + 8 * i, &entries[i].tag, 2);
    std::memcpy(value.data() + 6 + 8 * i, &entries[i].permissions, 2);
    std::memcpy(value.data() + 8 + 8 * i, &entries[i].id, 4);
  }
  return value;
}

int SetAcl(const char* path, const char* name, const std::string& value) {
  return setxattr(path, name, value.data(), value.size(), 0);
}

std::string GetAcl(const char* path, const char* name) {
  char value[1024];
  const ssize_t bytes = getxattr(path, name, value, sizeof value);
  return bytes < 0 ? ErrnoName(errno) : std::string(value, static_cast<size_t>(bytes));
}

std::vector<Entry> ForAlice(uint16_t alice, uint16_t mask, uint16_t group = 0) {
  return {{ACL_USER_OBJ, 6},
          {ACL_USER, alice, kAlice.uid},
          {ACL_GROUP_OBJ, group},
          {ACL_MASK, mask},
          {ACL_OTHER, 0}};
}

TEST_F(AclPosix, Errors) {
  MakeFile("file");
  MakeDirectory("dir");
  const std::string good = Encode(ForAlice(4, 4));
  FAILS_AS("setxattr acl", EINVAL, SetAcl(Path("file"), kAccess, "x"));
  FAILS_AS("setxattr acl", EOPNOTSUPP, SetAcl(Path("file"), kAccess, Encode(ForAlice(4, 4), 7)));
  FAILS_AS("setxattr acl", EINVAL, SetAcl(Path("file"), kAccess, good.substr(0, 17)));
  // A named user without a mask, a missing owner, a permission that is none, a tag that is none.
  FAILS_AS(
      "setxattr acl", EINVAL,
      SetAcl(Path("file"), kAccess,
             Encode({{ACL_USER_OBJ, 6}, {ACL_USER, 4, 1}, {ACL_GROUP_OBJ, 0}, {ACL_OTHER, 0}})));
  FAILS_AS("setxattr acl", EINVAL,
           SetAcl(Path("file"), kAccess, Encode({{ACL_GROUP_OBJ, 0}, {ACL_OTHER, 0}})));
  FAILS_AS("setxattr acl", EINVAL,
           SetAcl(Path("file"), kAccess,
                  Encode({{ACL_USER_OBJ, 8}, {ACL_GROUP_OBJ, 0}, {ACL_OTHER, 0}})));
  FAILS_AS("setxattr acl", EINVAL,
           SetAcl(Path("file"), kAccess,
                  Encode({{ACL_USER_OBJ, 6}, {0x40, 0}, {ACL_GROUP_OBJ, 0}, {ACL_OTHER, 0}})));
  FAILS_AS("setxattr acl", EACCES, SetAcl(Path("file"), kDefault, good));  // directories only
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  FAILS_AS("setxattr acl", EOPNOTSUPP,
           lsetxattr(Path("soft"), kAccess, good.data(), good.size(), 0));
  FAILS_AS("getxattr acl", ENODATA, getxattr(Path("file"), kAccess, nullptr, 0));
  FAILS_AS("getxattr acl", ENODATA, getxattr(Path("dir"), kDefault, nullptr, 0));
  AsUser(kAlice, [&] { FAILS_AS("setxattr acl", EPERM, SetAcl(Path("file"), kAccess, good)); });
  OK_AS("setxattr acl", SetAcl(Path("file"), kAccess, good));
  char small[8];
  FAILS_AS("getxattr acl", ERANGE, getxattr(Path("file"), kAccess, small, sizeof small));
}

TEST_F(AclPosix, AccessIsWhatTheListSays) {
  MakeFile("file");
  ASSERT_EQ(chmod(Path("file"), 0600), 0);
  for (const uint16_t alice : std::initializer_list<uint16_t>{0, 2, 4, 6}) {
    for (const uint16_t mask : std::initializer_list<uint16_t>{0, 2, 4, 6, 7}) {
      const Parameter parameter("alice " + std::to_string(alice) + " mask " + std::to_string(mask));
      const std::string value = Encode(ForAlice(alice, mask));
      OK_AS("setxattr acl", SetAcl(Path("file"), kAccess, value));
      SAME("setxattr acl", value, GetAcl(Path("file"), kAccess));
      SAME("setxattr acl", 0600u | static_cast<mode_t>(mask << 3), Mode("file"));
      AsUser(kAlice, [&] {
        for (const int wanted : {R_OK, W_OK}) {
          const Parameter what(std::to_string(wanted));
          if ((alice & mask & wanted) != 0) {
            OK(access(Path("file"), wanted));
          } else {
            FAILS(EACCES, access(Path("file"), wanted));
          }
        }
      });
      AsUser(kBob, [&] { FAILS(EACCES, open(Path("file"), O_RDONLY)); });
    }
  }
  AsUser(kAlice, [&] {
    const UniqueFd fd(OK(open(Path("file"), O_RDWR)));
    SAME("write", 1, write(fd.get(), "y", 1));
  });
}

TEST_F(AclPosix, GroupsAndOthers) {
  MakeFile("file");
  ASSERT_EQ(chown(Path("file"), 0, 0), 0);
  OK_AS("setxattr acl", SetAcl(Path("file"), kAccess,
                               Encode({{ACL_USER_OBJ, 6},
                                       {ACL_GROUP_OBJ, 0},
                                       {ACL_GROUP, 4, kTeam},
                                       {ACL_MASK, 7},
                                       {ACL_OTHER, 2}})));
  for (const User* user : {&kAlice, &kCarol}) {
    AsUser(*user, [&] {
      OK(access(Path("file"), R_OK));
      FAILS(EACCES, access(Path("file"), W_OK));
    });
  }
  AsUser(kBob, [&] {
    FAILS(EACCES, access(Path("file"), R_OK));
    OK(access(Path("file"), W_OK));
  });
  MakeDirectory("dir", 0700);
  OK_AS("setxattr acl", SetAcl(Path("dir"), kAccess,
                               Encode({{ACL_USER_OBJ, 7},
                                       {ACL_USER, 7, kBob.uid},
                                       {ACL_GROUP_OBJ, 0},
                                       {ACL_MASK, 7},
                                       {ACL_OTHER, 0}})));
  AsUser(kBob, [&] { OK(mkdir(Path("dir/bobs"), 0700)); });
  AsUser(kAlice, [&] { FAILS(EACCES, mkdir(Path("dir/alices"), 0700)); });
}

TEST_F(AclPosix, ModesAndListsAgree) {
  MakeFile("file");
  // What says no more than the mode is kept in the mode.
  OK_AS("setxattr acl", SetAcl(Path("file"), kAccess,
                               Encode({{ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 1}})));
  SAME("setxattr acl", 0641u, Mode("file"));
  SAME("setxattr acl", "ENODATA", GetAcl(Path("file"), kAccess));
  // The group's bits of the mode are the mask.
  OK_AS("setxattr acl", SetAcl(Path("file"), kAccess, Encode(ForAlice(6, 6, 4))));
  SAME("setxattr acl", 0660u, Mode("file"));
  OK(chmod(Path("file"), 0745));
  std::vector<Entry> changed = ForAlice(6, 4, 4);
  changed[0].permissions = 7;
  changed[4].permissions = 5;
  SAME("chmod", Encode(changed), GetAcl(Path("file"), kAccess));
  AsUser(kAlice, [&] { FAILS(EACCES, open(Path("file"), O_RDWR)); });
  OK(removexattr(Path("file"), kAccess));
  SAME("removexattr", "ENODATA", GetAcl(Path("file"), kAccess));
  SAME("removexattr", 0745u, Mode("file"));
  // An owner who is not in the group loses setgid with it.
  ASSERT_EQ(chown(Path("file"), kBob.uid, kTeam), 0);
  ASSERT_EQ(chmod(Path("file"), 02755), 0);
  AsUser(kBob,
         [&] { OK_AS("setxattr acl", SetAcl(Path("file"), kAccess, Encode(ForAlice(4, 4)))); });
  SAME("setxattr acl", 0640u, Mode("file"));
}

TEST_F(AclPosix, DefaultsAreInherited) {
  MakeDirectory("dir", 0777);
  const std::vector<Entry> defaults = {{ACL_USER_OBJ, 7},
                                       {ACL_USER, 7, kAlice.uid},
                                       {ACL_GROUP_OBJ, 5},
                                       {ACL_MASK, 7},
                                       {ACL_OTHER, 0}};
  OK_AS("setxattr acl", SetAcl(Path("dir"), kDefault, Encode(defaults)));
  SAME("setxattr acl", 0777u, Mode("dir"));
  umask(077);  // plays no part
  OK(close(open(Path("dir/file"), O_CREAT | O_RDWR, 0664)));
  OK(mkdir(Path("dir/sub"), 0775));
  OK(mkfifo(Path("dir/fifo"), 0666));
  umask(0);
  SAME("open", 0660u, Mode("dir/file"));
  SAME("mkdir", 0770u, Mode("dir/sub"));
  SAME("mkfifo", 0660u, Mode("dir/fifo"));
  std::vector<Entry> file = defaults;
  file[0].permissions = 6;
  file[3].permissions = 6;
  SAME("open", Encode(file), GetAcl(Path("dir/file"), kAccess));
  SAME("open", "ENODATA",
       GetAcl(Path("dir/file"), kDefault) == "EOPNOTSUPP" ? "ENODATA"
                                                          : GetAcl(Path("dir/file"), kDefault));
  SAME("mkdir", Encode(defaults), GetAcl(Path("dir/sub"), kAccess));
  SAME("mkdir", Encode(defaults), GetAcl(Path("dir/sub"), kDefault));
  AsUser(kAlice, [&] {
    OK(access(Path("dir/file"), R_OK | W_OK));
    OK(mkdir(Path("dir/sub/mine"), 0700));
  });
  AsUser(kBob, [&] { FAILS(EACCES, access(Path("dir/file"), R_OK)); });
  ASSERT_EQ(symlink("x", Path("dir/soft")), 0);
  SAME("symlink", S_IFLNK | 0777u, Stat("dir/soft").st_mode);
  OK(removexattr(Path("dir"), kDefault));
  umask(022);
  OK(mkdir(Path("dir/plain"), 0777));
  umask(0);
  SAME("mkdir", 0755u, Mode("dir/plain"));
}

}  // namespace
}  // namespace terracefs::posix
