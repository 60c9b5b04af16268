#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "io/base/mutex.h"
#include "io/rate_limiter.h"
#include "lsm/auto_rate.h"
#include "lsm/compaction/job.h"
#include "lsm/compaction/picker.h"
#include "lsm/compaction/ranges_in_use.h"
#include "lsm/db.h"
#include "lsm/db_iterator.h"
#include "lsm/manifest/version_set.h"
#include "lsm/table/table_cache.h"
#include "lsm/values/value_log.h"
#include "lsm/view.h"
#include "lsm/wal/wal_reader.h"
#include "lsm/wal/wal_recycler.h"
#include "lsm/write_pacer.h"
#include "lsm/write_queue.h"

namespace terracefs::lsm {

// The engine. Sources: db_impl.cc (API, reads, writes), recovery.cc (Open and what it does),
// background.cc (flush, compaction and upkeep threads), pressure.cc (who has to wait for them),
// steering.cc (at what rate they work), manual_compaction.cc (Compact and its estimate), verify.cc.
//
// Locks, in the order they may be taken: the write queue's, rate_mutex_, garbage_mutex_,
// jobs_mutex_, the version set's, view_mutex_, pacer_mutex_. None but the write queue's (on
// rotation), the version set's manifest lock and garbage_mutex_ is held across I/O.
class DbImpl final : public Db, private ReadSampler {
 public:
  DbImpl(const Options& options, io::Storage& storage);
  ~DbImpl() override;

  io::Status Recover();

  io::Status Close() override;
  io::Status Write(WriteBatch&& batch, bool durable) override;
  io::Status Sync() override;
  bool WriteWouldStall() const override;
  uint64_t RoomBytes() const override;
  SequenceNumber LastSequence() const override;
  SequenceNumber DurableSequence() const override;
  io::Result<std::optional<PinnedValue>> Get(const ReadOptions& options,
                                             std::string_view key) override;
  io::Result<std::vector<std::optional<PinnedValue>>> MultiGet(
      const ReadOptions& options, std::span<const std::string> keys) override;
  std::unique_ptr<Iterator> NewIterator(const ReadOptions& options) override;
  io::Status Scan(const ReadOptions& options, std::string_view begin, const ScanPlace& place,
                  const ScanVisit& visit) override;
  int64_t Counter(uint8_t id) const override;
  SequenceNumber AcquireSnapshot() override;
  void ReleaseSnapshot(SequenceNumber snapshot) override;
  io::Status Flush() override;
  io::Status Compact(const CompactionRequest& request, JobControl& control,
                     const std::function<void(const CompactionProgress&)>& progress) override;
  io::Result<CompactionEstimate> EstimateCompaction(const CompactionRequest& request,
                                                    JobControl& control) override;
  void WaitForQuiescence() override;
  io::Status VerifyInvariants(bool read_all) override;
  void SetCompactionRate(uint64_t bytes_per_second) override;
  void SetCompactionWorkers(int count) override;
  void SetGarbageRatio(double ratio) override;
  void SetDeleteDeadline(int64_t ms) override;
  void SetCommitInterval(int64_t ms) override;
  void SetCacheBytes(uint64_t bytes) override;
  void SetValueCompression(int zstd_level) override;
  io::Result<SpaceStats> Space() override;
  DbStats Stats() const override;

 private:
  struct Immutable {
    std::shared_ptr<MemTable> table;
    SequenceNumber last_sequence = 0;
    FileNumber log = 0;       // holds its batches; 0 = several (recovered)
    FileNumber next_log = 0;  // the log of the table after it
  };

  // Reads.
  void Sample(const View& view, std::string_view user_key) override;
  void CrossedGarbage(const View& view, std::string_view user_key, uint64_t entry_count) override;
  void ChargeWastedReads(FileMeta* file, uint64_t count) EXCLUDES(jobs_mutex_);
  std::shared_ptr<const View> CurrentView() const EXCLUDES(view_mutex_);
  SequenceNumber ReadSequence(const ReadOptions& options) const;
  io::Result<std::optional<PinnedEntry>> FindIn(const std::shared_ptr<const View>& view,
                                                SequenceNumber snapshot, const ReadOptions& options,
                                                std::string_view key, MissingBlock* missing);
  io::Result<std::vector<std::optional<PinnedValue>>> ValuesOf(
      const ReadOptions& options, std::vector<std::optional<PinnedEntry>> entries);
  std::unique_ptr<VisibleIterator> NewEntryIterator(const ReadOptions& options);
  io::Result<std::optional<PinnedEntry>> GetFromTables(const Version& version,
                                                       SequenceNumber snapshot,
                                                       const ReadOptions& options,
                                                       std::string_view key, MissingBlock* missing);

