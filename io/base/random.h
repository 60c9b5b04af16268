#pragma once

#include <unistd.h>

#include <cstdint>

#include "io/base/check.h"

namespace terracefs::io {

// Seeded pseudo-random numbers: xoshiro-free splitmix64 (Steele, Lea, Flood 2014), one multiply
// chain per number. Not for secrets. Not thread-safe; a value.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // Uniform in [0, n); n > 0. The bias of the remainder is below 2^-32 for every n we use.
  uint64_t Uniform(uint64_t n) { return Next() % n; }
  bool OneIn(uint64_t n) { return Uniform(n) == 0; }

 private:
  uint64_t state_;
};

// From the kernel, for what nobody may guess or draw twice. Thread-safe.
inline uint64_t SecretNumber() {
  uint64_t number = 0;
  CHECK(getentropy(&number, sizeof number) == 0);
  return number;
}

}  // namespace terracefs::io
