#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/result.h"
#include "io/rate_limiter.h"
#include "io/storage.h"
#include "lsm/iterator.h"
#include "lsm/job_control.h"
#include "lsm/options.h"
#include "lsm/read_options.h"
#include "lsm/table/block_cache.h"
#include "lsm/write_batch.h"

namespace terracefs::lsm {

// A value found by Db::Get and the memory that holds it.
class PinnedValue {
 public:
  PinnedValue() = default;
  PinnedValue(std::string_view value, std::shared_ptr<const void> owner)
      : value_(value), owner_(std::move(owner)) {}
  std::string_view view() const { return value_; }  // good while this object lives

 private:
  std::string_view value_;
  std::shared_ptr<const void> owner_;
};

struct LevelStats {
  int level = 0;
  uint64_t files = 0;
  uint64_t bytes = 0;
  double score = 0;           // >= 1: wants to be compacted
  uint64_t target_bytes = 0;  // level >= 1
  uint64_t tombstones = 0;
  uint64_t garbage_bytes = 0;  // estimate: of dead ranges and of what tombstones are
  // Jobs that wrote to this level (I1).
  uint64_t jobs = 0;
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  uint64_t job_ns = 0;
};

struct DbStats {
  uint64_t wal_bytes = 0;  // written to logs, padding included
  uint64_t blob_bytes = 0;
  uint64_t flush_bytes = 0;
  uint64_t stall_ns = 0;  // sum over writers of time spent in back-pressure
  std::array<LevelStats, kLevelCount> levels;
  uint64_t jobs_running = 0;
  uint64_t jobs_done = 0;
  uint64_t compaction_bytes_read = 0;
  uint64_t compaction_bytes_written = 0;
  uint64_t compaction_pending_bytes = 0;  // estimate of what has to be rewritten to be in shape
  uint64_t trivial_moves = 0;
  uint64_t delete_only = 0;                 // tables removed without being read
  std::map<std::string, uint64_t> dropped;  // entries by rule: hidden, tombstone, dropped_range
  uint64_t memtable_bytes = 0;
  uint64_t live_table_bytes = 0;
  uint64_t log_file_bytes = 0;  // preallocated logs, spare ones included
  uint64_t user_bytes_written = 0;
  bool rate_auto = false;
  int compaction_workers = 0;
  double garbage_ratio = 0;
  int64_t delete_deadline_ms = 0;
  int64_t commit_interval_ms = 0;
  std::map<std::string, uint64_t> jobs_by_reason;  // automatic and manual jobs that were begun
  io::RateLimiterStats limiter;
  BlockCacheStats cache;
};

// Where the bytes of a store are, and what holds those that are of no use any more. Estimates but
// for `physical`.
struct SpaceStats {
  uint64_t table_bytes = 0;          // of the current version
  uint64_t table_garbage_bytes = 0;  // of these: of tombstones, dead ranges, hidden versions
  uint64_t log_bytes = 0;            // log files, spare ones included
  uint64_t value_bytes = 0;          // of value files: what is referred to
  uint64_t value_garbage_bytes = 0;  // of value files: what nothing refers to any more
  uint64_t value_spare_bytes = 0;    // preallocated for values to come
  uint64_t obsolete_bytes = 0;       // files that only wait for their last reader
  uint64_t physical_bytes = 0;       // the sum of the files' lengths
};

// User keys [begin, end); an empty `end` is no bound.
struct KeyRange {
  std::string begin;
  std::string end;
};

// What a manual compaction shall do. Passes run in order: flush, then level by level.
struct CompactionRequest {
  // Only this level (into the next one in use, or on its own level with `self_level`); -1 = all.
  int level = -1;
  // Tables are rewritten on their own level, nothing sinks; only tables made before the request,
  // but all of level 0 (K2).
  bool self_level = false;
  // Value files are vacuumed down to (nearly) no garbage, after the levels.
  bool vacuum = false;
  // Only tables that meet one of these, sorted and disjoint; empty = all.
  std::vector<KeyRange> ranges = {};
  // Ends (well) once the store's tables have become smaller by so many bytes; 0 = no such goal.
  // Those that hold the most garbage come first.
  uint64_t reclaim_bytes = 0;
};

// What a manual compaction would do, pass by pass.
struct CompactionEstimate {
  struct Pass {
    std::string name;
    uint64_t bytes_read = 0;
    uint64_t bytes_written = 0;
  };
  std::vector<Pass> passes;
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  uint64_t bytes_reclaimed = 0;
};

struct CompactionProgress {
  std::string pass;  // "flush", "level 0" ...
  int pass_index = 0;
  int pass_count = 0;
  uint64_t bytes_done = 0;   // input bytes of this pass
  uint64_t bytes_total = 0;  // estimate
  uint64_t bytes_read = 0;   // of the whole request so far
  uint64_t bytes_written = 0;
};

// A durable, ordered key -> value map. Knows no inode. All methods are safe from any thread.
//
// History is one sequence of batches; after a crash the store holds exactly a prefix of it that
// includes everything Sync (or a durable Write) had returned for. A failed log write or sync is
// sticky: every later Write and Sync fails with the same error until the store is opened again;
// reads go on.
class Db {
 public:
  // Makes an empty engine in `storage`; Busy if there is one.
  static io::Status Create(const Options& options, io::Storage& storage);
  // Recovers and starts the background threads. Corruption, NotFound (no engine here) or IoError;
  // on failure nothing in the store was changed that a later Open would miss. `storage` must
  // outlive the Db.
  static io::Result<std::unique_ptr<Db>> Open(const Options& options, io::Storage& storage);
  virtual ~Db() = default;  // Close, errors only logged

