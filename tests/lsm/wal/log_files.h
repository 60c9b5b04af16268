#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/base/random.h"
#include "io/base/units.h"
#include "io/storage.h"
#include "lsm/file_names.h"
#include "lsm/wal/wal_format.h"
#include "lsm/wal/wal_reader.h"
#include "lsm/wal/wal_writer.h"
#include "lsm/write_batch.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {

inline constexpr uint64_t kLogSecret = 0x5ec4e7;

// One batch as it was logged, or as it was replayed.
struct LogBatch {
  SequenceNumber first_sequence = 0;
  uint32_t count = 0;
  std::string representation;

  SequenceNumber last_sequence() const { return first_sequence + count - 1; }
  bool operator==(const LogBatch&) const = default;
};

// A batch of `count` entries that is told from every other by its sequence; about `bytes` long.
inline LogBatch MakeBatch(SequenceNumber first_sequence, uint32_t count = 1, size_t bytes = 100) {
  WriteBatch batch;
  for (uint32_t i = 0; i < count; ++i) {
    const std::string key = "key" + std::to_string(first_sequence + i);
    if (i % 5 == 3) {
      batch.Delete(key);
    } else {
      batch.Put(key, std::string(bytes / count, static_cast<char>('a' + first_sequence % 26)));
    }
  }
  LogBatch made{first_sequence, count, {}};
  made.representation = batch.TakeRepresentation();
  return made;
}

// Where a chunk of a written log lies and what it holds.
struct LogChunk {
  FileNumber log = 0;
  uint64_t offset = 0;
  uint64_t padded_bytes = 0;
  SequenceNumber first_sequence = 0;
  SequenceNumber last_sequence = 0;
  SequenceNumber durable_sequence = 0;
};

struct Replayed {
  io::Status status;
  WalReplayResult result;  // if ok
  std::vector<LogBatch> batches;
  std::vector<FileNumber> logs;  // of each batch
};

// Writes, spoils and replays logs in a storage. A failed step fails the test.
class LogFiles {
 public:
  explicit LogFiles(testing::SimStorage& storage) : storage_(storage) {}

  // Begins log `number` in a file of its own, full of zeros. Without `create` the file must be
  // there and keeps what it holds.
  std::unique_ptr<WalWriter> StartLog(FileNumber number, uint64_t file_bytes = 256 * io::kKiB,
                                      bool create = true, uint64_t secret = kLogSecret) {
    auto file =
        storage_.Open(FileName(FileKind::kLog, number),
                      {.write = true, .create = create, .truncate = create, .direct = true});
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    if (create) {
      EXPECT_TRUE((*file)->Truncate(file_bytes).ok());
    }
    return std::make_unique<WalWriter>(std::move(file).value(), number, secret);
  }

  // Logs `batches` as one chunk.
  LogChunk WriteChunk(WalWriter& writer, const std::vector<LogBatch>& batches,
                      SequenceNumber durable_sequence = 0) {
    for (const LogBatch& batch : batches) {
      writer.Append(batch.first_sequence, batch.count, batch.representation);
    }
    WalChunk chunk = writer.Seal(durable_sequence);
    EXPECT_TRUE(writer.WriteChunk(chunk, /*durable=*/true).ok());
    return {writer.log_number(),  chunk.offset,        chunk.padded_bytes,
            chunk.first_sequence, chunk.last_sequence, durable_sequence};
  }

  std::string Read(FileNumber number) {
    io::Result<std::string> contents = storage_.Contents(FileName(FileKind::kLog, number));
    EXPECT_TRUE(contents.ok()) << contents.status().ToString();
    return std::move(contents).value();
  }

  void Replace(FileNumber number, const std::string& contents) {
    storage_.PutContents(FileName(FileKind::kLog, number), contents);
  }

  void FlipBit(FileNumber number, uint64_t offset, int bit = 0) {
    std::string contents = Read(number);
    ASSERT_LT(offset, contents.size());
    contents[offset] = static_cast<char>(contents[offset] ^ (1 << bit));
    Replace(number, contents);
  }

  // As if the chunk had never reached the device.
  void Erase(const LogChunk& chunk) {
    std::string contents = Read(chunk.log);
    contents.replace(chunk.offset, chunk.padded_bytes, chunk.padded_bytes, '\0');
    Replace(chunk.log, contents);
  }

  Replayed Replay(const std::vector<FileNumber>& numbers, SequenceNumber after = 0) {
    Replayed replayed;
    io::Result<WalReplayResult> result = ReplayLogs(
        storage_, numbers, kLogSecret, after,
        [&replayed](FileNumber log, SequenceNumber first_sequence, uint32_t count,
                    std::string_view representation) {
          replayed.batches.push_back({first_sequence, count, std::string(representation)});
          replayed.logs.push_back(log);
          return io::Status::Ok();
        });
    if (result.ok()) {
      replayed.result = *result;
    } else {
      replayed.status = result.status();
    }
    return replayed;
  }

 private:
  testing::SimStorage& storage_;
};

// Rewrites the header of the chunk at the front of `chunk` and makes the checksum right again.
inline void Reseal(WalChunkHeader header, io::MutableBytes chunk) {
  EncodeWalHeader(header, chunk);
  header.crc = WalChunkChecksum(chunk.first(kWalHeaderBytes + header.payload_bytes));
  EncodeWalHeader(header, chunk);
}

}  // namespace terracefs::lsm
