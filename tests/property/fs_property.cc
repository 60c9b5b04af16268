// The filesystem against a model of POSIX: random operations on files, directories, links, names,
// attributes and xattrs, on inodes with and without names, waiting and not, with failing writes,
// remounts and power cuts in between. SEED replays a run, OPERATIONS sets its length.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "fs/acl.h"
#include "fs/file_system.h"
#include "fs/schema/keys.h"
#include "fs/schema/records.h"
#include "io/base/coding.h"
#include "io/base/random.h"
#include "tests/support/environment.h"
#include "tests/support/model_fs.h"
#include "tests/support/test_engine.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;
using io::StatusCode;
using testing::CrashMode;
using testing::FromEnvironment;
using testing::ModelFs;
using testing::TestEngine;

constexpr uint32_t kUid = 1000;
constexpr uint32_t kGid = 100;

std::string Describe(const Attributes& a) {
  return "mode " + std::to_string(a.mode) + " nlink " + std::to_string(a.nlink) + " uid " +
         std::to_string(a.uid) + " gid " + std::to_string(a.gid) + " rdev " +
         std::to_string(a.rdev) + " size " + std::to_string(a.size) + " blocks " +
         std::to_string(a.blocks) + " atime " + std::to_string(a.atime_ns) + " mtime " +
         std::to_string(a.mtime_ns) + " ctime " + std::to_string(a.ctime_ns) + " btime " +
         std::to_string(a.btime_ns);
}

class FsWorkload {
 public:
  FsWorkload(uint64_t seed, bool memory) : random_(seed), memory_(memory) {
    // An access time may be skipped where a write would stall or fail, so those runs do without.
    options_.atime = memory && random_.OneIn(2) ? AtimePolicy::kRelative : AtimePolicy::kNone;
    options_.clock = &clock_;
    options_.cached_inode_count_max = random_.OneIn(2) ? 0 : 1000;
  }

