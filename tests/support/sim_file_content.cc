#include "tests/support/sim_file_content.h"

#include <algorithm>
#include <utility>

#include "io/base/check.h"
#include "io/base/units.h"

namespace terracefs::testing {
namespace {

// What a disk writes whole or not at all.
constexpr uint64_t kSectorBytes = 512;

void Overwrite(std::string& target, uint64_t offset, std::string_view bytes) {
  if (bytes.empty()) return;
  if (target.size() < offset + bytes.size()) target.resize(offset + bytes.size());
  target.replace(offset, bytes.size(), bytes);
}

}  // namespace

uint64_t SimFileContent::Write(uint64_t offset, std::string_view bytes) {
  Overwrite(live_, offset, bytes);
  Change change;
  change.number = ++last_change_;
  change.offset = offset;
  change.bytes = bytes;
  change.end_bytes = offset + bytes.size();
  changes_.push_back(std::move(change));
  return last_change_;
}

void SimFileContent::Resize(uint64_t bytes) {
  live_.resize(bytes);
  Change change;
  change.number = ++last_change_;
  change.is_resize = true;
  change.end_bytes = bytes;
  changes_.push_back(std::move(change));
}

void SimFileContent::SyncUpTo(uint64_t last) { Sync(last, 0); }

void SimFileContent::SyncWrite(uint64_t write) { Sync(write, write); }

// Makes the changes up to `last` durable: all resizes, and either all writes or `only_write`.
void SimFileContent::Sync(uint64_t last, uint64_t only_write) {
  std::vector<Change> left;
  for (Change& change : changes_) {
    if (change.number > last) {
      left.push_back(std::move(change));
      continue;
    }
    if (change.is_resize) {
      CutOut(left, change.end_bytes, UINT64_MAX);
      durable_.resize(change.end_bytes);
      continue;
    }
    if (only_write == 0 && durable_.size() < change.end_bytes) durable_.resize(change.end_bytes);
    const bool wanted = only_write == 0 ? !change.doomed : change.number == only_write;
    if (!wanted) {
      left.push_back(std::move(change));
      continue;
    }
    CutOut(left, change.offset, change.offset + change.bytes.size());
    Overwrite(durable_, change.offset, change.bytes);
    // A part of the write may have been cut out as older than something durable.
    if (durable_.size() < change.end_bytes) durable_.resize(change.end_bytes);
  }
  changes_ = std::move(left);
}

// Removes the bytes [begin, end) from writes that are older than what is durable there now.
void SimFileContent::CutOut(std::vector<Change>& older, uint64_t begin, uint64_t end) const {
  std::vector<Change> kept;
  for (Change& change : older) {
    const uint64_t change_end = change.offset + change.bytes.size();
    if (change.is_resize || change_end <= begin || end <= change.offset) {
      // A write that was cut to nothing still stands for the size it reached, but a durable resize
      // has put an end to that.
      if (end == UINT64_MAX) change.end_bytes = std::min(change.end_bytes, begin);
      kept.push_back(std::move(change));
      continue;
    }
    const std::string_view bytes = change.bytes;
    Change head = change;
    head.bytes = bytes.substr(0, begin > change.offset ? begin - change.offset : 0);
    if (end == UINT64_MAX) head.end_bytes = std::min(head.end_bytes, begin);
    Change tail = change;
    tail.offset = std::min(end, change_end);
    tail.bytes = bytes.substr(tail.offset - change.offset);
    kept.push_back(std::move(head));
    if (!tail.bytes.empty()) kept.push_back(std::move(tail));
  }
  older = std::move(kept);
}

void SimFileContent::DoomUnsynced() {
  for (Change& change : changes_) change.doomed = true;
}

void SimFileContent::CorruptByte(uint64_t offset) {
  CHECK(offset < live_.size());
  live_[offset] = static_cast<char>(~live_[offset]);
  if (offset < durable_.size()) durable_[offset] = static_cast<char>(~durable_[offset]);
  for (Change& change : changes_) {
    if (offset < change.offset || offset - change.offset >= change.bytes.size()) continue;
    char& byte = change.bytes[offset - change.offset];
    byte = static_cast<char>(~byte);
  }
}

std::string SimFileContent::AfterPowerCut(io::Random& random, uint64_t keep_percent) const {
  std::string result = durable_;
  uint64_t size_bytes = durable_.size();
  const uint64_t kept_sizes = random.Uniform(changes_.size() + 1);
  for (size_t index = 0; index < changes_.size(); ++index) {
    const Change& change = changes_[index];
    if (change.is_resize) {
      // What is written after a lost truncation went to new blocks that nothing refers to.
      if (index >= kept_sizes && change.end_bytes < size_bytes) break;
      if (index >= kept_sizes) continue;
      size_bytes = change.end_bytes;
      result.resize(size_bytes);
      continue;
    }
    if (index < kept_sizes) size_bytes = std::max(size_bytes, change.end_bytes);
    const uint64_t end = change.offset + change.bytes.size();
    for (uint64_t begin = change.offset; begin < end;) {
      const uint64_t sector_end = std::min(io::RoundDown(begin, kSectorBytes) + kSectorBytes, end);
      if (random.Uniform(100) < keep_percent) {
        Overwrite(result, begin,
                  std::string_view(change.bytes).substr(begin - change.offset, sector_end - begin));
      }
      begin = sector_end;
    }
  }
  result.resize(size_bytes);
  return result;
}

}  // namespace terracefs::testing
