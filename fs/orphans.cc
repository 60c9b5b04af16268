#include "fs/orphans.h"

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "fs/inode_locks.h"
#include "fs/schema/keys.h"
#include "io/base/log.h"
#include "io/thread_pool.h"

namespace terracefs::fs {

using io::Result;
using io::Status;

namespace {

// Calls `visit` for every orphan record, with what is wrong with it if it is damaged, until it
// returns an error.
Status ForEachOrphan(lsm::Db& db, const std::function<Status(const Result<InodeNumber>&)>& visit) {
  const Key bound = GroupEnd(Domain::kOrphan, UINT64_MAX - 1);
  lsm::ReadOptions options;
  options.upper_bound = bound;
  const std::unique_ptr<lsm::Iterator> orphans = db.NewIterator(options);
  for (orphans->Seek(GroupBegin(Domain::kOrphan, 0)); orphans->Valid(); orphans->Next()) {
    const std::optional<ParsedKey> key = ParseKey(orphans->key());
    const Status status =
        key ? DecodeOrphan(orphans->value()) : Status::Corruption("orphan key of a wrong shape");
    TRY(visit(status.ok() ? Result<InodeNumber>(InodeNumber{key->id}) : status));
  }
  return orphans->status();
}

}  // namespace

void StageRemoval(Inode& inode, bool recorded, Transaction* transaction) {
  const InodeRecord& record = inode.record();
  const uint64_t ino = inode.ino.value;
  transaction->Remove(inode);
  if (recorded) transaction->batch().Delete(OrphanKey(inode.ino));
  if (record.xattr_list_bytes > 0) transaction->DropGroup(Domain::kXattr, ino);
  // Also for inodes without pages: then the dead ranges of neighbouring numbers join, and the
  // engine can remove whole tables of dead files without reading them.
  transaction->DropGroup(Domain::kExtent, record.is_regular() ? record.data_id : ino,
                         record.page_count);
  if (record.trim_pending) transaction->batch().Delete(TrimKey(record.data_id));
  if (record.is_directory() && record.next_cookie > kFirstCookie) {
    transaction->DropGroup(Domain::kDirent, ino);
    transaction->DropGroup(Domain::kListing, ino);
  }
  transaction->AddToCounter(CounterId::kInodes, -1);
  transaction->AddToCounter(CounterId::kPages, -static_cast<int64_t>(record.page_count));
}

Result<uint64_t> OrphanPageCount(lsm::Db& db) {
  uint64_t count = 0;
  const Status walked = ForEachOrphan(db, [&](const Result<InodeNumber>& ino) -> Status {
    if (!ino.ok()) return Status::Ok();
    // It may have been collected meanwhile.
    const auto value = TRY(db.Get({}, InodeKey(*ino)));
    const Result<InodeRecord> record =
        value ? DecodeInode(value->view()) : Result<InodeRecord>(InodeRecord());
    if (record.ok()) count += record->page_count;
    return Status::Ok();
  });
  TRY(walked);
  return count;
}

Orphans::Orphans(lsm::Db& db, InodeTable& table, LookupCounts& counts)
    : db_(db), table_(table), counts_(counts), thread_([this] { Run(); }) {}

Orphans::~Orphans() {
  {
    io::MutexLock hold(mutex_);
    stopping_ = true;
  }
  wake_.NotifyOne();
  thread_.join();
  for (const InodeNumber ino : counts_.Orphans()) {
    const Status status = Collect(db_, table_, ino, /*may_wait=*/true);
    if (!status.ok()) {
      io::FsLog().warn("unlinked files are left to the next mount: {}", status.ToString());
      return;
    }
  }
}

Status Orphans::Collect(lsm::Db& db, InodeTable& table, InodeNumber ino, bool may_wait) {
  Result<LockedInode> locked = LockedInode::Exclusive(table, ino, may_wait);
  if (!locked.ok()) return std::move(locked).status();
  if (locked->record().nlink != 0) {
    return Status::Corruption("orphan record of an inode with links",
                              "inode " + std::to_string(ino.value));
  }
  Transaction transaction(db, may_wait);
  StageRemoval(locked->inode(), /*recorded=*/true, &transaction);
  return transaction.Commit();
}

RecoveryReport Orphans::Recover(lsm::Db& db, InodeTable& table) {
  RecoveryReport report;
  std::vector<InodeNumber> inos;
  const Status walked = ForEachOrphan(db, [&](const Result<InodeNumber>& ino) {
    if (ino.ok()) inos.push_back(*ino);
    report.Note(ino.status());
    return Status::Ok();
  });
  report.Note(walked);
  for (const InodeNumber ino : inos) report.Note(ino, Collect(db, table, ino, /*may_wait=*/true));
  return report;
}

void Orphans::Released(InodeNumber ino) {
  const Status status = Collect(db_, table_, ino, /*may_wait=*/false);
  if (status.ok()) return;
  {
    io::MutexLock hold(mutex_);
    pending_.push_back(ino);
  }
  wake_.NotifyOne();
}

void Orphans::Run() noexcept {
  io::SetThreadName("fs-collect");
  io::MutexLock hold(mutex_);
  for (;;) {
    while (pending_.empty() && !stopping_) wake_.Wait(mutex_);
    if (pending_.empty()) return;
    const std::vector<InodeNumber> inos = std::exchange(pending_, {});
    hold.Unlock();
    for (const InodeNumber ino : inos) {
      const Status status = Collect(db_, table_, ino, /*may_wait=*/true);
      if (!status.ok()) {
        io::FsLog().warn("unlinked inode {} is left to the next mount: {}", ino.value,
                         status.ToString());
      }
    }
    hold.Lock();
  }
}

}  // namespace terracefs::fs
