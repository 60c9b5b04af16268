#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace terracefs::lsm {

// Makes the contents of one block: entries that share key prefixes with their predecessor, and the
// offsets of those that do not (restarts), where a search may begin. Not thread-safe.
class BlockBuilder {
 public:
  // Distance of restarts, whichever comes first. With 4 KiB values every entry is one, which costs
  // 4 bytes plus the prefix and saves a search all parsing.
  static constexpr uint32_t kRestartEntries = 16;
  static constexpr uint32_t kRestartBytes = 2048;

  // Keys must ascend; the caller checks.
  void Add(std::string_view key, std::string_view value);
  // Ends the block. The view stays good until Reset.
  std::string_view Finish();
  void Reset();

  bool empty() const { return restarts_.empty(); }
  // Of the finished block if it ended now.
  size_t EstimatedBytes() const { return buffer_.size() + (restarts_.size() + 1) * 4; }

 private:
  std::string buffer_;
  std::vector<uint32_t> restarts_;
  uint32_t entries_since_restart_ = 0;
  std::string last_key_;
};

}  // namespace terracefs::lsm
