// Where the bytes of the store are, and how large its parts should be.
#include <algorithm>

#include "io/base/log.h"
#include "lsm/compaction/garbage.h"
#include "lsm/compaction/value_garbage.h"
#include "lsm/db_impl.h"
#include "lsm/file_names.h"

namespace terracefs::lsm {

std::vector<ValueUse> DbImpl::UnflushedUses() const {
  std::vector<ValueUse> uses;
  const std::shared_ptr<const View> view = CurrentView();
  const auto add = [&uses](const MemTable& table) {
    for (const ValueUse& use : table.value_uses()) MergeValueUse(use, &uses);
  };
  if (view->active) add(*view->active);
  for (const auto& table : view->immutables) add(*table);
  return uses;
}

io::Result<SpaceStats> DbImpl::Space() {
  SpaceStats stats;
  PickInputs inputs;
  {
    io::MutexLock lock(jobs_mutex_);
    inputs = PickInputsLocked();
  }
  const std::shared_ptr<const Version>& version = inputs.shape.version;
  std::map<FileNumber, uint64_t> used = inputs.values.unflushed;
  std::map<FileNumber, uint64_t> tables;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : version->files(level)) {
      tables[file->number] = file->info.file_bytes;
      stats.table_garbage_bytes += GarbageBytes(*file);
      for (const ValueUse& use : file->info.value_uses) used[use.file] += use.bytes;
    }
  }
  for (const std::string& name : TRY(storage_.List())) {
    const auto opened = storage_.Open(name, io::OpenOptions{});
    if (!opened.ok()) continue;  // it has just been removed
    const uint64_t bytes = TRY((*opened)->SizeBytes());
    stats.physical_bytes += bytes;
    const std::optional<ParsedFileName> parsed = ParseFileName(name);
    if (!parsed) continue;
    switch (parsed->kind) {
      case FileKind::kTable:
        (tables.contains(parsed->number) ? stats.table_bytes : stats.obsolete_bytes) += bytes;
        break;
      case FileKind::kBlob: {
        const ValueFileRef file = value_files_.Find(parsed->number);
        if (file == nullptr) {
          stats.obsolete_bytes += bytes;
          break;
        }
        const uint64_t written = std::min(file->bytes(), bytes);
        // What hidden entries refer to as well counts once.
        const uint64_t live = std::min(used[parsed->number], written);
        stats.value_bytes += live;
        stats.value_garbage_bytes += written - live;
        stats.value_spare_bytes += bytes - written;
        break;
      }
      case FileKind::kLog:
        stats.log_bytes += bytes;
        break;
      case FileKind::kManifest:
        break;
    }
  }
  // What is hidden or dead is still referred to.
  const uint64_t unknown =
      std::min(MeasureValueGarbage(*version, inputs.values, garbage_ratio_.load(), 0).unknown_bytes,
               stats.value_bytes);
  stats.value_bytes -= unknown;
  stats.value_garbage_bytes += unknown;
  stats.table_garbage_bytes = std::min(stats.table_garbage_bytes, stats.table_bytes);
  return stats;
}

// Garbage comes back in units of files, and late by what memtables hold: both are kept small where
// the store is.
void DbImpl::RefreshValueSizes() {
  constexpr uint64_t kMemtablesPerStore = 80;
  constexpr uint64_t kMemtablesPerFile = 16;
  uint64_t live = 0;
  uint64_t pages = 0;
  const std::shared_ptr<const Version> version = versions_.current();
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& table : version->files(level)) {
      live += ValueBytes(*table);
      pages += table->info.value_pages;
    }
  }
  if (pages > 0) {
    stored_share_.store(static_cast<double>(live) / static_cast<double>(pages * kValuePageBytes),
                        std::memory_order_relaxed);
  }
  const uint64_t full = FullValueFileBytes(live, options_.value_file_bytes);
  full_value_file_bytes_.store(full, std::memory_order_relaxed);
  memtable_value_bytes_.store(
      std::max(options_.value_file_bytes / kMemtablesPerFile, live / kMemtablesPerStore),
      std::memory_order_relaxed);
}

// Values are put in order, and files with little garbage vacuumed, while nobody would feel it.
void DbImpl::ObserveQuiet() {
  constexpr int64_t kQuietNs = 2'000'000'000;
  const uint64_t written = written_bytes_.load(std::memory_order_relaxed);
  const int64_t now_ns = options_.clock->SteadyNs();
  if (written != quiet_written_bytes_) {
    quiet_written_bytes_ = written;
    quiet_since_ns_ = now_ns;
  }
  const bool quiet = now_ns - quiet_since_ns_ >= kQuietNs;
  if (quiet_.exchange(quiet, std::memory_order_relaxed) || !quiet) return;
  io::MutexLock lock(jobs_mutex_);
  work_wanted_.NotifyAll();
}

