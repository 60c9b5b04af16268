#pragma once

#include <cstdint>
#include <string_view>

#include "fs/file_system.h"
#include "fs/schema/records.h"
#include "io/base/status.h"

namespace terracefs::fs {

// Pure rules about modes and names: what the kernel cannot know (file_system.h).

// `mode` without the bits that a write, a change of size or of owner takes away: setuid always,
// setgid if the group may execute (otherwise it is a mark for mandatory locking). Directories keep
// both.
uint32_t WithoutPrivileges(uint32_t mode);

// Mode, uid and gid of something made in `directory`, whose setgid bit hands down the group and, to
// directories, itself. `mode` has type and permission bits.
struct Ownership {
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
};
Ownership OwnershipOfNew(const OpContext& context, const InodeRecord& directory, uint32_t mode);

// A name that a directory entry may have. Posix(ENAMETOOLONG), or EINVAL for one that contains what
// no name can.
io::Status CheckName(std::string_view name);
// The same for an entry that is to be made: "." and ".." exist already.
io::Status CheckNewName(std::string_view name);

inline constexpr std::string_view kCapabilityXattr = "security.capability";
// Posix(EOPNOTSUPP) for a namespace that is not kept here; ERANGE for a name too long or empty.
io::Status CheckXattrName(std::string_view name);
// True for names that only regular files and directories may carry.
bool IsUserXattr(std::string_view name);
// True for names that only the superuser may know of.
bool IsTrustedXattr(std::string_view name);

// Whether reading something with these times has to be noted.
bool AtimeIsDue(const InodeRecord& record, int64_t now_ns, AtimePolicy policy);

}  // namespace terracefs::fs
