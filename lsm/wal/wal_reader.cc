#include "lsm/wal/wal_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "io/aligned_buffer.h"
#include "io/base/check.h"
#include "io/base/coding.h"
#include "io/base/units.h"
#include "lsm/file_names.h"
#include "lsm/wal/wal_format.h"
#include "lsm/write_batch.h"

// Two halves. LogScanner finds the valid chunks of one file, block by block from its beginning to
// its end, and trusts nothing. Replay takes them in order of logs and offsets and decides which are
// the history.
//
// Invariants of Replay:
//  R1. Everything up to expected_ - 1 is in tables or has been visited, in order, once.
//  R2. A chunk is replayed only if it begins with expected_ (the very first one may begin earlier,
//  if it
//      reaches past `after`), and within a log only right behind the chunk of the index before.
//  R3. durable_claim_ is the largest durable sequence any valid chunk has named. It never exceeds
//  what the
//      logs held when they were written, so at the end durable_claim_ >= expected_ means damage.

namespace terracefs::lsm {
namespace {

constexpr size_t kReadBytes = 2 << 20;

// Scanning steps over a chunk that is broken block by block, so a file could be made in which each
// block claims to be a chunk as long as the rest of the file. Nothing a crash leaves behind comes
// near these limits.
constexpr uint64_t kBrokenBytesPerFileByteMax = 16;
constexpr uint64_t kBrokenBytesAtLeast = 64 * io::kMiB;

// A part of a file in memory, moved forward over it.
class ReadWindow {
 public:
  ReadWindow(io::File& file, uint64_t file_bytes)
      : file_(file), file_bytes_(file_bytes), buffer_(kReadBytes) {}

  // [offset, offset + bytes) of the file; good until the next call. `offset` is a multiple of
  // kWalBlockBytes and never smaller than in the call before; the range lies in the file.
  io::Result<io::Bytes> View(uint64_t offset, uint64_t bytes) {
    CHECK(offset >= begin_);
    CHECK(bytes <= file_bytes_ && offset <= file_bytes_ - bytes);
    if (offset + bytes > begin_ + filled_bytes_) TRY(MoveTo(offset, bytes));
    return io::Bytes(buffer_.data() + (offset - begin_), bytes);
  }

 private:
  // Makes the window begin at `offset`, keeps what it has from there on, and reads the rest.
  io::Status MoveTo(uint64_t offset, uint64_t bytes) {
    const uint64_t skipped_bytes = std::min<uint64_t>(offset - begin_, filled_bytes_);
    const uint64_t kept_bytes = filled_bytes_ - skipped_bytes;
    if (bytes > buffer_.capacity()) {
      io::AlignedBuffer larger(bytes);
      std::memcpy(larger.data(), buffer_.data() + skipped_bytes, kept_bytes);
      buffer_ = std::move(larger);
    } else {
      std::memmove(buffer_.data(), buffer_.data() + skipped_bytes, kept_bytes);
    }
    begin_ = offset;
    filled_bytes_ = kept_bytes;
    const uint64_t wanted_bytes = std::min<uint64_t>(buffer_.capacity(), file_bytes_ - begin_);
    while (filled_bytes_ < wanted_bytes) {
      const uint64_t read_bytes = std::min<uint64_t>(kReadBytes, wanted_bytes - filled_bytes_);
      TRY(file_.ReadFull(begin_ + filled_bytes_, {buffer_.data() + filled_bytes_, read_bytes}));
      filled_bytes_ += read_bytes;
    }
    return io::Status::Ok();
  }

  io::File& file_;
  const uint64_t file_bytes_;
  io::AlignedBuffer buffer_;
  uint64_t begin_ = 0;
  uint64_t filled_bytes_ = 0;
};

// A chunk whose checksum, log number and salt are right.
struct FoundChunk {
  WalChunkHeader header;
  uint64_t offset = 0;
  uint64_t padded_bytes = 0;
  std::string_view payload;  // good until the scanner moves on
};

class LogScanner {
 public:
  static io::Result<std::unique_ptr<LogScanner>> Open(io::Storage& storage, FileNumber number,
                                                      uint64_t secret) {
    std::unique_ptr<io::File> file =
        TRY(storage.Open(FileName(FileKind::kLog, number), {.direct = true}));
    // A file that does not end on a block was cut short by somebody else; whole blocks are still
    // good.
    const uint64_t file_bytes = io::RoundDown(TRY(file->SizeBytes()), kWalBlockBytes);
    return std::make_unique<LogScanner>(number, std::move(file), file_bytes,
                                        WalSalt(secret, number));
  }

  LogScanner(FileNumber number, std::unique_ptr<io::File> file, uint64_t file_bytes, uint32_t salt)
      : number_(number),
        file_(std::move(file)),
        file_bytes_(file_bytes),
        salt_(salt),
        window_(*file_, file_bytes) {}

