#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/base/status.h"
#include "lsm/key.h"
#include "lsm/values/value_reference.h"

namespace terracefs::lsm {

// Largest batch that a Db takes.
inline constexpr size_t kBatchBytesMax = size_t{512} << 20;

// A list of changes that become visible, and survive a crash, all together or not at all. Later
// entries win over earlier ones of the same key. Not thread-safe; movable.
// Representation: for each entry: kind (1 byte), key (varint32 length + bytes), value (the same).
class WriteBatch {
 public:
  WriteBatch() = default;

  void Put(std::string_view key, std::string_view value);
  // The value in two pieces, so that a caller with a header and a body need not join them first.
  void Put(std::string_view key, std::string_view value_head, std::string_view value_tail);
  // As Put, for a value of kValuePageBytes that belongs in a value file: log, tables and compaction
  // carry a reference only, unless the engine finds it cheaper to keep the value with its key. The
  // key is copied, the value is not: its memory must stay as it is until Db::Write has returned.
  // Such puts count as the last ones of the batch, in the order in which they were made.
  void PutPage(std::string_view key, std::string_view value);
  void Delete(std::string_view key);
  // Everything in [begin, end) is dead: every version, for good, whatever its sequence. The caller
  // promises that the range is never written again and never read again (what a read of it would
  // see is unspecified). Costs O(1) bytes; the engine drops the entries wherever it meets them,
  // at any level, without tombstones, and whole tables without reading them.
  // `value_bytes`: as for NoteReplaced, what lies in the range.
  void DropRange(std::string_view begin, std::string_view end, uint64_t value_bytes = 0);
  // A hint: about so many bytes of older values will never be read again once the puts and deletes
  // of this batch are there. With it the engine knows of garbage before a merge finds it.
  void NoteReplaced(uint64_t value_bytes) { replaced_bytes_ += value_bytes; }
  uint64_t replaced_bytes() const { return replaced_bytes_; }
  uint64_t dropped_bytes() const { return dropped_bytes_; }

  // Adds `delta` to the engine-kept sum `id` (< kCounterCount), atomically with the rest of the
  // batch: cheaper than a key that every batch rewrites. Read it with Db::Counter.
  void AddCounter(uint8_t id, int64_t delta);

  void Clear();
  void Reserve(size_t bytes) { representation_.reserve(bytes); }
  // Entries of the representation: pages are not among them before the engine has put them there.
  uint32_t count() const { return count_; }
  bool empty() const { return count_ == 0 && pages_.empty(); }
  size_t bytes() const { return representation_.size(); }
  // Of the largest key and value put or deleted.
  size_t key_bytes_max() const { return key_bytes_max_; }
  size_t value_bytes_max() const { return value_bytes_max_; }
  const std::string& representation() const { return representation_; }

  // For the engine: the pages, and what it puts in their place.
  size_t page_count() const { return pages_.size(); }
  // Puts all pages as values of their own; there are none left.
  void PutPagesInline();
  // Puts references to where the pages lie now (one for each, encoded by ValueReference); there are
  // none left.
  void PutPagesAsReferences(std::span<const ValueReference> references);
  const std::vector<std::string_view>& pages() const { return pages_; }

  // Gives the bytes away; the batch is empty afterwards.
  std::string TakeRepresentation();

  // Calls `visit` for each entry in order; the views point into `representation`. Corruption if it
  // is malformed, its entry count differs from `expected_count`, or a kind is unknown.
  static io::Status ForEach(std::string_view representation, uint32_t expected_count,
                            const std::function<void(EntryKind kind, std::string_view key,
                                                     std::string_view value)>& visit);

 private:
  std::string representation_;
  uint32_t count_ = 0;
  size_t key_bytes_max_ = 0;
  size_t value_bytes_max_ = 0;
  uint64_t replaced_bytes_ = 0;  // hints
  uint64_t dropped_bytes_ = 0;
  std::vector<std::string_view> pages_;
  std::vector<size_t> page_key_ends_;  // in page_keys_
  std::string page_keys_;

  std::string_view PageKey(size_t index) const;
  void ClearPages();
};

}  // namespace terracefs::lsm
