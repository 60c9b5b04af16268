#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "io/base/clock.h"
#include "io/base/units.h"

namespace terracefs::lsm {

inline constexpr int kLevelCount = 7;
inline constexpr int kCompactionWorkersMax = 16;
// As a compaction rate: what the foreground leaves (lsm/auto_rate.h).
inline constexpr uint64_t kRateAuto = UINT64_MAX;

// Everything about an open engine. Sizes in bytes. The live-settable ones have a setter on Db.
struct Options {
  uint64_t memtable_bytes = 64 * io::kMiB;
  uint64_t log_file_bytes = 64 * io::kMiB;
  int immutable_memtable_count_max = 3;  // a write waits for a flush beyond this
  uint64_t block_cache_bytes = 256 * io::kMiB;
  size_t open_table_count_max = 400;  // file descriptors, and the memory of indexes and filters

  // Longest time before a write is durable by itself; 0 = only when asked.
  int64_t commit_interval_ms = 5000;

  int l0_compaction_trigger = 4;  // tables
  int l0_slowdown_trigger = 12;   // writes are delayed a little, more and more
  int l0_stop_trigger = 36;       // writes wait
  uint64_t level1_bytes = 256 * io::kMiB;
  int level_multiplier = 10;
  // Targets follow the size of the last level, and level 0 goes straight into the first level that
  // is in use (B7); otherwise level 1 has level1_bytes and each further one level_multiplier times
  // more.
  bool dynamic_levels = true;
  uint64_t table_bytes = 32 * io::kMiB;  // output tables are cut at about this size
  uint64_t block_bytes = 16 * io::kKiB;

  // Batches with up to this many bytes of pages (WriteBatch::PutPage) may keep them with their
  // keys, where that is cheaper because somebody syncs often; larger ones go to value files.
  uint64_t inline_max_bytes = 16 * io::kKiB;
  // zstd level of value files, 0 = none.
  int value_zstd_level = 0;
  // The largest value file; smaller ones while the store is small.
  uint64_t value_file_bytes = 256 * io::kMiB;
  // Output tables are also cut when they refer to about this much.
  uint64_t table_value_bytes = 256 * io::kMiB;
  size_t open_value_file_count_max = 256;

  // How a table of a level that is too large is chosen.
  enum class Picking : uint8_t {
    kRatio,       // the cheapest to move: most of its own bytes per byte below (C5)
    kRoundRobin,  // in key order, from where the last one ended (C1)
  };
  Picking picking = Picking::kRatio;
  // An automatic merge takes at most this many output tables' worth of input.
  int merge_tables_max = 25;
  // A table of the target level of at least this size stays as it is if no key falls into it (C6).
  uint64_t skipped_table_bytes_min = io::kMiB;
  // A large merge is split into at most so many, in threads of their own.
  int subcompactions_max = 1;

  int compaction_workers = 1;
  // All background bytes per second, reads and writes; 0 = unlimited; or kRateAuto.
  uint64_t compaction_rate = 0;
  // A table is rewritten for the garbage in it once that is this share of its bytes; a value file
  // is vacuumed from then on.
  double garbage_ratio = 0.3;
  // A tombstone is gone from the store at most this long after it was written.
  int64_t delete_deadline_ms = 600'000;

  // The domain of a key: tables are cut where it changes, and may be cut where `group` changes once
  // they are large enough. May be null. Must be a pure function; a prefix of the key.
  std::string_view (*domain_of)(std::string_view user_key) = nullptr;
  std::string_view (*group_of)(std::string_view user_key) = nullptr;
  // Which keys go into filters; null = all.
  bool (*filter_key)(std::string_view user_key) = nullptr;

  // Asked once for the newest value of a key that every snapshot can see, when a compaction meets
  // it (E6). kDelete turns it into a tombstone, which goes like any other. There is no way to say
  // "forget this version": an older one deeper down would come back (Q15); what is dead with all
  // its versions is told by WriteBatch::DropRange. `now_seconds` (wall) is the same for the whole
  // job, so that expiry times can be compared with it (E8). Called from background threads; may be
  // null.
  enum class FilterDecision : uint8_t { kKeep, kDelete };
  FilterDecision (*compaction_filter)(std::string_view user_key, std::string_view value,
                                      int64_t now_seconds) = nullptr;

  bool read_only = false;                     // nothing is ever written; recovery happens in memory
  bool disable_automatic_compaction = false;  // tests only: jobs run when asked for

  const io::Clock* clock = &io::SystemClock();
};

}  // namespace terracefs::lsm
