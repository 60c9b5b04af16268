// The log under power cuts: several lives of one store, each cut somewhere, recovered and
// continued. SEED=n replays one run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/base/log.h"
#include "io/base/random.h"
#include "lsm/file_names.h"
#include "lsm/wal/wal_recycler.h"
#include "lsm/wal/wal_writer.h"
#include "tests/lsm/wal/log_files.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm {
namespace {

using testing::CrashMode;
using testing::SimStorage;

constexpr uint64_t kRunCount = 100;
constexpr uint64_t kLogBytes = 40 * kWalBlockBytes;

// What survives any crash: the manifest's part, and what was promised.
struct Promise {
  SequenceNumber after = 0;       // in tables
  FileNumber log_number = 1;      // older logs are done with
  SequenceNumber durable = 0;     // acknowledged
  std::vector<LogBatch> batches;  // all that was ever appended and not given up; batch i first
};

// A writer's life between two power cuts: what the engine's write queue does, step by step at
// random, in one thread. Chunks are in flight between Seal and their write, and between a write
// that is not durable and the next sync.
class Life {
 public:
  Life(SimStorage& storage, Promise& promise, FileNumber first_number, io::Random& random)
      : promise_(promise),
        random_(random),
        next_number_(first_number),
        next_sequence_(promise.durable + 1),
        recycler_(storage, kLogBytes, [this] { return next_number_++; }) {}

  io::Status StartAt(const std::vector<FileNumber>& old_logs) {
    TRY(StartLog());
    // As the engine does on opening: what was recovered goes to tables, or stays in the old logs.
    if (random_.OneIn(2)) {
      promise_.after = next_sequence_ - 1;
      promise_.log_number = writer_->log_number();
      for (const FileNumber number : old_logs) {
        if (random_.OneIn(2)) TRY(recycler_.Recycle(number));
      }
    }
    return io::Status::Ok();
  }
  io::Status Steps(uint64_t step_count) {
    for (uint64_t step = 0; step < step_count; ++step) TRY(Step());
    return io::Status::Ok();
  }

 private:
  enum class State { kSealed, kWritten, kDurable };
  struct Pending {
    std::shared_ptr<WalWriter> log;
    WalChunk chunk;
    State state = State::kSealed;
  };

  io::Status StartLog() {
    WalRecycler::ReadyLog log = TRY(recycler_.Take());
    writer_ = std::make_shared<WalWriter>(std::move(log.file), log.number, kLogSecret);
    return io::Status::Ok();
  }

  io::Status Step() {
    const uint64_t choice = random_.Uniform(100);
    if (choice < 40) return Append();
    if (choice < 55) return Seal();
    if (choice < 75) return WriteOne(/*durable=*/random_.OneIn(2));
    if (choice < 82) return SyncWritten();
    if (choice < 86) return recycler_.Prepare();
    if (choice < 93) return Rotate();
    return FlushOldLogs();
  }

