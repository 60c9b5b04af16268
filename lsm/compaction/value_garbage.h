#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "lsm/manifest/version.h"

namespace terracefs::lsm {

// How much of the value files is garbage: places whose values nothing refers to any more. Pure
// functions over a version.

// Garbage that may lie in value files, as a share of garbage_ratio of all their bytes. The rest is
// for what nobody counts: files being written, copies of a vacuum whose source is still there.
inline constexpr double kLimitShare = 0.62;
// ... but at least so many of the smallest full files: a small store cannot do better than that,
// as files come and go as wholes.
inline constexpr uint64_t kLiveFilesMin = 8;
// Shares of the limit: vacuum begins, writers are delayed more and more (up to 1).
inline constexpr double kPressesFrom = 0.75;
inline constexpr double kSlowsFrom = 0.8;

// What has to be known of value files beyond the version.
struct ValueScope {
  // What memtables refer to, bytes by file.
  std::map<FileNumber, uint64_t> unflushed;
  // What memtables and the levels above the deepest refer to: NewerValueBytes.
  uint64_t newer_bytes = 0;
  // Of these, the share that hides an older value below: what writers said, less what merges have
  // found. 0..1.
  double hidden_share = 0;
  // Estimate of what tables refer to in dead ranges.
  uint64_t dead_bytes = 0;
  // Being written, by the log or by jobs, or ended with batches on their way that refer to them:
  // never vacuumed, and no garbage yet.
  std::set<FileNumber> writing;
  // To be left alone, though they may hold garbage: it counts as live. For files that cannot be
  // read, and those that damaged tables refer to.
  std::set<FileNumber> avoided;
  bool quiet = false;            // nobody has written for a while
  uint64_t full_file_bytes = 0;  // FullValueFileBytes: of files that a vacuum makes
  // What the disk has left, for copies that a vacuum makes before anything is set free.
  uint64_t free_bytes = UINT64_MAX;
};

// What the table refers to in dead ranges, at a guess.
uint64_t DeadValueBytes(const FileMeta& file);

// A value file and what the tables of the version refer to in it.
struct ValueFileGarbage {
  FileNumber file = 0;
  uint64_t file_bytes = 0;  // 0 if the version does not hold it
  uint64_t used_bytes = 0;

  uint64_t GarbageBytes() const { return file_bytes > used_bytes ? file_bytes - used_bytes : 0; }
};
// What a table refers to in all value files, bytes.
uint64_t ValueBytes(const FileMeta& table);
// What memtables (`unflushed`, by file) and the levels above the deepest refer to: each of these
// entries may hide an older one below.
uint64_t NewerValueBytes(const Version& version, const std::map<FileNumber, uint64_t>& unflushed);
// All files that tables of the version refer to, ascending.
std::vector<ValueFileGarbage> MeasureValueFiles(const Version& version);

struct ValueGarbage {
  uint64_t live_bytes = 0;     // estimate: all that is referred to but for what is hidden
  uint64_t known_bytes = 0;    // garbage for certain
  uint64_t unknown_bytes = 0;  // estimate: hidden by newer entries above; merges will find it
  uint64_t limit_bytes = 0;    // of both kinds of garbage
  bool presses = false;        // time for a vacuum
  // What a vacuum has to move until nothing presses any more: values, less what merges will find.
  uint64_t pending_bytes = 0;
  double slows = 0;  // how much writers should be delayed: 0 not at all, 1 at the limit

  uint64_t GarbageBytes() const { return known_bytes + unknown_bytes; }
};
// `smallest_full_bytes`: of a full value file in a small store, FullValueFileBytes(0, ...).
ValueGarbage MeasureValueGarbage(const Version& version, const ValueScope& scope,
                                 double garbage_ratio, uint64_t smallest_full_bytes);

// When a value file is large enough to be ended: a small part of the store, so that what one file
// holds back is, too; but not below 32 MiB, unless `value_file_bytes_max` is.
uint64_t FullValueFileBytes(uint64_t live_value_bytes, uint64_t value_file_bytes_max);

}  // namespace terracefs::lsm
