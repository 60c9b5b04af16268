#include "lsm/file_names.h"

#include <charconv>
#include <cstdio>

namespace terracefs::lsm {
namespace {

constexpr std::string_view kManifestPrefix = "MANIFEST-";

const char* Suffix(FileKind kind) {
  switch (kind) {
    case FileKind::kLog:
      return ".wal";
    case FileKind::kTable:
      return ".sst";
    case FileKind::kBlob:
      return ".blob";
    case FileKind::kManifest:
      return "";
  }
  UNREACHABLE();
}

std::optional<FileNumber> ParseNumber(std::string_view text) {
  FileNumber number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (number == 0 || number > kFileNumberMax) return std::nullopt;
  return number;
}

}  // namespace

std::string FileName(FileKind kind, FileNumber number) {
  char digits[24];
  std::snprintf(digits, sizeof digits, "%06llu", static_cast<unsigned long long>(number));
  if (kind == FileKind::kManifest) return std::string(kManifestPrefix) + digits;
  return std::string(digits) + Suffix(kind);
}

std::optional<ParsedFileName> ParseFileName(std::string_view name) {
  ParsedFileName parsed;
  if (name.starts_with(kManifestPrefix)) {
    const auto number = ParseNumber(name.substr(kManifestPrefix.size()));
    if (!number) return std::nullopt;
    return ParsedFileName{FileKind::kManifest, *number};
  }
  for (const FileKind kind : {FileKind::kLog, FileKind::kTable, FileKind::kBlob}) {
    const std::string_view suffix = Suffix(kind);
    if (!name.ends_with(suffix)) continue;
    const auto number = ParseNumber(name.substr(0, name.size() - suffix.size()));
    if (!number) return std::nullopt;
    return ParsedFileName{kind, *number};
  }
  return std::nullopt;
}

}  // namespace terracefs::lsm
