// Mounting after a crash when something that wants to be cleaned up is damaged.
#include <algorithm>
#include <cerrno>

#include "fs/schema/keys.h"
#include "fs/schema/records.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::Errno;
using testing::FsTest;

class RecoveryTest : public FsTest {
 protected:
  testing::MemoryDb& raw() { return *engine_->memory(); }
  bool Has(const Key& key) {
    const std::vector<std::string> keys = raw().Keys();
    return std::find(keys.begin(), keys.end(), key.view()) != keys.end();
  }
  // The record of a file, damaged in the store.
  void Damage(InodeNumber ino) {
    expect_sound_ = false;
    raw().PutRaw(InodeKey(ino), "\x01");
  }
};

TEST_P(RecoveryTest, ADamagedOrphanIsLeftAndTheOthersAreCollected) {
  std::vector<InodeNumber> orphans;
  for (const char* name : {"a", "b", "c"}) {
    orphans.push_back(Create(kRootInode, name).ino);
    ASSERT_EQ(Unlink(kRootInode, name), 0);
  }
  Create(kRootInode, "stays");
  Damage(orphans[1]);
  raw().PutRaw(OrphanKey(InodeNumber{998}), "not an orphan record");
  raw().PutRaw(OrphanKey(InodeNumber{999}), EncodeOrphan());  // without an inode
  ASSERT_NO_FATAL_FAILURE(CrashAndMount());
  EXPECT_EQ(List(kRootInode), std::vector<std::string>{"stays"});
  for (const InodeNumber ino : {orphans[0], orphans[2]}) {
    EXPECT_EQ(Errno(fs().GetAttributes(context_, ino)), ESTALE);
    EXPECT_FALSE(Has(OrphanKey(ino)));
  }
  for (const InodeNumber ino : {orphans[1], InodeNumber{998}, InodeNumber{999}}) {
    EXPECT_TRUE(Has(OrphanKey(ino)));
  }
}

TEST_P(RecoveryTest, ADamagedTrimIsLeftAndTheOthersAreFinished) {
  std::vector<InodeNumber> files;
  for (const char* name : {"a", "b", "c"}) {
    files.push_back(Create(kRootInode, name).ino);
    ASSERT_EQ(Write(files.back(), 0, std::string(2 * kPageBytes, 'x')), 0);
    // As a crash leaves it that came after the new size and before the pages were gone.
    InodeRecord record = DecodeInode(db().Get({}, InodeKey(files.back())).value()->view()).value();
    record.size = kPageBytes;
    record.trim_pending = true;
    std::string value;
    EncodeInode(record, &value);
    raw().PutRaw(InodeKey(files.back()), value);
    raw().PutRaw(TrimKey(record.data_id), EncodeTrim({.ino = files.back(), .first_page = 1}));
  }
  Damage(files[1]);
  raw().PutRaw(TrimKey(998), "not a trim record");
  raw().PutRaw(TrimKey(999), EncodeTrim({.ino = kRootInode, .first_page = 1}));
  ASSERT_NO_FATAL_FAILURE(CrashAndMount());
  for (const InodeNumber ino : {files[0], files[2]}) {
    EXPECT_EQ(Stat(ino).blocks, kPageBytes / 512);
    EXPECT_FALSE(Has(TrimKey(ino.value)));
    EXPECT_EQ(Read(ino, 0, 2 * kPageBytes), std::string(kPageBytes, 'x'));
  }
  EXPECT_TRUE(Has(TrimKey(998)));
  EXPECT_TRUE(Has(TrimKey(999)));
}
INSTANTIATE_MEMORY_FS_TEST(RecoveryTest);

}  // namespace
}  // namespace terracefs::fs
