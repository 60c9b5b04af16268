#pragma once

#include <cstdint>
#include <cstdlib>

namespace terracefs::testing {

// A number that whoever runs a test may set, such as SEED=4711.
inline uint64_t FromEnvironment(const char* name, uint64_t fallback) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : fallback;
}

// Random tests do so many times less where a sanitizer makes everything some ten times slower.
#ifdef __SANITIZE_THREAD__
inline constexpr uint64_t kSanitizerShare = 6;
#else
inline constexpr uint64_t kSanitizerShare = 1;
#endif

}  // namespace terracefs::testing
