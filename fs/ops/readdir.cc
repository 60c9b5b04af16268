#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>

#include "fs/file_system_impl.h"
#include "fs/schema/keys.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

constexpr uint64_t kDotCookie = 1;
constexpr uint64_t kDotDotCookie = 2;
static_assert(kFirstCookie == kDotDotCookie + 1);
// So many inode records are read together for readdirplus.
constexpr size_t kAttributeBatchCount = 64;

using Visit = std::function<bool(const DirectoryEntry&)>;

// One pass over a directory that is locked. Once something was visited an error only ends the pass:
// the next one starts where this one ended, and meets it first.
class DirectoryPass {
 public:
  DirectoryPass(lsm::Db& db, InodeTable& table, LookupCounts& counts,
                const lsm::ReadOptions& options, const Visit& visit)
      : db_(db), table_(table), counts_(counts), options_(options), visit_(visit) {}

  Status Run(Inode& directory, uint64_t cookie, bool with_attributes) {
    const Status status =
        with_attributes ? VisitWithAttributes(directory, cookie) : VisitNames(directory, cookie);
    return visited_any_ ? Status::Ok() : status;
  }

 private:
  struct Pending {
    ListingEntry entry;  // its name points into names_
    size_t name_offset = 0;
    uint64_t cookie = 0;
    Attributes attributes;
    bool has_attributes = false;
  };

  bool VisitOne(const DirectoryEntry& entry) {
    if (!visit_(entry)) return false;
    visited_any_ = true;
    return true;
  }
  // False if `visit` has enough.
  bool VisitDots(InodeNumber ino, InodeNumber parent, uint64_t cookie) {
    if (cookie < kDotCookie &&
        !VisitOne({.name = ".", .ino = ino, .type = S_IFDIR, .next_cookie = kDotCookie})) {
      return false;
    }
    return cookie >= kDotDotCookie ||
           VisitOne({.name = "..", .ino = parent, .type = S_IFDIR, .next_cookie = kDotDotCookie});
  }
  // To the first entry after `cookie`, past all that was removed before any entry.
  static void SeekEntry(Inode& directory, uint64_t cookie, lsm::Iterator* entries);
  Status VisitNames(Inode& directory, uint64_t cookie);
  Status VisitWithAttributes(Inode& directory, uint64_t cookie);
  // For all that are pending; those that cannot be read stay without.
  Status ReadAttributes();
  static void TakeAttributes(const std::optional<lsm::PinnedValue>& value, Pending* pending);
  // False if `visit` has enough.
  bool VisitPending();

  lsm::Db& db_;
  InodeTable& table_;
  LookupCounts& counts_;
  lsm::ReadOptions options_;
  const Visit& visit_;
  bool visited_any_ = false;
  std::vector<Pending> pending_;
  std::string names_;
};

Result<uint64_t> CookieOf(std::string_view key) {
  const std::optional<ParsedKey> parsed = ParseKey(key);
  if (!parsed || parsed->domain != Domain::kListing) {
    return Status::Corruption("listing key of a wrong shape");
  }
  return parsed->number;
}

void DirectoryPass::SeekEntry(Inode& directory, uint64_t cookie, lsm::Iterator* entries) {
  const uint64_t first = directory.first_cookie();
  const uint64_t from = std::max(cookie + 1, first);
  entries->Seek(ListingKey(directory.ino, from));
  if (from != first || !entries->Valid()) return;
  // The directory is locked, so nobody adds an entry that this one has not met. A key of a wrong
  // shape is reported by who reads the entry.
  const Result<uint64_t> met = CookieOf(entries->key());
  if (met.ok()) directory.RaiseFirstCookie(*met);
}

Status DirectoryPass::VisitNames(Inode& directory, uint64_t cookie) {
  if (!VisitDots(directory.ino, directory.record().parent, cookie)) return Status::Ok();
  if (directory.record().entry_count == 0) return Status::Ok();
  const Key bound = GroupEnd(Domain::kListing, directory.ino.value);
  options_.upper_bound = bound;
  const std::unique_ptr<lsm::Iterator> entries = db_.NewIterator(options_);
  SeekEntry(directory, cookie, entries.get());
  for (; entries->Valid(); entries->Next()) {
    const uint64_t entry_cookie = TRY(CookieOf(entries->key()));
    const ListingEntry entry = TRY(DecodeListing(entries->value()));
    if (!VisitOne({.name = entry.name,
                   .ino = entry.ino,
                   .type = entry.type,
                   .next_cookie = entry_cookie})) {
      return Status::Ok();
    }
  }
  return entries->status();
}

