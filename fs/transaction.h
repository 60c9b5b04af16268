#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fs/inode_table.h"
#include "fs/schema/keys.h"
#include "fs/schema/records.h"
#include "io/base/result.h"
#include "lsm/db.h"
#include "lsm/write_batch.h"

namespace terracefs::fs {

// One operation = one atomic batch. Changes are staged; Commit writes them all, and only then do
// the records in memory follow. Dropped without Commit, or if Commit fails, nothing has changed
// anywhere. Inodes that are edited or removed must stay locked exclusively until the end of Commit.
class Transaction {
 public:
  // `may_wait` false: Commit returns WouldBlock if the engine would make the writer wait.
  Transaction(lsm::Db& db, bool may_wait) : db_(db), may_wait_(may_wait) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  lsm::WriteBatch& batch() { return batch_; }
  // The record as it will be; the same object each time.
  InodeRecord& Edit(Inode& inode);
  // A new inode, which no InodeTable knows yet.
  void Create(InodeNumber ino, const InodeRecord& record);
  // The inode's record goes, and the inode with it. Overrules Edit.
  void Remove(Inode& inode);
  void AddToCounter(CounterId id, int64_t delta);
  // Puts, by record type.
  void PutDirent(InodeNumber parent, std::string_view name, const Dirent& dirent);
  void PutListing(InodeNumber parent, uint64_t cookie, const ListingEntry& entry);
  // Everything with this id in `domain` is dead for good; of file data, so many pages.
  void DropGroup(Domain domain, uint64_t id, uint64_t page_count = 0);

  // WouldBlock, NoSpace or a failure of the engine: nothing happened. Call it once.
  io::Status Commit();

 private:
  static constexpr size_t kStagedCountMax = 4;
  struct Staged {
    Inode* inode = nullptr;
    bool removed = false;
    InodeRecord record;
  };
  Staged& StageFor(Inode& inode);

  lsm::Db& db_;
  const bool may_wait_;
  lsm::WriteBatch batch_;
  std::array<Staged, kStagedCountMax> staged_;
  size_t staged_count_ = 0;
  std::string scratch_;
};

}  // namespace terracefs::fs
