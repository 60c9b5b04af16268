#include "lsm/wal/wal_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/lsm/wal/log_files.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

class WalWriterTest : public ::testing::Test {
 protected:
  static void Append(WalWriter& writer, const LogBatch& batch) {
    writer.Append(batch.first_sequence, batch.count, batch.representation);
  }

  testing::SimStorage storage_;
  LogFiles files_{storage_};
};

// The worked example of FORMAT.md, byte for byte.
TEST_F(WalWriterTest, ChunkIsAsDescribed) {
  const auto writer = files_.StartLog(12, 2 * kWalBlockBytes);
  WriteBatch batch;
  batch.Put("k", "v");
  batch.Delete("d");
  writer->Append(1001, 2, batch.representation());
  WalChunk chunk = writer->Seal(1000);
  ASSERT_TRUE(writer->WriteChunk(chunk, true).ok());

  const unsigned char expected[] = {
      0x54, 0x41, 0x4c, 0x31, 0xca, 0x40, 0x50, 0xed, 0x19, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
      0x00, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe9, 0x03, 0x00, 0x00, 0x00, 0x00,
      0x00, 0x00, 0xe8, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07,
      0x04, 0x16, 0x5e, 0xe9, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
      0x09, 0x00, 0x00, 0x00, 0x02, 0x01, 0x6b, 0x01, 0x76, 0x01, 0x01, 0x64, 0x00};
  std::string whole(2 * kWalBlockBytes, '\0');
  whole.replace(0, sizeof expected, reinterpret_cast<const char*>(expected), sizeof expected);
  EXPECT_EQ(files_.Read(12), whole);
}

TEST_F(WalWriterTest, ChunksFollowEachOtherInWholeBlocks) {
  const auto writer = files_.StartLog(3, io::kMiB);
  SequenceNumber next = 50;
  uint64_t offset = 0;
  for (const size_t bytes : {10u, 4'000u, 4'096u, 100'000u, 1u}) {
    EXPECT_FALSE(writer->has_open_chunk());
    Append(*writer, MakeBatch(next, 2, bytes));
    Append(*writer, MakeBatch(next + 2, 3, bytes));
    EXPECT_TRUE(writer->has_open_chunk());
    WalChunk chunk = writer->Seal(next - 1);
    EXPECT_EQ(chunk.offset, offset);
    EXPECT_EQ(chunk.padded_bytes, io::RoundUp(kWalHeaderBytes + chunk.payload_bytes, 4096));
    EXPECT_EQ(chunk.first_sequence, next);
    EXPECT_EQ(chunk.last_sequence, next + 4);
    offset += chunk.padded_bytes;
    EXPECT_EQ(writer->offset(), offset);
    ASSERT_TRUE(writer->WriteChunk(chunk, false).ok());
    next += 5;
  }
  EXPECT_EQ(files_.Replay({3}, 49).batches.size(), 10u);
}

TEST_F(WalWriterTest, ChunkThatJustFillsABlockIsNotPadded) {
  const auto writer = files_.StartLog(3, io::kMiB);
  WriteBatch batch;
  batch.Put("k", std::string(4096 - kWalHeaderBytes - kWalBatchHeaderBytes - 5, 'v'));
  writer->Append(1, 1, batch.representation());
  EXPECT_EQ(writer->Seal(0).padded_bytes, 4096u);
}

TEST_F(WalWriterTest, PaddingIsZeroEvenInReusedMemory) {
  const auto writer = files_.StartLog(3, io::kMiB);
  for (SequenceNumber sequence = 1; sequence < 20; ++sequence) {
    Append(*writer, MakeBatch(sequence, 1, sequence % 2 == 0 ? 10 : 20'000));
    const WalChunk chunk = writer->Seal(0);
    for (size_t i = kWalHeaderBytes + chunk.payload_bytes; i < chunk.padded_bytes; ++i) {
      ASSERT_EQ(chunk.buffer.data()[i], std::byte{0});
    }
  }
}

TEST_F(WalWriterTest, SeveralChunksAreWrittenAtOnce) {
  const auto writer = files_.StartLog(3, 4 * io::kMiB);
  std::vector<WalChunk> chunks;
  std::vector<LogBatch> batches;
  for (SequenceNumber sequence = 1; sequence <= 64; ++sequence) {
    batches.push_back(MakeBatch(sequence, 1, 1'000 * sequence));
    Append(*writer, batches.back());
    chunks.push_back(writer->Seal(0));
  }
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t i = thread; i < chunks.size(); i += 4) {
        ASSERT_TRUE(writer->WriteChunk(chunks[i], i % 8 == 0).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(files_.Replay({3}).batches, batches);
}

TEST_F(WalWriterTest, DurableChunkAndSyncSurviveAPowerCut) {
  const auto writer = files_.StartLog(3, io::kMiB);
  ASSERT_TRUE(storage_.SyncDirectory().ok());
  std::vector<WalChunk> chunks;
  for (SequenceNumber sequence = 1; sequence <= 4; ++sequence) {
    Append(*writer, MakeBatch(sequence));
    chunks.push_back(writer->Seal(0));
  }
  const auto survivors = [this] {
    const auto clone = storage_.CrashClone(1, testing::CrashMode::kLoseAllUnsynced);
    return LogFiles(*clone).Replay({3}).batches.size();
  };
  ASSERT_TRUE(writer->WriteChunk(chunks[0], true).ok());
  EXPECT_EQ(survivors(), 1u);
  ASSERT_TRUE(writer->WriteChunk(chunks[1], false).ok());
  ASSERT_TRUE(writer->WriteChunk(chunks[2], false).ok());
  EXPECT_EQ(survivors(), 1u);
  ASSERT_TRUE(writer->Sync().ok());
  EXPECT_EQ(survivors(), 3u);
  ASSERT_TRUE(writer->WriteChunk(chunks[3], true).ok());
  EXPECT_EQ(survivors(), 4u);
}

TEST_F(WalWriterTest, WriteErrorsComeBack) {
  const auto writer = files_.StartLog(3);
  Append(*writer, MakeBatch(1));
  WalChunk chunk = writer->Seal(0);
  for (const bool durable : {false, true}) {
    storage_.faults().Add({.operation = testing::FaultOperation::kWrite, .name_part = {}});
    EXPECT_TRUE(writer->WriteChunk(chunk, durable).Is(io::StatusCode::kIoError));
  }
  storage_.faults().Add({.operation = testing::FaultOperation::kSync, .name_part = {}});
  EXPECT_TRUE(writer->Sync().Is(io::StatusCode::kIoError));
}

TEST_F(WalWriterTest, GapsAndClaimsAboutItselfAreOurOwnBugs) {
  const auto writer = files_.StartLog(3);
  EXPECT_DEATH(writer->Seal(0), "has_open_chunk");
  Append(*writer, MakeBatch(5));
  EXPECT_DEATH(Append(*writer, MakeBatch(7)), "check failed");
  EXPECT_DEATH(Append(*writer, MakeBatch(5)), "check failed");
  EXPECT_DEATH(writer->Append(6, 0, ""), "check failed");
  EXPECT_DEATH(writer->Seal(5), "durable_sequence");
}

}  // namespace
}  // namespace terracefs::lsm
