#pragma once

#include <memory>
#include <vector>

#include "lsm/manifest/version.h"
#include "lsm/memtable/memtable.h"

namespace terracefs::lsm {

// Everything a read looks at, pinned together; immutable apart from the active memtable, which only
// gains entries. Take the view first and the sequence to read at afterwards: a compaction may
// drop versions older than the sequence it began at, but never from a view taken before.
struct View {
  std::shared_ptr<const MemTable> active;                   // null in a read-only engine
  std::vector<std::shared_ptr<const MemTable>> immutables;  // newest first
  std::shared_ptr<const Version> version;
};

}  // namespace terracefs::lsm
