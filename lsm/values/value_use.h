#pragma once

#include <cstdint>
#include <vector>

#include "lsm/values/value_reference.h"

namespace terracefs::lsm {

// What a table, or a memtable, refers to in one value file.
struct ValueUse {
  FileNumber file = 0;
  uint64_t bytes = 0;     // the sum of ValueReference::ShareBytes
  uint64_t end_page = 0;  // largest ValueReference::end_page
  bool operator==(const ValueUse&) const = default;
};

// Add to the use of the file, which is found or made in `uses` (by ascending file number).
void AddValueUse(const ValueReference& reference, std::vector<ValueUse>* uses);
void MergeValueUse(const ValueUse& use, std::vector<ValueUse>* uses);

}  // namespace terracefs::lsm
