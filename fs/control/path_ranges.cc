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

// Depth first, a batch of each directory on the way down at a time, so that a directory of any size
// takes little memory. No iterator lives longer than a batch, because it would keep old versions
// of the store alive; and none has a bound, because then the engine would read far ahead.
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
    uint64_t cookie = 0;                           // of the last entry taken in
    bool at_end = false;                           // there are no more
    std::vector<InodeNumber> subdirectories = {};  // of these entries, not yet walked
  };

  // Cancelled, or when it is not paused (any more).
  Status AwaitGo();
  // Takes in the next entries of a directory.
  Status ReadBatch(Place* place);
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
    Place& place = path_.back();
    if (!place.subdirectories.empty()) {
      if (path_.size() == kDepthMax) return Status::Corruption("directories form a cycle");
      const InodeNumber next = place.subdirectories.back();
      place.subdirectories.pop_back();
      path_.push_back({.directory = next});
    } else if (place.at_end) {
      path_.pop_back();
    } else {
      TRY(ReadBatch(&place));
    }
  }
  return Status::Ok();
}

Status TreeWalk::ReadBatch(Place* place) {
  place->at_end = true;
  // It may have been removed since its entry was read.
  const auto value = TRY(db_.Get(options_, InodeKey(place->directory)));
  if (!value) return Status::Ok();
  const InodeRecord record = TRY(DecodeInode(value->view()));
  if (record.entry_count == 0) return Status::Ok();
  const std::unique_ptr<lsm::Iterator> entries = db_.NewIterator(options_);
  std::vector<std::string> files;
  size_t count = 0;
  entries->Seek(ListingKey(place->directory, std::max(place->cookie + 1, record.first_cookie)));
  for (; entries->Valid(); entries->Next()) {
    const std::optional<ParsedKey> key = ParseKey(entries->key());
    if (!key || key->domain != Domain::kListing || key->id != place->directory.value) break;
    if (count++ == kBatchCount) {
      place->at_end = false;
      break;
    }
    const ListingEntry entry = TRY(DecodeListing(entries->value()));
    place->cookie = key->number;
    ids_.Add(entry.ino.value, entry.ino.value + 1);
    if (entry.type == S_IFREG) files.emplace_back(InodeKey(entry.ino).view());
    if (entry.type == S_IFDIR) place->subdirectories.push_back(entry.ino);
  }
  TRY(entries->status());
  return AddData(files);
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
  const std::unique_ptr<lsm::Iterator> inodes = db_.NewIterator(options_);
  inodes->Seek(InodeKey(InodeNumber{id}));
  TRY(inodes->status());
  if (!inodes->Valid()) return UINT64_MAX;
  const std::optional<ParsedKey> key = ParseKey(inodes->key());
  return key && key->domain == Domain::kInode ? key->id : UINT64_MAX;
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
