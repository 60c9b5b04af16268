#include "lsm/write_batch.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "io/base/check.h"
#include "io/base/coding.h"

namespace terracefs::lsm {
namespace {

constexpr size_t kLengthMax = std::numeric_limits<uint32_t>::max();

void AppendLength(std::string* out, size_t bytes) {
  CHECK(bytes <= kLengthMax);
  io::PutVarint32(out, static_cast<uint32_t>(bytes));
}

// Appends kind and key; the value follows.
void AppendHead(std::string* out, EntryKind kind, std::string_view key) {
  out->push_back(static_cast<char>(kind));
  AppendLength(out, key.size());
  out->append(key);
}

bool IsBatchKind(uint8_t kind) {
  return kind >= static_cast<uint8_t>(EntryKind::kDelete) &&
         kind <= static_cast<uint8_t>(EntryKind::kCounter);
}

}  // namespace

void WriteBatch::Put(std::string_view key, std::string_view value) { Put(key, value, {}); }

void WriteBatch::Put(std::string_view key, std::string_view value_head,
                     std::string_view value_tail) {
  AppendHead(&representation_, EntryKind::kValue, key);
  AppendLength(&representation_, value_head.size() + value_tail.size());
  representation_.append(value_head);
  representation_.append(value_tail);
  key_bytes_max_ = std::max(key_bytes_max_, key.size());
  value_bytes_max_ = std::max(value_bytes_max_, value_head.size() + value_tail.size());
  ++count_;
}

void WriteBatch::PutPage(std::string_view key, std::string_view value) {
  CHECK(value.size() == kValuePageBytes);
  pages_.push_back(value);
  page_keys_.append(key);
  page_key_ends_.push_back(page_keys_.size());
  key_bytes_max_ = std::max(key_bytes_max_, key.size());
}

std::string_view WriteBatch::PageKey(size_t index) const {
  const size_t begin = index == 0 ? 0 : page_key_ends_[index - 1];
  return std::string_view(page_keys_).substr(begin, page_key_ends_[index] - begin);
}

void WriteBatch::PutPagesInline() {
  for (size_t i = 0; i < pages_.size(); ++i) Put(PageKey(i), pages_[i]);
  ClearPages();
}

void WriteBatch::PutPagesAsReferences(std::span<const ValueReference> references) {
  CHECK(references.size() == pages_.size());
  std::string encoded;
  for (size_t i = 0; i < pages_.size(); ++i) {
    encoded.clear();
    references[i].AppendTo(&encoded);
    AppendHead(&representation_, EntryKind::kReference, PageKey(i));
    AppendLength(&representation_, encoded.size());
    representation_.append(encoded);
    ++count_;
  }
  ClearPages();
}

void WriteBatch::ClearPages() {
  pages_.clear();
  page_key_ends_.clear();
  page_keys_.clear();
}

void WriteBatch::Delete(std::string_view key) {
  AppendHead(&representation_, EntryKind::kDelete, key);
  AppendLength(&representation_, 0);
  key_bytes_max_ = std::max(key_bytes_max_, key.size());
  ++count_;
}

void WriteBatch::DropRange(std::string_view begin, std::string_view end, uint64_t value_bytes) {
  dropped_bytes_ += value_bytes;
  AppendHead(&representation_, EntryKind::kDropRange, begin);
  AppendLength(&representation_, end.size());
  representation_.append(end);
  ++count_;
}

void WriteBatch::AddCounter(uint8_t id, int64_t delta) {
  CHECK(id < kCounterCount);
  AppendHead(&representation_, EntryKind::kCounter, {reinterpret_cast<const char*>(&id), 1});
  AppendLength(&representation_, sizeof delta);
  io::PutFixed64(&representation_, static_cast<uint64_t>(delta));
  ++count_;
}

void WriteBatch::Clear() {
  representation_.clear();
  ClearPages();
  replaced_bytes_ = dropped_bytes_ = 0;
  count_ = 0;
  key_bytes_max_ = value_bytes_max_ = 0;
}

std::string WriteBatch::TakeRepresentation() {
  count_ = 0;
  key_bytes_max_ = value_bytes_max_ = 0;
  return std::exchange(representation_, std::string());
}

io::Status WriteBatch::ForEach(std::string_view representation, uint32_t expected_count,
                               const std::function<void(EntryKind kind, std::string_view key,
                                                        std::string_view value)>& visit) {
  io::Decoder decoder(representation);
  uint32_t count = 0;
  while (!decoder.empty()) {
    // Also keeps `count` from wrapping, whatever the length of the input.
    if (count == expected_count) {
      return io::Status::Corruption("batch has more entries than its count says");
    }
    uint8_t kind = 0;
    std::string_view key;
    std::string_view value;
    if (!decoder.GetByte(&kind) || !decoder.GetLengthPrefixed(&key) ||
        !decoder.GetLengthPrefixed(&value)) {
      return io::Status::Corruption("batch ends inside an entry");
    }
    if (!IsBatchKind(kind)) {
      return io::Status::Corruption("batch has an entry of unknown kind " + std::to_string(kind));
    }
    if (kind == static_cast<uint8_t>(EntryKind::kDelete) && !value.empty()) {
      return io::Status::Corruption("batch has a deletion with a value");
    }
    if (kind == static_cast<uint8_t>(EntryKind::kCounter) &&
        (key.size() != 1 || static_cast<uint8_t>(key[0]) >= kCounterCount ||
         value.size() != sizeof(uint64_t))) {
      return io::Status::Corruption("batch has a malformed counter");
    }
    if (kind == static_cast<uint8_t>(EntryKind::kReference)) {
      TRY(ValueReference::Decode(value));
    }
    ++count;
    visit(static_cast<EntryKind>(kind), key, value);
  }
  if (count != expected_count) {
    return io::Status::Corruption("batch has " + std::to_string(count) + " entries, expected " +
                                  std::to_string(expected_count));
  }
  return io::Status::Ok();
}

}  // namespace terracefs::lsm
