#pragma once

#include <cstddef>
#include <cstdint>

namespace terracefs::lsm {

// A manifest is a run of records: fixed32 magic, fixed32 crc32c (of payload bytes and payload),
// fixed32 payload bytes, fixed32 zero; then the payload (an encoded VersionEdit), zero-padded to a
// multiple of kManifestAlignment. Bytes and rules: lsm/FORMAT.md.
inline constexpr uint32_t kManifestMagic = 0x314e4d54;  // "TMN1"
inline constexpr size_t kManifestHeaderBytes = 16;
inline constexpr size_t kManifestAlignment = 16;
inline constexpr size_t kManifestRecordBytesMax = size_t{1} << 30;
// A new manifest is begun when the current one has outgrown this and its own first record twice
// over.
inline constexpr uint64_t kManifestBytesTarget = 4 << 20;
// The file is grown in steps of this, ahead of the records; the rest is zeros.
inline constexpr uint64_t kManifestAllocationBytes = 256 << 10;
inline constexpr char kManifestFormatLine[] = "terracefs-lsm 4\n";  // first line of CURRENT

}  // namespace terracefs::lsm
