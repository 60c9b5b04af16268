#include "lsm/manifest/version_set.h"

#include <algorithm>
#include <optional>

#include "io/atomic_file.h"
#include "io/base/crc32c.h"
#include "io/base/log.h"
#include "io/base/random.h"
#include "lsm/file_names.h"
#include "lsm/manifest/manifest_format.h"

namespace terracefs::lsm {
namespace {

constexpr size_t kCurrentBytesMax = 256;

std::string EncodeRecord(std::string_view payload) {
  std::string body;
  io::PutFixed32(&body, static_cast<uint32_t>(payload.size()));
  const uint32_t crc = io::Crc32c(io::AsBytes(payload), io::Crc32c(io::AsBytes(body)));
  std::string record;
  record.reserve(kManifestHeaderBytes + payload.size() + kManifestAlignment);
  io::PutFixed32(&record, kManifestMagic);
  io::PutFixed32(&record, crc);
  record.append(body);
  io::PutFixed32(&record, 0);
  record.append(payload);
  record.resize(io::RoundUp(record.size(), kManifestAlignment), '\0');
  return record;
}

// The payload of the record at `offset`, or nothing if there is no whole, valid record there.
std::optional<std::string_view> RecordAt(std::string_view contents, size_t offset) {
  if (contents.size() - offset < kManifestHeaderBytes) return std::nullopt;
  const char* header = contents.data() + offset;
  if (io::DecodeFixed32(header) != kManifestMagic) return std::nullopt;
  if (io::DecodeFixed32(header + 12) != 0) return std::nullopt;
  const uint32_t payload_bytes = io::DecodeFixed32(header + 8);
  if (payload_bytes > contents.size() - offset - kManifestHeaderBytes) return std::nullopt;
  const std::string_view length(header + 8, 4);
  const std::string_view payload(header + kManifestHeaderBytes, payload_bytes);
  const uint32_t crc = io::Crc32c(io::AsBytes(payload), io::Crc32c(io::AsBytes(length)));
  if (crc != io::DecodeFixed32(header + 4)) return std::nullopt;
  return payload;
}

size_t RecordBytes(std::string_view payload) {
  return io::RoundUp(kManifestHeaderBytes + payload.size(), kManifestAlignment);
}

std::string CurrentContents(FileNumber manifest_number) {
  return kManifestFormatLine + FileName(FileKind::kManifest, manifest_number) + "\n";
}

io::Result<FileNumber> ParseCurrent(std::string_view contents) {
  const std::string_view format = kManifestFormatLine;
  if (!contents.starts_with("terracefs-lsm ")) {
    return io::Status::Corruption("not a store's CURRENT file", kCurrentFileName);
  }
  if (!contents.starts_with(format)) {
    return io::Status::NotSupported("the engine's format is of another version than this program's",
                                    contents.substr(0, contents.find('\n')));
  }
  contents.remove_prefix(format.size());
  if (!contents.ends_with('\n')) {
    return io::Status::Corruption("CURRENT is cut short", kCurrentFileName);
  }
  contents.remove_suffix(1);
  const std::optional<ParsedFileName> parsed = ParseFileName(contents);
  if (!parsed || parsed->kind != FileKind::kManifest) {
    return io::Status::Corruption("CURRENT names no manifest", contents);
  }
  return parsed->number;
}

// Marks the files of `version` that `drop` overlaps and was not applied to.
void MarkPending(const Version& version, const DropRange& drop) {
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : version.Overlapping(level, drop.begin, drop.end)) {
      if (file->applied_drop_sequence() >= drop.sequence || file->smallest_user_key() >= drop.end)
        continue;
      int64_t since = file->drop_pending_since_seconds.load(std::memory_order_relaxed);
      if (since == 0 || drop.seconds < since) {
        file->drop_pending_since_seconds.store(std::max<int64_t>(drop.seconds, 1),
                                               std::memory_order_relaxed);
      }
    }
  }
}

}  // namespace

VersionSet::VersionSet(io::Storage& storage) : storage_(storage) {}

io::Status VersionSet::Create(io::Storage& storage) {
  if (TRY(storage.Exists(kCurrentFileName))) {
    return io::Status::Busy("the store already has an engine in it", kCurrentFileName);
  }
  VersionSet set(storage);
  io::MutexLock lock(set.manifest_mutex_);
  State state;
  state.log_secret = io::SecretNumber();
  bool current_in_doubt = false;
  return set.BeginManifest(state, &current_in_doubt);
}

