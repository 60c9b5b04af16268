#include "fs/schema/keys.h"

namespace terracefs::fs {

std::optional<ParsedKey> ParseKey(std::string_view key) {
  if (key.size() < kKeyPrefixBytes) return std::nullopt;
  ParsedKey parsed;
  parsed.domain = static_cast<Domain>(static_cast<uint8_t>(key[0]));
  parsed.id = io::DecodeOrdered64(key.data() + 1);
  const std::string_view suffix = key.substr(kKeyPrefixBytes);
  switch (parsed.domain) {
    case Domain::kSystem:
    case Domain::kInode:
    case Domain::kOrphan:
    case Domain::kTrim:
      if (!suffix.empty()) return std::nullopt;
      return parsed;
    case Domain::kListing:
    case Domain::kExtent:
      if (suffix.size() != 8) return std::nullopt;
      parsed.number = io::DecodeOrdered64(suffix.data());
      return parsed;
    case Domain::kDirent:
    case Domain::kXattr:
      if (suffix.empty() || suffix.size() > kKeySuffixBytesMax) return std::nullopt;
      parsed.name = suffix;
      return parsed;
  }
  return std::nullopt;
}

}  // namespace terracefs::fs
