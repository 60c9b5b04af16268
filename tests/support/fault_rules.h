#pragma once

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/mutex.h"
#include "io/base/status.h"

namespace terracefs::testing {

enum class FaultOperation {
  kAny,
  kRead,
  kWrite,  // durable or not
  kSync,   // of a file, by itself; a durable write is a kWrite
  kTruncate,
  kAllocate,
  kOpen,  // of a file that exists
  kCreate,
  kRemove,
  kRename,  // matches by either name
  kSyncDirectory,
  kList,
};

// How much of the operation happens although it reports an error.
enum class FaultEffect {
  kNothing,  // For a sync this is worse than it sounds: what it should have made durable never will
             // be by a later sync (the kernel forgets pages whose write-back failed), although
             // reads still see it.
  kHalf,     // the first half of a read or write
  kAll,      // done, but the caller hears otherwise
};

struct FaultRule {
  FaultOperation operation = FaultOperation::kAny;
  std::string name_part;     // of the file's name; empty: every file
  uint64_t pass_count = 0;   // matching operations that are let through first
  uint64_t fault_count = 1;  // matching operations that fail then
  io::Status status = io::Status::IoError("injected fault", {}, EIO);
  FaultEffect effect = FaultEffect::kNothing;
};

struct Fault {
  io::Status status;
  FaultEffect effect = FaultEffect::kNothing;
};

inline constexpr uint64_t kFaultForever = UINT64_MAX;

// "This operation, this file, n-th time: this error", and how often that happened. The first rule
// that fires wins; every rule counts what it matches. Safe from any thread.
class FaultRules {
 public:
  // Returns the rule's index.
  size_t Add(FaultRule rule) EXCLUDES(mutex_);
  void Clear() EXCLUDES(mutex_);
  uint64_t injected_count() const EXCLUDES(mutex_);
  uint64_t injected_count(size_t rule_index) const EXCLUDES(mutex_);

  // For the storage: the fault that `operation` meets, if any.
  std::optional<Fault> Match(FaultOperation operation, std::string_view name,
                             std::string_view other_name = {}) EXCLUDES(mutex_);

 private:
  struct Entry {
    FaultRule rule;
    uint64_t matched_count = 0;
    uint64_t injected_count = 0;
  };
  mutable io::Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
};

}  // namespace terracefs::testing
