#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "lsm/drop_ranges.h"
#include "lsm/key.h"
#include "lsm/manifest/version.h"

namespace terracefs::lsm {

// Why an entry may be left out of a compaction's output.
enum class DropRule : uint8_t {
  kNone = 0,
  kHidden = 1,     // E1: a newer version of the key is visible to every snapshot
  kTombstone = 2,  // E3: a tombstone with nothing left to shadow
  kDropRange = 3,  // E7: the key lies in a dead range
};
inline constexpr size_t kDropRuleCount = 4;
const char* DropRuleName(DropRule rule);

// Decides entry by entry, in internal key order, what a flush or compaction keeps. Not thread-safe.
class DropRules {
 public:
  struct Scope {
    // The version whose deeper levels are asked whether they may hold a key (E3); it must hold
    // every level below `output_level` that the job does not read. Null: tombstones stay (flush).
    const Version* version = nullptr;
    int output_level = 0;
    const DropRangeSet* drops = nullptr;  // may be null
    // Versions at or above it must stay apart for readers.
    SequenceNumber smallest_snapshot = kSequenceMax;
  };
  explicit DropRules(const Scope& scope) : scope_(scope) {}

  // Must be called for every entry of the merge.
  DropRule Judge(std::string_view internal_key);
  // After kDropRange: the user key where the dead range ends.
  std::string_view dead_until() const { return dead_until_; }
  uint64_t dropped(DropRule rule) const { return dropped_[static_cast<size_t>(rule)]; }

 private:
  DropRule Decide(std::string_view internal_key);

  const Scope scope_;
  bool has_key_ = false;
  std::string user_key_;
  SequenceNumber newer_sequence_ = 0;  // of the entry before, same user key
  std::string dead_until_;
  std::array<uint64_t, kDropRuleCount> dropped_{};
};

}  // namespace terracefs::lsm
