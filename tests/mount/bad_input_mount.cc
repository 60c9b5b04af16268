// What a user can get wrong: each mistake has its exit code, says in one line what is wrong, and
// changes nothing.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "fs/mount_table.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class BadInputMount : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (!IsSkipped()) mount_.emplace();
  }

  // Runs it, and expects this exit code, one line with these words, and nothing else to happen.
  void ExpectRefused(const std::vector<std::string>& arguments, int exit_code,
                     const std::string& words) {
    const std::string before = DescribeTree(mount_->directory());
    const auto mounts_before = fs::ReadMountTable().size();
    const ProcessResult result = Terracefs(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_TRUE(result.err.starts_with("terracefs: ")) << result.err;
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(DescribeTree(mount_->directory()), before);
    EXPECT_EQ(fs::ReadMountTable().size(), mounts_before);
  }
  void ExpectMountRefused(const std::string& words, const std::string& options = "",
                          int exit_code = 32) {
    std::vector<std::string> arguments = {"mount"};
    if (!options.empty()) arguments.insert(arguments.end(), {"-o", options});
    arguments.insert(arguments.end(), {mount_->store(), mount_->mountpoint()});
    ExpectRefused(arguments, exit_code, words);
  }
  void Overwrite(const std::string& file, const std::string& content) {
    std::ofstream(mount_->store() + "/" + file, std::ios::trunc) << content;
  }

  std::optional<TestMount> mount_;
};

TEST_F(BadInputMount, MissingStore) { ExpectMountRefused("No such file or directory"); }

TEST_F(BadInputMount, StoreIsAFile) {
  std::ofstream(mount_->store()) << "x";
  ExpectMountRefused("not a directory");
}

TEST_F(BadInputMount, ForeignDirectory) {
  std::filesystem::create_directory(mount_->store());
  Overwrite("letter.txt", "dear reader");
  ExpectMountRefused("not a terracefs store");
  EXPECT_FALSE(std::filesystem::exists(mount_->store() + "/LOCK"));
}

TEST_F(BadInputMount, DamagedIdentity) {
  mount_->Mkfs();
  std::string text = ReadFile(mount_->store() + "/IDENTITY");
  text[text.find("uuid") + 6] ^= 1;
  Overwrite("IDENTITY", text);
  ExpectMountRefused("IDENTITY");
}

TEST_F(BadInputMount, EmptyIdentity) {
  mount_->Mkfs();
  Overwrite("IDENTITY", "");
  ExpectMountRefused("IDENTITY");
}

TEST_F(BadInputMount, NewerStore) {
  mount_->Mkfs();
  std::string text = ReadFile(mount_->store() + "/IDENTITY");
  text.replace(text.find(" 1\n"), 3, " 9\n");
  Overwrite("IDENTITY", text);
  ExpectMountRefused("format version 9");
}

TEST_F(BadInputMount, DamagedOptions) {
  mount_->Mkfs();
  Overwrite("OPTIONS", "nonsense");
  const ProcessResult result = mount_->TryMount();
  EXPECT_EQ(result.exit_code, 32);
  EXPECT_NE(result.err.find("OPTIONS"), std::string::npos) << result.err;
}

TEST_F(BadInputMount, DamagedManifestPointer) {
  mount_->Mkfs();
  Overwrite("CURRENT", "garbage");
  const ProcessResult result = mount_->TryMount();
  EXPECT_EQ(result.exit_code, 32) << result.err;
  EXPECT_FALSE(mount_->IsMounted());
}

TEST_F(BadInputMount, StoreAlreadyMounted) {
  mount_->Mkfs();
  mount_->Mount();
  const std::string second = mount_->directory() + "/second";
  std::filesystem::create_directory(second);
  const ProcessResult result = Terracefs({"mount", mount_->store(), second});
  EXPECT_EQ(result.exit_code, 32);
  EXPECT_NE(result.err.find("already mounted at " + mount_->mountpoint()), std::string::npos)
      << result.err;
  const ProcessResult format = Terracefs({"mkfs", "--force", mount_->store()});
  EXPECT_EQ(format.exit_code, 2);
  EXPECT_NE(format.err.find("already mounted"), std::string::npos) << format.err;
  mount_->Umount();
}

