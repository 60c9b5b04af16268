#include "lsm/db_impl.h"

#include <algorithm>

#include "io/base/log.h"
#include "lsm/compaction/garbage.h"
#include "lsm/db_iterator.h"
#include "lsm/level_iterator.h"
#include "lsm/merging_iterator.h"
#include "lsm/table/table_format.h"

namespace terracefs::lsm {
namespace {

// So many entries of no use, passed by an iterator, cost about what reading a block in vain does.
constexpr uint64_t kGarbageEntriesPerRead = 64;
// A sync is expected soon if there was one not longer ago than this is being written.
constexpr uint64_t kSyncExpectedBytes = io::kMiB;

}  // namespace

DbImpl::DbImpl(const Options& options, io::Storage& storage)
    : options_(options),
      storage_(storage),
      limiter_(0, *options.clock),  // until Recover is done: the user waits for the mount
      value_files_(storage, options.open_value_file_count_max),
      block_cache_(options.block_cache_bytes, *options.clock),
      table_cache_(storage, block_cache_, options.open_table_count_max),
      versions_(storage),
      environment_{storage_,
                   options_,
                   table_cache_,
                   limiter_,
                   [this] { return versions_.NewFileNumber(); },
                   value_files_,
                   [this] { return value_zstd_level_.load(std::memory_order_relaxed); },
                   [this] { return full_value_file_bytes_.load(std::memory_order_relaxed); }},
      delete_deadline_ms_(options.delete_deadline_ms),
      commit_interval_ms_(options.commit_interval_ms),
      garbage_ratio_(options.garbage_ratio),
      value_zstd_level_(options.value_zstd_level),
      full_value_file_bytes_(options.value_file_bytes),
      memtable_value_bytes_(options.value_file_bytes),
      worker_count_(options.compaction_workers) {}

DbImpl::~DbImpl() {
  if (const io::Status status = Close(); !status.ok()) {
    io::LsmLog().error("closing the engine: {}", status.ToString());
  }
}

int64_t DbImpl::NowSeconds() const { return options_.clock->WallNs() / 1'000'000'000; }

// ---- Reads -------------------------------------------------------------------------------------

void DbImpl::ChargeWastedReads(FileMeta* file, uint64_t count) {
  const uint64_t max = WastedReadsMax(options_, *file);
  const uint64_t before = file->wasted_reads.fetch_add(count, std::memory_order_relaxed);
  if (before >= max || before + count < max) return;
  io::MutexLock lock(jobs_mutex_);
  work_wanted_.NotifyAll();
}

void DbImpl::Sample(const View& view, std::string_view user_key) {
  FileMeta* first = nullptr;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : view.version->Overlapping(level, user_key, user_key)) {
      if (first != nullptr) return ChargeWastedReads(first, 1);
      first = file.get();
    }
  }
}

void DbImpl::CrossedGarbage(const View& view, std::string_view user_key, uint64_t entry_count) {
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : view.version->Overlapping(level, user_key, user_key)) {
      if (!HasGarbage(*file)) continue;
      return ChargeWastedReads(file.get(), entry_count / kGarbageEntriesPerRead);
    }
  }
}

std::shared_ptr<const View> DbImpl::CurrentView() const {
  io::MutexLock lock(view_mutex_);
  return view_;
}

SequenceNumber DbImpl::LastSequence() const {
  return queue_ ? queue_->last_sequence() : kSequenceMax - 1;
}

SequenceNumber DbImpl::DurableSequence() const {
  return queue_ ? queue_->durable_sequence() : kSequenceMax - 1;
}

SequenceNumber DbImpl::ReadSequence(const ReadOptions& options) const {
  return options.snapshot == kSequenceMax ? LastSequence() : options.snapshot;
}