Status DirectoryPass::VisitWithAttributes(Inode& directory, uint64_t cookie) {
  if (!VisitDots(directory.ino, directory.record().parent, cookie)) return Status::Ok();
  if (directory.record().entry_count == 0) return Status::Ok();
  const Key bound = GroupEnd(Domain::kListing, directory.ino.value);
  options_.upper_bound = bound;
  const std::unique_ptr<lsm::Iterator> entries = db_.NewIterator(options_);
  SeekEntry(directory, cookie, entries.get());
  pending_.reserve(kAttributeBatchCount);
  while (entries->Valid()) {
    pending_.clear();
    names_.clear();
    for (; entries->Valid() && pending_.size() < kAttributeBatchCount; entries->Next()) {
      const ListingEntry entry = TRY(DecodeListing(entries->value()));
      const uint64_t entry_cookie = TRY(CookieOf(entries->key()));
      pending_.push_back({.entry = entry,
                          .name_offset = names_.size(),
                          .cookie = entry_cookie,
                          .attributes = {},
                          .has_attributes = false});
      names_.append(entry.name);
    }
    TRY(ReadAttributes());
    if (!VisitPending()) return Status::Ok();
  }
  return entries->status();
}

Status DirectoryPass::ReadAttributes() {
  std::vector<std::string> keys;
  std::vector<Pending*> wanted;
  for (Pending& pending : pending_) {
    const InodeNumber ino = pending.entry.ino;
    pending.has_attributes = table_.PeekCached(
        ino, [&](const InodeRecord& record) { pending.attributes = ToAttributes(ino, record); });
    if (pending.has_attributes) continue;
    keys.emplace_back(InodeKey(ino).view());
    wanted.push_back(&pending);
  }
  if (wanted.empty()) return Status::Ok();
  lsm::ReadOptions options = options_;
  options.upper_bound = {};
  const auto values = db_.MultiGet(options, keys);
  if (values.ok()) {
    CHECK(values->size() == wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) TakeAttributes((*values)[i], wanted[i]);
    return Status::Ok();
  }
  if (values.status().Is(io::StatusCode::kWouldBlock)) return values.status();
  // One of them is damaged, and that must not hide the others.
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto value = db_.Get(options, keys[i]);
    if (value.ok()) TakeAttributes(*value, wanted[i]);
    if (value.status().Is(io::StatusCode::kWouldBlock)) return value.status();
  }
  return Status::Ok();
}

void DirectoryPass::TakeAttributes(const std::optional<lsm::PinnedValue>& value, Pending* pending) {
  // An entry without a readable inode is still listed, so that it can be seen and reported.
  if (!value) return;
  const Result<InodeRecord> record = DecodeInode(value->view());
  if (!record.ok()) return;
  pending->attributes = ToAttributes(pending->entry.ino, *record);
  pending->has_attributes = true;
}

bool DirectoryPass::VisitPending() {
  for (const Pending& pending : pending_) {
    const std::string_view name =
        std::string_view(names_).substr(pending.name_offset, pending.entry.name.size());
    if (!VisitOne({.name = name,
                   .ino = pending.entry.ino,
                   .type = pending.entry.type,
                   .next_cookie = pending.cookie,
                   .attributes = pending.has_attributes ? &pending.attributes : nullptr})) {
      return false;
    }
    // The lock of the directory keeps the entry, and with it the inode, alive.
    if (pending.has_attributes) counts_.Raise(pending.entry.ino);
  }
  return true;
}

}  // namespace

Status FileSystemImpl::ReadDirectory(const OpContext& context, InodeNumber ino, uint64_t cookie,
                                     bool with_attributes, const Visit& visit) {
  LockedInode locked = TRY(LockedInode::Shared(table_, ino, context.may_wait));
  const InodeRecord& directory = locked.record();
  if (!directory.is_directory()) return Status::Posix(ENOTDIR);
  if (directory.nlink == 0) return Status::Ok();  // removed: not even "." and ".."
  DirectoryPass pass(db_, table_, counts_, ReadOptionsFor(context), visit);
  TRY(pass.Run(locked.inode(), cookie, with_attributes));
  const bool access_is_due = !context.no_access_time && AccessIsDue(directory);
  locked.Release();
  if (access_is_due) NoteAccess(ino);
  return Status::Ok();
}

}  // namespace terracefs::fs
