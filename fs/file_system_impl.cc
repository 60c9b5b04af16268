#include "fs/file_system.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "fs/file_data.h"
#include "fs/file_system_impl.h"
#include "fs/fsck.h"
#include "fs/schema/keys.h"
#include "io/base/log.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

constexpr size_t kLabelBytesMax = 255;

std::string_view DomainOf(std::string_view key) { return key.substr(0, 1); }
std::string_view GroupOf(std::string_view key) { return key.substr(0, kKeyPrefixBytes); }
// Listings are only ever iterated.
bool IsFilterKey(std::string_view key) {
  return key.empty() || key[0] != static_cast<char>(Domain::kListing);
}

}  // namespace

void FileSystem::ConfigureEngine(lsm::Options* options) {
  options->domain_of = DomainOf;
  options->group_of = GroupOf;
  options->filter_key = IsFilterKey;
}

Status FileSystem::Format(lsm::Db& db, const FormatOptions& options, uint32_t uid, uint32_t gid,
                          const io::Clock& clock) {
  if (options.label.size() > kLabelBytesMax) return Status::InvalidArgument("label is too long");
  if (options.size_bytes != 0 && options.size_bytes < kPageBytes) {
    return Status::InvalidArgument("size is less than a page");
  }
  if (TRY(db.Get({}, SuperblockKey()))) return Status::Busy("there is a filesystem already");
  const int64_t now_ns = clock.WallNs();
  InodeRecord root;
  root.mode = S_IFDIR | 0755;
  root.nlink = 2;
  root.uid = uid;
  root.gid = gid;
  root.atime_ns = root.mtime_ns = root.ctime_ns = root.btime_ns = now_ns;
  root.parent = kRootInode;
  root.next_cookie = kFirstCookie;

  Transaction transaction(db, /*may_wait=*/true);
  transaction.batch().Put(SuperblockKey(), EncodeSuperblock({.size_bytes = options.size_bytes,
                                                             .created_ns = now_ns,
                                                             .label = options.label}));
  transaction.batch().Put(AllocatorKey(), EncodeAllocatorBound(kRootInode.value + 1));
  transaction.Create(kRootInode, root);
  transaction.AddToCounter(CounterId::kInodes, 1);
  TRY(transaction.Commit());
  return db.Sync();
}

Result<std::unique_ptr<FileSystem>> FileSystem::Mount(lsm::Db& db,
                                                      const FileSystemOptions& options) {
  const auto superblock_value = TRY(db.Get({}, SuperblockKey()));
  if (!superblock_value) return Status::NotFound("no filesystem in this store");
  const Superblock superblock = TRY(DecodeSuperblock(superblock_value->view()));
  const auto bound_value = TRY(db.Get({}, AllocatorKey()));
  if (!bound_value) return Status::Corruption("no allocator record");
  const uint64_t bound = TRY(DecodeAllocatorBound(bound_value->view()));
  auto file_system = std::make_unique<FileSystemImpl>(db, options, superblock, bound);
  const Result<Attributes> root = file_system->GetAttributes({}, kRootInode);
  if (!root.ok()) {
    return root.status().Is(io::StatusCode::kPosix) ? Status::Corruption("no root directory")
                                                    : root.status();
  }
  if (!S_ISDIR(root->mode)) return Status::Corruption("the root is not a directory");
  if (!options.read_only) file_system->Recover();
  return std::unique_ptr<FileSystem>(std::move(file_system));
}

FileSystemImpl::FileSystemImpl(lsm::Db& db, const FileSystemOptions& options,
                               const Superblock& superblock, uint64_t allocator_bound)
    : db_(db),
      options_(options),
      read_only_(options.read_only),
      atime_(options.atime),
      table_(db, options.cached_inode_count_max),
      allocator_(db, allocator_bound),
      usage_(db, superblock.size_bytes) {}

FileSystemImpl::~FileSystemImpl() = default;

void FileSystemImpl::Recover() {
  const auto log = [](const char* what, const RecoveryReport& report) {
    if (report.left_count == 0) return;
    io::FsLog().error("{} {} are left to the next mount; the first: {}", report.left_count, what,
                      report.first_reason);
  };
  // Trims first: an orphan may have one. Damage in a few files keeps nobody from the others.
  log("interrupted truncations", RecoverTrims(db_, table_));
  log("unlinked files", Orphans::Recover(db_, table_));
  orphans_ = std::make_unique<Orphans>(db_, table_, counts_);
}

lsm::ReadOptions FileSystemImpl::ReadOptionsFor(const OpContext& context) {
  lsm::ReadOptions options;
  options.cache_only = !context.may_wait;
  return options;
}

Status FileSystemImpl::CheckWritable() const {
  return read_only_.load(std::memory_order_relaxed) ? Status::Posix(EROFS) : Status::Ok();
}

Status FileSystemImpl::SetReadOnly(bool read_only) {
  if (options_.read_only && !read_only) return Status::Posix(EROFS);
  read_only_.store(read_only, std::memory_order_relaxed);
  return Status::Ok();
}

void FileSystemImpl::SetAtimePolicy(AtimePolicy policy) {
  atime_.store(policy, std::memory_order_relaxed);
}

Result<SpaceUsage> FileSystemImpl::StatFs() { return usage_.Space(); }

Result<uint64_t> FileSystemImpl::UnlinkedPageCount() { return OrphanPageCount(db_); }

Result<std::vector<std::string>> FileSystemImpl::CheckTree(bool read_data) {
  return fs::CheckTree(db_, read_data);
}

uint64_t FileSystemImpl::LookupCountTotal() const { return counts_.Total(); }

}  // namespace terracefs::fs