io::Result<std::optional<PinnedEntry>> DbImpl::GetFromTables(const Version& version,
                                                             SequenceNumber snapshot,
                                                             const ReadOptions& options,
                                                             std::string_view key,
                                                             MissingBlock* missing) {
  // The first table that was looked into is charged if that did not end the search (A3).
  FileMeta* wasted = nullptr;
  bool charged = false;
  const auto probe = [&](const FileRef& file) -> io::Result<std::optional<PinnedEntry>> {
    const std::shared_ptr<TableReader> table =
        TRY(table_cache_.Get(file->number, !options.cache_only || missing != nullptr));
    bool looked = false;
    auto found = TRY(table->Get(options, key, snapshot, missing, &looked));
    if (looked && wasted != nullptr) ChargeWastedReads(std::exchange(wasted, nullptr), 1);
    if (looked && !found && !charged) {
      charged = true;
      wasted = file.get();
    }
    return found;
  };
  for (const FileRef& file : version.files(0)) {
    if (key < file->smallest_user_key() || key > file->largest_user_key()) continue;
    auto found = TRY(probe(file));
    if (found) return found;
  }
  for (int level = 1; level < kLevelCount; ++level) {
    const std::vector<FileRef>& files = version.files(level);
    const size_t index = version.FindFile(level, key);
    if (index == files.size() || key < files[index]->smallest_user_key()) continue;
    auto found = TRY(probe(files[index]));
    if (found) return found;
  }
  return std::optional<PinnedEntry>();
}

// The newest visible entry of the key that is not a tombstone.
io::Result<std::optional<PinnedEntry>> DbImpl::FindIn(const std::shared_ptr<const View>& view,
                                                      SequenceNumber snapshot,
                                                      const ReadOptions& options,
                                                      std::string_view key, MissingBlock* missing) {
  std::optional<FoundEntry> in_memory;
  if (view->active) in_memory = view->active->Get(key, snapshot);
  for (size_t i = 0; !in_memory && i < view->immutables.size(); ++i) {
    in_memory = view->immutables[i]->Get(key, snapshot);
  }
  std::optional<PinnedEntry> found;
  if (in_memory) {
    found = PinnedEntry{*in_memory, view};
  } else {
    found = TRY(GetFromTables(*view->version, snapshot, options, key, missing));
  }
  if (!found) return found;
  switch (found->entry.kind) {
    case EntryKind::kDelete:
      return std::optional<PinnedEntry>();
    case EntryKind::kValue:
    case EntryKind::kReference:
      return found;
    case EntryKind::kDropRange:
    case EntryKind::kCounter:
      break;
  }
  return io::Status::Corruption("entry of unknown kind in a sorted run");
}

namespace {

std::byte* Memory(std::string* text) { return reinterpret_cast<std::byte*>(text->data()); }

PinnedValue ToValue(PinnedEntry entry) { return {entry.entry.value, std::move(entry.owner)}; }

}  // namespace

io::Result<std::optional<PinnedValue>> DbImpl::Get(const ReadOptions& options,
                                                   std::string_view key) {
  const std::shared_ptr<const View> view = CurrentView();
  std::optional<PinnedEntry> found =
      TRY(FindIn(view, ReadSequence(options), options, key, nullptr));
  if (!found) return std::optional<PinnedValue>();
  if (found->entry.kind == EntryKind::kValue) return std::optional(ToValue(std::move(*found)));
  auto value = std::make_shared<std::string>();
  if (!options.keys_only) {
    ValueFiles::ReadItem item;
    item.reference = TRY(ValueReference::Decode(found->entry.value));
    value->resize(kValuePageBytes);
    item.out = Memory(value.get());
    TRY(value_files_.Read({&item, 1}, {.cache_only = options.cache_only}));
  }
  const std::string_view bytes = *value;
  return std::optional(PinnedValue(bytes, std::move(value)));
}

