#include "tests/support/sim_storage.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "io/base/random.h"

namespace terracefs::testing {
namespace {

using io::AsBytes;
using io::AsMutableBytes;
using io::File;
using io::IoRequest;
using io::OpenOptions;
using io::Random;
using io::Status;
using io::StatusCode;

// The tests of the Storage contract run on this backend too (storage_test.cc). Here it is what only
// a simulated disk does: crashes and faults.
class SimStorageTest : public ::testing::Test {
 protected:
  std::unique_ptr<File> Open(std::string_view name) {
    OpenOptions options;
    options.write = true;
    options.create = true;
    return std::move(storage_.Open(name, options)).value();
  }
  // Everything that a cut may leave in `name`, over many seeds; "(missing)" if it is gone.
  std::set<std::string> Outcomes(std::string_view name, CrashMode mode = CrashMode::kRandom) {
    std::set<std::string> outcomes;
    for (uint64_t seed = 0; seed < 400; ++seed) {
      const auto contents = storage_.CrashClone(seed, mode)->Contents(name);
      outcomes.insert(contents.ok() ? contents.value() : "(missing)");
    }
    return outcomes;
  }
  using Texts = std::set<std::string>;

  SimStorage storage_;
};

TEST_F(SimStorageTest, UnsyncedNamesMayVanishEvenIfTheFileWasSynced) {
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(file->WriteDurable(0, AsBytes("text")).ok());
  EXPECT_EQ(Outcomes("file"), (Texts{"(missing)", "text"}));
  EXPECT_EQ(Outcomes("file", CrashMode::kLoseAllUnsynced), Texts{"(missing)"});
  EXPECT_EQ(Outcomes("file", CrashMode::kKeepAll), Texts{"text"});
  ASSERT_TRUE(storage_.SyncDirectory().ok());
  EXPECT_EQ(Outcomes("file"), Texts{"text"});
}

TEST_F(SimStorageTest, SyncedNamesSayNothingAboutBytes) {
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(file->Write(0, AsBytes("text")).ok());
  ASSERT_TRUE(storage_.SyncDirectory().ok());
  EXPECT_EQ(Outcomes("file"), (Texts{"", std::string(4, '\0'), "text"}));
  EXPECT_EQ(Outcomes("file", CrashMode::kLoseAllUnsynced), Texts{""});
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(Outcomes("file"), Texts{"text"});
}

TEST_F(SimStorageTest, NamesChangeInOrder) {
  Open("a");
  Open("b");
  ASSERT_TRUE(storage_.SyncDirectory().ok());
  ASSERT_TRUE(storage_.Rename("a", "c").ok());
  ASSERT_TRUE(storage_.Remove("b").ok());
  Open("d");
  std::set<std::vector<std::string>> outcomes;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    outcomes.insert(storage_.CrashClone(seed)->List().value());
  }
  EXPECT_EQ(outcomes,
            (std::set<std::vector<std::string>>{{"a", "b"}, {"b", "c"}, {"c"}, {"c", "d"}}));
}

TEST_F(SimStorageTest, AReplacedFileIsTheOldOrTheNewOne) {
  storage_.PutContents("file", "old");
  storage_.PutContents("new", "new");
  ASSERT_TRUE(storage_.Rename("new", "file").ok());
  EXPECT_EQ(Outcomes("file"), (Texts{"old", "new"}));
}

TEST_F(SimStorageTest, SectorsOfUnsyncedWritesAreTornInAnyOrder) {
  storage_.PutContents("file", std::string(1536, '0'));
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(file->Write(0, AsBytes(std::string(1536, '1'))).ok());
  ASSERT_TRUE(file->Write(512, AsBytes(std::string(512, '2'))).ok());
  Texts seen;
  for (const std::string& contents : Outcomes("file")) {
    ASSERT_EQ(contents.size(), 1536U);
    std::string sectors;
    for (size_t sector = 0; sector < 3; ++sector) {
      const char kind = contents[sector * 512];
      EXPECT_EQ(contents.substr(sector * 512, 512), std::string(512, kind));
      sectors.push_back(kind);
    }
    seen.insert(sectors);
  }
  Texts all;
  for (const char* first : {"0", "1"}) {
    for (const char* second : {"0", "1", "2"}) {
      for (const char* third : {"0", "1"}) {
        all.insert(std::string(first).append(second).append(third));
      }
    }
  }
  EXPECT_EQ(seen, all);
}

TEST_F(SimStorageTest, ADurableWriteSpeaksForItselfAndItsSizeOnly) {
  storage_.PutContents("file", "----------");
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(file->Write(0, AsBytes("aaaaa")).ok());
  ASSERT_TRUE(file->WriteDurable(3, AsBytes("BBBBBBBBBB")).ok());
  // The older write cannot come back over the durable one.
  EXPECT_EQ(Outcomes("file"), (Texts{"---BBBBBBBBBB", "aaaBBBBBBBBBB"}));
}

TEST_F(SimStorageTest, SizesChangeInOrderAndALostTruncationLosesWhatFollows) {
  storage_.PutContents("file", "0123456789");
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(file->Truncate(0).ok());
  ASSERT_TRUE(file->Write(0, AsBytes("new")).ok());
  EXPECT_EQ(Outcomes("file"), (Texts{"0123456789", "", std::string(3, '\0'), "new"}));
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(Outcomes("file"), Texts{"new"});
}

TEST_F(SimStorageTest, AllocatedSpaceMayBeLostAndReadsAsZeros) {
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(storage_.SyncDirectory().ok());
  ASSERT_TRUE(file->Allocate(3).ok());
  EXPECT_EQ(Outcomes("file"), (Texts{"", std::string(3, '\0')}));
}

TEST_F(SimStorageTest, WhatIsInFlightIsNotDurableYet) {
  storage_.PutContents("file", "old");
  const std::unique_ptr<File> file = Open("file");
  std::string text = "new";
  IoRequest write;
  write.kind = IoRequest::Kind::kWrite;
  write.durable = true;
  write.data = AsMutableBytes(text).data();
  write.bytes = 3;
  IoRequest* const list[] = {&write};
  file->Start(list);
  EXPECT_EQ(Outcomes("file"), (Texts{"old", "new"}));
  ASSERT_TRUE(file->Wait(write).ok());
  EXPECT_EQ(Outcomes("file"), Texts{"new"});
}

TEST_F(SimStorageTest, WhatFollowsInAChainBeginsWhenItsPredecessorIsDurable) {
  storage_.PutContents("file", "--");
  const std::unique_ptr<File> file = Open("file");
  std::string text = "ab";
  IoRequest requests[2];
  std::vector<IoRequest*> list;
  for (size_t i = 0; i < 2; ++i) {
    requests[i].kind = IoRequest::Kind::kWrite;
    requests[i].durable = i == 0;
    requests[i].link_next = i == 0;
    requests[i].offset = i;
    requests[i].data = AsMutableBytes(text).data() + i;
    requests[i].bytes = 1;
    list.push_back(&requests[i]);
  }
  file->Start(list);
  EXPECT_EQ(Outcomes("file"), (Texts{"a-", "ab"}));
  for (IoRequest& request : requests) EXPECT_TRUE(file->Wait(request).ok());
  EXPECT_EQ(storage_.stats().fsyncs, 1U);
}

TEST_F(SimStorageTest, ASyncCoversWhatWasWrittenBeforeItOnly) {
  storage_.PutContents("file", "----");
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(file->Write(0, AsBytes("a")).ok());
  IoRequest sync;
  sync.kind = IoRequest::Kind::kSync;
  IoRequest* const list[] = {&sync};
  file->Start(list);
  ASSERT_TRUE(file->Write(1, AsBytes("b")).ok());
  ASSERT_TRUE(file->Wait(sync).ok());
  EXPECT_EQ(Outcomes("file"), (Texts{"a---", "ab--"}));
}

TEST_F(SimStorageTest, AFailedSyncLosesItsBytesForEver) {
  storage_.PutContents("file", "old ");
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(file->Write(0, AsBytes("new")).ok());
  FaultRule rule;
  rule.operation = FaultOperation::kSync;
  storage_.faults().Add(rule);
  EXPECT_FALSE(file->Sync().ok());
  // The retry lies, as a kernel does.
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_EQ(storage_.Contents("file").value(), "new ");
  EXPECT_EQ(Outcomes("file"), (Texts{"old ", "new "}));
  EXPECT_EQ(Outcomes("file", CrashMode::kLoseAllUnsynced), Texts{"old "});
  // Writing again does help.
  ASSERT_TRUE(file->WriteDurable(0, AsBytes("new")).ok());
  EXPECT_EQ(Outcomes("file"), Texts{"new "});
}

TEST_F(SimStorageTest, FromTheCutOnEverythingFails) {
  storage_.PutContents("other", "x");
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(storage_.SyncDirectory().ok());
  const uint64_t before = storage_.io_count();
  storage_.CrashAtIo(before + 2);
  ASSERT_TRUE(file->Write(0, AsBytes("a")).ok());
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_FALSE(storage_.power_is_off());
  const Status status = file->Write(1, AsBytes("b"));
  EXPECT_TRUE(status.Is(StatusCode::kIoError));
  EXPECT_NE(status.message().find("simulated power cut"), std::string::npos);
  EXPECT_TRUE(storage_.power_is_off());
  EXPECT_EQ(storage_.io_count(), before + 2);
  EXPECT_FALSE(file->Sync().ok());
  EXPECT_FALSE(file->Truncate(0).ok());
  EXPECT_FALSE(storage_.SyncDirectory().ok());
  EXPECT_FALSE(storage_.Remove("other").ok());
  EXPECT_FALSE(storage_.Open("other", OpenOptions{}).ok());
  std::string text(1, '\0');
  EXPECT_FALSE(file->ReadFull(0, AsMutableBytes(text)).ok());
  EXPECT_EQ(Outcomes("file"), Texts{"a"});
  EXPECT_TRUE(storage_.CrashClone(1)->Open("file", OpenOptions{}).ok());
}

TEST_F(SimStorageTest, ReadsMaySurviveTheCut) {
  storage_.PutContents("file", "a");
  const std::unique_ptr<File> file = Open("file");
  storage_.CrashAtIo(0, /*reads_fail=*/false);
  EXPECT_FALSE(file->Write(0, AsBytes("b")).ok());
  std::string text(1, '\0');
  EXPECT_TRUE(file->ReadFull(0, AsMutableBytes(text)).ok());
  EXPECT_EQ(text, "a");
}

TEST_F(SimStorageTest, NoSuccessIsReportedAfterTheCut) {
  storage_.PutContents("file", "old");
  const std::unique_ptr<File> file = Open("file");
  std::string text = "new";
  IoRequest write;
  write.kind = IoRequest::Kind::kWrite;
  write.durable = true;
  write.data = AsMutableBytes(text).data();
  write.bytes = 3;
  IoRequest* const list[] = {&write};
  storage_.CrashAtIo(1);
  file->Start(list);
  EXPECT_FALSE(storage_.SyncDirectory().ok());
  EXPECT_FALSE(file->Wait(write).ok());
}

TEST_F(SimStorageTest, FaultsHitTheNthMatchingOperation) {
  FaultRule rule;
  rule.operation = FaultOperation::kWrite;
  rule.name_part = ".sst";
  rule.pass_count = 1;
  rule.fault_count = 2;
  rule.status = Status::NoSpace("injected");
  const size_t index = storage_.faults().Add(rule);
  const std::unique_ptr<File> table = Open("1.sst");
  const std::unique_ptr<File> log = Open("1.wal");
  std::vector<bool> outcomes;
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(log->Write(0, AsBytes("x")).ok());
    outcomes.push_back(table->Write(0, AsBytes("x")).ok());
  }
  EXPECT_EQ(outcomes, (std::vector<bool>{true, false, false, true}));
  EXPECT_EQ(storage_.faults().injected_count(index), 2U);
  storage_.faults().Clear();
  EXPECT_EQ(storage_.faults().injected_count(), 0U);
}

