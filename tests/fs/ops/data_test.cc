// Reading, writing, truncating.
#include <fcntl.h>
#include <linux/falloc.h>

#include <cerrno>

#include "fs/schema/keys.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::Errno;
using testing::FsTest;
using testing::kErrnoIo;
using testing::kErrnoNoSpace;
using testing::kErrnoWouldBlock;

constexpr uint64_t kManyPages = 3000;  // more than a trim takes in one batch

class DataTest : public FsTest {
 protected:
  void SetUp() override {
    FsTest::SetUp();
    file_ = Create(kRootInode, "file").ino;
  }
  uint64_t Blocks() { return Stat(file_).blocks; }
  uint64_t Pages() { return static_cast<uint64_t>(db().Counter(2)); }
  void FillMany() {
    const std::string chunk(100 * kPageBytes, 'x');
    for (uint64_t page = 0; page < kManyPages; page += 100) {
      ASSERT_EQ(Write(file_, page * kPageBytes, chunk), 0);
    }
    ASSERT_EQ(Pages(), kManyPages);
  }

  InodeNumber file_;
};
// What looks behind the engine, or makes it fail.
class DataMemoryTest : public DataTest {};

TEST_P(DataTest, ReadsWhatWasWritten) {
  ASSERT_EQ(Write(file_, 0, "hello"), 0);
  EXPECT_EQ(Read(file_, 0, 100), "hello");
  EXPECT_EQ(Read(file_, 1, 3), "ell");
  EXPECT_EQ(Read(file_, 5, 10), "");
  EXPECT_EQ(Read(file_, 1000, 10), "");
  EXPECT_EQ(Stat(file_).size, 5U);
  EXPECT_EQ(Blocks(), 8U);
}

