#pragma once

#include <cstddef>
#include <vector>

#include "fs/schema/inode_number.h"
#include "io/base/result.h"
#include "lsm/db.h"
#include "lsm/job_control.h"

namespace terracefs::fs {

inline constexpr size_t kPathRangesMax = 100'000;

// Where the engine keeps a file or, of a directory, the whole tree below it: records, names,
// xattrs and pages, as ascending ranges that do not overlap. A range goes on over the numbers of
// removed inodes that follow, which are most likely what was removed from the same tree: of what is
// gone nobody knows any more where it was.
//
// About `range_count_max` ranges at most, if need be by including what lies between; memory is
// bounded by that and the depth of the tree. Takes no locks: what is created, removed or moved
// meanwhile may be in or out. Waits while `control` is paused, Cancelled when it is cancelled.
// NotFound: no such inode.
io::Result<std::vector<lsm::KeyRange>> KeyRangesOf(lsm::Db& db, InodeNumber top,
                                                   lsm::JobControl& control,
                                                   size_t range_count_max = kPathRangesMax);

}  // namespace terracefs::fs
