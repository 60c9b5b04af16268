#include <linux/fs.h>

#include <cerrno>

#include "fs/schema/keys.h"
#include "fs/schema/records.h"
#include "tests/support/fs_test.h"
#include "tests/support/sim_storage.h"

namespace terracefs::fs {
namespace {

using io::Status;
using testing::Errno;
using testing::FsTest;
using testing::kErrnoWouldBlock;

using Names = std::vector<std::string>;

class ReaddirTest : public FsTest {
 protected:
  void CreateMany(int count) {
    for (int i = 0; i < count; ++i) {
      Forget(Create(kRootInode, "name" + std::to_string(i)).ino);
    }
  }
};
// What looks behind the engine, or makes it fail.
class ReaddirMemoryTest : public ReaddirTest {};

TEST_P(ReaddirTest, ListsInOrderOfCreation) {
  for (const char* name : {"zebra", "ant", "middle"}) Create(kRootInode, name);
  EXPECT_EQ(List(kRootInode, 0), (Names{".", "..", "zebra", "ant", "middle"}));
  EXPECT_EQ(List(kRootInode, 1), (Names{"..", "zebra", "ant", "middle"}));
}

TEST_P(ReaddirTest, ResumesAnywhereWhileEntriesComeAndGo) {
  CreateMany(300);
  uint64_t cookie = 0;
  std::vector<std::string> seen;
  bool more = true;
  int created = 300;
  while (more) {
    more = false;
    int left = 7;
    ASSERT_TRUE(fs().ReadDirectory(context_, kRootInode, cookie, false,
                                   [&](const DirectoryEntry& entry) {
                                     if (left-- == 0) return false;
                                     seen.emplace_back(entry.name);
                                     cookie = entry.next_cookie;
                                     more = true;
                                     return true;
                                   })
                    .ok());
    if (!more) break;
    ASSERT_EQ(Unlink(kRootInode, seen.back()), seen.back()[0] == '.' ? EISDIR : 0);
    if (created < 320) Forget(Create(kRootInode, "name" + std::to_string(created++)).ino);
  }
  ASSERT_EQ(seen.size(), 322U);
  for (int i = 0; i < 320; ++i) {
    EXPECT_EQ(seen[static_cast<size_t>(i) + 2], "name" + std::to_string(i));
  }
}

TEST_P(ReaddirTest, WithAttributesRaisesTheCountOfWhatWasTaken) {
  CreateMany(200);
  options_.cached_inode_count_max = 0;
  Remount();
  int left = 150;
  std::vector<InodeNumber> taken;
  ASSERT_TRUE(fs().ReadDirectory(context_, kRootInode, 0, true,
                                 [&](const DirectoryEntry& entry) {
                                   if (left-- == 0) return false;
                                   const bool dots = entry.name[0] == '.';
                                   EXPECT_EQ(entry.attributes == nullptr, dots);
                                   if (dots) return true;
                                   EXPECT_EQ(entry.attributes->ino, entry.ino);
                                   EXPECT_EQ(entry.attributes->mode, uint32_t{S_IFREG | 0644});
                                   taken.push_back(entry.ino);
                                   return true;
                                 })
                  .ok());
  EXPECT_EQ(fs().LookupCountTotal(), 148U);
  for (const InodeNumber ino : taken) Forget(ino);
  EXPECT_EQ(fs().LookupCountTotal(), 0U);
}

TEST_P(ReaddirTest, ReadsOnlyDirectories) {
  const Attributes file = Create(kRootInode, "file");
  const auto all = [](const DirectoryEntry&) { return true; };
  EXPECT_EQ(Errno(fs().ReadDirectory(context_, file.ino, 0, false, all)), ENOTDIR);
  EXPECT_EQ(Errno(fs().ReadDirectory(context_, InodeNumber{99}, 0, false, all)), ESTALE);
}

TEST_P(ReaddirMemoryTest, WithoutWaitingItEndsEarlyOrNotAtAll) {
  CreateMany(500);
  for (const bool plus : {false, true}) {
    engine_->memory()->SetWouldBlockOneIn(4, 3);
    uint64_t cookie = 0;
    std::vector<InodeNumber> seen;
    int blocked_count = 0;
    for (;;) {
      const size_t before = seen.size();
      const int error = Errno(
          fs().ReadDirectory(no_wait_, kRootInode, cookie, plus, [&](const DirectoryEntry& entry) {
            seen.push_back(entry.ino);
            cookie = entry.next_cookie;
            return true;
          }));
      if (error == kErrnoWouldBlock) {
        EXPECT_EQ(seen.size(), before);
        ++blocked_count;
        continue;
      }
      ASSERT_EQ(error, 0);
      if (seen.size() == before) break;
    }
    EXPECT_EQ(seen.size(), 502U);
    EXPECT_GT(blocked_count, 0) << "with attributes: " << plus;
    EXPECT_EQ(fs().LookupCountTotal(), plus ? 500U : 0U);
  }
}

TEST_P(ReaddirMemoryTest, AnEntryWithoutAnInodeIsStillListed) {
  const Attributes file = Create(kRootInode, "file");
  Create(kRootInode, "other");
  file_system_.reset();
  engine_->memory()->EraseRaw(InodeKey(file.ino));
  Mount();
  Names names;
  ASSERT_TRUE(fs().ReadDirectory(context_, kRootInode, 2, true,
                                 [&](const DirectoryEntry& entry) {
                                   names.push_back(std::string(entry.name) +
                                                   (entry.attributes == nullptr ? "?" : ""));
                                   return true;
                                 })
                  .ok());
  EXPECT_EQ(names, (Names{"file?", "other"}));
  EXPECT_EQ(fs().LookupCountTotal(), 1U);
  EXPECT_NE(Check(), "");
  expect_sound_ = false;
}

// Where listings of a directory begin, so that they do not pass over what was removed before.
class FirstCookieTest : public ReaddirTest {
 protected:
  InodeRecord Stored(InodeNumber ino) {
    return DecodeInode(db().Get({}, InodeKey(ino)).value()->view()).value();
  }
  // The cookie that a listing from the start seeks.
  uint64_t Sought(InodeNumber ino) {
    List(ino, 0);
    const std::string key = engine_->memory()->last_seek();
    const std::optional<ParsedKey> parsed = ParseKey(key);
    EXPECT_TRUE(parsed && parsed->domain == Domain::kListing && parsed->id == ino.value);
    return parsed ? parsed->number : 0;
  }
};

TEST_P(FirstCookieTest, MovesPastWhatIsRemovedInOrder) {
  CreateMany(100);
  for (int i = 0; i < 90; ++i) ASSERT_EQ(Unlink(kRootInode, "name" + std::to_string(i)), 0);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie + 90);
  EXPECT_EQ(Sought(kRootInode), kFirstCookie + 90);
  EXPECT_EQ(List(kRootInode).size(), 10U);
  Remount();
  EXPECT_EQ(Sought(kRootInode), kFirstCookie + 90);
}

TEST_P(FirstCookieTest, AListingLearnsWhatWasRemovedInAnyOrder) {
  CreateMany(100);
  for (int i = 89; i >= 0; --i) ASSERT_EQ(Unlink(kRootInode, "name" + std::to_string(i)), 0);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie + 1);
  EXPECT_EQ(Sought(kRootInode), kFirstCookie + 1) << "the first one has to look";
  EXPECT_EQ(Sought(kRootInode), kFirstCookie + 90) << "the second one knows";
  // Also one that was under way, somewhere in the middle of what is gone.
  List(kRootInode, 50);
  EXPECT_EQ(ParseKey(engine_->memory()->last_seek())->number, kFirstCookie + 90);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie + 1);
  ASSERT_EQ(Unlink(kRootInode, "name95"), 0);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie + 90) << "the next removal records it";
}