TEST_P(DataTest, EveryAlignmentPatchesWhatWasThere) {
  for (const uint64_t old_size : {0UL, 1UL, 4095UL, 4096UL, 4097UL, 12288UL, 20000UL}) {
    for (const uint64_t offset : {0UL, 1UL, 4095UL, 4096UL, 5000UL, 8192UL, 16384UL}) {
      for (const size_t bytes : {1UL, 4095UL, 4096UL, 4097UL, 12289UL}) {
        ASSERT_EQ(Truncate(file_, 0), 0);
        std::string expected(old_size, 'o');
        ASSERT_EQ(Write(file_, 0, expected), 0);
        const std::string data(bytes, 'n');
        ASSERT_EQ(Write(file_, offset, data), 0);
        if (expected.size() < offset + bytes) expected.resize(offset + bytes);
        expected.replace(offset, bytes, data);
        ASSERT_EQ(Read(file_, 0, 50'000), expected)
            << old_size << " bytes, then " << bytes << " at " << offset;
      }
    }
  }
}

TEST_P(DataTest, HolesReadAsZerosAndCountNothing) {
  ASSERT_EQ(Write(file_, 10 * kPageBytes + 7, "x"), 0);
  EXPECT_EQ(Blocks(), 8U);
  EXPECT_EQ(Read(file_, 0, 100'000), std::string(10 * kPageBytes + 7, '\0') + "x");
  ASSERT_EQ(Write(file_, 5 * kPageBytes, std::string(kPageBytes, 'y')), 0);
  EXPECT_EQ(Blocks(), 16U);
  ASSERT_EQ(Write(file_, 0, std::string(11 * kPageBytes, 'z')), 0);
  EXPECT_EQ(Blocks(), 88U);
}

TEST_P(DataTest, LargeOffsetsWork) {
  const uint64_t offset = kFileBytesMax - 3;
  ASSERT_EQ(Write(file_, offset, "end"), 0);
  EXPECT_EQ(Stat(file_).size, kFileBytesMax);
  EXPECT_EQ(Read(file_, offset, 10), "end");
  EXPECT_EQ(Write(file_, offset, "four"), EFBIG);
  EXPECT_EQ(Write(file_, kFileBytesMax + 1, "x"), EFBIG);
}

TEST_P(DataTest, AnEmptyWriteChangesNothing) {
  Tick();
  ASSERT_EQ(Write(file_, 100, ""), 0);
  EXPECT_EQ(Stat(file_).size, 0U);
  EXPECT_LT(Stat(file_).mtime_ns, Now());
}

TEST_P(DataTest, OnlyRegularFilesHaveBytes) {
  std::byte byte{};
  EXPECT_EQ(Write(kRootInode, 0, "x"), EISDIR);
  EXPECT_EQ(Errno(fs().Read(context_, kRootInode, 0, {&byte, 1})), EISDIR);
  const auto pipe = fs().MakeNode(context_, kRootInode, "pipe", S_IFIFO | 0600, 0);
  EXPECT_EQ(Write(pipe->ino, 0, "x"), EINVAL);
}

TEST_P(DataMemoryTest, AFullPageIsOverwrittenBlindly) {
  ASSERT_EQ(Write(file_, 0, std::string(4 * kPageBytes, 'x')), 0);
  const uint64_t before = engine_->memory()->read_count();
  ASSERT_EQ(Write(file_, kPageBytes, std::string(2 * kPageBytes, 'y')), 0);
  ASSERT_EQ(Write(file_, 4 * kPageBytes, "appended"), 0);
  EXPECT_EQ(engine_->memory()->read_count(), before);
}

TEST_P(DataMemoryTest, WhateverIsAWholePageIsPutAsOne) {
  const auto puts_of = [&](uint64_t offset, size_t bytes) {
    const uint64_t before = engine_->memory()->page_put_count();
    EXPECT_EQ(Write(file_, offset, std::string(bytes, 'x')), 0);
    return engine_->memory()->page_put_count() - before;
  };
  EXPECT_EQ(puts_of(0, 4 * kPageBytes), 4U);
  EXPECT_EQ(puts_of(4 * kPageBytes, 100), 0U);
  EXPECT_EQ(puts_of(4 * kPageBytes + 100, kPageBytes), 1U);  // one is full now, one begins
  EXPECT_EQ(puts_of(10, 2 * kPageBytes), 3U);                // both ends are patched
  EXPECT_EQ(puts_of(100, 10), 1U);
  EXPECT_EQ(Read(file_, 0, 50'000), std::string(5 * kPageBytes + 100, 'x'));
}

TEST_P(DataMemoryTest, AnEmptyPageReadsAsZeros) {
  ASSERT_EQ(Write(file_, 0, std::string(4 * kPageBytes, 'x')), 0);
  ASSERT_TRUE(fs().Allocate(context_, file_, FALLOC_FL_ZERO_RANGE, kPageBytes, kPageBytes).ok());
  std::string expected(4 * kPageBytes, 'x');
  expected.replace(kPageBytes, kPageBytes, kPageBytes, '\0');
  EXPECT_EQ(Read(file_, 0, 50'000), expected);
  EXPECT_EQ(Read(file_, kPageBytes + 1, 10), std::string(10, '\0'));
  ASSERT_EQ(Write(file_, kPageBytes + 5, "y"), 0);
  expected[kPageBytes + 5] = 'y';
  EXPECT_EQ(Read(file_, 0, 50'000), expected);
  EXPECT_EQ(Blocks(), 32U);
}

TEST_P(DataTest, EveryAlignmentReadsTheSame) {
  std::string expected(12 * kPageBytes, '\0');
  const auto write = [&](uint64_t offset, size_t bytes, char letter) {
    ASSERT_EQ(Write(file_, offset, std::string(bytes, letter)), 0);
    expected.replace(offset, bytes, bytes, letter);
  };
  // Whole pages, one with a short end before a hole, one inside a hole.
  write(0, 3 * kPageBytes, 'a');
  write(5 * kPageBytes, 100, 'b');
  write(8 * kPageBytes, 2 * kPageBytes + 50, 'c');
  ASSERT_EQ(Truncate(file_, expected.size()), 0);
  for (const uint64_t offset : {0UL, 1UL, 4095UL, 4096UL, 9000UL, 20480UL, 20600UL, 36864UL}) {
    for (const size_t bytes : {1UL, 4096UL, 8192UL, 8193UL, 12288UL, 20000UL, 49152UL}) {
      EXPECT_EQ(Read(file_, offset, bytes), expected.substr(offset, bytes))
          << bytes << " at " << offset;
    }
  }
}

TEST_P(DataMemoryTest, WritingIntoHolesCountsEachPageOnce) {
  ASSERT_EQ(Truncate(file_, 20 * kPageBytes), 0);
  ASSERT_EQ(Write(file_, 3 * kPageBytes, std::string(kPageBytes, 'x')), 0);
  ASSERT_EQ(Write(file_, 7 * kPageBytes + 9, "y"), 0);
  ASSERT_EQ(Write(file_, 2 * kPageBytes + 1, std::string(5 * kPageBytes, 'z')), 0);
  EXPECT_EQ(Pages(), 6U);
  ASSERT_EQ(Write(file_, 2 * kPageBytes + 1, std::string(5 * kPageBytes, 'w')), 0);
  EXPECT_EQ(Pages(), 6U);
}

TEST_P(DataTest, WhatATruncationCutDoesNotComeBack) {
  ASSERT_EQ(Write(file_, 0, std::string(3 * kPageBytes, 'x')), 0);
  ASSERT_EQ(Truncate(file_, kPageBytes + 10), 0);
  EXPECT_EQ(Blocks(), 16U);
  ASSERT_EQ(Truncate(file_, 3 * kPageBytes), 0);
  EXPECT_EQ(Read(file_, 0, 50'000),
            std::string(kPageBytes + 10, 'x') + std::string(2 * kPageBytes - 10, '\0'));
  EXPECT_EQ(Blocks(), 16U);
}

TEST_P(DataTest, TruncationToZeroIsOneSmallBatch) {
  FillMany();
  const int64_t inodes = db().Counter(1);
  ASSERT_EQ(Truncate(file_, 0), 0);
  EXPECT_EQ(Pages(), 0U);
  EXPECT_EQ(db().Counter(1), inodes);
  ASSERT_EQ(Write(file_, 0, "again"), 0);
  EXPECT_EQ(Read(file_, 0, 10), "again");
  Remount();
  EXPECT_EQ(Read(file_, 0, 10), "again");
}

TEST_P(DataTest, ALongTruncationIsFinishedAtOnce) {
  FillMany();
  ASSERT_EQ(Truncate(file_, kPageBytes + 1), 0);
  EXPECT_EQ(Pages(), 2U);
  EXPECT_EQ(Blocks(), 16U);
  ASSERT_EQ(Truncate(file_, kManyPages * kPageBytes), 0);
  EXPECT_EQ(Read(file_, 2 * kPageBytes, kPageBytes), std::string(kPageBytes, '\0'));
}

TEST_P(DataTest, ALongTruncationMustNotRunWhereNothingMayWait) {
  FillMany();
  AttributeChange change;
  change.size = kPageBytes;
  EXPECT_EQ(Errno(fs().SetAttributes(no_wait_, file_, change)), kErrnoWouldBlock);
  EXPECT_EQ(Stat(file_).size, kManyPages * kPageBytes);
  EXPECT_EQ(Pages(), kManyPages);
}

TEST_P(DataMemoryTest, ATruncationCutShortIsFinishedByTheNextChange) {
  FillMany();
  for (const uint64_t written : {1U, 2U, 3U}) {  // the size, then batches of pages
    engine_->memory()->FailWriteAfter(written, io::Status::NoSpace("injected"));
    ASSERT_EQ(Truncate(file_, kPageBytes), 0);
    EXPECT_EQ(Stat(file_).size, kPageBytes);
    EXPECT_GT(Pages(), 1U);
    EXPECT_EQ(Check(), "");
    EXPECT_EQ(Errno(fs().Write(no_wait_, file_, 0, io::AsBytes("x"), false)), kErrnoWouldBlock);
    ASSERT_EQ(Write(file_, 500 * kPageBytes, "x"), 0);
    EXPECT_EQ(Pages(), 2U);
    EXPECT_EQ(Read(file_, 100 * kPageBytes, 10), std::string(10, '\0'));
    ASSERT_EQ(Truncate(file_, 0), 0);
    FillMany();
  }
}

TEST_P(DataMemoryTest, ATruncationCutShortIsFinishedAtMount) {
  FillMany();
  engine_->memory()->FailWriteAfter(2, io::Status::NoSpace("injected"));
  ASSERT_EQ(Truncate(file_, kPageBytes), 0);
  ASSERT_GT(Pages(), 1U);
  CrashAndMount();
  EXPECT_EQ(Pages(), 1U);
  EXPECT_EQ(Blocks(), 8U);
}

TEST_P(DataMemoryTest, AFileWithATruncationCutShortCanBeRemoved) {
  FillMany();
  engine_->memory()->FailWriteAfter(1, io::Status::NoSpace("injected"));
  ASSERT_EQ(Truncate(file_, kPageBytes), 0);
  Forget(file_);
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  EXPECT_EQ(Pages(), 0U);
  CrashAndMount();
}

TEST_P(DataMemoryTest, AFailedWriteChangesNothing) {
  ASSERT_EQ(Write(file_, 0, "before"), 0);
  const Attributes before = Stat(file_);
  Tick();
  engine_->memory()->FailWriteAfter(0, io::Status::IoError("injected", "", EIO));
  EXPECT_EQ(Write(file_, 0, "after, and longer"), kErrnoIo);
  engine_->memory()->FailWriteAfter(0, io::Status::NoSpace("injected"));
  EXPECT_EQ(Truncate(file_, 1), kErrnoNoSpace);
  EXPECT_EQ(Read(file_, 0, 100), "before");
  EXPECT_EQ(Stat(file_).mtime_ns, before.mtime_ns);
  EXPECT_EQ(Stat(file_).size, before.size);
}

TEST_P(DataTest, BytesSurviveAPowerCutAfterASync) {
  const std::string data(300'000, 'd');
  ASSERT_EQ(Write(file_, 12'345, data), 0);
  CrashAndMount();
  EXPECT_EQ(Read(file_, 12'345, 400'000), data);
}
INSTANTIATE_FS_TEST(DataTest);
INSTANTIATE_MEMORY_FS_TEST(DataMemoryTest);

}  // namespace
}  // namespace terracefs::fs
