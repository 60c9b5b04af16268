#include "lsm/memtable/memtable.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "io/base/check.h"
#include "io/base/coding.h"
#include "io/base/status.h"
#include "lsm/write_batch.h"

namespace terracefs::lsm {
namespace {

// From here on pointing into the batch is cheaper than copying, even though it keeps the batch's
// small neighbours in memory too.
constexpr size_t kKeepValueBytes = 512;

int CompareParts(std::string_view user_key_a, uint64_t trailer_a, std::string_view user_key_b,
                 uint64_t trailer_b) {
  const int order = user_key_a.compare(user_key_b);
  if (order != 0) return order;
  return trailer_a > trailer_b ? -1 : trailer_a < trailer_b ? 1 : 0;
}

// Domains of keys differ in their first byte, and writers go back and forth between them.
size_t FingerOf(std::string_view user_key, size_t finger_count) {
  return user_key.empty() ? 0 : static_cast<uint8_t>(user_key[0]) % finger_count;
}

}  // namespace

// What the entries of one batch share while it is being applied.
struct MemTable::ApplyState {
  SequenceNumber sequence = 0;  // of the next entry
  int64_t now_seconds = 0;
  const char* tombstone_value = nullptr;  // in the arena; made with the first tombstone
  bool points_into_batch = false;
  uint64_t entry_count = 0;  // of those that went into the list
  std::vector<ValueUse> value_uses;
};

int MemTable::EntryOrder::operator()(const Entry& a, const Entry& b) const {
  return CompareInternal(a.internal_key(), b.internal_key());
}

int MemTable::EntryOrder::operator()(const Entry& a, const Target& b) const {
  return CompareParts(UserKey(a.internal_key()), Trailer(a.internal_key()), b.user_key, b.trailer);
}

class MemTable::TableIterator : public Iterator {
 public:
  explicit TableIterator(const SkipList<Entry, EntryOrder>& list) : position_(list) {}

  bool Valid() const override { return position_.Valid(); }
  void SeekToFirst() override { position_.SeekToFirst(); }
  void Seek(std::string_view target) override {
    position_.Seek(Target{UserKey(target), Trailer(target)});
  }
  void Next() override {
    DCHECK(Valid());
    position_.Next();
  }
  std::string_view key() const override {
    DCHECK(Valid());
    return position_.entry().internal_key();
  }
  std::string_view value() const override {
    DCHECK(Valid());
    return position_.entry().value_view();
  }
  io::Status status() const override { return io::Status::Ok(); }