  // Makes everything durable and stops the threads. Nothing may be called afterwards.
  virtual io::Status Close() = 0;

  // Appends `batch` to the history. On return readers see all of it. Takes the batch's memory.
  // `durable`: as if followed by Sync. May delay the caller (back-pressure).
  // An empty batch is fine. NoSpace: nothing happened. InvalidArgument, and nothing happened: a key
  // or value larger than a table takes (lsm/table/table_format.h), or more than kBatchBytesMax
  // together.
  virtual io::Status Write(WriteBatch&& batch, bool durable = false) = 0;
  // Everything written before the call is on stable storage when it returns.
  virtual io::Status Sync() = 0;
  // True if Write would have to wait for the background right now.
  virtual bool WriteWouldStall() const = 0;
  // How many bytes may still be added beside what the engine needs on its disk to go on flushing,
  // compacting and thereby deleting; an estimate, never waits. Whoever adds data asks first; who
  // deletes need not ask. Write itself refuses only what really finds no space.
  virtual uint64_t RoomBytes() const = 0;
  // The newest sequence that readers see, and up to where history is on stable storage.
  virtual SequenceNumber LastSequence() const = 0;
  virtual SequenceNumber DurableSequence() const = 0;

  virtual io::Result<std::optional<PinnedValue>> Get(const ReadOptions& options,
                                                     std::string_view key) = 0;
  // The same for many keys, their cold blocks read together: result i belongs to key i.
  virtual io::Result<std::vector<std::optional<PinnedValue>>> MultiGet(
      const ReadOptions& options, std::span<const std::string> keys) = 0;
  // Over user keys, newest visible versions, deleted ones skipped. The Db must outlive it.
  // Values in value files are read one by one, as value() is asked for; see Scan.
  virtual std::unique_ptr<Iterator> NewIterator(const ReadOptions& options) = 0;
  // Calls `visit` for the newest visible version of each key in [begin, options.upper_bound), which
  // must not be empty, in order, until it returns false; values in value files are read together.
  // `place` (may be empty) says where the kValuePageBytes of such a value shall be put, or null:
  // then in memory of the engine's. The key and the value are good during the call of `visit`. With
  // cache_only `visit` may have been called for some keys before WouldBlock is returned.
  using ScanPlace = std::function<std::byte*(std::string_view key)>;
  using ScanVisit = std::function<bool(std::string_view key, std::string_view value)>;
  virtual io::Status Scan(const ReadOptions& options, std::string_view begin,
                          const ScanPlace& place, const ScanVisit& visit) = 0;

  // The sum of all AddCounter(id, ...) of the visible history.
  virtual int64_t Counter(uint8_t id) const = 0;

  // Reads at the returned sequence (ReadOptions::snapshot) stay repeatable until it is released.
  virtual SequenceNumber AcquireSnapshot() = 0;
  virtual void ReleaseSnapshot(SequenceNumber snapshot) = 0;

  // Writes what is in memory to tables.
  virtual io::Status Flush() = 0;
  // Runs a manual compaction to its end, at most one slice at a time, in the calling thread; bytes
  // are charged to the limiter. `progress` may be null; it is called now and then from this thread.
  // Cancelled if `control` says so, also in the middle of a table; what was finished stays. While
  // it is paused nothing else of the engine waits for it for more than a few seconds.
  virtual io::Status Compact(const CompactionRequest& request, JobControl& control,
                             const std::function<void(const CompactionProgress&)>& progress) = 0;
  // What Compact would do now; from the tables' metadata and a sample of their contents (read
  // within the limiter). Changes nothing, but that what is in memory is written to tables first.
  virtual io::Result<CompactionEstimate> EstimateCompaction(const CompactionRequest& request,
                                                            JobControl& control) = 0;
  // Blocks until no automatic compaction is due or running (tests, benchmarks).
  virtual void WaitForQuiescence() = 0;
  // Checks the engine's invariants (levels sorted and disjoint, files present, counts right; with
  // `read_all` every byte of every table). Corruption names the first breach.
  virtual io::Status VerifyInvariants(bool read_all) = 0;

  // Bytes per second, 0 = unlimited, or kRateAuto. Takes effect at once, for running jobs, too.
  virtual void SetCompactionRate(uint64_t bytes_per_second) = 0;
  virtual void SetCompactionWorkers(int count) = 0;  // 1 to kCompactionWorkersMax
  virtual void SetGarbageRatio(double ratio) = 0;    // as in Options
  virtual void SetDeleteDeadline(int64_t ms) = 0;
  virtual void SetCommitInterval(int64_t ms) = 0;
  virtual void SetCacheBytes(uint64_t bytes) = 0;
  virtual void SetValueCompression(int zstd_level) = 0;  // 0 = none; of what is written from now on
  // Lists the store's directory.
  virtual io::Result<SpaceStats> Space() = 0;
  virtual DbStats Stats() const = 0;
};

}  // namespace terracefs::lsm
