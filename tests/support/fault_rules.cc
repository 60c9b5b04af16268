#include "tests/support/fault_rules.h"

#include <utility>

namespace terracefs::testing {

size_t FaultRules::Add(FaultRule rule) {
  io::MutexLock lock(mutex_);
  entries_.push_back({std::move(rule), 0, 0});
  return entries_.size() - 1;
}

void FaultRules::Clear() {
  io::MutexLock lock(mutex_);
  entries_.clear();
}

uint64_t FaultRules::injected_count() const {
  io::MutexLock lock(mutex_);
  uint64_t count = 0;
  for (const Entry& entry : entries_) count += entry.injected_count;
  return count;
}

uint64_t FaultRules::injected_count(size_t rule_index) const {
  io::MutexLock lock(mutex_);
  return entries_.at(rule_index).injected_count;
}

std::optional<Fault> FaultRules::Match(FaultOperation operation, std::string_view name,
                                       std::string_view other_name) {
  io::MutexLock lock(mutex_);
  std::optional<Fault> fault;
  for (Entry& entry : entries_) {
    const FaultRule& rule = entry.rule;
    if (rule.operation != FaultOperation::kAny && rule.operation != operation) continue;
    const bool named = name.find(rule.name_part) != std::string_view::npos ||
                       other_name.find(rule.name_part) != std::string_view::npos;
    if (!named) continue;
    const uint64_t index = entry.matched_count++;
    if (index < rule.pass_count || index - rule.pass_count >= rule.fault_count || fault) continue;
    ++entry.injected_count;
    fault = Fault{rule.status, rule.effect};
  }
  return fault;
}

}  // namespace terracefs::testing
