// Every kind of damage that CheckTree promises to see, made on purpose.
#include <functional>

#include "fs/acl.h"
#include "fs/schema/keys.h"
#include "fs/schema/records.h"
#include "io/base/coding.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::FsTest;

class FsckTest : public FsTest {
 protected:
  void SetUp() override {
    FsTest::SetUp();
    expect_sound_ = false;
    directory_ = MakeDir(kRootInode, "d").ino;
    file_ = Create(directory_, "file").ino;
    ASSERT_EQ(Write(file_, 0, std::string(10'000, 'x')), 0);
    ASSERT_TRUE(fs().SetXattr(context_, file_, "user.a", "v", 0).ok());
    ASSERT_EQ(Check(), "");
  }
  testing::MemoryDb& raw() { return *engine_->memory(); }
  void ChangeInode(InodeNumber ino, const std::function<void(InodeRecord*)>& change) {
    InodeRecord record = DecodeInode(db().Get({}, InodeKey(ino)).value()->view()).value();
    change(&record);
    std::string value;
    EncodeInode(record, &value);
    raw().PutRaw(InodeKey(ino), value);
  }
  void ExpectSeen(const std::string& text) {
    const std::string breaches = Check();
    EXPECT_NE(breaches.find(text), std::string::npos) << "got: " << breaches;
  }

  InodeNumber directory_;
  InodeNumber file_;
};

TEST_P(FsckTest, SeesAWrongLinkCount) {
  ChangeInode(file_, [](InodeRecord* record) { ++record->nlink; });
  ExpectSeen("link count is 2, counted 1");
}

TEST_P(FsckTest, SeesAWrongLinkCountOfADirectory) {
  ChangeInode(kRootInode, [](InodeRecord* record) { --record->nlink; });
  ExpectSeen("inode 1: link count is 2, counted 3");
}

TEST_P(FsckTest, SeesAMissingPage) {
  raw().EraseRaw(ExtentKey(file_.value, 1));
  ExpectSeen("page count is 3, counted 2");
}

TEST_P(FsckTest, SeesBytesBeyondTheSize) {
  ChangeInode(file_, [](InodeRecord* record) { record->size = 9'999; });
  ExpectSeen("page 2 has bytes beyond the size");
}

TEST_P(FsckTest, SeesPagesByTheirKeysAlone) {
  const auto check = [&] { return fs().CheckTree(/*read_data=*/false).value(); };
  EXPECT_TRUE(check().empty());
  raw().EraseRaw(ExtentKey(file_.value, 1));
  ASSERT_EQ(check().size(), 1U);
  EXPECT_NE(check()[0].find("page count is 3, counted 2"), std::string::npos);
  raw().PutRaw(ExtentKey(file_.value, 1), std::string(kPageBytes, 'x'));
  EXPECT_TRUE(check().empty());
  raw().PutRaw(ExtentKey(file_.value, 7), std::string(kPageBytes, 'x'));
  EXPECT_NE(check()[0].find("page 7 has bytes beyond the size"), std::string::npos);
}

TEST_P(FsckTest, SeesAPageThatIsTooLarge) {
  raw().PutRaw(ExtentKey(file_.value, 0), std::string(kPageBytes + 1, 'x'));
  ExpectSeen("page 0 malformed page record of 4097 bytes");
}

TEST_P(FsckTest, SeesAMissingListing) {
  raw().EraseRaw(ListingKey(directory_, 3));
  ExpectSeen("names and listing differ: 1 names, 0 listed");
}

TEST_P(FsckTest, SeesAListingThatSaysSomethingElse) {
  std::string value;
  EncodeListing({.ino = file_, .type = S_IFREG, .name = "other"}, &value);
  raw().PutRaw(ListingKey(directory_, 3), value);
  ExpectSeen("names and listing differ: 1 names, 1 listed");
}

TEST_P(FsckTest, SeesANameWithoutAnInode) {
  raw().EraseRaw(InodeKey(file_));
  ExpectSeen("names missing inode");
}

TEST_P(FsckTest, SeesAnInodeWithoutAName) {
  raw().EraseRaw(DirentKey(directory_, "file"));
  ExpectSeen("link count is 1, counted 0");
  ExpectSeen("entry count is 1, counted 0");
}

TEST_P(FsckTest, SeesAWrongParent) {
  ChangeInode(directory_, [&](InodeRecord* record) { record->parent = directory_; });
  ExpectSeen("parent is");
  ExpectSeen("is not below the root");
}

TEST_P(FsckTest, SeesAnOrphanThatIsNone) {
  raw().PutRaw(OrphanKey(file_), EncodeOrphan());
  ExpectSeen("orphan record, but links");
  raw().PutRaw(OrphanKey(InodeNumber{999}), EncodeOrphan());
  ExpectSeen("orphan record without an inode");
}

TEST_P(FsckTest, SeesAMissingXattrAndAnUnknownCapability) {
  raw().EraseRaw(XattrKey(file_, "user.a"));
  ExpectSeen("length of xattr names is 7, counted 0");
  raw().PutRaw(XattrKey(file_, "security.capability"), "\x01");
  ExpectSeen("flag and capability differ");
}

TEST_P(FsckTest, SeesAclsThatAreWrongOrUnknown) {
  // owner rwx, user 7 r-x, group r-x, mask rwx, others ---
  const auto entry = [](int tag, int permissions, uint32_t id) {
    std::string text{static_cast<char>(tag), 0, static_cast<char>(permissions), 0};
    io::PutFixed32(&text, id);
    return text;
  };
  const std::string acl = std::string("\2\0\0\0", 4) + entry(1, 7, ~0U) + entry(2, 5, 7) +
                          entry(4, 5, ~0U) + entry(16, 7, ~0U) + entry(32, 0, ~0U);
  ASSERT_TRUE(fs().SetXattr(context_, file_, kAccessAclXattr, acl, 0).ok());
  ASSERT_TRUE(fs().SetXattr(context_, directory_, kDefaultAclXattr, acl, 0).ok());
  ASSERT_EQ(Check(), "");
  ChangeInode(file_, [](InodeRecord* record) { record->mode = S_IFREG | 0750; });
  ExpectSeen("mode and access ACL differ");
  ChangeInode(file_, [](InodeRecord* record) { record->mode = S_IFREG | 0770; });
  ASSERT_EQ(Check(), "");
  ChangeInode(file_, [](InodeRecord* record) { record->has_access_acl = false; });
  ExpectSeen("flag and access ACL differ");
  ChangeInode(file_, [](InodeRecord* record) { record->has_access_acl = true; });
  ChangeInode(directory_, [](InodeRecord* record) { record->has_default_acl = false; });
  ExpectSeen("flag and default ACL differ");
  ChangeInode(directory_, [](InodeRecord* record) { record->has_default_acl = true; });
  ASSERT_EQ(Check(), "");
  raw().PutRaw(XattrKey(file_, kAccessAclXattr), "\1" + acl + "x");
  ExpectSeen("malformed ACL");
  raw().PutRaw(XattrKey(file_, kAccessAclXattr), "\1" + acl);
  raw().PutRaw(XattrKey(file_, kDefaultAclXattr), "\1" + acl);
  ExpectSeen("default ACL, but no directory");
}

TEST_P(FsckTest, SeesACookieThatWillBeHandedOutAgain) {
  ChangeInode(directory_, [](InodeRecord* record) { --record->next_cookie; });
  ExpectSeen("has cookie 3");
}

TEST_P(FsckTest, SeesAnEntryThatNoListingMeets) {
  ChangeInode(directory_, [](InodeRecord* record) { record->first_cookie = 4; });
  ExpectSeen("has cookie 3");
}

TEST_P(FsckTest, SeesDamagedRecords) {
  raw().PutRaw(InodeKey(file_), "\x01");
  raw().PutRaw(std::string("\x10x"), "");
  ExpectSeen("key of a wrong shape in domain 16");
  ExpectSeen("inode record");
}

TEST_P(FsckTest, SeesNumbersBeyondTheBoundAndWrongSums) {
  raw().PutRaw(AllocatorKey(), EncodeAllocatorBound(2));
  ExpectSeen("beyond the allocator's bound");
  ChangeInode(file_, [](InodeRecord* record) { record->page_count = 77; });
  ExpectSeen("page sum is 3, counted 77");
}

INSTANTIATE_MEMORY_FS_TEST(FsckTest);

}  // namespace
}  // namespace terracefs::fs
