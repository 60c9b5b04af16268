#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/result.h"

namespace terracefs::fs {

// POSIX access control lists (IEEE 1003.1e draft 17) in the form in which the kernel hands them
// over and asks for them: the xattr values of linux/posix_acl_xattr.h. The kernel checks access by
// them; the filesystem keeps them in step with the mode and hands them down.

inline constexpr std::string_view kAccessAclXattr = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclXattr = "system.posix_acl_default";
inline bool IsAclXattr(std::string_view name) {
  return name == kAccessAclXattr || name == kDefaultAclXattr;
}
// The kernel reads no larger ones.
inline constexpr size_t kAclBytesMax = 4096;
// The bits of a mode that an ACL stands for.
inline constexpr uint32_t kAclModeBits = 0777;

// One list: empty, or with the entries that it must have, in their order. Not thread-safe.
class Acl {
 public:
  // Posix(EINVAL) for what is no list, EOPNOTSUPP for another version, E2BIG for too many entries.
  // An empty value or one without entries is an empty list.
  static io::Result<Acl> Decode(std::string_view value);
  std::string Encode() const;

  bool empty() const { return entries_.empty(); }
  // The permission bits (0777) that st_mode shows; its group bits are the mask if there is one.
  // Requires a list that is not empty, as do the others.
  uint32_t ModeBits() const;
  // The list says no more than ModeBits.
  bool IsMode() const;
  // Makes ModeBits what `mode` says.
  void SetModeBits(uint32_t mode);

 private:
  struct Entry {
    uint16_t tag = 0;
    uint16_t permissions = 0;
    uint32_t id = 0;
  };

  static io::Status Check(const std::vector<Entry>& entries);
  // How far the permission bits of an entry with this tag are to the left in a mode; negative if
  // they do not show there.
  int ShiftInMode(uint16_t tag) const;

  std::vector<Entry> entries_;
  bool has_mask_ = false;
};

// What a directory's default ACL gives to something made in it.
struct InheritedAcls {
  uint32_t mode = 0;  // with type; the caller's umask has done its work
  // Xattr values; empty: none.
  std::string access = {};
  std::string fallback = {};  // the default ACL of a directory
};
// `value` is the default ACL of the directory; `mode` is as asked for: the umask does not count.
io::Result<InheritedAcls> InheritFrom(std::string_view value, uint32_t mode);

}  // namespace terracefs::fs
