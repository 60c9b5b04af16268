#include "fs/mount_table.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

namespace terracefs::fs {
namespace {

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// The kernel writes blanks, tabs, line ends and backslashes as \ooo.
std::string Unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) &&
        IsOctal(text[i + 3])) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> words;
  for (size_t begin = 0; begin < line.size();) {
    const size_t end = std::min(line.find(' ', begin), line.size());
    if (end > begin) words.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

}  // namespace

std::vector<MountEntry> ParseMountInfo(std::string_view text) {
  // 36 35 98:0 /root /mount/point options [optional fields] - type source super-options
  constexpr size_t kDevice = 2;
  constexpr size_t kMountpoint = 4;
  std::vector<MountEntry> entries;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::vector<std::string_view> words = Words(text.substr(begin, end - begin));
    begin = end + 1;
    size_t separator = kMountpoint + 1;
    while (separator < words.size() && words[separator] != "-") ++separator;
    if (separator + 2 >= words.size()) continue;
    MountEntry entry;
    entry.device = words[kDevice];
    entry.mountpoint = Unescape(words[kMountpoint]);
    entry.type = Unescape(words[separator + 1]);
    entry.source = Unescape(words[separator + 2]);
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::vector<MountEntry> ReadMountTable(int pid) {
  const std::string process = pid == 0 ? "self" : std::to_string(pid);
  std::ifstream file(fmt::format("/proc/{}/mountinfo", process));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return ParseMountInfo(text);
}

std::optional<MountEntry> FindMount(std::string_view path, int pid) {
  std::optional<MountEntry> found;
  for (MountEntry& entry : ReadMountTable(pid)) {
    if (entry.mountpoint == path) found = std::move(entry);
  }
  return found;
}

}  // namespace terracefs::fs
