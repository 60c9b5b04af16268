#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lsm/iterator.h"
#include "lsm/manifest/file_meta.h"

namespace terracefs::lsm {

// Makes an iterator over one table; an error becomes an iterator that carries it.
using TableIteratorFactory = std::function<std::unique_ptr<Iterator>(const FileRef& file)>;

// Iterates over disjoint tables in key order as if they were one, opening each when it is reached
// (F1). Ends before tables that begin at or after `upper_bound` (a user key; empty: none), whose
// memory the caller keeps.
std::unique_ptr<Iterator> NewLevelIterator(std::vector<FileRef> files, TableIteratorFactory open,
                                           std::string_view upper_bound);

// An iterator that is invalid from the start, with `status`.
std::unique_ptr<Iterator> NewErrorIterator(io::Status status);

}  // namespace terracefs::lsm
