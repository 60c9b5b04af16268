#include "lsm/values/value_log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "tests/lsm/values/value_fixture.h"

namespace terracefs::lsm::values_test {
namespace {

using io::StatusCode;
using testing::CrashMode;
using testing::FaultEffect;
using testing::FaultOperation;
using testing::FaultRule;

constexpr size_t kBufferPages = ValueLog::kBufferBytes / kValuePageBytes;

FaultRule Fail(FaultOperation operation, uint64_t pass_count = 0) {
  FaultRule rule;
  rule.operation = operation;
  rule.pass_count = pass_count;
  return rule;
}

std::vector<ValueReference> Join(std::vector<ValueReference> a,
                                 const std::vector<ValueReference>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Pages Join(Pages a, const Pages& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(ValueLogTest, PagesLieOneBehindTheOther) {
  WatchedStorage storage;
  LogStore store(storage);
  const Pages pages = NoisePages(5);
  const auto references = store.Append(pages);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(references[i].file, 1U);
    EXPECT_EQ(references[i].page, i);
    EXPECT_EQ(references[i].codec, ValueCodec::kPlain);
  }
  ASSERT_EQ(store.holders.size(), 1U);
  EXPECT_EQ(store.holders[0]->number(), 1U);
  EXPECT_EQ(store.holders[0]->bytes(), 5 * kValuePageBytes);
  EXPECT_EQ(store.Append(NoisePages(1))[0].page, 5U);
  ASSERT_TRUE(store.log->Sync().ok());
  EXPECT_EQ(store.Append(NoisePages(1))[0].page, 6U) << "right behind what was synced";
  EXPECT_TRUE(store.TryAppend({}).ok());
}

TEST(ValueLogTest, ReadableAtOnceAndAfterBeingWritten) {
  WatchedStorage storage;
  LogStore store(storage);
  storage.CloseGate();
  const Pages pages = NoisePages(3 * kBufferPages + 7);
  const auto references = store.Append(pages);
  ValueFiles::ReadSettings memory_only;
  memory_only.cache_only = true;
  ExpectReadable(store.files, references, pages, memory_only);
  EXPECT_TRUE(storage.TakeReads().empty());
  storage.OpenGate();
  ASSERT_TRUE(store.log->Sync().ok());
  const ReadResult read(store.files, references, memory_only);
  EXPECT_TRUE(read.status.Is(StatusCode::kWouldBlock));
  for (const auto& item : read.items) EXPECT_TRUE(item.status.Is(StatusCode::kWouldBlock));
  ExpectReadable(store.files, references, pages);
  EXPECT_EQ(store.log->bytes_written(), pages.size() * kValuePageBytes);
}

TEST(ValueLogTest, EveryBufferIsOneWrite) {
  WatchedStorage storage;
  LogStore store(storage);
  for (const size_t count : {kBufferPages - 1, size_t{2}, kBufferPages, size_t{1}}) {
    store.Append(NoisePages(count));
  }
  ASSERT_TRUE(store.log->Sync().ok());
  std::set<std::pair<uint64_t, uint64_t>> writes;
  for (const auto& write : storage.TakeWrites()) writes.emplace(write.offset, write.bytes);
  EXPECT_EQ(writes, (std::set<std::pair<uint64_t, uint64_t>>{
                        {0, 1 << 20}, {1 << 20, 1 << 20}, {2 << 20, 2 * kValuePageBytes}}));
  EXPECT_EQ(SizeOf(storage.sim, 1), ValueLog::kAllocationBytes);
}

// A record that does not fit begins the next buffer, at the next page.
TEST(ValueLogTest, RecordsDoNotStraddleBuffers) {
  WatchedStorage storage;
  LogStore store(storage);
  Pages pages = NoisePages(kBufferPages - 1);
  auto references = store.Append(pages);
  Pages half_noise;
  for (size_t i = 0; i < 16; ++i) {
    half_noise.push_back(TextPage(i));
    half_noise.back().replace(0, 2000, NoisePage(i).substr(0, 2000));
  }
  const auto record = store.Append(half_noise, 1);
  EXPECT_EQ(record[0].codec, ValueCodec::kZstd);
  EXPECT_GT(record[0].stored_pages(), 1U);
  EXPECT_EQ(record[0].page, kBufferPages - 1) << "no gap in the file";
  ExpectReadable(store.files, Join(references, record), Join(pages, half_noise));
  ASSERT_TRUE(store.log->Sync().ok());
  std::set<uint64_t> offsets;
  for (const auto& write : storage.TakeWrites()) offsets.insert(write.offset);
  EXPECT_EQ(offsets, (std::set<uint64_t>{0, (kBufferPages - 1) * kValuePageBytes}));
  ExpectReadable(store.files, Join(references, record), Join(pages, half_noise));
}

TEST(ValueLogTest, CompressesWhatShrinks) {
  WatchedStorage storage;
  LogStore store(storage);
  const Pages text = TextPages(35);
  const auto references = store.Append(text, 1);
  for (size_t i = 0; i < text.size(); ++i) {
    const ValueReference& reference = references[i];
    const size_t run = i / kRecordPagesMax;
    EXPECT_EQ(reference.codec, ValueCodec::kZstd);
    EXPECT_EQ(reference.index, i % kRecordPagesMax);
    EXPECT_EQ(reference.record_pages, run < 2 ? 16 : 3);
    EXPECT_EQ(reference.page, run == 0 ? 0 : references[run * 16 - 1].end_page());
    EXPECT_LT(reference.stored_pages(), reference.record_pages);
    std::string value;
    reference.AppendTo(&value);
    EXPECT_TRUE(ValueReference::Decode(value).ok());
  }
  EXPECT_EQ(store.holders[0]->bytes(), references.back().end_page() * kValuePageBytes);

  // Each of these stays as it is: noise, a run of one page, a run that begins with noise.
  Pages mixed = NoisePages(16);
  mixed.resize(32, TextPage(5));
  mixed[16] = NoisePage(77);
  mixed.push_back(TextPage(8));
  const auto plain = store.Append(mixed, 1);
  for (const ValueReference& reference : plain) EXPECT_EQ(reference.codec, ValueCodec::kPlain);
  // One page that shrinks is enough to save a page.
  Pages barely = NoisePages(16);
  barely[0] = TextPage(1);
  barely[1] = TextPage(2);
  const auto saved = store.Append(barely, 1);
  EXPECT_EQ(saved[0].codec, ValueCodec::kZstd);
  EXPECT_EQ(saved[0].stored_pages(), 15U);

  const auto all = Join(Join(references, plain), saved);
  const Pages all_pages = Join(Join(text, mixed), barely);
  ExpectReadable(store.files, all, all_pages);
  ASSERT_TRUE(store.log->Sync().ok());
  ExpectReadable(store.files, all, all_pages);
  ExpectDurable(storage.sim, all, all_pages);
}

TEST(ValueLogTest, FilesEndWhenTheyAreFull) {
  WatchedStorage storage;
  LogStore store(storage, 64 * io::kKiB);
  const Pages pages = NoisePages(40);
  const auto references = store.Append(pages);
  for (size_t i = 0; i < 40; ++i) {
    EXPECT_EQ(references[i].file, 1 + i / 16);
    EXPECT_EQ(references[i].page, i % 16);
  }
  EXPECT_EQ(store.holders.size(), 3U);
  ExpectReadable(store.files, references, pages);
  ASSERT_TRUE(store.log->Sync().ok());
  EXPECT_EQ(storage.TakeSyncCount(), 3);
  EXPECT_EQ(storage.TakeDirectorySyncCount(), 1);
  ExpectDurable(storage.sim, references, pages);
  EXPECT_EQ(SizeOf(storage.sim, 3), 64 * io::kKiB) << "preallocated no further than full";
  store.full_bytes = 0;
  EXPECT_EQ(store.Append(NoisePages(1))[0].file, 4U) << "asked each time";
}

TEST(ValueLogTest, PreallocatesInStepsAndCutsWhatIsLeft) {
  WatchedStorage storage;
  LogStore store(storage);
  store.Append(NoisePages(1));
  EXPECT_EQ(SizeOf(storage.sim, 1), ValueLog::kAllocationBytes);
  EXPECT_EQ(store.log->spare_bytes(), ValueLog::kAllocationBytes - kValuePageBytes);
  store.Append(NoisePages(ValueLog::kAllocationBytes / kValuePageBytes));
  EXPECT_EQ(SizeOf(storage.sim, 1), 2 * ValueLog::kAllocationBytes);
  EXPECT_EQ(store.log->spare_bytes(), ValueLog::kAllocationBytes - kValuePageBytes);
  ASSERT_TRUE(store.log->EndFile().ok());
  EXPECT_EQ(SizeOf(storage.sim, 1), ValueLog::kAllocationBytes + kValuePageBytes);
  EXPECT_EQ(store.log->spare_bytes(), 0U);
  EXPECT_TRUE(store.log->EndFile().ok()) << "nothing to end";
  EXPECT_EQ(store.Append(NoisePages(1))[0].file, 2U);
  store.CloseLog();
  EXPECT_EQ(SizeOf(storage.sim, 2), kValuePageBytes);
}

TEST(ValueLogTest, FilesAreHeldUntilTheyAreSynced) {
  WatchedStorage storage;
  LogStore store(storage);
  store.Append(NoisePages(1));
  store.holders.clear();
  ASSERT_TRUE(store.log->Sync().ok());
  EXPECT_NE(store.files.Find(1), nullptr) << "the active file";
  ASSERT_TRUE(store.log->EndFile().ok());
  EXPECT_NE(store.files.Find(1), nullptr) << "its end is not synced";
  storage.TakeSyncCount();
  ASSERT_TRUE(store.log->Sync().ok());
  EXPECT_EQ(storage.TakeSyncCount(), 1);
  EXPECT_EQ(store.files.Find(1), nullptr);
  EXPECT_EQ(TakeObsolete(store.files), (std::vector<FileNumber>{1}));
}

TEST(ValueLogTest, SyncCostsNothingWithoutAppends) {
  WatchedStorage storage;
  LogStore store(storage);
  ASSERT_TRUE(store.log->Sync().ok());
  EXPECT_EQ(storage.TakeSyncCount(), 0);
  store.Append(NoisePages(3));
  ASSERT_TRUE(store.log->Sync().ok());
  EXPECT_EQ(storage.TakeSyncCount(), 1);
  EXPECT_EQ(storage.TakeDirectorySyncCount(), 1);
  ASSERT_TRUE(store.log->Sync().ok());
  EXPECT_EQ(storage.TakeSyncCount(), 0);
  store.Append(NoisePages(3));
  ASSERT_TRUE(store.log->Sync().ok());
  EXPECT_EQ(storage.TakeSyncCount(), 1);
  EXPECT_EQ(storage.TakeDirectorySyncCount(), 0) << "the name is known";
}

// A writer syncs when too much is unsynced, without anybody asking.
TEST(ValueLogTest, UnsyncedBytesAreBounded) {
  WatchedStorage storage;
  LogStore store(storage, io::kGiB);
  const Pages pages = NoisePages(4 * kBufferPages);
  for (uint64_t bytes = 0; bytes < ValueLog::kUnsyncedBytesMax; bytes += 4 * io::kMiB) {
    store.Append(pages);
  }
  store.CloseLog();
  EXPECT_EQ(storage.TakeSyncCount(), 1);
}

TEST(ValueLogTest, SyncedValuesSurviveAnyCrash) {
  constexpr uint64_t kSeed = 7;
  SCOPED_TRACE(kSeed);
  io::Random random(kSeed);
  WatchedStorage storage;
  LogStore store(storage, 3 * io::kMiB);
  std::vector<ValueReference> references;
  Pages pages;
  for (int round = 0; round < 60; ++round) {
    const size_t count = 1 + random.Uniform(random.OneIn(4) ? 700 : 40);
    const Pages more = random.OneIn(2) ? NoisePages(count, random.Next() % 1000)
                                       : TextPages(count, random.Next() % 1000);
    references = Join(references, store.Append(more, random.OneIn(2) ? 1 : 0));
    pages = Join(pages, more);
    if (random.OneIn(10)) {
      ASSERT_TRUE(store.log->EndFile().ok());
    }
    if (!random.OneIn(3)) continue;
    ASSERT_TRUE(store.log->Sync().ok());
    // The last hundred: all of them each time would be most of the test's time.
    const size_t first = references.size() > 100 && round < 59 ? references.size() - 100 : 0;
    ExpectDurable(storage.sim,
                  {references.begin() + static_cast<ptrdiff_t>(first), references.end()},
                  {pages.begin() + static_cast<ptrdiff_t>(first), pages.end()});
    if (HasFatalFailure()) return;
  }
  ASSERT_TRUE(store.log->Sync().ok());
  ExpectDurable(storage.sim, references, pages);
  ExpectReadable(store.files, references, pages);
}

TEST(ValueLogTest, SyncWaitsForBuffersOfOthers) {
  WatchedStorage storage;
  LogStore store(storage);
  storage.CloseGate();
  const Pages pages = NoisePages(2 * kBufferPages);
  const auto references = store.Append(pages);
  storage.WaitForHeldWrites(2);
  std::atomic<bool> done{false};
  std::thread syncer([&] {
    EXPECT_TRUE(store.log->Sync().ok());
    done = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(done);
  EXPECT_EQ(storage.TakeSyncCount(), 0);
  storage.OpenGate();
  syncer.join();
  ExpectDurable(storage.sim, references, pages);
}

// What one Sync covers costs the others nothing: those that come while it runs share the next.
TEST(ValueLogTest, ConcurrentSyncsShareTheWork) {
  WatchedStorage storage;
  LogStore store(storage);
  storage.CloseGate();
  store.Append(NoisePages(1));
  std::thread first([&] { EXPECT_TRUE(store.log->Sync().ok()); });
  storage.WaitForHeldWrites(1);
  std::vector<std::thread> others;
  std::atomic<int> appended_count{0};
  for (int i = 0; i < 8; ++i) {
    others.emplace_back([&] {
      EXPECT_TRUE(store.TryAppend(NoisePages(1)).ok());
      ++appended_count;
      while (appended_count < 8) std::this_thread::yield();
      EXPECT_TRUE(store.log->Sync().ok());
    });
  }
  while (appended_count < 8) std::this_thread::yield();
  storage.OpenGate();
  first.join();
  for (std::thread& thread : others) thread.join();
  EXPECT_LE(storage.TakeSyncCount(), 2);
  EXPECT_LE(storage.TakeWrites().size(), 2U);
}

TEST(ValueLogTest, StallsWhenWritersDoNotKeepUp) {
  WatchedStorage storage;
  LogStore store(storage, io::kGiB);
  storage.CloseGate();
  const Pages buffer = NoisePages(kBufferPages);
  for (size_t i = 0; i < ValueLog::kWriterCount; ++i) store.Append(buffer);
  storage.WaitForHeldWrites(ValueLog::kWriterCount);
  EXPECT_FALSE(store.log->IsBehind());
  EXPECT_TRUE(store.log->WaitForBuffers().ok());
  for (size_t i = 0; i < ValueLog::kQueuedBuffersStall; ++i) store.Append(buffer);
  EXPECT_TRUE(store.log->IsBehind());
  for (size_t i = 0; i < ValueLog::kQueuedBuffersStall; ++i) store.Append(buffer);
  std::atomic<int> done{0};
  std::thread appender([&] {
    EXPECT_TRUE(store.TryAppend(NoisePages(1)).ok());
    ++done;
  });
  std::thread waiter([&] {
    EXPECT_TRUE(store.log->WaitForBuffers().ok());
    EXPECT_FALSE(store.log->IsBehind());
    ++done;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(done, 0);
  storage.OpenGate();
  appender.join();
  waiter.join();
  EXPECT_EQ(done, 2);
}

// Appenders, readers of what is still being written, and syncers at once.
TEST(ValueLogTest, ReadersMeetConcurrentAppends) {
  WatchedStorage storage;
  LogStore store(storage, 2 * io::kMiB);
  std::vector<std::thread> threads;
  io::Mutex mutex;
  std::vector<std::pair<ValueReference, uint64_t>> known;
  std::atomic<bool> stop{false};
  for (uint64_t writer = 0; writer < 3; ++writer) {
    threads.emplace_back([&, writer] {
      io::Random random(writer);
      for (uint64_t round = 0; round < 150; ++round) {
        Pages pages;
        std::vector<uint64_t> seeds;
        const size_t count = 1 + random.Uniform(60);
        for (size_t i = 0; i < count; ++i) {
          seeds.push_back((writer << 40) + (round << 20) + i);
          pages.push_back(writer == 0 ? TextPage(seeds.back()) : NoisePage(seeds.back()));
        }
        auto appended = store.log->Append(Views(pages), writer == 2 ? 0 : 1);
        ASSERT_TRUE(appended.ok());
        io::MutexLock lock(mutex);
        for (size_t i = 0; i < count; ++i) known.emplace_back(appended->references[i], seeds[i]);
        for (auto& holder : appended->holders) store.holders.push_back(std::move(holder));
      }
    });
  }
  std::vector<std::thread> others;
  for (uint64_t reader = 0; reader < 2; ++reader) {
    others.emplace_back([&, reader] {
      io::Random random(100 + reader);
      while (!stop) {
        std::vector<ValueReference> references;
        Pages expected;
        {
          io::MutexLock lock(mutex);
          if (known.empty()) continue;
          for (int i = 0; i < 20; ++i) {
            const uint64_t back = std::min<uint64_t>(random.Uniform(2000), known.size() - 1);
            const auto& [reference, seed] = known[known.size() - 1 - back];
            references.push_back(reference);
            expected.push_back(seed >> 40 == 0 ? TextPage(seed) : NoisePage(seed));
          }
        }
        ExpectReadable(store.files, references, expected);
        if (::testing::Test::HasFailure()) return;
      }
    });
  }
  others.emplace_back([&] {
    while (!stop) EXPECT_TRUE(store.log->Sync().ok());
  });
  others.emplace_back([&] {
    while (!stop) {
      EXPECT_TRUE(store.log->EndFile().ok());
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  for (std::thread& thread : others) thread.join();
  ASSERT_TRUE(store.log->Sync().ok());
  std::vector<ValueReference> references;
  Pages pages;
  std::set<std::tuple<FileNumber, uint64_t, uint8_t>> places;
  for (const auto& [reference, seed] : known) {
    references.push_back(reference);
    pages.push_back(seed >> 40 == 0 ? TextPage(seed) : NoisePage(seed));
    EXPECT_TRUE(places.emplace(reference.file, reference.page, reference.index).second);
  }
  ExpectDurable(storage.sim, references, pages);
}

TEST(ValueLogTest, FailedWriteIsSticky) {
  for (const uint64_t pass_count : {0U, 1U, 3U}) {
    WatchedStorage storage;
    LogStore store(storage);
    storage.faults().Add(Fail(FaultOperation::kWrite, pass_count));
    const Pages pages = NoisePages(4 * kBufferPages);
    const auto references = store.Append(pages);
    const io::Status status = store.log->Sync();
    EXPECT_TRUE(status.Is(StatusCode::kIoError));
    EXPECT_EQ(store.log->Sync().ToString(), status.ToString());
    EXPECT_EQ(store.TryAppend(NoisePages(1)).ToString(), status.ToString());
    EXPECT_EQ(store.log->WaitForBuffers().ToString(), status.ToString());
    EXPECT_EQ(store.log->EndFile().ToString(), status.ToString());
    ExpectReadable(store.files, references, pages);
    storage.faults().Clear();
    EXPECT_FALSE(store.log->Sync().ok());
  }
}

TEST(ValueLogTest, FailedSyncIsSticky) {
  for (const FaultOperation operation : {FaultOperation::kSync, FaultOperation::kSyncDirectory}) {
    WatchedStorage storage;
    LogStore store(storage);
    storage.faults().Add(Fail(operation));
    const Pages pages = NoisePages(3);
    const auto references = store.Append(pages);
    const io::Status status = store.log->Sync();
    EXPECT_TRUE(status.Is(StatusCode::kIoError));
    EXPECT_EQ(store.log->Sync().ToString(), status.ToString());
    EXPECT_EQ(store.TryAppend(NoisePages(1)).ToString(), status.ToString());
    ExpectReadable(store.files, references, pages);
  }
}

TEST(ValueLogTest, FailedBackgroundSyncIsSticky) {
  WatchedStorage storage;
  LogStore store(storage, io::kGiB);
  storage.faults().Add(Fail(FaultOperation::kSync));
  const Pages pages = NoisePages(4 * kBufferPages);
  io::Status status;
  while (status.ok()) status = store.TryAppend(pages);
  EXPECT_TRUE(status.Is(StatusCode::kIoError));
  EXPECT_EQ(store.log->Sync().ToString(), status.ToString());
}

TEST(ValueLogTest, FailedSyncOfAnEndedFileIsSticky) {
  WatchedStorage storage;
  LogStore store(storage, 64 * io::kKiB);
  FaultRule rule = Fail(FaultOperation::kSync);
  rule.name_part = BlobName(1);
  storage.faults().Add(rule);
  store.Append(NoisePages(17));
  EXPECT_FALSE(store.log->Sync().ok());
  EXPECT_FALSE(store.log->Sync().ok());
}

TEST(ValueLogTest, NoSpaceIsNotSticky) {
  WatchedStorage storage;
  LogStore store(storage);
  storage.sim.SetCapacityBytes(8 * io::kMiB);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(store.TryAppend(NoisePages(1)).Is(StatusCode::kNoSpace));
    EXPECT_TRUE(storage.List()->empty()) << "what could not be preallocated is removed";
  }
  EXPECT_EQ(store.log->spare_bytes(), 0U);
  EXPECT_TRUE(store.files.All().empty());
  EXPECT_TRUE(store.log->Sync().ok());
  storage.sim.SetCapacityBytes(20 * io::kMiB);
  const Pages pages = NoisePages(2000);
  const auto references = store.Append(pages);
  const uint64_t bytes = store.holders[0]->bytes();
  const uint64_t spare = store.log->spare_bytes();
  EXPECT_TRUE(store.TryAppend(NoisePages(1023 * 3)).Is(StatusCode::kNoSpace));
  EXPECT_GE(store.holders[0]->bytes(), bytes) << "chunks that fitted are garbage";
  EXPECT_LE(store.log->spare_bytes(), spare);
  const auto more = store.Append(Pages(1, NoisePage(4)));
  ASSERT_TRUE(store.log->Sync().ok());
  ExpectDurable(storage.sim, Join(references, more), Join(pages, Pages(1, NoisePage(4))));
  // Cutting the tail helps others; after that a new file is needed.
  ASSERT_TRUE(store.log->EndFile().ok());
  EXPECT_EQ(storage.sim.UsedBytes(), store.holders[0]->bytes());
  EXPECT_TRUE(store.TryAppend(NoisePages(1)).Is(StatusCode::kNoSpace));
  storage.sim.SetCapacityBytes(100 * io::kMiB);
  EXPECT_TRUE(store.TryAppend(NoisePages(1)).ok());
  EXPECT_TRUE(store.log->Sync().ok());
}

TEST(ValueLogTest, OtherErrorsOfMakingAFileAreNotStickyEither) {
  for (const FaultOperation operation : {FaultOperation::kCreate, FaultOperation::kAllocate}) {
    WatchedStorage storage;
    LogStore store(storage);
    storage.faults().Add(Fail(operation));
    EXPECT_TRUE(store.TryAppend(NoisePages(1)).Is(StatusCode::kIoError));
    EXPECT_TRUE(storage.List()->empty());
    const Pages pages = NoisePages(2);
    const auto references = store.Append(pages);
    EXPECT_TRUE(store.log->Sync().ok());
    ExpectDurable(storage.sim, references, pages);
  }
}

TEST(ValueLogTest, FailedCutIsToldButNotSticky) {
  WatchedStorage storage;
  LogStore store(storage);
  storage.faults().Add(Fail(FaultOperation::kTruncate));
  const Pages pages = NoisePages(2);
  const auto references = store.Append(pages);
  EXPECT_TRUE(store.log->EndFile().Is(StatusCode::kIoError));
  EXPECT_TRUE(store.log->Sync().ok());
  EXPECT_TRUE(store.TryAppend(NoisePages(1)).ok());
  EXPECT_TRUE(store.log->EndFile().ok());
  ExpectDurable(storage.sim, references, pages);
}

// Every operation of a run fails once. A Sync that says ok has told the truth.
TEST(ValueLogTest, AnyFailureLeavesSyncedValuesIntact) {
  for (uint64_t index = 0; index < 40; ++index) {
    for (const FaultEffect effect :
         {FaultEffect::kNothing, FaultEffect::kHalf, FaultEffect::kAll}) {
      WatchedStorage storage;
      LogStore store(storage, 32 * kValuePageBytes);
      FaultRule rule = Fail(FaultOperation::kAny, index);
      rule.effect = effect;
      storage.faults().Add(rule);
      std::vector<ValueReference> synced;
      Pages synced_pages;
      std::vector<ValueReference> appended;
      Pages appended_pages;
      for (uint64_t round = 0; round < 8; ++round) {
        const Pages pages = NoisePages(10, round);
        auto result = store.log->Append(Views(pages), 0);
        if (result.ok()) {
          for (auto& holder : result->holders) store.holders.push_back(holder);
          appended = Join(appended, result->references);
          appended_pages = Join(appended_pages, pages);
        }
        if (!store.log->Sync().ok()) continue;
        synced = appended;
        synced_pages = appended_pages;
      }
      storage.faults().Clear();
      ExpectDurable(storage.sim, synced, synced_pages);
      ExpectReadable(store.files, appended, appended_pages);
      if (HasFailure()) FAIL() << "operation " << index;
    }
  }
}

TEST(ValueLogTest, PowerCutAtAnyOperationKeepsWhatWasSynced) {
  for (uint64_t cut = 0; cut < 60; ++cut) {
    WatchedStorage storage;
    storage.sim.CrashAtIo(cut);
    std::vector<ValueReference> synced;
    Pages synced_pages;
    {
      LogStore store(storage, 32 * kValuePageBytes);
      std::vector<ValueReference> appended;
      Pages appended_pages;
      for (uint64_t round = 0; round < 8; ++round) {
        const Pages pages = TextPages(20, round);
        auto result = store.log->Append(Views(pages), static_cast<int>(round % 2));
        if (!result.ok()) break;
        appended = Join(appended, result->references);
        appended_pages = Join(appended_pages, pages);
        if (!store.log->Sync().ok()) break;
        synced = appended;
        synced_pages = appended_pages;
      }
    }
    ExpectDurable(storage.sim, synced, synced_pages);
    const auto clone = storage.sim.CrashClone(cut, CrashMode::kRandom);
    ValueFiles files(*clone, 10);
    ExpectReadable(files, synced, synced_pages);
    if (HasFailure()) FAIL() << "operation " << cut;
  }
}

// What was appended is written when the log goes, and the last file ends where its values do.
TEST(ValueLogTest, ClosingWritesEverything) {
  WatchedStorage storage;
  LogStore store(storage);
  const Pages pages = NoisePages(2 * kBufferPages + 3);
  const auto references = store.Append(pages);
  store.CloseLog();
  EXPECT_EQ(SizeOf(storage.sim, 1), pages.size() * kValuePageBytes);
  ExpectReadable(store.files, references, pages);
  EXPECT_EQ(storage.TakeSyncCount(), 0);
}

}  // namespace
}  // namespace terracefs::lsm::values_test