// Hints that cannot be true any more, because what they were of was not in value files, say, must
// not press for ever.
void DbImpl::SettleHints(const Version& version, const ValueScope& scope) {
  const int64_t hidden = hidden_hint_bytes_.load(std::memory_order_relaxed);
  const int64_t possible = std::clamp<int64_t>(hidden, 0, static_cast<int64_t>(scope.newer_bytes));
  if (hidden != possible) hidden_hint_bytes_.fetch_add(possible - hidden);
  const int64_t dead = dead_hint_bytes_.load(std::memory_order_relaxed);
  // What memtables drop is known to their flush only.
  if (immutable_count_.load(std::memory_order_relaxed) > 0) return;
  uint64_t dead_known = unflushed_dead_bytes_.load(std::memory_order_relaxed);
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& table : version.files(level)) dead_known += DeadValueBytes(*table);
  }
  const int64_t plausible = std::clamp<int64_t>(dead, 0, static_cast<int64_t>(dead_known));
  if (dead != plausible) dead_hint_bytes_.fetch_add(plausible - dead);
}

// The file that writers append to is never collected. It is ended, although it is not full, if most
// of it is garbage: nobody may write for a long time.
void DbImpl::EndWastedValueFile(const Version& version, const ValueScope& scope) {
  constexpr uint64_t kWastedBytesMin = ValueLog::kAllocationBytes;
  const FileNumber active = value_log_ ? value_log_->active_file() : 0;
  const ValueFileRef file = active == 0 ? nullptr : value_files_.Find(active);
  if (file == nullptr || file->bytes() < kWastedBytesMin) return;
  const auto unflushed = scope.unflushed.find(active);
  uint64_t used = unflushed == scope.unflushed.end() ? 0 : unflushed->second;
  for (const ValueFileGarbage& measured : MeasureValueFiles(version)) {
    if (measured.file == active) used += measured.used_bytes;
  }
  const uint64_t wasted = file->bytes() > used ? file->bytes() - used : 0;
  if (wasted < kWastedBytesMin || wasted < used) return;
  io::Status status = value_log_->EndFile();
  // Until then the log itself holds it.
  if (status.ok()) status = value_log_->Sync();
  if (!status.ok()) {
    io::LsmLog().warn("ending a value file of garbage: {}", status.ToString());
    return;
  }
  io::MutexLock lock(jobs_mutex_);
  work_wanted_.NotifyAll();
}

void DbImpl::RefreshValueGarbage() {
  PickInputs inputs;
  {
    io::MutexLock lock(jobs_mutex_);
    inputs = PickInputsLocked();
  }
  SettleHints(*inputs.shape.version, inputs.values);
  EndWastedValueFile(*inputs.shape.version, inputs.values);
  const ValueGarbage garbage =
      MeasureValueGarbage(*inputs.shape.version, inputs.values, garbage_ratio_.load(),
                          FullValueFileBytes(0, options_.value_file_bytes));
  bool collectable = false;
  bool collecting = false;
  if (garbage.presses) {
    io::MutexLock lock(jobs_mutex_);
    collecting = collectable = collecting_count_ > 0;
    if (!collecting) {
      // Where nothing can be done for it, because a snapshot or damage holds it, nobody need wait.
      const std::optional<CompactionPlan> plan = PickLocked(inputs);
      collectable = plan && CollectsValues(*plan);
    }
    // What presses may have come by memtables that changed no table.
    work_wanted_.NotifyAll();
  }
  value_garbage_bytes_.store(garbage.GarbageBytes(), std::memory_order_relaxed);
  value_garbage_begin_bytes_.store(
      static_cast<uint64_t>(kSlowsFrom * static_cast<double>(garbage.limit_bytes)),
      std::memory_order_relaxed);
  value_garbage_limit_bytes_.store(collectable ? garbage.limit_bytes : 0,
                                   std::memory_order_relaxed);
  vacuum_pending_bytes_.store(collectable ? garbage.pending_bytes : 0, std::memory_order_relaxed);
  const uint64_t moved = counters_.moved_value_bytes.load(std::memory_order_relaxed);
  const uint64_t removed = removed_value_bytes_.load(std::memory_order_relaxed);
  io::MutexLock lock(pacer_mutex_);
  value_pacer_.Observe(options_.clock->SteadyNs(), removed > moved ? removed - moved : 0,
                       collecting);
}

}  // namespace terracefs::lsm
