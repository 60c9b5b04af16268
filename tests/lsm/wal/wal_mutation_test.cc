// Fuzzing of log replay: random histories, spoilt at random. SEED=n replays one run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tests/lsm/wal/log_files.h"
#include "tests/support/environment.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

constexpr uint64_t kRoundCount = 1'500;

// One random history in a storage of its own.
struct History {
  explicit History(io::Random& random);

  void WriteLog(FileNumber number, io::Random& random);
  void Spoil(io::Random& random);
  // A valid chunk with nonsense in one field.
  void Forge(io::Random& random);
  bool IsIntact(const LogChunk& chunk) const;

  testing::SimStorage storage;
  LogFiles files{storage};
  SequenceNumber first_sequence = 1;
  SequenceNumber next_sequence = 1;
  SequenceNumber durable_sequence = 0;
  std::vector<FileNumber> logs;
  std::vector<LogBatch> batches;
  std::vector<LogChunk> chunks;
  std::map<FileNumber, std::string> originals;  // contents as written
};

History::History(io::Random& random) {
  first_sequence = next_sequence = 1 + random.Uniform(1'000);
  durable_sequence = first_sequence - 1;
  FileNumber number = 1 + random.Uniform(100);
  for (uint64_t i = 1 + random.Uniform(3); i > 0; --i) {
    // Some logs live in recycled files: remains of this very history, under another number.
    if (!logs.empty() && random.OneIn(2)) {
      files.Replace(number, originals[logs[random.Uniform(logs.size())]]);
    } else {
      files.StartLog(number, random.Uniform(30) * kWalBlockBytes + random.Uniform(3) * 100);
    }
    WriteLog(number, random);
    number += 1 + random.Uniform(3);
  }
  for (const FileNumber log : logs) originals[log] = files.Read(log);
}

void History::WriteLog(FileNumber number, io::Random& random) {
  const auto writer = files.StartLog(number, 0, /*create=*/false);
  for (uint64_t i = random.Uniform(7); i > 0; --i) {
    std::vector<LogBatch> chunk;
    for (uint64_t j = 1 + random.Uniform(4); j > 0; --j) {
      const size_t bytes = random.OneIn(4) ? random.Uniform(20'000) : random.Uniform(300);
      chunk.push_back(
          MakeBatch(next_sequence, static_cast<uint32_t>(1 + random.Uniform(5)), bytes));
      next_sequence = chunk.back().last_sequence() + 1;
    }
    chunks.push_back(files.WriteChunk(*writer, chunk, durable_sequence));
    batches.insert(batches.end(), chunk.begin(), chunk.end());
    // Some chunks become durable late, as if others were in flight.
    if (!random.OneIn(3)) durable_sequence = next_sequence - 1 - random.Uniform(2) * chunk.size();
  }
  logs.push_back(number);
  originals[number] = files.Read(number);
}

void History::Spoil(io::Random& random) {
  const FileNumber log = logs[random.Uniform(logs.size())];
  std::string contents = files.Read(log);
  if (contents.size() < kWalBlockBytes) return;
  const uint64_t block_count = contents.size() / kWalBlockBytes;
  const uint64_t block = random.Uniform(block_count) * kWalBlockBytes;
  switch (random.Uniform(6)) {
    case 0: {  // a flipped bit, often in the header of a chunk
      const uint64_t offset = random.OneIn(2) ? block + random.Uniform(kWalHeaderBytes + 32)
                                              : random.Uniform(contents.size());
      contents[offset] = static_cast<char>(contents[offset] ^ (1 << random.Uniform(8)));
      break;
    }
    case 1: {  // blocks that did not arrive
      const uint64_t bytes =
          std::min((1 + random.Uniform(3)) * kWalBlockBytes, contents.size() - block);
      contents.replace(block, bytes, bytes, '\0');
      break;
    }
    case 2: {  // a sector that did not arrive
      const uint64_t sector = block + random.Uniform(8) * 512;
      contents.replace(sector, 512, 512, '\0');
      break;
    }
    case 3: {  // a misdirected write
      const std::string& source = originals[logs[random.Uniform(logs.size())]];
      if (source.size() < kWalBlockBytes) return;
      const uint64_t from = random.Uniform(source.size() / kWalBlockBytes) * kWalBlockBytes;
      contents.replace(block, kWalBlockBytes, source, from, kWalBlockBytes);
      break;
    }
    case 4:
      contents.resize(random.Uniform(contents.size()));
      break;
    case 5:
      for (uint64_t i = 0; i < 64; ++i) {
        contents[block + i] = static_cast<char>(random.Next());
      }
      break;
  }
  files.Replace(log, contents);
}

void History::Forge(io::Random& random) {
  if (chunks.empty()) return;
  const LogChunk& chunk = chunks[random.Uniform(chunks.size())];
  std::string contents = files.Read(chunk.log);
  if (chunk.offset + kWalHeaderBytes > contents.size()) return;
  const io::MutableBytes bytes = io::AsMutableBytes(contents).subspan(chunk.offset);
  std::optional<WalChunkHeader> header = DecodeWalHeader(bytes);
  if (!header) return;
  const auto spoil = [&random](auto* field) {
    using Field = std::remove_reference_t<decltype(*field)>;
    switch (random.Uniform(4)) {
      case 0:
        *field = static_cast<Field>(random.Next());
        break;
      case 1:
        *field = static_cast<Field>(*field + random.Uniform(3) - 1);
        break;
      case 2:
        *field = static_cast<Field>(Field{1} << random.Uniform(8 * sizeof(Field)));
        break;
      case 3:
        *field = static_cast<Field>(-1 - static_cast<int>(random.Uniform(64)));
        break;
    }
  };
  switch (random.Uniform(8)) {
    case 0:
      spoil(&header->payload_bytes);
      break;
    case 1:
      spoil(&header->batch_count);
      break;
    case 2:
      spoil(&header->log_number);
      break;
    case 3:
      spoil(&header->first_sequence);
      break;
    case 4:
      spoil(&header->durable_sequence);
      break;
    case 5:
      spoil(&header->chunk_index);
      break;
    case 6:
      spoil(&header->salt);
      break;
    case 7: {  // the batches
      const uint64_t payload_bytes =
          std::min<uint64_t>(header->payload_bytes, bytes.size() - kWalHeaderBytes);
      if (payload_bytes > 0) {
        bytes[kWalHeaderBytes + random.Uniform(std::min<uint64_t>(payload_bytes, 40))] =
            static_cast<std::byte>(random.Next());
      }
      break;
    }
  }
  if (header->payload_bytes <= bytes.size() - kWalHeaderBytes) {
    Reseal(*header, bytes);
  } else {
    EncodeWalHeader(*header, bytes);
  }
  files.Replace(chunk.log, contents);
}

bool History::IsIntact(const LogChunk& chunk) const {
  const std::string contents = storage.Contents(FileName(FileKind::kLog, chunk.log)).value();
  const uint64_t end = chunk.offset + chunk.padded_bytes;
  return contents.size() >= end &&
         contents.compare(chunk.offset, chunk.padded_bytes, originals.at(chunk.log), chunk.offset,
                          chunk.padded_bytes) == 0;
}

uint64_t Seed() {
  const uint64_t seed = testing::FromEnvironment("SEED", 20'261'121);
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

TEST(WalMutationTest, DamageNeverYieldsAnythingButAPrefixOrCorruption) {
  io::Random seeds(Seed());
  uint64_t corruption_count = 0;
  uint64_t short_count = 0;
  for (uint64_t round = 0; round < kRoundCount; ++round) {
    const uint64_t seed = seeds.Next();
    SCOPED_TRACE("round " + std::to_string(round));
    io::Random random(seed);
    History history(random);
    const uint64_t spoil_count = random.Uniform(4);
    for (uint64_t i = 0; i < spoil_count; ++i) history.Spoil(random);

    // Replay from the beginning or from behind some batch.
    const size_t skipped = random.OneIn(2) ? 0 : random.Uniform(history.batches.size() + 1);
    const SequenceNumber after =
        skipped == 0 ? history.first_sequence - 1 : history.batches[skipped - 1].last_sequence();
    const Replayed replayed = history.files.Replay(history.logs, after);

    ASSERT_LE(replayed.batches.size(), history.batches.size() - skipped);
    for (size_t i = 0; i < replayed.batches.size(); ++i) {
      ASSERT_EQ(replayed.batches[i], history.batches[skipped + i]);
    }
    SequenceNumber claimed = 0;
    bool all_intact = true;
    for (const LogChunk& chunk : history.chunks) {
      if (history.IsIntact(chunk)) {
        claimed = std::max(claimed, chunk.durable_sequence);
      } else {
        all_intact = false;
      }
    }
    if (replayed.status.ok()) {
      ASSERT_GE(replayed.result.last_sequence, claimed);
      short_count += replayed.batches.size() < history.batches.size() - skipped ? 1 : 0;
    } else {
      ASSERT_TRUE(replayed.status.Is(io::StatusCode::kCorruption)) << replayed.status.ToString();
      ++corruption_count;
    }
    if (all_intact && spoil_count == 0) {
      ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
      ASSERT_EQ(replayed.batches.size(), history.batches.size() - skipped);
    }
  }
  // The test would be worth nothing if one of the outcomes never came up.
  EXPECT_GT(corruption_count, kRoundCount / 20);
  EXPECT_GT(short_count, kRoundCount / 20);
}

TEST(WalMutationTest, ForgedChunksAreRefusedOrWellFormed) {
  io::Random seeds(Seed() + 1);
  for (uint64_t round = 0; round < kRoundCount; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    io::Random random(seeds.Next());
    History history(random);
    for (uint64_t i = 1 + random.Uniform(3); i > 0; --i) {
      if (random.OneIn(4)) {
        history.Spoil(random);
      } else {
        history.Forge(random);
      }
    }
    const SequenceNumber after = history.first_sequence - 1;
    const Replayed replayed = history.files.Replay(history.logs, after);
    ASSERT_TRUE(replayed.status.ok() || replayed.status.Is(io::StatusCode::kCorruption))
        << replayed.status.ToString();
    SequenceNumber expected = after + 1;
    for (const LogBatch& batch : replayed.batches) {
      ASSERT_EQ(batch.first_sequence, expected);
      expected = batch.last_sequence() + 1;
      ASSERT_TRUE(WriteBatch::ForEach(batch.representation, batch.count,
                                      [](EntryKind, std::string_view, std::string_view) {})
                      .ok());
    }
  }
}

}  // namespace
}  // namespace terracefs::lsm