  void Run(uint64_t operation_count) {
    engine_ = memory_ ? TestEngine::Memory() : TestEngine::Real(EngineOptions());
    ASSERT_TRUE(FileSystem::Format(engine_->db(), {}, kUid, kGid, clock_).ok());
    model_ = std::make_unique<ModelFs>(clock_, options_.atime, kUid, kGid);
    Mount();
    for (uint64_t i = 0; i < operation_count && !Failed(); ++i) {
      clock_.AdvanceNs(random_.OneIn(500) ? int64_t{90'000} * 1'000'000'000 : 1);
      Step();
      if (Failed()) break;
      if (random_.OneIn(250)) CheckAll();
      if (!memory_ && random_.OneIn(200)) CheckPowerCut();
      if (random_.OneIn(400)) Remount();
      step_ = i;
    }
    if (!Failed()) CheckAll();
    if (!Failed()) {
      Remount();
      CheckAll();
    }
    if (Failed()) Explain();
    if (std::getenv("VERBOSE") != nullptr) {
      for (const auto& [error, count] : answers_) {
        std::printf("  %s: %llu\n", std::strerror(error), static_cast<unsigned long long>(count));
      }
    }
    file_system_.reset();
    const Status closed = engine_->db().Close();
    EXPECT_TRUE(closed.ok()) << closed.ToString();
  }

 private:
  struct Known {
    InodeNumber real;
    InodeNumber model;
    uint64_t lookups = 0;
  };

  bool Failed() const {
    return ::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure();
  }
  void Explain() {
    std::printf("failed after operation %llu; the last ones:\n",
                static_cast<unsigned long long>(step_));
    for (const std::string& line : log_) std::printf("  %s\n", line.c_str());
  }
  void Log(std::string line) {
    log_.push_back(std::move(line));
    if (log_.size() > 25) log_.pop_front();
  }

  lsm::Options EngineOptions() {
    lsm::Options options;
    options.memtable_bytes = uint64_t{1} << (14 + random_.Uniform(8));
    options.log_file_bytes = std::max<uint64_t>(options.memtable_bytes, 64 * io::kKiB);
    options.block_cache_bytes = uint64_t{1} << (14 + random_.Uniform(10));
    options.table_bytes = uint64_t{1} << (14 + random_.Uniform(7));
    options.level1_bytes = uint64_t{1} << (15 + random_.Uniform(8));
    options.level_multiplier = 2 + static_cast<int>(random_.Uniform(4));
    options.l0_compaction_trigger = 1 + static_cast<int>(random_.Uniform(4));
    options.delete_deadline_ms = static_cast<int64_t>(random_.Uniform(3)) * 1000;
    options.commit_interval_ms = static_cast<int64_t>(random_.Uniform(3)) * 10;
    return options;
  }

  void Mount() {
    auto mounted = FileSystem::Mount(engine_->db(), options_);
    ASSERT_TRUE(mounted.ok()) << mounted.status().ToString();
    file_system_ = std::move(mounted).value();
    forgotten_.clear();
    known_.assign(1, Known{kRootInode, kRootInode, 0});
    model_of_.clear();
    model_of_[1] = 1;
    if (memory_ && options_.atime == AtimePolicy::kNone) {
      engine_->memory()->SetWouldBlockOneIn(random_.OneIn(2) ? 0 : 2 + random_.Uniform(20),
                                            random_.Next());
    }
  }

  void Remount() {
    Log("remount");
    if (random_.OneIn(2)) {
      ASSERT_TRUE(file_system_->Sync().ok());
      auto crashed = engine_->AfterCrash(random_.Next(), CrashMode::kLoseAllUnsynced);
      file_system_.reset();
      engine_ = std::move(crashed);
    } else {
      file_system_.reset();
      engine_->Restart();
    }
    model_->Remount();
    Mount();
    if (Failed()) return;
    const Result<SpaceUsage> space = file_system_->StatFs();
    ASSERT_TRUE(space.ok());
    EXPECT_EQ(space->inodes, model_->inode_count());
    EXPECT_EQ(space->capacity_bytes - space->free_bytes, model_->page_count() * kPageBytes);
    CheckNoLeaks();
  }

  // Whatever a power cut at this moment leaves can be mounted and is sound. This one goes on.
  void CheckPowerCut() {
    Log("power cut on a copy");
    const auto crashed = engine_->AfterCrash(random_.Next(), CrashMode::kRandom);
    auto mounted = FileSystem::Mount(crashed->db(), options_);
    ASSERT_TRUE(mounted.ok()) << mounted.status().ToString();
    const auto messages = (*mounted)->CheckTree(/*read_data=*/true);
    ASSERT_TRUE(messages.ok()) << messages.status().ToString();
    for (const std::string& message : *messages) ADD_FAILURE() << message;
    mounted->reset();
    EXPECT_TRUE(crashed->db().Close().ok());
  }

  // Every key of the store belongs to an inode that lives.
  void CheckNoLeaks() {
    if (!memory_) return;
    std::set<uint64_t> inos;
    std::set<uint64_t> data_ids;
    const std::vector<std::string> keys = engine_->memory()->Keys();
    for (const std::string& key : keys) {
      const auto parsed = ParseKey(key);
      ASSERT_TRUE(parsed.has_value());
      if (parsed->domain != Domain::kInode) continue;
      inos.insert(parsed->id);
      const auto record = DecodeInode(engine_->db().Get({}, key).value()->view());
      ASSERT_TRUE(record.ok());
      data_ids.insert(record->data_id);
    }
    for (const std::string& key : keys) {
      const auto parsed = ParseKey(key);
      if (parsed->domain == Domain::kSystem) continue;
      const std::set<uint64_t>& owners = parsed->domain == Domain::kExtent ? data_ids : inos;
      EXPECT_TRUE(owners.contains(parsed->id))
          << "leaked key of domain " << static_cast<int>(parsed->domain) << " id " << parsed->id;
    }
  }

  // ---- Running one operation on both ------------------------------------------------------------

  OpContext RandomContext() {
    OpContext context;
    context.uid = kUid + static_cast<uint32_t>(random_.Uniform(3));
    context.gid = kGid + static_cast<uint32_t>(random_.Uniform(3));
    context.umask = random_.OneIn(2) ? 0 : 022;
    context.may_wait = random_.OneIn(2);
    return context;
  }

  static const Status& StatusOf(const Status& status) { return status; }
  template <typename T>
  static const Status& StatusOf(const Result<T>& result) {
    return result.status();
  }

  // Runs `operation(file_system, context)`; again with permission to wait if it would block.
  // Nothing if an injected failure hit it, so that it must have changed nothing.
  template <typename Operation>
  auto OnReal(const Operation& operation) {
    OpContext context = RandomContext();
    const bool inject = memory_ && options_.atime == AtimePolicy::kNone && random_.OneIn(20);
    if (inject) {
      engine_->memory()->FailWriteAfter(
          0, random_.OneIn(2) ? Status::NoSpace("injected") : Status::IoError("injected", "", EIO));
    }
    auto result = operation(*file_system_, context);
    if (StatusOf(result).Is(StatusCode::kWouldBlock)) {
      EXPECT_FALSE(context.may_wait);
      context.may_wait = true;
      result = operation(*file_system_, context);
    }
    context_ = context;
    injected_ =
        StatusOf(result).Is(StatusCode::kNoSpace) || StatusOf(result).Is(StatusCode::kIoError);
    EXPECT_TRUE(!injected_ || inject) << StatusOf(result).ToString();
    if (inject && engine_->memory()->write_failure_is_armed()) {
      engine_->memory()->FailWriteAfter(UINT64_MAX, Status::Ok());
    }
    return result;
  }

  // Both statuses are the same answer; true if it is success.
  bool SameStatus(const Status& real, const Status& model) {
    Log("   -> " + (real.ok() ? std::string("ok") : real.ToString()));
    ++answers_[real.ok() ? 0 : real.os_errno()];
    EXPECT_EQ(real.ok(), model.ok()) << real.ToString() << " but " << model.ToString();
    EXPECT_EQ(real.os_errno(), model.os_errno()) << real.ToString();
    return real.ok() && model.ok();
  }

  void SameText(const Result<std::string>& real, const Result<std::string>& model) {
    if (!SameStatus(real.status(), model.status())) return;
    EXPECT_EQ(*real, *model);
  }
  void SameAttributes(const Attributes& real, const Attributes& model) {
    EXPECT_EQ(Describe(real), Describe(model));
    const auto [at, added] = model_of_.emplace(real.ino.value, model.ino.value);
    EXPECT_EQ(at->second, model.ino.value) << "two inodes behind number " << real.ino.value;
  }

  // An operation that answers with attributes and raises the lookup count.
  template <typename Operation>
  void Entry(const Operation& operation) {
    const Result<Attributes> real = OnReal(operation.first);
    if (injected_) return;
    const Result<Attributes> model = operation.second(*model_, context_);
    if (!SameStatus(real.status(), model.status())) return;
    SameAttributes(*real, *model);
    Learn(real->ino, model->ino);
  }
  template <typename Operation>
  void Plain(const Operation& operation) {
    const Status real = OnReal(operation.first);
    if (injected_) return;
    SameStatus(real, operation.second(*model_, context_));
  }

  void Learn(InodeNumber real, InodeNumber model) {
    for (Known& known : known_) {
      if (known.real == real) {
        ++known.lookups;
        return;
      }
    }
    known_.push_back({real, model, 1});
  }

  // ---- Choosing ---------------------------------------------------------------------------------

  const Known& Any() { return known_[random_.Uniform(known_.size())]; }
  // Mostly one of the right type.
  Known AnyOfType(uint32_t type) {
    for (int i = 0; i < 20; ++i) {
      const Known& known = Any();
      const auto attributes = model_->GetAttributes({}, known.model);
      if (attributes.ok() && (attributes->mode & S_IFMT) == type) return known;
    }
    return Any();
  }
  // Sometimes what the kernel has forgotten, and what may be gone altogether.
  Known AnyDirectory() {
    if (!forgotten_.empty() && random_.OneIn(60)) return AnyForgotten();
    return random_.OneIn(50) ? Any() : AnyOfType(S_IFDIR);
  }
  Known AnyForgotten() { return forgotten_[random_.Uniform(forgotten_.size())]; }
  Known AnyFile() {
    if (!forgotten_.empty() && random_.OneIn(30)) return AnyForgotten();
    return random_.OneIn(50) ? Any() : AnyOfType(S_IFREG);
  }
  std::string AnyName() {
    switch (random_.Uniform(60)) {
      case 0:
        return std::string(255, 'n');
      case 1:
        return std::string(256, 'n');
      case 2:
        return ".";
      case 3:
        return "..";
      case 4:
        return "";
      case 5:
        return std::string("\xff\xff\xff", 3);
      default:
        return std::string(1 + random_.Uniform(2), static_cast<char>('a' + random_.Uniform(5)));
    }
  }
  std::string AnyXattrName() {
    static const char* const kNames[] = {"user.a",
                                         "user.b",
                                         "trusted.c",
                                         "security.capability",
                                         "user.",
                                         "other.x",
                                         "",
                                         "system.posix_acl_access",
                                         "system.posix_acl_access",
                                         "system.posix_acl_default",
                                         "system.x",
                                         "user.a1",
                                         "security.s"};
    return kNames[random_.Uniform(std::size(kNames))];
  }
  // Mostly one that may be set, sometimes one that a mode can say or that is empty.
  std::string AnyAcl() {
    std::string value("\2\0\0\0", 4);
    if (random_.OneIn(8)) return value;
    const auto add = [&](uint16_t tag, uint32_t id) {
      io::PutFixed16(&value, tag);
      io::PutFixed16(&value, static_cast<uint16_t>(random_.Uniform(8)));
      io::PutFixed32(&value, id);
    };
    const bool named = random_.OneIn(2);
    add(1, ~0U);
    if (named) add(2, static_cast<uint32_t>(random_.Uniform(5)));
    add(4, ~0U);
    if (named) add(8, static_cast<uint32_t>(random_.Uniform(5)));
    if (named || random_.OneIn(3)) add(16, ~0U);
    if (!random_.OneIn(20)) add(32, ~0U);
    return value;
  }
  std::string AnyData(size_t bytes_max) {
    std::string data(random_.Uniform(bytes_max + 1), '\0');
    const auto base = static_cast<unsigned>(random_.Next());
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(base + i * 7 / 5);
    return data;
  }
  uint64_t AnyOffset() {
    switch (random_.Uniform(8)) {
      case 0:
        return 0;
      case 1:
        return random_.Uniform(16) * kPageBytes;
      case 2:
        return (uint64_t{1} << 40) + random_.Uniform(3 * kPageBytes);
      case 3:
        return random_.OneIn(10) ? kFileBytesMax - random_.Uniform(20) : random_.Uniform(100);
      case 4:
        return random_.Uniform(1 << 20);
      default:
        return random_.Uniform(1 << 15);
    }
  }

  // ---- Operations -------------------------------------------------------------------------------

  void Step() {
    switch (random_.Uniform(30)) {
      case 0:
      case 1:
      case 2:
        return Create();
      case 3:
      case 4:
        return MakeDirectory();
      case 5:
        return random_.OneIn(3)   ? MakeTemporary()
               : random_.OneIn(2) ? MakeSymlink()
                                  : MakeSpecial();
      case 6:
        return Link();
      case 7:
      case 8:
        return Unlink();
      case 9:
        return RemoveDirectory();
      case 10:
      case 11:
      case 12:
        return Rename();
      case 13:
      case 14:
        return Lookup();
      case 15:
      case 16:
        return ForgetSome();
      case 17:
        return Truncate();
      case 18:
        return SetAttributes();
      case 19:
      case 20:
      case 21:
        return WriteData();
      case 22:
        return ReadData();
      case 23:
        return ListOnce();
      case 24:
        return Xattr();
      case 25:
      case 26:
      case 27:
        return Allocate();
      case 28:
        return Seek();
      default:
        return random_.OneIn(3) ? ReadLink() : GetAttributes();
    }
  }

  void Create() {
    const Known parent = AnyDirectory();
    const std::string name = AnyName();
    const uint32_t mode = S_IFREG | static_cast<uint32_t>(random_.Uniform(010000));
    Log("create in " + std::to_string(parent.real.value) + " " + name);
    Entry(std::pair{[&](FileSystem& f, const OpContext& c) {
                      return f.MakeNode(c, parent.real, name, mode, 0);
                    },
                    [&](FileSystem& f, const OpContext& c) {
                      return f.MakeNode(c, parent.model, name, mode, 0);
                    }});
  }
  void MakeSpecial() {
    static constexpr uint32_t kTypes[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
    const Known parent = AnyDirectory();
    const std::string name = AnyName();
    const uint32_t mode = kTypes[random_.Uniform(4)] | 0644;
    Log("mknod in " + std::to_string(parent.real.value) + " " + name);
    Entry(std::pair{[&](FileSystem& f, const OpContext& c) {
                      return f.MakeNode(c, parent.real, name, mode, 0x1234);
                    },
                    [&](FileSystem& f, const OpContext& c) {
                      return f.MakeNode(c, parent.model, name, mode, 0x1234);
                    }});
  }
  void MakeDirectory() {
    const Known parent = AnyDirectory();
    const std::string name = AnyName();
    const uint32_t mode = static_cast<uint32_t>(random_.Uniform(010000));
    Log("mkdir in " + std::to_string(parent.real.value) + " " + name);
    Entry(std::pair{[&](FileSystem& f, const OpContext& c) {
                      return f.MakeDirectory(c, parent.real, name, mode);
                    },
                    [&](FileSystem& f, const OpContext& c) {
                      return f.MakeDirectory(c, parent.model, name, mode);
                    }});
  }
  void MakeSymlink() {
    const Known parent = AnyDirectory();
    const std::string name = AnyName();
    const std::string target(random_.OneIn(10) ? 4096 : random_.Uniform(300), 't');
    Log("symlink in " + std::to_string(parent.real.value) + " " + name);
    Entry(std::pair{[&](FileSystem& f, const OpContext& c) {
                      return f.MakeSymlink(c, parent.real, name, target);
                    },
                    [&](FileSystem& f, const OpContext& c) {
                      return f.MakeSymlink(c, parent.model, name, target);
                    }});
  }
  void MakeTemporary() {
    const Known parent = AnyDirectory();
    const uint32_t mode = static_cast<uint32_t>(random_.Uniform(010000));
    Log("tmpfile in " + std::to_string(parent.real.value));
    Entry(std::pair{
        [&](FileSystem& f, const OpContext& c) { return f.MakeTemporary(c, parent.real, mode); },
        [&](FileSystem& f, const OpContext& c) { return f.MakeTemporary(c, parent.model, mode); }});
  }
  // Mostly one that has no name.
  Known AnyNameless() {
    for (int i = 0; i < 20; ++i) {
      const Known& known = Any();
      const auto attributes = model_->GetAttributes({}, known.model);
      if (attributes.ok() && attributes->nlink == 0) return known;
    }
    return Any();
  }
  void Link() {
    const Known node = random_.OneIn(2) ? AnyNameless() : Any();
    const Known parent = AnyDirectory();
    const std::string name = AnyName();
    Log("link " + std::to_string(node.real.value) + " in " + std::to_string(parent.real.value) +
        " " + name);
    Entry(std::pair{
        [&](FileSystem& f, const OpContext& c) { return f.Link(c, node.real, parent.real, name); },
        [&](FileSystem& f, const OpContext& c) {
          return f.Link(c, node.model, parent.model, name);
        }});
  }
  void Unlink() {
    const Known parent = AnyDirectory();
    const std::string name = AnyName();
    Log("unlink in " + std::to_string(parent.real.value) + " " + name);
    Plain(std::pair{
        [&](FileSystem& f, const OpContext& c) { return f.Unlink(c, parent.real, name); },
        [&](FileSystem& f, const OpContext& c) { return f.Unlink(c, parent.model, name); }});
  }
  void RemoveDirectory() {
    const Known parent = AnyDirectory();
    const std::string name = AnyName();
    Log("rmdir in " + std::to_string(parent.real.value) + " " + name);
    Plain(std::pair{
        [&](FileSystem& f, const OpContext& c) { return f.RemoveDirectory(c, parent.real, name); },
        [&](FileSystem& f, const OpContext& c) {
          return f.RemoveDirectory(c, parent.model, name);
        }});
  }
  void Rename() {
    const Known source = AnyDirectory();
    const Known target = random_.OneIn(3) ? source : AnyDirectory();
    const std::string name = AnyName();
    const std::string new_name = AnyName();
    static constexpr uint32_t kFlags[] = {
        0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE, 4, 4, 5, 6, 8};
    const uint32_t flags = kFlags[random_.Uniform(std::size(kFlags))];
    Log("rename in " + std::to_string(source.real.value) + " " + name + " to " +
        std::to_string(target.real.value) + " " + new_name + " flags " + std::to_string(flags));
    Plain(std::pair{[&](FileSystem& f, const OpContext& c) {
                      return f.Rename(c, source.real, name, target.real, new_name, flags);
                    },
                    [&](FileSystem& f, const OpContext& c) {
                      return f.Rename(c, source.model, name, target.model, new_name, flags);
                    }});
  }
  void Lookup() {
    const Known parent = random_.OneIn(20) ? Any() : AnyDirectory();
    const std::string name = AnyName();
    Log("lookup in " + std::to_string(parent.real.value) + " " + name);
    Entry(std::pair{
        [&](FileSystem& f, const OpContext& c) { return f.Lookup(c, parent.real, name); },
        [&](FileSystem& f, const OpContext& c) { return f.Lookup(c, parent.model, name); }});
  }
  void ForgetSome() {
    if (known_.size() < 2) return;
    const size_t index = 1 + random_.Uniform(known_.size() - 1);
    Known& known = known_[index];
    const uint64_t count = 1 + random_.Uniform(known.lookups);
    Log("forget " + std::to_string(known.real.value) + " " + std::to_string(count));
    file_system_->Forget(known.real, count);
    model_->Forget(known.model, count);
    known.lookups -= count;
    if (known.lookups > 0) return;
    // While the engine would stall, an unlinked inode is collected by a thread of its own.
    while (!model_->GetAttributes({}, known.model).ok() &&
           file_system_->GetAttributes({}, known.real).ok()) {
      std::this_thread::yield();
    }
    forgotten_.push_back(known);
    if (forgotten_.size() > 20) forgotten_.pop_front();
    known = known_.back();
    known_.pop_back();
  }
  void GetAttributes() {
    const Known node = Any();
    Log("getattr " + std::to_string(node.real.value));
    const auto real =
        OnReal([&](FileSystem& f, const OpContext& c) { return f.GetAttributes(c, node.real); });
    const auto model = model_->GetAttributes(context_, node.model);
    if (SameStatus(real.status(), model.status())) SameAttributes(*real, *model);
  }
  void Change(const Known& node, const AttributeChange& change) {
    const auto real = OnReal(
        [&](FileSystem& f, const OpContext& c) { return f.SetAttributes(c, node.real, change); });
    if (injected_) return;
    const auto model = model_->SetAttributes(context_, node.model, change);
    if (SameStatus(real.status(), model.status())) SameAttributes(*real, *model);
  }
  void Truncate() {
    const Known node = AnyFile();
    AttributeChange change;
    change.size = random_.OneIn(4) ? 0 : AnyOffset();
    if (random_.OneIn(50)) change.size = uint64_t{INT64_MAX} + 1;
    change.kill_suid_sgid = random_.OneIn(2);
    Log("truncate " + std::to_string(node.real.value) + " to " + std::to_string(*change.size));
    Change(node, change);
  }
  void SetAttributes() {
    const Known node = Any();
    AttributeChange change;
    if (random_.OneIn(3)) change.mode = static_cast<uint32_t>(random_.Uniform(010000));
    if (random_.OneIn(3)) change.uid = static_cast<uint32_t>(random_.Uniform(3));
    if (random_.OneIn(3)) change.gid = static_cast<uint32_t>(random_.Uniform(3));
    if (random_.OneIn(4)) change.atime_ns = static_cast<int64_t>(random_.Next());
    if (random_.OneIn(4)) change.mtime_ns = -static_cast<int64_t>(random_.Uniform(1000));
    if (random_.OneIn(6)) change.ctime_ns = 77;
    change.atime_now = random_.OneIn(4);
    change.mtime_now = random_.OneIn(4);
    Log("setattr " + std::to_string(node.real.value));
    Change(node, change);
  }
  void WriteData() {
    const Known node = AnyFile();
    const uint64_t offset = AnyOffset();
    const std::string data = AnyData(random_.OneIn(10) ? 1 << 18 : random_.OneIn(2) ? 20000 : 300);
    const bool kill = random_.OneIn(2);
    Log("write " + std::to_string(node.real.value) + " at " + std::to_string(offset) + " bytes " +
        std::to_string(data.size()));
    Plain(std::pair{[&](FileSystem& f, const OpContext& c) {
                      return f.Write(c, node.real, offset, io::AsBytes(data), kill).status();
                    },
                    [&](FileSystem& f, const OpContext& c) {
                      return f.Write(c, node.model, offset, io::AsBytes(data), kill).status();
                    }});
  }
  void Allocate() {
    static constexpr int kModes[] = {0,
                                     FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_ZERO_RANGE,
                                     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_PUNCH_HOLE};
    const Known node = AnyFile();
    const int mode = kModes[random_.Uniform(std::size(kModes))];
    const bool punches = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
    const uint64_t offset = random_.OneIn(6) ? 0 : AnyOffset();
    uint64_t length = random_.Uniform(random_.OneIn(2) ? 8 * kPageBytes : 300'000);
    if (random_.OneIn(30)) length = random_.Uniform(5 << 20);  // several batches
    if (random_.OneIn(3)) length -= length % kPageBytes;
    if (punches && random_.OneIn(10)) length = kFileBytesMax - std::min(offset, kFileBytesMax);
    if (random_.OneIn(50)) length = kFileBytesMax;
    if (length == kFileBytesMax && offset == 0 && !punches) length = 0;  // really all pages
    Log("fallocate " + std::to_string(node.real.value) + " mode " + std::to_string(mode) + " at " +
        std::to_string(offset) + " bytes " + std::to_string(length));
    Plain(std::pair{[&](FileSystem& f, const OpContext& c) {
                      return f.Allocate(c, node.real, mode, offset, length).status();
                    },
                    [&](FileSystem& f, const OpContext& c) {
                      return f.Allocate(c, node.model, mode, offset, length).status();
                    }});
  }
  std::optional<uint64_t> SameSeek(const Known& node, uint64_t offset, int whence) {
    const auto real = OnReal(
        [&](FileSystem& f, const OpContext& c) { return f.Seek(c, node.real, offset, whence); });
    const auto model = model_->Seek(context_, node.model, offset, whence);
    if (!SameStatus(real.status(), model.status())) return std::nullopt;
    EXPECT_EQ(*real, *model) << "inode " << node.real.value << " whence " << whence << " from "
                             << offset;
    return *real;
  }
  void Seek() {
    const Known node = AnyFile();
    const uint64_t offset = AnyOffset();
    const int whence = random_.OneIn(2) ? SEEK_DATA : SEEK_HOLE;
    Log("lseek " + std::to_string(node.real.value) + " from " + std::to_string(offset));
    SameSeek(node, offset, whence);
  }
  void SameRead(const Known& node, uint64_t offset, size_t bytes) {
    std::string real_bytes(bytes, 'x');
    std::string model_bytes(bytes, 'x');
    const auto real = OnReal([&](FileSystem& f, const OpContext& c) {
      return f.Read(c, node.real, offset, io::AsMutableBytes(real_bytes));
    });
    const auto model = model_->Read(context_, node.model, offset, io::AsMutableBytes(model_bytes));
    if (!SameStatus(real.status(), model.status())) return;
    ASSERT_EQ(*real, *model);
    real_bytes.resize(*real);
    model_bytes.resize(*model);
    const auto [at, end] = std::mismatch(real_bytes.begin(), real_bytes.end(), model_bytes.begin());
    EXPECT_TRUE(at == real_bytes.end()) << "inode " << node.real.value << " differs at offset "
                                        << offset + static_cast<uint64_t>(at - real_bytes.begin());
  }
  void ReadData() {
    const Known node = AnyFile();
    const uint64_t offset = AnyOffset();
    Log("read " + std::to_string(node.real.value) + " at " + std::to_string(offset));
    SameRead(node, offset, random_.Uniform(random_.OneIn(2) ? 100'000 : 5000));
  }
  void ReadLink() {
    const Known node = AnyOfType(S_IFLNK);
    Log("readlink " + std::to_string(node.real.value));
    const auto real =
        OnReal([&](FileSystem& f, const OpContext& c) { return f.ReadLink(c, node.real); });
    const auto model = model_->ReadLink(context_, node.model);
    SameText(real, model);
  }
  void Xattr() {
    const Known node = Any();
    const std::string name = AnyXattrName();
    const std::string id = std::to_string(node.real.value) + " " + name;
    switch (random_.Uniform(4)) {
      case 0: {
        const bool acl = IsAclXattr(name) && !random_.OneIn(6);
        const std::string value = acl ? AnyAcl()
                                      : AnyData(random_.OneIn(20)  ? 70'000
                                                : random_.OneIn(3) ? 5000
                                                                   : 40);
        int flags = random_.OneIn(2) ? 0 : static_cast<int>(random_.Uniform(3));
        if (random_.OneIn(4)) flags |= kXattrKillSetgid;
        Log("setxattr " + id);
        return Plain(std::pair{[&](FileSystem& f, const OpContext& c) {
                                 return f.SetXattr(c, node.real, name, value, flags);
                               },
                               [&](FileSystem& f, const OpContext& c) {
                                 return f.SetXattr(c, node.model, name, value, flags);
                               }});
      }
      case 1:
        Log("removexattr " + id);
        return Plain(std::pair{
            [&](FileSystem& f, const OpContext& c) { return f.RemoveXattr(c, node.real, name); },
            [&](FileSystem& f, const OpContext& c) { return f.RemoveXattr(c, node.model, name); }});
      case 2: {
        Log("getxattr " + id);
        const auto real = OnReal(
            [&](FileSystem& f, const OpContext& c) { return f.GetXattr(c, node.real, name); });
        const auto model = model_->GetXattr(context_, node.model, name);
        SameText(real, model);
        return;
      }
      default: {
        Log("listxattr " + id);
        const auto real =
            OnReal([&](FileSystem& f, const OpContext& c) { return f.ListXattr(c, node.real); });
        const auto model = model_->ListXattr(context_, node.model);
        SameText(real, model);
      }
    }
  }

  // ---- Listing ----------------------------------------------------------------------------------

  struct Listed {
    std::string text;
    InodeNumber ino;
    bool has_attributes = false;
    uint64_t next_cookie = 0;
  };
  // Collects up to `limit` entries into `out`.
  static Status List(FileSystem& file_system, const OpContext& context, InodeNumber ino,
                     uint64_t cookie, bool plus, size_t limit, std::vector<Listed>* out) {
    return file_system.ReadDirectory(context, ino, cookie, plus, [&](const DirectoryEntry& entry) {
      if (out->size() >= limit) return false;
      Listed listed;
      listed.text = std::string(entry.name) + " type " + std::to_string(entry.type) + " cookie " +
                    std::to_string(entry.next_cookie);
      if (entry.attributes != nullptr) listed.text += " " + Describe(*entry.attributes);
      listed.ino = entry.ino;
      listed.has_attributes = entry.attributes != nullptr;
      listed.next_cookie = entry.next_cookie;
      out->push_back(std::move(listed));
      return true;
    });
  }
  void SameListing(const Known& node, uint64_t cookie, bool plus, size_t limit) {
    std::vector<Listed> real_entries;
    uint64_t at = cookie;
    Status real;
    for (;;) {  // without waiting a listing may end early
      const size_t before = real_entries.size();
      real = OnReal([&](FileSystem& f, const OpContext& c) {
        return List(f, c, node.real, at, plus, limit, &real_entries);
      });
      if (!real.ok() || real_entries.size() == before || real_entries.size() >= limit) break;
      at = real_entries.back().next_cookie;
    }
    std::vector<Listed> model_entries;
    const Status model = List(*model_, context_, node.model, cookie, plus, limit, &model_entries);
    if (!SameStatus(real, model)) return;
    ASSERT_EQ(real_entries.size(), model_entries.size());
    for (size_t i = 0; i < real_entries.size(); ++i) {
      EXPECT_EQ(real_entries[i].text, model_entries[i].text);
      if (real_entries[i].has_attributes) Learn(real_entries[i].ino, model_entries[i].ino);
    }
  }
  void ListOnce() {
    const Known node = AnyDirectory();
    const bool plus = random_.OneIn(2);
    Log("list " + std::to_string(node.real.value) + (plus ? " with attributes" : ""));
    SameListing(node, random_.Uniform(8), plus, 1 + random_.Uniform(40));
  }

  // ---- Comparing everything ---------------------------------------------------------------------

  void CheckAll() {
    Log("check all");
    CheckBelow(Known{kRootInode, kRootInode, 0}, 0);
    for (size_t i = 0; i < known_.size() && !Failed(); ++i) CheckNode(known_[i]);
    EXPECT_EQ(file_system_->LookupCountTotal(), model_->LookupCountTotal());
    const auto messages = file_system_->CheckTree(/*read_data=*/true);
    ASSERT_TRUE(messages.ok()) << messages.status().ToString();
    for (const std::string& message : *messages) ADD_FAILURE() << message;
    if (!memory_) {
      const Status status = engine_->db().VerifyInvariants(/*read_all=*/false);
      EXPECT_TRUE(status.ok()) << status.ToString();
    }
  }
  void CheckNode(const Known& node) {
    const auto real = file_system_->GetAttributes({}, node.real);
    const auto model = model_->GetAttributes({}, node.model);
    ASSERT_TRUE(SameStatus(real.status(), model.status()));
    SameAttributes(*real, *model);
    const auto real_names = file_system_->ListXattr({}, node.real);
    const auto model_names = model_->ListXattr({}, node.model);
    ASSERT_TRUE(real_names.ok()) << real_names.status().ToString();
    EXPECT_EQ(*real_names, *model_names);
    if (!S_ISREG(real->mode)) return;
    uint64_t offset = 0;
    for (int whence = SEEK_DATA; !Failed(); whence = whence == SEEK_DATA ? SEEK_HOLE : SEEK_DATA) {
      const std::optional<uint64_t> found = SameSeek(node, offset, whence);
      if (!found) break;
      offset = *found;
    }
    // Where AnyOffset() has writes begin, and everything around it.
    SameRead(node, 0, static_cast<size_t>(std::min<uint64_t>(real->size + 1, 3 << 19)));
    if (real->size > 3 << 19) {
      SameRead(node, (uint64_t{1} << 40) - kPageBytes, 10 * kPageBytes);
      SameRead(node, kFileBytesMax - kPageBytes, kPageBytes);
    }
  }
  void CheckBelow(const Known& directory, int depth) {
    CheckNode(directory);
    if (Failed()) return;
    std::vector<Listed> entries;
    OpContext context;
    ASSERT_TRUE(List(*file_system_, context, directory.real, 2, false, 1 << 20, &entries).ok());
    SameListing(directory, 0, false, 1 << 20);
    for (const Listed& entry : entries) {
      const std::string name = entry.text.substr(0, entry.text.find(" type "));
      const auto real = file_system_->Lookup(context, directory.real, name);
      const auto model = model_->Lookup(context, directory.model, name);
      ASSERT_TRUE(real.ok() && model.ok());
      const Known child{real->ino, model->ino, 0};
      if (S_ISDIR(real->mode)) {
        CheckBelow(child, depth + 1);
      } else {
        CheckNode(child);
      }
      file_system_->Forget(real->ino, 1);
      model_->Forget(model->ino, 1);
      if (Failed()) return;
    }
  }

  io::Random random_;
  const bool memory_;
  io::ManualClock clock_{int64_t{1'700'000'000} * 1'000'000'000};
  FileSystemOptions options_;
  std::unique_ptr<TestEngine> engine_;
  std::unique_ptr<FileSystem> file_system_;
  std::unique_ptr<ModelFs> model_;
  std::vector<Known> known_;
  std::deque<Known> forgotten_;            // lookup count 0
  std::map<uint64_t, uint64_t> model_of_;  // real number -> the model's
  OpContext context_;                      // of the last operation
  bool injected_ = false;
  uint64_t step_ = 0;
  std::map<int, uint64_t> answers_;  // errno -> how often
  std::deque<std::string> log_;
};

void RunSeeds(bool memory, uint64_t seed_count, uint64_t operation_count) {
  const uint64_t only = FromEnvironment("SEED", 0);
  const uint64_t fresh = static_cast<uint64_t>(std::time(nullptr));
  const uint64_t count = FromEnvironment("OPERATIONS", operation_count / testing::kSanitizerShare);
  for (uint64_t i = 0; i < (only != 0 ? 1 : seed_count); ++i) {
    const uint64_t seed = only != 0 ? only : i + 1 == seed_count ? fresh : i + 1;
    std::printf("SEED=%llu OPERATIONS=%llu\n", static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(count));
    FsWorkload(seed, memory).Run(count);
    if (::testing::Test::HasFailure()) return;
  }
}

// One thread works here, of which the thread sanitizer has little to say, forty times as slowly.
#ifdef __SANITIZE_THREAD__
constexpr uint64_t kSeedShare = 6;
#else
constexpr uint64_t kSeedShare = 1;
#endif

TEST(FsProperty, EqualsTheModelOnAMap) { RunSeeds(/*memory=*/true, 12 / kSeedShare, 6000); }

TEST(FsProperty, EqualsTheModelOnTheEngine) { RunSeeds(/*memory=*/false, 6 / kSeedShare, 5000); }

}  // namespace
}  // namespace terracefs::fs
