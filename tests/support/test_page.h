#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "io/base/random.h"
#include "lsm/values/value_reference.h"

namespace terracefs::testing {

// A page that a seed makes, so that models need to keep the seed only. Every other seed makes one
// that compresses to about a quarter, the others do not compress at all.
inline std::string TestPage(uint64_t seed) {
  std::string page(lsm::kValuePageBytes, '\0');
  io::Random random(seed);
  const size_t random_bytes = seed % 2 == 0 ? page.size() : page.size() / 4;
  for (size_t i = 0; i < page.size(); i += sizeof(uint64_t)) {
    const uint64_t word = i < random_bytes ? random.Next() : seed;
    std::memcpy(page.data() + i, &word, sizeof(word));
  }
  return page;
}

}  // namespace terracefs::testing
