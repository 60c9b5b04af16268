#pragma once

#include <string>
#include <vector>

#include "io/base/result.h"
#include "lsm/db.h"

namespace terracefs::fs {

// Checks what must always hold of the tree; each breach is one message. Reads everything, at one
// snapshot, beside running operations: what they changed meanwhile is not reported. Keeps some 150
// bytes per inode in memory. An error means that it could not be checked.
//   1. Every record decodes, and belongs to an inode of the right type.
//   2. Names and listing of a directory say the same; their number is in its record, and all
//      cookies are at least its first and below its next one.
//   3. A directory has one name, in its parent, and is below the root; its link count is 2 + its
//      subdirectories. Link counts of the others are their names. What has no name is an orphan.
//   4. Pages lie inside the size, their number is in the record, and none has bytes beyond the
//   size.
//   5. The length of the xattr names, and whether there are a capability, an access and a default
//   ACL, are in the record. ACLs are well-formed; the access ACL shows the mode's permission bits
//   and says more than they do; only directories have default ones.
//   6. The engine's sums are the sums of the records. All numbers are below the allocator's bound.
// Names, xattrs and pages of an inode that does not exist are not a breach: they are what a dropped
// range leaves until compaction meets it.
// `read_data`: with the contents of all pages, so that their checksums are verified; an error then
// may name the damage. Without, pages whose bytes lie in value files are known by their keys only.
io::Result<std::vector<std::string>> CheckTree(lsm::Db& db, bool read_data);

}  // namespace terracefs::fs
