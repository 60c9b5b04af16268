#include "lsm/manifest/version.h"

#include <algorithm>
#include <map>
#include <set>

namespace terracefs::lsm {
namespace {

bool NewerFirst(const FileRef& a, const FileRef& b) {
  if (a->info.largest_sequence != b->info.largest_sequence) {
    return a->info.largest_sequence > b->info.largest_sequence;
  }
  return a->number > b->number;
}

bool SmallerKeyFirst(const FileRef& a, const FileRef& b) {
  return CompareInternal(a->info.smallest, b->info.smallest) < 0;
}

}  // namespace

int Level0Depth(const std::vector<FileRef>& newest_first) {
  std::vector<int> depths(newest_first.size(), 1);
  int deepest = 0;
  for (size_t i = newest_first.size(); i-- > 0;) {
    for (size_t older = i + 1; older < newest_first.size(); ++older) {
      const FileMeta& a = *newest_first[i];
      const FileMeta& b = *newest_first[older];
      if (a.smallest_user_key() <= b.largest_user_key() &&
          b.smallest_user_key() <= a.largest_user_key()) {
        depths[i] = std::max(depths[i], depths[older] + 1);
      }
    }
    deepest = std::max(deepest, depths[i]);
  }
  return deepest;
}

namespace {

io::Status CheckLevelOrder(int level, const std::vector<FileRef>& files) {
  for (size_t i = 1; i < files.size(); ++i) {
    if (files[i - 1]->largest_user_key() >= files[i]->smallest_user_key()) {
      return io::Status::Corruption("tables " + std::to_string(files[i - 1]->number) + " and " +
                                    std::to_string(files[i]->number) + " overlap at level " +
                                    std::to_string(level));
    }
  }
  return io::Status::Ok();
}

// Whether every table that `edit` adds is new to `version`, from which the removed ones are gone.
io::Status CheckNewNumbers(const Version& version, const VersionEdit& edit) {
  std::set<FileNumber> numbers;
  const auto twice = [](FileNumber number) {
    return io::Status::Corruption("edit adds table " + std::to_string(number) + " twice");
  };
  for (const VersionEdit::AddedFile& added : edit.added_files) {
    if (!numbers.insert(added.file->number).second) return twice(added.file->number);
  }
  if (numbers.empty()) return io::Status::Ok();
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : version.files(level)) {
      if (numbers.contains(file->number)) return twice(file->number);
    }
  }
  return io::Status::Ok();
}

}  // namespace

std::shared_ptr<const Version> Version::Empty() {
  return std::shared_ptr<const Version>(new Version());
}

uint64_t Version::LevelBytes(int level) const {
  uint64_t bytes = 0;
  for (const FileRef& file : files(level)) bytes += file->info.file_bytes;
  return bytes;
}

size_t Version::FindFile(int level, std::string_view user_key) const {
  const std::vector<FileRef>& list = files(level);
  const auto it = std::partition_point(list.begin(), list.end(), [&](const FileRef& file) {
    return file->largest_user_key() < user_key;
  });
  return static_cast<size_t>(it - list.begin());
}

std::vector<FileRef> Version::Overlapping(int level, std::string_view begin,
                                          std::string_view end) const {
  std::vector<FileRef> found;
  const std::vector<FileRef>& list = files(level);
  if (level == 0) {
    for (const FileRef& file : list) {
      if (file->smallest_user_key() <= end && begin <= file->largest_user_key()) {
        found.push_back(file);
      }
    }
    return found;
  }
  for (size_t i = FindFile(level, begin); i < list.size(); ++i) {
    if (list[i]->smallest_user_key() > end) break;
    found.push_back(list[i]);
  }
  return found;
}

bool Version::DeeperMayContain(int level, std::string_view user_key) const {
  if (level < 0) {
    for (const FileRef& file : files(0)) {
      if (file->smallest_user_key() <= user_key && user_key <= file->largest_user_key()) {
        return true;
      }
    }
  }
  for (int deeper = std::max(level + 1, 1); deeper < kLevelCount; ++deeper) {
    const std::vector<FileRef>& list = files(deeper);
    const size_t i = FindFile(deeper, user_key);
    if (i < list.size() && list[i]->smallest_user_key() <= user_key) return true;
  }
  return false;
}

int Version::DeepestLevel() const {
  int deepest = 0;
  for (int level = 0; level < kLevelCount; ++level) {
    if (!files(level).empty()) deepest = level;
  }
  return deepest;
}

io::Result<std::shared_ptr<const Version>> Version::Apply(const Version& base,
                                                          const VersionEdit& edit) {
  std::shared_ptr<Version> version(new Version());
  std::array<std::set<FileNumber>, kLevelCount> removed;
  for (const VersionEdit::RemovedFile& file : edit.removed_files) {
    removed[static_cast<size_t>(file.level)].insert(file.number);
  }
  for (size_t level = 0; level < kLevelCount; ++level) {
    for (const FileRef& file : base.levels_[level]) {
      if (removed[level].erase(file->number) == 0) version->levels_[level].push_back(file);
    }
    if (!removed[level].empty()) {
      return io::Status::Corruption("edit removes table " +
                                    std::to_string(*removed[level].begin()) +
                                    ", which is not at level " + std::to_string(level));
    }
  }
  TRY(CheckNewNumbers(*version, edit));
  for (const VersionEdit::AddedFile& added : edit.added_files) {
    version->levels_[static_cast<size_t>(added.level)].push_back(added.file);
  }
  std::sort(version->levels_[0].begin(), version->levels_[0].end(), NewerFirst);
  version->level0_depth_ = Level0Depth(version->levels_[0]);
  for (int level = 1; level < kLevelCount; ++level) {
    std::vector<FileRef>& files = version->levels_[static_cast<size_t>(level)];
    std::sort(files.begin(), files.end(), SmallerKeyFirst);
    TRY(CheckLevelOrder(level, files));
  }

  if (edit.added_drops.empty() && edit.retired_drops.empty()) {
    version->drops_ = base.drops_;
  } else {
    std::set<std::pair<std::string_view, SequenceNumber>> retired;
    for (const VersionEdit::RetiredDrop& drop : edit.retired_drops) {
      retired.emplace(drop.begin, drop.sequence);
    }
    auto drops = std::make_shared<std::vector<DropRange>>();
    for (const DropRange& drop : *base.drops_) {
      if (!retired.contains({drop.begin, drop.sequence})) drops->push_back(drop);
    }
    drops->insert(drops->end(), edit.added_drops.begin(), edit.added_drops.end());
    version->drops_ = std::move(drops);
  }
  return std::shared_ptr<const Version>(std::move(version));
}

}  // namespace terracefs::lsm
