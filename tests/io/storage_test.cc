#include "io/storage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "io/aligned_buffer.h"
#include "io/base/random.h"
#include "io/posix_storage.h"
#include "io/unique_fd.h"
#include "io/uring_storage.h"
#include "tests/io/forbid_system_call.h"
#include "tests/support/sim_storage.h"
#include "tests/support/temp_dir.h"

namespace terracefs::io {
namespace {

enum class Backend { kUring, kUringWithoutWriteThrough, kPosix, kSimulated };

std::string BackendName(const ::testing::TestParamInfo<Backend>& info) {
  switch (info.param) {
    case Backend::kUring:
      return "Uring";
    case Backend::kUringWithoutWriteThrough:
      return "UringWithoutWriteThrough";
    case Backend::kPosix:
      return "Posix";
    case Backend::kSimulated:
      return "Simulated";
  }
  return "Unknown";
}

OpenOptions ForWriting(bool direct = false) {
  OpenOptions options;
  options.write = true;
  options.create = true;
  options.direct = direct;
  return options;
}

std::string RandomText(Random& random, size_t bytes) {
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>('a' + random.Uniform(26));
  return text;
}

IoRequest Transfer(IoRequest::Kind kind, uint64_t offset, std::byte* data, size_t bytes) {
  IoRequest request;
  request.kind = kind;
  request.offset = offset;
  request.data = data;
  request.bytes = bytes;
  return request;
}

// The contract of Storage and File, whatever is behind it.
class StorageTest : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (GetParam() == Backend::kSimulated) {
      storage_ = std::make_unique<terracefs::testing::SimStorage>();
      return;
    }
    Result<std::unique_ptr<Storage>> storage = OpenReal();
    if (!storage.ok() && storage.status().Is(StatusCode::kNotSupported)) {
      GTEST_SKIP() << "NO IO_URING HERE, NOT TESTED: " << storage.status().ToString();
    }
    ASSERT_TRUE(storage.ok()) << storage.status().ToString();
    storage_ = std::move(storage).value();
  }
  Result<std::unique_ptr<Storage>> OpenReal() {
    if (GetParam() == Backend::kPosix) return OpenPosixStorage(directory_.path());
    UringOptions options;
    options.write_through = GetParam() == Backend::kUring;
    return OpenUringStorage(directory_.path(), options);
  }

  std::unique_ptr<File> Open(std::string_view name, const OpenOptions& options) {
    Result<std::unique_ptr<File>> file = storage_->Open(name, options);
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    return file.ok() ? std::move(file).value() : nullptr;
  }
  void PutFile(std::string_view name, std::string_view contents) {
    const std::unique_ptr<File> file = Open(name, ForWriting());
    ASSERT_TRUE(file->Write(0, AsBytes(contents)).ok());
  }
  std::string Contents(std::string_view name) {
    const std::unique_ptr<File> file = Open(name, OpenOptions{});
    std::string contents(file->SizeBytes().value(), '\0');
    const Status status = file->ReadFull(0, AsMutableBytes(contents));
    EXPECT_TRUE(status.ok()) << status.ToString();
    return contents;
  }

  terracefs::testing::TempDir directory_;
  std::unique_ptr<Storage> storage_;
};

INSTANTIATE_TEST_SUITE_P(Backends, StorageTest,
                         ::testing::Values(Backend::kUring, Backend::kUringWithoutWriteThrough,
                                           Backend::kPosix, Backend::kSimulated),
                         BackendName);

// What only a kernel and a directory of its have.
class RealStorageTest : public StorageTest {};

INSTANTIATE_TEST_SUITE_P(Backends, RealStorageTest,
                         ::testing::Values(Backend::kUring, Backend::kUringWithoutWriteThrough,
                                           Backend::kPosix),
                         BackendName);

// ---- Names

