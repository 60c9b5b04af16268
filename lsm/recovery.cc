// What Open does before the engine takes its first request.
#include <algorithm>
#include <set>

#include "io/base/log.h"
#include "lsm/db_impl.h"
#include "lsm/file_names.h"
#include "lsm/wal/wal_reader.h"

namespace terracefs::lsm {

io::Status Db::Create(const Options&, io::Storage& storage) { return VersionSet::Create(storage); }

io::Result<std::unique_ptr<Db>> Db::Open(const Options& options, io::Storage& storage) {
  auto db = std::make_unique<DbImpl>(options, storage);
  TRY(db->Recover());
  return std::unique_ptr<Db>(std::move(db));
}

// The value file as it is on the disk; one that is not there has no bytes.
io::Result<ValueFileRef> DbImpl::FindValueFile(FileNumber number) {
  if (ValueFileRef known = value_files_.Find(number)) return known;
  versions_.MarkNumberUsed(number);
  uint64_t bytes = 0;
  const auto file = storage_.Open(FileName(FileKind::kBlob, number), io::OpenOptions{});
  if (file.ok()) {
    bytes = TRY((*file)->SizeBytes());
  } else if (!file.status().Is(io::StatusCode::kNotFound)) {
    return file.status();
  }
  return value_files_.Add(number, bytes);
}

// Ties the tables to the value files that they refer to, which must be there.
io::Status DbImpl::HoldValueFiles(const Version& version) {
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& table : version.files(level)) {
      for (const ValueUse& use : table->info.value_uses) {
        ValueFileRef file = TRY(FindValueFile(use.file));
        if (file->bytes() < use.end_page * kValuePageBytes) {
          return io::Status::Corruption("value file is missing or cut short: it has " +
                                            std::to_string(file->bytes()) + " bytes, table " +
                                            std::to_string(table->number) + " needs " +
                                            std::to_string(use.end_page * kValuePageBytes),
                                        FileName(FileKind::kBlob, use.file));
        }
        table->value_files.push_back(std::move(file));
      }
    }
  }
  return io::Status::Ok();
}

namespace {

constexpr size_t kValuesCheckedTogether = 512;

}  // namespace

// The first sequence of the first batch one of whose values is not on the disk; kSequenceMax if all
// are. A batch becomes durable with its values, so that such a batch is where history ends. A disk
// that fails to read is an error.
io::Result<SequenceNumber> DbImpl::FirstWithoutValues(
    const std::vector<std::pair<SequenceNumber, ValueReference>>& references) {
  std::vector<std::byte> memory(kValuesCheckedTogether * kValuePageBytes);
  for (size_t begin = 0; begin < references.size(); begin += kValuesCheckedTogether) {
    const size_t end = std::min(begin + kValuesCheckedTogether, references.size());
    std::vector<ValueFiles::ReadItem> items;
    std::vector<SequenceNumber> sequences;
    SequenceNumber missing = kSequenceMax;
    for (size_t i = begin; i < end; ++i) {
      const auto& [sequence, reference] = references[i];
      const ValueFileRef file = value_files_.Find(reference.file);
      if (file == nullptr || file->bytes() < reference.end_page() * kValuePageBytes) {
        missing = std::min(missing, sequence);
        continue;
      }
      items.push_back({reference, memory.data() + items.size() * kValuePageBytes, {}});
      sequences.push_back(sequence);
    }
    value_files_.Read(items, {}).IgnoreError("each item has its own");
    for (size_t i = 0; i < items.size(); ++i) {
      if (items[i].status.ok()) continue;
      if (!items[i].status.Is(io::StatusCode::kCorruption)) return items[i].status;
      missing = std::min(missing, sequences[i]);
    }
    if (missing != kSequenceMax) return missing;
  }
  return kSequenceMax;
}

