#pragma once

#include <vector>

#include "fs/file_system.h"
#include "fs/fuse/libfuse.h"
#include "io/base/bytes.h"

namespace terracefs::fs {

// Packs directory entries for one readdir or readdirplus answer into borrowed memory and keeps the
// books of lookup counts: an entry counts only if it fitted. Not thread-safe.
class DirBuffer {
 public:
  DirBuffer(fuse_req_t request, io::MutableBytes memory, bool with_attributes)
      : request_(request), memory_(memory), with_attributes_(with_attributes) {}

  // False if there is no room; the entry must then not be counted.
  bool Add(const DirectoryEntry& entry);
  io::Bytes packed() const { return memory_.first(used_bytes_); }
  // Inodes that the kernel holds once more when it has taken the answer.
  const std::vector<InodeNumber>& counted() const { return counted_; }

 private:
  fuse_req_t request_;
  const io::MutableBytes memory_;
  const bool with_attributes_;
  size_t used_bytes_ = 0;
  std::vector<InodeNumber> counted_;
};

}  // namespace terracefs::fs