TEST_P(StorageTest, MissingFilesAreNotFound) {
  EXPECT_TRUE(storage_->Open("missing", OpenOptions{}).status().Is(StatusCode::kNotFound));
  EXPECT_TRUE(storage_->Remove("missing").Is(StatusCode::kNotFound));
  EXPECT_TRUE(storage_->Rename("missing", "other").Is(StatusCode::kNotFound));
  EXPECT_FALSE(storage_->Exists("missing").value());
}

TEST_P(StorageTest, NamesThatCouldLeaveTheStoreAreRefused) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("/a"),
        std::string("a\0b", 3), std::string(256, 'n')}) {
    EXPECT_TRUE(storage_->Open(name, ForWriting()).status().Is(StatusCode::kInvalidArgument));
    EXPECT_TRUE(storage_->Exists(name).status().Is(StatusCode::kInvalidArgument));
    EXPECT_TRUE(storage_->Remove(name).Is(StatusCode::kInvalidArgument));
    EXPECT_TRUE(storage_->Rename(name, "x").Is(StatusCode::kInvalidArgument));
    EXPECT_TRUE(storage_->Rename("x", name).Is(StatusCode::kInvalidArgument));
    EXPECT_TRUE(storage_->Lock(name).status().Is(StatusCode::kInvalidArgument));
  }
}

TEST_P(StorageTest, CreateExclusiveAndTruncate) {
  PutFile("file", "old contents");
  OpenOptions exclusive = ForWriting();
  exclusive.exclusive = true;
  EXPECT_TRUE(storage_->Open("file", exclusive).status().Is(StatusCode::kBusy));
  EXPECT_NE(Open("new", exclusive), nullptr);
  exclusive.direct = true;
  EXPECT_NE(Open("direct", exclusive), nullptr);

  EXPECT_EQ(Open("file", ForWriting())->SizeBytes().value(), 12U);
  OpenOptions truncate = ForWriting();
  truncate.truncate = true;
  EXPECT_EQ(Open("file", truncate)->SizeBytes().value(), 0U);
}

TEST_P(StorageTest, ListIsSortedAndFollowsRenameAndRemove) {
  for (const char* name : {"b", "a", "c"}) PutFile(name, name);
  EXPECT_EQ(storage_->List().value(), (std::vector<std::string>{"a", "b", "c"}));
  ASSERT_TRUE(storage_->Rename("a", "d").ok());
  ASSERT_TRUE(storage_->Remove("b").ok());
  EXPECT_EQ(storage_->List().value(), (std::vector<std::string>{"c", "d"}));
  EXPECT_TRUE(storage_->Exists("d").value());
  EXPECT_EQ(Contents("d"), "a");
  ASSERT_TRUE(storage_->SyncDirectory().ok());
}

TEST_P(StorageTest, RenameReplacesAndOpenFilesSurvive) {
  PutFile("source", "new");
  PutFile("target", "old");
  const std::unique_ptr<File> old_file = Open("target", OpenOptions{});
  ASSERT_TRUE(storage_->Rename("source", "target").ok());
  EXPECT_EQ(Contents("target"), "new");
  std::string text(3, '\0');
  ASSERT_TRUE(old_file->ReadFull(0, AsMutableBytes(text)).ok());
  EXPECT_EQ(text, "old");
  ASSERT_TRUE(storage_->Remove("target").ok());
  ASSERT_TRUE(old_file->ReadFull(0, AsMutableBytes(text)).ok());
}

TEST_P(StorageTest, LockIsHeldOnceUntilDestroyed) {
  Result<std::unique_ptr<StorageLock>> lock = storage_->Lock("LOCK");
  ASSERT_TRUE(lock.ok()) << lock.status().ToString();
  EXPECT_TRUE(storage_->Lock("LOCK").status().Is(StatusCode::kBusy));
  lock.value().reset();
  EXPECT_TRUE(storage_->Lock("LOCK").ok());
}

