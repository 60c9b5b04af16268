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
  // `level`: of the output. Level-0 outputs are cut at domain borders only (a piece of history in
  // as few tables as may be). `skipped`: tables of the output level that stay where they are,
  // ascending, none of whose ranges holds a key that comes (C6): no output may reach across one
  // (G5).
  OutputCutter(const Options& options, int level, std::vector<FileRef> grandparents,
               std::vector<FileRef> skipped)
      : options_(options),
        level_(level),
        grandparents_(std::move(grandparents)),
        skipped_(std::move(skipped)) {}

  // Whether the open output, now `file_bytes` large, should be finished before `user_key` is added.
  bool ShouldCutBefore(std::string_view user_key, uint64_t file_bytes);
  // A new output was begun.
  void Restart();

 private:
  bool PassesGrandparents(std::string_view user_key);
  bool PassesSkipped(std::string_view user_key);

  const Options& options_;
  const int level_;
  const std::vector<FileRef> grandparents_;
  const std::vector<FileRef> skipped_;
  size_t skipped_index_ = 0;
  size_t grandparent_index_ = 0;
  uint64_t grandparent_bytes_ = 0;  // passed by the open output
  bool has_key_ = false;
  std::string last_user_key_;
};

}  // namespace terracefs::lsm