  // The next valid chunk; nothing at the end of the file.
  io::Result<std::optional<FoundChunk>> Next() {
    while (offset_ < file_bytes_) {
      std::optional<FoundChunk> chunk = TRY(ChunkAt(offset_));
      if (chunk) {
        offset_ += chunk->padded_bytes;
        return chunk;
      }
      offset_ += kWalBlockBytes;
    }
    return std::optional<FoundChunk>();
  }

  FileNumber number() const { return number_; }
  const std::string& name() const { return file_->name(); }
  // What came last was a broken chunk of this log. Zeros and the remains of an earlier life are
  // not.
  bool ends_broken() const { return ends_broken_; }

 private:
  io::Result<std::optional<FoundChunk>> ChunkAt(uint64_t offset) {
    const io::Bytes block = TRY(window_.View(offset, kWalBlockBytes));
    const std::optional<WalChunkHeader> header = DecodeWalHeader(block);
    if (!header || header->log_number != number_) return std::optional<FoundChunk>();
    if (header->salt != salt_) return std::optional<FoundChunk>();
    // Only the first chunk lies at the beginning, and each chunk before takes at least a block.
    if ((header->chunk_index == 0) != (offset == 0)) return std::optional<FoundChunk>();
    if (header->chunk_index > offset / kWalBlockBytes) return std::optional<FoundChunk>();

    ends_broken_ = true;
    if (header->payload_bytes == 0 || header->payload_bytes > kWalPayloadBytesMax) {
      return std::optional<FoundChunk>();
    }
    const uint64_t used_bytes = kWalHeaderBytes + uint64_t{header->payload_bytes};
    const uint64_t padded_bytes = io::RoundUp(used_bytes, kWalBlockBytes);
    if (padded_bytes > file_bytes_ - offset) return std::optional<FoundChunk>();
    const io::Bytes used = TRY(window_.View(offset, padded_bytes))
    .first(used_bytes);
    if (WalChunkChecksum(used) != header->crc) {
      broken_bytes_ += used_bytes;
      if (broken_bytes_ > kBrokenBytesAtLeast + kBrokenBytesPerFileByteMax * file_bytes_) {
        return io::Status::Corruption("log has more broken chunks than a crash can leave", name());
      }
      return std::optional<FoundChunk>();
    }
    ends_broken_ = false;
    FoundChunk chunk;
    chunk.header = *header;
    chunk.offset = offset;
    chunk.padded_bytes = padded_bytes;
    chunk.payload = io::AsView(used.subspan(kWalHeaderBytes));
    return std::optional<FoundChunk>(chunk);
  }

  const FileNumber number_;
  const std::unique_ptr<io::File> file_;
  const uint64_t file_bytes_;
  const uint32_t salt_;
  ReadWindow window_;
  uint64_t offset_ = 0;
  bool ends_broken_ = false;
  uint64_t broken_bytes_ = 0;
};

struct LoggedBatch {
  SequenceNumber first_sequence = 0;
  uint32_t count = 0;
  std::string_view representation;
};

// The checksum was right, so what is wrong in here was wrong when it was written.
io::Status BadChunk(std::string_view what, const LogScanner& log, const FoundChunk& chunk) {
  return io::Status::Corruption(what, fmt::format("{} offset {}", log.name(), chunk.offset));
}

// Splits a payload into its batches, whose sequences are checked to be without gaps.
io::Result<std::vector<LoggedBatch>> SplitPayload(const LogScanner& log, const FoundChunk& chunk) {
  std::vector<LoggedBatch> batches;
  SequenceNumber sequence = chunk.header.first_sequence;
  io::Decoder decoder(chunk.payload);
  while (!decoder.empty()) {
    LoggedBatch batch;
    uint32_t bytes = 0;
    if (!decoder.GetFixed64(&batch.first_sequence) || !decoder.GetFixed32(&batch.count) ||
        !decoder.GetFixed32(&bytes) || !decoder.GetRaw(bytes, &batch.representation)) {
      return BadChunk("log chunk ends inside a batch", log, chunk);
    }
    if (batch.first_sequence != sequence) {
      return BadChunk(
          fmt::format("log batch has sequence {}, expected {}", batch.first_sequence, sequence),
          log, chunk);
    }
    if (batch.count == 0) return BadChunk("log batch is empty", log, chunk);
    if (sequence == 0 || sequence > kSequenceMax - batch.count) {
      return BadChunk("log batch has a sequence out of range", log, chunk);
    }
    sequence += batch.count;
    batches.push_back(batch);
  }
  if (batches.size() != chunk.header.batch_count) {
    return BadChunk(fmt::format("log chunk has {} batches, expected {}", batches.size(),
                                chunk.header.batch_count),
                    log, chunk);
  }
  return batches;
}

class Replay {
 public:
  Replay(SequenceNumber after, const WalBatchVisitor& visit)
      : visit_(visit), after_(after), expected_(after + 1) {
    result_.last_sequence = after;
  }

  io::Status TakeLog(LogScanner& log) {
    next_index_ = 0;
    if (end_name_.empty()) end_name_ = log.name();
    while (std::optional<FoundChunk> chunk = TRY(log.Next())) TRY(TakeChunk(log, *chunk));
    if (log.ends_broken()) result_.torn_tail = true;
    return io::Status::Ok();
  }

