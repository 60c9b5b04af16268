#include "fs/fsck.h"

#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <unordered_map>

#include "fs/acl.h"
#include "fs/file_data.h"
#include "fs/permissions.h"
#include "fs/schema/keys.h"
#include "fs/schema/records.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

// A record and what was counted for it.
struct Seen {
  InodeRecord record;
  uint64_t names = 0;
  uint64_t entries = 0;
  uint64_t listed = 0;
  uint64_t subdirectories = 0;
  uint64_t pages = 0;
  uint64_t xattr_list_bytes = 0;
  // Sums of hashes, which do not depend on the order: equal sums, equal sets.
  uint64_t entry_hash = 0;
  uint64_t listing_hash = 0;
  InodeNumber named_in;
  bool has_capability = false;
  bool has_access_acl = false;
  bool has_default_acl = false;
  bool is_orphan = false;
  bool has_trim = false;
  bool is_below_root = false;
};

uint64_t HashOfEntry(std::string_view name, InodeNumber ino, uint32_t type, uint64_t cookie) {
  uint64_t hash = std::hash<std::string_view>()(name);
  for (const uint64_t part : {ino.value, uint64_t{type}, cookie}) {
    hash = (hash ^ part) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

class TreeCheck {
 public:
  TreeCheck(lsm::Db& db, lsm::SequenceNumber snapshot, bool read_data)
      : db_(db), read_data_(read_data) {
    options_.snapshot = snapshot;
    options_.fill_cache = false;
  }

  Result<std::vector<std::string>> Run();

 private:
  struct Breach {
    InodeNumber ino;
    std::string text;
  };
  using Visit = std::function<void(const ParsedKey& key, std::string_view value)>;

  Status ForEach(Domain domain, const Visit& visit);
  void VisitParsed(Domain domain, std::string_view key, std::string_view value, const Visit& visit);
  Status ReadPages();
  Status ReadAll();
  void ReadInode(InodeNumber ino, std::string_view value);
  void ReadDirent(const ParsedKey& key, std::string_view value);
  void ReadListing(const ParsedKey& key, std::string_view value);
  void ReadXattr(const ParsedKey& key, std::string_view value);
  void ReadAcl(InodeNumber ino, std::string_view name, std::string_view value, Seen* seen);
  void ReadOrphan(InodeNumber ino, std::string_view value);
  void ReadTrim(uint64_t data_id, std::string_view value);
  void ReadPage(const ParsedKey& key, std::string_view value);

  void CheckInode(InodeNumber ino, Seen* seen);
  void CheckDirectory(InodeNumber ino, const Seen& seen);
  void CheckFile(InodeNumber ino, const Seen& seen);
  void CheckBelowRoot(InodeNumber ino);
  Status CheckSums();

  Seen* Find(InodeNumber ino) {
    const auto found = inodes_.find(ino);
    return found == inodes_.end() ? nullptr : &found->second;
  }
  void Report(InodeNumber ino, std::string text) {
    breaches_.push_back({.ino = ino, .text = std::move(text)});
  }
  template <typename A, typename B>
  void ExpectEqual(InodeNumber ino, const char* what, A recorded, B counted) {
    if (static_cast<uint64_t>(recorded) == static_cast<uint64_t>(counted)) return;
    Report(ino, std::string(what) + " is " + std::to_string(recorded) + ", counted " +
                    std::to_string(counted));
  }
  Result<bool> IsUnchanged(InodeNumber ino);

  lsm::Db& db_;
  const bool read_data_;
  lsm::ReadOptions options_;
  std::unordered_map<InodeNumber, Seen> inodes_;
  std::unordered_map<uint64_t, InodeNumber> owner_of_data_;
  uint64_t highest_number_ = 0;
  uint64_t page_sum_ = 0;
  std::vector<Breach> breaches_;
};

void TreeCheck::VisitParsed(Domain domain, std::string_view key, std::string_view value,
                            const Visit& visit) {
  const std::optional<ParsedKey> parsed = ParseKey(key);
  if (!parsed || parsed->domain != domain) {
    return Report(
        {}, "key of a wrong shape in domain " + std::to_string(static_cast<unsigned>(domain)));
  }
  visit(*parsed, value);
}

Status TreeCheck::ForEach(Domain domain, const Visit& visit) {
  const std::string end(1, static_cast<char>(static_cast<uint8_t>(domain) + 1));
  lsm::ReadOptions options = options_;
  options.upper_bound = end;
  options.keys_only = domain == Domain::kExtent;
  const std::unique_ptr<lsm::Iterator> entries = db_.NewIterator(options);
  for (entries->Seek(std::string(1, static_cast<char>(domain))); entries->Valid();
       entries->Next()) {
    VisitParsed(domain, entries->key(), entries->value(), visit);
  }
  return entries->status();
}

Status TreeCheck::ReadPages() {
  const Visit read = [this](const ParsedKey& key, std::string_view value) { ReadPage(key, value); };
  if (!read_data_) return ForEach(Domain::kExtent, read);
  const std::string begin(1, static_cast<char>(Domain::kExtent));
  const std::string end(1, static_cast<char>(static_cast<uint8_t>(Domain::kExtent) + 1));
  lsm::ReadOptions options = options_;
  options.upper_bound = end;
  return db_.Scan(options, begin, {}, [&](std::string_view key, std::string_view value) {
    VisitParsed(Domain::kExtent, key, value, read);
    return true;
  });
}

void TreeCheck::ReadInode(InodeNumber ino, std::string_view value) {
  Result<InodeRecord> record = DecodeInode(value);
  if (!record.ok()) return Report(ino, record.status().message());
  highest_number_ = std::max({highest_number_, ino.value, record->data_id});
  page_sum_ += record->page_count;
  if (record->is_regular() && !owner_of_data_.emplace(record->data_id, ino).second) {
    Report(ino, "shares data id " + std::to_string(record->data_id) + " with inode " +
                    std::to_string(owner_of_data_[record->data_id].value));
  }
  inodes_[ino].record = *std::move(record);
}

void TreeCheck::ReadDirent(const ParsedKey& key, std::string_view value) {
  const InodeNumber parent{key.id};
  Seen* directory = Find(parent);
  if (directory == nullptr || directory->record.nlink == 0) return;
  const std::string what = "entry '" + std::string(key.name) + "' ";
  const Result<Dirent> dirent = DecodeDirent(value);
  if (!dirent.ok()) return Report(parent, what + dirent.status().message());
  ++directory->entries;
  directory->entry_hash += HashOfEntry(key.name, dirent->ino, dirent->type, dirent->cookie);
  if (!directory->record.is_directory()) return Report(parent, what + "in what is no directory");
  if (dirent->cookie < directory->record.first_cookie ||
      dirent->cookie >= directory->record.next_cookie) {
    Report(parent, what + "has cookie " + std::to_string(dirent->cookie));
  }
  if (dirent->type == S_IFDIR) ++directory->subdirectories;
  Seen* child = Find(dirent->ino);
  if (child == nullptr) {
    return Report(parent, what + "names missing inode " + std::to_string(dirent->ino.value));
  }
  ++child->names;
  child->named_in = parent;
  if (child->record.type() != dirent->type) {
    Report(parent, what + "has another type than inode " + std::to_string(dirent->ino.value));
  }
}

void TreeCheck::ReadListing(const ParsedKey& key, std::string_view value) {
  const InodeNumber parent{key.id};
  Seen* directory = Find(parent);
  if (directory == nullptr || directory->record.nlink == 0) return;
  const Result<ListingEntry> entry = DecodeListing(value);
  if (!entry.ok()) return Report(parent, entry.status().message());
  ++directory->listed;
  directory->listing_hash += HashOfEntry(entry->name, entry->ino, entry->type, key.number);
}

void TreeCheck::ReadXattr(const ParsedKey& key, std::string_view value) {
  const InodeNumber ino{key.id};
  Seen* seen = Find(ino);
  if (seen == nullptr) return;
  const Result<std::string_view> bytes = DecodeXattr(value);
  if (!bytes.ok()) Report(ino, bytes.status().message());
  seen->xattr_list_bytes += key.name.size() + 1;
  if (key.name == kCapabilityXattr) seen->has_capability = true;
  if (bytes.ok() && IsAclXattr(key.name)) ReadAcl(ino, key.name, *bytes, seen);
}

void TreeCheck::ReadAcl(InodeNumber ino, std::string_view name, std::string_view value,
                        Seen* seen) {
  const bool is_access = name == kAccessAclXattr;
  (is_access ? seen->has_access_acl : seen->has_default_acl) = true;
  const Result<Acl> acl = Acl::Decode(value);
  if (!acl.ok() || acl->empty()) return Report(ino, "malformed ACL");
  if (!is_access) {
    if (!seen->record.is_directory()) Report(ino, "default ACL, but no directory");
    return;
  }
  if (acl->ModeBits() != (seen->record.mode & kAclModeBits))
    Report(ino, "mode and access ACL differ");
  if (acl->IsMode()) Report(ino, "an access ACL that says no more than the mode");
}

void TreeCheck::ReadOrphan(InodeNumber ino, std::string_view value) {
  Seen* seen = Find(ino);
  if (seen == nullptr) return Report(ino, "orphan record without an inode");
  if (!DecodeOrphan(value).ok()) Report(ino, "malformed orphan record");
  seen->is_orphan = true;
}

void TreeCheck::ReadTrim(uint64_t data_id, std::string_view value) {
  const Result<TrimRecord> trim = DecodeTrim(value);
  if (!trim.ok()) return Report({}, trim.status().message());
  Seen* seen = Find(trim->ino);
  if (seen == nullptr || seen->record.data_id != data_id) {
    return Report(trim->ino, "trim record without its inode");
  }
  seen->has_trim = true;
  if (trim->first_page < PagesFor(seen->record.size)) {
    Report(trim->ino, "trim record reaches into the file");
  }
}

// Without contents `value` is empty, which only makes the check milder.
void TreeCheck::ReadPage(const ParsedKey& key, std::string_view value) {
  const auto owner = owner_of_data_.find(key.id);
  if (owner == owner_of_data_.end()) return;
  const InodeNumber ino = owner->second;
  Seen& seen = inodes_[ino];
  ++seen.pages;
  const std::string what = "page " + std::to_string(key.number) + " ";
  const Result<std::string_view> bytes = DecodePage(value);
  if (!bytes.ok()) return Report(ino, what + bytes.status().message());
  if (seen.record.trim_pending && key.number >= PagesFor(seen.record.size)) return;
  // Unwritten pages may lie beyond the size, up to where the record says.
  if (key.number >= PageEnd(seen.record) ||
      (!bytes->empty() && key.number * kPageBytes + bytes->size() > seen.record.size)) {
    Report(ino, what + "has bytes beyond the size");
  }
  if (read_data_ && bytes->empty() && !seen.record.has_unwritten) {
    Report(ino, what + "is unwritten, but the inode knows of none");
  }
}

Status TreeCheck::ReadAll() {
  TRY(ForEach(Domain::kInode, [this](const ParsedKey& key, std::string_view value) {
    ReadInode(InodeNumber{key.id}, value);
  }));
  TRY(ForEach(Domain::kDirent,
              [this](const ParsedKey& key, std::string_view value) { ReadDirent(key, value); }));
  TRY(ForEach(Domain::kListing,
              [this](const ParsedKey& key, std::string_view value) { ReadListing(key, value); }));
  TRY(ForEach(Domain::kXattr,
              [this](const ParsedKey& key, std::string_view value) { ReadXattr(key, value); }));
  TRY(ForEach(Domain::kOrphan, [this](const ParsedKey& key, std::string_view value) {
    ReadOrphan(InodeNumber{key.id}, value);
  }));
  TRY(ForEach(Domain::kTrim,
              [this](const ParsedKey& key, std::string_view value) { ReadTrim(key.id, value); }));
  return ReadPages();
}

void TreeCheck::CheckDirectory(InodeNumber ino, const Seen& seen) {
  const InodeRecord& record = seen.record;
  if (record.nlink == 0) {
    if (record.entry_count != 0) Report(ino, "removed, but has entries");
    return;
  }
  ExpectEqual(ino, "entry count", record.entry_count, seen.entries);
  ExpectEqual(ino, "link count", record.nlink, 2 + seen.subdirectories);
  if (seen.entries != seen.listed || seen.entry_hash != seen.listing_hash) {
    Report(ino, "names and listing differ: " + std::to_string(seen.entries) + " names, " +
                    std::to_string(seen.listed) + " listed");
  }
  if (ino == kRootInode) {
    ExpectEqual(ino, "parent", record.parent.value, ino.value);
    ExpectEqual(ino, "number of names", 0, seen.names);
    return;
  }
  ExpectEqual(ino, "number of names", 1, seen.names);
  ExpectEqual(ino, "parent", record.parent.value, seen.named_in.value);
  CheckBelowRoot(ino);
}

void TreeCheck::CheckFile(InodeNumber ino, const Seen& seen) {
  const InodeRecord& record = seen.record;
  ExpectEqual(ino, "link count", record.nlink, seen.names);
  ExpectEqual(ino, "page count", record.page_count, seen.pages);
  if (record.trim_pending != seen.has_trim) Report(ino, "flag and trim record differ");
}

void TreeCheck::CheckInode(InodeNumber ino, Seen* seen) {
  const InodeRecord& record = seen->record;
  if (record.is_directory()) {
    CheckDirectory(ino, *seen);
  } else {
    CheckFile(ino, *seen);
  }
  ExpectEqual(ino, "length of xattr names", record.xattr_list_bytes, seen->xattr_list_bytes);
  if (record.has_capability != seen->has_capability) Report(ino, "flag and capability differ");
  if (record.has_access_acl != seen->has_access_acl) Report(ino, "flag and access ACL differ");
  if (record.has_default_acl != seen->has_default_acl) Report(ino, "flag and default ACL differ");
  if (seen->is_orphan != (record.nlink == 0)) {
    Report(ino, seen->is_orphan ? "orphan record, but links" : "no links, no orphan record");
  }
}

void TreeCheck::CheckBelowRoot(InodeNumber ino) {
  std::vector<Seen*> path;
  for (InodeNumber at = ino; at != kRootInode;) {
    Seen* seen = Find(at);
    if (seen == nullptr || path.size() > inodes_.size()) {
      return Report(ino, "is not below the root");
    }
    if (seen->is_below_root) break;
    path.push_back(seen);
    at = seen->record.parent;
  }
  for (Seen* seen : path) seen->is_below_root = true;
}

Status TreeCheck::CheckSums() {
  const auto bound_value = TRY(db_.Get(options_, AllocatorKey()));
  if (!bound_value) {
    Report({}, "no allocator record");
  } else if (const Result<uint64_t> bound = DecodeAllocatorBound(bound_value->view());
             !bound.ok()) {
    Report({}, bound.status().message());
  } else if (highest_number_ >= *bound) {
    Report({}, "number " + std::to_string(highest_number_) + " beyond the allocator's bound " +
                   std::to_string(*bound));
  }
  const int64_t inode_sum = db_.Counter(static_cast<uint8_t>(CounterId::kInodes));
  const int64_t page_sum = db_.Counter(static_cast<uint8_t>(CounterId::kPages));
  // The sums have no snapshot: only a quiet store can be compared.
  if (db_.LastSequence() != options_.snapshot) return Status::Ok();
  ExpectEqual({}, "inode sum", inode_sum, inodes_.size());
  ExpectEqual({}, "page sum", page_sum, page_sum_);
  return Status::Ok();
}

// Every operation rewrites the records of the inodes it touches.
Result<bool> TreeCheck::IsUnchanged(InodeNumber ino) {
  if (ino == InodeNumber{}) return true;
  const auto then = TRY(db_.Get(options_, InodeKey(ino)));
  const auto now = TRY(db_.Get({}, InodeKey(ino)));
  if (!then || !now) return !then && !now;
  return then->view() == now->view();
}

Result<std::vector<std::string>> TreeCheck::Run() {
  TRY(ReadAll());
  if (Find(kRootInode) == nullptr) Report(kRootInode, "there is no root directory");
  for (auto& [ino, seen] : inodes_) CheckInode(ino, &seen);
  TRY(CheckSums());
  std::vector<std::string> messages;
  for (const Breach& breach : breaches_) {
    if (!TRY(IsUnchanged(breach.ino))) continue;
    messages.push_back(breach.ino == InodeNumber{}
                           ? breach.text
                           : "inode " + std::to_string(breach.ino.value) + ": " + breach.text);
  }
  std::sort(messages.begin(), messages.end());
  return messages;
}

}  // namespace

Result<std::vector<std::string>> CheckTree(lsm::Db& db, bool read_data) {
  const lsm::SequenceNumber snapshot = db.AcquireSnapshot();
  Result<std::vector<std::string>> messages = TreeCheck(db, snapshot, read_data).Run();
  db.ReleaseSnapshot(snapshot);
  return messages;
}

}  // namespace terracefs::fs