TEST_F(BadInputMount, MountPointIsTaken) {
  mount_->Mkfs();
  mount_->Mount();
  const ProcessResult result = Terracefs({"mount", mount_->store(), mount_->mountpoint()});
  EXPECT_EQ(result.exit_code, 32);
  EXPECT_NE(result.err.find("mount point is in use"), std::string::npos) << result.err;
  mount_->Umount();
}

TEST_F(BadInputMount, MountPointMissing) {
  mount_->Mkfs();
  std::filesystem::remove(mount_->mountpoint());
  ExpectMountRefused("No such file or directory");
}

TEST_F(BadInputMount, MountPointIsAFile) {
  mount_->Mkfs();
  std::filesystem::remove(mount_->mountpoint());
  std::ofstream(mount_->mountpoint()) << "x";
  ExpectMountRefused("not a directory");
}

TEST_F(BadInputMount, MountPointNotEmpty) {
  mount_->Mkfs();
  std::ofstream(mount_->mountpoint() + "/precious") << "x";
  ExpectMountRefused("not empty");
}

TEST_F(BadInputMount, UnknownAndMalformedOptions) {
  mount_->Mkfs();
  ExpectMountRefused("unknown option 'frobnicate'", "frobnicate", 1);
  ExpectMountRefused("option cache: '12Q' is not a size", "cache=12Q", 1);
  ExpectMountRefused("option cache", "cache=-1", 1);
  ExpectMountRefused("option memtable", "memtable=99999999999999999999", 1);
  ExpectMountRefused("option commit: '5' is not a duration", "commit=5", 1);
  ExpectMountRefused("option commit: needs a value", "commit", 1);
  ExpectMountRefused("option ro: takes no value", "ro=1", 1);
  ExpectMountRefused("option transport", "transport=pigeon", 1);
  ExpectMountRefused("option compress: 'lz4' is out of range", "compress=lz4", 1);
  ExpectMountRefused("option compress: 'zstd:20' is out of range", "compress=zstd:20", 1);
  ExpectMountRefused("option inline_max", "inline_max=1G", 1);
  ExpectMountRefused("not supported by this version", "remote_compactor=host:1", 1);
  ExpectMountRefused("exclude each other", "allow_other,allow_root", 1);
}

TEST_F(BadInputMount, UnwritableLogFile) {
  mount_->Mkfs();
  ExpectMountRefused("log file", "log_file=" + mount_->store() + "/IDENTITY/log");
}

TEST_F(BadInputMount, WrongCommandLines) {
  ExpectRefused({}, 1, "A subcommand is required");
  ExpectRefused({"frobnicate"}, 1, "frobnicate");
  ExpectRefused({"mount"}, 1, "STORE");
  ExpectRefused({"mount", mount_->store()}, 1, "MOUNTPOINT");
  ExpectRefused({"mkfs", "--size", "many", mount_->store()}, 1, "not a size");
  ExpectRefused({"mkfs", "--size", "1K", mount_->store()}, 1, "least possible");
  ExpectRefused({"mkfs", "--label", std::string(65, 'x'), mount_->store()}, 1, "label");
  ExpectRefused({"mkfs", "--label", "two\nlines", mount_->store()}, 1, "label");
  ExpectRefused({"stats", "--watch", "soon", mount_->mountpoint()}, 1, "not a duration");
}

TEST_F(BadInputMount, CommandsOnWhatIsNoMount) {
  ExpectRefused({"umount", mount_->mountpoint()}, 2, "no terracefs is mounted");
  ExpectRefused({"umount", mount_->mountpoint() + "/missing"}, 2, "No such file");
  for (const char* command : {"stats", "sync", "compact", "space"}) {
    ExpectRefused({command, mount_->mountpoint()}, 2, "not on a terracefs mount");
    ExpectRefused({command, mount_->mountpoint() + "/missing"}, 2, "No such file");
  }
  ExpectRefused({"job", "list", mount_->mountpoint()}, 2, "not on a terracefs mount");
}