TEST_P(FirstCookieTest, AListingFromTheMiddleClaimsNothingOfTheStart) {
  CreateMany(10);
  EXPECT_EQ(List(kRootInode, kFirstCookie + 4).size(), 5U);
  EXPECT_EQ(List(kRootInode).size(), 10U);
  EXPECT_EQ(Sought(kRootInode), kFirstCookie);
}

TEST_P(FirstCookieTest, AnEmptyDirectoryStartsAtWhatComes) {
  CreateMany(3);
  for (const char* name : {"name1", "name2", "name0"}) ASSERT_EQ(Unlink(kRootInode, name), 0);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie + 3);
  CreateMany(2);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie + 3);
  EXPECT_EQ(List(kRootInode), (Names{"name0", "name1"}));
  EXPECT_EQ(Sought(kRootInode), kFirstCookie + 3);
}

TEST_P(FirstCookieTest, RenamesKeepEveryEntryListed) {
  CreateMany(4);
  const InodeNumber other = MakeDir(kRootInode, "other").ino;
  Forget(Create(other, "victim").ino);
  Forget(Create(other, "last").ino);
  // Within the directory the cookie stays.
  ASSERT_EQ(Rename(kRootInode, "name0", kRootInode, "a"), 0);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie);
  EXPECT_EQ(List(kRootInode), (Names{"a", "name1", "name2", "name3", "other"}));
  // Over another: the one that is replaced gives its cookie, the lowest is free.
  ASSERT_EQ(Rename(kRootInode, "a", kRootInode, "name2"), 0);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie + 1);
  EXPECT_EQ(List(kRootInode), (Names{"name1", "name2", "name3", "other"}));
  // Into another directory, over its first entry, which keeps its place.
  ASSERT_EQ(Rename(kRootInode, "name1", other, "victim"), 0);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie + 2);
  EXPECT_EQ(Stored(other).first_cookie, kFirstCookie);
  EXPECT_EQ(List(other), (Names{"victim", "last"}));
  // As a new entry.
  ASSERT_EQ(Rename(other, "victim", kRootInode, "back"), 0);
  EXPECT_EQ(Stored(other).first_cookie, kFirstCookie + 1);
  EXPECT_EQ(List(kRootInode), (Names{"name2", "name3", "other", "back"}));
  // Exchanged entries keep both cookies.
  ASSERT_EQ(Rename(kRootInode, "name2", other, "last", RENAME_EXCHANGE), 0);
  EXPECT_EQ(Stored(kRootInode).first_cookie, kFirstCookie + 2);
  EXPECT_EQ(Stored(other).first_cookie, kFirstCookie + 1);
  EXPECT_EQ(List(kRootInode), (Names{"name2", "name3", "other", "back"}));
  EXPECT_EQ(List(other), (Names{"last"}));
}

