#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

#include "io/base/check.h"
#include "io/base/random.h"
#include "lsm/memtable/arena.h"

namespace terracefs::lsm {

// A sorted list of entries with express lanes (Pugh 1990) that only grows.
//
// Threads: one writer at a time calls Insert; any number of readers search and iterate beside it
// without a lock. The list must be destroyed after the last reader has gone.
//
// Order is called as order(entry, target) < 0, 0, > 0, with a target of type Entry (Insert) or of
// any type the readers search with. No two entries are equal.
//
// Invariants:
//  I1. Nodes live until the list is destroyed, and an entry never changes once linked.
//  I2. Only Insert changes links, and it links a node, from level 0 up, after the node is complete.
//      So a reader that meets a node at some level finds it whole, and finds it on all lower levels
//      it goes through later or walks past its place in order: either is correct for a search that
//      runs beside the insertion.
//  I3. Each level is sorted, and the nodes of level i + 1 are among those of level i.
//  I4. For every finger: previous[i] is the head or a node of height above i, and
//      previous[i] <= previous[0] < last. Insertions elsewhere cannot break this (I1); they can
//      only put nodes between previous[i] and last. So from previous[i] one has to walk forward,
//      never back.
//
// A finger remembers where an insertion happened, so that the next one right before or right
// behind it (the pages of a file, a new version of the same key) costs two comparisons however long
// the list is. There are several, chosen by the caller, because writers of different key
// ranges alternate (an extent, its inode, the next extent).
template <typename Entry, typename Order>
class SkipList {
  struct Node;

 public:
  static constexpr size_t kFingerCount = 8;

  SkipList(Arena& arena, Order order)
      : arena_(arena), order_(order), head_(NewNode(Entry(), kHeightMax)) {
    for (Finger& finger : fingers_) finger.previous.fill(head_);
  }
  SkipList(const SkipList&) = delete;
  SkipList& operator=(const SkipList&) = delete;

  // Adds `entry`, which must not be equal to one in the list. `finger` is below kFingerCount; it
  // never changes the outcome, only the speed.
  void Insert(const Entry& entry, size_t finger);

  // Forward over the entries. Sees at least those whose Insert happened before it got where it is.
  class Iterator {
   public:
    explicit Iterator(const SkipList& list) : list_(list) {}
    bool Valid() const { return node_ != nullptr; }
    const Entry& entry() const { return node_->entry; }
    void Next() { node_ = node_->Next(0); }
    void SeekToFirst() { node_ = list_.head_->Next(0); }
    // To the first entry at or after `target`.
    template <typename Target>
    void Seek(const Target& target) {
      node_ = list_.FindAtOrAfter(target);
    }

   private:
    const SkipList& list_;
    const Node* node_ = nullptr;
  };

  // The first entry at or after `target`; null if there is none.
  template <typename Target>
  const Entry* Find(const Target& target) const {
    const Node* const node = FindAtOrAfter(target);
    return node == nullptr ? nullptr : &node->entry;
  }

 private:
  static_assert(std::is_trivially_destructible_v<Entry>, "the arena runs no destructors");
  static_assert(alignof(Entry) <= alignof(void*), "the arena aligns no further");

  // Each level has a quarter of the nodes of the one below: 4^12 entries before searches slow down.
  static constexpr size_t kHeightMax = 12;
  static constexpr uint64_t kBranching = 4;

  // In memory the node is followed by its links, one for each level it reaches.
  using Link = std::atomic<Node*>;
  struct alignas(Link) Node {
    Entry entry;

    Link& link(size_t level) { return reinterpret_cast<Link*>(this + 1)[level]; }
    const Link& link(size_t level) const { return reinterpret_cast<const Link*>(this + 1)[level]; }

    // Acquire, pairs with the release in SetNext: whoever follows a link sees the entry, the key
    // bytes it points to and the node's own links as they were before it was linked.
    Node* Next(size_t level) const { return link(level).load(std::memory_order_acquire); }
    void SetNext(size_t level, Node* node) { link(level).store(node, std::memory_order_release); }
    // The writer reads back only what it wrote itself: no order is needed.
    Node* NextOfWriter(size_t level) const { return link(level).load(std::memory_order_relaxed); }
    // For a node nobody can reach yet; the SetNext that links it publishes this too.
    void InitNext(size_t level, Node* node) { link(level).store(node, std::memory_order_relaxed); }
  };

  struct Finger {
    Node* last = nullptr;  // null: never used
    size_t last_height = 0;
    std::array<Node*, kHeightMax> previous{};
  };

