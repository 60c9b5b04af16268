#include "fs/fuse/caller.h"

#include <linux/capability.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

namespace terracefs::fs {
namespace {

// The rest of the line that begins with `name`.
std::string_view Field(std::string_view status, std::string_view name) {
  while (!status.empty()) {
    const std::string_view line = status.substr(0, status.find('\n'));
    if (line.starts_with(name)) return line.substr(name.size());
    status.remove_prefix(std::min(status.size(), line.size() + 1));
  }
  return {};
}

// Takes the next number off the front; none at the end of the line.
std::optional<uint64_t> TakeNumber(std::string_view* text, int base) {
  const size_t begin = text->find_first_not_of(" \t");
  if (begin == text->npos) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(text->data() + begin, text->data() + text->size(), number, base);
  if (error != std::errc()) return std::nullopt;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return number;
}

}  // namespace

bool StatusAllowsSetgid(std::string_view status, uint32_t group) {
  std::string_view capabilities = Field(status, "CapEff:");
  const uint64_t effective = TakeNumber(&capabilities, 16).value_or(0);
  if ((effective >> CAP_FSETID & 1) != 0) return true;
  // Real, effective, saved and that of the filesystem, which is what counts there.
  std::string_view gids = Field(status, "Gid:");
  uint64_t own = ~uint64_t{0};
  while (const std::optional<uint64_t> gid = TakeNumber(&gids, 10)) own = *gid;
  if (own == group) return true;
  std::string_view others = Field(status, "Groups:");
  while (const std::optional<uint64_t> gid = TakeNumber(&others, 10)) {
    if (*gid == group) return true;
  }
  return false;
}

bool MayKeepSetgid(uint32_t pid, uint32_t group) {
  if (pid == 0) return false;
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  const std::string status{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return StatusAllowsSetgid(status, group);
}

}  // namespace terracefs::fs
