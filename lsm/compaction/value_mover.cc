#include "lsm/compaction/value_mover.h"

namespace terracefs::lsm {
namespace {

// Values are read and written so many at a time.
constexpr size_t kMovedTogether = 256;
constexpr size_t kEntriesKeptMax = 4096;

}  // namespace

ValueMover::ValueMover(const JobEnvironment& environment, const CompactionPlan& plan, Sink sink)
    : environment_(environment), plan_(plan), sink_(std::move(sink)) {
  if (!plan.MovesValues()) return;
  writer_ = std::make_unique<ValueFileWriter>(
      environment.storage, environment.value_files, environment.new_file_number,
      &environment.limiter, io::IoPriority::kVacuum, environment.full_value_file_bytes());
}

bool ValueMover::Moves(const ValueReference& reference) const {
  return plan_.moves_all_values || plan_.moved_value_files.contains(reference.file);
}

io::Status ValueMover::Add(std::string_view internal_key, std::string_view value) {
  if (!writer_) return sink_(internal_key, value);
  bool moves = false;
  if (KeyKind(internal_key) == EntryKind::kReference) {
    const ValueReference reference = TRY(ValueReference::Decode(value));
    moves = Moves(reference);
    if (moves) moving_.push_back(reference);
  }
  if (!moves && entries_.empty()) return sink_(internal_key, value);
  entries_.push_back({std::string(internal_key), std::string(value), moves});
  if (moving_.size() < kMovedTogether && entries_.size() < kEntriesKeptMax) return io::Status::Ok();
  return MoveValues();
}

io::Status ValueMover::MoveValues() {
  if (entries_.empty()) return io::Status::Ok();
  memory_.resize(moving_.size() * kValuePageBytes);
  std::vector<ValueFiles::ReadItem> items;
  std::vector<std::string_view> pages;
  for (const ValueReference& reference : moving_) {
    std::byte* const out = memory_.data() + items.size() * kValuePageBytes;
    items.push_back({reference, out, {}});
    pages.emplace_back(reinterpret_cast<const char*>(out), kValuePageBytes);
    bytes_read_ += reference.ShareBytes();
  }
  ValueFiles::ReadSettings settings;
  settings.limiter = &environment_.limiter;
  settings.priority = io::IoPriority::kVacuum;
  const io::Status read = environment_.value_files.Read(items, settings);
  for (const ValueFiles::ReadItem& item : items) {
    if (!item.status.ok()) unreadable_files_.insert(item.reference.file);
  }
  TRY(read);
  const std::vector<ValueReference> moved =
      TRY(writer_->Append(pages, environment_.value_zstd_level()));
  size_t next = 0;
  std::string encoded;
  for (const Entry& entry : entries_) {
    if (!entry.moves) {
      TRY(sink_(entry.key, entry.value));
      continue;
    }
    encoded.clear();
    moved[next++].AppendTo(&encoded);
    TRY(sink_(entry.key, encoded));
  }
  entries_.clear();
  moving_.clear();
  return io::Status::Ok();
}

io::Status ValueMover::Finish() {
  if (!writer_) return io::Status::Ok();
  TRY(MoveValues());
  written_files_ = TRY(writer_->Finish());
  return io::Status::Ok();
}

}  // namespace terracefs::lsm
