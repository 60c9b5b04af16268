#include "fs/control/path_ranges.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "fs/control/id_ranges.h"
#include "fs/schema/keys.h"
#include "fs/schema/records.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

// Entries between two looks at the job's control; their records are read together.
constexpr size_t kBatchCount = 256;
constexpr size_t kDepthMax = 1 << 20;  // deeper than this is a cycle
constexpr std::chrono::milliseconds kPauseCheckInterval{100};
// Where a tree has keys, in ascending order.
constexpr std::array kDomains = {Domain::kInode, Domain::kDirent, Domain::kListing, Domain::kXattr,
                                 Domain::kExtent};

// Depth first, with one place per directory on the way down, so that a directory of any size takes
// no memory.
class TreeWalk {
 public:
  TreeWalk(lsm::Db& db, lsm::JobControl& control, size_t range_count_max)
      : db_(db), control_(control), ids_(range_count_max / kDomains.size()) {
    options_.fill_cache = false;
  }

  Status Walk(InodeNumber top);
  Result<std::vector<lsm::KeyRange>> ToKeyRanges();

 private:
  struct Place {
    InodeNumber directory;
    uint64_t cookie = 0;  // of the entry before the next one
  };

  // Cancelled, or when it is not paused (any more).
  Status AwaitGo();
  // Takes in a run of entries, up to and including the first subdirectory, which is then on top.
  Status Descend();
  // Where regular files have their pages.
  Status AddData(const std::vector<std::string>& inode_keys);
  // The number of the first living inode at or after `id`.
  Result<uint64_t> NextLiving(uint64_t id);
  // Lets each range go on over the removed inodes behind it.
  Status AddRemoved();

  lsm::Db& db_;
  lsm::JobControl& control_;
  lsm::ReadOptions options_;
  std::vector<Place> path_;
  // Inode numbers and data ids, which come from one sequence. No domain is told from the others:
  // where an id has no keys, its range costs nothing.
  IdRanges ids_;
};

Status TreeWalk::AwaitGo() {
  while (control_.paused()) control_.WaitWhilePaused(kPauseCheckInterval);
  return control_.cancelled() ? Status::Cancelled() : Status::Ok();
}

Status TreeWalk::Walk(InodeNumber top) {
  const auto value = TRY(db_.Get(options_, InodeKey(top)));
  if (!value) return Status::NotFound("the file has been removed");
  const InodeRecord record = TRY(DecodeInode(value->view()));
  ids_.Add(top.value, top.value + 1);
  if (record.is_regular()) ids_.Add(record.data_id, record.data_id + 1);
  // Nothing may be looked up in the keys of a removed directory.
  if (record.is_directory() && record.nlink > 0) path_.push_back({.directory = top});
  while (!path_.empty()) {
    TRY(AwaitGo());
    TRY(Descend());
  }
  return Status::Ok();
}

Status TreeWalk::Descend() {
  if (path_.size() > kDepthMax) return Status::Corruption("directories form a cycle");
  Place& place = path_.back();
  const uint64_t id = place.directory.value;
  // It may have been removed since its entry was read.
  const auto value = TRY(db_.Get(options_, InodeKey(place.directory)));
  uint64_t from = 0;
  if (value) {
    const InodeRecord record = TRY(DecodeInode(value->view()));
    if (record.entry_count > 0) from = std::max(place.cookie + 1, record.first_cookie);
  }
  if (from == 0) {
    path_.pop_back();
    return Status::Ok();
  }
  lsm::ReadOptions options = options_;
  const Key bound = GroupEnd(Domain::kListing, id);
  options.upper_bound = bound;
  const std::unique_ptr<lsm::Iterator> entries = db_.NewIterator(options);
  std::vector<std::string> files;
  InodeNumber subdirectory;
  size_t count = 0;
  for (entries->Seek(ListingKey(place.directory, from)); entries->Valid(); entries->Next()) {
    const std::optional<ParsedKey> key = ParseKey(entries->key());
    if (!key || key->domain != Domain::kListing) {
      return Status::Corruption("listing key of a wrong shape");
    }
    const ListingEntry entry = TRY(DecodeListing(entries->value()));
    place.cookie = key->number;
    ids_.Add(entry.ino.value, entry.ino.value + 1);
    if (entry.type == S_IFREG) files.emplace_back(InodeKey(entry.ino).view());
    if (entry.type == S_IFDIR) subdirectory = entry.ino;
    if (entry.type == S_IFDIR || ++count == kBatchCount) break;
  }
  TRY(entries->status());
  const bool at_end = !entries->Valid();
  TRY(AddData(files));
  if (at_end) path_.pop_back();
  if (subdirectory != InodeNumber{}) path_.push_back({.directory = subdirectory});
  return Status::Ok();
}

Status TreeWalk::AddData(const std::vector<std::string>& inode_keys) {
  if (inode_keys.empty()) return Status::Ok();
  const auto values = TRY(db_.MultiGet(options_, inode_keys));
  for (const auto& value : values) {
    if (!value) continue;  // removed meanwhile
    const InodeRecord record = TRY(DecodeInode(value->view()));
    if (record.is_regular()) ids_.Add(record.data_id, record.data_id + 1);
  }
  return Status::Ok();
}

Result<uint64_t> TreeWalk::NextLiving(uint64_t id) {
  lsm::ReadOptions options = options_;
  const std::string bound(1, static_cast<char>(static_cast<uint8_t>(Domain::kInode) + 1));
  options.upper_bound = bound;
  const std::unique_ptr<lsm::Iterator> inodes = db_.NewIterator(options);
  inodes->Seek(InodeKey(InodeNumber{id}));
  TRY(inodes->status());
  if (!inodes->Valid()) return UINT64_MAX;
  const std::optional<ParsedKey> key = ParseKey(inodes->key());
  if (!key || key->domain != Domain::kInode) {
    return Status::Corruption("inode key of a wrong shape");
  }
  return key->id;
}

Status TreeWalk::AddRemoved() {
  for (auto at = ids_.ranges().begin(); at != ids_.ranges().end();) {
    TRY(AwaitGo());
    const uint64_t end = at->second;
    ids_.Add(end, TRY(NextLiving(end)));
    // The range may have grown as far as the next one and swallowed it; then its new end is due.
    at = std::prev(ids_.ranges().upper_bound(end));
    if (at->second == end) ++at;
  }
  return Status::Ok();
}

Result<std::vector<lsm::KeyRange>> TreeWalk::ToKeyRanges() {
  TRY(AddRemoved());
  std::vector<lsm::KeyRange> ranges;
  for (const Domain domain : kDomains) {
    for (const auto& [begin, end] : ids_.ranges()) {
      ranges.push_back(
          {std::string(Key(domain, begin).view()), std::string(Key(domain, end).view())});
    }
  }
  return ranges;
}

}  // namespace

Result<std::vector<lsm::KeyRange>> KeyRangesOf(lsm::Db& db, InodeNumber top,
                                               lsm::JobControl& control, size_t range_count_max) {
  TreeWalk walk(db, control, range_count_max);
  TRY(walk.Walk(top));
  return walk.ToKeyRanges();
}

}  // namespace terracefs::fs
