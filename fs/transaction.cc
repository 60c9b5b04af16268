#include "fs/transaction.h"

#include <utility>

#include "fs/schema/keys.h"
#include "fs/schema/limits.h"

namespace terracefs::fs {

using io::Status;

Transaction::Staged& Transaction::StageFor(Inode& inode) {
  for (size_t i = 0; i < staged_count_; ++i) {
    if (staged_[i].inode == &inode) return staged_[i];
  }
  CHECK(staged_count_ < kStagedCountMax);
  Staged& staged = staged_[staged_count_++];
  staged.inode = &inode;
  staged.record = inode.record();
  return staged;
}

InodeRecord& Transaction::Edit(Inode& inode) { return StageFor(inode).record; }

void Transaction::Remove(Inode& inode) { StageFor(inode).removed = true; }

void Transaction::Create(InodeNumber ino, const InodeRecord& record) {
  scratch_.clear();
  EncodeInode(record, &scratch_);
  batch_.Put(InodeKey(ino), scratch_);
}

void Transaction::AddToCounter(CounterId id, int64_t delta) {
  if (delta != 0) batch_.AddCounter(static_cast<uint8_t>(id), delta);
}

void Transaction::PutDirent(InodeNumber parent, std::string_view name, const Dirent& dirent) {
  scratch_.clear();
  EncodeDirent(dirent, &scratch_);
  batch_.Put(DirentKey(parent, name), scratch_);
}

void Transaction::PutListing(InodeNumber parent, uint64_t cookie, const ListingEntry& entry) {
  scratch_.clear();
  EncodeListing(entry, &scratch_);
  batch_.Put(ListingKey(parent, cookie), scratch_);
}

void Transaction::DropGroup(Domain domain, uint64_t id, uint64_t page_count) {
  batch_.DropRange(GroupBegin(domain, id), GroupEnd(domain, id), page_count * kPageBytes);
}

Status Transaction::Commit() {
  if (!may_wait_ && db_.WriteWouldStall()) return Status::WouldBlock();
  for (size_t i = 0; i < staged_count_; ++i) {
    const Staged& staged = staged_[i];
    if (staged.removed) {
      batch_.Delete(InodeKey(staged.inode->ino));
    } else {
      Create(staged.inode->ino, staged.record);
    }
  }
  TRY(db_.Write(std::move(batch_)));
  for (size_t i = 0; i < staged_count_; ++i) {
    Staged& staged = staged_[i];
    if (staged.removed) {
      staged.inode->MarkGone();
    } else {
      staged.inode->Publish(std::move(staged.record));
    }
  }
  return Status::Ok();
}

}  // namespace terracefs::fs