io::Result<std::vector<std::optional<PinnedValue>>> DbImpl::MultiGet(
    const ReadOptions& options, std::span<const std::string> keys) {
  const std::shared_ptr<const View> view = CurrentView();
  const SequenceNumber snapshot = ReadSequence(options);
  std::vector<std::optional<PinnedEntry>> entries(keys.size());
  std::vector<size_t> open(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) open[i] = i;

  // Each round asks the cache only; what is missing is read in one submission and asked again. A
  // block may be evicted in between, so after some rounds the rest is read one by one.
  constexpr int kBatchRounds = kLevelCount + 2;
  ReadOptions cache_only = options;
  cache_only.cache_only = true;
  for (int round = 0; !open.empty() && round < kBatchRounds; ++round) {
    std::vector<size_t> still_open;
    std::vector<MissingBlock> blocks;
    for (const size_t i : open) {
      MissingBlock missing;
      auto entry =
          FindIn(view, snapshot, cache_only, keys[i], options.cache_only ? nullptr : &missing);
      if (entry.ok()) {
        entries[i] = std::move(entry).value();
      } else if (!entry.status().Is(io::StatusCode::kWouldBlock) || options.cache_only) {
        return entry.status();
      } else {
        still_open.push_back(i);
        if (missing.table != nullptr) blocks.push_back(missing);
      }
    }
    open = std::move(still_open);
    if (!blocks.empty()) TRY(TableReader::ReadBlocks(blocks));
  }
  for (const size_t i : open) entries[i] = TRY(FindIn(view, snapshot, options, keys[i], nullptr));
  return ValuesOf(options, std::move(entries));
}

// What the entries' values are; those in value files are read together.
io::Result<std::vector<std::optional<PinnedValue>>> DbImpl::ValuesOf(
    const ReadOptions& options, std::vector<std::optional<PinnedEntry>> entries) {
  std::vector<std::optional<PinnedValue>> values(entries.size());
  std::vector<ValueFiles::ReadItem> items;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i]) continue;
    if (entries[i]->entry.kind == EntryKind::kValue) {
      values[i] = ToValue(std::move(*entries[i]));
      continue;
    }
    auto value = std::make_shared<std::string>();
    if (!options.keys_only) {
      value->resize(kValuePageBytes);
      items.push_back({
        TRY(ValueReference::Decode(entries[i]->entry.value))
        , Memory(value.get()), {}
      });
    }
    const std::string_view bytes = *value;
    values[i] = PinnedValue(bytes, std::move(value));
  }
  if (!items.empty()) TRY(value_files_.Read(items, {.cache_only = options.cache_only}));
  return values;
}

std::unique_ptr<VisibleIterator> DbImpl::NewEntryIterator(const ReadOptions& options) {
  const std::shared_ptr<const View> view = CurrentView();
  const SequenceNumber snapshot = ReadSequence(options);
  const TableIteratorFactory open = [this, options](const FileRef& file) {
    auto table = table_cache_.Get(file->number, !options.cache_only);
    if (!table.ok()) return NewErrorIterator(table.status());
    return (*table)->NewIterator(options);
  };
  std::vector<std::unique_ptr<Iterator>> children;
  if (view->active) children.push_back(view->active->NewIterator());
  for (const auto& table : view->immutables) children.push_back(table->NewIterator());
  for (const FileRef& file : view->version->files(0)) {
    if (!options.upper_bound.empty() && file->smallest_user_key() >= options.upper_bound) continue;
    // A level iterator over one file opens it only when a seek reaches it.
    children.push_back(NewLevelIterator({file}, open, options.upper_bound));
  }
  for (int level = 1; level < kLevelCount; ++level) {
    if (view->version->files(level).empty()) continue;
    children.push_back(NewLevelIterator(view->version->files(level), open, options.upper_bound));
  }
  return NewVisibleIterator(NewMergingIterator(std::move(children)), snapshot, options.upper_bound,
                            view, this);
}

std::unique_ptr<Iterator> DbImpl::NewIterator(const ReadOptions& options) {
  return NewValueIterator(NewEntryIterator(options), options.keys_only ? nullptr : &value_files_,
                          options.cache_only);
}

