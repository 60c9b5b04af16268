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
  for (const FileKind kind :
       {FileKind::kLog, FileKind::kTable, FileKind::kBlob, FileKind::kManifest}) {
    const std::string_view prefix = kind == FileKind::kManifest ? kManifestPrefix : "";
    const std::string_view suffix = Suffix(kind);
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    if (name.size() < prefix.size() + suffix.size()) continue;
    const std::string_view digits =
        name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
    const auto number = ParseNumber(digits);
    // A number has one spelling: a stray "7.sst" must not stand for 000007.sst.
    if (number && FileName(kind, *number) == name) return ParsedFileName{kind, *number};
  }
  return std::nullopt;
}

}  // namespace terracefs::lsm
