#include "fs/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>

#include "io/base/units.h"

namespace terracefs::fs {
namespace {

constexpr uint64_t kLargest = INT64_MAX;

struct Unit {
  std::string_view name;
  uint64_t factor;
};

constexpr std::array kSizeUnits = {
    Unit{"", 1},           Unit{"B", 1},
    Unit{"K", io::kKiB},   Unit{"M", io::kMiB},
    Unit{"G", io::kGiB},   Unit{"T", 1024 * io::kGiB},
    Unit{"KiB", io::kKiB}, Unit{"MiB", io::kMiB},
    Unit{"GiB", io::kGiB}, Unit{"TiB", 1024 * io::kGiB},
};
constexpr std::array kDurationUnits = {
    Unit{"ms", 1},
    Unit{"s", 1000},
    Unit{"m", 60'000},
    Unit{"h", 3'600'000},
};

// The number in front of a unit of `units`, in units of the smallest. Nothing if malformed or
// large.
template <size_t kCount>
std::optional<uint64_t> ParseWithUnit(std::string_view text,
                                      const std::array<Unit, kCount>& units) {
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest == text.data()) return std::nullopt;
  const std::string_view suffix(rest, static_cast<size_t>(end - rest));
  for (const Unit& unit : units) {
    if (unit.name != suffix) continue;
    if (number > kLargest / unit.factor) return std::nullopt;
    return number * unit.factor;
  }
  return std::nullopt;
}

}  // namespace

io::Result<uint64_t> ParseSize(std::string_view text) {
  if (const auto bytes = ParseWithUnit(text, kSizeUnits)) return *bytes;
  return io::Status::InvalidArgument(
      fmt::format("'{}' is not a size (examples: 4096, 64K, 16M, 2G)", text));
}

io::Result<int64_t> ParseDurationMs(std::string_view text) {
  if (text == "0") return int64_t{0};
  if (const auto ms = ParseWithUnit(text, kDurationUnits)) return static_cast<int64_t>(*ms);
  return io::Status::InvalidArgument(
      fmt::format("'{}' is not a duration (examples: 500ms, 5s, 10m)", text));
}

io::Result<uint64_t> ParseCount(std::string_view text) {
  constexpr std::array kNone = {Unit{"", 1}};
  if (const auto count = ParseWithUnit(text, kNone)) return *count;
  return io::Status::InvalidArgument(fmt::format("'{}' is not a number", text));
}

io::Result<double> ParseFraction(std::string_view text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  const bool is_plain = text.find_first_not_of("0123456789.") == std::string_view::npos;
  if (error != std::errc() || rest != end || !is_plain) {
    return io::Status::InvalidArgument(fmt::format("'{}' is not a fraction (example: 0.3)", text));
  }
  return number;
}

std::string ExactSize(uint64_t bytes) {
  constexpr std::array kUnits = {Unit{"T", 1024 * io::kGiB}, Unit{"G", io::kGiB},
                                 Unit{"M", io::kMiB}, Unit{"K", io::kKiB}};
  for (const Unit& unit : kUnits) {
    if (bytes != 0 && bytes % unit.factor == 0) {
      return fmt::format("{}{}", bytes / unit.factor, unit.name);
    }
  }
  return std::to_string(bytes);
}

std::string ExactDuration(int64_t ms) {
  if (ms == 0) return "0";
  for (auto unit = kDurationUnits.rbegin(); unit != kDurationUnits.rend(); ++unit) {
    const auto factor = static_cast<int64_t>(unit->factor);
    if (ms % factor == 0) return fmt::format("{}{}", ms / factor, unit->name);
  }
  return fmt::format("{}ms", ms);
}

std::string FormatSize(uint64_t bytes) {
  if (bytes < io::kKiB) return fmt::format("{} B", bytes);
  constexpr std::array kNames = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t index = 0;
  while (value >= 1024 && index + 1 < kNames.size()) {
    value /= 1024;
    ++index;
  }
  return fmt::format("{:.1f} {}", value, kNames[index]);
}

std::string FormatSeconds(double seconds) {
  if (seconds < 1) return fmt::format("{:.3f} s", seconds);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<uint64_t>(seconds);
  return fmt::format("{} m {:02} s", whole / 60, whole % 60);
}

}  // namespace terracefs::fs
