#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "fs/file_system.h"
#include "io/base/clock.h"

namespace terracefs::testing {

// What a FileSystem must do, in the plainest way: maps in memory, no store, one thread, never
// waits. Inode numbers are its own; everything else must come out equal, cookies and block counts
// included. Of CheckTree, UnlinkedPageCount and Sync it knows nothing.
class ModelFs final : public fs::FileSystem {
 public:
  ModelFs(const io::Clock& clock, fs::AtimePolicy atime, uint32_t uid, uint32_t gid);

  // The daemon ended: the kernel knows nothing any more.
  void Remount();
  uint64_t inode_count() const { return inodes_.size(); }
  uint64_t page_count() const;

  io::Result<fs::Attributes> Lookup(const fs::OpContext& context, fs::InodeNumber parent,
                                    std::string_view name) override;
  void Forget(fs::InodeNumber ino, uint64_t count) override;
  io::Result<fs::Attributes> GetAttributes(const fs::OpContext& context,
                                           fs::InodeNumber ino) override;
  io::Result<fs::Attributes> SetAttributes(const fs::OpContext& context, fs::InodeNumber ino,
                                           const fs::AttributeChange& change) override;
  io::Result<fs::Attributes> MakeNode(const fs::OpContext& context, fs::InodeNumber parent,
                                      std::string_view name, uint32_t mode, uint64_t rdev) override;
  io::Result<fs::Attributes> MakeDirectory(const fs::OpContext& context, fs::InodeNumber parent,
                                           std::string_view name, uint32_t mode) override;
  io::Result<fs::Attributes> MakeSymlink(const fs::OpContext& context, fs::InodeNumber parent,
                                         std::string_view name, std::string_view target) override;
  io::Result<fs::Attributes> MakeTemporary(const fs::OpContext& context, fs::InodeNumber parent,
                                           uint32_t mode) override;
  io::Result<fs::Attributes> Link(const fs::OpContext& context, fs::InodeNumber ino,
                                  fs::InodeNumber new_parent, std::string_view new_name) override;
  io::Status Unlink(const fs::OpContext& context, fs::InodeNumber parent,
                    std::string_view name) override;
  io::Status RemoveDirectory(const fs::OpContext& context, fs::InodeNumber parent,
                             std::string_view name) override;
  io::Status Rename(const fs::OpContext& context, fs::InodeNumber parent, std::string_view name,
                    fs::InodeNumber new_parent, std::string_view new_name, uint32_t flags) override;
  void SetUnlinkObserver(UnlinkObserver /*observer*/) override {}
  io::Result<std::string> ReadLink(const fs::OpContext& context, fs::InodeNumber ino) override;
  io::Result<size_t> Read(const fs::OpContext& context, fs::InodeNumber ino, uint64_t offset,
                          io::MutableBytes out) override;
  io::Result<fs::WriteOutcome> Write(const fs::OpContext& context, fs::InodeNumber ino,
                                     uint64_t offset, io::Bytes data, bool kill_suid_sgid) override;
  io::Result<fs::WriteOutcome> Allocate(const fs::OpContext& context, fs::InodeNumber ino, int mode,
                                        uint64_t offset, uint64_t length) override;
  io::Result<uint64_t> Seek(const fs::OpContext& context, fs::InodeNumber ino, uint64_t offset,
                            int whence) override;
  io::Status Sync() override { return io::Status::Ok(); }
  io::Status SetReadOnly(bool /*read_only*/) override { return io::Status::Ok(); }
  void SetAtimePolicy(fs::AtimePolicy /*policy*/) override {}
  io::Status ReadDirectory(const fs::OpContext& context, fs::InodeNumber ino, uint64_t cookie,
                           bool with_attributes,
                           const std::function<bool(const fs::DirectoryEntry&)>& visit) override;
  io::Status SetXattr(const fs::OpContext& context, fs::InodeNumber ino, std::string_view name,
                      std::string_view value, int flags) override;
  io::Result<std::string> GetXattr(const fs::OpContext& context, fs::InodeNumber ino,
                                   std::string_view name) override;
  io::Result<std::string> ListXattr(const fs::OpContext& context, fs::InodeNumber ino) override;
  io::Status RemoveXattr(const fs::OpContext& context, fs::InodeNumber ino,
                         std::string_view name) override;
  io::Result<fs::SpaceUsage> StatFs() override { return fs::SpaceUsage{}; }
  io::Result<uint64_t> UnlinkedPageCount() override { return uint64_t{0}; }
  io::Result<std::vector<std::string>> CheckTree(bool /*read_data*/) override {
    return std::vector<std::string>();
  }
  uint64_t LookupCountTotal() const override;

 private:
  struct Entry {
    uint64_t ino = 0;
    uint64_t cookie = 0;
  };
  struct Node {
    fs::Attributes attributes;  // ino, size of directories and links, blocks: computed
    uint64_t lookup_count = 0;
    bool temporary = false;  // never had a name
    uint64_t parent = 0;
    uint64_t next_cookie = 3;
    std::map<std::string, Entry, std::less<>> entries;
    std::map<uint64_t, std::string> pages;  // each of 4096 bytes, or none: unwritten
    std::string target;
    std::map<std::string, std::string, std::less<>> xattrs;

    uint32_t type() const { return attributes.mode & 0170000; }
    bool is_directory() const { return type() == 0040000; }
    bool is_regular() const { return type() == 0100000; }
  };

  int64_t Now() const { return clock_.WallNs(); }
  Node* Find(fs::InodeNumber ino);
  // The live directory, or an error.
  io::Result<Node*> Directory(fs::InodeNumber ino);
  fs::Attributes AttributesOf(uint64_t ino) const;
  // The inode alone, looked up once.
  io::Result<Node*> MakeInode(const fs::OpContext& context, const Node& directory, uint32_t mode);
  io::Result<fs::Attributes> Make(const fs::OpContext& context, fs::InodeNumber parent,
                                  std::string_view name, uint32_t mode, uint64_t rdev,
                                  std::string_view target);
  void Touch(Node* directory);
  void DropLink(uint64_t ino);
  void CollectIfDead(uint64_t ino);
  io::Status Remove(fs::InodeNumber parent, std::string_view name, bool directory);
  bool IsInside(uint64_t inside, uint64_t directory) const;
  void Resize(Node* node, uint64_t size);
  static void Punch(Node* node, uint64_t begin, uint64_t end);
  static void LosePrivileges(Node* node);
  io::Status SetAcl(Node* node, std::string_view name, std::string_view value, int flags);
  void NoteAccess(Node* node);

  const io::Clock& clock_;
  const fs::AtimePolicy atime_;
  std::map<uint64_t, Node> inodes_;
  uint64_t next_ino_ = 2;
};

}  // namespace terracefs::testing