  // Writes.
  bool PrefersInline(size_t page_bytes) const;
  // Puts the batch's pages into the value log, or inline. `files` get what holds the former.
  io::Status PlacePages(bool durable, WriteBatch* batch, std::vector<ValueFileRef>* files);

  // Back-pressure.
  io::Status Throttle(size_t batch_bytes) EXCLUDES(jobs_mutex_);
  io::Status WaitForRoom() EXCLUDES(jobs_mutex_);
  enum class Pressure : uint8_t {
    kNone,
    kBehind,       // a delay that grows with the backlog
    kLogWrites,    // the device does not keep up with the log
    kValueWrites,  // nor with the value log
    kNextLog,      // has to be made
    kMemtables,    // as many as there may be wait for being flushed
    kLevel0,       // is at its stop trigger
  };
  Pressure WritePressure() const;
  WritePacer::Load FlushLoad() const;
  WritePacer::Load Level0Load() const;
  WritePacer::Load ValueLoad() const;
  uint64_t FlushProgress() const;
  void ObserveFlush(bool flushing) EXCLUDES(pacer_mutex_);
  void ObserveLevel0Locked() REQUIRES(jobs_mutex_) EXCLUDES(pacer_mutex_);

  // Recovery.
  struct Replayed {
    std::vector<Immutable> tables;  // oldest first
    WalReplayResult result;
    // What was referred to, with the first sequence of the batch.
    std::vector<std::pair<SequenceNumber, ValueReference>> values;
  };
  io::Result<ValueFileRef> FindValueFile(FileNumber number);
  io::Status HoldValueFiles(const Version& version);
  io::Status SettleValueFiles(const Version& version, const std::vector<Immutable>& recovered);
  io::Result<SequenceNumber> FirstWithoutValues(
      const std::vector<std::pair<SequenceNumber, ValueReference>>& references);
  io::Result<Replayed> ReplayUpTo(const std::vector<FileNumber>& logs, SequenceNumber end);
  io::Result<std::vector<Immutable>> ReplayOldLogs();
  io::Status StartLog(SequenceNumber last_sequence);
  io::Status ForgetOldLogs();
  io::Status RemoveLeftovers();

  // Background.
  void StartThreads();
  void OnRotate(std::shared_ptr<MemTable> full, std::shared_ptr<MemTable> fresh,
                SequenceNumber last_sequence, FileNumber next_log);
  void FlushLoop() noexcept;
  void WorkerLoop(int index) noexcept;
  void UpkeepLoop() noexcept;
  void TickRate() EXCLUDES(rate_mutex_, jobs_mutex_);
  void LookForWork(AutoRate::Tick* tick) EXCLUDES(jobs_mutex_);
  io::Status TimedSync();
  void LogFileLoop() noexcept;
  bool HasRoomForLog() const { return RoomBytes() > recycler_->file_bytes(); }
  void CommitLoop() noexcept;
  void RefreshRoom() EXCLUDES(jobs_mutex_);
  io::Status FlushOne(const Immutable& immutable);
  io::Status FlushOldest() EXCLUDES(jobs_mutex_);
  void StopThreads() EXCLUDES(jobs_mutex_);
  // Holds a plan's tables and ranges, and its place among the running jobs, while it lives. Made
  // and ended under jobs_mutex_, which the destructor takes itself.
  class JobSlot {
   public:
    JobSlot(DbImpl& db, CompactionPlan plan) NO_THREAD_SAFETY_ANALYSIS;
    ~JobSlot() NO_THREAD_SAFETY_ANALYSIS;
    JobSlot(const JobSlot&) = delete;
    JobSlot& operator=(const JobSlot&) = delete;
    const CompactionPlan& plan() const { return plan_; }
    JobBytes& bytes() { return bytes_; }
    std::set<FileNumber>& unreadable_value_files() { return unreadable_value_files_; }
    // How much it has relieved level 0, reckoned as Level0Load is.
    uint64_t Level0DrainedBytes() const;
    // The job did what it was to do.
    void SetDone() { done_ = true; }

