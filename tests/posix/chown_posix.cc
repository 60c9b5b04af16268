#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class ChownPosix : public PosixCase {};

constexpr uid_t kSameOwner = static_cast<uid_t>(-1);
constexpr gid_t kSameGroup = static_cast<gid_t>(-1);

TEST_F(ChownPosix, Errors) {
  CheckPathErrors({.name = "chown", .call = [](const char* path) { return chown(path, 1, 1); }});
  CheckPathErrors({.name = "lchown",
                   .call = [](const char* path) { return lchown(path, 1, 1); },
                   .follows = false});
  CheckPathErrors({.name = "fchownat",
                   .call = [](const char* path) { return fchownat(AT_FDCWD, path, 1, 1, 0); }});
  CheckAtErrors("fchownat", [](int at, const char* path) { return fchownat(at, path, 1, 1, 0); });
  MakeFile("file");
  FAILS(EBADF, fchown(-1, 1, 1));
  const UniqueFd path_fd = Open("file", O_PATH);
  FAILS(EBADF, fchown(path_fd.get(), 1, 1));
  FAILS(EINVAL, fchownat(AT_FDCWD, Path("file"), 1, 1, 1));
  OK(fchownat(path_fd.get(), "", 3, 4, AT_EMPTY_PATH));
  SAME("fchownat", 3u, Stat("file").st_uid);
  FAILS(ENOENT, fchownat(path_fd.get(), "", 3, 4, 0));
}

TEST_F(ChownPosix, EveryTypeHasOwners) {
  MakeFile("file");
  MakeDirectory("dir");
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  ASSERT_EQ(mkfifo(Path("fifo"), 0600), 0);
  ASSERT_EQ(mknod(Path("device"), S_IFCHR | 0600, 0), 0);
  uid_t id = 1000;
  for (const std::string name : {"file", "dir", "soft", "fifo", "device"}) {
    const Parameter parameter(name);
    ++id;
    OK(lchown(Path(name), id, id + 500));
    SAME("lchown", id, Stat(name).st_uid);
    SAME("lchown", id + 500, Stat(name).st_gid);
    OK(lchown(Path(name), kSameOwner, 7));
    SAME("lchown", id, Stat(name).st_uid);
    SAME("lchown", 7u, Stat(name).st_gid);
    OK(fchownat(AT_FDCWD, Path(name), 8, kSameGroup, AT_SYMLINK_NOFOLLOW));
    SAME("fchownat", 8u, Stat(name).st_uid);
    SAME("fchownat", 7u, Stat(name).st_gid);
  }
  OK(chown(Path("soft"), 4'294'967'294U, 4'294'967'294U));
  SAME("chown", 4'294'967'294U, Stat("file").st_uid);
  SAME("chown", 4'294'967'294U, Stat("file").st_gid);
  SAME("chown", 8u, Stat("soft").st_uid);
  OK(chown(Path("file"), 0, 0));
  SAME("chown", 0u, Stat("file").st_uid);
}

TEST_F(ChownPosix, RootGivesAwayAndOthersMayNot) {
  MakeFile("file");
  OK(chown(Path("file"), kAlice.uid, kAlice.gid));
  AsUser(kAlice, [&] {
    FAILS(EPERM, chown(Path("file"), kBob.uid, kSameGroup));
    FAILS(EPERM, chown(Path("file"), 0, 0));
    FAILS(EPERM, chown(Path("file"), kSameOwner, kBob.gid));
    FAILS(EPERM, lchown(Path("file"), kBob.uid, kSameGroup));
    FAILS(EPERM, fchownat(AT_FDCWD, Path("file"), kBob.uid, kSameGroup, 0));
    OK(chown(Path("file"), kSameOwner, kTeam));
    OK(chown(Path("file"), kAlice.uid, kAlice.gid));
    OK(chown(Path("file"), kSameOwner, kSameGroup));
    const UniqueFd fd = Open("file", O_RDONLY);
    FAILS(EPERM, fchown(fd.get(), kBob.uid, kSameGroup));
    OK(fchown(fd.get(), kSameOwner, kTeam));
  });
  SAME("chown", kTeam, Stat("file").st_gid);
  AsUser(kBob, [&] {
    FAILS(EPERM, chown(Path("file"), kBob.uid, kBob.gid));
    FAILS(EPERM, chown(Path("file"), kSameOwner, kBob.gid));
    FAILS(EPERM, chown(Path("file"), kAlice.uid, kSameGroup));
  });
  AsUser(kCarol, [&] { FAILS(EPERM, chown(Path("file"), kSameOwner, kTeam)); });
}

TEST_F(ChownPosix, SetuidAndSetgidGoWithTheOwner) {
  struct Case {
    mode_t before;
    mode_t after;
  };
  for (const Case& c : {Case{06755, 0755}, Case{04711, 0711}, Case{02755, 0755},
                        Case{02744, 02744},  // without group execution it is a lock's mark
                        Case{06666, 02666}, Case{01755, 01755}}) {
    for (const bool as_root : {true, false}) {
      const Parameter parameter(std::to_string(c.before) + (as_root ? " by root" : " by alice"));
      MakeFile("file");
      ASSERT_EQ(chown(Path("file"), kAlice.uid, kAlice.gid), 0);
      ASSERT_EQ(chmod(Path("file"), c.before), 0);
      if (as_root) {
        OK(chown(Path("file"), kAlice.uid, kAlice.gid));
      } else {
        AsUser(kAlice, [&] { OK(chown(Path("file"), kSameOwner, kAlice.gid)); });
      }
      SAME("chown", c.after, Mode("file"));
      ASSERT_EQ(unlink(Path("file")), 0);
    }
  }
  // Directories keep theirs.
  MakeDirectory("dir");
  ASSERT_EQ(chmod(Path("dir"), 06755), 0);
  OK(chown(Path("dir"), kAlice.uid, kTeam));
  SAME("chown", 06755u, Mode("dir"));
  AsUser(kAlice, [&] { OK(chown(Path("dir"), kSameOwner, kAlice.gid)); });
  SAME("chown", 06755u, Mode("dir"));
}

TEST_F(ChownPosix, Times) {
  MakeFile("file");
  CheckTimes("chown", {{"file", "c"}, {"", ""}}, [&] { OK(chown(Path("file"), 5, 6)); });
  ASSERT_EQ(symlink("file", Path("soft")), 0);
  CheckTimes("lchown", {{"file", ""}, {"soft", "c"}}, [&] { OK(lchown(Path("soft"), 5, 6)); });
  CheckTimes("chown", {{"file", ""}},
             [&] { AsUser(kAlice, [&] { FAILS(EPERM, chown(Path("file"), 1, 1)); }); });
}

}  // namespace
}  // namespace terracefs::posix
