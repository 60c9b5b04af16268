#include "lsm/compaction/drop_rules.h"

#include <algorithm>

namespace terracefs::lsm {

const char* DropRuleName(DropRule rule) {
  switch (rule) {
    case DropRule::kNone:
      return "none";
    case DropRule::kHidden:
      return "hidden";
    case DropRule::kTombstone:
      return "tombstone";
    case DropRule::kDropRange:
      return "drop_range";
    case DropRule::kFiltered:
      return "filtered";
  }
  UNREACHABLE();
}

// Whether a table that the job does not read, older than its inputs, may hold the key (E3).
bool DropRules::MayBeElsewhere(std::string_view user_key) const {
  if (scope_.version->DeeperMayContain(scope_.output_level, user_key)) return true;
  return std::any_of(
      scope_.level0_rest.begin(), scope_.level0_rest.end(), [user_key](const FileRef& file) {
        return file->smallest_user_key() <= user_key && user_key <= file->largest_user_key();
      });
}

DropRule DropRules::Decide(std::string_view internal_key, std::string_view value) {
  const std::string_view user_key = UserKey(internal_key);
  const SequenceNumber sequence = KeySequence(internal_key);
  becomes_tombstone_ = false;
  SequenceNumber newer = kSequenceMax;
  if (has_key_ && user_key == user_key_) {
    newer = newer_sequence_;
  } else {
    has_key_ = true;
    user_key_.assign(user_key);
  }
  newer_sequence_ = sequence;

  if (scope_.drops != nullptr) {
    if (const auto end = scope_.drops->CoveringEnd(user_key)) {
      dead_until_.assign(*end);
      return DropRule::kDropRange;
    }
  }
  // The newest entry at or below the oldest snapshot is the one that it sees; what is older is
  // hidden by it from everybody.
  if (newer <= scope_.smallest_snapshot) return DropRule::kHidden;
  if (scope_.version == nullptr || sequence > scope_.smallest_snapshot) return DropRule::kNone;
  if (KeyKind(internal_key) == EntryKind::kDelete) {
    return MayBeElsewhere(user_key) ? DropRule::kNone : DropRule::kTombstone;
  }
  if (scope_.filter != nullptr && KeyKind(internal_key) == EntryKind::kValue &&
      scope_.filter(user_key, value, scope_.now_seconds) == Options::FilterDecision::kDelete) {
    if (!MayBeElsewhere(user_key)) return DropRule::kFiltered;
    becomes_tombstone_ = true;
  }
  return DropRule::kNone;
}

DropRule DropRules::Judge(std::string_view internal_key, std::string_view value) {
  const DropRule rule = Decide(internal_key, value);
  ++dropped_[static_cast<size_t>(rule)];
  return rule;
}

}  // namespace terracefs::lsm