   private:
    DbImpl& db_;
    const CompactionPlan plan_;
    uint64_t level0_bytes_ = 0;  // by so much when done
    JobBytes bytes_;
    std::set<FileNumber> unreadable_value_files_;  // as far as it has failed for them
    bool done_ = false;
  };
  static bool CollectsValues(const CompactionPlan& plan);
  io::Status RunPlan(JobSlot& slot, const std::function<io::Status()>& stop) EXCLUDES(jobs_mutex_);
  io::Status Install(VersionEdit edit, const MemTable* flushed);
  void UpkeepOnce() EXCLUDES(jobs_mutex_);
  void PurgeObsolete();
  io::Status VerifyFiles(const Version& version) REQUIRES(jobs_mutex_);
  io::Status VerifyValues();
  // What memtables refer to in value files.
  std::vector<ValueUse> UnflushedUses() const EXCLUDES(view_mutex_);
  void RefreshValueSizes() EXCLUDES(jobs_mutex_);
  void RefreshGarbage() EXCLUDES(jobs_mutex_, garbage_mutex_);
  // Manual compaction.
  struct ManualJob;
  io::Status CheckRequest(const CompactionRequest& request) const;
  io::Status CompactSlices(ManualJob& job, ManualSlice slice) EXCLUDES(jobs_mutex_);
  io::Status Reclaim(ManualJob& job) EXCLUDES(jobs_mutex_);
  using ManualPick = std::function<std::optional<CompactionPlan>(const PickContext&)>;
  io::Status RunPicked(ManualJob& job, const ManualPick& pick, std::optional<std::string>* last_key)
      EXCLUDES(jobs_mutex_);
  io::Status Vacuum(ManualJob& job, double share_min, FileNumber limit) EXCLUDES(jobs_mutex_);
  io::Status VacuumPass(ManualJob& job, FileNumber limit) EXCLUDES(jobs_mutex_);
  double VacuumShare(const CompactionRequest& request) const;
  CompactionEstimate EstimateVacuum(const CompactionRequest& request) const;
  uint64_t TableAndValueBytes() const;
  io::Status RunSlice(ManualJob& job, JobSlot& slot) EXCLUDES(jobs_mutex_);
  io::Status MayGoOn(ManualJob& job) const;
  io::Status WaitToGoOn(JobControl& control) const;
  // The passes after the flush, in order.
  std::vector<ManualSlice> PassesOf(const CompactionRequest& request, const Version& version,
                                    FileNumber limit) const;
  SequenceNumber SmallestSnapshot() const EXCLUDES(snapshot_mutex_);
  // `values` as in PickContext; outlives it.
  PickContext ContextLocked(const Shape& shape, const ValueScope* values) const
      REQUIRES(jobs_mutex_);
  // What a pick goes by.
  struct PickInputs {
    Shape shape;
    ValueScope values;
  };
  PickInputs PickInputsLocked() const REQUIRES(jobs_mutex_);
  std::set<FileNumber> AvoidedValueFilesLocked(const Version& version) const REQUIRES(jobs_mutex_);
  void NoteFound(const CompactionPlan& plan, const VersionEdit& edit, uint64_t hidden_value_bytes);
  // Damaged inputs, or values, are left alone by automatic jobs until the store is opened again.
  void SetDamageAsideLocked(const CompactionPlan& plan, const std::set<FileNumber>& unreadable)
      REQUIRES(jobs_mutex_);
  std::optional<CompactionPlan> PickLocked(const PickInputs& inputs) REQUIRES(jobs_mutex_);
  void WaitForWorkLocked(std::optional<int64_t> due_seconds) REQUIRES(jobs_mutex_);
  void StartWorkersLocked() REQUIRES(jobs_mutex_);
  int64_t NowSeconds() const;
  // Whether nobody writes; looked at by the upkeep thread.
  void ObserveQuiet() EXCLUDES(jobs_mutex_);
  void RefreshValueGarbage() EXCLUDES(jobs_mutex_);
  void SettleHints(const Version& version, const ValueScope& scope);
  void EndWastedValueFile(const Version& version, const ValueScope& scope) EXCLUDES(jobs_mutex_);

