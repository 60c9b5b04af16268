#include "io/sequential_writer.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "io/base/random.h"
#include "io/posix_storage.h"
#include "io/uring_storage.h"
#include "tests/support/sim_storage.h"
#include "tests/support/temp_dir.h"

namespace terracefs::io {
namespace {

using terracefs::testing::CrashMode;
using terracefs::testing::FaultOperation;
using terracefs::testing::FaultRule;
using terracefs::testing::SimStorage;

std::unique_ptr<File> Create(Storage& storage, bool direct) {
  OpenOptions options;
  options.write = true;
  options.create = true;
  options.truncate = true;
  options.direct = direct;
  return std::move(storage.Open("file", options)).value();
}

std::string RandomText(uint64_t seed, size_t bytes) {
  Random random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random.Next());
  return text;
}

Status WriteInPieces(SequentialWriter& writer, std::string_view text, Random& random,
                     size_t piece_bytes_max) {
  while (!text.empty()) {
    const size_t bytes = std::min<size_t>(text.size(), 1 + random.Uniform(piece_bytes_max));
    TRY(writer.Append(text.substr(0, bytes)));
    text.remove_prefix(bytes);
  }
  return Status::Ok();
}

TEST(SequentialWriterTest, AllSizesAroundBordersOfBuffersAndBlocks) {
  constexpr size_t kBuffer = SequentialWriter::kBufferBytes;
  std::vector<size_t> sizes{0};
  for (const size_t border :
       {size_t{4096}, size_t{8192}, kBuffer, 2 * kBuffer, SequentialWriter::kBufferCount * kBuffer,
        (SequentialWriter::kBufferCount + 2) * kBuffer}) {
    sizes.insert(sizes.end(), {border - 4096, border - 1, border, border + 1, border + 4095});
  }
  const std::string text = RandomText(1, sizes.back());
  Random random(2);
  for (const bool direct : {false, true}) {
    for (const size_t bytes : sizes) {
      SimStorage storage;
      const std::unique_ptr<File> file = Create(storage, direct);
      ASSERT_TRUE(storage.SyncDirectory().ok());
      {
        SequentialWriter writer(*file, nullptr, IoPriority::kFlush);
        ASSERT_TRUE(WriteInPieces(writer, std::string_view(text).substr(0, bytes), random,
                                  random.OneIn(2) ? 3 * kBuffer : 70'000)
                        .ok());
        EXPECT_EQ(writer.offset(), bytes);
        ASSERT_TRUE(writer.Finish().ok());
      }
      // What Finish promised survives the worst crash, at its exact length.
      const auto crashed = storage.CrashClone(1, CrashMode::kLoseAllUnsynced);
      ASSERT_TRUE(crashed->Contents("file").value() == text.substr(0, bytes)) << bytes;
    }
  }
}

TEST(SequentialWriterTest, WritesThroughRealBackends) {
  const terracefs::testing::TempDir directory;
  std::vector<std::unique_ptr<Storage>> storages;
  storages.push_back(std::move(OpenPosixStorage(directory.path())).value());
  if (auto uring = OpenUringStorage(directory.path()); uring.ok()) {
    storages.push_back(std::move(uring).value());
  }
  const std::string text = RandomText(3, 9 * SequentialWriter::kBufferBytes + 777);
  Random random(4);
  for (const std::unique_ptr<Storage>& storage : storages) {
    const std::unique_ptr<File> file = Create(*storage, /*direct=*/true);
    SequentialWriter writer(*file, nullptr, IoPriority::kFlush);
    ASSERT_TRUE(WriteInPieces(writer, text, random, 300'000).ok());
    ASSERT_TRUE(writer.Finish().ok());
    EXPECT_EQ(file->SizeBytes().value(), text.size());
    const std::unique_ptr<File> reader = std::move(storage->Open("file", OpenOptions{})).value();
    std::string read(text.size(), '\0');
    ASSERT_TRUE(reader->ReadFull(0, AsMutableBytes(read)).ok());
    EXPECT_TRUE(read == text) << storage->backend();
  }
}

TEST(SequentialWriterTest, CutsAPreallocatedFileToItsLength) {
  SimStorage storage;
  const std::unique_ptr<File> file = Create(storage, /*direct=*/true);
  ASSERT_TRUE(file->Allocate(1 << 20).ok());
  SequentialWriter writer(*file, nullptr, IoPriority::kFlush);
  const std::string text = RandomText(5, 8192);
  ASSERT_TRUE(writer.Append(text).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(storage.Contents("file").value(), text);
}

TEST(SequentialWriterTest, AnErrorOfAnyBufferIsKeptAndTheFirstOneWins) {
  const std::string text = RandomText(6, 7 * SequentialWriter::kBufferBytes);
  for (uint64_t failing = 0; failing < 7; ++failing) {
    SimStorage storage;
    FaultRule first;
    first.operation = FaultOperation::kWrite;
    first.pass_count = failing;
    first.status = Status::IoError("first", {}, EIO);
    storage.faults().Add(first);
    FaultRule later = first;
    later.pass_count = failing + 1;
    later.fault_count = terracefs::testing::kFaultForever;
    later.status = Status::NoSpace("later");
    storage.faults().Add(later);

    const std::unique_ptr<File> file = Create(storage, /*direct=*/true);
    SequentialWriter writer(*file, nullptr, IoPriority::kFlush);
    Random random(7);
    const Status appended = WriteInPieces(writer, text, random, 300'000);
    const Status finished = writer.Finish();
    EXPECT_EQ(finished.message().substr(0, 5), "first") << finished.ToString();
    if (!appended.ok()) {
      EXPECT_EQ(appended.message(), finished.message());
      EXPECT_EQ(writer.Append("more").message(), finished.message());
    }
    EXPECT_EQ(storage.stats().fsyncs, 0U);
  }
}

TEST(SequentialWriterTest, FailuresOfTheLastStepsAreReported) {
  for (const FaultOperation operation : {FaultOperation::kTruncate, FaultOperation::kSync}) {
    SimStorage storage;
    FaultRule rule;
    rule.operation = operation;
    storage.faults().Add(rule);
    const std::unique_ptr<File> file = Create(storage, /*direct=*/true);
    SequentialWriter writer(*file, nullptr, IoPriority::kFlush);
    ASSERT_TRUE(writer.Append("text").ok());
    EXPECT_FALSE(writer.Finish().ok());
    EXPECT_EQ(storage.faults().injected_count(), 1U);
  }
}

TEST(SequentialWriterTest, DroppedHalfwayItWaitsForWhatIsInFlight) {
  const terracefs::testing::TempDir directory;
  auto storage = OpenUringStorage(directory.path());
  if (!storage.ok()) GTEST_SKIP() << "NO IO_URING HERE, NOT TESTED";
  const std::unique_ptr<File> file = Create(*storage.value(), /*direct=*/true);
  for (int round = 0; round < 5; ++round) {
    SequentialWriter writer(*file, nullptr, IoPriority::kFlush);
    ASSERT_TRUE(writer.Append(RandomText(8, 2 * SequentialWriter::kBufferBytes + 100)).ok());
  }
  EXPECT_EQ(storage.value()->stats().submitted, storage.value()->stats().completed);
}

TEST(SequentialWriterTest, ChargesTheLimiterForEveryByteThatGoesOut) {
  const ManualClock clock(0);
  RateLimiter limiter(0, clock);
  SimStorage storage;
  const std::unique_ptr<File> file = Create(storage, /*direct=*/true);
  SequentialWriter writer(*file, &limiter, IoPriority::kCompaction);
  ASSERT_TRUE(writer.Append(RandomText(9, SequentialWriter::kBufferBytes + 1)).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(limiter.stats().bytes, SequentialWriter::kBufferBytes + 4096);
}

}  // namespace
}  // namespace terracefs::io
