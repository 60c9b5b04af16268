#include "lsm/compaction/value_garbage.h"

#include <algorithm>
#include <unordered_map>

#include "io/base/units.h"

namespace terracefs::lsm {
namespace {

constexpr uint64_t kFullFileBytesMin = 32 * io::kMiB;
constexpr uint64_t kFullFilesPerStore = 32;

uint64_t FileBytes(const FileMeta& table, FileNumber number) {
  for (const ValueFileRef& file : table.value_files) {
    if (file != nullptr && file->number() == number) return file->bytes();
  }
  return 0;
}

uint64_t Scaled(uint64_t bytes, double factor) {
  return static_cast<uint64_t>(static_cast<double>(bytes) * factor);
}

// What has to be moved out of the files with most garbage by share until `wanted` bytes of it are
// set free. None of them is empty.
uint64_t BytesToMove(std::vector<ValueFileGarbage> files, uint64_t wanted) {
  std::sort(files.begin(), files.end(), [](const ValueFileGarbage& a, const ValueFileGarbage& b) {
    return a.GarbageBytes() * b.file_bytes > b.GarbageBytes() * a.file_bytes;
  });
  uint64_t moved = 0;
  uint64_t freed = 0;
  for (const ValueFileGarbage& file : files) {
    if (freed >= wanted) break;
    freed += file.GarbageBytes();
    moved += file.used_bytes;
  }
  return moved;
}

}  // namespace

uint64_t ValueBytes(const FileMeta& table) {
  uint64_t bytes = 0;
  for (const ValueUse& use : table.info.value_uses) bytes += use.bytes;
  return bytes;
}

uint64_t DeadValueBytes(const FileMeta& file) {
  if (file.drop_pending_since_seconds.load(std::memory_order_relaxed) == 0) return 0;
  const double share = static_cast<double>(file.dead_bytes.load(std::memory_order_relaxed)) /
                       static_cast<double>(std::max<uint64_t>(file.info.file_bytes, 1));
  return static_cast<uint64_t>(std::min(share, 1.0) * static_cast<double>(ValueBytes(file)));
}

uint64_t NewerValueBytes(const Version& version, const std::map<FileNumber, uint64_t>& unflushed) {
  uint64_t bytes = 0;
  for (const auto& [file, file_bytes] : unflushed) bytes += file_bytes;
  // Level 0 is never the deepest: its tables hide each other's entries.
  for (int level = 0; level < std::max(version.DeepestLevel(), 1); ++level) {
    for (const FileRef& table : version.files(level)) bytes += ValueBytes(*table);
  }
  return bytes;
}

std::vector<ValueFileGarbage> MeasureValueFiles(const Version& version) {
  std::unordered_map<FileNumber, ValueFileGarbage> by_number;
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& table : version.files(level)) {
      for (const ValueUse& use : table->info.value_uses) {
        ValueFileGarbage& file = by_number[use.file];
        file.file = use.file;
        file.used_bytes += use.bytes;
        if (file.file_bytes == 0) file.file_bytes = FileBytes(*table, use.file);
      }
    }
  }
  std::vector<ValueFileGarbage> files;
  files.reserve(by_number.size());
  for (const auto& [number, file] : by_number) files.push_back(file);
  std::sort(files.begin(), files.end(),
            [](const ValueFileGarbage& a, const ValueFileGarbage& b) { return a.file < b.file; });
  return files;
}

ValueGarbage MeasureValueGarbage(const Version& version, const ValueScope& scope,
                                 double garbage_ratio, uint64_t smallest_full_bytes) {
  ValueGarbage garbage;
  std::vector<ValueFileGarbage> collectable;
  uint64_t used = 0;
  for (const auto& [number, bytes] : scope.unflushed) used += bytes;
  for (ValueFileGarbage file : MeasureValueFiles(version)) {
    used += file.used_bytes;
    const auto unflushed = scope.unflushed.find(file.file);
    if (unflushed != scope.unflushed.end()) file.used_bytes += unflushed->second;
    if (scope.writing.contains(file.file)) continue;
    if (scope.avoided.contains(file.file)) {
      used += file.GarbageBytes();
    } else {
      garbage.known_bytes += file.GarbageBytes();
      if (file.GarbageBytes() > 0) collectable.push_back(file);
    }
  }
  garbage.unknown_bytes =
      std::min(Scaled(scope.newer_bytes, scope.hidden_share) + scope.dead_bytes, used);
  garbage.live_bytes = used - garbage.unknown_bytes;
  garbage.limit_bytes =
      std::max(Scaled(garbage.live_bytes + garbage.GarbageBytes(), garbage_ratio * kLimitShare),
               std::min(kLiveFilesMin * smallest_full_bytes, scope.free_bytes / 2));
  const auto bytes = static_cast<double>(garbage.GarbageBytes());
  const auto limit = static_cast<double>(garbage.limit_bytes);
  garbage.presses = bytes > kPressesFrom * limit;
  if (garbage.presses) {
    const uint64_t pressing = garbage.GarbageBytes() - Scaled(garbage.limit_bytes, kPressesFrom);
    garbage.pending_bytes = BytesToMove(std::move(collectable), pressing);
  }
  if (bytes > kSlowsFrom * limit) {
    garbage.slows = std::min((bytes - kSlowsFrom * limit) / ((1 - kSlowsFrom) * limit), 1.0);
    if (limit == 0) garbage.slows = 1;
  }
  return garbage;
}

uint64_t FullValueFileBytes(uint64_t live_value_bytes, uint64_t value_file_bytes_max) {
  return std::clamp(live_value_bytes / kFullFilesPerStore,
                    std::min(kFullFileBytesMin, value_file_bytes_max), value_file_bytes_max);
}

}  // namespace terracefs::lsm