  Node* NewNode(const Entry& entry, size_t height);
  size_t RandomHeight();
  // Makes `finger->previous` fit for `entry` at level 0; false if it is not around there.
  bool MoveFinger(const Entry& entry, Finger* finger) const;
  void FindPrevious(const Entry& entry, Finger* finger) const;
  template <typename Target>
  const Node* FindAtOrAfter(const Target& target) const;

  Arena& arena_;
  const Order order_;
  Node* const head_;
  // Relaxed on both sides. A reader that sees the new height before the new node's links finds null
  // at the head and goes down a level; one that sees the old height just starts lower.
  std::atomic<size_t> height_{1};
  // Writer only.
  std::array<Finger, kFingerCount> fingers_;
  io::Random random_{0x7e44ace5};  // heights only steer speed: a fixed seed keeps runs alike
};

template <typename Entry, typename Order>
auto SkipList<Entry, Order>::NewNode(const Entry& entry, size_t height) -> Node* {
  const size_t bytes = sizeof(Node) + sizeof(Link) * height;
  Node* const node = new (arena_.AllocateAligned(bytes)) Node{entry};
  for (size_t level = 0; level < height; ++level) new (&node->link(level)) Link(nullptr);
  return node;
}

template <typename Entry, typename Order>
size_t SkipList<Entry, Order>::RandomHeight() {
  static_assert(kBranching == 4, "two bits decide about one more level");
  size_t height = 1;
  for (uint64_t bits = random_.Next(); height < kHeightMax && (bits & 3) == 0; bits >>= 2) ++height;
  return height;
}

template <typename Entry, typename Order>
bool SkipList<Entry, Order>::MoveFinger(const Entry& entry, Finger* finger) const {
  Node* const last = finger->last;
  if (last == nullptr) return false;
  const int order = order_(last->entry, entry);
  DCHECK(order != 0);
  if (order < 0) {
    // Behind `last`: then `last` is the predecessor on the levels it reaches, and on the others
    // what was before `last` is before `entry` too (I4).
    const Node* const next = last->NextOfWriter(0);
    if (next != nullptr && order_(next->entry, entry) < 0) return false;
    for (size_t level = 0; level < finger->last_height; ++level) finger->previous[level] = last;
    return true;
  }
  const Node* const previous = finger->previous[0];
  if (previous != head_ && order_(previous->entry, entry) > 0) return false;
  // Other fingers may have put nodes between `previous` and `last`.
  const Node* const next = previous->NextOfWriter(0);
  return next == last || order_(next->entry, entry) > 0;
}

template <typename Entry, typename Order>
void SkipList<Entry, Order>::FindPrevious(const Entry& entry, Finger* finger) const {
  Node* node = head_;
  const Node* known_after = nullptr;  // compared on the level above
  for (size_t level = kHeightMax; level-- > 0;) {
    Node* next = node->NextOfWriter(level);
    while (next != nullptr && next != known_after && order_(next->entry, entry) < 0) {
      node = next;
      next = node->NextOfWriter(level);
    }
    known_after = next;
    finger->previous[level] = node;
  }
}

template <typename Entry, typename Order>
void SkipList<Entry, Order>::Insert(const Entry& entry, size_t finger_index) {
  DCHECK(finger_index < kFingerCount);
  Finger& finger = fingers_[finger_index];
  if (!MoveFinger(entry, &finger)) FindPrevious(entry, &finger);

  const size_t height = RandomHeight();
  if (height > height_.load(std::memory_order_relaxed)) {
    height_.store(height, std::memory_order_relaxed);
  }
  Node* const node = NewNode(entry, height);
  for (size_t level = 0; level < height; ++level) {
    // On upper levels the finger may be behind (I4). Each node is walked over once per finger and
    // level, so this is a constant per insertion on average.
    Node* previous = finger.previous[level];
    Node* next = previous->NextOfWriter(level);
    if (level > 0) {
      while (next != nullptr && order_(next->entry, entry) < 0) {
        previous = next;
        next = previous->NextOfWriter(level);
      }
      finger.previous[level] = previous;
    }
    DCHECK(next == nullptr || order_(next->entry, entry) > 0);
    node->InitNext(level, next);
    previous->SetNext(level, node);  // I2: complete on this level before it can be met there
  }
  finger.last = node;
  finger.last_height = height;
}

template <typename Entry, typename Order>
template <typename Target>
auto SkipList<Entry, Order>::FindAtOrAfter(const Target& target) const -> const Node* {
  const Node* node = head_;
  const Node* known_after = nullptr;
  for (size_t level = height_.load(std::memory_order_relaxed); level-- > 0;) {
    const Node* next = node->Next(level);
    while (next != nullptr && next != known_after && order_(next->entry, target) < 0) {
      node = next;
      next = node->Next(level);
    }
    known_after = next;
  }
  return known_after;
}

}  // namespace terracefs::lsm