  io::Result<WalReplayResult> Finish() const {
    if (durable_claim_ >= expected_) {
      return io::Status::Corruption(
          fmt::format("log is damaged: sequence {} is missing but was on stable storage",
                      expected_),
          fmt::format("{} offset {} (see {}, which knew {} to be durable)", end_name_, end_offset_,
                      claim_place_, durable_claim_));
    }
    WalReplayResult result = result_;
    result.durable_sequence = std::max(durable_claim_, after_);
    return result;
  }

 private:
  io::Status TakeChunk(const LogScanner& log, const FoundChunk& chunk) {
    const WalChunkHeader& header = chunk.header;
    if (header.durable_sequence >= header.first_sequence) {
      return BadChunk("log chunk says it was durable before it was written", log, chunk);
    }
    if (header.durable_sequence > durable_claim_) {
      durable_claim_ = header.durable_sequence;
      claim_place_ = fmt::format("{} offset {}", log.name(), chunk.offset);
    }
    if (header.first_sequence > expected_) {  // arrived before something that never did
      result_.torn_tail = true;
      return io::Status::Ok();
    }
    const std::vector<LoggedBatch> batches = TRY(SplitPayload(log, chunk));
    const LoggedBatch& last = batches.back();  // the payload is not empty, so there is one
    const SequenceNumber last_sequence = last.first_sequence + last.count - 1;
    if (!started_ && last_sequence < expected_) {  // all of it is in tables
      NoteEnd(log, chunk);
      return io::Status::Ok();
    }
    if (started_ && header.first_sequence < expected_) {
      return BadChunk(fmt::format("log goes back to sequence {}, expected {}",
                                  header.first_sequence, expected_),
                      log, chunk);
    }
    if (started_ && header.chunk_index != next_index_) {
      return BadChunk(
          fmt::format("log chunk has index {}, expected {}", header.chunk_index, next_index_), log,
          chunk);
    }
    // Looked at as a whole first: a malformed chunk is not replayed in part.
    for (const LoggedBatch& batch : batches) TRY(CheckBatch(log, chunk, batch));
    for (const LoggedBatch& batch : batches) TRY(VisitBatch(log, chunk, batch));
    started_ = true;
    result_.torn_tail = false;
    NoteEnd(log, chunk);
    return io::Status::Ok();
  }

  static io::Status CheckBatch(const LogScanner& log, const FoundChunk& chunk,
                               const LoggedBatch& batch) {
    const io::Status status = WriteBatch::ForEach(
        batch.representation, batch.count, [](EntryKind, std::string_view, std::string_view) {});
    return status.ok() ? status : BadChunk(status.message(), log, chunk);
  }

  io::Status VisitBatch(const LogScanner& log, const FoundChunk& chunk, const LoggedBatch& batch) {
    const SequenceNumber batch_end = batch.first_sequence + batch.count;
    if (batch_end <= expected_) return io::Status::Ok();  // in tables
    if (batch.first_sequence != expected_) {
      return BadChunk(fmt::format("log batch {} to {} is in tables only up to {}",
                                  batch.first_sequence, batch_end - 1, expected_ - 1),
                      log, chunk);
    }
    TRY(visit_(log.number(), batch.first_sequence, batch.count, batch.representation));
    expected_ = batch_end;
    result_.last_sequence = batch_end - 1;
    result_.batch_count += 1;
    result_.bytes += batch.representation.size();
    return io::Status::Ok();
  }

  void NoteEnd(const LogScanner& log, const FoundChunk& chunk) {
    next_index_ = chunk.header.chunk_index + 1;
    end_name_ = log.name();
    end_offset_ = chunk.offset + chunk.padded_bytes;
  }

  const WalBatchVisitor& visit_;
  const SequenceNumber after_;
  WalReplayResult result_;
  SequenceNumber expected_;
  bool started_ = false;     // something was replayed
  uint32_t next_index_ = 0;  // of the chunk that would continue this log
  // Where the history ends.
  std::string end_name_;
  uint64_t end_offset_ = 0;
  SequenceNumber durable_claim_ = 0;
  std::string claim_place_;
};

}  // namespace

io::Result<WalReplayResult> ReplayLogs(io::Storage& storage, const std::vector<FileNumber>& numbers,
                                       uint64_t secret, SequenceNumber after,
                                       const WalBatchVisitor& visit) {
  CHECK(after < kSequenceMax);
  CHECK(std::is_sorted(numbers.begin(), numbers.end()));
  Replay replay(after, visit);
  for (const FileNumber number : numbers) {
    // Chunks behind the end of the history are looked at too, in all logs: what they say was
    // durable decides between a torn tail and damage.
    const std::unique_ptr<LogScanner> log = TRY(LogScanner::Open(storage, number, secret));
    TRY(replay.TakeLog(*log));
  }
  return replay.Finish();
}

}  // namespace terracefs::lsm
