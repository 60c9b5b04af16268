#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/storage.h"

namespace terracefs::io {

// Ends the name of the file that ReplaceFile works on. One that is found when a store is opened is
// left over from a crash and may be removed.
inline constexpr std::string_view kTemporarySuffix = ".tmp";

// Makes `contents` the contents of `name`, atomically and durably: after a crash at any point the
// file has its old contents (or is still missing) or the new ones, and the new ones once this
// returned ok. After an error either may be there. One caller at a time per name.
Status ReplaceFile(Storage& storage, std::string_view name, std::string_view contents);

// NotFound if it is missing, Corruption if it is larger than `bytes_max`.
Result<std::string> ReadWholeFile(Storage& storage, std::string_view name, size_t bytes_max);

}  // namespace terracefs::io
