#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/mutex.h"
#include "io/base/random.h"
#include "lsm/db.h"

namespace terracefs::testing {

// A Db in a std::map, for tests of what stands on one. It takes the promise of DropRange by its
// word: the range is really erased, and a CHECK fails if it is written or looked up again. (An
// iterator may pass over it from outside.) Everything is durable at once. With keys_only no value
// of a page's size is given. Safe from any thread.
class MemoryDb final : public lsm::Db {
 public:
  MemoryDb() = default;
  ~MemoryDb() override = default;

  // Another engine with the same content, as the next process would find it. Without faults.
  std::unique_ptr<MemoryDb> Clone() const;

  // One in `n` of the cache_only reads answers WouldBlock, and one in `n` of the questions whether
  // a write would stall is answered with yes; 0: none.
  void SetWouldBlockOneIn(uint64_t n, uint64_t seed);
  // The Write after `count` more ones fails with `status`; nothing of it happens.
  void FailWriteAfter(uint64_t count, const io::Status& status);
  bool write_failure_is_armed() const;
  // From now on writes would stall, and do not.
  void SetStalled(bool stalled);
  uint64_t write_count() const;
  uint64_t written_bytes() const;
  uint64_t page_put_count() const;  // WriteBatch::PutPage
  uint64_t read_count() const;      // Get, and MultiGet per key
  std::string last_seek() const;    // where an iterator was last sent to
  // Every live key.
  std::vector<std::string> Keys() const;
  // Past all checks and counters, to damage things.
  void PutRaw(std::string_view key, std::string_view value);
  void EraseRaw(std::string_view key);

  io::Status Close() override { return io::Status::Ok(); }
  io::Status Write(lsm::WriteBatch&& batch, bool durable) override;
  io::Status Sync() override { return io::Status::Ok(); }
  bool WriteWouldStall() const override;
  uint64_t RoomBytes() const override { return room_bytes_; }
  void SetRoomBytes(uint64_t bytes) { room_bytes_ = bytes; }
  lsm::SequenceNumber LastSequence() const override;
  lsm::SequenceNumber DurableSequence() const override { return LastSequence(); }
  io::Result<std::optional<lsm::PinnedValue>> Get(const lsm::ReadOptions& options,
                                                  std::string_view key) override;
  io::Result<std::vector<std::optional<lsm::PinnedValue>>> MultiGet(
      const lsm::ReadOptions& options, std::span<const std::string> keys) override;
  std::unique_ptr<lsm::Iterator> NewIterator(const lsm::ReadOptions& options) override;
  io::Status Scan(const lsm::ReadOptions& options, std::string_view begin, const ScanPlace& place,
                  const ScanVisit& visit) override;
  int64_t Counter(uint8_t id) const override;
  lsm::SequenceNumber AcquireSnapshot() override;
  void ReleaseSnapshot(lsm::SequenceNumber snapshot) override;
  io::Status Flush() override { return io::Status::Ok(); }
  io::Status Compact(const lsm::CompactionRequest& request, lsm::JobControl& control,
                     const std::function<void(const lsm::CompactionProgress&)>& progress) override;
  void WaitForQuiescence() override {}
  io::Status VerifyInvariants(bool /*read_all*/) override { return io::Status::Ok(); }
  io::Result<lsm::CompactionEstimate> EstimateCompaction(const lsm::CompactionRequest& /*request*/,
                                                         lsm::JobControl& /*control*/) override {
    return lsm::CompactionEstimate();
  }
  void SetCompactionRate(uint64_t /*bytes_per_second*/) override {}
  void SetCompactionWorkers(int /*count*/) override {}
  void SetGarbageRatio(double /*ratio*/) override {}
  void SetDeleteDeadline(int64_t /*ms*/) override {}
  void SetCommitInterval(int64_t /*ms*/) override {}
  void SetValueCompression(int) override {}
  io::Result<lsm::SpaceStats> Space() override { return space_; }
  void SetSpace(const lsm::SpaceStats& space) { space_ = space; }
  void SetCacheBytes(uint64_t /*bytes*/) override {}
  lsm::DbStats Stats() const override { return {}; }

 private:
  friend class MemoryDbIterator;

  using Value = std::shared_ptr<const std::string>;  // null: deleted
  struct Version {
    lsm::SequenceNumber sequence = 0;
    Value value;
  };
  // Oldest first. Older versions are kept only while there are snapshots.
  using Versions = std::vector<Version>;
  using Map = std::map<std::string, Versions, std::less<>>;

  void PutLocked(std::string_view key, Value value) REQUIRES(mutex_);
  void DropLocked(std::string_view begin, std::string_view end) REQUIRES(mutex_);
  bool IsDroppedLocked(std::string_view key) const REQUIRES(mutex_);
  Value FindLocked(std::string_view key, lsm::SequenceNumber snapshot) const REQUIRES(mutex_);
  static Value At(const Versions& versions, lsm::SequenceNumber snapshot);
  bool BlocksLocked() const REQUIRES(mutex_);

  mutable io::Mutex mutex_;
  Map map_ GUARDED_BY(mutex_);
  std::map<std::string, std::string, std::less<>> dropped_ GUARDED_BY(mutex_);  // begin -> end
  std::map<uint8_t, int64_t> counters_ GUARDED_BY(mutex_);
  std::multiset<lsm::SequenceNumber> snapshots_ GUARDED_BY(mutex_);
  bool has_history_ GUARDED_BY(mutex_) = false;  // some key has more than its newest version
  lsm::SequenceNumber sequence_ GUARDED_BY(mutex_) = 0;
  uint64_t write_count_ GUARDED_BY(mutex_) = 0;
  uint64_t written_bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t page_put_count_ GUARDED_BY(mutex_) = 0;
  uint64_t read_count_ GUARDED_BY(mutex_) = 0;
  std::string last_seek_ GUARDED_BY(mutex_);
  uint64_t would_block_one_in_ GUARDED_BY(mutex_) = 0;
  mutable io::Random random_ GUARDED_BY(mutex_){1};
  uint64_t writes_until_failure_ GUARDED_BY(mutex_) = 0;
  std::optional<io::Status> write_failure_ GUARDED_BY(mutex_);
  bool stalled_ GUARDED_BY(mutex_) = false;
  std::atomic<uint64_t> room_bytes_{uint64_t{1} << 40};
  lsm::SpaceStats space_;
};

}  // namespace terracefs::testing
