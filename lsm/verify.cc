// The engine's invariants, checked on the live engine (tests, and later fsck).
#include <algorithm>
#include <set>

#include "lsm/db_impl.h"
#include "lsm/file_names.h"
#include "lsm/level_iterator.h"

namespace terracefs::lsm {
namespace {

// A sorted run: a level-0 table or a whole level. Runs are compared key by key, newest run first.
struct Run {
  std::string name;
  std::unique_ptr<Iterator> entries;
};

std::vector<Run> OpenRuns(TableCache& tables, const Version& version) {
  ReadOptions options;
  options.fill_cache = false;
  const TableIteratorFactory open = [&tables, options](const FileRef& file) {
    auto table = tables.Get(file->number);
    if (!table.ok()) return NewErrorIterator(table.status());
    return (*table)->NewIterator(options);
  };
  std::vector<Run> runs;
  for (const FileRef& file : version.files(0)) {
    runs.push_back({"table " + std::to_string(file->number), NewLevelIterator({file}, open, {})});
  }
  for (int level = 1; level < kLevelCount; ++level) {
    if (version.files(level).empty()) continue;
    runs.push_back(
        {"level " + std::to_string(level), NewLevelIterator(version.files(level), open, {})});
  }
  return runs;
}

// Whatever is nearer to the reader is newer: the versions of a key never lie the wrong way round,
// and none is there twice (R3).
io::Status VerifyOrderOfHistory(TableCache& tables, const Version& version) {
  std::vector<Run> runs = OpenRuns(tables, version);
  for (Run& run : runs) run.entries->SeekToFirst();
  std::string user_key;
  for (;;) {
    const Run* first = nullptr;
    for (const Run& run : runs) {
      TRY(run.entries->status());
      if (!run.entries->Valid()) continue;
      if (first == nullptr || UserKey(run.entries->key()) < UserKey(first->entries->key())) {
        first = &run;
      }
    }
    if (first == nullptr) return io::Status::Ok();
    user_key.assign(UserKey(first->entries->key()));
    SequenceNumber newer = kSequenceMax;  // the oldest version so far
    for (Run& run : runs) {
      for (; run.entries->Valid() && UserKey(run.entries->key()) == user_key; run.entries->Next()) {
        if (KeySequence(run.entries->key()) >= newer) {
          return io::Status::Corruption("an older version of a key lies above a newer one",
                                        run.name);
        }
        newer = KeySequence(run.entries->key());
      }
    }
  }
}

}  // namespace

// Every table and value file on the disk is known: one of the version's, or in use by memory, or
// waits for its last reader or its removal (R6). Only while no job is writing new ones.
io::Status DbImpl::VerifyFiles(const Version& version) {
  std::set<FileNumber> tables;
  std::set<FileNumber> value_files;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : version.files(level)) {
      tables.insert(file->number);
      for (const ValueUse& use : file->info.value_uses) value_files.insert(use.file);
    }
  }
  std::set<FileNumber> on_disk;
  for (const std::string& name : TRY(storage_.List())) {
    const std::optional<ParsedFileName> parsed = ParseFileName(name);
    if (!parsed) continue;
    if (parsed->kind != FileKind::kTable && parsed->kind != FileKind::kBlob) continue;
    on_disk.insert(parsed->number);
    const bool known = parsed->kind == FileKind::kTable
                           ? tables.contains(parsed->number) ||
                                 versions_.obsolete_tables()->Contains(parsed->number)
                           : value_files_.Find(parsed->number) != nullptr ||
                                 value_files_.IsObsolete(parsed->number);
    // One that was just being purged is gone before it is forgotten.
    if (!known && TRY(storage_.Exists(name))) {
      return io::Status::Corruption("nobody knows the file", name);
    }
  }
  for (const auto& [numbers, kind] :
       {std::pair(&tables, FileKind::kTable), std::pair(&value_files, FileKind::kBlob)}) {
    for (const FileNumber number : *numbers) {
      if (!on_disk.contains(number)) {
        return io::Status::Corruption("the file is missing", FileName(kind, number));
      }
    }
  }
  return io::Status::Ok();
}

namespace {

// The table holds what it refers to.
io::Status VerifyValueUses(const FileMeta& table) {
  const std::vector<ValueUse>& uses = table.info.value_uses;
  const bool held = std::equal(
      uses.begin(), uses.end(), table.value_files.begin(), table.value_files.end(),
      [](const ValueUse& use, const ValueFileRef& file) {
        return use.file == file->number() && use.end_page * kValuePageBytes <= file->bytes();
      });
  if (held) return io::Status::Ok();
  return io::Status::Corruption("does not hold the value files that it refers to",
                                FileName(FileKind::kTable, table.number));
}

}  // namespace

// Every value that can be read is what its reference says.
io::Status DbImpl::VerifyValues() {
  ReadOptions options;
  options.fill_cache = false;
  const std::unique_ptr<VisibleIterator> entries = NewEntryIterator(options);
  constexpr size_t kTogether = 512;
  std::vector<std::byte> memory(kTogether * kValuePageBytes);
  std::vector<ValueFiles::ReadItem> items;
  for (entries->SeekToFirst(); entries->Valid(); entries->Next()) {
    if (!entries->is_reference()) continue;
    items.push_back({
      TRY(ValueReference::Decode(entries->value()))
      , memory.data() + items.size() * kValuePageBytes, {}
    });
    if (items.size() < kTogether) continue;
    TRY(value_files_.Read(items, {}));
    items.clear();
  }
  TRY(entries->status());
  return value_files_.Read(items, {});
}

io::Status DbImpl::VerifyInvariants(bool read_all) {
  const Shape shape = versions_.shape();
  for (int level = 0; level < kLevelCount; ++level) {
    const std::vector<FileRef>& files = shape.version->files(level);
    for (size_t i = 0; i < files.size(); ++i) {
      const std::shared_ptr<TableReader> table = TRY(table_cache_.Get(files[i]->number));
      const TableInfo& info = table->info();
      const std::string name = "table " + std::to_string(files[i]->number);
      if (info.entry_count != files[i]->info.entry_count ||
          info.smallest != files[i]->info.smallest || info.largest != files[i]->info.largest ||
          info.value_uses != files[i]->info.value_uses ||
          info.value_pages != files[i]->info.value_pages ||
          info.value_runs != files[i]->info.value_runs) {
        return io::Status::Corruption("properties differ from the manifest's", name);
      }
      TRY(VerifyValueUses(*files[i]));
      if (level > 0 && i > 0 && files[i - 1]->largest_user_key() >= files[i]->smallest_user_key()) {
        return io::Status::Corruption("overlaps its neighbour at level " + std::to_string(level),
                                      name);
      }
      if (read_all) TRY(table->Verify(nullptr, io::IoPriority::kScrub));
    }
  }
  if (read_all) {
    TRY(VerifyOrderOfHistory(table_cache_, *shape.version));
    TRY(VerifyValues());
  }
  if (!queue_) return io::Status::Ok();
  // No job begins, and so no table comes or goes, while the lock is held.
  io::MutexLock lock(jobs_mutex_);
  if (running_count_ > 0 || flushing_count_ > 0) return io::Status::Ok();
  if (!in_use_.empty()) return io::Status::Corruption("a range is in use and no job runs");  // R9
  return VerifyFiles(*versions_.current());
}

}  // namespace terracefs::lsm
