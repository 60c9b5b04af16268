#include "lsm/manifest/version_edit.h"

#include "lsm/options.h"
#include "lsm/table/table_format.h"

namespace terracefs::lsm {
namespace {

// Tags of an edit's fields, as stored. Never renumber; 0 is invalid.
enum class Tag : uint8_t {
  kLogNumber = 1,
  kNextFileNumber = 2,
  kLastSequence = 3,
  kCounters = 4,
  kRemovedFile = 5,
  kAddedFile = 6,
  kAddedDrop = 7,
  kRetiredDrop = 8,
  kLogSecret = 9,
  kCompactPointer = 10,
};

void PutTag(std::string* out, Tag tag) { out->push_back(static_cast<char>(tag)); }

void PutFile(std::string* out, const VersionEdit::AddedFile& added) {
  const FileMeta& file = *added.file;
  const TableInfo& info = file.info;
  PutTag(out, Tag::kAddedFile);
  io::PutVarint32(out, static_cast<uint32_t>(added.level));
  io::PutVarint64(out, file.number);
  io::PutVarint64(out, info.file_bytes);
  io::PutVarint64(out, info.entry_count);
  io::PutVarint64(out, info.tombstone_count);
  io::PutVarint64(out, static_cast<uint64_t>(info.oldest_tombstone_seconds));
  io::PutVarint64(out, info.hidden_count);
  io::PutVarint64(out, info.tombstone_block_bytes);
  io::PutVarint64(out, info.raw_bytes);
  io::PutVarint64(out, info.smallest_sequence);
  io::PutVarint64(out, info.largest_sequence);
  io::PutVarint64(out, file.drop_sequence);
  io::PutLengthPrefixed(out, info.smallest);
  io::PutLengthPrefixed(out, info.largest);
  PutValueUses(out, info);
}

bool GetLevel(io::Decoder* in, int* level) {
  uint32_t value = 0;
  if (!in->GetVarint32(&value) || value >= static_cast<uint32_t>(kLevelCount)) return false;
  *level = static_cast<int>(value);
  return true;
}

bool GetString(io::Decoder* in, std::string* value) {
  std::string_view view;
  if (!in->GetLengthPrefixed(&view)) return false;
  value->assign(view);
  return true;
}

bool GetFile(io::Decoder* in, VersionEdit::AddedFile* added) {
  added->file = std::make_shared<FileMeta>();
  FileMeta& file = *added->file;
  TableInfo& info = file.info;
  uint64_t seconds = 0;
  const bool complete =
      GetLevel(in, &added->level) && in->GetVarint64(&file.number) &&
      in->GetVarint64(&info.file_bytes) && in->GetVarint64(&info.entry_count) &&
      in->GetVarint64(&info.tombstone_count) && in->GetVarint64(&seconds) &&
      in->GetVarint64(&info.hidden_count) && in->GetVarint64(&info.tombstone_block_bytes) &&
      in->GetVarint64(&info.raw_bytes) && in->GetVarint64(&info.smallest_sequence) &&
      in->GetVarint64(&info.largest_sequence) && in->GetVarint64(&file.drop_sequence) &&
      GetString(in, &info.smallest) && GetString(in, &info.largest) && GetValueUses(in, &info);
  if (!complete || file.number == 0 || file.number > kFileNumberMax) return false;
  if (info.largest_sequence >= kSequenceMax || file.drop_sequence >= kSequenceMax) return false;
  info.oldest_tombstone_seconds = static_cast<int64_t>(seconds);
  return info.smallest.size() >= kKeyTrailerBytes && info.largest.size() >= kKeyTrailerBytes &&
         CompareInternal(info.smallest, info.largest) <= 0;
}

bool GetDrop(io::Decoder* in, DropRange* drop) {
  uint64_t seconds = 0;
  if (!GetString(in, &drop->begin) || !GetString(in, &drop->end) ||
      !in->GetVarint64(&drop->sequence) || !in->GetVarint64(&seconds)) {
    return false;
  }
  drop->seconds = static_cast<int64_t>(seconds);
  return drop->begin < drop->end && drop->sequence < kSequenceMax;
}

bool GetCounters(io::Decoder* in, std::optional<std::array<int64_t, kCounterCount>>* counters) {
  counters->emplace();
  for (int64_t& counter : **counters) {
    uint64_t value = 0;
    if (!in->GetFixed64(&value)) return false;
    counter = static_cast<int64_t>(value);
  }
  return true;
}

bool GetNumber(io::Decoder* in, uint64_t max, std::optional<uint64_t>* number) {
  return in->GetVarint64(&number->emplace()) && **number <= max;
}

bool GetField(io::Decoder* in, Tag tag, VersionEdit* edit) {
  switch (tag) {
    case Tag::kLogNumber:
      return GetNumber(in, kFileNumberMax, &edit->log_number);
    case Tag::kNextFileNumber:
      return GetNumber(in, kFileNumberMax, &edit->next_file_number) && *edit->next_file_number > 0;
    case Tag::kLastSequence:
      return GetNumber(in, kSequenceMax - 1, &edit->last_sequence);
    case Tag::kCounters:
      return GetCounters(in, &edit->counters);
    case Tag::kLogSecret:
      return in->GetFixed64(&edit->log_secret.emplace());
    case Tag::kCompactPointer: {
      VersionEdit::CompactPointer& pointer = edit->compact_pointers.emplace_back();
      return GetLevel(in, &pointer.level) && GetString(in, &pointer.user_key);
    }
    case Tag::kRemovedFile: {
      VersionEdit::RemovedFile& removed = edit->removed_files.emplace_back();
      return GetLevel(in, &removed.level) && in->GetVarint64(&removed.number);
    }
    case Tag::kAddedFile:
      return GetFile(in, &edit->added_files.emplace_back());
    case Tag::kAddedDrop:
      return GetDrop(in, &edit->added_drops.emplace_back());
    case Tag::kRetiredDrop: {
      VersionEdit::RetiredDrop& retired = edit->retired_drops.emplace_back();
      return GetString(in, &retired.begin) && in->GetVarint64(&retired.sequence);
    }
  }
  return false;
}

}  // namespace

std::string VersionEdit::Encode() const {
  std::string out;
  if (log_number) {
    PutTag(&out, Tag::kLogNumber);
    io::PutVarint64(&out, *log_number);
  }
  if (next_file_number) {
    PutTag(&out, Tag::kNextFileNumber);
    io::PutVarint64(&out, *next_file_number);
  }
  if (last_sequence) {
    PutTag(&out, Tag::kLastSequence);
    io::PutVarint64(&out, *last_sequence);
  }
  if (counters) {
    PutTag(&out, Tag::kCounters);
    for (const int64_t counter : *counters) io::PutFixed64(&out, static_cast<uint64_t>(counter));
  }
  if (log_secret) {
    PutTag(&out, Tag::kLogSecret);
    io::PutFixed64(&out, *log_secret);
  }
  for (const CompactPointer& pointer : compact_pointers) {
    PutTag(&out, Tag::kCompactPointer);
    io::PutVarint32(&out, static_cast<uint32_t>(pointer.level));
    io::PutLengthPrefixed(&out, pointer.user_key);
  }
  for (const RemovedFile& removed : removed_files) {
    PutTag(&out, Tag::kRemovedFile);
    io::PutVarint32(&out, static_cast<uint32_t>(removed.level));
    io::PutVarint64(&out, removed.number);
  }
  for (const AddedFile& added : added_files) PutFile(&out, added);
  for (const DropRange& drop : added_drops) {
    PutTag(&out, Tag::kAddedDrop);
    io::PutLengthPrefixed(&out, drop.begin);
    io::PutLengthPrefixed(&out, drop.end);
    io::PutVarint64(&out, drop.sequence);
    io::PutVarint64(&out, static_cast<uint64_t>(drop.seconds));
  }
  for (const RetiredDrop& retired : retired_drops) {
    PutTag(&out, Tag::kRetiredDrop);
    io::PutLengthPrefixed(&out, retired.begin);
    io::PutVarint64(&out, retired.sequence);
  }
  return out;
}

io::Result<VersionEdit> VersionEdit::Decode(std::string_view input) {
  io::Decoder in(input);
  VersionEdit edit;
  while (!in.empty()) {
    uint8_t tag = 0;
    if (!in.GetByte(&tag) || !GetField(&in, static_cast<Tag>(tag), &edit)) {
      return io::Status::Corruption("manifest edit: bad field " + std::to_string(tag));
    }
  }
  return edit;
}

}  // namespace terracefs::lsm
