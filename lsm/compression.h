#pragma once

#include <string>
#include <string_view>

#include "io/base/status.h"

namespace terracefs::lsm {

// zstd with one context per thread. Safe from any thread.

// Replaces `*output` by the compressed `input` and returns true, or returns false (`*output` is
// then undefined) if that would not save at least an eighth.
bool Compress(std::string_view input, int zstd_level, std::string* output);
// The same for a result of more than `bytes_max` bytes.
bool CompressWithin(std::string_view input, int zstd_level, size_t bytes_max, std::string* output);

// Replaces `*output`. Corruption if `input` is not one whole compressed text of at most `bytes_max`
// bytes uncompressed; no more than that is ever allocated.
io::Status Uncompress(std::string_view input, size_t bytes_max, std::string* output);

}  // namespace terracefs::lsm
