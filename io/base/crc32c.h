#pragma once

#include <cstdint>

#include "io/base/bytes.h"

namespace terracefs::io {

// CRC-32C (Castagnoli, reflected, polynomial 0x82f63b78) of `data`, continuing from `crc`, the
// result for the bytes before it (0 at the start). Uses the processor's instruction if it has one.
// Safe from any thread.
uint32_t Crc32c(Bytes data, uint32_t crc = 0);

// The table-driven path, for processors without the instruction and for the test that compares.
uint32_t Crc32cPortable(Bytes data, uint32_t crc = 0);

}  // namespace terracefs::io
