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

  std::vector<Immutable> tables;
  const SequenceNumber after = versions_.last_sequence();
  const auto apply = [&](FileNumber, SequenceNumber first, uint32_t count,
                         std::string_view batch) -> io::Status {
    TRY(WriteBatch::ForEach(batch, count, [](EntryKind, std::string_view, std::string_view) {}));
    if (tables.empty() || tables.back().table->memory_bytes() >= options_.memtable_bytes) {
      tables.push_back({std::make_shared<MemTable>(), 0, 0, 0});
    }
    tables.back().table->Apply(std::string(batch), count, first, NowSeconds());
    tables.back().last_sequence = first + count - 1;
    return io::Status::Ok();
  };
  const WalReplayResult replayed =
      TRY(ReplayLogs(storage_, logs, versions_.log_secret(), after, apply));
  if (replayed.batch_count > 0) {
    io::LsmLog().info("replayed {} batches ({} bytes) from {} logs, up to sequence {}{}",
                      replayed.batch_count, replayed.bytes, logs.size(), replayed.last_sequence,
                      replayed.torn_tail ? ", torn tail cut" : "");
  }
  return tables;
}

io::Status DbImpl::Recover() {
  TRY(versions_.Recover(options_.read_only));
  std::vector<Immutable> recovered = TRY(ReplayOldLogs());
  if (options_.read_only) {
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
  queue_ = std::make_unique<WriteQueue>(
      WriteQueue::Settings{options_.memtable_bytes, options_.log_file_bytes,
                           versions_.log_secret()},
      *recycler_, *options_.clock, last_sequence, versions_.counters(),
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
        break;  // of a later format version
    }
    TRY(status);
  }
  return io::Status::Ok();
}

}  // namespace terracefs::lsm
