#include "fs/fuse/dir_buffer.h"

#include <string>

#include "fs/fuse/reply.h"

namespace terracefs::fs {

bool DirBuffer::Add(const DirectoryEntry& entry) {
  const std::string name(entry.name);  // libfuse wants its zero byte
  const auto room = memory_.subspan(used_bytes_);
  const auto next = static_cast<off_t>(entry.next_cookie);
  auto* const out = reinterpret_cast<char*>(room.data());
  size_t bytes = 0;
  if (with_attributes_) {
    // Without attributes ("." and "..") the inode number stays 0, by which the kernel knows that
    // it has not been given a reference.
    fuse_entry_param param{};
    if (entry.attributes != nullptr) {
      param.ino = entry.attributes->ino.value;
      param.generation = entry.attributes->generation;
      param.attr = ToStat(*entry.attributes);
      param.attr_timeout = AttributesTimeoutSeconds(*entry.attributes);
      param.entry_timeout = kCacheTimeoutSeconds;
    } else {
      param.attr.st_ino = entry.ino.value;
      param.attr.st_mode = entry.type;
    }
    bytes = fuse_add_direntry_plus(request_, out, room.size(), name.c_str(), &param, next);
  } else {
    struct stat attributes {};
    attributes.st_ino = entry.ino.value;
    attributes.st_mode = entry.type;
    bytes = fuse_add_direntry(request_, out, room.size(), name.c_str(), &attributes, next);
  }
  if (bytes > room.size()) return false;
  used_bytes_ += bytes;
  if (with_attributes_ && entry.attributes != nullptr) counted_.push_back(entry.attributes->ino);
  return true;
}

}  // namespace terracefs::fs
