#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "io/unique_fd.h"
#include "tests/support/mount_fixture.h"

namespace terracefs::testing {
namespace {

class LseekPosix : public TransportTest {
 protected:
  void MountWith(const std::string& more) {
    mount_->Mount(Options(more));
    fd_ = io::UniqueFd(open(mount_->Path("file").c_str(), O_RDWR | O_CREAT, 0644));
    ASSERT_TRUE(fd_.valid());
  }
  void TearDown() override { fd_ = io::UniqueFd(); }
  void Write(off_t offset, const std::string& data) {
    ASSERT_EQ(pwrite(fd_.get(), data.data(), data.size(), offset),
              static_cast<ssize_t>(data.size()));
  }
  // The extents with data, as "begin-end begin-end".
  std::string Map() {
    std::string map;
    for (off_t at = 0;;) {
      const off_t data = lseek(fd_.get(), at, SEEK_DATA);
      if (data < 0) {
        EXPECT_EQ(errno, ENXIO);
        return map;
      }
      at = lseek(fd_.get(), data, SEEK_HOLE);
      if (at < 0) return map + " no hole behind data";
      if (!map.empty()) map += " ";
      map += std::to_string(data) + "-" + std::to_string(at);
    }
  }

  io::UniqueFd fd_;
};

TEST_P(LseekPosix, FindsDataAndHoles) {
  MountWith("");
  EXPECT_EQ(Map(), "");
  EXPECT_EQ(ERRNO_OF(lseek(fd_.get(), 0, SEEK_HOLE)), ENXIO);
  Write(8192, "x");
  EXPECT_EQ(Map(), "8192-8193");
  ASSERT_EQ(ftruncate(fd_.get(), 100'000), 0);
  EXPECT_EQ(Map(), "8192-12288");
  ASSERT_EQ(fallocate(fd_.get(), 0, 0, 50'000), 0);
  EXPECT_EQ(Map(), "8192-12288");
  Write(40'000, std::string(20'000, 'y'));
  EXPECT_EQ(Map(), "8192-12288 36864-61440");
  ASSERT_EQ(fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 40'960, 4096), 0);
  EXPECT_EQ(Map(), "8192-12288 36864-40960 45056-61440");
  EXPECT_EQ(lseek(fd_.get(), 9000, SEEK_DATA), 9000);
  EXPECT_EQ(lseek(fd_.get(), 9000, SEEK_HOLE), 12'288);
  EXPECT_EQ(lseek(fd_.get(), 20'000, SEEK_HOLE), 20'000);
  EXPECT_EQ(lseek(fd_.get(), -10, SEEK_END), 99'990);
  EXPECT_EQ(ERRNO_OF(lseek(fd_.get(), 100'000, SEEK_DATA)), ENXIO);
}

// Pages that only the kernel has are data.
TEST_P(LseekPosix, WhatIsMappedAndDirtyIsData) {
  MountWith("");
  ASSERT_EQ(ftruncate(fd_.get(), 1 << 20), 0);
  char* const map =
      static_cast<char*>(mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_EQ(Map(), "");
  map[50'000] = 'x';
  EXPECT_EQ(Map(), "49152-53248");
  map[53'248] = 'y';
  map[200'000] = 'z';
  EXPECT_EQ(lseek(fd_.get(), 50'000, SEEK_HOLE), 57'344);
  EXPECT_EQ(Map(), "49152-57344 196608-200704");
  ASSERT_EQ(fallocate(fd_.get(), FALLOC_FL_ZERO_RANGE, 0, 1 << 20), 0);
  EXPECT_EQ(Map(), "");
  map[300'000] = 'a';
  EXPECT_EQ(Map(), "299008-303104");
  EXPECT_EQ(map[300'000], 'a');
  munmap(map, 1 << 20);
}

TEST_P(LseekPosix, WhatTheWriteBackCacheHoldsIsData) {
  MountWith("writeback");
  Write(20'000, std::string(10'000, 'x'));
  EXPECT_EQ(Map(), "16384-30000");
  Write(100'000, "y");
  Write(28'672, std::string(8192, 'z'));
  EXPECT_EQ(lseek(fd_.get(), 20'000, SEEK_HOLE), 36'864);
  EXPECT_EQ(Map(), "16384-36864 98304-100001");
  ASSERT_EQ(ftruncate(fd_.get(), 200'000), 0);
  EXPECT_EQ(Map(), "16384-36864 98304-102400");
}

// Every answer needs a write of the kernel's, which must not wait for a thread that waits for it.
TEST_P(LseekPosix, ManyAtOnceFlushMappedPages) {
  MountWith("");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([path = mount_->Path("many" + std::to_string(i))] {
      const io::UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT, 0644));
      ASSERT_EQ(ftruncate(fd.get(), 1 << 20), 0);
      char* const map = static_cast<char*>(
          mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
      ASSERT_NE(map, MAP_FAILED);
      for (off_t page = 255; page > 0; --page) {
        map[page * 4096] = 'x';
        EXPECT_EQ(lseek(fd.get(), 0, SEEK_DATA), page * 4096);
        EXPECT_EQ(lseek(fd.get(), page * 4096, SEEK_HOLE), 1 << 20);
      }
      munmap(map, 1 << 20);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

INSTANTIATE_TRANSPORT_TEST(LseekPosix);

}  // namespace
}  // namespace terracefs::testing
