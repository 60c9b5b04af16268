#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/base/result.h"

namespace terracefs::fs {

// Bytes: `4096`, `64K`, `16M`, `2G`, `1T` (powers of 1024; an `iB` or `B` after the letter is
// fine). Rates are sizes per second. InvalidArgument, naming `text`, for anything else or beyond
// 2^63.
io::Result<uint64_t> ParseSize(std::string_view text);
// Milliseconds: `500ms`, `5s`, `10m`, `2h`. A number without a unit is InvalidArgument, but for
// `0`.
io::Result<int64_t> ParseDurationMs(std::string_view text);
// A decimal number without sign, blanks or unit.
io::Result<uint64_t> ParseCount(std::string_view text);
// A decimal fraction without sign and exponent: `0.3`, `1`.
io::Result<double> ParseFraction(std::string_view text);

// Text that ParseSize takes back as the same number, with the largest unit that divides it: "100",
// "64K", "2G".
std::string ExactSize(uint64_t bytes);
// The same for ParseDurationMs: "500ms", "5s", "10m", "0".
std::string ExactDuration(int64_t ms);

// "17 B", "4.2 KiB", "3.0 GiB".
std::string FormatSize(uint64_t bytes);
// "0.012 s", "3.4 s", "2 m 05 s".
std::string FormatSeconds(double seconds);

}  // namespace terracefs::fs
