#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/result.h"

namespace terracefs::lsm {

// The hash that filters are made of; part of the file format.
uint64_t FilterHash(std::string_view user_key);

// Collects the user keys of one table and makes its filter: a blocked bloom filter, in which all
// bits of a key lie in one cache line, so that a probe costs one miss. Not thread-safe.
//
// Keys may be left out. The first bytes (domains) of those are noted in the filter, and a reader
// answers "maybe" for every key that begins with one of them. A key without bytes counts as 0.
class FilterBuilder {
 public:
  explicit FilterBuilder(double bits_per_key);

  void Add(std::string_view user_key);
  void LeaveOut(std::string_view user_key);
  size_t EstimatedBytes() const;
  // The contents of the filter block.
  std::string Finish() const;

 private:
  size_t LineCount() const;

  const double bits_per_key_;
  std::vector<uint64_t> hashes_;
  std::bitset<256> left_out_;
};

// Immutable; safe from any thread.
class FilterReader {
 public:
  // Answers "maybe" to everything.
  FilterReader() = default;
  // Corruption if `contents` is no filter block. Copies what it needs.
  static io::Result<FilterReader> Decode(std::string_view contents);

  // False only if the key was neither added nor left out.
  bool MayContain(std::string_view user_key) const;
  size_t memory_bytes() const { return lines_.size() * sizeof(Line); }

 private:
  struct alignas(64) Line {
    std::array<uint8_t, 64> bits;
  };

  bool present_ = false;
  uint32_t probe_count_ = 0;
  std::vector<Line> lines_;
  std::bitset<256> left_out_;
};

}  // namespace terracefs::lsm