VersionEdit VersionSet::SnapshotOf(const State& state, FileNumber next_file_number) {
  VersionEdit edit;
  edit.log_number = state.log_number;
  edit.next_file_number = next_file_number;
  edit.last_sequence = state.last_sequence;
  edit.counters = state.counters;
  edit.log_secret = state.log_secret;
  for (int level = 0; level < kLevelCount; ++level) {
    const std::string& pointer = state.compact_pointers[static_cast<size_t>(level)];
    if (!pointer.empty()) edit.compact_pointers.push_back({level, pointer});
  }
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : state.version->files(level)) {
      edit.added_files.push_back({level, file});
    }
  }
  edit.added_drops = state.version->drops();
  return edit;
}

// The first record of manifest `number`, durable under its name.
io::Result<VersionSet::Manifest> VersionSet::WriteSnapshot(const State& state, FileNumber number) {
  const std::string record = EncodeRecord(SnapshotOf(state, next_file_number_.load()).Encode());
  io::OpenOptions options;
  options.write = options.create = options.truncate = true;
  Manifest manifest;
  manifest.file = TRY(storage_.Open(FileName(FileKind::kManifest, number), options));
  TRY(manifest.file->Write(0, io::AsBytes(record)));
  TRY(manifest.file->Sync());
  // The name must be durable before CURRENT points to it.
  TRY(storage_.SyncDirectory());
  manifest.offset = manifest.snapshot_bytes = manifest.allocated_bytes = record.size();
  return manifest;
}

io::Status VersionSet::BeginManifest(const State& state, bool* current_in_doubt) {
  const FileNumber number = NewFileNumber();
  const FileNumber old_number = manifest_number();
  const std::string name = FileName(FileKind::kManifest, number);
  io::Result<Manifest> manifest = WriteSnapshot(state, number);
  io::Status status = manifest.status();
  if (status.ok()) {
    status = io::ReplaceFile(storage_, kCurrentFileName, CurrentContents(number));
    if (!status.ok()) {
      // Whether the rename was done decides; that it was, but not durably, is the case in doubt.
      const auto current = io::ReadWholeFile(storage_, kCurrentFileName, kCurrentBytesMax);
      *current_in_doubt = !(old_number == 0 && current.status().Is(io::StatusCode::kNotFound)) &&
                          !(current.ok() && *current == CurrentContents(old_number));
    }
  }
  if (!status.ok()) {
    if (!*current_in_doubt) {
      storage_.Remove(name).IgnoreError("CURRENT does not name it; the next open removes it");
    }
    return status;
  }
  {
    io::MutexLock lock(mutex_);
    manifest_number_ = number;
  }
  manifest_ = std::move(manifest).value();
  if (old_number != 0) {
    storage_.Remove(FileName(FileKind::kManifest, old_number))
        .IgnoreError("CURRENT no longer names it; the next open removes it");
  }
  return io::Status::Ok();
}

// That every table is there and as long as it was when it was written.
io::Status VersionSet::CheckTables(const Version& version) {
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : version.files(level)) {
      const std::string name = FileName(FileKind::kTable, file->number);
      auto opened = storage_.Open(name, io::OpenOptions{});
      if (!opened.ok() && opened.status().Is(io::StatusCode::kNotFound)) {
        return io::Status::Corruption("table is missing", name);
      }
      const std::unique_ptr<io::File> table = TRY(std::move(opened));
      const uint64_t file_bytes = TRY(table->SizeBytes());
      if (file_bytes != file->info.file_bytes) {
        return io::Status::Corruption("table has " + std::to_string(file_bytes) +
                                          " bytes, expected " +
                                          std::to_string(file->info.file_bytes),
                                      name);
      }
    }
  }
  return io::Status::Ok();
}

