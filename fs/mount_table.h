#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace terracefs::fs {

inline constexpr std::string_view kMountType = "fuse.terracefs";

struct MountEntry {
  std::string mountpoint;
  std::string type;
  std::string source;
  std::string device;  // "major:minor"
};

// What is mounted, in the order of mounting; empty if /proc does not say. `pid` 0: this process.
std::vector<MountEntry> ReadMountTable(int pid = 0);
// The lines of a mountinfo file.
std::vector<MountEntry> ParseMountInfo(std::string_view text);
// The topmost mount whose root is exactly `path`, an absolute path without symbolic links.
std::optional<MountEntry> FindMount(std::string_view path, int pid = 0);

}  // namespace terracefs::fs
