#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "io/base/mutex.h"
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

  // What was asked for last, be it done or estimated.
  lsm::CompactionRequest last_request() const {
    io::MutexLock lock(mutex_);
    return request_;
  }
  // Statistics show what was set, and what is put in here.
  void SetStats(const lsm::DbStats& stats) {
    io::MutexLock lock(mutex_);
    stats_ = stats;
  }
  void SetSpace(const lsm::SpaceStats& space) {
    io::MutexLock lock(mutex_);
    space_ = space;
  }
  uint64_t cache_bytes() const {
    io::MutexLock lock(mutex_);
    return cache_bytes_;
  }

  io::Status Compact(const lsm::CompactionRequest& request, lsm::JobControl& control,
                     const Progress& progress) override {
    TakeRequest(request);
    return script_(control, progress);
  }
  lsm::DbStats Stats() const override {
    io::MutexLock lock(mutex_);
    lsm::DbStats stats = stats_;
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
  io::Status Scan(const lsm::ReadOptions& options, std::string_view begin, const ScanPlace& place,
                  const ScanVisit& visit) override {
    return db_.Scan(options, begin, place, visit);
  }
  void SetValueCompression(int level) override {
    io::MutexLock lock(mutex_);
    value_zstd_level_ = level;
  }
  int value_zstd_level() const {
    io::MutexLock lock(mutex_);
    return value_zstd_level_;
  }
  io::Result<lsm::SpaceStats> Space() override {
    io::MutexLock lock(mutex_);
    return space_;
  }
  int64_t Counter(uint8_t id) const override { return db_.Counter(id); }
  lsm::SequenceNumber AcquireSnapshot() override { return db_.AcquireSnapshot(); }
  void ReleaseSnapshot(lsm::SequenceNumber snapshot) override { db_.ReleaseSnapshot(snapshot); }
  io::Status Flush() override { return db_.Flush(); }
  void WaitForQuiescence() override {}
  io::Status VerifyInvariants(bool read_all) override { return db_.VerifyInvariants(read_all); }
  io::Result<lsm::CompactionEstimate> EstimateCompaction(const lsm::CompactionRequest& request,
                                                         lsm::JobControl&) override {
    TakeRequest(request);
    return estimate;
  }
  void SetCompactionRate(uint64_t rate) override {
    io::MutexLock lock(mutex_);
    stats_.rate_auto = rate == lsm::kRateAuto;
    stats_.limiter.rate = stats_.rate_auto ? 0 : rate;
  }
  void SetCompactionWorkers(int count) override {
    io::MutexLock lock(mutex_);
    stats_.compaction_workers = count;
  }
  void SetGarbageRatio(double ratio) override {
    io::MutexLock lock(mutex_);
    stats_.garbage_ratio = ratio;
  }
  void SetDeleteDeadline(int64_t ms) override {
    io::MutexLock lock(mutex_);
    stats_.delete_deadline_ms = ms;
  }
  void SetCommitInterval(int64_t ms) override {
    io::MutexLock lock(mutex_);
    stats_.commit_interval_ms = ms;
  }
  void SetCacheBytes(uint64_t bytes) override {
    io::MutexLock lock(mutex_);
    cache_bytes_ = bytes;
  }

 private:
  void TakeRequest(const lsm::CompactionRequest& request) {
    io::MutexLock lock(mutex_);
    request_ = request;
  }

  const Script script_;
  MemoryDb db_;
  mutable io::Mutex mutex_;
  lsm::CompactionRequest request_ GUARDED_BY(mutex_);
  lsm::DbStats stats_ GUARDED_BY(mutex_);
  lsm::SpaceStats space_ GUARDED_BY(mutex_);
  uint64_t cache_bytes_ GUARDED_BY(mutex_) = 0;
  int value_zstd_level_ GUARDED_BY(mutex_) = 0;
};

}  // namespace terracefs::testing