namespace {

// Entries of a scan that wait for values being read with those of others.
class ScanBatch {
 public:
  static constexpr size_t kEntriesMax = 512;

  bool empty() const { return entries_.empty(); }
  bool full() const { return entries_.size() == kEntriesMax; }

  void AddValue(std::string_view key, std::string_view value) {
    entries_.push_back({std::string(key), std::string(value), nullptr});
  }
  io::Status AddReference(std::string_view key, std::string_view encoded,
                          const Db::ScanPlace& place) {
    ValueFiles::ReadItem item;
    item.reference = TRY(ValueReference::Decode(encoded));
    entries_.push_back({std::string(key), std::string(), nullptr});
    Entry& entry = entries_.back();
    item.out = place ? place(key) : nullptr;
    if (item.out == nullptr) {
      entry.value.resize(kValuePageBytes);
      item.out = Memory(&entry.value);
    }
    entry.placed = item.out;
    items_.push_back(item);
    return io::Status::Ok();
  }
  // Reads the values and visits all entries; false: the visitor has enough.
  io::Result<bool> Visit(ValueFiles& files, bool cache_only, const Db::ScanVisit& visit) {
    if (!items_.empty()) TRY(files.Read(items_, {.cache_only = cache_only}));
    for (const Entry& entry : entries_) {
      const std::string_view value =
          entry.placed == nullptr
              ? std::string_view(entry.value)
              : std::string_view(reinterpret_cast<const char*>(entry.placed), kValuePageBytes);
      if (!visit(entry.key, value)) return false;
    }
    entries_.clear();
    items_.clear();
    return true;
  }

 private:
  struct Entry {
    std::string key;
    std::string value;
    const std::byte* placed;  // where the value is read to, if it is
  };
  std::deque<Entry> entries_;  // stay in place: values are read into them
  std::vector<ValueFiles::ReadItem> items_;
};

}  // namespace

io::Status DbImpl::Scan(const ReadOptions& options, std::string_view begin, const ScanPlace& place,
                        const ScanVisit& visit) {
  CHECK(!options.upper_bound.empty());
  const std::unique_ptr<VisibleIterator> entries = NewEntryIterator(options);
  ScanBatch batch;
  for (entries->Seek(begin); entries->Valid(); entries->Next()) {
    if (entries->is_reference() && !options.keys_only) {
      TRY(batch.AddReference(entries->key(), entries->value(), place));
    } else {
      const std::string_view value =
          entries->is_reference() ? std::string_view() : entries->value();
      if (batch.empty()) {
        if (!visit(entries->key(), value)) return io::Status::Ok();
        continue;
      }
      batch.AddValue(entries->key(), value);
    }
    if (batch.full() && !TRY(batch.Visit(value_files_, options.cache_only, visit))) {
      return io::Status::Ok();
    }
  }
  TRY(entries->status());
  TRY(batch.Visit(value_files_, options.cache_only, visit));
  return io::Status::Ok();
}

SequenceNumber DbImpl::AcquireSnapshot() {
  io::MutexLock lock(snapshot_mutex_);
  const SequenceNumber snapshot = LastSequence();
  snapshots_.insert(snapshot);
  return snapshot;
}

void DbImpl::ReleaseSnapshot(SequenceNumber snapshot) {
  bool was_oldest = false;
  {
    io::MutexLock lock(snapshot_mutex_);
    const auto it = snapshots_.find(snapshot);
    CHECK(it != snapshots_.end());
    was_oldest = it == snapshots_.begin();
    snapshots_.erase(it);
  }
  if (!was_oldest) return;
  // What it kept may go now.
  io::MutexLock lock(jobs_mutex_);
  work_wanted_.NotifyAll();
}

SequenceNumber DbImpl::SmallestSnapshot() const {
  io::MutexLock lock(snapshot_mutex_);
  const SequenceNumber last = LastSequence();
  return snapshots_.empty() ? last : std::min(last, *snapshots_.begin());
}