TEST_P(StorageTest, ASharedLockKeepsOthersFromHoldingItAlone) {
  EXPECT_TRUE(storage_->LockShared("LOCK").status().Is(StatusCode::kNotFound));
  Result<std::unique_ptr<StorageLock>> alone = storage_->Lock("LOCK");
  ASSERT_TRUE(alone.ok());
  EXPECT_TRUE(storage_->LockShared("LOCK").status().Is(StatusCode::kBusy));
  alone.value().reset();
  Result<std::unique_ptr<StorageLock>> one = storage_->LockShared("LOCK");
  ASSERT_TRUE(one.ok()) << one.status().ToString();
  Result<std::unique_ptr<StorageLock>> other = storage_->LockShared("LOCK");
  ASSERT_TRUE(other.ok()) << other.status().ToString();
  one.value().reset();
  EXPECT_TRUE(storage_->Lock("LOCK").status().Is(StatusCode::kBusy));
  other.value().reset();
  EXPECT_TRUE(storage_->Lock("LOCK").ok());
}

// ---- Bytes

TEST_P(StorageTest, WrittenBytesAreReadBack) {
  const std::unique_ptr<File> file = Open("file", ForWriting());
  ASSERT_TRUE(file->Write(3, AsBytes("hello")).ok());
  EXPECT_EQ(file->SizeBytes().value(), 8U);
  EXPECT_EQ(Contents("file"), std::string("\0\0\0hello", 8));
  ASSERT_TRUE(file->Write(4, AsBytes("ipp")).ok());
  EXPECT_EQ(Contents("file"), std::string("\0\0\0hippo", 8));
  ASSERT_TRUE(file->Write(0, AsBytes("")).ok());
  ASSERT_TRUE(file->WriteDurable(0, AsBytes("")).ok());
}

TEST_P(StorageTest, ReadPastTheEndIsAnError) {
  PutFile("file", "0123456789");
  const std::unique_ptr<File> file = Open("file", OpenOptions{});
  std::string text(5, '\0');
  EXPECT_TRUE(file->ReadFull(5, AsMutableBytes(text)).ok());
  EXPECT_EQ(text, "56789");
  for (const uint64_t offset : {6U, 9U, 10U, 1000U}) {
    const Status status = file->ReadFull(offset, AsMutableBytes(text));
    EXPECT_TRUE(status.Is(StatusCode::kIoError)) << status.ToString();
    EXPECT_NE(status.message().find("short read"), std::string::npos) << status.ToString();
  }
}

TEST_P(StorageTest, DirectReadPastTheEndIsAnError) {
  PutFile("file", std::string(5000, 'x'));
  OpenOptions options;
  options.direct = true;
  const std::unique_ptr<File> file = Open("file", options);
  const AlignedBuffer buffer(8192);
  EXPECT_TRUE(file->ReadFull(0, buffer.span().first(4096)).ok());
  for (const uint64_t offset : {0U, 4096U, 8192U}) {
    const Status status = file->ReadFull(offset, buffer.span());
    EXPECT_NE(status.message().find("short read"), std::string::npos) << status.ToString();
  }
}

TEST_P(StorageTest, ReadOnlyFilesRefuseWrites) {
  PutFile("file", "text");
  const std::unique_ptr<File> file = Open("file", OpenOptions{});
  EXPECT_TRUE(file->Write(0, AsBytes("x")).Is(StatusCode::kIoError));
  EXPECT_TRUE(file->WriteDurable(0, AsBytes("x")).Is(StatusCode::kIoError));
  EXPECT_EQ(Contents("file"), "text");
}

