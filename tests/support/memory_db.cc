#include "tests/support/memory_db.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "io/base/check.h"
#include "io/base/coding.h"

namespace terracefs::testing {

using io::Result;
using io::Status;
using lsm::EntryKind;
using lsm::SequenceNumber;

// Looks the next key up in the map each time, so it does not mind changes; reads at a snapshot.
class MemoryDbIterator final : public lsm::Iterator {
 public:
  MemoryDbIterator(MemoryDb* db, const lsm::ReadOptions& options)
      : db_(db),
        cache_only_(options.cache_only),
        keys_only_(options.keys_only),
        upper_bound_(options.upper_bound) {
    pin_ = db->AcquireSnapshot();
    snapshot_ = std::min(options.snapshot, pin_);
  }
  ~MemoryDbIterator() override { db_->ReleaseSnapshot(pin_); }

  bool Valid() const override { return valid_; }
  void SeekToFirst() override { Move("", /*after=*/false); }
  void Seek(std::string_view target) override {
    {
      io::MutexLock hold(db_->mutex_);
      CHECK(!db_->IsDroppedLocked(target));
      db_->last_seek_ = target;
    }
    Move(target, /*after=*/false);
  }
  void Next() override {
    CHECK(valid_);
    Move(std::string(key_), /*after=*/true);
  }
  std::string_view key() const override { return key_; }
  std::string_view value() const override {
    if (keys_only_ && value_->size() == lsm::kValuePageBytes) return {};
    return *value_;
  }
  size_t value_bytes() const override { return value_->size(); }
  Status status() const override { return status_; }

 private:
  void Move(std::string_view from, bool after) {
    valid_ = false;
    io::MutexLock hold(db_->mutex_);
    if (cache_only_ && db_->BlocksLocked()) {
      status_ = Status::WouldBlock();
      return;
    }
    auto at = after ? db_->map_.upper_bound(from) : db_->map_.lower_bound(from);
    for (; at != db_->map_.end(); ++at) {
      if (!upper_bound_.empty() && at->first >= upper_bound_) return;
      value_ = MemoryDb::At(at->second, snapshot_);
      if (value_ == nullptr) continue;
      key_ = at->first;
      valid_ = true;
      return;
    }
  }

