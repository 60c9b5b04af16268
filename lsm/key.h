#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "io/base/check.h"
#include "io/base/coding.h"

namespace terracefs::lsm {

// Position of an entry in the history of the store; every entry of a batch has its own. 0 is before
// the first entry. 56 bits.
using SequenceNumber = uint64_t;
inline constexpr SequenceNumber kSequenceMax = (uint64_t{1} << 56) - 1;

// Number of a file of the store; unique over its life, never reused. 0 is invalid.
using FileNumber = uint64_t;
inline constexpr FileNumber kFileNumberMax = (uint64_t{1} << 62) - 1;  // larger ones are damage

// Kinds of an entry, as stored. Never renumber.
enum class EntryKind : uint8_t {
  kDelete = 1,     // the key is gone; the value is the fixed64 wall time of the deletion, seconds
  kValue = 2,      // the value follows
  kReference = 3,  // the value is in a value file; a BlobReference follows (lsm/FORMAT.md)
  kDropRange =
      4,  // in batches and the log only: key = begin, value = end; see WriteBatch::DropRange
  kCounter =
      5,  // in batches and the log only: key = 1 byte id, value = fixed64 delta (two's complement)
};
// Engine-kept sums, by id; see WriteBatch::AddCounter.
inline constexpr size_t kCounterCount = 8;
inline bool IsTableKind(uint8_t kind) { return kind >= 1 && kind <= 3; }

// An internal key is the user key followed by a fixed64 of (sequence << 8 | kind). Internal keys
// sort by user key ascending, then sequence descending, so the newest version comes first.
inline constexpr size_t kKeyTrailerBytes = 8;

inline uint64_t PackTrailer(SequenceNumber sequence, EntryKind kind) {
  return sequence << 8 | static_cast<uint64_t>(kind);
}

inline std::string_view UserKey(std::string_view internal_key) {
  DCHECK(internal_key.size() >= kKeyTrailerBytes);
  return internal_key.substr(0, internal_key.size() - kKeyTrailerBytes);
}
inline uint64_t Trailer(std::string_view internal_key) {
  DCHECK(internal_key.size() >= kKeyTrailerBytes);
  return io::DecodeFixed64(internal_key.data() + internal_key.size() - kKeyTrailerBytes);
}
inline SequenceNumber KeySequence(std::string_view internal_key) {
  return Trailer(internal_key) >> 8;
}
inline EntryKind KeyKind(std::string_view internal_key) {
  return static_cast<EntryKind>(Trailer(internal_key) & 0xff);
}

inline void AppendInternalKey(std::string* out, std::string_view user_key, SequenceNumber sequence,
                              EntryKind kind) {
  out->append(user_key);
  io::PutFixed64(out, PackTrailer(sequence, kind));
}
inline std::string MakeInternalKey(std::string_view user_key, SequenceNumber sequence,
                                   EntryKind kind) {
  std::string key;
  key.reserve(user_key.size() + kKeyTrailerBytes);
  AppendInternalKey(&key, user_key, sequence, kind);
  return key;
}
// The key to seek to for the newest version of `user_key` visible at `sequence`. (0xff sorts before
// every kind of the same sequence.)
inline std::string MakeSeekKey(std::string_view user_key, SequenceNumber sequence) {
  std::string key;
  key.reserve(user_key.size() + kKeyTrailerBytes);
  key.append(user_key);
  io::PutFixed64(&key, sequence << 8 | 0xff);
  return key;
}

// < 0, 0 or > 0, in the order described above. Both must be at least a trailer long.
inline int CompareInternal(std::string_view a, std::string_view b) {
  const int order = UserKey(a).compare(UserKey(b));
  if (order != 0) return order;
  const uint64_t left = Trailer(a);
  const uint64_t right = Trailer(b);
  return left > right ? -1 : left < right ? 1 : 0;
}

}  // namespace terracefs::lsm
