#include "tests/support/fs_test.h"

#include <utility>

namespace terracefs::testing {

using fs::Attributes;
using fs::InodeNumber;

void FsTest::SetUp() {
  options_.clock = &clock_;
  Format({});
}

void FsTest::Format(const fs::FormatOptions& format) {
  file_system_.reset();
  lsm::Options options;
  options.memtable_bytes = 256 * io::kKiB;
  options.log_file_bytes = 256 * io::kKiB;
  engine_ = memory() ? TestEngine::Memory() : TestEngine::Real(options);
  const io::Status status = fs::FileSystem::Format(engine_->db(), format, kUid, kGid, clock_);
  ASSERT_TRUE(status.ok()) << status.ToString();
  Mount();
}

void FsTest::Mount() {
  auto mounted = fs::FileSystem::Mount(engine_->db(), options_);
  ASSERT_TRUE(mounted.ok()) << mounted.status().ToString();
  file_system_ = std::move(mounted).value();
}

void FsTest::Remount() {
  file_system_.reset();
  engine_->Restart();
  Mount();
}

void FsTest::CrashAndMount() {
  ASSERT_TRUE(file_system_->Sync().ok());
  auto crashed = engine_->AfterCrash(1, CrashMode::kLoseAllUnsynced);
  file_system_.reset();
  engine_ = std::move(crashed);
  Mount();
}

void FsTest::TearDown() {
  if (file_system_ == nullptr) return;
  const std::string breaches = expect_sound_ ? Check() : "";
  EXPECT_EQ(breaches, "");
  file_system_.reset();
  EXPECT_TRUE(engine_->db().Close().ok());
}

std::string FsTest::Check() {
  const auto messages = file_system_->CheckTree(/*read_data=*/true);
  if (!messages.ok()) return messages.status().ToString();
  std::string text;
  for (const std::string& message : *messages) text += message + "\n";
  return text;
}

Attributes FsTest::Create(InodeNumber parent, std::string_view name, uint32_t mode) {
  const auto made = fs().MakeNode(context_, parent, name, S_IFREG | mode, 0);
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  return made.ok() ? *made : Attributes{};
}

Attributes FsTest::MakeDir(InodeNumber parent, std::string_view name, uint32_t mode) {
  const auto made = fs().MakeDirectory(context_, parent, name, mode);
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  return made.ok() ? *made : Attributes{};
}

int FsTest::Unlink(InodeNumber parent, std::string_view name) {
  return Errno(fs().Unlink(context_, parent, name));
}

int FsTest::RemoveDir(InodeNumber parent, std::string_view name) {
  return Errno(fs().RemoveDirectory(context_, parent, name));
}

int FsTest::Rename(InodeNumber parent, std::string_view name, InodeNumber new_parent,
                   std::string_view new_name, uint32_t flags) {
  return Errno(fs().Rename(context_, parent, name, new_parent, new_name, flags));
}

int FsTest::Truncate(InodeNumber ino, uint64_t size) {
  fs::AttributeChange change;
  change.size = size;
  return Errno(fs().SetAttributes(context_, ino, change));
}

int FsTest::Write(InodeNumber ino, uint64_t offset, std::string_view data) {
  return Errno(fs().Write(context_, ino, offset, io::AsBytes(data), /*kill_suid_sgid=*/false));
}

std::string FsTest::Read(InodeNumber ino, uint64_t offset, size_t bytes) {
  std::string data(bytes, '#');
  const auto count = fs().Read(context_, ino, offset, io::AsMutableBytes(data));
  EXPECT_TRUE(count.ok()) << count.status().ToString();
  data.resize(count.ok() ? *count : 0);
  return data;
}

Attributes FsTest::Stat(InodeNumber ino) {
  const auto attributes = fs().GetAttributes(context_, ino);
  EXPECT_TRUE(attributes.ok()) << attributes.status().ToString();
  return attributes.ok() ? *attributes : Attributes{};
}

InodeNumber FsTest::Find(InodeNumber parent, std::string_view name) {
  const auto found = fs().Lookup(context_, parent, name);
  if (!found.ok()) return {};
  fs().Forget(found->ino, 1);
  return found->ino;
}

std::vector<std::string> FsTest::List(InodeNumber ino, uint64_t cookie) {
  std::vector<std::string> names;
  const io::Status status = fs().ReadDirectory(context_, ino, cookie, /*with_attributes=*/false,
                                               [&](const fs::DirectoryEntry& entry) {
                                                 names.emplace_back(entry.name);
                                                 return true;
                                               });
  EXPECT_TRUE(status.ok()) << status.ToString();
  return names;
}

}  // namespace terracefs::testing