  const Options options_;
  io::Storage& storage_;
  io::RateLimiter limiter_;
  ValueFiles value_files_;  // outlives all that holds value files
  BlockCache block_cache_;
  TableCache table_cache_;
  VersionSet versions_;
  std::unique_ptr<WalRecycler> recycler_;
  std::unique_ptr<ValueLog> value_log_;  // null when read-only, and while recovering
  std::unique_ptr<WriteQueue> queue_;    // the same
  const JobEnvironment environment_;

  mutable io::Mutex view_mutex_;
  std::shared_ptr<const View> view_ GUARDED_BY(view_mutex_);

  mutable io::Mutex snapshot_mutex_;
  std::multiset<SequenceNumber> snapshots_ GUARDED_BY(snapshot_mutex_);

  mutable io::Mutex pacer_mutex_;
  WritePacer flush_pacer_ GUARDED_BY(pacer_mutex_){options_.memtable_bytes / 2};
  WritePacer level0_pacer_ GUARDED_BY(pacer_mutex_){options_.memtable_bytes / 2};
  WritePacer value_pacer_ GUARDED_BY(pacer_mutex_){options_.value_file_bytes};

  // With kRateAuto; held while the limiter's rate is set, so that a fixed rate has the last word.
  io::Mutex rate_mutex_;
  std::optional<AutoRate> auto_rate_ GUARDED_BY(rate_mutex_);
  AutoRate::Tick last_tick_ GUARDED_BY(rate_mutex_);  // what is looked up less often
  int64_t ticked_ns_ GUARDED_BY(rate_mutex_) = 0;
  uint64_t tick_count_ GUARDED_BY(rate_mutex_) = 0;
  uint64_t ticked_user_bytes_ GUARDED_BY(rate_mutex_) = 0;
  uint64_t ticked_background_bytes_ GUARDED_BY(rate_mutex_) = 0;

  // Jobs: what waits, what runs.
  mutable io::Mutex jobs_mutex_;
  io::CondVar flush_wanted_;
  io::CondVar work_wanted_;
  io::CondVar upkeep_wanted_;
  io::CondVar commit_wanted_;
  io::CondVar job_done_;
  std::deque<Immutable> immutables_ GUARDED_BY(jobs_mutex_);  // oldest first
  FileNumber active_log_ GUARDED_BY(jobs_mutex_) = 0;
  RangesInUse in_use_ GUARDED_BY(jobs_mutex_);
  std::set<FileNumber> quarantined_ GUARDED_BY(jobs_mutex_);  // damaged inputs, left alone
  io::Status flush_error_ GUARDED_BY(jobs_mutex_);            // of the last flush
  io::Status compaction_error_ GUARDED_BY(jobs_mutex_);       // of the last automatic job
  CompactPointers compact_pointers_ GUARDED_BY(jobs_mutex_);
  std::set<FileNumber> avoided_value_files_ GUARDED_BY(jobs_mutex_);  // damaged ones
  int running_count_ GUARDED_BY(jobs_mutex_) = 0;
  int collecting_count_ GUARDED_BY(jobs_mutex_) = 0;  // of them, those that CollectsValues
  std::vector<const JobSlot*> level0_slots_ GUARDED_BY(jobs_mutex_);  // of the running jobs
  uint64_t level0_drained_bytes_ GUARDED_BY(jobs_mutex_) = 0;         // by those that are done
  int running_below_count_ GUARDED_BY(jobs_mutex_) = 0;  // of them, by workers and not of level 0
  int flushing_count_ GUARDED_BY(jobs_mutex_) = 0;
  uint64_t jobs_done_ GUARDED_BY(jobs_mutex_) = 0;
  std::map<std::string, uint64_t> jobs_by_reason_ GUARDED_BY(jobs_mutex_);
  struct LevelJobs {
    uint64_t count = 0;
    uint64_t bytes_read = 0;
    uint64_t bytes_written = 0;
    uint64_t ns = 0;
  };
  std::array<LevelJobs, kLevelCount> level_jobs_ GUARDED_BY(jobs_mutex_);  // by output level
  uint64_t trivial_moves_ GUARDED_BY(jobs_mutex_) = 0;
  uint64_t delete_only_ GUARDED_BY(jobs_mutex_) = 0;
  bool stopping_ GUARDED_BY(jobs_mutex_) = false;