  io::Status Append() {
    const size_t bytes = random_.OneIn(6) ? random_.Uniform(30'000) : random_.Uniform(400);
    LogBatch batch =
        MakeBatch(next_sequence_, static_cast<uint32_t>(1 + random_.Uniform(4)), bytes);
    writer_->Append(batch.first_sequence, batch.count, batch.representation);
    next_sequence_ = batch.last_sequence() + 1;
    promise_.batches.push_back(std::move(batch));
    return io::Status::Ok();
  }

  io::Status Seal() {
    if (!writer_->has_open_chunk()) return io::Status::Ok();
    // What the sealing thread knows to be durable may be behind.
    const SequenceNumber known = random_.OneIn(4) ? known_durable_ : promise_.durable;
    known_durable_ = known;
    pending_.push_back({writer_, writer_->Seal(known), State::kSealed});
    return io::Status::Ok();
  }

  io::Status WriteOne(bool durable) {
    if (pending_.empty()) return io::Status::Ok();
    Pending& pending = pending_[random_.Uniform(pending_.size())];
    if (pending.state != State::kSealed) return io::Status::Ok();
    TRY(pending.log->WriteChunk(pending.chunk, durable));
    pending.state = durable ? State::kDurable : State::kWritten;
    Advance();
    return io::Status::Ok();
  }

  io::Status SyncWritten() {
    std::vector<Pending*> covered;
    for (Pending& pending : pending_) {
      if (pending.state == State::kWritten) covered.push_back(&pending);
    }
    for (Pending* const pending : covered) {
      TRY(pending->log->Sync());
      pending->state = State::kDurable;
    }
    Advance();
    return io::Status::Ok();
  }

  void Advance() {
    while (!pending_.empty() && pending_.front().state == State::kDurable) {
      promise_.durable = std::max(promise_.durable, pending_.front().chunk.last_sequence);
      pending_.pop_front();
    }
  }

  io::Status Rotate() {
    TRY(Seal());
    const std::shared_ptr<WalWriter> old = writer_;
    TRY(StartLog());
    EXPECT_GT(writer_->log_number(), old->log_number());
    rotated_.push_back({old->log_number(), next_sequence_ - 1});
    return io::Status::Ok();
  }

  // The memtable of the oldest log goes to a table; nothing of that log may be in flight any more
  // when its file is reused.
  io::Status FlushOldLogs() {
    if (rotated_.empty()) return io::Status::Ok();
    const auto [number, last_sequence] = rotated_.front();
    const auto is_old = [number = number](const Pending& pending) {
      return pending.log->log_number() == number;
    };
    if (std::any_of(pending_.begin(), pending_.end(), [&](const Pending& pending) {
          return is_old(pending) && pending.state == State::kSealed;
        })) {
      return io::Status::Ok();
    }
    for (Pending& pending : pending_) {
      if (is_old(pending)) pending.state = State::kDurable;  // in tables
    }
    rotated_.pop_front();
    promise_.after = last_sequence;
    promise_.durable = std::max(promise_.durable, last_sequence);
    promise_.log_number = rotated_.empty() ? writer_->log_number() : rotated_.front().first;
    Advance();
    return recycler_.Recycle(number);
  }

  Promise& promise_;
  io::Random& random_;
  FileNumber next_number_;
  SequenceNumber next_sequence_;
  SequenceNumber known_durable_ = 0;
  WalRecycler recycler_;
  std::shared_ptr<WalWriter> writer_;
  std::deque<Pending> pending_;  // in order of sequence
  std::deque<std::pair<FileNumber, SequenceNumber>> rotated_;
};

std::vector<FileNumber> LogNumbers(SimStorage& storage) {
  std::vector<FileNumber> numbers;
  const io::Result<std::vector<std::string>> names = storage.List();
  EXPECT_TRUE(names.ok());
  for (const std::string& name : *names) numbers.push_back(ParseFileName(name)->number);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// Replays what the crash left, checks it against the promise, and makes it the history from now on.
void Recover(SimStorage& storage, Promise& promise) {
  std::vector<FileNumber> live;
  for (const FileNumber number : LogNumbers(storage)) {
    if (number >= promise.log_number) live.push_back(number);
  }
  const Replayed replayed = LogFiles(storage).Replay(live, promise.after);
  ASSERT_TRUE(replayed.status.ok()) << replayed.status.ToString();
  ASSERT_GE(replayed.result.last_sequence, promise.durable) << "durable batches are gone";
  auto expected = promise.batches.begin();
  while (expected != promise.batches.end() && expected->last_sequence() <= promise.after) {
    ++expected;
  }
  for (const LogBatch& batch : replayed.batches) {
    ASSERT_NE(expected, promise.batches.end());
    ASSERT_EQ(batch, *expected);
    ++expected;
  }
  promise.batches.erase(expected, promise.batches.end());
  promise.durable = replayed.result.last_sequence;
}

class WalCrashTest : public ::testing::Test {
 protected:
  // Every run ends in errors; what the log says about them is of no interest.
  WalCrashTest() { EXPECT_TRUE(io::SetLogLevel("critical").ok()); }
};

TEST_F(WalCrashTest, EveryCutLeavesAPrefixWithAllThatWasDurable) {
  const char* const replay = std::getenv("SEED");
  const uint64_t seed = replay != nullptr ? std::strtoull(replay, nullptr, 0) : 4'711;
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  io::Random seeds(seed);
  uint64_t cut_count = 0;
  uint64_t given_up_count = 0;
  for (uint64_t run = 0; run < kRunCount; ++run) {
    SCOPED_TRACE("run " + std::to_string(run));
    io::Random random(seeds.Next());
    auto storage = std::make_unique<SimStorage>(random.Next());
    Promise promise;
    for (int life_index = 0; life_index < 6; ++life_index) {
      SCOPED_TRACE("life " + std::to_string(life_index));
      const std::vector<FileNumber> old_logs = LogNumbers(*storage);
      const FileNumber first_number =
          std::max(promise.log_number, old_logs.empty() ? 0 : old_logs.back()) + 1;
      if (random.OneIn(2)) {
        storage->CrashAtIo(storage->io_count() + random.Uniform(120));
      }
      Life life(*storage, promise, first_number, random);
      io::Status status = life.StartAt(old_logs);
      if (status.ok()) status = life.Steps(random.Uniform(150));
      ASSERT_EQ(status.ok(), !storage->power_is_off()) << status.ToString();
      cut_count += status.ok() ? 0 : 1;

      const uint64_t mode = random.Uniform(4);
      const size_t appended_count = promise.batches.size();
      auto after_crash = storage->CrashClone(random.Next(), mode == 0 ? CrashMode::kLoseAllUnsynced
                                                            : mode == 1 ? CrashMode::kKeepAll
                                                                        : CrashMode::kRandom);
      Recover(*after_crash, promise);
      if (::testing::Test::HasFatalFailure()) return;
      given_up_count += promise.batches.size() < appended_count ? 1 : 0;
      storage = std::move(after_crash);
    }
  }
  EXPECT_GT(cut_count, kRunCount / 3);
  EXPECT_GT(given_up_count, kRunCount / 3);
}

// At every single operation of one short life.
TEST_F(WalCrashTest, EveryOperationMayBeTheLast) {
  constexpr uint64_t kSeed = 99;
  for (uint64_t io_index = 0;; ++io_index) {
    SCOPED_TRACE("cut at operation " + std::to_string(io_index));
    io::Random random(kSeed);
    SimStorage storage(1);
    storage.CrashAtIo(io_index);
    Promise promise;
    Life life(storage, promise, 1, random);
    io::Status status = life.StartAt({});
    if (status.ok()) status = life.Steps(200);
    for (uint64_t crash_seed = 0; crash_seed < 4; ++crash_seed) {
      Promise at_crash = promise;
      Recover(*storage.CrashClone(crash_seed), at_crash);
      if (::testing::Test::HasFatalFailure()) return;
    }
    if (status.ok()) {
      EXPECT_GT(io_index, 30u);
      break;
    }
  }
}

}  // namespace
}  // namespace terracefs::lsm
