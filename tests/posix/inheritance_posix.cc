#include "tests/posix/harness.h"

namespace terracefs::posix {
namespace {

class InheritancePosix : public PosixCase {};

// What a new name gets from its directory, by every call that makes one.
TEST_F(InheritancePosix, GroupsComeFromSetgidDirectories) {
  struct Maker {
    const char* call;
    std::function<int(const char*)> make;
  };
  const std::vector<Maker> makers = {
      {"open", [](const char* p) { return close(open(p, O_CREAT | O_EXCL | O_RDWR, 02775)); }},
      {"creat", [](const char* p) { return close(creat(p, 0664)); }},
      {"mknod", [](const char* p) { return mknod(p, S_IFREG | 0664, 0); }},
      {"mkfifo", [](const char* p) { return mkfifo(p, 0664); }},
      {"mkdir", [](const char* p) { return mkdir(p, 0775); }},
      {"symlink", [](const char* p) { return symlink("x", p); }}};
  MakeDirectory("setgid");
  ASSERT_EQ(chown(Path("setgid"), 0, kTeam), 0);
  ASSERT_EQ(chmod(Path("setgid"), 02777), 0);
  MakeDirectory("plain", 0777);
  ASSERT_EQ(chown(Path("plain"), 0, kTeam), 0);
  for (const Maker& maker : makers) {
    for (const User* const user : {&kAlice, &kBob, &kCarol}) {
      const std::string name = std::string(maker.call) + user->name;
      const Parameter parameter(name);
      AsUser(*user, [&] {
        OK_AS(maker.call, maker.make(Path("setgid/" + name)));
        OK_AS(maker.call, maker.make(Path("plain/" + name)));
      });
      const struct stat inherited = Stat("setgid/" + name);
      const struct stat own = Stat("plain/" + name);
      SAME(maker.call, kTeam, inherited.st_gid);
      SAME(maker.call, user->uid, inherited.st_uid);
      SAME(maker.call, user->gid, own.st_gid);
      SAME(maker.call, user->uid, own.st_uid);
      // Directories hand the bit down. A file may have it only if the maker is in the group.
      const bool is_directory = S_ISDIR(inherited.st_mode);
      const bool in_team = user != &kBob;
      const bool wants = std::string_view(maker.call) == "open";
      SAME(maker.call, is_directory || (wants && in_team), (inherited.st_mode & S_ISGID) != 0);
      SAME(maker.call, wants, (own.st_mode & S_ISGID) != 0);
    }
  }
  OK(mkdir(Path("setgid/roots"), 0700));
  SAME("mkdir", kTeam, Stat("setgid/roots").st_gid);
  SAME("mkdir", 02700u, Mode("setgid/roots"));
  OK(mkdir(Path("setgid/roots/below"), 0700));
  SAME("mkdir", kTeam, Stat("setgid/roots/below").st_gid);
}

TEST_F(InheritancePosix, HardLinksAndRenamesInheritNothing) {
  MakeDirectory("setgid");
  ASSERT_EQ(chown(Path("setgid"), 0, kTeam), 0);
  ASSERT_EQ(chmod(Path("setgid"), 02777), 0);
  MakeFile("file");
  MakeDirectory("dir");
  OK(link(Path("file"), Path("setgid/file")));
  OK(rename(Path("dir"), Path("setgid/dir")));
  SAME("link", 0u, Stat("setgid/file").st_gid);
  SAME("rename", 0u, Stat("setgid/dir").st_gid);
  SAME("rename", 0755u, Mode("setgid/dir"));
}

}  // namespace
}  // namespace terracefs::posix