  MemoryDb* const db_;
  const bool cache_only_;
  const bool keys_only_;
  const std::string_view upper_bound_;
  SequenceNumber pin_;
  SequenceNumber snapshot_;
  bool valid_ = false;
  std::string key_;
  std::shared_ptr<const std::string> value_;
  Status status_;
};

std::unique_ptr<MemoryDb> MemoryDb::Clone() const {
  auto clone = std::make_unique<MemoryDb>();
  io::MutexLock hold(mutex_);
  io::MutexLock hold_clone(clone->mutex_);
  for (const auto& [key, versions] : map_) {
    if (versions.back().value != nullptr) clone->map_[key] = {versions.back()};
  }
  clone->dropped_ = dropped_;
  clone->counters_ = counters_;
  clone->sequence_ = sequence_;
  return clone;
}

void MemoryDb::SetWouldBlockOneIn(uint64_t n, uint64_t seed) {
  io::MutexLock hold(mutex_);
  would_block_one_in_ = n;
  random_ = io::Random(seed);
}

void MemoryDb::FailWriteAfter(uint64_t count, const Status& status) {
  io::MutexLock hold(mutex_);
  writes_until_failure_ = count;
  write_failure_ = status;
}

bool MemoryDb::write_failure_is_armed() const {
  io::MutexLock hold(mutex_);
  return write_failure_.has_value();
}

void MemoryDb::SetStalled(bool stalled) {
  io::MutexLock hold(mutex_);
  stalled_ = stalled;
}

uint64_t MemoryDb::write_count() const {
  io::MutexLock hold(mutex_);
  return write_count_;
}

uint64_t MemoryDb::written_bytes() const {
  io::MutexLock hold(mutex_);
  return written_bytes_;
}

uint64_t MemoryDb::page_put_count() const {
  io::MutexLock hold(mutex_);
  return page_put_count_;
}

uint64_t MemoryDb::read_count() const {
  io::MutexLock hold(mutex_);
  return read_count_;
}

std::string MemoryDb::last_seek() const {
  io::MutexLock hold(mutex_);
  return last_seek_;
}

std::vector<std::string> MemoryDb::Keys() const {
  io::MutexLock hold(mutex_);
  std::vector<std::string> keys;
  for (const auto& [key, versions] : map_) {
    if (versions.back().value != nullptr) keys.push_back(key);
  }
  return keys;
}

void MemoryDb::PutRaw(std::string_view key, std::string_view value) {
  io::MutexLock hold(mutex_);
  map_[std::string(key)] = {{++sequence_, std::make_shared<const std::string>(value)}};
}

void MemoryDb::EraseRaw(std::string_view key) {
  io::MutexLock hold(mutex_);
  map_.erase(std::string(key));
  ++sequence_;
}

bool MemoryDb::BlocksLocked() const {
  return would_block_one_in_ != 0 && random_.OneIn(would_block_one_in_);
}

bool MemoryDb::IsDroppedLocked(std::string_view key) const {
  auto at = dropped_.upper_bound(key);
  return at != dropped_.begin() && (--at)->second > key;
}

MemoryDb::Value MemoryDb::At(const Versions& versions, SequenceNumber snapshot) {
  for (auto at = versions.rbegin(); at != versions.rend(); ++at) {
    if (at->sequence <= snapshot) return at->value;
  }
  return nullptr;
}

MemoryDb::Value MemoryDb::FindLocked(std::string_view key, SequenceNumber snapshot) const {
  const auto at = map_.find(key);
  return at == map_.end() ? nullptr : At(at->second, snapshot);
}

void MemoryDb::PutLocked(std::string_view key, Value value) {
  CHECK(!IsDroppedLocked(key));
  auto at = map_.lower_bound(key);
  if (at == map_.end() || at->first != key) {
    if (value == nullptr) return;
    at = map_.emplace_hint(at, std::string(key), Versions());
  }
  if (snapshots_.empty()) {
    if (value == nullptr) {
      map_.erase(at);
      return;
    }
    at->second.clear();
  }
  has_history_ = has_history_ || !snapshots_.empty();
  at->second.push_back({sequence_, std::move(value)});
}

void MemoryDb::DropLocked(std::string_view begin, std::string_view end) {
  CHECK(begin < end);
  map_.erase(map_.lower_bound(begin), map_.lower_bound(end));
  std::string& known_end = dropped_[std::string(begin)];
  known_end = std::max(known_end, std::string(end));
}

Status MemoryDb::Write(lsm::WriteBatch&& batch, bool /*durable*/) {
  lsm::WriteBatch taken = std::move(batch);
  const size_t page_puts = taken.page_count();
  taken.PutPagesInline();
  io::MutexLock hold(mutex_);
  if (write_failure_ && writes_until_failure_-- == 0) {
    return *std::exchange(write_failure_, std::nullopt);
  }
  ++write_count_;
  written_bytes_ += taken.bytes();
  page_put_count_ += page_puts;
  return lsm::WriteBatch::ForEach(
      taken.representation(), taken.count(),
      [this](EntryKind kind, std::string_view key, std::string_view value)
          NO_THREAD_SAFETY_ANALYSIS {
            ++sequence_;
            switch (kind) {
              case EntryKind::kValue:
                return PutLocked(key, std::make_shared<const std::string>(value));
              case EntryKind::kDelete:
                return PutLocked(key, nullptr);
              case EntryKind::kDropRange:
                return DropLocked(key, value);
              case EntryKind::kCounter:
                CHECK(key.size() == 1);
                counters_[static_cast<uint8_t>(key[0])] +=
                    static_cast<int64_t>(io::DecodeFixed64(value.data()));
                return;
              case EntryKind::kReference:
                UNREACHABLE();
            }
          });
}

bool MemoryDb::WriteWouldStall() const {
  io::MutexLock hold(mutex_);
  return stalled_ || BlocksLocked();
}

SequenceNumber MemoryDb::LastSequence() const {
  io::MutexLock hold(mutex_);
  return sequence_;
}

Result<std::optional<lsm::PinnedValue>> MemoryDb::Get(const lsm::ReadOptions& options,
                                                      std::string_view key) {
  io::MutexLock hold(mutex_);
  ++read_count_;
  CHECK(!IsDroppedLocked(key));
  if (options.cache_only && BlocksLocked()) return Status::WouldBlock();
  Value value = FindLocked(key, options.snapshot);
  if (value == nullptr) return std::optional<lsm::PinnedValue>();
  if (options.keys_only && value->size() == lsm::kValuePageBytes) {
    return std::optional<lsm::PinnedValue>(std::in_place);
  }
  const std::string_view view = *value;
  return std::optional<lsm::PinnedValue>(std::in_place, view, std::move(value));
}

Result<std::vector<std::optional<lsm::PinnedValue>>> MemoryDb::MultiGet(
    const lsm::ReadOptions& options, std::span<const std::string> keys) {
  std::vector<std::optional<lsm::PinnedValue>> values;
  for (const std::string& key : keys) values.push_back(TRY(Get(options, key)));
  return values;
}

std::unique_ptr<lsm::Iterator> MemoryDb::NewIterator(const lsm::ReadOptions& options) {
  return std::make_unique<MemoryDbIterator>(this, options);
}

Status MemoryDb::Scan(const lsm::ReadOptions& options, std::string_view begin,
                      const ScanPlace& place, const ScanVisit& visit) {
  const std::unique_ptr<lsm::Iterator> entries = NewIterator(options);
  for (entries->Seek(begin); entries->Valid(); entries->Next()) {
    std::string_view value = entries->value();
    std::byte* const out =
        place && value.size() == lsm::kValuePageBytes ? place(entries->key()) : nullptr;
    if (out != nullptr) {
      std::memcpy(out, value.data(), value.size());
      value = {reinterpret_cast<const char*>(out), value.size()};
    }
    if (!visit(entries->key(), value)) return Status::Ok();
  }
  return entries->status();
}

int64_t MemoryDb::Counter(uint8_t id) const {
  io::MutexLock hold(mutex_);
  const auto at = counters_.find(id);
  return at == counters_.end() ? 0 : at->second;
}

SequenceNumber MemoryDb::AcquireSnapshot() {
  io::MutexLock hold(mutex_);
  snapshots_.insert(sequence_);
  return sequence_;
}

void MemoryDb::ReleaseSnapshot(SequenceNumber snapshot) {
  io::MutexLock hold(mutex_);
  snapshots_.erase(snapshots_.find(snapshot));
  if (!snapshots_.empty() || !std::exchange(has_history_, false)) return;
  for (auto at = map_.begin(); at != map_.end();) {
    Versions& versions = at->second;
    if (versions.back().value == nullptr) {
      at = map_.erase(at);
      continue;
    }
    if (versions.size() > 1) versions.erase(versions.begin(), versions.end() - 1);
    ++at;
  }
}

Status MemoryDb::Compact(const lsm::CompactionRequest& /*request*/, lsm::JobControl& /*control*/,
                         const std::function<void(const lsm::CompactionProgress&)>& /*progress*/) {
  return Status::Ok();
}

}  // namespace terracefs::testing