// ---- Writes ------------------------------------------------------------------------------------

uint64_t DbImpl::RoomBytes() const {
  if (!queue_) return 0;
  return static_cast<uint64_t>(std::max<int64_t>(0, room_bytes_.load(std::memory_order_relaxed)));
}

io::Status DbImpl::Write(WriteBatch&& batch, bool durable) {
  if (!queue_) return io::Status::InvalidArgument("the engine was opened read-only");
  // What no table could take must not get into the log: it would fail every flush from then on.
  if (batch.key_bytes_max() > kTableKeyBytesMax - kKeyTrailerBytes ||
      batch.value_bytes_max() > kTableValueBytesMax ||
      batch.bytes() + batch.page_count() * kValuePageBytes > kBatchBytesMax) {
    return io::Status::InvalidArgument("key, value or batch is larger than the engine takes");
  }
  if (!batch.empty()) {
    const size_t bytes = batch.bytes() + batch.page_count() * kValuePageBytes;
    TRY(Throttle(bytes));
    const double stored_share = stored_share_.load(std::memory_order_relaxed);
    const auto replaced =
        static_cast<int64_t>(static_cast<double>(batch.replaced_bytes()) * stored_share);
    const auto dropped =
        static_cast<int64_t>(static_cast<double>(batch.dropped_bytes()) * stored_share);
    std::vector<ValueFileRef> value_files;
    TRY(PlacePages(durable, &batch, &value_files));
    TRY(queue_->Write(std::move(batch), std::move(value_files)));
    room_bytes_.fetch_sub(static_cast<int64_t>(bytes), std::memory_order_relaxed);
    written_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    hidden_hint_bytes_.fetch_add(replaced, std::memory_order_relaxed);
    dead_hint_bytes_.fetch_add(dropped, std::memory_order_relaxed);
    unflushed_dead_bytes_.fetch_add(static_cast<uint64_t>(dropped), std::memory_order_relaxed);
  }
  return durable ? TimedSync() : io::Status::Ok();
}

// Whether the pages of a small batch are better kept with their keys: where somebody syncs after
// little more than them, one write to the log is cheaper than that and one to a value file. Merging
// them into tables costs more later, so that this is only for those who sync.
bool DbImpl::PrefersInline(size_t page_bytes) const {
  if (page_bytes > options_.inline_max_bytes || value_zstd_level_.load() != 0) return false;
  return written_bytes_.load(std::memory_order_relaxed) -
             written_bytes_at_sync_.load(std::memory_order_relaxed) <
         kSyncExpectedBytes;
}

io::Status DbImpl::PlacePages(bool durable, WriteBatch* batch, std::vector<ValueFileRef>* files) {
  if (batch->page_count() == 0) return io::Status::Ok();
  const size_t page_bytes = batch->page_count() * kValuePageBytes;
  if (PrefersInline(page_bytes) || (durable && page_bytes <= options_.inline_max_bytes)) {
    batch->PutPagesInline();
    return io::Status::Ok();
  }
  ValueLog::Appended appended =
      TRY(value_log_->Append(batch->pages(), value_zstd_level_.load(std::memory_order_relaxed)));
  batch->PutPagesAsReferences(appended.references);
  *files = std::move(appended.holders);
  return io::Status::Ok();
}

io::Status DbImpl::Sync() { return queue_ ? TimedSync() : io::Status::Ok(); }

int64_t DbImpl::Counter(uint8_t id) const {
  CHECK(id < kCounterCount);
  if (queue_) return queue_->counter(id);
  int64_t sum = versions_.counters()[id];
  for (const auto& table : CurrentView()->immutables) sum += table->counter_deltas()[id];
  return sum;
}

// ---- Settings and statistics -------------------------------------------------------------------

