#include "lsm/wal/wal_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/lsm/wal/log_files.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

constexpr FileNumber kLog = 7;

class WalReaderTest : public ::testing::Test {
 protected:
  // Three chunks of one batch each: sequences 1-2, 3, 4-6. Each knows the one before to be durable.
  std::vector<LogChunk> WriteThreeChunks(FileNumber log = kLog, SequenceNumber first = 1) {
    const auto writer = files_.StartLog(log);
    batches_.push_back(MakeBatch(first, 2));
    batches_.push_back(MakeBatch(first + 2, 1, 9'000));
    batches_.push_back(MakeBatch(first + 3, 3));
    std::vector<LogChunk> chunks;
    for (size_t i = batches_.size() - 3; i < batches_.size(); ++i) {
      chunks.push_back(files_.WriteChunk(*writer, {batches_[i]}, batches_[i].first_sequence - 1));
    }
    return chunks;
  }

  std::vector<LogBatch> FirstBatches(size_t count) const {
    return {batches_.begin(), batches_.begin() + static_cast<std::ptrdiff_t>(count)};
  }

  void ExpectDamage(const Replayed& replayed, const std::string& place) {
    EXPECT_TRUE(replayed.status.Is(io::StatusCode::kCorruption)) << replayed.status.ToString();
    EXPECT_NE(replayed.status.message().find(place), std::string::npos)
        << replayed.status.ToString();
  }

  testing::SimStorage storage_;
  LogFiles files_{storage_};
  std::vector<LogBatch> batches_;
};

TEST_F(WalReaderTest, NoLogsReplayNothing) {
  const Replayed replayed = files_.Replay({}, 41);
  ASSERT_TRUE(replayed.status.ok());
  EXPECT_EQ(replayed.result.last_sequence, 41u);
  EXPECT_FALSE(replayed.result.torn_tail);
}

TEST_F(WalReaderTest, EmptyLogsReplayNothing) {
  files_.Replace(1, "");
  files_.Replace(2, std::string(100, '\0'));                 // less than a block
  files_.Replace(3, std::string(3 * kWalBlockBytes, '\0'));  // preallocated
  files_.StartLog(4);
  const Replayed replayed = files_.Replay({1, 2, 3, 4}, 41);
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_TRUE(replayed.batches.empty());
  EXPECT_EQ(replayed.result.last_sequence, 41u);
  EXPECT_FALSE(replayed.result.torn_tail);
}

TEST_F(WalReaderTest, ReplaysBatchesInOrder) {
  WriteThreeChunks();
  const Replayed replayed = files_.Replay({kLog});
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_EQ(replayed.batches, batches_);
  EXPECT_EQ(replayed.logs, std::vector<FileNumber>(3, kLog));
  EXPECT_EQ(replayed.result.last_sequence, 6u);
  EXPECT_EQ(replayed.result.batch_count, 3u);
  EXPECT_EQ(replayed.result.bytes, batches_[0].representation.size() +
                                       batches_[1].representation.size() +
                                       batches_[2].representation.size());
  EXPECT_FALSE(replayed.result.torn_tail);
}

TEST_F(WalReaderTest, ReplaysChunksOfManyBatchesAndManyChunks) {
  const auto writer = files_.StartLog(kLog, 8 * io::kMiB);
  io::Random random(1);
  SequenceNumber next = 1;
  std::vector<LogBatch> all;
  for (int chunk = 0; chunk < 200; ++chunk) {
    std::vector<LogBatch> batches;
    for (uint64_t i = 1 + random.Uniform(20); i > 0; --i) {
      batches.push_back(MakeBatch(next, static_cast<uint32_t>(1 + random.Uniform(4)),
                                  random.Uniform(random.OneIn(10) ? 50'000 : 500)));
      next = batches.back().last_sequence() + 1;
    }
    files_.WriteChunk(*writer, batches, batches.front().first_sequence - 1);
    all.insert(all.end(), batches.begin(), batches.end());
  }
  ASSERT_GT(writer->offset(), 4 * io::kMiB);  // several read windows
  const Replayed replayed = files_.Replay({kLog});
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_EQ(replayed.batches, all);
}

TEST_F(WalReaderTest, BatchesLargerThanChunkTargetAndReadWindowAreReplayed) {
  const auto writer = files_.StartLog(kLog);
  const std::vector<LogBatch> all = {MakeBatch(1), MakeBatch(2, 3, 3'000'000),
                                     MakeBatch(5, 1, 20'000'001), MakeBatch(6), MakeBatch(7)};
  for (const LogBatch& batch : all) {
    files_.WriteChunk(*writer, {batch}, batch.first_sequence - 1);
  }
  const Replayed replayed = files_.Replay({kLog});
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_TRUE(replayed.batches == all);  // not printed: it is long
}

TEST_F(WalReaderTest, SkipsWhatIsInTables) {
  WriteThreeChunks();
  const std::vector<std::pair<SequenceNumber, size_t>> cases = {{2, 1}, {3, 2}, {6, 3}};
  for (const auto& [after, skipped] : cases) {
    const Replayed replayed = files_.Replay({kLog}, after);
    ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
    EXPECT_EQ(replayed.batches.size(), 3 - skipped);
    EXPECT_EQ(replayed.result.last_sequence, 6u);
  }
}

TEST_F(WalReaderTest, SkipsBatchesInTheMiddleOfAChunk) {
  const auto writer = files_.StartLog(kLog);
  files_.WriteChunk(*writer, {MakeBatch(1, 2), MakeBatch(3, 2), MakeBatch(5, 2)});
  const Replayed replayed = files_.Replay({kLog}, 4);
  ASSERT_TRUE(replayed.status.ok());
  EXPECT_EQ(replayed.batches, std::vector<LogBatch>{MakeBatch(5, 2)});
}

TEST_F(WalReaderTest, BatchHalfInTablesIsCorruption) {
  WriteThreeChunks();
  EXPECT_TRUE(files_.Replay({kLog}, 5).status.Is(io::StatusCode::kCorruption));
}

TEST_F(WalReaderTest, SeveralLogsContinueEachOther) {
  WriteThreeChunks(7, 1);
  WriteThreeChunks(9, 7);
  files_.StartLog(10);  // made ready, never used
  WriteThreeChunks(12, 13);
  const Replayed replayed = files_.Replay({7, 9, 10, 12});
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_EQ(replayed.batches, batches_);
  EXPECT_EQ(replayed.logs, (std::vector<FileNumber>{7, 7, 7, 9, 9, 9, 12, 12, 12}));
  EXPECT_EQ(replayed.result.last_sequence, 18u);
}

TEST_F(WalReaderTest, TornTailEndsTheLog) {
  const std::vector<LogChunk> chunks = WriteThreeChunks();
  const std::string whole = files_.Read(kLog);
  // What arrived of the last chunk ends at any byte; what follows is zero, or the file ends there.
  for (uint64_t arrived = 0; arrived < kWalHeaderBytes + 100; ++arrived) {
    std::string torn = whole.substr(0, chunks[2].offset + arrived);
    for (const bool cut_short : {false, true}) {
      if (!cut_short) torn.resize(whole.size());
      files_.Replace(kLog, torn);
      const Replayed replayed = files_.Replay({kLog});
      ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
      ASSERT_EQ(replayed.batches, FirstBatches(2)) << arrived;
    }
  }
}

TEST_F(WalReaderTest, TornTailIsReported) {
  const std::vector<LogChunk> chunks = WriteThreeChunks();
  files_.FlipBit(kLog, chunks[2].offset + kWalHeaderBytes);
  const Replayed replayed = files_.Replay({kLog});
  ASSERT_TRUE(replayed.status.ok());
  EXPECT_TRUE(replayed.result.torn_tail);
  EXPECT_EQ(replayed.result.last_sequence, 3u);
}

TEST_F(WalReaderTest, LastBlocksOfALongChunkMissingEndsTheLog) {
  const auto writer = files_.StartLog(kLog);
  files_.WriteChunk(*writer, {MakeBatch(1)});
  const LogChunk chunk = files_.WriteChunk(*writer, {MakeBatch(2, 1, 100'000)}, 1);
  const std::string whole = files_.Read(kLog);
  // Any one block of it may be the one that did not arrive.
  for (uint64_t block = 0; block < chunk.padded_bytes; block += kWalBlockBytes) {
    std::string torn = whole;
    torn.replace(chunk.offset + block, kWalBlockBytes, kWalBlockBytes, '\0');
    files_.Replace(kLog, torn);
    const Replayed replayed = files_.Replay({kLog});
    ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
    ASSERT_EQ(replayed.batches.size(), 1u) << block;
  }
}

TEST_F(WalReaderTest, PaddingDoesNotMatter) {
  const std::vector<LogChunk> chunks = WriteThreeChunks();
  files_.FlipBit(kLog, chunks[0].offset + chunks[0].padded_bytes - 1);
  files_.FlipBit(kLog, chunks[2].offset + chunks[2].padded_bytes - 1);
  const Replayed replayed = files_.Replay({kLog});
  ASSERT_TRUE(replayed.status.ok());
  EXPECT_EQ(replayed.batches, batches_);
}

TEST_F(WalReaderTest, RecycledRemainsAreNotReplayed) {
  {
    const auto old_life = files_.StartLog(5);
    for (SequenceNumber sequence = 1; sequence <= 40; ++sequence) {
      files_.WriteChunk(*old_life, {MakeBatch(sequence)}, sequence - 1);
    }
  }
  ASSERT_TRUE(storage_.Rename(FileName(FileKind::kLog, 5), FileName(FileKind::kLog, 9)).ok());
  EXPECT_TRUE(files_.Replay({9}, 0).batches.empty());
  EXPECT_TRUE(files_.Replay({9}, 40).status.ok());

  const auto writer = files_.StartLog(9, 0, /*create=*/false);
  files_.WriteChunk(*writer, {MakeBatch(41)}, 40);
  const Replayed replayed = files_.Replay({9}, 40);
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_EQ(replayed.batches, std::vector<LogBatch>{MakeBatch(41)});
  EXPECT_FALSE(replayed.result.torn_tail);
}

// The remains hold the very chunk that would come next, made by somebody who can write file
// contents and guessed all numbers. What cannot be guessed is the salt.
TEST_F(WalReaderTest, ForgedChunkInTheRemainsIsNotReplayed) {
  std::string forged(2 * kWalBlockBytes, '\0');
  {
    const auto forger = files_.StartLog(9, 256 * io::kKiB, /*create=*/true, /*secret=*/1);
    files_.WriteChunk(*forger, {MakeBatch(41, 1, 77)});
    files_.WriteChunk(*forger, {MakeBatch(42)}, 41);
    files_.WriteChunk(*forger, {MakeBatch(43)}, 42);
    forged = files_.Read(9);
  }
  const auto writer = files_.StartLog(9, 0, /*create=*/false);
  files_.WriteChunk(*writer, {MakeBatch(41, 1, 78)});
  const Replayed replayed = files_.Replay({9}, 40);
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_EQ(replayed.batches, (std::vector<LogBatch>{MakeBatch(41, 1, 78)}));
}

// The same where the log's own first chunk never arrived, and nothing tells how it began.
TEST_F(WalReaderTest, ForgedChunkBehindATornFirstOneIsNeitherReplayedNorBelieved) {
  const auto forger = files_.StartLog(kLog, 256 * io::kKiB, /*create=*/true, /*secret=*/1);
  const LogChunk torn = files_.WriteChunk(*forger, {MakeBatch(40)}, 39);
  files_.WriteChunk(*forger, {MakeBatch(41, 1, 77)}, 40);
  files_.WriteChunk(*forger, {MakeBatch(42)}, 41);
  files_.Erase(torn);
  const Replayed replayed = files_.Replay({kLog}, 40);
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_TRUE(replayed.batches.empty());
}

TEST_F(WalReaderTest, ChunkLostInFlightEndsTheHistoryThoughALaterOneArrived) {
  const auto writer = files_.StartLog(kLog);
  files_.WriteChunk(*writer, {MakeBatch(1)}, 0);
  const LogChunk lost = files_.WriteChunk(*writer, {MakeBatch(2, 2)}, 1);
  files_.WriteChunk(*writer, {MakeBatch(4)}, 1);  // sealed while the lost one was in flight
  files_.WriteChunk(*writer, {MakeBatch(5)}, 1);
  files_.Erase(lost);
  const Replayed replayed = files_.Replay({kLog});
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_EQ(replayed.batches, std::vector<LogBatch>{MakeBatch(1)});
  EXPECT_EQ(replayed.result.last_sequence, 1u);
  EXPECT_TRUE(replayed.result.torn_tail);
}

TEST_F(WalReaderTest, FirstChunkLostInFlightLeavesNothing) {
  const auto writer = files_.StartLog(kLog);
  const LogChunk lost = files_.WriteChunk(*writer, {MakeBatch(11)}, 10);
  files_.WriteChunk(*writer, {MakeBatch(12)}, 10);
  files_.Erase(lost);
  const Replayed replayed = files_.Replay({kLog}, 10);
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_TRUE(replayed.batches.empty());
  EXPECT_EQ(replayed.result.last_sequence, 10u);
}

TEST_F(WalReaderTest, DamageToWhatWasDurableIsCorruption) {
  const std::vector<LogChunk> chunks = WriteThreeChunks();
  const std::string whole = files_.Read(kLog);
  for (const size_t damaged : {0u, 1u}) {  // the chunk behind each knows it to be durable
    const LogChunk& chunk = chunks[damaged];
    for (const uint64_t byte : {uint64_t{kWalHeaderBytes}, uint64_t{kWalHeaderBytes + 30}}) {
      files_.Replace(kLog, whole);
      files_.FlipBit(kLog, chunk.offset + byte);
      const Replayed replayed = files_.Replay({kLog});
      ExpectDamage(replayed, "000007.wal offset " + std::to_string(chunk.offset));
      EXPECT_EQ(replayed.batches, FirstBatches(damaged));  // still a prefix
    }
  }
}

TEST_F(WalReaderTest, AnyDamageToTheHeaderOfADurableChunkIsCorruption) {
  const std::vector<LogChunk> chunks = WriteThreeChunks();
  const std::string whole = files_.Read(kLog);
  for (const size_t damaged : {0u, 1u}) {
    for (uint64_t byte = 0; byte < kWalHeaderBytes; ++byte) {
      files_.Replace(kLog, whole);
      files_.FlipBit(kLog, chunks[damaged].offset + byte, static_cast<int>(byte % 8));
      ExpectDamage(files_.Replay({kLog}), "offset " + std::to_string(chunks[damaged].offset));
    }
  }
}

TEST_F(WalReaderTest, ZeroedDurableChunkIsCorruption) {
  const std::vector<LogChunk> chunks = WriteThreeChunks();
  files_.Erase(chunks[0]);
  ExpectDamage(files_.Replay({kLog}), "000007.wal offset 0");
}

TEST_F(WalReaderTest, DamageIsSeenFromALaterLog) {
  const std::vector<LogChunk> chunks = WriteThreeChunks(7, 1);
  WriteThreeChunks(9, 7);
  files_.Erase(chunks[2]);
  const Replayed replayed = files_.Replay({7, 9});
  ExpectDamage(replayed, "000007.wal offset " + std::to_string(chunks[2].offset));
  ExpectDamage(replayed, "000009.wal");  // the witness
}

TEST_F(WalReaderTest, LostDurableLogIsCorruption) {
  WriteThreeChunks(7, 1);
  WriteThreeChunks(9, 7);
  files_.Replace(7, std::string(10 * kWalBlockBytes, '\0'));
  ExpectDamage(files_.Replay({7, 9}), "000007.wal offset 0");
}

// One chunk that was not known to be durable, among others that were: the last witness decides.
TEST_F(WalReaderTest, TheDurableSequenceDecidesBetweenTornAndDamaged) {
  for (const SequenceNumber durable : {SequenceNumber{1}, SequenceNumber{2}, SequenceNumber{3}}) {
    const auto writer = files_.StartLog(kLog);
    files_.WriteChunk(*writer, {MakeBatch(1)}, 0);
    const LogChunk lost = files_.WriteChunk(*writer, {MakeBatch(2)}, 0);
    files_.WriteChunk(*writer, {MakeBatch(3)}, 1);
    files_.WriteChunk(*writer, {MakeBatch(4)}, durable);
    files_.Erase(lost);
    EXPECT_EQ(files_.Replay({kLog}).status.ok(), durable < 2) << durable;
  }
}

TEST_F(WalReaderTest, DamageToWhatIsInTablesDoesNotMatter) {
  const std::vector<LogChunk> chunks = WriteThreeChunks();
  files_.Erase(chunks[0]);
  const Replayed replayed = files_.Replay({kLog}, 2);
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_EQ(replayed.batches, (std::vector<LogBatch>{batches_[1], batches_[2]}));
}

TEST_F(WalReaderTest, LogAfterAGapIsNotPartOfTheHistory) {
  const std::vector<LogChunk> chunks = WriteThreeChunks(7, 1);
  const auto writer = files_.StartLog(8);
  files_.WriteChunk(*writer, {MakeBatch(7)}, 3);  // the last chunk of log 7 was in flight
  files_.Erase(chunks[2]);
  const Replayed replayed = files_.Replay({7, 8});
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_EQ(replayed.batches, FirstBatches(2));
  EXPECT_TRUE(replayed.result.torn_tail);
}

// A recovery gave up sequences 4 to 8, and a new log went on with 4. Crash again: the leftovers of
// the first life lie before the log that continues.
TEST_F(WalReaderTest, HistoryGoesOnAfterARecoveryThatGaveUpATail) {
  const std::vector<LogChunk> chunks = WriteThreeChunks(7, 1);
  {
    const auto writer = files_.StartLog(8);
    files_.WriteChunk(*writer, {MakeBatch(7, 2)}, 3);
  }
  files_.Erase(chunks[2]);
  const auto writer = files_.StartLog(12);
  const std::vector<LogBatch> later = {MakeBatch(4, 5, 500), MakeBatch(9)};
  files_.WriteChunk(*writer, {later[0]}, 3);
  files_.WriteChunk(*writer, {later[1]}, 8);
  const Replayed replayed = files_.Replay({7, 8, 12});
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  EXPECT_EQ(replayed.batches,
            (std::vector<LogBatch>{batches_[0], batches_[1], later[0], later[1]}));
  EXPECT_EQ(replayed.result.last_sequence, 9u);
  EXPECT_FALSE(replayed.result.torn_tail);
}

TEST_F(WalReaderTest, TwoHistoriesAreCorruption) {
  WriteThreeChunks(7, 1);
  const auto writer = files_.StartLog(8);
  files_.WriteChunk(*writer, {MakeBatch(4)}, 3);
  EXPECT_TRUE(files_.Replay({7, 8}).status.Is(io::StatusCode::kCorruption));
}

TEST_F(WalReaderTest, ErrorOfTheVisitorEndsTheReplay) {
  WriteThreeChunks();
  int visit_count = 0;
  const auto result = ReplayLogs(
      storage_, {kLog}, kLogSecret, 0, [&](FileNumber, SequenceNumber, uint32_t, std::string_view) {
        return ++visit_count == 2 ? io::Status::Busy("enough") : io::Status::Ok();
      });
  EXPECT_TRUE(result.status().Is(io::StatusCode::kBusy));
  EXPECT_EQ(visit_count, 2);
}

TEST_F(WalReaderTest, ReadErrorIsNotATornTail) {
  WriteThreeChunks();
  storage_.faults().Add({.operation = testing::FaultOperation::kRead, .name_part = ".wal"});
  EXPECT_TRUE(files_.Replay({kLog}).status.Is(io::StatusCode::kIoError));
  EXPECT_EQ(files_.Replay({kLog}).batches, batches_);  // the next time it can be read
}

TEST_F(WalReaderTest, MissingFileIsNotATornTail) {
  WriteThreeChunks();
  EXPECT_TRUE(files_.Replay({kLog, kLog + 1}).status.Is(io::StatusCode::kNotFound));
}

// --- Hostile bytes with a right checksum ---------------------------------------------------------

class HostileWalTest : public WalReaderTest {
 protected:
  // A log of one chunk whose header `change` may alter; the checksum is made right afterwards.
  template <typename Change>
  Replayed ReplayWithHeader(const Change& change) {
    const auto writer = files_.StartLog(kLog, 8 * kWalBlockBytes);
    const LogChunk chunk = files_.WriteChunk(*writer, {MakeBatch(1, 2), MakeBatch(3)});
    std::string contents = files_.Read(kLog);
    const io::MutableBytes bytes = io::AsMutableBytes(contents).subspan(chunk.offset);
    WalChunkHeader header = *DecodeWalHeader(bytes);
    change(&header);
    if (header.payload_bytes <= bytes.size() - kWalHeaderBytes) {
      Reseal(header, bytes);
    } else {
      EncodeWalHeader(header, bytes);
    }
    files_.Replace(kLog, contents);
    return files_.Replay({kLog});
  }

  // A log of one chunk with this payload.
  Replayed ReplayWithPayload(const std::string& payload, uint32_t batch_count) {
    std::string contents(io::RoundUp(kWalHeaderBytes + payload.size(), kWalBlockBytes), '\0');
    contents.replace(kWalHeaderBytes, payload.size(), payload);
    WalChunkHeader header;
    header.payload_bytes = static_cast<uint32_t>(payload.size());
    header.batch_count = batch_count;
    header.log_number = kLog;
    header.first_sequence = 1;
    header.salt = WalSalt(kLogSecret, kLog);
    Reseal(header, io::AsMutableBytes(contents));
    files_.Replace(kLog, contents);
    return files_.Replay({kLog});
  }

  static std::string Payload(const LogBatch& batch) {
    std::string payload;
    io::PutFixed64(&payload, batch.first_sequence);
    io::PutFixed32(&payload, batch.count);
    io::PutFixed32(&payload, static_cast<uint32_t>(batch.representation.size()));
    return payload + batch.representation;
  }
};

TEST_F(HostileWalTest, UnchangedHeaderIsFine) {
  EXPECT_EQ(ReplayWithHeader([](WalChunkHeader*) {}).batches.size(), 2u);
}

TEST_F(HostileWalTest, PayloadLengthsThatCannotBeEndTheLog) {
  for (const uint32_t bytes : {0u, 8u * 4096 - 47, 1u << 30, (1u << 30) + 1, UINT32_MAX - 48,
                               UINT32_MAX - 47, UINT32_MAX}) {
    const Replayed replayed =
        ReplayWithHeader([bytes](WalChunkHeader* header) { header->payload_bytes = bytes; });
    EXPECT_TRUE(replayed.status.ok()) << replayed.status.ToString();
    EXPECT_TRUE(replayed.batches.empty());
  }
}

TEST_F(HostileWalTest, PayloadLengthThatCutsABatchIsCorruption) {
  for (uint32_t bytes = 1; bytes < 200; ++bytes) {
    const Replayed replayed =
        ReplayWithHeader([bytes](WalChunkHeader* header) { header->payload_bytes = bytes; });
    if (replayed.status.ok()) {  // by chance the true length
      EXPECT_EQ(replayed.batches.size(), 2u) << bytes;
      continue;
    }
    EXPECT_TRUE(replayed.status.Is(io::StatusCode::kCorruption)) << bytes;
    EXPECT_TRUE(replayed.batches.empty()) << bytes;
  }
}

TEST_F(HostileWalTest, WrongBatchCountIsCorruption) {
  for (const uint32_t count : {0u, 1u, 3u, UINT32_MAX}) {
    const Replayed replayed =
        ReplayWithHeader([count](WalChunkHeader* header) { header->batch_count = count; });
    EXPECT_TRUE(replayed.status.Is(io::StatusCode::kCorruption)) << count;
    EXPECT_TRUE(replayed.batches.empty());
  }
}

TEST_F(HostileWalTest, SequencesThatCannotBeAreCorruptionOrIgnored) {
  for (const uint64_t sequence :
       {uint64_t{0}, uint64_t{2}, kSequenceMax, kSequenceMax + 1, uint64_t{UINT64_MAX}}) {
    const Replayed replayed =
        ReplayWithHeader([sequence](WalChunkHeader* header) { header->first_sequence = sequence; });
    EXPECT_TRUE(replayed.batches.empty()) << sequence;
  }
  for (const uint64_t sequence : {uint64_t{1}, kSequenceMax, uint64_t{UINT64_MAX}}) {
    const Replayed replayed = ReplayWithHeader(
        [sequence](WalChunkHeader* header) { header->durable_sequence = sequence; });
    EXPECT_TRUE(replayed.status.Is(io::StatusCode::kCorruption)) << sequence;
  }
}

TEST_F(HostileWalTest, OtherLogNumbersAndIndexesEndTheLog) {
  for (const uint64_t number : {uint64_t{0}, kLog - 1, kLog + 1, uint64_t{UINT64_MAX}}) {
    const Replayed replayed =
        ReplayWithHeader([number](WalChunkHeader* header) { header->log_number = number; });
    EXPECT_TRUE(replayed.status.ok());
    EXPECT_TRUE(replayed.batches.empty());
  }
  for (const uint32_t index : {1u, UINT32_MAX}) {
    const Replayed replayed =
        ReplayWithHeader([index](WalChunkHeader* header) { header->chunk_index = index; });
    EXPECT_TRUE(replayed.status.ok());
    EXPECT_TRUE(replayed.batches.empty());
  }
}

TEST_F(HostileWalTest, MalformedBatchesAreCorruption) {
  const std::string good = Payload(MakeBatch(1));
  ASSERT_EQ(ReplayWithPayload(good, 1).batches.size(), 1u);
  LogBatch wrong = MakeBatch(1);
  wrong.count = 0;
  EXPECT_FALSE(ReplayWithPayload(Payload(wrong), 1).status.ok());
  wrong.count = 2;
  EXPECT_FALSE(ReplayWithPayload(Payload(wrong), 1).status.ok());
  wrong.count = UINT32_MAX;
  EXPECT_FALSE(ReplayWithPayload(Payload(wrong), 1).status.ok());
  wrong = MakeBatch(1);
  wrong.representation[0] = 9;
  EXPECT_FALSE(ReplayWithPayload(Payload(wrong), 1).status.ok());
  wrong = MakeBatch(1);
  wrong.first_sequence = 2;
  EXPECT_FALSE(ReplayWithPayload(Payload(wrong), 1).status.ok());
  EXPECT_FALSE(ReplayWithPayload(good + std::string(1, '\0'), 1).status.ok());
  EXPECT_FALSE(ReplayWithPayload(good + good, 2).status.ok());  // the same sequence again
  EXPECT_FALSE(ReplayWithPayload(good + Payload(MakeBatch(3)), 2).status.ok());  // a gap
  std::string huge = good;
  io::EncodeFixed32(huge.data() + 12, UINT32_MAX);
  EXPECT_FALSE(ReplayWithPayload(huge, 1).status.ok());
}

TEST_F(HostileWalTest, NoPartOfAMalformedChunkIsReplayed) {
  LogBatch bad = MakeBatch(2);
  bad.representation[0] = 0;
  EXPECT_TRUE(ReplayWithPayload(Payload(MakeBatch(1)) + Payload(bad), 2).batches.empty());
}

// Every block claims to be a chunk as long as the rest of the file. Checking each claim would take
// the square of the file's size.
TEST_F(HostileWalTest, FileFullOfFalseHeadersIsRefusedInReasonableTime) {
  constexpr uint64_t kFileBytes = 32 * io::kMiB;
  std::string contents(kFileBytes, '\0');
  for (uint64_t offset = kWalBlockBytes; offset < kFileBytes; offset += kWalBlockBytes) {
    WalChunkHeader header;
    header.log_number = kLog;
    header.payload_bytes = static_cast<uint32_t>(kFileBytes - offset - kWalHeaderBytes);
    header.batch_count = 1;
    header.first_sequence = 5;
    header.chunk_index = 1;
    header.salt = WalSalt(kLogSecret, kLog);
    EncodeWalHeader(header, io::AsMutableBytes(contents).subspan(offset));
  }
  files_.Replace(kLog, contents);
  EXPECT_TRUE(files_.Replay({kLog}).status.Is(io::StatusCode::kCorruption));
}

}  // namespace
}  // namespace terracefs::lsm