io::Status VersionSet::Recover(bool read_only) {
  if (!TRY(storage_.Exists(kCurrentFileName))) {
    return io::Status::NotFound("no engine in this store", kCurrentFileName);
  }
  const std::string current = TRY(io::ReadWholeFile(storage_, kCurrentFileName, kCurrentBytesMax));
  const FileNumber number = TRY(ParseCurrent(current));
  const std::string name = FileName(FileKind::kManifest, number);
  const std::string contents = TRY(io::ReadWholeFile(storage_, name, kManifestRecordBytesMax));
  State state;
  TRY(ReadManifest(contents, &state));
  // Without it the salts of the logs could be foreseen.
  if (state.log_secret == 0) return io::Status::Corruption("manifest names no log secret");
  TRY(CheckTables(*state.version));
  MarkNumberUsed(number);
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : state.version->files(level)) {
      file->obsolete = obsolete_;
      MarkNumberUsed(file->number);
    }
  }
  for (const DropRange& drop : state.version->drops()) MarkPending(*state.version, drop);
  MarkNumberUsed(state.log_number);
  {
    io::MutexLock lock(mutex_);
    state_ = state;
    manifest_number_ = number;
  }
  if (read_only) return io::Status::Ok();
  io::MutexLock lock(manifest_mutex_);
  bool current_in_doubt = false;  // either holds the same state
  return BeginManifest(state, &current_in_doubt);
}

io::Status VersionSet::ReadManifest(std::string_view contents, State* state) {
  size_t offset = 0;
  size_t record_count = 0;
  while (offset < contents.size()) {
    const std::optional<std::string_view> payload = RecordAt(contents, offset);
    if (!payload) break;
    const VersionEdit edit = TRY(VersionEdit::Decode(*payload));
    if (edit.next_file_number) MarkNumberUsed(*edit.next_file_number - 1);
    TRY(ApplyTo(state, edit));
    ++record_count;
    offset += RecordBytes(*payload);
  }
  // The torn tail is the one record that was being written; each is synced before the next, so a
  // valid record behind an invalid one means that durable bytes were damaged.
  for (size_t later = offset + kManifestAlignment; later < contents.size();
       later += kManifestAlignment) {
    if (RecordAt(contents, later)) {
      return io::Status::Corruption("manifest damaged at offset " + std::to_string(offset) +
                                    ", valid record at " + std::to_string(later));
    }
  }
  if (record_count == 0) return io::Status::Corruption("manifest holds no valid record");
  return io::Status::Ok();
}

io::Status VersionSet::ApplyTo(State* state, const VersionEdit& edit) {
  state->version = TRY(Version::Apply(*state->version, edit));
  if (edit.log_number) state->log_number = *edit.log_number;
  if (edit.last_sequence) state->last_sequence = *edit.last_sequence;
  if (edit.counters) state->counters = *edit.counters;
  if (edit.log_secret) state->log_secret = *edit.log_secret;
  for (const VersionEdit::CompactPointer& pointer : edit.compact_pointers) {
    state->compact_pointers[static_cast<size_t>(pointer.level)] = pointer.user_key;
  }
  for (const DropRange& drop : edit.added_drops) {
    state->drop_sequence = std::max(state->drop_sequence, drop.sequence);
  }
  if (!edit.retired_drops.empty()) {
    auto drops = std::make_shared<DropRangeSet>();
    for (const DropRange& drop : state->version->drops()) drops->Add(drop.begin, drop.end);
    state->drops = std::move(drops);
  } else if (!edit.added_drops.empty()) {
    auto drops = std::make_shared<DropRangeSet>(*state->drops);
    for (const DropRange& drop : edit.added_drops) drops->Add(drop.begin, drop.end);
    state->drops = std::move(drops);
  }
  return io::Status::Ok();
}

io::Status VersionSet::AppendRecord(std::string_view payload, bool* touched) {
  const std::string record = EncodeRecord(payload);
  // Space is reserved before the first byte is written: a full disk is then an error that changed
  // nothing, while a failed write or sync leaves it open what is on disk.
  const uint64_t end = manifest_.offset + record.size();
  if (end > manifest_.allocated_bytes) {
    const uint64_t wanted = io::RoundUp(end, kManifestAllocationBytes);
    TRY(manifest_.file->Allocate(wanted));
    manifest_.allocated_bytes = wanted;
  }
  *touched = true;
  TRY(manifest_.file->Write(manifest_.offset, io::AsBytes(record)));
  TRY(manifest_.file->Sync());
  manifest_.offset += record.size();
  return io::Status::Ok();
}

