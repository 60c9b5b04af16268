#include "fs/inode_table.h"

#include <cerrno>
#include <string>

#include "fs/schema/keys.h"

namespace terracefs::fs {

using io::Result;
using io::Status;

void Inode::Load(InodeRecord&& record) {
  io::MutexLock hold(mutex_);
  if (state_.load(std::memory_order_relaxed) != State::kUnloaded) return;
  record_ = std::move(record);
  state_.store(State::kLive, std::memory_order_release);
}

void Inode::Publish(InodeRecord&& record) {
  io::MutexLock hold(mutex_);
  record_ = std::move(record);
}

void Inode::MarkGone() {
  io::MutexLock hold(mutex_);
  state_.store(State::kGone, std::memory_order_release);
}

InodeTable::InodeTable(lsm::Db& db, size_t cached_count_max)
    : db_(db), shard_cached_count_max_(cached_count_max / kShardCount + 1) {}

InodeTable::~InodeTable() {
  for (Shard& shard : shards_) {
    io::MutexLock hold(shard.mutex);
    for (Node* node : shard.buckets) {
      while (node != nullptr) {
        CHECK(node->ref_count == 0);
        delete std::exchange(node, node->next_in_bucket);
      }
    }
  }
}

InodeTable::Node* InodeTable::FindLocked(Shard& shard, InodeNumber ino) {
  Node* node = shard.buckets[BucketIndex(ino)];
  while (node != nullptr && node->ino != ino) node = node->next_in_bucket;
  return node;
}

void InodeTable::LinkLocked(Shard& shard, Node* node) {
  Node*& head = shard.buckets[BucketIndex(node->ino)];
  node->next_in_bucket = head;
  head = node;
}

void InodeTable::UnlinkLocked(Shard& shard, Node* node) {
  Node** link = &shard.buckets[BucketIndex(node->ino)];
  while (*link != node) link = &(*link)->next_in_bucket;
  *link = node->next_in_bucket;
}

void InodeTable::PushUnusedLocked(Shard& shard, Node* node) {
  node->newer = nullptr;
  node->older = shard.newest;
  (shard.newest != nullptr ? shard.newest->newer : shard.oldest) = node;
  shard.newest = node;
  ++shard.unused_count;
}

void InodeTable::PopUnusedLocked(Shard& shard, Node* node) {
  (node->newer != nullptr ? node->newer->older : shard.newest) = node->older;
  (node->older != nullptr ? node->older->newer : shard.oldest) = node->newer;
  --shard.unused_count;
}

InodeRef InodeTable::Pin(InodeNumber ino) {
  Shard& shard = ShardOf(ino);
  io::MutexLock hold(shard.mutex);
  Node* node = FindLocked(shard, ino);
  if (node == nullptr) {
    node = new Node(ino);
    LinkLocked(shard, node);
  } else if (node->ref_count == 0) {
    PopUnusedLocked(shard, node);
  }
  ++node->ref_count;
  return {this, node};
}

void InodeTable::Unpin(Inode* inode) {
  Node* node = static_cast<Node*>(inode);  // Pin made it
  Shard& shard = ShardOf(inode->ino);
  std::unique_ptr<Node> evicted;
  io::MutexLock hold(shard.mutex);
  if (--node->ref_count > 0) return;
  if (inode->state() == Inode::State::kLive) {
    PushUnusedLocked(shard, node);
    if (shard.unused_count <= shard_cached_count_max_) return;
    node = shard.oldest;
    PopUnusedLocked(shard, node);
  }
  UnlinkLocked(shard, node);
  evicted.reset(node);
}

Result<InodeRecord> InodeTable::ReadStored(InodeNumber ino, bool may_wait) {
  lsm::ReadOptions options;
  options.cache_only = !may_wait;
  const auto value = TRY(db_.Get(options, InodeKey(ino)));
  if (!value) return Status::Posix(ESTALE);
  Result<InodeRecord> record = DecodeInode(value->view());
  if (!record.ok() && record.status().Is(io::StatusCode::kCorruption)) {
    return Status::Corruption(record.status().message(), "inode " + std::to_string(ino.value));
  }
  return record;
}

Result<InodeRef> InodeTable::Get(InodeNumber ino, bool may_wait) {
  InodeRef ref = Pin(ino);
  const Inode::State state = ref->state();
  if (state == Inode::State::kGone) return Status::Posix(ESTALE);
  if (state == Inode::State::kUnloaded) ref->Load(TRY(ReadStored(ino, may_wait)));
  return ref;
}

void InodeTable::Insert(InodeNumber ino, InodeRecord&& record) {
  Pin(ino)->Load(std::move(record));
}

Result<InodeRecord> InodeTable::ReadRecord(InodeNumber ino, bool may_wait) {
  InodeRecord copy;
  if (PeekCached(ino, [&](const InodeRecord& record) { copy = record; })) return copy;
  return ReadStored(ino, may_wait);
}

}  // namespace terracefs::fs
