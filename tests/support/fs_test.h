#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fs/file_system.h"
#include "io/base/clock.h"
#include "tests/support/test_engine.h"

namespace terracefs::testing {

enum class EngineKind { kMemory, kReal };

inline std::string EngineName(const ::testing::TestParamInfo<EngineKind>& info) {
  return info.param == EngineKind::kMemory ? "Memory" : "Real";
}

// The errno of a POSIX answer, 0 for success, minus the code for anything else.
inline int Errno(const io::Status& status) {
  if (status.Is(io::StatusCode::kPosix)) return status.os_errno();
  return -static_cast<int>(status.code());
}
template <typename T>
int Errno(const io::Result<T>& result) {
  return Errno(result.status());
}
inline constexpr int kErrnoWouldBlock = -static_cast<int>(io::StatusCode::kWouldBlock);
inline constexpr int kErrnoIo = -static_cast<int>(io::StatusCode::kIoError);
inline constexpr int kErrnoNoSpace = -static_cast<int>(io::StatusCode::kNoSpace);

// A mounted filesystem on either engine, and shorthand for what tests do all the time. Shorthands
// that must succeed fail the test if they do not. At the end the tree must be sound.
class FsTest : public ::testing::TestWithParam<EngineKind> {
 protected:
  static constexpr uint32_t kUid = 1000;
  static constexpr uint32_t kGid = 100;
  static constexpr int64_t kStartNs = int64_t{1'700'000'000} * 1'000'000'000;

  void SetUp() override;
  void TearDown() override;

  fs::FileSystem& fs() { return *file_system_; }
  lsm::Db& db() { return engine_->db(); }
  bool memory() const { return GetParam() == EngineKind::kMemory; }
  // Formats anew.
  void Format(const fs::FormatOptions& format);
  void Mount();
  // Clean stop and start; the kernel's references are gone.
  void Remount();
  // As if the machine lost power after a sync.
  void CrashAndMount();
  // The answer of CheckTree as one text; empty: sound.
  std::string Check();
  void Tick() { clock_.AdvanceNs(1'000'000); }
  int64_t Now() const { return clock_.WallNs(); }

  fs::Attributes Create(fs::InodeNumber parent, std::string_view name, uint32_t mode = 0644);
  fs::Attributes MakeDir(fs::InodeNumber parent, std::string_view name, uint32_t mode = 0755);
  // 0 or the errno.
  int Unlink(fs::InodeNumber parent, std::string_view name);
  int RemoveDir(fs::InodeNumber parent, std::string_view name);
  int Rename(fs::InodeNumber parent, std::string_view name, fs::InodeNumber new_parent,
             std::string_view new_name, uint32_t flags = 0);
  int Truncate(fs::InodeNumber ino, uint64_t size);
  int Write(fs::InodeNumber ino, uint64_t offset, std::string_view data);
  std::string Read(fs::InodeNumber ino, uint64_t offset, size_t bytes);
  fs::Attributes Stat(fs::InodeNumber ino);
  // Looks up and forgets; ino 0 if there is none.
  fs::InodeNumber Find(fs::InodeNumber parent, std::string_view name);
  // Names after `cookie`, in order.
  std::vector<std::string> List(fs::InodeNumber ino, uint64_t cookie = 2);
  void Forget(fs::InodeNumber ino, uint64_t count = 1) { fs().Forget(ino, count); }

  io::ManualClock clock_{kStartNs};
  fs::OpContext context_{.uid = kUid, .gid = kGid, .pid = 1, .umask = 0, .may_wait = true};
  fs::OpContext no_wait_{.uid = kUid, .gid = kGid, .pid = 1, .umask = 0, .may_wait = false};
  fs::FileSystemOptions options_;
  std::unique_ptr<TestEngine> engine_;
  std::unique_ptr<fs::FileSystem> file_system_;
  bool expect_sound_ = true;
};

}  // namespace terracefs::testing

#define INSTANTIATE_FS_TEST(suite)                                                      \
  INSTANTIATE_TEST_SUITE_P(, suite,                                                     \
                           ::testing::Values(::terracefs::testing::EngineKind::kMemory, \
                                             ::terracefs::testing::EngineKind::kReal),  \
                           ::terracefs::testing::EngineName)

#define INSTANTIATE_MEMORY_FS_TEST(suite)                                                         \
  INSTANTIATE_TEST_SUITE_P(, suite, ::testing::Values(::terracefs::testing::EngineKind::kMemory), \
                           ::terracefs::testing::EngineName)
