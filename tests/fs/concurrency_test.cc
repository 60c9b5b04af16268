// Many threads on few names: nothing deadlocks, nothing is lost, the tree stays sound. Most useful
// under ThreadSanitizer.
#include <linux/fs.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "io/base/random.h"
#include "tests/support/fs_test.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;
using io::StatusCode;
using testing::FsTest;

class ConcurrencyTest : public FsTest {
 protected:
  // One thread: random operations on the directories, with lookups it forgets again.
  void Work(uint64_t seed, int operation_count, const std::vector<InodeNumber>& directories) {
    io::Random random(seed);
    for (int i = 0; i < operation_count; ++i) {
      const InodeNumber a = directories[random.Uniform(directories.size())];
      const InodeNumber b = directories[random.Uniform(directories.size())];
      const std::string name(1, static_cast<char>('a' + random.Uniform(4)));
      const std::string other(1, static_cast<char>('a' + random.Uniform(4)));
      OpContext context = context_;
      context.may_wait = random.OneIn(2);
      Status status = Once(random, context, a, b, name, other);
      if (status.Is(StatusCode::kWouldBlock)) {
        ASSERT_FALSE(context.may_wait);
        continue;
      }
      ASSERT_TRUE(status.ok() || status.Is(StatusCode::kPosix)) << status.ToString();
    }
  }
  Status Take(const Result<Attributes>& made) {
    if (!made.ok()) return made.status();
    fs().Forget(made->ino, 1);
    return Status::Ok();
  }
  Status Once(io::Random& random, const OpContext& context, InodeNumber a, InodeNumber b,
              const std::string& name, const std::string& other) {
    switch (random.Uniform(12)) {
      case 0:
      case 1:
        return Take(fs().MakeNode(context, a, name, S_IFREG | 0644, 0));
      case 2:
        return Take(fs().MakeDirectory(context, a, name, 0755));
      case 3:
        return fs().Unlink(context, a, name);
      case 4:
        return fs().RemoveDirectory(context, a, name);
      case 5:
      case 6:
        return fs().Rename(context, a, name, b, other, random.OneIn(3) ? RENAME_EXCHANGE : 0U);
      case 7:
        return fs().ReadDirectory(context, a, 0, random.OneIn(2), [&](const DirectoryEntry& entry) {
          if (entry.attributes != nullptr) late_.fetch_add(1);
          return entry.attributes == nullptr;
        });
      case 8:
        return fs().CheckTree(/*read_data=*/true).status();
      default:
        return UseFile(random, context, a, b, name, other);
    }
  }
  Status UseFile(io::Random& random, const OpContext& context, InodeNumber a, InodeNumber b,
                 const std::string& name, const std::string& other) {
    const Result<Attributes> found = fs().Lookup(context, a, name);
    if (!found.ok()) return found.status();
    Status status;
    std::string bytes(5000, 'x');
    AttributeChange change;
    change.size = random.Uniform(20'000);
    switch (random.Uniform(4)) {
      case 0:
        status = fs().Write(context, found->ino, random.Uniform(10'000), io::AsBytes(bytes), false)
                     .status();
        break;
      case 1:
        status = fs().Read(context, found->ino, random.Uniform(10'000), io::AsMutableBytes(bytes))
                     .status();
        break;
      case 2:
        status = fs().SetAttributes(context, found->ino, change).status();
        break;
      default:
        if (const auto linked = fs().Link(context, found->ino, b, other); linked.ok()) {
          fs().Forget(found->ino, 1);
        }
    }
    fs().Forget(found->ino, 1);
    return status;
  }
  void RunThreads(int operation_count, const std::vector<InodeNumber>& directories) {
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] { Work(t + 1, operation_count, directories); });
    }
    for (std::thread& thread : threads) thread.join();
  }

  std::atomic<uint64_t> late_{0};
};

TEST_P(ConcurrencyTest, ManyThreadsKeepTheTreeSound) {
  std::vector<InodeNumber> directories{kRootInode};
  for (int i = 0; i < 3; ++i) {
    directories.push_back(MakeDir(directories.back(), "d" + std::to_string(i)).ino);
  }
  if (memory()) engine_->memory()->SetWouldBlockOneIn(20, 1);
  RunThreads(memory() ? 3000 : 1500, directories);
  if (memory()) engine_->memory()->SetWouldBlockOneIn(0, 1);
  EXPECT_EQ(Check(), "");
  // Each directory entry that was visited with attributes and refused raised nothing.
  EXPECT_EQ(fs().LookupCountTotal(), 3U);
  Remount();
  EXPECT_EQ(Check(), "");
}

TEST_P(ConcurrencyTest, CreatesInOneDirectoryAreAllThere) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 600; ++i) {
        const std::string name = std::to_string(t) + "." + std::to_string(i);
        const auto made = fs().MakeNode(context_, kRootInode, name, S_IFREG | 0644, 0);
        ASSERT_TRUE(made.ok());
        fs().Forget(made->ino, 1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(List(kRootInode).size(), 2400U);
  EXPECT_EQ(fs().LookupCountTotal(), 0U);
}
INSTANTIATE_FS_TEST(ConcurrencyTest);

}  // namespace
}  // namespace terracefs::fs
