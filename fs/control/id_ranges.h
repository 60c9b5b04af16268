#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace terracefs::fs {

// A set of 64-bit numbers as half-open ranges that do not touch. When it would have more than
// `count_max` ranges, the smallest gaps are filled, so that it takes bounded memory and holds at
// least what was added. Not thread-safe.
class IdRanges {
 public:
  // `count_max` at least 2.
  explicit IdRanges(size_t count_max) : count_max_(count_max) {}

  // Adds [begin, end); nothing if empty.
  void Add(uint64_t begin, uint64_t end);
  // begin -> end, ascending.
  const std::map<uint64_t, uint64_t>& ranges() const { return ranges_; }

 private:
  // Fills the smaller half of the gaps, so that this is rare.
  void Thin();

  const size_t count_max_;
  std::map<uint64_t, uint64_t> ranges_;
};

}  // namespace terracefs::fs
