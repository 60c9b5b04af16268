// Allocating, zeroing and punching byte ranges; finding data and holes.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "fs/schema/keys.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using testing::Errno;
using testing::FsTest;
using testing::kErrnoNoSpace;
using testing::kErrnoWouldBlock;

constexpr int kKeep = FALLOC_FL_KEEP_SIZE;
constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int kZero = FALLOC_FL_ZERO_RANGE;
constexpr uint64_t kManyPages = 3000;  // more than one batch takes

class AllocateTest : public FsTest {
 protected:
  void SetUp() override {
    FsTest::SetUp();
    file_ = Create(kRootInode, "file").ino;
  }
  int Allocate(int mode, uint64_t offset, uint64_t length) {
    return Errno(fs().Allocate(context_, file_, mode, offset, length));
  }
  uint64_t Pages() {
    EXPECT_EQ(Stat(file_).blocks, static_cast<uint64_t>(db().Counter(2)) * 8);
    return static_cast<uint64_t>(db().Counter(2));
  }
  uint64_t Size() { return Stat(file_).size; }
  // "data 4096-8192 ..." of the whole file.
  std::string Map() {
    std::string map;
    for (uint64_t at = 0;;) {
      const auto data = fs().Seek(context_, file_, at, SEEK_DATA);
      if (!data.ok()) {
        EXPECT_EQ(Errno(data), ENXIO);
        return map;
      }
      at = fs().Seek(context_, file_, *data, SEEK_HOLE).value();
      if (!map.empty()) map += " ";
      map += std::to_string(*data) + "-" + std::to_string(at);
    }
  }
  void Fill(uint64_t pages) {
    const std::string chunk(100 * kPageBytes, 'x');
    for (uint64_t page = 0; page < pages; page += 100) {
      ASSERT_EQ(Write(file_, page * kPageBytes, chunk), 0);
    }
  }

  InodeNumber file_;
};
class AllocateMemoryTest : public AllocateTest {};

