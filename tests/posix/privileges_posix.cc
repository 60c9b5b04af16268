#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <cstring>

#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class PrivilegesPosix : public PosixCase {};

// A valid value of the attribute: cap_net_raw.
std::string Capability() {
  vfs_cap_data data = {};
  data.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE;
  data.data[0].permitted = 1U << CAP_NET_RAW;
  return {reinterpret_cast<const char*>(&data), sizeof data};
}

constexpr const char* kName = "security.capability";

struct Change {
  const char* call;
  std::function<long(int fd, const char* path)> make;
};

const std::vector<Change>& Changes() {
  static const std::vector<Change>& changes = *new std::vector<Change>{
      {"write", [](int fd, const char*) -> long { return write(fd, "x", 1); }},
      {"pwrite", [](int fd, const char*) -> long { return pwrite(fd, "x", 1, 3); }},
      {"pwritev",
       [](int fd, const char*) -> long {
         char byte = 'x';
         iovec one = {&byte, 1};
         return pwritev(fd, &one, 1, 100);
       }},
      {"ftruncate", [](int fd, const char*) -> long { return ftruncate(fd, 2); }},
      {"truncate", [](int, const char* path) -> long { return truncate(path, 2); }},
      {"open",
       [](int, const char* path) -> long { return close(open(path, O_WRONLY | O_TRUNC)); }}};
  return changes;
}

TEST_F(PrivilegesPosix, WritersTakeSetuidAndSetgidAway) {
  struct Case {
    mode_t before;
    mode_t after;
  };
  for (const Change& change : Changes()) {
    for (const Case& c : {Case{06777, 0777}, Case{04766, 0766}, Case{02777, 0777},
                          Case{02766, 0766},  // alice is not in the group
                          Case{01777, 01777}}) {
      const Parameter parameter(std::string(change.call) + " " + std::to_string(c.before));
      MakeFile("file", "content");
      Give("file", kBob);
      ASSERT_EQ(chmod(Path("file"), c.before), 0);
      AsUser(kAlice, [&] {
        const UniqueFd fd = Open("file", O_RDWR);
        OK_AS(change.call, change.make(fd.get(), Path("file")));
      });
      // Alice is not in the group, so a mark for locking goes, too. FUSE cannot tell the server who
      // is: its protocol wants setgid kept where the group may not execute.
      const mode_t after = OnTerraceFs() && c.before == 02766 ? 02766 : c.after;
      SAME(change.call, after, Mode("file"));
      ASSERT_EQ(unlink(Path("file")), 0);
    }
  }
}

TEST_F(PrivilegesPosix, RootsWritesKeepThem) {
  for (const Change& change : Changes()) {
    const Parameter parameter(change.call);
    MakeFile("file", "content");
    ASSERT_EQ(chmod(Path("file"), 06777), 0);
    const UniqueFd fd = Open("file", O_RDWR);
    OK_AS(change.call, change.make(fd.get(), Path("file")));
    SAME(change.call, 06777u, Mode("file"));
    ASSERT_EQ(unlink(Path("file")), 0);
  }
}

TEST_F(PrivilegesPosix, CapabilitiesGoWithEveryChange) {
  const std::string capability = Capability();
  for (const Change& change : Changes()) {
    const Parameter parameter(change.call);
    MakeFile("file", "content");
    OK(setxattr(Path("file"), kName, capability.data(), capability.size(), 0));
    SAME("getxattr", static_cast<ssize_t>(capability.size()),
         getxattr(Path("file"), kName, nullptr, 0));
    const UniqueFd fd = Open("file", O_RDWR);
    OK_AS(change.call, change.make(fd.get(), Path("file")));
    FAILS(ENODATA, getxattr(Path("file"), kName, nullptr, 0));
    ASSERT_EQ(unlink(Path("file")), 0);
  }
  MakeFile("file");
  OK(setxattr(Path("file"), kName, capability.data(), capability.size(), 0));
  OK(chown(Path("file"), kBob.uid, kBob.gid));
  FAILS(ENODATA, getxattr(Path("file"), kName, nullptr, 0));
  OK(setxattr(Path("file"), kName, capability.data(), capability.size(), 0));
  OK(chmod(Path("file"), 0700));
  OK(rename(Path("file"), Path("moved")));
  OK(getxattr(Path("moved"), kName, nullptr, 0));
  AsUser(kBob, [&] {
    FAILS(EPERM, setxattr(Path("moved"), kName, capability.data(), capability.size(), 0));
  });
}

TEST_F(PrivilegesPosix, ReadingAndFailingTakeNothing) {
  MakeFile("file", "content");
  Give("file", kBob);
  ASSERT_EQ(chmod(Path("file"), 06755), 0);
  AsUser(kAlice, [&] {
    const UniqueFd fd = Open("file", O_RDONLY);
    char c = 0;
    OK(read(fd.get(), &c, 1));
    FAILS(EBADF, write(fd.get(), "x", 1));
    FAILS(EACCES, truncate(Path("file"), 0));
  });
  SAME("read", 06755u, Mode("file"));
}

}  // namespace
}  // namespace terracefs::posix