 private:
  SkipList<Entry, EntryOrder>::Iterator position_;
};

MemTable::MemTable() : list_(arena_, EntryOrder()) {}

void MemTable::Apply(std::string representation, uint32_t count, SequenceNumber first_sequence,
                     int64_t now_seconds, std::vector<ValueFileRef> value_files) {
  CHECK(first_sequence > 0);
  CHECK(first_sequence <= kSequenceMax - count);
  // The batch is put where it will stay before anything points into it. (Moving a std::string moves
  // its bytes if it is a short one; nothing here depends on which ones are.)
  const std::string& batch = kept_batches_.emplace_back(std::move(representation));
  ApplyState state;
  state.sequence = first_sequence;
  state.now_seconds = now_seconds;
  const auto apply = [this, &state](EntryKind kind, std::string_view key, std::string_view value) {
    ApplyEntry(kind, key, value, &state);
  };
  CHECK(WriteBatch::ForEach(batch, count, std::ref(apply)).ok());
  if (state.points_into_batch) {
    kept_bytes_ += batch.capacity();
  } else {
    kept_batches_.pop_back();
  }
  HoldValues(state.value_uses, std::move(value_files));
  memory_bytes_.store(arena_.memory_bytes() + kept_bytes_, std::memory_order_relaxed);
  entry_count_.store(entry_count() + state.entry_count, std::memory_order_relaxed);
}

void MemTable::HoldValues(const std::vector<ValueUse>& uses,
                          std::vector<ValueFileRef> value_files) {
  if (uses.empty()) return;
  io::MutexLock lock(value_mutex_);
  for (ValueFileRef& file : value_files) value_files_.try_emplace(file->number(), std::move(file));
  for (const ValueUse& use : uses) {
    CHECK(value_files_.contains(use.file));
    MergeValueUse(use, &value_uses_);
    value_bytes_.store(value_bytes() + use.bytes, std::memory_order_relaxed);
  }
}

std::vector<ValueUse> MemTable::value_uses() const {
  io::MutexLock lock(value_mutex_);
  return value_uses_;
}

void MemTable::ApplyEntry(EntryKind kind, std::string_view key, std::string_view value,
                          ApplyState* state) {
  const SequenceNumber sequence = state->sequence++;
  if (kind == EntryKind::kDropRange) {
    NoteDeletion(state->now_seconds);
    // An empty range drops nothing, but its entry has used up a sequence like any other.
    if (key < value) dropped_ranges_.push_back({std::string(key), std::string(value), sequence});
    return;
  }
  if (kind == EntryKind::kCounter) {
    counter_deltas_[static_cast<uint8_t>(key[0])] +=
        static_cast<int64_t>(io::DecodeFixed64(value.data()));
    return;
  }
  CHECK(key.size() <= UINT32_MAX - kKeyTrailerBytes);
  ++state->entry_count;

  Entry entry;
  if (kind == EntryKind::kDelete) {
    if (state->tombstone_value == nullptr) {
      char* const seconds = arena_.Allocate(sizeof(uint64_t));
      io::EncodeFixed64(seconds, static_cast<uint64_t>(state->now_seconds));
      state->tombstone_value = seconds;
    }
    entry.value = state->tombstone_value;
    entry.value_bytes = sizeof(uint64_t);
    NoteDeletion(state->now_seconds);
    tombstone_count_.store(tombstone_count() + 1, std::memory_order_relaxed);
  } else {
    if (kind == EntryKind::kReference) {
      AddValueUse(ValueReference::Decode(value).value(), &state->value_uses);
    }
    entry.value_bytes = static_cast<uint32_t>(value.size());
    if (value.size() >= kKeepValueBytes) {
      entry.value = value.data();
      state->points_into_batch = true;
    } else if (!value.empty()) {
      char* const copy = arena_.Allocate(value.size());
      std::memcpy(copy, value.data(), value.size());
      entry.value = copy;
    }
  }

  // The key comes last so that it lies right before the list's node: searches touch both.
  entry.key_bytes = static_cast<uint32_t>(key.size() + kKeyTrailerBytes);
  char* const internal_key = arena_.Allocate(entry.key_bytes);
  if (!key.empty()) std::memcpy(internal_key, key.data(), key.size());
  io::EncodeFixed64(internal_key + key.size(), PackTrailer(sequence, kind));
  entry.key = internal_key;
  list_.Insert(entry, FingerOf(key, decltype(list_)::kFingerCount));
}

void MemTable::NoteDeletion(int64_t now_seconds) {
  if (oldest_deletion_seconds() != 0) return;
  // 0 means none, so a clock that stands at 0 counts as 1.
  oldest_deletion_seconds_.store(std::max<int64_t>(now_seconds, 1), std::memory_order_relaxed);
}

std::optional<FoundEntry> MemTable::Get(std::string_view user_key, SequenceNumber snapshot) const {
  // 0xff sorts before every kind of the same sequence (see MakeSeekKey).
  const Entry* const entry = list_.Find(Target{user_key, snapshot << 8 | 0xff});
  if (entry == nullptr || UserKey(entry->internal_key()) != user_key) return std::nullopt;
  return FoundEntry{KeyKind(entry->internal_key()), KeySequence(entry->internal_key()),
                    entry->value_view()};
}

std::unique_ptr<Iterator> MemTable::NewIterator() const {
  return std::make_unique<TableIterator>(list_);
}

}  // namespace terracefs::lsm
