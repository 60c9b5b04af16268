#pragma once

#include <cstdint>

#include "fs/file_system.h"
#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

// Where the bytes of a store are. Estimates, but for `capacity` and `physical`. All but those two,
// `rate` and `eta_s` add up to `physical`.
struct SpaceReport {
  uint64_t capacity = 0;
  uint64_t physical = 0;
  uint64_t live = 0;
  // Reclaimable.
  uint64_t tombstones = 0;      // in tables
  uint64_t blob_garbage = 0;    // in value files
  uint64_t open_unlinked = 0;   // comes back when the last user closes
  uint64_t obsolete_files = 0;  // come back when their last reader is done
  // Overhead.
  uint64_t log = 0;
  uint64_t spare = 0;     // preallocated for values
  uint64_t metadata = 0;  // manifest and the like
  // Bytes per second of background work, 0 = unlimited; and how long that takes, at least, for
  // tombstones and blob_garbage; 0 if there are none, or without a limit.
  uint64_t rate = 0;
  uint64_t eta_s = 0;
};

// Lists the store's directory and asks the engine; waits for the disk.
io::Result<SpaceReport> ReportSpace(FileSystem& file_system, lsm::Db& db);

}  // namespace terracefs::fs
