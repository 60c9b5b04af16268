#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/base/result.h"
#include "io/storage.h"

namespace terracefs::fs {

// The small text files of a store that belong to no engine: IDENTITY, OPTIONS and what LOCK says.
// fs/FORMAT.md, "Store files".

inline constexpr uint32_t kStoreFormatVersion = 1;
inline constexpr size_t kLabelBytesMax = 64;

struct Identity {
  std::string uuid;  // 8-4-4-4-12 lower-case hexadecimal digits
  std::string label;
  int64_t created_ns = 0;  // since the epoch
};

// What mkfs fixed for the life of the store.
struct StoreOptions {
  uint64_t size_bytes = 0;  // capacity; 0 = the disk's
};

std::string EncodeIdentity(const Identity& identity);
// Corruption if the bytes are not what EncodeIdentity wrote, NotSupported if a newer program wrote
// them.
io::Result<Identity> DecodeIdentity(std::string_view text);
std::string EncodeStoreOptions(const StoreOptions& options);
io::Result<StoreOptions> DecodeStoreOptions(std::string_view text);

// InvalidArgument if `label` is too long or holds control characters.
io::Status CheckLabel(std::string_view label);
// A random (version 4) UUID from 128 random bits.
std::string FormatUuid(uint64_t high, uint64_t low);

enum class HolderState : uint8_t { kUnknown, kStarting, kMounted, kUnmounting, kFormatting };

// Who holds the store's lock and how far it has got: advice for whoever finds the lock taken. The
// lock itself is the kernel's, so stale or torn contents do no harm.
struct LockHolder {
  int pid = 0;
  HolderState state = HolderState::kUnknown;
  std::string mountpoint;
};
std::string EncodeLockHolder(const LockHolder& holder);
LockHolder DecodeLockHolder(std::string_view text);

// One write, so that readers see the old or the new contents but for a crash.
io::Status WriteLockHolder(io::Storage& storage, const LockHolder& holder);
LockHolder ReadLockHolder(io::Storage& storage);

}  // namespace terracefs::fs
