#pragma once

#include <string_view>

#include "lsm/key.h"

namespace terracefs::lsm {

// How a read may behave.
struct ReadOptions {
  // Read as of this sequence; kSequenceMax: the newest published.
  SequenceNumber snapshot = kSequenceMax;
  // Do not wait for the disk: WouldBlock instead (for an iterator, as its status).
  bool cache_only = false;
  // Leave blocks that had to be read in the block cache.
  bool fill_cache = true;
  // For iterators: value() of a value in a value file is empty, and nothing is read for it.
  bool keys_only = false;
  // For iterators: user keys at or after this are not needed; empty: no bound. The caller keeps the
  // memory alive as long as the iterator. Seek reads all blocks up to the bound
  // (at most kReadAheadBytesMax) in one submission.
  std::string_view upper_bound;
};
inline constexpr size_t kReadAheadBytesMax = 2 << 20;

}  // namespace terracefs::lsm