  // Counters and settings; relaxed, they order nothing. The pressure values are hints that every
  // writer reads: a stale one delays a write a little more or less.
  JobCounters counters_;
  std::atomic<uint64_t> stall_ns_{0};
  std::atomic<size_t> immutable_count_{0};
  std::atomic<size_t> level0_count_{0};
  std::atomic<uint64_t> flush_count_{0};        // memtables flushed
  std::atomic<uint64_t> flushing_bytes_{0};     // of the memtable being flushed; 0 = none is
  std::atomic<uint64_t> flush_begin_bytes_{0};  // the limiter's flush_bytes when it began
  // Of the last look at the disk, less what was written since. A disk that cannot tell has room.
  std::atomic<int64_t> room_bytes_{int64_t{1} << 60};
  std::atomic<uint64_t> reserve_bytes_{0};        // kept beside the room
  std::atomic<uint64_t> free_bytes_{UINT64_MAX};  // of the disk, at the last look
  // Nobody has written for a while.
  std::atomic<bool> quiet_{false};
  // Bytes in value files that nothing will read any more, by what writers said, less what merges
  // have found of it: hidden by newer entries, and in dead ranges. Estimates, also below 0.
  std::atomic<int64_t> hidden_hint_bytes_{0};
  std::atomic<int64_t> dead_hint_bytes_{0};
  std::atomic<uint64_t> unflushed_dead_bytes_{0};  // of these, what came with the active memtable
  // Of a page in a value file; less than its size if values are compressed.
  std::atomic<double> stored_share_{1};
  // Garbage in value files at the last look, and from where on writers are delayed for it; limit 0:
  // they are not.
  std::atomic<uint64_t> value_garbage_bytes_{0};
  std::atomic<uint64_t> value_garbage_begin_bytes_{0};
  std::atomic<uint64_t> value_garbage_limit_bytes_{0};
  // What vacuum has to move for it, if it can; 0 while nothing presses.
  std::atomic<uint64_t> vacuum_pending_bytes_{0};
  // Value files removed, less what was copied to have them removed.
  std::atomic<uint64_t> removed_value_bytes_{0};
  uint64_t quiet_written_bytes_ = 0;    // of the upkeep thread
  int64_t quiet_since_ns_ = 0;          // the same
  LatencyWindow sync_latency_;          // of callers who had something to sync
  std::atomic<bool> rate_auto_{false};  // whether auto_rate_ is there
  std::atomic<int64_t> delete_deadline_ms_;
  std::atomic<int64_t> commit_interval_ms_;
  std::atomic<double> garbage_ratio_;
  std::atomic<int> value_zstd_level_;
  // In proportion to what the store holds; see RefreshValueSizes.
  std::atomic<uint64_t> full_value_file_bytes_;
  std::atomic<uint64_t> memtable_value_bytes_;
  // Of users, pages included; and how many it were when somebody synced last.
  std::atomic<uint64_t> written_bytes_{0};
  std::atomic<uint64_t> written_bytes_at_sync_{uint64_t{0} - (uint64_t{1} << 40)};
  std::atomic<int> worker_count_;
  std::atomic<bool> stop_jobs_{false};
  std::atomic<bool> closed_{false};

  io::Mutex garbage_mutex_;  // held while looking; before jobs_mutex_
  // What the last look saw; does not keep its tables.
  std::weak_ptr<const Version> garbage_known_ GUARDED_BY(garbage_mutex_);
  SequenceNumber garbage_known_sequence_ GUARDED_BY(garbage_mutex_) = 0;

  std::vector<std::thread> threads_;
  std::vector<std::thread> workers_
      GUARDED_BY(jobs_mutex_);  // never fewer; those too many are idle
};

}  // namespace terracefs::lsm