// Replays the logs up to the batch that begins with `end`, which is left out.
io::Result<DbImpl::Replayed> DbImpl::ReplayUpTo(const std::vector<FileNumber>& logs,
                                                SequenceNumber end) {
  Replayed replayed;
  std::vector<Immutable>& tables = replayed.tables;
  const auto apply = [&](FileNumber, SequenceNumber first, uint32_t count,
                         std::string_view batch) -> io::Status {
    if (first >= end) return io::Status::Ok();
    std::vector<ValueFileRef> value_files;
    io::Status status;
    TRY(WriteBatch::ForEach(
        batch, count, [&](EntryKind kind, std::string_view, std::string_view value) {
          if (kind != EntryKind::kReference || !status.ok()) return;
          const ValueReference reference = ValueReference::Decode(value).value();
          replayed.values.emplace_back(first, reference);
          if (!value_files.empty() && value_files.back()->number() == reference.file) return;
          auto file = FindValueFile(reference.file);
          status = file.status();
          if (file.ok()) value_files.push_back(std::move(file).value());
        }));
    TRY(status);
    if (tables.empty() || tables.back().table->memory_bytes() >= options_.memtable_bytes) {
      tables.push_back({std::make_shared<MemTable>(), 0, 0, 0});
    }
    tables.back().table->Apply(std::string(batch), count, first, NowSeconds(),
                               std::move(value_files));
    tables.back().last_sequence = first + count - 1;
    return io::Status::Ok();
  };
  replayed.result =
      TRY(ReplayLogs(storage_, logs, versions_.log_secret(), versions_.last_sequence(), apply));
  return replayed;
}

// The batches that are not in tables yet, as memtables, oldest first.
io::Result<std::vector<DbImpl::Immutable>> DbImpl::ReplayOldLogs() {
  std::vector<FileNumber> logs;
  for (const std::string& name : TRY(storage_.List())) {
    const std::optional<ParsedFileName> parsed = ParseFileName(name);
    if (!parsed) continue;
    versions_.MarkNumberUsed(parsed->number);
    if (parsed->kind == FileKind::kLog && parsed->number >= versions_.log_number()) {
      logs.push_back(parsed->number);
    }
  }
  std::sort(logs.begin(), logs.end());

  Replayed replayed = TRY(ReplayUpTo(logs, kSequenceMax));
  const SequenceNumber durable = replayed.result.durable_sequence;
  std::erase_if(replayed.values, [&](const auto& value) { return value.first <= durable; });
  const SequenceNumber end = TRY(FirstWithoutValues(replayed.values));
  if (end != kSequenceMax) {
    io::LsmLog().warn(
        "the log refers to values that did not get to the disk: history ends before sequence {}; "
        "up to {} everything is known to be durable",
        end, durable);
    // The first replay lives on meanwhile: it holds the files that both refer to.
    Replayed again = TRY(ReplayUpTo(logs, end));
    replayed = std::move(again);
    replayed.result.torn_tail = true;
  }
  const WalReplayResult& result = replayed.result;
  if (!replayed.tables.empty()) {
    io::LsmLog().info("replayed {} batches ({} bytes) from {} logs, up to sequence {}{}",
                      result.batch_count, result.bytes, logs.size(),
                      replayed.tables.back().last_sequence,
                      result.torn_tail ? ", torn tail cut" : "");
  }
  return std::move(replayed.tables);
}

// Cuts off what was preallocated behind the last value that is referred to, and makes what the
// recovered batches refer to durable: it may still be in the disk's cache only.
io::Status DbImpl::SettleValueFiles(const Version& version,
                                    const std::vector<Immutable>& recovered) {
  std::vector<ValueUse> uses;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& table : version.files(level)) {
      for (const ValueUse& use : table->info.value_uses) MergeValueUse(use, &uses);
    }
  }
  std::vector<ValueUse> recovered_uses;
  for (const Immutable& immutable : recovered) {
    for (const ValueUse& use : immutable.table->value_uses()) {
      MergeValueUse(use, &uses);
      MergeValueUse(use, &recovered_uses);
    }
  }
  for (const ValueUse& use : uses) {
    const ValueFileRef file = value_files_.Find(use.file);
    CHECK(file != nullptr);
    const uint64_t end = use.end_page * kValuePageBytes;
    if (file->bytes() < end) {
      return io::Status::Corruption("value file is missing or cut short, though it was durable",
                                    FileName(FileKind::kBlob, use.file));
    }
    const bool cut = file->bytes() > end && !options_.read_only;
    const bool sync = file->bytes() > 0 && !options_.read_only &&
                      std::any_of(recovered_uses.begin(), recovered_uses.end(),
                                  [&](const ValueUse& other) { return other.file == use.file; });
    if (cut || sync) {
      const std::unique_ptr<io::File> opened =
          TRY(storage_.Open(FileName(FileKind::kBlob, use.file), {.write = true}));
      if (cut) TRY(opened->Truncate(end));
      if (sync) TRY(opened->Sync());
    }
    file->set_bytes(std::min(file->bytes(), end));
  }
  if (!recovered_uses.empty() && !options_.read_only) return storage_.SyncDirectory();
  return io::Status::Ok();
}