TEST_P(FirstCookieTest, AFailedRemovalMovesNothing) {
  CreateMany(3);
  engine_->memory()->FailWriteAfter(0, Status::NoSpace("full"));
  EXPECT_NE(Unlink(kRootInode, "name0"), 0);
  EXPECT_EQ(Sought(kRootInode), kFirstCookie);
  EXPECT_EQ(List(kRootInode), (Names{"name0", "name1", "name2"}));
}

TEST_P(ReaddirTest, WhatIsLeftAfterAMassRemovalIsListedAfterACrash) {
  CreateMany(500);
  for (int i = 499; i >= 0; --i) {
    if (i % 100 == 99) continue;
    ASSERT_EQ(Unlink(kRootInode, "name" + std::to_string(i)), 0);
  }
  const Names left = {"name99", "name199", "name299", "name399", "name499"};
  EXPECT_EQ(List(kRootInode), left);
  ASSERT_EQ(Unlink(kRootInode, "name499"), 0);
  CrashAndMount();
  EXPECT_EQ(List(kRootInode), (Names{"name99", "name199", "name299", "name399"}));
  ASSERT_EQ(Unlink(kRootInode, "name99"), 0);
  Forget(Create(kRootInode, "new").ino);
  Remount();
  EXPECT_EQ(List(kRootInode), (Names{"name199", "name299", "name399", "new"}));
}

