#include "fs/store_files.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <map>

#include "io/atomic_file.h"
#include "io/base/crc32c.h"
#include "lsm/file_names.h"

namespace terracefs::fs {
namespace {

constexpr std::string_view kIdentityMagic = "terracefs-identity";
constexpr std::string_view kOptionsMagic = "terracefs-options";
constexpr std::string_view kChecksumKey = "crc32c ";
// The record is padded to this so that a shorter one covers all of a longer one.
constexpr size_t kLockHolderBytes = 4608;

using Fields = std::map<std::string_view, std::string_view>;

template <typename Number>
bool ParseNumber(std::string_view text, Number* number) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *number);
  return error == std::errc() && rest == end && !text.empty();
}

std::string ChecksumLine(std::string_view covered) {
  return fmt::format("{}{:08x}\n", kChecksumKey, io::Crc32c(io::AsBytes(covered)));
}

// `MAGIC VERSION`, one `key value` a line, and the checksum of all that as the last line.
std::string Seal(std::string_view magic, std::string_view lines) {
  const std::string text = fmt::format("{} {}\n{}", magic, kStoreFormatVersion, lines);
  return text + ChecksumLine(text);
}

// The first line is judged before the checksum: a newer version may compute it differently.
io::Status CheckFirstLine(std::string_view line, std::string_view magic, std::string_view name) {
  uint32_t version = 0;
  if (!line.starts_with(magic) || line.size() < magic.size() + 2 || line[magic.size()] != ' ' ||
      !ParseNumber(line.substr(magic.size() + 1), &version) || version == 0) {
    return io::Status::Corruption("file does not begin as it must", name);
  }
  if (version > kStoreFormatVersion) {
    return io::Status::NotSupported(fmt::format(
        "store has format version {}, this program knows up to {}", version, kStoreFormatVersion));
  }
  return io::Status::Ok();
}

io::Result<Fields> Unseal(std::string_view text, std::string_view magic, std::string_view name) {
  const size_t first_end = text.find('\n');
  if (first_end == std::string_view::npos) {
    return io::Status::Corruption("file does not begin as it must", name);
  }
  TRY(CheckFirstLine(text.substr(0, first_end), magic, name));

  const size_t crc_line_bytes = kChecksumKey.size() + 8 + 1;
  if (text.size() < first_end + 1 + crc_line_bytes) {
    return io::Status::Corruption("file is cut short", name);
  }
  const std::string_view covered = text.substr(0, text.size() - crc_line_bytes);
  if (!covered.ends_with('\n') || text.substr(covered.size()) != ChecksumLine(covered)) {
    return io::Status::Corruption("file does not match its checksum", name);
  }
  Fields fields;
  for (size_t begin = first_end + 1; begin < covered.size();) {
    const size_t end = covered.find('\n', begin);
    const std::string_view line = covered.substr(begin, end - begin);
    const size_t blank = line.find(' ');
    if (blank == std::string_view::npos)
      return io::Status::Corruption("line without a value", name);
    fields[line.substr(0, blank)] = line.substr(blank + 1);
    begin = end + 1;
  }
  return fields;
}

bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t index = 0; index < text.size(); ++index) {
    const bool dash = index == 8 || index == 13 || index == 18 || index == 23;
    const bool digit = std::string_view("0123456789abcdef").find(text[index]) != text.npos;
    if (dash ? text[index] != '-' : !digit) return false;
  }
  return true;
}

constexpr std::array<std::string_view, 5> kStateNames = {"unknown", "starting", "mounted",
                                                         "unmounting", "formatting"};

}  // namespace

std::string EncodeIdentity(const Identity& identity) {
  return Seal(kIdentityMagic, fmt::format("uuid {}\nlabel {}\ncreated_ns {}\n", identity.uuid,
                                          identity.label, identity.created_ns));
}

io::Result<Identity> DecodeIdentity(std::string_view text) {
  Fields fields = TRY(Unseal(text, kIdentityMagic, lsm::kIdentityFileName));
  Identity identity;
  identity.uuid = fields["uuid"];
  identity.label = fields["label"];
  if (!IsUuid(identity.uuid) || !CheckLabel(identity.label).ok() ||
      !ParseNumber(fields["created_ns"], &identity.created_ns)) {
    return io::Status::Corruption("file holds a malformed value", lsm::kIdentityFileName);
  }
  return identity;
}

std::string EncodeStoreOptions(const StoreOptions& options) {
  return Seal(kOptionsMagic, fmt::format("size_bytes {}\n", options.size_bytes));
}

io::Result<StoreOptions> DecodeStoreOptions(std::string_view text) {
  Fields fields = TRY(Unseal(text, kOptionsMagic, lsm::kOptionsFileName));
  StoreOptions options;
  if (!ParseNumber(fields["size_bytes"], &options.size_bytes)) {
    return io::Status::Corruption("file holds a malformed value", lsm::kOptionsFileName);
  }
  return options;
}

io::Status CheckLabel(std::string_view label) {
  if (label.size() > kLabelBytesMax) {
    return io::Status::InvalidArgument(
        fmt::format("label is longer than {} bytes", kLabelBytesMax));
  }
  for (const char c : label) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return io::Status::InvalidArgument("label holds a control character");
    }
  }
  return io::Status::Ok();
}

std::string FormatUuid(uint64_t high, uint64_t low) {
  const uint64_t versioned = (high & ~uint64_t{0xf000}) | 0x4000;
  const uint64_t variant = (low & ~(uint64_t{3} << 62)) | (uint64_t{2} << 62);
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", versioned >> 32,
                     (versioned >> 16) & 0xffff, versioned & 0xffff, variant >> 48,
                     variant & 0xffff'ffff'ffff);
}

std::string EncodeLockHolder(const LockHolder& holder) {
  const std::string_view state = kStateNames[static_cast<size_t>(holder.state)];
  std::string text =
      fmt::format("pid {}\nstate {}\nmountpoint {}\n", holder.pid, state, holder.mountpoint);
  text.resize(kLockHolderBytes, '\n');
  return text;
}

LockHolder DecodeLockHolder(std::string_view text) {
  LockHolder holder;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t blank = line.find(' ');
    if (blank == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, blank);
    const std::string_view value = line.substr(blank + 1);
    if (key == "pid" && (!ParseNumber(value, &holder.pid) || holder.pid < 0)) holder.pid = 0;
    if (key == "mountpoint") holder.mountpoint = value;
    if (key != "state") continue;
    for (size_t index = 0; index < kStateNames.size(); ++index) {
      if (kStateNames[index] == value) holder.state = static_cast<HolderState>(index);
    }
  }
  return holder;
}

io::Status WriteLockHolder(io::Storage& storage, const LockHolder& holder) {
  io::OpenOptions options;
  options.write = true;
  const std::unique_ptr<io::File> file = TRY(storage.Open(lsm::kLockFileName, options));
  return file->Write(0, io::AsBytes(EncodeLockHolder(holder)));
}

LockHolder ReadLockHolder(io::Storage& storage) {
  const io::Result<std::string> text =
      io::ReadWholeFile(storage, lsm::kLockFileName, 2 * kLockHolderBytes);
  return text.ok() ? DecodeLockHolder(*text) : LockHolder();
}

}  // namespace terracefs::fs