io::Status DbImpl::Recover() {
  TRY(versions_.Recover(options_.read_only));
  TRY(HoldValueFiles(*versions_.current()));
  std::vector<Immutable> recovered = TRY(ReplayOldLogs());
  TRY(SettleValueFiles(*versions_.current(), recovered));
  if (options_.read_only) {
    value_files_.StopCollecting();
    auto view = std::make_shared<View>();
    view->version = versions_.current();
    for (auto it = recovered.rbegin(); it != recovered.rend(); ++it) {
      view->immutables.push_back(it->table);
    }
    io::MutexLock lock(view_mutex_);
    view_ = std::move(view);
    return io::Status::Ok();
  }
  SequenceNumber last_sequence = versions_.last_sequence();
  {
    auto view = std::make_shared<View>();
    view->version = versions_.current();
    io::MutexLock lock(view_mutex_);
    view_ = std::move(view);
  }
  // First, for what follows needs space, and a crash may have left much behind.
  TRY(RemoveLeftovers());
  for (const Immutable& table : recovered) {
    TRY(FlushOne(table));
    last_sequence = table.last_sequence;
  }
  TRY(ForgetOldLogs());
  TRY(StartLog(last_sequence));
  level0_count_.store(static_cast<size_t>(versions_.current()->level0_depth()),
                      std::memory_order_relaxed);
  RefreshRoom();
  SetCompactionRate(options_.compaction_rate);
  StartThreads();
  return io::Status::Ok();
}

// All that the logs hold is in tables now. The files are removed rather than used again: a write of
// a daemon that was killed may still be on its way to one of them.
io::Status DbImpl::ForgetOldLogs() {
  VersionEdit edit;
  edit.log_number = versions_.NewFileNumber();
  TRY(versions_.LogAndApply(std::move(edit), nullptr));
  return RemoveLeftovers();
}

io::Status DbImpl::StartLog(SequenceNumber last_sequence) {
  recycler_ = std::make_unique<WalRecycler>(
      storage_, options_.log_file_bytes, [this] { return versions_.NewFileNumber(); }, &limiter_);
  value_log_ = std::make_unique<ValueLog>(
      storage_, value_files_, [this] { return versions_.NewFileNumber(); },
      [this] { return full_value_file_bytes_.load(std::memory_order_relaxed); });
  value_files_.SetPagesInFlight(value_log_.get());
  WriteQueue::Settings settings;
  settings.memtable_bytes = options_.memtable_bytes;
  settings.log_secret = versions_.log_secret();
  settings.sync_values = [this] { return value_log_->Sync(); };
  settings.memtable_value_bytes = [this] {
    return memtable_value_bytes_.load(std::memory_order_relaxed);
  };
  queue_ = std::make_unique<WriteQueue>(
      std::move(settings), *recycler_, *options_.clock, last_sequence, versions_.counters(),
      [this](std::shared_ptr<MemTable> full, std::shared_ptr<MemTable> fresh, SequenceNumber last,
             FileNumber next_log) { OnRotate(std::move(full), std::move(fresh), last, next_log); });
  TRY(queue_->Start());
  const FileNumber log = queue_->active_log();  // its lock comes before ours
  {
    io::MutexLock lock(jobs_mutex_);
    active_log_ = log;
  }
  auto view = std::make_shared<View>();
  view->version = versions_.current();
  view->active = queue_->active_memtable();
  io::MutexLock lock(view_mutex_);
  view_ = std::move(view);
  return io::Status::Ok();
}

// Removes what the current version does not name: tables and manifests that a crash left behind,
// logs that are in tables.
io::Status DbImpl::RemoveLeftovers() {
  std::set<FileNumber> live;
  const std::shared_ptr<const Version> version = versions_.current();
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : version->files(level)) live.insert(file->number);
  }
  for (const std::string& name : TRY(storage_.List())) {
    const std::optional<ParsedFileName> parsed = ParseFileName(name);
    if (!parsed) continue;
    io::Status status;
    switch (parsed->kind) {
      case FileKind::kTable:
        if (!live.contains(parsed->number)) status = storage_.Remove(name);
        break;
      case FileKind::kManifest:
        if (parsed->number != versions_.manifest_number()) status = storage_.Remove(name);
        break;
      case FileKind::kLog:
        if (parsed->number < versions_.log_number()) status = storage_.Remove(name);
        break;
      case FileKind::kBlob:
        if (value_files_.Find(parsed->number) == nullptr) status = storage_.Remove(name);
        break;
    }
    TRY(status);
  }
  return io::Status::Ok();
}

}  // namespace terracefs::lsm
