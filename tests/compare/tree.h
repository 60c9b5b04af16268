#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "tests/compare/side.h"

namespace terracefs::compare {

// What differs between attributes that have to agree, or an empty text. Times agree if they are of
// this run on both sides, or equal: only utimensat makes others.
std::string AttributeDifference(const struct statx& tested, const struct statx& reference);
// A time may have been set by the clock: it is not long ago and not in the future.
bool IsRecent(const statx_timestamp& time);

// Compares everything below two directories: names, attributes, which names are the same file,
// extended attributes, symbolic links and contents. Returns one text per difference, but stops
// looking soon after the first ones.
std::vector<std::string> TreeDifferences(const std::string& tested, const std::string& reference);

}  // namespace terracefs::compare