// A directory in tables, of which one byte can be damaged.
class DamagedListingTest : public ::testing::Test {
 protected:
  static constexpr int kFiles = 1000;

  struct Listing {
    Status status;
    int count = 0;
    std::vector<InodeNumber> without_attributes;
  };

  void SetUp() override {
    options_.memtable_bytes = 256 * io::kKiB;
    options_.log_file_bytes = 256 * io::kKiB;
    options_.block_bytes = 4 * io::kKiB;  // many inode records, but far from all
    FileSystem::ConfigureEngine(&options_);
    ASSERT_TRUE(lsm::Db::Create(options_, storage_).ok());
    const auto db = lsm::Db::Open(options_, storage_).value();
    ASSERT_TRUE(FileSystem::Format(*db, {}, 0, 0, io::SystemClock()).ok());
    const auto file_system = FileSystem::Mount(*db, {}).value();
    for (int i = 0; i < kFiles; ++i) {
      const std::string name = "name" + std::to_string(i);
      const auto made = file_system->MakeNode({}, kRootInode, name, S_IFREG | 0600, 0);
      ASSERT_TRUE(made.ok());
      file_system->Forget(made->ino, 1);
    }
    ASSERT_TRUE(db->Flush().ok());
    ASSERT_TRUE(db->Close().ok());
  }

  static Listing List(FileSystem& file_system, bool with_attributes) {
    Listing listing;
    uint64_t cookie = 2;
    int before = -1;
    // As the kernel does it: an error behind the first entry ends a pass, and is met by the next.
    while (listing.status.ok() && listing.count > before) {
      before = listing.count;
      listing.status = file_system.ReadDirectory(
          {}, kRootInode, cookie, with_attributes, [&](const DirectoryEntry& entry) {
            cookie = entry.next_cookie;
            ++listing.count;
            if (entry.attributes == nullptr) listing.without_attributes.push_back(entry.ino);
            return true;
          });
    }
    return listing;
  }

  lsm::Options options_;
  testing::SimStorage storage_;
};

TEST_F(DamagedListingTest, EntriesWhoseInodesAreUnreadableAreListedWithoutAttributes) {
  constexpr size_t kStepBytes = 512;  // less than a block, compressed, too
  int damaged_inode_blocks = 0;
  for (const std::string& name : storage_.List().value()) {
    if (!name.ends_with(".sst")) continue;
    for (size_t at = 0; at < storage_.Contents(name).value().size(); at += kStepBytes) {
      const auto damaged = storage_.CrashClone(1, testing::CrashMode::kKeepAll);
      damaged->CorruptByte(name, at);
      const auto db = lsm::Db::Open(options_, *damaged);
      if (!db.ok()) continue;
      const auto file_system = FileSystem::Mount(**db, {});
      // Damage of the root or of its listing is another matter.
      if (!file_system.ok() || List(**file_system, false).count < kFiles) continue;
      const Listing listing = List(**file_system, true);
      EXPECT_TRUE(listing.status.ok()) << listing.status.ToString();
      EXPECT_EQ(listing.count, kFiles);
      for (const InodeNumber ino : listing.without_attributes) {
        EXPECT_FALSE((*file_system)->GetAttributes({}, ino).ok());
      }
      // Without its index a whole table is unreadable, without a block only what is in that.
      const size_t unreadable = listing.without_attributes.size();
      damaged_inode_blocks += unreadable > 0 && unreadable < kFiles / 2;
    }
  }
  EXPECT_GT(damaged_inode_blocks, 0);
}

INSTANTIATE_FS_TEST(ReaddirTest);
INSTANTIATE_MEMORY_FS_TEST(ReaddirMemoryTest);
INSTANTIATE_MEMORY_FS_TEST(FirstCookieTest);

}  // namespace
}  // namespace terracefs::fs
