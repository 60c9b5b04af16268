#include "lsm/compaction/drop_rules.h"

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
  }
  UNREACHABLE();
}

DropRule DropRules::Decide(std::string_view internal_key) {
  const std::string_view user_key = UserKey(internal_key);
  const SequenceNumber sequence = KeySequence(internal_key);
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
  if (KeyKind(internal_key) == EntryKind::kDelete && scope_.version != nullptr &&
      sequence <= scope_.smallest_snapshot &&
      !scope_.version->DeeperMayContain(scope_.output_level, user_key)) {
    return DropRule::kTombstone;
  }
  return DropRule::kNone;
}

DropRule DropRules::Judge(std::string_view internal_key) {
  const DropRule rule = Decide(internal_key);
  ++dropped_[static_cast<size_t>(rule)];
  return rule;
}

}  // namespace terracefs::lsm