TEST_F(BadInputMount, MkfsLeavesForeignDirectoriesAlone) {
  std::filesystem::create_directory(mount_->store());
  Overwrite("letter.txt", "dear reader");
  ExpectRefused({"mkfs", mount_->store()}, 2, "not empty");
  ExpectRefused({"mkfs", "--force", mount_->store()}, 2, "not empty");
  std::filesystem::remove(mount_->store() + "/letter.txt");
  std::filesystem::create_directory(mount_->store() + "/folder");
  ExpectRefused({"mkfs", "--force", mount_->store()}, 2, "not empty");
}

TEST_F(BadInputMount, MkfsReplacesAStoreOnlyByForce) {
  mount_->Mkfs();
  const std::string identity = ReadFile(mount_->store() + "/IDENTITY");
  ExpectRefused({"mkfs", mount_->store()}, 2, "--force");
  const ProcessResult forced = Terracefs({"mkfs", "--force", mount_->store()});
  EXPECT_EQ(forced.exit_code, 0) << forced.err;
  EXPECT_NE(ReadFile(mount_->store() + "/IDENTITY"), identity);
  mount_->Mount();
  mount_->Umount();
}

TEST_F(BadInputMount, MkfsReplacesTheRemainsOfAnInterruptedOneByForce) {
  mount_->Mkfs();
  std::filesystem::remove(mount_->store() + "/IDENTITY");  // it is written last
  ExpectMountRefused("not a terracefs store");
  ExpectRefused({"mkfs", mount_->store()}, 2, "interrupted");
  EXPECT_EQ(Terracefs({"mkfs", "--force", mount_->store()}).exit_code, 0);
  mount_->Mount();
  mount_->Umount();
}

TEST_F(BadInputMount, MkfsBelowNothingAndWithoutPermission) {
  ExpectRefused({"mkfs", mount_->directory() + "/no/such/place"}, 2, "No such file");
  std::ofstream(mount_->store()) << "x";
  ExpectRefused({"mkfs", mount_->store()}, 2, mount_->store());
  if (!IsRoot()) return;
  EXPECT_EQ(RunAsUser(65534, 65534,
                      [this] {
                        return Terracefs({"mkfs", mount_->directory() + "/theirs"}).exit_code;
                      }),
            2);
}

TEST_F(BadInputMount, StoreOfAnotherUser) {
  if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
  mount_->Mkfs();
  const std::string words = "ermission denied";
  EXPECT_EQ(RunAsUser(65534, 65534,
                      [&] {
                        const ProcessResult result =
                            Terracefs({"mount", mount_->store(), mount_->mountpoint()});
                        const bool said = result.err.find(words) != std::string::npos;
                        return said ? result.exit_code : 99;
                      }),
            32);
  EXPECT_FALSE(mount_->IsMounted());
}

TEST_F(BadInputMount, NoFuseDevice) {
  if (!IsRoot()) GTEST_SKIP() << "SKIPPED: needs root";
  mount_->Mkfs();
  // In a mount namespace of its own, so that nobody else notices.
  const std::string script = "mount --bind /dev/null /dev/fuse && exec \"$0\" mount \"$1\" \"$2\"";
  const ProcessResult result = RunProcess({"unshare", "-m", "sh", "-c", script, TerracefsProgram(),
                                           mount_->store(), mount_->mountpoint()});
  if (result.err.find("unshare") != std::string::npos) GTEST_SKIP() << "SKIPPED: " << result.err;
  EXPECT_EQ(result.exit_code, 32);
  EXPECT_EQ(result.err, "terracefs: mount: /dev/fuse is not the fuse device\n");
}

TEST_F(BadInputMount, EveryCommandHasHelpWithAnExample) {
  EXPECT_EQ(Terracefs({"--version"}).exit_code, 0);
  for (const char* command :
       {"mkfs", "mount", "umount", "compact", "job", "stats", "space", "config", "sync"}) {
    const ProcessResult result = Terracefs({command, "--help"});
    EXPECT_EQ(result.exit_code, 0) << command;
    EXPECT_NE(result.out.find("Example: terracefs"), std::string::npos) << command;
    EXPECT_EQ(result.err, "");
  }
}

}  // namespace
}  // namespace terracefs::testing
