#include "tests/support/model_fs.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs/acl.h"

namespace terracefs::testing {

using fs::Attributes;
using fs::InodeNumber;
using fs::kPageBytes;
using fs::OpContext;
using fs::WriteOutcome;
using io::Result;
using io::Status;

namespace {

constexpr std::string_view kCapability = "security.capability";

Status CheckName(std::string_view name) {
  if (name.size() > 255) return Status::Posix(ENAMETOOLONG);
  if (name.empty()) return Status::Posix(ENOENT);
  return Status::Ok();
}

bool IsDots(std::string_view name) { return name == "." || name == ".."; }

Status CheckXattrName(std::string_view name) {
  if (name.empty() || name.size() > 255) return Status::Posix(ERANGE);
  if (fs::IsAclXattr(name)) return Status::Ok();
  const bool known =
      name.starts_with("user.") || name.starts_with("trusted.") || name.starts_with("security.");
  if (!known) return Status::Posix(EOPNOTSUPP);
  return name.back() == '.' ? Status::Posix(EINVAL) : Status::Ok();
}

}  // namespace

ModelFs::ModelFs(const io::Clock& clock, fs::AtimePolicy atime, uint32_t uid, uint32_t gid)
    : clock_(clock), atime_(atime) {
  Node& root = inodes_[1];
  root.attributes.mode = S_IFDIR | 0755;
  root.attributes.nlink = 2;
  root.attributes.uid = uid;
  root.attributes.gid = gid;
  root.attributes.atime_ns = root.attributes.mtime_ns = root.attributes.ctime_ns =
      root.attributes.btime_ns = Now();
  root.parent = 1;
}

void ModelFs::Remount() {
  for (auto at = inodes_.begin(); at != inodes_.end();) {
    at->second.lookup_count = 0;
    at = at->second.attributes.nlink == 0 ? inodes_.erase(at) : std::next(at);
  }
}

uint64_t ModelFs::page_count() const {
  uint64_t count = 0;
  for (const auto& [ino, node] : inodes_) count += node.pages.size();
  return count;
}

ModelFs::Node* ModelFs::Find(InodeNumber ino) {
  const auto at = inodes_.find(ino.value);
  return at == inodes_.end() ? nullptr : &at->second;
}

Result<ModelFs::Node*> ModelFs::Directory(InodeNumber ino) {
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  if (!node->is_directory()) return Status::Posix(ENOTDIR);
  if (node->attributes.nlink == 0 && !node->temporary) return Status::Posix(ENOENT);
  node->temporary = false;
  return node;
}

Attributes ModelFs::AttributesOf(uint64_t ino) const {
  const Node& node = inodes_.at(ino);
  Attributes attributes = node.attributes;
  attributes.ino = InodeNumber{ino};
  if (node.is_directory()) attributes.size = node.entries.size() * 32;
  if (node.type() == S_IFLNK) attributes.size = node.target.size();
  attributes.blocks = node.pages.size() * 8;
  return attributes;
}

void ModelFs::Touch(Node* directory) {
  directory->attributes.mtime_ns = directory->attributes.ctime_ns = Now();
}

void ModelFs::NoteAccess(Node* node) {
  Attributes& times = node->attributes;
  const bool due = atime_ == fs::AtimePolicy::kStrict ||
                   (atime_ == fs::AtimePolicy::kRelative &&
                    (times.atime_ns <= times.mtime_ns || times.atime_ns <= times.ctime_ns ||
                     Now() - times.atime_ns >= int64_t{86'400} * 1'000'000'000));
  if (due) times.atime_ns = Now();
}

void ModelFs::CollectIfDead(uint64_t ino) {
  const Node& node = inodes_.at(ino);
  if (node.attributes.nlink == 0 && node.lookup_count == 0) inodes_.erase(ino);
}

Result<Attributes> ModelFs::Lookup(const OpContext& /*context*/, InodeNumber parent,
                                   std::string_view name) {
  TRY(CheckName(name));
  uint64_t ino = parent.value;
  if (name == ".") {
    if (Find(parent) == nullptr || Find(parent)->attributes.nlink == 0) {
      return Status::Posix(ESTALE);
    }
  } else {
    const Node* directory = TRY(Directory(parent));
    ino = directory->parent;
    if (name != "..") {
      const auto at = directory->entries.find(name);
      if (at == directory->entries.end()) return Status::Posix(ENOENT);
      ino = at->second.ino;
    }
  }
  ++inodes_[ino].lookup_count;
  return AttributesOf(ino);
}

void ModelFs::Forget(InodeNumber ino, uint64_t count) {
  Node* node = Find(ino);
  if (node == nullptr) return;
  node->lookup_count -= std::min(count, node->lookup_count);
  CollectIfDead(ino.value);
}

Result<Attributes> ModelFs::GetAttributes(const OpContext& /*context*/, InodeNumber ino) {
  if (Find(ino) == nullptr) return Status::Posix(ESTALE);
  return AttributesOf(ino.value);
}

void ModelFs::LosePrivileges(Node* node) {
  uint32_t& mode = node->attributes.mode;
  if (!node->is_directory()) {
    mode &= ~uint32_t{S_ISUID};
    if ((mode & S_IXGRP) != 0) mode &= ~uint32_t{S_ISGID};
  }
  node->xattrs.erase(std::string(kCapability));
}

void ModelFs::Resize(Node* node, uint64_t size) {
  if (size <= node->attributes.size) {
    node->pages.erase(node->pages.lower_bound((size + kPageBytes - 1) / kPageBytes),
                      node->pages.end());
    const auto last = node->pages.find(size / kPageBytes);
    if (last != node->pages.end() && !last->second.empty()) {
      const size_t kept = size % kPageBytes;
      std::fill(last->second.begin() + static_cast<ptrdiff_t>(kept), last->second.end(), '\0');
    }
  }
  node->attributes.size = size;
}

Result<Attributes> ModelFs::SetAttributes(const OpContext& /*context*/, InodeNumber ino,
                                          const fs::AttributeChange& change) {
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  Attributes& attributes = node->attributes;
  if (change.size) {
    if (node->is_directory()) return Status::Posix(EISDIR);
    if (!node->is_regular()) return Status::Posix(EINVAL);
    if (*change.size > fs::kFileBytesMax) return Status::Posix(EFBIG);
    Resize(node, *change.size);
    node->xattrs.erase(std::string(kCapability));
    attributes.mtime_ns = Now();
  }
  if (change.uid) attributes.uid = *change.uid;
  if (change.gid) attributes.gid = *change.gid;
  if (change.uid || change.gid || change.kill_suid_sgid) LosePrivileges(node);
  if (change.mode) {
    attributes.mode = node->type() | (*change.mode & 07777);
    const auto acl = node->xattrs.find(fs::kAccessAclXattr);
    if (acl != node->xattrs.end()) {
      fs::Acl changed = TRY(fs::Acl::Decode(acl->second));
      changed.SetModeBits(attributes.mode);
      acl->second = changed.Encode();
    }
  }
  if (change.atime_now) attributes.atime_ns = Now();
  if (change.mtime_now) attributes.mtime_ns = Now();
  if (change.atime_ns) attributes.atime_ns = *change.atime_ns;
  if (change.mtime_ns) attributes.mtime_ns = *change.mtime_ns;
  attributes.ctime_ns = change.ctime_ns.value_or(Now());
  return AttributesOf(ino.value);
}

Result<ModelFs::Node*> ModelFs::MakeInode(const OpContext& context, const Node& directory,
                                          uint32_t mode) {
  Node node;
  node.attributes.ino = InodeNumber{next_ino_};
  const auto defaults = directory.xattrs.find(fs::kDefaultAclXattr);
  if (S_ISLNK(mode)) {
    node.attributes.mode = mode;
  } else if (defaults == directory.xattrs.end()) {
    node.attributes.mode = mode & ~context.umask;
  } else {
    const fs::InheritedAcls acls = TRY(fs::InheritFrom(defaults->second, mode));
    node.attributes.mode = acls.mode;
    if (!acls.access.empty()) node.xattrs[std::string(fs::kAccessAclXattr)] = acls.access;
    if (S_ISDIR(mode)) node.xattrs[std::string(fs::kDefaultAclXattr)] = defaults->second;
  }
  node.attributes.uid = context.uid;
  node.attributes.gid = context.gid;
  if ((directory.attributes.mode & S_ISGID) != 0) {
    node.attributes.gid = directory.attributes.gid;
    if (S_ISDIR(mode)) node.attributes.mode |= S_ISGID;
  }
  node.attributes.atime_ns = node.attributes.mtime_ns = node.attributes.ctime_ns =
      node.attributes.btime_ns = Now();
  node.lookup_count = 1;
  const uint64_t ino = next_ino_++;
  return &(inodes_[ino] = std::move(node));
}

Result<Attributes> ModelFs::Make(const OpContext& context, InodeNumber parent,
                                 std::string_view name, uint32_t mode, uint64_t rdev,
                                 std::string_view target) {
  TRY(CheckName(name));
  if (IsDots(name)) return Status::Posix(EEXIST);
  Node* directory = TRY(Directory(parent));
  if (directory->entries.contains(name)) return Status::Posix(EEXIST);
  Node* node = TRY(MakeInode(context, *directory, mode));
  const uint64_t ino = node->attributes.ino.value;
  directory->entries[std::string(name)] = {ino, directory->next_cookie++};
  Touch(directory);
  node->attributes.nlink = 1;
  if (S_ISDIR(mode)) {
    node->attributes.nlink = 2;
    ++directory->attributes.nlink;
    node->parent = parent.value;
  }
  if (S_ISCHR(mode) || S_ISBLK(mode)) node->attributes.rdev = rdev;
  node->target = target;
  return AttributesOf(ino);
}

Result<Attributes> ModelFs::MakeTemporary(const OpContext& context, InodeNumber parent,
                                          uint32_t mode) {
  const Node* directory = TRY(Directory(parent));
  Node* node = TRY(MakeInode(context, *directory, S_IFREG | (mode & 07777)));
  node->temporary = true;
  return AttributesOf(node->attributes.ino.value);
}

Result<Attributes> ModelFs::MakeNode(const OpContext& context, InodeNumber parent,
                                     std::string_view name, uint32_t mode, uint64_t rdev) {
  return Make(context, parent, name, (mode & S_IFMT) | (mode & 07777), rdev, "");
}

Result<Attributes> ModelFs::MakeDirectory(const OpContext& context, InodeNumber parent,
                                          std::string_view name, uint32_t mode) {
  return Make(context, parent, name, S_IFDIR | (mode & 07777), 0, "");
}

Result<Attributes> ModelFs::MakeSymlink(const OpContext& context, InodeNumber parent,
                                        std::string_view name, std::string_view target) {
  if (target.empty()) return Status::Posix(ENOENT);
  if (target.size() > 4095) return Status::Posix(ENAMETOOLONG);
  return Make(context, parent, name, S_IFLNK | 0777, 0, target);
}

Result<Attributes> ModelFs::Link(const OpContext& /*context*/, InodeNumber ino,
                                 InodeNumber new_parent, std::string_view new_name) {
  TRY(CheckName(new_name));
  if (IsDots(new_name)) return Status::Posix(EEXIST);
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  Node* directory = TRY(Directory(new_parent));
  if (node->is_directory()) return Status::Posix(EPERM);
  if (directory->entries.contains(new_name)) return Status::Posix(EEXIST);
  if (node->attributes.nlink == 0 && !node->temporary) return Status::Posix(ENOENT);
  node->temporary = false;
  directory->entries[std::string(new_name)] = {ino.value, directory->next_cookie++};
  Touch(directory);
  ++node->attributes.nlink;
  ++node->lookup_count;
  node->attributes.ctime_ns = Now();
  return AttributesOf(ino.value);
}

void ModelFs::DropLink(uint64_t ino) {
  Node& node = inodes_.at(ino);
  node.attributes.nlink = node.is_directory() ? 0 : node.attributes.nlink - 1;
  node.attributes.ctime_ns = Now();
  CollectIfDead(ino);
}

Status ModelFs::Remove(InodeNumber parent, std::string_view name, bool directory) {
  Node* from = TRY(Directory(parent));
  const auto at = from->entries.find(name);
  if (at == from->entries.end()) return Status::Posix(ENOENT);
  const Node& node = inodes_.at(at->second.ino);
  if (directory) {
    if (!node.is_directory()) return Status::Posix(ENOTDIR);
    if (!node.entries.empty()) return Status::Posix(ENOTEMPTY);
    --from->attributes.nlink;
  } else if (node.is_directory()) {
    return Status::Posix(EISDIR);
  }
  const uint64_t ino = at->second.ino;
  from->entries.erase(at);
  Touch(from);
  DropLink(ino);
  return Status::Ok();
}

Status ModelFs::Unlink(const OpContext& /*context*/, InodeNumber parent, std::string_view name) {
  TRY(CheckName(name));
  if (IsDots(name)) return Status::Posix(EISDIR);
  return Remove(parent, name, false);
}

Status ModelFs::RemoveDirectory(const OpContext& /*context*/, InodeNumber parent,
                                std::string_view name) {
  TRY(CheckName(name));
  if (name == ".") return Status::Posix(EINVAL);
  if (name == "..") return Status::Posix(ENOTEMPTY);
  return Remove(parent, name, true);
}

bool ModelFs::IsInside(uint64_t inside, uint64_t directory) const {
  for (uint64_t at = inside;; at = inodes_.at(at).parent) {
    if (at == directory) return true;
    if (at == 1) return false;
  }
}

Status ModelFs::Rename(const OpContext& context, InodeNumber parent, std::string_view name,
                       InodeNumber new_parent, std::string_view new_name, uint32_t flags) {
  TRY(CheckName(name));
  TRY(CheckName(new_name));
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  if (flags > 7 || (exchange && flags != RENAME_EXCHANGE)) return Status::Posix(EINVAL);
  if (IsDots(name) || IsDots(new_name)) return Status::Posix(EBUSY);
  if (Find(new_parent) == nullptr) return Status::Posix(ESTALE);
  Node* from = TRY(Directory(parent));
  Node* to = TRY(Directory(new_parent));
  const auto source_at = from->entries.find(name);
  if (source_at == from->entries.end()) return Status::Posix(ENOENT);
  const auto target_at = to->entries.find(new_name);
  const bool has_target = target_at != to->entries.end();
  if (exchange && !has_target) return Status::Posix(ENOENT);
  if ((flags & RENAME_NOREPLACE) != 0 && has_target) return Status::Posix(EEXIST);
  const Entry source = source_at->second;
  Node& moved = inodes_.at(source.ino);
  if (moved.is_directory() && IsInside(new_parent.value, source.ino)) return Status::Posix(EINVAL);
  if (exchange && IsInside(parent.value, target_at->second.ino)) return Status::Posix(EINVAL);
  if (has_target && target_at->second.ino == source.ino) return Status::Ok();
  if (exchange) {
    Node& back = inodes_.at(target_at->second.ino);
    std::swap(source_at->second.ino, target_at->second.ino);
    if (moved.is_directory()) {
      --from->attributes.nlink;
      ++to->attributes.nlink;
      moved.parent = new_parent.value;
    }
    if (back.is_directory()) {
      --to->attributes.nlink;
      ++from->attributes.nlink;
      back.parent = parent.value;
    }
    moved.attributes.ctime_ns = back.attributes.ctime_ns = Now();
    Touch(from);
    Touch(to);
    return Status::Ok();
  }
  uint64_t cookie = source.cookie;
  uint64_t victim = 0;
  if (has_target) {
    const Node& node = inodes_.at(target_at->second.ino);
    if (moved.is_directory() && !node.is_directory()) return Status::Posix(ENOTDIR);
    if (!moved.is_directory() && node.is_directory()) return Status::Posix(EISDIR);
    if (!node.entries.empty()) return Status::Posix(ENOTEMPTY);
    if (node.is_directory()) --to->attributes.nlink;
    cookie = target_at->second.cookie;
    victim = target_at->second.ino;
  } else if (parent != new_parent) {
    cookie = to->next_cookie++;
  }
  from->entries.erase(source_at);
  to->entries[std::string(new_name)] = {source.ino, cookie};
  if (moved.is_directory()) {
    --from->attributes.nlink;
    ++to->attributes.nlink;
    moved.parent = new_parent.value;
  }
  moved.attributes.ctime_ns = Now();
  Touch(from);
  Touch(to);
  if ((flags & RENAME_WHITEOUT) != 0) {
    Node* whiteout = TRY(MakeInode(context, *from, S_IFCHR));
    whiteout->attributes.nlink = 1;
    whiteout->lookup_count = 0;
    from->entries[std::string(name)] = {whiteout->attributes.ino.value, from->next_cookie++};
  }
  if (victim != 0) DropLink(victim);
  return Status::Ok();
}

Result<std::string> ModelFs::ReadLink(const OpContext& /*context*/, InodeNumber ino) {
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  if (node->type() != S_IFLNK) return Status::Posix(EINVAL);
  NoteAccess(node);
  return node->target;
}

Result<size_t> ModelFs::Read(const OpContext& /*context*/, InodeNumber ino, uint64_t offset,
                             io::MutableBytes out) {
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  if (node->is_directory()) return Status::Posix(EISDIR);
  if (!node->is_regular()) return Status::Posix(EINVAL);
  const uint64_t size = node->attributes.size;
  if (offset >= size || out.empty()) return size_t{0};
  const size_t count = static_cast<size_t>(std::min<uint64_t>(out.size(), size - offset));
  for (size_t done = 0; done < count;) {
    const uint64_t at = offset + done;
    const size_t bytes = std::min<size_t>(count - done, kPageBytes - at % kPageBytes);
    const auto page = node->pages.find(at / kPageBytes);
    if (page == node->pages.end() || page->second.empty()) {
      std::memset(out.data() + done, 0, bytes);
    } else {
      std::memcpy(out.data() + done, page->second.data() + at % kPageBytes, bytes);
    }
    done += bytes;
  }
  NoteAccess(node);
  return count;
}

Result<WriteOutcome> ModelFs::Write(const OpContext& context, InodeNumber ino, uint64_t offset,
                                    io::Bytes data, bool kill_suid_sgid) {
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  if (node->is_directory()) return Status::Posix(EISDIR);
  if (!node->is_regular()) return Status::Posix(EINVAL);
  if (offset > fs::kFileBytesMax || data.size() > fs::kFileBytesMax - offset) {
    return Status::Posix(EFBIG);
  }
  if (data.empty()) return WriteOutcome{};
  for (size_t i = 0; i < data.size(); ++i) {
    std::string& page = node->pages[(offset + i) / kPageBytes];
    page.resize(kPageBytes);
    page[(offset + i) % kPageBytes] = static_cast<char>(data[i]);
  }
  Attributes& attributes = node->attributes;
  attributes.size = std::max(attributes.size, offset + data.size());
  attributes.mtime_ns = attributes.ctime_ns = Now();
  const uint32_t old_mode = attributes.mode;
  if (kill_suid_sgid) {
    LosePrivileges(node);
  } else if (!context.write_back) {
    node->xattrs.erase(std::string(kCapability));
  }
  return WriteOutcome{.mode_changed = attributes.mode != old_mode};
}

void ModelFs::Punch(Node* node, uint64_t begin, uint64_t end) {
  std::map<uint64_t, std::string>& pages = node->pages;
  for (auto at = pages.lower_bound(begin / kPageBytes);
       at != pages.end() && at->first * kPageBytes < end;) {
    const uint64_t page_begin = at->first * kPageBytes;
    uint64_t page_end = page_begin + kPageBytes;
    // Behind the end of the file a page has nothing.
    const bool is_last = page_begin < node->attributes.size && node->attributes.size <= page_end;
    if (is_last) page_end = node->attributes.size;
    if (begin <= page_begin && page_end <= end) {
      at = pages.erase(at);
      continue;
    }
    for (uint64_t i = std::max(begin, page_begin); i < std::min(end, page_end); ++i) {
      if (!at->second.empty()) at->second[i - page_begin] = '\0';
    }
    ++at;
  }
}

Result<WriteOutcome> ModelFs::Allocate(const OpContext& context, InodeNumber ino, int mode,
                                       uint64_t offset, uint64_t length) {
  if (length == 0) return Status::Posix(EINVAL);
  const bool keeps_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const int action = mode & ~FALLOC_FL_KEEP_SIZE;
  if (action != 0 && action != FALLOC_FL_ZERO_RANGE &&
      !(action == FALLOC_FL_PUNCH_HOLE && keeps_size)) {
    return Status::Posix(EOPNOTSUPP);
  }
  if (offset > fs::kFileBytesMax || length > fs::kFileBytesMax - offset) {
    return Status::Posix(EFBIG);
  }
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  if (node->is_directory()) return Status::Posix(EISDIR);
  if (!node->is_regular()) return Status::Posix(ENODEV);
  const uint64_t end = offset + length;
  if (action == FALLOC_FL_PUNCH_HOLE) {
    Punch(node, offset, end);
  } else {
    for (uint64_t page = offset / kPageBytes; page * kPageBytes < end; ++page) {
      std::string& bytes = node->pages[page];
      if (action == 0) continue;
      const uint64_t from = std::max(offset, page * kPageBytes) - page * kPageBytes;
      const uint64_t to = std::min(end - page * kPageBytes, kPageBytes);
      if (to - from == kPageBytes) bytes.clear();
      if (!bytes.empty()) bytes.replace(from, to - from, to - from, '\0');
    }
    if (!keeps_size) node->attributes.size = std::max(node->attributes.size, end);
  }
  Attributes& attributes = node->attributes;
  attributes.mtime_ns = attributes.ctime_ns = Now();
  const uint32_t old_mode = attributes.mode;
  if (context.uid != 0) LosePrivileges(node);
  node->xattrs.erase(std::string(kCapability));
  return WriteOutcome{.mode_changed = attributes.mode != old_mode};
}

Result<uint64_t> ModelFs::Seek(const OpContext& /*context*/, InodeNumber ino, uint64_t offset,
                               int whence) {
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  if (node->is_directory()) return Status::Posix(EISDIR);
  if (!node->is_regular()) return Status::Posix(EINVAL);
  const uint64_t size = node->attributes.size;
  if (offset >= size) return Status::Posix(ENXIO);
  const auto is_data = [&](uint64_t page) {
    const auto at = node->pages.find(page);
    return at != node->pages.end() && !at->second.empty();
  };
  if (whence == SEEK_HOLE) {
    uint64_t page = offset / kPageBytes;
    while (is_data(page)) ++page;
    return std::min(size, std::max(offset, page * kPageBytes));
  }
  for (auto at = node->pages.lower_bound(offset / kPageBytes);
       at != node->pages.end() && at->first * kPageBytes < size; ++at) {
    if (is_data(at->first)) return std::max(offset, at->first * kPageBytes);
  }
  return Status::Posix(ENXIO);
}

Status ModelFs::ReadDirectory(const OpContext& /*context*/, InodeNumber ino, uint64_t cookie,
                              bool with_attributes,
                              const std::function<bool(const fs::DirectoryEntry&)>& visit) {
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  if (!node->is_directory()) return Status::Posix(ENOTDIR);
  if (node->attributes.nlink == 0) return Status::Ok();
  const auto pass = [&] {
    if (cookie < 1 && !visit({.name = ".", .ino = ino, .type = S_IFDIR, .next_cookie = 1})) return;
    if (cookie < 2 &&
        !visit(
            {.name = "..", .ino = InodeNumber{node->parent}, .type = S_IFDIR, .next_cookie = 2})) {
      return;
    }
    std::map<uint64_t, std::string_view> listing;
    for (const auto& [name, entry] : node->entries) listing[entry.cookie] = name;
    for (auto at = listing.upper_bound(cookie); at != listing.end(); ++at) {
      const uint64_t child = node->entries.find(at->second)->second.ino;
      const Attributes attributes = AttributesOf(child);
      if (!visit({.name = at->second,
                  .ino = InodeNumber{child},
                  .type = attributes.mode & S_IFMT,
                  .next_cookie = at->first,
                  .attributes = with_attributes ? &attributes : nullptr})) {
        return;
      }
      if (with_attributes) ++inodes_[child].lookup_count;
    }
  };
  pass();
  NoteAccess(node);
  return Status::Ok();
}

Status ModelFs::SetAcl(Node* node, std::string_view name, std::string_view value, int flags) {
  const fs::Acl acl = TRY(fs::Acl::Decode(value));
  const bool is_access = name == fs::kAccessAclXattr;
  if (S_ISLNK(node->attributes.mode)) return Status::Posix(EOPNOTSUPP);
  if (!is_access && !node->is_directory()) {
    return acl.empty() ? Status::Ok() : Status::Posix(EACCES);
  }
  const bool exists = node->xattrs.contains(name);
  if (exists && (flags & XATTR_CREATE) != 0) return Status::Posix(EEXIST);
  if (!exists && (flags & XATTR_REPLACE) != 0) return Status::Posix(ENODATA);
  if (!exists && acl.empty()) return Status::Ok();
  node->attributes.ctime_ns = Now();
  node->xattrs.erase(std::string(name));
  if (acl.empty()) return Status::Ok();
  if (is_access) {
    node->attributes.mode = (node->attributes.mode & ~0777U) | acl.ModeBits();
    if ((flags & fs::kXattrKillSetgid) != 0) node->attributes.mode &= ~uint32_t{S_ISGID};
  }
  if (!is_access || !acl.IsMode()) node->xattrs[std::string(name)] = acl.Encode();
  return Status::Ok();
}

Status ModelFs::SetXattr(const OpContext& /*context*/, InodeNumber ino, std::string_view name,
                         std::string_view value, int flags) {
  TRY(CheckXattrName(name));
  if (value.size() > 65536) return Status::Posix(E2BIG);
  if (fs::IsAclXattr(name)) TRY(fs::Acl::Decode(value));
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  if (fs::IsAclXattr(name)) return SetAcl(node, name, value, flags);
  if (name.starts_with("user.") && !node->is_regular() && !node->is_directory()) {
    return Status::Posix(EPERM);
  }
  const bool exists = node->xattrs.contains(name);
  if (exists && (flags & XATTR_CREATE) != 0) return Status::Posix(EEXIST);
  if (!exists && (flags & XATTR_REPLACE) != 0) return Status::Posix(ENODATA);
  node->xattrs[std::string(name)] = value;
  node->attributes.ctime_ns = Now();
  return Status::Ok();
}

Result<std::string> ModelFs::GetXattr(const OpContext& /*context*/, InodeNumber ino,
                                      std::string_view name) {
  TRY(CheckXattrName(name));
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  const auto at = node->xattrs.find(name);
  if (at == node->xattrs.end()) return Status::Posix(ENODATA);
  return at->second;
}

Result<std::string> ModelFs::ListXattr(const OpContext& context, InodeNumber ino) {
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  std::string names;
  for (const auto& [name, value] : node->xattrs) {
    if (context.uid == 0 || !name.starts_with("trusted.")) names += name + '\0';
  }
  return names;
}

Status ModelFs::RemoveXattr(const OpContext& /*context*/, InodeNumber ino, std::string_view name) {
  TRY(CheckXattrName(name));
  Node* node = Find(ino);
  if (node == nullptr) return Status::Posix(ESTALE);
  if (fs::IsAclXattr(name)) return SetAcl(node, name, {}, 0);
  if (node->xattrs.erase(std::string(name)) == 0) return Status::Posix(ENODATA);
  node->attributes.ctime_ns = Now();
  return Status::Ok();
}

uint64_t ModelFs::LookupCountTotal() const {
  uint64_t total = 0;
  for (const auto& [ino, node] : inodes_) total += node.lookup_count;
  return total;
}

}  // namespace terracefs::testing