TEST_P(StorageTest, TruncateAndAllocateSetTheSize) {
  const std::unique_ptr<File> file = Open("file", ForWriting());
  ASSERT_TRUE(file->Allocate(10'000).ok());
  EXPECT_EQ(file->SizeBytes().value(), 10'000U);
  ASSERT_TRUE(file->Write(0, AsBytes("abcdef")).ok());
  ASSERT_TRUE(file->Allocate(100).ok());
  EXPECT_EQ(file->SizeBytes().value(), 10'000U);
  ASSERT_TRUE(file->Truncate(3).ok());
  EXPECT_EQ(Contents("file"), "abc");
  ASSERT_TRUE(file->Truncate(5).ok());
  EXPECT_EQ(Contents("file"), std::string("abc\0\0", 5));
  ASSERT_TRUE(file->Allocate(0).ok());
}

TEST_P(StorageTest, WhereNothingCanBeReservedFilesAreOnlyExtended) {
  const std::unique_ptr<File> file = Open("file", ForWriting());
  for (const int error : {EOPNOTSUPP, ENOSYS}) {
    bool forbidden = false;
    Status longer;
    Status shorter;
    const uint64_t bytes = error == EOPNOTSUPP ? 10'000 : 20'000;
    std::thread([&] {
      forbidden = ForbidFallocate(error);
      longer = file->Allocate(bytes);
      shorter = file->Allocate(100);
    }).join();
    if (!forbidden) GTEST_SKIP() << "no seccomp here, not tested";
    EXPECT_TRUE(longer.ok()) << longer.ToString();
    EXPECT_TRUE(shorter.ok()) << shorter.ToString();
    EXPECT_EQ(file->SizeBytes().value(), bytes);
    ASSERT_TRUE(file->Write(0, AsBytes("abc")).ok());
    EXPECT_EQ(Contents("file").substr(0, 4), std::string("abc\0", 4));
  }
}

TEST_P(StorageTest, DurableWritesAndSyncsAreCounted) {
  const std::unique_ptr<File> file = Open("file", ForWriting());
  ASSERT_TRUE(file->Write(0, AsBytes("12345")).ok());
  EXPECT_EQ(storage_->stats().fsyncs, 0U);
  ASSERT_TRUE(file->WriteDurable(5, AsBytes("678")).ok());
  EXPECT_EQ(storage_->stats().fsyncs, 1U);
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(storage_->stats().fsyncs, 2U);
  ASSERT_TRUE(storage_->SyncDirectory().ok());
  EXPECT_EQ(storage_->stats().fsyncs, 2U);
  EXPECT_EQ(storage_->stats().bytes_written, 8U);
  EXPECT_EQ(storage_->stats().submitted, 3U);
  EXPECT_EQ(storage_->stats().completed, 3U);
  EXPECT_EQ(Contents("file"), "12345678");
  EXPECT_EQ(storage_->stats().bytes_read, 8U);
}

TEST_P(StorageTest, DirectFilesTakeAlignedRequests) {
  const std::unique_ptr<File> file = Open("file", ForWriting(/*direct=*/true));
  EXPECT_TRUE(file->direct());
  Random random(3);
  const AlignedBuffer out(1 << 20);
  const std::string text = RandomText(random, out.capacity());
  std::copy(text.begin(), text.end(), reinterpret_cast<char*>(out.data()));
  ASSERT_TRUE(file->Write(4096, out.span()).ok());
  ASSERT_TRUE(file->WriteDurable(4096 + out.capacity(), out.span().first(8192)).ok());
  const AlignedBuffer in(1 << 20);
  ASSERT_TRUE(file->ReadFull(4096, in.span()).ok());
  EXPECT_EQ(AsView(in.span()), text);
  ASSERT_TRUE(file->ReadFull(4096 + out.capacity(), in.span().first(8192)).ok());
  EXPECT_EQ(AsView(in.span().first(8192)), text.substr(0, 8192));
}

TEST_P(StorageTest, ABatchMixesKindsAndEachRequestHasItsOwnOutcome) {
  PutFile("file", std::string(100, 'f'));
  const std::unique_ptr<File> file = Open("file", ForWriting());
  std::string good(50, '\0');
  std::string bad(50, '\0');
  std::string text = "written";
  IoRequest read_good = Transfer(IoRequest::Kind::kRead, 0, AsMutableBytes(good).data(), 50);
  IoRequest read_bad = Transfer(IoRequest::Kind::kRead, 5000, AsMutableBytes(bad).data(), 50);
  IoRequest write =
      Transfer(IoRequest::Kind::kWrite, 200, AsMutableBytes(text).data(), text.size());
  IoRequest sync;
  sync.kind = IoRequest::Kind::kSync;
  IoRequest* const requests[] = {&read_good, &read_bad, &write, &sync};
  file->Start(requests);
  // In another order than they were started in.
  EXPECT_TRUE(file->Wait(sync).ok());
  EXPECT_TRUE(file->Wait(write).ok());
  EXPECT_FALSE(file->Wait(read_bad).ok());
  EXPECT_TRUE(file->Wait(read_good).ok());
  EXPECT_EQ(good, std::string(50, 'f'));
  EXPECT_TRUE(read_good.done && read_bad.done && write.done && sync.done);
  EXPECT_TRUE(file->Wait(write).ok());  // asking again is harmless
  EXPECT_EQ(Contents("file").substr(200), "written");
}

TEST_P(StorageTest, AnEmptyBatchIsNothing) {
  const std::unique_ptr<File> file = Open("file", ForWriting());
  file->Start({});
  EXPECT_EQ(storage_->stats().submitted, 0U);
}

TEST_P(StorageTest, ARequestCanBeUsedAgain) {
  const std::unique_ptr<File> file = Open("file", ForWriting());
  std::string text = "abc";
  IoRequest request = Transfer(IoRequest::Kind::kRead, 0, AsMutableBytes(text).data(), 3);
  IoRequest* const requests[] = {&request};
  file->Start(requests);
  EXPECT_FALSE(file->Wait(request).ok());
  request.kind = IoRequest::Kind::kWrite;
  file->Start(requests);
  EXPECT_TRUE(file->Wait(request).ok());
  request.offset = 3;
  file->Start(requests);
  EXPECT_TRUE(file->Wait(request).ok());
  EXPECT_EQ(Contents("file"), "abcabc");
}

TEST_P(StorageTest, SeveralStartsMayBeInFlightOnSeveralFiles) {
  const std::unique_ptr<File> first = Open("first", ForWriting());
  const std::unique_ptr<File> second = Open("second", ForWriting());
  std::string text = "0123456789";
  std::vector<IoRequest> requests(20);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i] = Transfer(IoRequest::Kind::kWrite, i / 2, AsMutableBytes(text).data() + i / 2, 1);
    IoRequest* const list[] = {&requests[i]};
    (i % 2 == 0 ? first : second)->Start(list);
  }
  for (size_t i = requests.size(); i-- > 0;) {
    EXPECT_TRUE((i % 2 == 0 ? first : second)->Wait(requests[i]).ok());
  }
  EXPECT_EQ(Contents("first"), text);
  EXPECT_EQ(Contents("second"), text);
}

TEST_P(StorageTest, MoreRequestsThanAnyRingHolds) {
  constexpr size_t kCount = 2000;
  const std::unique_ptr<File> file = Open("file", ForWriting());
  Random random(4);
  const std::string text = RandomText(random, kCount * 10);
  std::string source = text;
  std::vector<IoRequest> requests(kCount);
  std::vector<IoRequest*> list;
  for (size_t i = 0; i < kCount; ++i) {
    requests[i] =
        Transfer(IoRequest::Kind::kWrite, i * 10, AsMutableBytes(source).data() + i * 10, 10);
    list.push_back(&requests[i]);
  }
  file->Start(list);
  for (IoRequest& request : requests) ASSERT_TRUE(file->Wait(request).ok());

  std::string read(text.size(), '\0');
  for (size_t i = 0; i < kCount; ++i) {
    requests[i] =
        Transfer(IoRequest::Kind::kRead, i * 10, AsMutableBytes(read).data() + i * 10, 10);
  }
  file->Start(list);
  for (IoRequest& request : requests) ASSERT_TRUE(file->Wait(request).ok());
  EXPECT_EQ(read, text);
}

// ---- Links

// Every write goes to the same place, so the last one wins only if they run in order.
TEST_P(StorageTest, LinkedRequestsRunInOrderEvenInChainsLongerThanARing) {
  for (const size_t count : {2U, 3U, 255U, 256U, 257U, 900U}) {
    const std::unique_ptr<File> file = Open("file", ForWriting());
    std::vector<std::string> texts(count);
    std::vector<IoRequest> requests(count);
    std::vector<IoRequest*> list;
    for (size_t i = 0; i < count; ++i) {
      texts[i] = std::to_string(100'000 + i);
      requests[i] = Transfer(IoRequest::Kind::kWrite, 0, AsMutableBytes(texts[i]).data(), 6);
      requests[i].link_next = true;  // ignored for the last: nothing follows
      list.push_back(&requests[i]);
    }
    file->Start(list);
    EXPECT_TRUE(file->Wait(requests.back()).ok());
    for (IoRequest& request : requests) EXPECT_TRUE(file->Wait(request).ok());
    EXPECT_EQ(Contents("file"), texts.back());
  }
}

TEST_P(StorageTest, AWriteLinkedWithASyncIsOneChainAmongOthers) {
  const std::unique_ptr<File> file = Open("file", ForWriting());
  std::string text = "ab";
  IoRequest first = Transfer(IoRequest::Kind::kWrite, 0, AsMutableBytes(text).data(), 1);
  first.durable = true;
  first.link_next = true;
  IoRequest sync;
  sync.kind = IoRequest::Kind::kSync;
  IoRequest other = Transfer(IoRequest::Kind::kWrite, 1, AsMutableBytes(text).data() + 1, 1);
  IoRequest* const list[] = {&first, &sync, &other};
  file->Start(list);
  EXPECT_TRUE(file->Wait(sync).ok());
  EXPECT_TRUE(file->Wait(other).ok());
  EXPECT_TRUE(file->Wait(first).ok());
  EXPECT_EQ(Contents("file"), "ab");
  EXPECT_EQ(storage_->stats().fsyncs, 2U);
}

TEST_P(StorageTest, AFailedRequestFailsWhatFollowsWithItsErrorAndNothingElse) {
  for (const size_t count : {2U, 5U, 600U}) {
    PutFile("file", "0123456789");
    const std::unique_ptr<File> file = Open("file", ForWriting());
    const size_t failing = count / 2;
    std::string text(20, 'w');
    std::vector<IoRequest> requests(count + 1);
    std::vector<IoRequest*> list;
    for (size_t i = 0; i <= count; ++i) {
      requests[i] = Transfer(IoRequest::Kind::kWrite, 100 + i, AsMutableBytes(text).data(), 1);
      requests[i].link_next = i + 1 < count;
      list.push_back(&requests[i]);
    }
    // A short read in the middle; the last request is not part of the chain.
    requests[failing] =
        Transfer(IoRequest::Kind::kRead, 1'000'000, AsMutableBytes(text).data() + 10, 5);
    requests[failing].link_next = failing + 1 < count;
    file->Start(list);
    for (size_t i = 0; i <= count; ++i) {
      const Status status = file->Wait(requests[i]);
      if (i < failing || i == count) {
        EXPECT_TRUE(status.ok()) << i << " " << status.ToString();
      } else {
        EXPECT_NE(status.message().find("short read"), std::string::npos) << i;
      }
    }
    std::string byte(1, '\0');
    // What came after the failure was not written.
    if (failing + 1 < count) {
      const std::string contents = Contents("file");
      EXPECT_EQ(contents[100 + failing], '\0');
      EXPECT_EQ(contents[100 + count - 1], '\0');
      EXPECT_EQ(contents[100 + count], 'w');
    }
    ASSERT_TRUE(storage_->Remove("file").ok());
  }
}

// Requests may go away as soon as each was waited for, while others of their chain are in flight.
TEST_P(StorageTest, EachRequestMayBeFreedAfterItsOwnWait) {
  const std::unique_ptr<File> file = Open("file", ForWriting());
  std::string text = "x";
  for (int round = 0; round < 50; ++round) {
    std::vector<std::unique_ptr<IoRequest>> requests;
    std::vector<IoRequest*> list;
    for (int i = 0; i < 8; ++i) {
      requests.push_back(std::make_unique<IoRequest>(
          Transfer(i == 3 ? IoRequest::Kind::kRead : IoRequest::Kind::kWrite, i == 3 ? 1 << 20 : 0,
                   AsMutableBytes(text).data(), 1)));
      requests.back()->durable = i == 1;
      requests.back()->link_next = i < 6;
      list.push_back(requests.back().get());
    }
    file->Start(list);
    for (auto& request : requests) {
      file->Wait(*request).IgnoreError("only lifetime is tested");
      request.reset();
    }
  }
}

// ---- Threads

TEST_P(StorageTest, ThreadsShareAFile) {
  constexpr size_t kThreadCount = 6;
  constexpr size_t kRounds = 60;
  constexpr size_t kBytes = 4096;
  const std::unique_ptr<File> file = Open("file", ForWriting(/*direct=*/true));
  ASSERT_TRUE(file->Allocate(kThreadCount * kRounds * kBytes).ok());
  std::vector<std::thread> threads;
  std::vector<size_t> failures(kThreadCount, 0);
  for (size_t t = 0; t < kThreadCount; ++t) {
    threads.emplace_back([&, t] {
      const AlignedBuffer out(kBytes);
      const AlignedBuffer in(kBytes);
      for (size_t round = 0; round < kRounds; ++round) {
        const uint64_t offset = (round * kThreadCount + t) * kBytes;
        std::fill_n(out.data(), kBytes, static_cast<std::byte>(t * 31 + round));
        const bool written = (round % 8 == 0 ? file->WriteDurable(offset, out.span())
                                             : file->Write(offset, out.span()))
                                 .ok();
        const bool read = file->ReadFull(offset, in.span()).ok();
        if (!written || !read || AsView(in.span()) != AsView(out.span())) ++failures[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, std::vector<size_t>(kThreadCount, 0));
}

using StorageDeathTest = StorageTest;
INSTANTIATE_TEST_SUITE_P(Backends, StorageDeathTest,
                         ::testing::Values(Backend::kUring, Backend::kPosix, Backend::kSimulated),
                         BackendName);

TEST_P(StorageDeathTest, WaitingInAnotherThreadIsABug) {
  const std::unique_ptr<File> file = Open("file", ForWriting());
  EXPECT_DEATH(
      {
        std::string text = "x";
        IoRequest request = Transfer(IoRequest::Kind::kWrite, 0, AsMutableBytes(text).data(), 1);
        IoRequest* const list[] = {&request};
        file->Start(list);
        std::thread([&] { (void)file->Wait(request); }).join();
      },
      "check failed");
}

TEST_P(StorageDeathTest, UnalignedDirectRequestsAreABug) {
  const std::unique_ptr<File> file = Open("file", ForWriting(/*direct=*/true));
  const AlignedBuffer buffer(8192);
  EXPECT_DEATH((void)file->Write(512, buffer.span()), "check failed");
  EXPECT_DEATH((void)file->Write(0, buffer.span().first(100)), "check failed");
  EXPECT_DEATH((void)file->Write(0, buffer.span().subspan(1, 4096)), "check failed");
}

// ---- Only where a kernel is behind it

// How many pages of the file wait to be written to the device: cachestat, since Linux 6.5 and
// younger than this machine's headers. -1 if the kernel does not tell.
int64_t DirtyPageCount(const std::string& path) {
  constexpr long kCachestatCall = 451;
  struct {
    uint64_t offset = 0;
    uint64_t bytes = 0;  // to the end
  } range;
  struct {
    uint64_t cached = 0, dirty = 0, in_writeback = 0, evicted = 0, recently_evicted = 0;
  } pages;
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (syscall(kCachestatCall, fd.get(), &range, &pages, 0) != 0) return -1;
  return static_cast<int64_t>(pages.dirty + pages.in_writeback);
}

// That "durable" reaches the kernel at all shows in no result, only in what the cache still owes.
TEST_P(RealStorageTest, DurableWritesAndSyncsLeaveNothingDirtyInTheCache) {
  const std::string path = directory_.path() + "/file";
  const std::unique_ptr<File> file = Open("file", ForWriting());
  const std::string text(10'000, 'x');
  ASSERT_TRUE(file->Write(0, AsBytes(text)).ok());
  if (DirtyPageCount(path) <= 0) GTEST_SKIP() << "no cachestat, or nothing to sync to: not tested";
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(DirtyPageCount(path), 0);
  ASSERT_TRUE(file->WriteDurable(0, AsBytes(text)).ok());
  EXPECT_EQ(DirtyPageCount(path), 0);
}

TEST_P(RealStorageTest, FilesAreForTheirOwnerOnly) {
  PutFile("file", "secret");
  struct stat attributes {};
  ASSERT_EQ(stat((directory_.path() + "/file").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 0077U, 0U);
}

TEST_P(RealStorageTest, TheStoreMayBeRenamedAndTheWorkingDirectoryChanged) {
  const std::string moved = directory_.path() + "/moved";
  const std::string original = directory_.path() + "/original";
  ASSERT_EQ(mkdir(original.c_str(), 0700), 0);
  Result<std::unique_ptr<Storage>> storage = OpenPosixStorage(original);
  if (GetParam() != Backend::kPosix) storage = OpenUringStorage(original);
  ASSERT_TRUE(storage.ok());
  ASSERT_EQ(rename(original.c_str(), moved.c_str()), 0);
  Result<std::unique_ptr<File>> file = storage.value()->Open("file", ForWriting());
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_TRUE(file.value()->WriteDurable(0, AsBytes("text")).ok());
  EXPECT_TRUE(storage.value()->SyncDirectory().ok());
  EXPECT_EQ(access((moved + "/file").c_str(), F_OK), 0);
}

TEST_P(RealStorageTest, ListShowsPlainFilesOnly) {
  ASSERT_EQ(mkdir((directory_.path() + "/lost+found").c_str(), 0700), 0);
  PutFile("file", "x");
  EXPECT_EQ(storage_->List().value(), std::vector<std::string>{"file"});
}

// The limit on file sizes makes the kernel write a part of a request, then refuse the rest.
TEST_P(RealStorageTest, AWriteThatIsCutShortFailsItsChainWithTheRealReason) {
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  rlimit limit = old_limit;
  limit.rlim_cur = 10'000;
  const std::unique_ptr<File> file = Open("file", ForWriting());
  std::string text(8192, 'x');
  std::vector<IoRequest> requests(4);
  std::vector<IoRequest*> list;
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i] = Transfer(IoRequest::Kind::kWrite, i * text.size(), AsMutableBytes(text).data(),
                           i == 3 ? 1 : text.size());
    requests[i].durable = i == 1;
    requests[i].link_next = true;
    list.push_back(&requests[i]);
  }
  requests[3].offset = 0;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  file->Start(list);
  std::vector<Status> statuses;
  for (IoRequest& request : requests) statuses.push_back(file->Wait(request));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  std::signal(SIGXFSZ, old_handler);

  EXPECT_TRUE(statuses[0].ok()) << statuses[0].ToString();
  for (size_t i = 1; i < statuses.size(); ++i) {
    EXPECT_EQ(statuses[i].os_errno(), EFBIG) << i << " " << statuses[i].ToString();
  }
  EXPECT_EQ(file->SizeBytes().value(), 10'000U);
}

}  // namespace
}  // namespace terracefs::io
