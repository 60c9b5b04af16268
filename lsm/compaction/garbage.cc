#include "lsm/compaction/garbage.h"

#include <algorithm>

namespace terracefs::lsm {
namespace {

// Ranges in one table that are looked up one by one; beyond, the rest counts as found.
constexpr int kRangesLookedAtMax = 1024;
// Ranges for which a block is read to see whether they touch anything.
constexpr int kRangesProbedMax = 64;

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

bool HasGarbage(const FileMeta& file) {
  return file.info.tombstone_count > 0 || file.info.hidden_count > 0 ||
         file.drop_pending_since_seconds.load(std::memory_order_relaxed) != 0;
}

uint64_t GarbageBytes(const FileMeta& file) {
  const uint64_t entries = file.info.tombstone_count + file.info.hidden_count;
  const double entry_bytes = Share(file.info.file_bytes, file.info.entry_count);
  const uint64_t bytes = file.dead_bytes.load(std::memory_order_relaxed) +
                         static_cast<uint64_t>(static_cast<double>(entries) * entry_bytes);
  return std::min(bytes, file.info.file_bytes);
}

bool IsTombstoneDense(const FileMeta& file, double ratio) {
  return file.info.tombstone_count > 0 &&
         (Share(file.info.tombstone_count, file.info.entry_count) >= ratio ||
          Share(file.info.tombstone_block_bytes, file.info.file_bytes) >= ratio);
}

bool IsHiddenDense(const FileMeta& file, double ratio) {
  return file.info.hidden_count > 0 &&
         Share(file.info.hidden_count, file.info.entry_count) >= ratio;
}

int64_t TombstoneAgeMax(const LevelTargets& targets, int deepest, int level, int64_t deadline_s) {
  int64_t weight = 1;
  int64_t upto_level = 1;  // level 0
  int64_t total = 1;
  for (int i = targets.base_level; i < deepest; ++i) {
    weight *= 2;
    total += weight;
    if (i <= level) upto_level += weight;
  }
  return deadline_s / 2 * upto_level / total;
}

void EstimateDeadBytes(const DropRangeSet& drops, SequenceNumber drop_sequence, TableReader& table,
                       int64_t now_seconds, FileMeta* file) {
  int64_t since = file->drop_pending_since_seconds.load(std::memory_order_relaxed);
  uint64_t bytes = 0;
  int looked_at = 0;
  int probed = 0;
  bool touched = false;
  const bool complete =
      drops.ForEachIn(file->smallest_user_key(), file->largest_user_key(),
                      [&](std::string_view begin, std::string_view end) {
                        if (++looked_at > kRangesLookedAtMax) return false;
                        const uint64_t between = table.ApproximateBytes(begin, end);
                        bytes += between;
                        if (between > 0 || touched) {
                          touched = true;
                          return true;
                        }
                        // Both ends lie in one block.
                        if (++probed > kRangesProbedMax) {
                          touched = true;
                          return true;
                        }
                        ReadOptions options;
                        options.fill_cache = false;
                        options.upper_bound = end;
                        const std::unique_ptr<Iterator> entries = table.NewIterator(options);
                        entries->Seek(MakeSeekKey(begin, kSequenceMax));
                        touched = entries->Valid() || !entries->status().ok();
                        return true;
                      });
  file->dead_bytes.store(std::min(bytes, file->info.file_bytes), std::memory_order_relaxed);
  file->dead_known_sequence.store(drop_sequence, std::memory_order_relaxed);
  if (!complete || touched) {
    // A drop that became known while an earlier look cleared the mark has to have one, too.
    if (since == 0) file->drop_pending_since_seconds.compare_exchange_strong(since, now_seconds);
    return;
  }
  if (file->drop_pending_since_seconds.compare_exchange_strong(since, 0)) {
    file->clean_sequence.store(drop_sequence, std::memory_order_relaxed);
  }
}

}  // namespace terracefs::lsm
