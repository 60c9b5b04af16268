#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/mutex.h"
#include "lsm/iterator.h"
#include "lsm/key.h"
#include "lsm/memtable/arena.h"
#include "lsm/memtable/skiplist.h"
#include "lsm/values/value_files.h"
#include "lsm/values/value_use.h"

namespace terracefs::lsm {

// What a look-up of one user key in one sorted run found.
struct FoundEntry {
  EntryKind kind = EntryKind::kDelete;
  SequenceNumber sequence = 0;
  std::string_view value;  // lives as long as the run that was asked
};

struct DroppedRange {
  std::string begin;  // user keys, half-open
  std::string end;
  SequenceNumber sequence = 0;  // of the entry that dropped it
};

// The in-memory sorted run. One writer at a time (the owner serialises Apply); readers need no
// lock and may run beside the writer; they see an entry whole or not at all. Values of 512 bytes
// and more are not copied: the table keeps the batch's own memory.
class MemTable {
 public:
  MemTable();
  MemTable(const MemTable&) = delete;
  MemTable& operator=(const MemTable&) = delete;

  // Inserts the batch; its first entry has `first_sequence`, the others follow. Takes the memory.
  // `now_seconds` (wall) is stored with tombstones. CHECKs that the representation is well-formed:
  // the log and WriteBatch verify it before. `value_files` holds every file that the batch refers
  // to, and so does the table from then on.
  void Apply(std::string representation, uint32_t count, SequenceNumber first_sequence,
             int64_t now_seconds, std::vector<ValueFileRef> value_files = {});

  // The newest version of `user_key` at or below `snapshot`, tombstones included.
  std::optional<FoundEntry> Get(std::string_view user_key, SequenceNumber snapshot) const;
  // Over internal keys. Must not outlive the table.
  std::unique_ptr<Iterator> NewIterator() const;

  // Approximate memory, kept batches included. Any thread.
  size_t memory_bytes() const { return memory_bytes_.load(std::memory_order_relaxed); }
  // Nothing to iterate over. There may still be dropped ranges and counters, which must not be
  // lost.
  bool empty() const { return entry_count_.load(std::memory_order_relaxed) == 0; }
  // Entries that iterate; drops and counters are not among them.
  uint64_t entry_count() const { return entry_count_.load(std::memory_order_relaxed); }
  uint64_t tombstone_count() const { return tombstone_count_.load(std::memory_order_relaxed); }
  // Wall seconds of the first tombstone or drop in the table; 0 if none. Any thread.
  int64_t oldest_deletion_seconds() const {
    return oldest_deletion_seconds_.load(std::memory_order_relaxed);
  }
  // What the entries refer to in value files, hidden ones included. Any thread.
  std::vector<ValueUse> value_uses() const EXCLUDES(value_mutex_);
  uint64_t value_bytes() const { return value_bytes_.load(std::memory_order_relaxed); }
  // Only with the writer stopped (an immutable table) or by the writer.
  const std::vector<DroppedRange>& dropped_ranges() const { return dropped_ranges_; }
  // Sums of the kCounter entries applied to this table.
  const std::array<int64_t, kCounterCount>& counter_deltas() const { return counter_deltas_; }

 private:
  // An entry's node in the skip list: key bytes live in the arena, the value there or in a kept
  // batch.
  struct Entry {
    const char* key = nullptr;  // internal key
    const char* value = nullptr;
    uint32_t key_bytes = 0;  // trailer included
    uint32_t value_bytes = 0;

    std::string_view internal_key() const { return {key, key_bytes}; }
    std::string_view value_view() const { return {value, value_bytes}; }
  };
  // What readers search for: an internal key in its two parts, so that nobody has to join them.
  struct Target {
    std::string_view user_key;
    uint64_t trailer = 0;
  };
  struct EntryOrder {
    int operator()(const Entry& a, const Entry& b) const;
    int operator()(const Entry& a, const Target& b) const;
  };
  struct ApplyState;
  class TableIterator;

  void ApplyEntry(EntryKind kind, std::string_view key, std::string_view value, ApplyState* state);
  void NoteDeletion(int64_t now_seconds);
  void HoldValues(const std::vector<ValueUse>& uses, std::vector<ValueFileRef> value_files)
      EXCLUDES(value_mutex_);

  // Writer only; readers get at the memory through the list.
  Arena arena_;
  SkipList<Entry, EntryOrder> list_;
  std::deque<std::string> kept_batches_;  // a deque: the strings, and so their bytes, never move
  size_t kept_bytes_ = 0;
  std::vector<DroppedRange> dropped_ranges_;
  std::array<int64_t, kCounterCount> counter_deltas_{};

  mutable io::Mutex value_mutex_;
  std::vector<ValueUse> value_uses_ GUARDED_BY(value_mutex_);
  std::map<FileNumber, ValueFileRef> value_files_ GUARDED_BY(value_mutex_);

  // Written by the writer only. Relaxed: they steer and report, and order nothing.
  std::atomic<size_t> memory_bytes_{0};
  std::atomic<uint64_t> entry_count_{0};
  std::atomic<uint64_t> value_bytes_{0};
  std::atomic<uint64_t> tombstone_count_{0};
  std::atomic<int64_t> oldest_deletion_seconds_{0};
};

}  // namespace terracefs::lsm