io::Status VersionSet::LogAndApply(VersionEdit edit, const InstallHook& on_install) {
  io::MutexLock manifest_lock(manifest_mutex_);
  State state;
  {
    io::MutexLock lock(mutex_);
    TRY(error_);
    state = state_;
  }
  edit.next_file_number = next_file_number_.load();
  const std::shared_ptr<const Version> base = state.version;
  for (const VersionEdit::AddedFile& added : edit.added_files) added.file->obsolete = obsolete_;
  TRY(ApplyTo(&state, edit));

  bool touched = false;
  if (io::Status status = AppendRecord(edit.Encode(), &touched); !status.ok()) {
    io::MutexLock lock(mutex_);
    if (touched) error_ = status;
    return status;
  }
  for (const DropRange& drop : edit.added_drops) MarkPending(*state.version, drop);
  // A new file may have been built before a drop that the manifest already knows.
  for (const VersionEdit::AddedFile& added : edit.added_files) {
    if (added.file->drop_sequence >= state.drop_sequence) continue;
    for (const DropRange& drop : state.version->drops()) {
      if (drop.sequence > added.file->drop_sequence) MarkPending(*state.version, drop);
    }
    break;
  }
  {
    io::MutexLock lock(mutex_);
    state_ = state;
    if (on_install) on_install(state.version);
  }
  // A moved file is removed at one level and added at another: it stays.
  for (const VersionEdit::RemovedFile& removed : edit.removed_files) {
    const bool moved = std::any_of(
        edit.added_files.begin(), edit.added_files.end(),
        [&](const VersionEdit::AddedFile& added) { return added.file->number == removed.number; });
    if (moved) continue;
    for (const FileRef& file : base->files(removed.level)) {
      if (file->number != removed.number) continue;
      obsolete_->Hold(file->number);
      file->removed.store(true, std::memory_order_release);
    }
  }
  if (manifest_.offset > kManifestBytesTarget && manifest_.offset > 3 * manifest_.snapshot_bytes) {
    bool current_in_doubt = false;
    if (io::Status status = BeginManifest(state, &current_in_doubt); !status.ok()) {
      io::LsmLog().warn("beginning a new manifest: {}", status.ToString());
      io::MutexLock lock(mutex_);
      if (current_in_doubt) error_ = status;
    }
  }
  return io::Status::Ok();
}

Shape VersionSet::shape() const {
  io::MutexLock lock(mutex_);
  return {state_.version, state_.drops, state_.drop_sequence};
}

void VersionSet::MarkNumberUsed(FileNumber number) {
  FileNumber next = next_file_number_.load();
  while (next <= number && !next_file_number_.compare_exchange_weak(next, number + 1)) {
  }
}

uint64_t VersionSet::log_secret() const {
  io::MutexLock lock(mutex_);
  return state_.log_secret;
}

FileNumber VersionSet::log_number() const {
  io::MutexLock lock(mutex_);
  return state_.log_number;
}

FileNumber VersionSet::manifest_number() const {
  io::MutexLock lock(mutex_);
  return manifest_number_;
}

SequenceNumber VersionSet::last_sequence() const {
  io::MutexLock lock(mutex_);
  return state_.last_sequence;
}

std::array<int64_t, kCounterCount> VersionSet::counters() const {
  io::MutexLock lock(mutex_);
  return state_.counters;
}

CompactPointers VersionSet::compact_pointers() const {
  io::MutexLock lock(mutex_);
  return state_.compact_pointers;
}

io::Status VersionSet::error() const {
  io::MutexLock lock(mutex_);
  return error_;
}

std::vector<VersionEdit::RetiredDrop> VersionSet::DropsToRetire() const {
  const std::shared_ptr<const Version> version = current();
  std::vector<VersionEdit::RetiredDrop> retired;
  for (const DropRange& drop : version->drops()) {
    bool needed = false;
    for (int level = 0; level < kLevelCount && !needed; ++level) {
      for (const FileRef& file : version->Overlapping(level, drop.begin, drop.end)) {
        needed |=
            file->applied_drop_sequence() < drop.sequence && file->smallest_user_key() < drop.end;
      }
    }
    if (!needed) retired.push_back({drop.begin, drop.sequence});
  }
  return retired;
}

}  // namespace terracefs::lsm
