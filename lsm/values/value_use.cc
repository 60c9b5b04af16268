#include "lsm/values/value_use.h"

#include <algorithm>

namespace terracefs::lsm {

void MergeValueUse(const ValueUse& use, std::vector<ValueUse>* uses) {
  auto known =
      std::lower_bound(uses->begin(), uses->end(), use.file,
                       [](const ValueUse& a, FileNumber number) { return a.file < number; });
  if (known == uses->end() || known->file != use.file) {
    known = uses->insert(known, ValueUse{use.file, 0, 0});
  }
  known->bytes += use.bytes;
  known->end_page = std::max(known->end_page, use.end_page);
}

void AddValueUse(const ValueReference& reference, std::vector<ValueUse>* uses) {
  MergeValueUse({reference.file, reference.ShareBytes(), reference.end_page()}, uses);
}

}  // namespace terracefs::lsm
