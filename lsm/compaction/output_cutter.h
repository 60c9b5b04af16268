#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lsm/manifest/file_meta.h"
#include "lsm/options.h"

namespace terracefs::lsm {

// Where an output table ends (G). Asked before each surviving entry; never cuts inside a user key
// (G6). Re-evaluated at every user key (Q23). Not thread-safe.
class OutputCutter {
 public:
  OutputCutter(const Options& options, std::vector<FileRef> grandparents)
      : options_(options), grandparents_(std::move(grandparents)) {}

  // Whether the open output, now `file_bytes` large, should be finished before `user_key` is added.
  bool ShouldCutBefore(std::string_view user_key, uint64_t file_bytes);
  // A new output was begun.
  void Restart();

 private:
  bool PassesGrandparents(std::string_view user_key);

  const Options& options_;
  const std::vector<FileRef> grandparents_;
  size_t grandparent_index_ = 0;
  uint64_t grandparent_bytes_ = 0;  // passed by the open output
  bool has_key_ = false;
  std::string last_user_key_;
};

}  // namespace terracefs::lsm