TEST_P(AllocateTest, AllocatesUnwrittenPages) {
  ASSERT_EQ(Write(file_, kPageBytes, "data"), 0);
  ASSERT_EQ(Allocate(0, 100, 20'000), 0);
  EXPECT_EQ(Size(), 20'100U);
  EXPECT_EQ(Pages(), 5U);
  EXPECT_EQ(Map(), "4096-8192");
  std::string expected(20'100, '\0');
  expected.replace(kPageBytes, 4, "data");
  EXPECT_EQ(Read(file_, 0, 50'000), expected);
  // Writing makes data of them and counts nothing.
  ASSERT_EQ(Write(file_, 3 * kPageBytes + 5, "more"), 0);
  expected.replace(3 * kPageBytes + 5, 4, "more");
  EXPECT_EQ(Read(file_, 0, 50'000), expected);
  EXPECT_EQ(Pages(), 5U);
  EXPECT_EQ(Map(), "4096-8192 12288-16384");
  CrashAndMount();
  EXPECT_EQ(Read(file_, 0, 50'000), expected);
  EXPECT_EQ(Map(), "4096-8192 12288-16384");
}

TEST_P(AllocateTest, PagesBeyondTheSizeWaitForTheFileToGrow) {
  ASSERT_EQ(Write(file_, 0, "x"), 0);
  ASSERT_EQ(Allocate(kKeep, 0, 10 * kPageBytes), 0);
  EXPECT_EQ(Size(), 1U);
  EXPECT_EQ(Pages(), 10U);
  EXPECT_EQ(Read(file_, 0, 100), "x");
  EXPECT_EQ(Check(), "");
  ASSERT_EQ(Write(file_, 2 * kPageBytes, std::string(2 * kPageBytes, 'y')), 0);
  EXPECT_EQ(Pages(), 10U);
  ASSERT_EQ(Truncate(file_, 5 * kPageBytes), 0);  // grows
  EXPECT_EQ(Pages(), 10U);
  EXPECT_EQ(Map(), "0-4096 8192-16384");
  ASSERT_EQ(Write(file_, 12 * kPageBytes, "z"), 0);
  EXPECT_EQ(Pages(), 11U);
  EXPECT_EQ(Check(), "");
  // Every page up to the end is stored again.
  ASSERT_EQ(Allocate(0, 0, 13 * kPageBytes), 0);
  EXPECT_EQ(Pages(), 13U);
  EXPECT_EQ(Map(), "0-4096 8192-16384 49152-53248");
}

TEST_P(AllocateTest, ATruncationThatDoesNotGrowDropsPagesBeyondTheSize) {
  for (const uint64_t size : {0UL, 1UL, 4096UL, 5000UL}) {
    ASSERT_EQ(Truncate(file_, 0), 0);
    ASSERT_EQ(Write(file_, 0, std::string(5000, 'x')), 0);
    ASSERT_EQ(Allocate(kKeep, 0, kManyPages * kPageBytes), 0);
    ASSERT_EQ(Pages(), kManyPages);
    ASSERT_EQ(Truncate(file_, size), 0);
    EXPECT_EQ(Pages(), (size + kPageBytes - 1) / kPageBytes);
    EXPECT_EQ(Read(file_, 0, 10'000), std::string(size, 'x'));
    EXPECT_EQ(Check(), "");
  }
}

TEST_P(AllocateTest, ARemovedFileGivesItsPagesBack) {
  ASSERT_EQ(Allocate(kKeep, 0, 100 * kPageBytes), 0);
  Forget(file_);
  ASSERT_EQ(Unlink(kRootInode, "file"), 0);
  EXPECT_EQ(db().Counter(2), 0);
}

TEST_P(AllocateTest, PunchingRemovesWholePagesAndZeroesParts) {
  for (const auto& [begin, end] :
       std::vector<std::pair<uint64_t, uint64_t>>{{0, 4096},
                                                  {1, 4096},
                                                  {0, 4095},
                                                  {100, 200},
                                                  {4000, 4200},
                                                  {4000, 12'300},
                                                  {8192, 30'000},
                                                  {8193, 30'000},
                                                  {28'672, 30'000},
                                                  {28'700, 30'000},
                                                  {0, 30'000},
                                                  {0, 1 << 20},
                                                  {29'000, 1 << 20},
                                                  {40'000, 1 << 20},
                                                  {4096, kFileBytesMax}}) {
    SCOPED_TRACE(std::to_string(begin) + " to " + std::to_string(end));
    ASSERT_EQ(Truncate(file_, 0), 0);
    std::string expected(30'000, 'x');
    ASSERT_EQ(Write(file_, 0, expected), 0);
    ASSERT_EQ(Allocate(kPunch, begin, end - begin), 0);
    const uint64_t stop = std::min<uint64_t>(end, expected.size());
    if (begin < stop) expected.replace(begin, stop - begin, stop - begin, '\0');
    EXPECT_EQ(Read(file_, 0, 50'000), expected);
    uint64_t pages = 0;
    for (uint64_t page = 0; page < 8; ++page) {
      const uint64_t page_end = std::min<uint64_t>((page + 1) * kPageBytes, 30'000);
      if (begin > page * kPageBytes || end < page_end) ++pages;
    }
    EXPECT_EQ(Pages(), pages);
    EXPECT_EQ(Size(), 30'000U);
    EXPECT_EQ(Check(), "");
  }
}

TEST_P(AllocateTest, PunchingTakesPagesBeyondTheSize) {
  ASSERT_EQ(Write(file_, 0, std::string(2 * kPageBytes, 'x')), 0);
  ASSERT_EQ(Allocate(kKeep, 0, 100 * kPageBytes), 0);
  ASSERT_EQ(Allocate(kPunch, 50 * kPageBytes, 10 * kPageBytes), 0);
  EXPECT_EQ(Pages(), 90U);
  ASSERT_EQ(Allocate(kPunch, 2 * kPageBytes, 1000 * kPageBytes), 0);
  EXPECT_EQ(Pages(), 2U);
  ASSERT_EQ(Write(file_, 2 * kPageBytes, "y"), 0);
  EXPECT_EQ(Pages(), 3U);
}

TEST_P(AllocateTest, PunchedPagesCanBeWrittenAgain) {
  Fill(kManyPages);
  for (const uint64_t first : {1U, 0U}) {  // in batches, and all at once
    ASSERT_EQ(Allocate(kPunch, first * kPageBytes, kManyPages * kPageBytes), 0);
    EXPECT_EQ(Pages(), first);
    EXPECT_EQ(Size(), kManyPages * kPageBytes);
    ASSERT_EQ(db().Flush().code(), io::StatusCode::kOk);
    Fill(kManyPages);
    EXPECT_EQ(Pages(), kManyPages);
    EXPECT_EQ(Read(file_, 2000 * kPageBytes, kPageBytes), std::string(kPageBytes, 'x'));
  }
  CrashAndMount();
  EXPECT_EQ(Read(file_, 2000 * kPageBytes, kPageBytes), std::string(kPageBytes, 'x'));
  EXPECT_EQ(Map(), "0-" + std::to_string(kManyPages * kPageBytes));
}

TEST_P(AllocateTest, ZeroedPagesAreUnwritten) {
  ASSERT_EQ(Write(file_, 0, std::string(30'000, 'x')), 0);
  ASSERT_EQ(Allocate(kZero, 4000, 12'000), 0);
  std::string expected(30'000, 'x');
  expected.replace(4000, 12'000, 12'000, '\0');
  EXPECT_EQ(Read(file_, 0, 50'000), expected);
  EXPECT_EQ(Pages(), 8U);
  EXPECT_EQ(Map(), "0-4096 12288-30000");
  ASSERT_EQ(Allocate(kZero | kKeep, 29'000, 20'000), 0);
  EXPECT_EQ(Size(), 30'000U);
  EXPECT_EQ(Pages(), 12U);
  ASSERT_EQ(Allocate(kZero, 29'000, 20'000), 0);
  expected.resize(29'000);
  expected.resize(49'000);
  EXPECT_EQ(Read(file_, 0, 50'000), expected);
  EXPECT_EQ(Pages(), 12U);
  // In a hole, both parts of pages are allocated.
  ASSERT_EQ(Truncate(file_, 200'000), 0);
  ASSERT_EQ(Allocate(kZero, 100'000, 4096), 0);
  EXPECT_EQ(Pages(), 14U);
  ASSERT_EQ(Write(file_, 150'000, "short"), 0);
  ASSERT_EQ(Allocate(kZero, 150'001, 2), 0);
  EXPECT_EQ(Read(file_, 150'000, 5), std::string("s\0\0rt", 5));
}

TEST_P(AllocateTest, LargeRangesTakeSeveralBatches) {
  ASSERT_EQ(Allocate(kZero, kPageBytes / 2, kManyPages * kPageBytes), 0);
  EXPECT_EQ(Pages(), kManyPages + 1);
  EXPECT_EQ(Size(), kManyPages * kPageBytes + kPageBytes / 2);
  EXPECT_EQ(Map(), "");
  Fill(kManyPages);
  EXPECT_EQ(Pages(), kManyPages + 1);
  const uint64_t before = db().LastSequence();
  ASSERT_EQ(Allocate(0, 0, kManyPages * kPageBytes), 0);  // nothing is left to do
  EXPECT_LE(db().LastSequence() - before, 2U);
  EXPECT_EQ(Errno(fs().Allocate(no_wait_, file_, kKeep, 1 << 30, 2000 * kPageBytes)),
            kErrnoWouldBlock);
  EXPECT_EQ(Pages(), kManyPages + 1);
}

TEST_P(AllocateTest, HugeSparseFiles) {
  ASSERT_EQ(Write(file_, kFileBytesMax - 3, "end"), 0);
  ASSERT_EQ(Write(file_, uint64_t{1} << 50, "middle"), 0);
  const uint64_t middle = uint64_t{1} << 50;
  const uint64_t last = kFileBytesMax / kPageBytes * kPageBytes;
  EXPECT_EQ(Map(), std::to_string(middle) + "-" + std::to_string(middle + kPageBytes) + " " +
                       std::to_string(last) + "-" + std::to_string(kFileBytesMax));
  ASSERT_EQ(Allocate(kPunch, 1, kFileBytesMax - 1), 0);
  EXPECT_EQ(Map(), "");
  EXPECT_EQ(Pages(), 0U);
  ASSERT_EQ(Allocate(0, kFileBytesMax - 1, 1), 0);
  EXPECT_EQ(Pages(), 1U);
  EXPECT_EQ(Allocate(0, kFileBytesMax, 1), EFBIG);
  EXPECT_EQ(Allocate(kPunch, 2, kFileBytesMax - 1), EFBIG);
  EXPECT_EQ(Allocate(0, UINT64_MAX, UINT64_MAX), EFBIG);
}

TEST_P(AllocateTest, Errors) {
  EXPECT_EQ(Allocate(0, 0, 0), EINVAL);
  EXPECT_EQ(Allocate(FALLOC_FL_PUNCH_HOLE, 0, 1), EOPNOTSUPP);
  EXPECT_EQ(Allocate(kPunch | kZero, 0, 1), EOPNOTSUPP);
  EXPECT_EQ(Allocate(FALLOC_FL_COLLAPSE_RANGE, 0, kPageBytes), EOPNOTSUPP);
  EXPECT_EQ(Allocate(FALLOC_FL_INSERT_RANGE, 0, kPageBytes), EOPNOTSUPP);
  EXPECT_EQ(Errno(fs().Allocate(context_, kRootInode, 0, 0, 1)), EISDIR);
  const auto pipe = fs().MakeNode(context_, kRootInode, "pipe", S_IFIFO | 0600, 0);
  EXPECT_EQ(Errno(fs().Allocate(context_, pipe->ino, 0, 0, 1)), ENODEV);
  EXPECT_EQ(Errno(fs().Seek(context_, pipe->ino, 0, SEEK_DATA)), EINVAL);
  EXPECT_EQ(Errno(fs().Seek(context_, file_, 0, SEEK_SET)), EINVAL);
  EXPECT_EQ(Errno(fs().Seek(context_, file_, 0, SEEK_DATA)), ENXIO);
  EXPECT_EQ(Errno(fs().Seek(context_, file_, 0, SEEK_HOLE)), ENXIO);
  EXPECT_EQ(Size(), 0U);
}

TEST_P(AllocateTest, TimesChangeAndPrivilegesGo) {
  for (const int mode : {0, kKeep, kPunch, kZero}) {
    AttributeChange change;
    change.mode = 06777;
    ASSERT_TRUE(fs().SetAttributes(context_, file_, change).ok());
    ASSERT_TRUE(fs().SetXattr(context_, file_, "security.capability", "c", 0).ok());
    Tick();
    OpContext root = context_;
    root.uid = 0;
    ASSERT_FALSE(fs().Allocate(root, file_, mode, 0, 100)->mode_changed);
    EXPECT_EQ(Stat(file_).mode & 07777, 06777U);
    EXPECT_EQ(Stat(file_).mtime_ns, Now());
    EXPECT_EQ(Stat(file_).ctime_ns, Now());
    EXPECT_EQ(Errno(fs().GetXattr(context_, file_, "security.capability")), ENODATA);
    ASSERT_TRUE(fs().Allocate(context_, file_, mode, 0, 100)->mode_changed);
    EXPECT_EQ(Stat(file_).mode & 07777, 0777U);
  }
}

TEST_P(AllocateTest, SeekKnowsTheEnd) {
  ASSERT_EQ(Write(file_, 0, std::string(5000, 'x')), 0);
  const auto seek = [&](uint64_t offset, int whence) {
    const auto found = fs().Seek(context_, file_, offset, whence);
    return found.ok() ? static_cast<int64_t>(*found) : -Errno(found);
  };
  EXPECT_EQ(seek(4999, SEEK_DATA), 4999);
  EXPECT_EQ(seek(4999, SEEK_HOLE), 5000);
  EXPECT_EQ(seek(5000, SEEK_DATA), -ENXIO);
  EXPECT_EQ(seek(5000, SEEK_HOLE), -ENXIO);
  ASSERT_EQ(Truncate(file_, 20'000), 0);
  EXPECT_EQ(seek(0, SEEK_HOLE), 8192);
  EXPECT_EQ(seek(9000, SEEK_HOLE), 9000);
  EXPECT_EQ(seek(9000, SEEK_DATA), -ENXIO);
}

TEST_P(AllocateTest, TheCapacityIsCharged) {
  Format({.size_bytes = 10 * kPageBytes, .label = "small"});
  file_ = Create(kRootInode, "file").ino;
  EXPECT_EQ(Allocate(0, 0, 11 * kPageBytes), ENOSPC);
  EXPECT_EQ(Allocate(0, 0, uint64_t{1} << 62), ENOSPC);
  EXPECT_EQ(Pages(), 0U);
  EXPECT_EQ(Size(), 0U);
  ASSERT_EQ(Allocate(kKeep, kPageBytes, 10 * kPageBytes), 0);
  EXPECT_EQ(Write(file_, 0, "x"), ENOSPC);
  ASSERT_EQ(Write(file_, kPageBytes, std::string(10 * kPageBytes, 'x')), 0);
  ASSERT_EQ(Allocate(kZero, kPageBytes, 10 * kPageBytes), 0);
  ASSERT_EQ(Allocate(kPunch, kPageBytes, kPageBytes), 0);
  ASSERT_EQ(Write(file_, 0, "x"), 0);
}

// Whatever was done when the writes began to fail, the tree is sound, the size is still the old
// one, and doing it again finishes it.
TEST_P(AllocateMemoryTest, AFailureInTheMiddleLeavesAShorterRange) {
  for (const int mode : {0, kKeep, kZero, kPunch}) {
    for (const uint64_t written : {0U, 1U, 2U}) {
      SCOPED_TRACE("mode " + std::to_string(mode) + ", " + std::to_string(written) + " batches");
      ASSERT_EQ(Truncate(file_, 0), 0);
      if (mode == kPunch) Fill(kManyPages);
      ASSERT_EQ(Write(file_, 0, "start"), 0);
      const uint64_t size = Size();
      engine_->memory()->FailWriteAfter(written, io::Status::NoSpace("injected"));
      EXPECT_EQ(Allocate(mode, 1, kManyPages * kPageBytes), kErrnoNoSpace);
      EXPECT_EQ(Size(), size);
      EXPECT_EQ(Check(), "");
      CrashAndMount();
      EXPECT_EQ(Check(), "");
      EXPECT_EQ(Size(), size);
      if (mode == 0 || mode == kKeep) {
        EXPECT_EQ(Read(file_, 0, 100), "start");
      }
      ASSERT_EQ(Allocate(mode, 1, kManyPages * kPageBytes), 0);
      EXPECT_EQ(Pages(), mode == kPunch ? 1U : kManyPages + 1);
      EXPECT_EQ(Read(file_, 0, 1), "s");
    }
  }
}

TEST_P(AllocateMemoryTest, AppendingToAllocatedPagesLooksNothingUp) {
  ASSERT_EQ(Allocate(kKeep, 0, 100 * kPageBytes), 0);
  const uint64_t before = engine_->memory()->read_count();
  ASSERT_EQ(Write(file_, 0, std::string(4 * kPageBytes, 'x')), 0);
  ASSERT_EQ(Write(file_, 4 * kPageBytes, std::string(4 * kPageBytes, 'x')), 0);
  EXPECT_EQ(engine_->memory()->read_count(), before);
  EXPECT_EQ(Pages(), 100U);
}

// What a power cut between two batches leaves: the old size, and pages that are what they were or,
// before all of those, what they were to become.
TEST_P(AllocateMemoryTest, APowerCutLeavesAShorterRange) {
  for (const int mode : {0, kZero, kPunch}) {
    for (const uint64_t written : {0U, 1U, 2U, 3U}) {
      SCOPED_TRACE("mode " + std::to_string(mode) + ", " + std::to_string(written) + " batches");
      ASSERT_EQ(Truncate(file_, 0), 0);
      Fill(4000);
      if (mode == 0) {
        ASSERT_EQ(Allocate(kPunch, kPageBytes, 3998 * kPageBytes), 0);
      }
      const std::string before = Read(file_, 0, 5000 * kPageBytes);
      engine_->memory()->FailWriteAfter(written, io::Status::NoSpace("injected"));
      EXPECT_EQ(Allocate(mode, 10, 4999 * kPageBytes), kErrnoNoSpace);
      CrashAndMount();
      EXPECT_EQ(Check(), "");
      const std::string after = Read(file_, 0, 5000 * kPageBytes);
      ASSERT_EQ(after.size(), before.size());
      uint64_t new_count = 0;
      uint64_t last_new = 0;
      for (uint64_t page = 0; page < 4000; ++page) {
        const uint64_t at = page * kPageBytes + (page == 0 ? 10 : 0);
        const uint64_t bytes = (page + 1) * kPageBytes - at;
        if (after.compare(at, bytes, before, at, bytes) == 0) continue;
        EXPECT_EQ(after.substr(at, bytes), std::string(bytes, '\0')) << page;
        ++new_count;
        last_new = page;
      }
      EXPECT_EQ(after.substr(0, 10), before.substr(0, 10));
      if (mode == 0 || written == 0) {
        EXPECT_EQ(new_count, 0U);
      } else {
        EXPECT_EQ(new_count, last_new + 1);
        EXPECT_EQ(new_count, written * 1024 + 1);  // the part of the first page with the first
      }
    }
  }
}

INSTANTIATE_FS_TEST(AllocateTest);
INSTANTIATE_MEMORY_FS_TEST(AllocateMemoryTest);

}  // namespace
}  // namespace terracefs::fs
