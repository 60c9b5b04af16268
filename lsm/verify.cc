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

// Every table on the disk is one of the version's, or waits for its last reader or its removal
// (R6). Only while no job is writing new ones.
io::Status DbImpl::VerifyFiles(const Version& version) {
  std::set<FileNumber> live;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : version.files(level)) live.insert(file->number);
  }
  std::set<FileNumber> on_disk;
  for (const std::string& name : TRY(storage_.List())) {
    const std::optional<ParsedFileName> parsed = ParseFileName(name);
    if (!parsed || parsed->kind != FileKind::kTable) continue;
    on_disk.insert(parsed->number);
    if (!live.contains(parsed->number) && !versions_.obsolete_tables()->Contains(parsed->number)) {
      return io::Status::Corruption("nobody knows the table", name);
    }
  }
  for (const FileNumber number : live) {
    if (!on_disk.contains(number)) {
      return io::Status::Corruption("the table is missing", FileName(FileKind::kTable, number));
    }
  }
  return io::Status::Ok();
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
          info.smallest != files[i]->info.smallest || info.largest != files[i]->info.largest) {
        return io::Status::Corruption("properties differ from the manifest's", name);
      }
      if (level > 0 && i > 0 && files[i - 1]->largest_user_key() >= files[i]->smallest_user_key()) {
        return io::Status::Corruption("overlaps its neighbour at level " + std::to_string(level),
                                      name);
      }
      if (read_all) TRY(table->Verify(nullptr, io::IoPriority::kScrub));
    }
  }
  if (read_all) TRY(VerifyOrderOfHistory(table_cache_, *shape.version));
  if (!queue_) return io::Status::Ok();
  // No job begins, and so no table comes or goes, while the lock is held.
  io::MutexLock lock(jobs_mutex_);
  if (running_count_ > 0 || flushing_count_ > 0) return io::Status::Ok();
  if (!in_use_.empty()) return io::Status::Corruption("a range is in use and no job runs");  // R9
  return VerifyFiles(*versions_.current());
}

}  // namespace terracefs::lsm
