#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "lsm/db.h"
#include "tests/support/memory_db.h"

namespace terracefs::testing {

// A MemoryDb whose compactions and statistics the test makes up. Safe from any thread once set up.
class ScriptedCompactionDb final : public lsm::Db {
 public:
  using Progress = std::function<void(const lsm::CompactionProgress&)>;
  using Script = std::function<io::Status(lsm::JobControl& control, const Progress&)>;

  explicit ScriptedCompactionDb(Script script) : script_(std::move(script)) {}

  std::atomic<uint64_t> live_table_bytes{0};
  lsm::CompactionEstimate estimate;

  io::Status Compact(const lsm::CompactionRequest&, lsm::JobControl& control,
                     const Progress& progress) override {
    return script_(control, progress);
  }
  lsm::DbStats Stats() const override {
    lsm::DbStats stats;
    stats.live_table_bytes = live_table_bytes.load();
    return stats;
  }

  io::Status Close() override { return db_.Close(); }
  io::Status Write(lsm::WriteBatch&& batch, bool durable) override {
    return db_.Write(std::move(batch), durable);
  }
  io::Status Sync() override { return db_.Sync(); }
  bool WriteWouldStall() const override { return db_.WriteWouldStall(); }
  uint64_t RoomBytes() const override { return db_.RoomBytes(); }
  lsm::SequenceNumber LastSequence() const override { return db_.LastSequence(); }
  lsm::SequenceNumber DurableSequence() const override { return db_.DurableSequence(); }
  io::Result<std::optional<lsm::PinnedValue>> Get(const lsm::ReadOptions& options,
                                                  std::string_view key) override {
    return db_.Get(options, key);
  }
  io::Result<std::vector<std::optional<lsm::PinnedValue>>> MultiGet(
      const lsm::ReadOptions& options, std::span<const std::string> keys) override {
    return db_.MultiGet(options, keys);
  }
  std::unique_ptr<lsm::Iterator> NewIterator(const lsm::ReadOptions& options) override {
    return db_.NewIterator(options);
  }
  int64_t Counter(uint8_t id) const override { return db_.Counter(id); }
  lsm::SequenceNumber AcquireSnapshot() override { return db_.AcquireSnapshot(); }
  void ReleaseSnapshot(lsm::SequenceNumber snapshot) override { db_.ReleaseSnapshot(snapshot); }
  io::Status Flush() override { return db_.Flush(); }
  void WaitForQuiescence() override {}
  io::Status VerifyInvariants(bool read_all) override { return db_.VerifyInvariants(read_all); }
  io::Result<lsm::CompactionEstimate> EstimateCompaction(const lsm::CompactionRequest&,
                                                         lsm::JobControl&) override {
    return estimate;
  }
  void SetCompactionRate(uint64_t) override {}
  void SetCompactionWorkers(int) override {}
  void SetGarbageRatio(double) override {}
  void SetDeleteDeadline(int64_t) override {}
  void SetCommitInterval(int64_t) override {}
  void SetCacheBytes(uint64_t) override {}

 private:
  const Script script_;
  MemoryDb db_;
};

}  // namespace terracefs::testing