void DbImpl::SetCompactionWorkers(int count) {
  io::MutexLock lock(jobs_mutex_);
  worker_count_.store(std::clamp(count, 1, kCompactionWorkersMax));
  if (queue_ && !stopping_) StartWorkersLocked();
  work_wanted_.NotifyAll();
}
void DbImpl::SetGarbageRatio(double ratio) {
  io::MutexLock lock(jobs_mutex_);
  garbage_ratio_.store(ratio);
  work_wanted_.NotifyAll();
}
void DbImpl::SetDeleteDeadline(int64_t ms) {
  io::MutexLock lock(jobs_mutex_);
  delete_deadline_ms_.store(ms);
  work_wanted_.NotifyAll();
}
void DbImpl::SetCommitInterval(int64_t ms) { commit_interval_ms_.store(ms); }
void DbImpl::SetValueCompression(int zstd_level) { value_zstd_level_.store(zstd_level); }
void DbImpl::SetCacheBytes(uint64_t bytes) { block_cache_.SetCapacity(bytes); }

DbStats DbImpl::Stats() const {
  DbStats stats;
  const Shape shape = versions_.shape();
  if (queue_) {
    stats.wal_bytes = queue_->log_bytes_written();
    stats.user_bytes_written = written_bytes_.load(std::memory_order_relaxed);
    stats.blob_bytes = value_log_->bytes_written();
    stats.memtable_bytes = queue_->active_memtable()->memory_bytes();
    stats.log_file_bytes =
        recycler_->file_bytes() * (recycler_->KeptNumbers().size() + 1 + immutable_count_.load());
  }
  stats.flush_bytes = counters_.flushed_bytes.load();
  stats.stall_ns = stall_ns_.load();
  {
    io::MutexLock lock(jobs_mutex_);
    const PickContext context = ContextLocked(shape, nullptr);
    for (int level = 0; level < kLevelCount; ++level) {
      LevelStats& out = stats.levels[static_cast<size_t>(level)];
      out.level = level;
      out.files = shape.version->files(level).size();
      out.bytes = shape.version->LevelBytes(level);
      out.score = LevelScore(context, level);
      out.target_bytes = context.targets.bytes[static_cast<size_t>(level)];
      for (const FileRef& file : shape.version->files(level)) {
        out.tombstones += file->info.tombstone_count;
        out.garbage_bytes += GarbageBytes(*file);
      }
      const LevelJobs& jobs = level_jobs_[static_cast<size_t>(level)];
      out.jobs = jobs.count;
      out.bytes_read = jobs.bytes_read;
      out.bytes_written = jobs.bytes_written;
      out.job_ns = jobs.ns;
      stats.live_table_bytes += out.bytes;
    }
    stats.compaction_pending_bytes = PendingBytes(context);
    stats.jobs_running = static_cast<uint64_t>(running_count_);
    stats.jobs_done = jobs_done_;
    stats.trivial_moves = trivial_moves_;
    stats.delete_only = delete_only_;
    stats.jobs_by_reason = jobs_by_reason_;
    for (const Immutable& immutable : immutables_) {
      stats.memtable_bytes += immutable.table->memory_bytes();
    }
  }
  stats.compaction_bytes_read = counters_.bytes_read.load();
  stats.compaction_bytes_written = counters_.bytes_written.load();
  stats.compaction_workers = worker_count_.load();
  stats.garbage_ratio = garbage_ratio_.load();
  stats.delete_deadline_ms = delete_deadline_ms_.load();
  stats.commit_interval_ms = commit_interval_ms_.load();
  for (const DropRule rule : kDropRules) {
    stats.dropped[DropRuleName(rule)] = counters_.dropped[static_cast<size_t>(rule)].load();
  }
  stats.rate_auto = rate_auto_.load(std::memory_order_relaxed);
  stats.limiter = limiter_.stats();
  stats.cache = block_cache_.stats();
  return stats;
}

}  // namespace terracefs::lsm