TEST_F(SimStorageTest, FaultsMayTakeEffectInPart) {
  const std::unique_ptr<File> file = Open("file");
  for (const auto& [effect, expected] :
       {std::pair{FaultEffect::kNothing, ""}, std::pair{FaultEffect::kHalf, "te"},
        std::pair{FaultEffect::kAll, "text"}}) {
    FaultRule rule;
    rule.operation = FaultOperation::kWrite;
    rule.effect = effect;
    storage_.faults().Clear();
    storage_.faults().Add(rule);
    EXPECT_FALSE(file->Write(0, AsBytes("text")).ok());
    EXPECT_EQ(storage_.Contents("file").value(), expected);
  }
}

TEST_F(SimStorageTest, AFullDiskRefusesGrowthOnly) {
  storage_.SetCapacityBytes(16384);
  const std::unique_ptr<File> file = Open("file");
  ASSERT_TRUE(file->Write(0, AsBytes(std::string(10'000, 'x'))).ok());
  EXPECT_EQ(storage_.UsedBytes(), 12288U);
  EXPECT_EQ(storage_.FreeBytes().value(), 4096U);
  EXPECT_TRUE(file->Write(12'000, AsBytes(std::string(5000, 'x'))).Is(StatusCode::kNoSpace));
  EXPECT_TRUE(file->Allocate(20'000).Is(StatusCode::kNoSpace));
  EXPECT_EQ(file->SizeBytes().value(), 10'000U);
  EXPECT_TRUE(file->Write(0, AsBytes(std::string(10'000, 'y'))).ok());
  // Space of a removed file comes back when it is closed.
  const std::unique_ptr<File> other = Open("other");
  ASSERT_TRUE(storage_.Remove("file").ok());
  ASSERT_TRUE(storage_.SyncDirectory().ok());
  EXPECT_TRUE(other->Write(0, AsBytes(std::string(5000, 'x'))).Is(StatusCode::kNoSpace));
}

TEST_F(SimStorageTest, BitRotIsSeenByReadersAndSurvivesCrashes) {
  storage_.PutContents("file", "abc");
  storage_.CorruptByte("file", 1);
  const std::string rotten{'a', static_cast<char>(~'b'), 'c'};
  EXPECT_EQ(storage_.Contents("file").value(), rotten);
  EXPECT_EQ(Outcomes("file"), Texts{rotten});
}

TEST_F(SimStorageTest, TheSameSeedGivesTheSameCrash) {
  const std::unique_ptr<File> file = Open("file");
  Random random(1);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(file->Write(random.Uniform(50'000), AsBytes(std::string(3000, 'a'))).ok());
    if (i % 30 == 0) {
      ASSERT_TRUE(file->Truncate(random.Uniform(50'000)).ok());
    }
  }
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto first = storage_.CrashClone(seed);
    const auto second = storage_.CrashClone(seed);
    EXPECT_EQ(first->List().value(), second->List().value());
    if (!first->Exists("file").value()) continue;
    EXPECT_EQ(first->Contents("file").value(), second->Contents("file").value());
  }
}

TEST_F(SimStorageTest, ACloneHasNoLocksFaultsOrCuts) {
  const auto lock = storage_.Lock("LOCK");
  ASSERT_TRUE(lock.ok());
  storage_.faults().Add({});
  storage_.CrashAtIo(0);
  const auto clone = storage_.CrashClone(1);
  EXPECT_TRUE(clone->Lock("LOCK").ok());
  EXPECT_TRUE(clone->SyncDirectory().ok());
}

TEST_F(SimStorageTest, UnlinkedRequestsOfABatchRunInAnyOrder) {
  std::set<std::string> outcomes;
  for (int round = 0; round < 100; ++round) {
    const std::unique_ptr<File> file = Open("file");
    std::string texts[] = {"a", "b", "c"};
    IoRequest requests[3];
    std::vector<IoRequest*> list;
    for (size_t i = 0; i < 3; ++i) {
      requests[i].kind = IoRequest::Kind::kWrite;
      requests[i].data = AsMutableBytes(texts[i]).data();
      requests[i].bytes = 1;
      requests[i].link_next = i == 0;
      list.push_back(&requests[i]);
    }
    file->Start(list);
    for (IoRequest& request : requests) ASSERT_TRUE(file->Wait(request).ok());
    outcomes.insert(storage_.Contents("file").value());
  }
  // "a" comes before "b", which is linked to it, so it is never the last.
  EXPECT_EQ(outcomes, (std::set<std::string>{"b", "c"}));
}

// Random operations against a plain model of what has to be there: bytes under a durable write or
// sync that nothing touched since.
TEST_F(SimStorageTest, SyncedBytesSurviveWhateverElseHappens) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SimFileContent content;
    Random random(seed);
    std::string live;
    // For each byte: durable for certain (and nothing unsynced over it), or not.
    std::vector<bool> certain;
    bool resized = false;
    for (int step = 0; step < 60; ++step) {
      const uint64_t offset = random.Uniform(4000);
      const std::string bytes(1 + random.Uniform(1500),
                              static_cast<char>('a' + random.Uniform(26)));
      const uint64_t kind = random.Uniform(10);
      if (kind < 7) {
        const uint64_t number = content.Write(offset, bytes);
        if (live.size() < offset + bytes.size()) live.resize(offset + bytes.size());
        live.replace(offset, bytes.size(), bytes);
        certain.resize(live.size(), false);
        const bool durable = kind < 3;
        if (durable) {
          content.SyncWrite(number);
          resized = false;
        }
        std::fill_n(certain.begin() + static_cast<std::ptrdiff_t>(offset), bytes.size(), durable);
      } else if (kind == 7) {
        content.Resize(offset);
        live.resize(offset);
        certain.resize(offset, false);
        resized = true;
      } else if (kind == 8) {
        content.SyncUpTo(content.last_change());
        certain.assign(live.size(), true);
        resized = false;
      }
      ASSERT_EQ(content.live(), live);
      for (const uint64_t percent : {0U, 50U, 100U}) {
        Random crash(random.Next());
        const std::string after = content.AfterPowerCut(crash, percent);
        // After an unsynced change of size nothing is certain but by the next sync.
        if (resized) continue;
        for (size_t i = 0; i < live.size(); ++i) {
          if (!certain[i]) continue;
          ASSERT_LT(i, after.size()) << "seed " << seed << " step " << step;
          ASSERT_EQ(after[i], live[i]) << "seed " << seed << " step " << step << " byte " << i;
        }
      }
    }
  }
}

TEST_F(SimStorageTest, IsSafeFromManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      const std::string name = "file" + std::to_string(t);
      const std::unique_ptr<File> file = Open(name);
      for (uint64_t i = 0; i < 100; ++i) {
        EXPECT_TRUE(file->WriteDurable(i, AsBytes("x")).ok());
        if (i % 10 == 0) {
          EXPECT_NE(storage_.CrashClone(i), nullptr);
        }
        if (i % 20 == 0) {
          EXPECT_TRUE(storage_.SyncDirectory().ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(storage_.List().value().size(), 4U);
}

}  // namespace
}  // namespace terracefs::testing
