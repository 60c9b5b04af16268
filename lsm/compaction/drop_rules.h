#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lsm/drop_ranges.h"
#include "lsm/key.h"
#include "lsm/manifest/version.h"
#include "lsm/options.h"

namespace terracefs::lsm {

// Why an entry may be left out of a compaction's output.
enum class DropRule : uint8_t {
  kNone = 0,
  kHidden = 1,     // E1: a newer version of the key is visible to every snapshot
  kTombstone = 2,  // E3: a tombstone with nothing left to shadow
  kDropRange = 3,  // E7: the key lies in a dead range
  kFiltered = 4,   // E6: the filter deleted it, and nothing is left to shadow
};
inline constexpr size_t kDropRuleCount = 5;
inline constexpr DropRule kDropRules[] = {DropRule::kHidden, DropRule::kTombstone,
                                          DropRule::kDropRange, DropRule::kFiltered};
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
    // For an output on level 0: the tables of level 0 that the job does not read.
    std::vector<FileRef> level0_rest;
    decltype(Options::compaction_filter) filter = nullptr;
    int64_t now_seconds = 0;  // wall; one for the whole job
  };
  explicit DropRules(Scope scope) : scope_(std::move(scope)) {}

  // Must be called for every entry of the merge. After kNone, becomes_tombstone() says whether the
  // entry is to be written as a tombstone of the same sequence instead.
  DropRule Judge(std::string_view internal_key, std::string_view value);
  bool becomes_tombstone() const { return becomes_tombstone_; }
  int64_t now_seconds() const { return scope_.now_seconds; }
  // After kDropRange: the user key where the dead range ends.
  std::string_view dead_until() const { return dead_until_; }
  uint64_t dropped(DropRule rule) const { return dropped_[static_cast<size_t>(rule)]; }

 private:
  DropRule Decide(std::string_view internal_key, std::string_view value);
  bool MayBeElsewhere(std::string_view user_key) const;

  const Scope scope_;
  bool has_key_ = false;
  std::string user_key_;
  SequenceNumber newer_sequence_ = 0;  // of the entry before, same user key
  bool becomes_tombstone_ = false;
  std::string dead_until_;
  std::array<uint64_t, kDropRuleCount> dropped_{};
};

}  // namespace terracefs::lsm
