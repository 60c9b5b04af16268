#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lsm/key.h"

namespace terracefs::lsm {

enum class FileKind : uint8_t { kLog, kTable, kBlob, kManifest };

inline constexpr std::string_view kCurrentFileName = "CURRENT";
inline constexpr std::string_view kLockFileName = "LOCK";
inline constexpr std::string_view kIdentityFileName = "IDENTITY";
inline constexpr std::string_view kOptionsFileName = "OPTIONS";

// "000012.wal", "000012.sst", "000012.blob", "MANIFEST-000012".
std::string FileName(FileKind kind, FileNumber number);

struct ParsedFileName {
  FileKind kind = FileKind::kLog;
  FileNumber number = 0;
};
// Nothing for names that are not numbered files of a store.
std::optional<ParsedFileName> ParseFileName(std::string_view name);

}  // namespace terracefs::lsm
