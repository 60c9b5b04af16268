#include "lsm/table/filter.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "io/base/check.h"
#include "io/base/coding.h"

namespace terracefs::lsm {
namespace {

constexpr size_t kLineBytes = 64;
constexpr uint32_t kLineBits = kLineBytes * 8;
constexpr int kLineBitsLog2 = 9;
static_assert(1 << kLineBitsLog2 == kLineBits);
constexpr uint32_t kProbeCountMax = 16;
constexpr size_t kLeftOutBytes = 256 / 8;
constexpr size_t kTailBytes = kLeftOutBytes + 4 + 4;  // left out, probe count, line count

// The product of two 64-bit numbers, its halves folded together: the whole mixing step of
// FilterHash (as in wyhash and its relatives).
uint64_t Fold(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

size_t LineOf(uint64_t hash, size_t line_count) {
  return static_cast<size_t>((hash >> 32) * line_count >> 32);
}

// Calls `probe(bit)` for the bits of a key within its line, until it returns false.
template <typename Probe>
bool ForEachBit(uint64_t hash, uint32_t probe_count, Probe probe) {
  auto bits = static_cast<uint32_t>(hash);
  for (uint32_t i = 0; i < probe_count; ++i) {
    if (!probe(bits >> (32 - kLineBitsLog2))) return false;
    bits *= 0x9e3779b9;
  }
  return true;
}

size_t DomainOf(std::string_view user_key) {
  return user_key.empty() ? 0 : static_cast<unsigned char>(user_key.front());
}

uint32_t ProbeCount(double bits_per_key) {
  // ln 2 times the bits is the best number for a plain bloom filter and within a few percent of it
  // for a blocked one.
  const double best = std::round(bits_per_key * 0.69);
  return static_cast<uint32_t>(std::clamp(best, 1.0, static_cast<double>(kProbeCountMax)));
}

}  // namespace

uint64_t FilterHash(std::string_view user_key) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  uint64_t hash = 0x2d358dccaa6c78a5 ^ (user_key.size() * 0x8bb84b93962eacc9);
  const char* p = user_key.data();
  size_t left = user_key.size();
  for (; left >= 8; left -= 8, p += 8) hash = Fold(hash ^ io::DecodeFixed64(p), kMultiplier);
  uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, p, left);
  hash = Fold(hash ^ tail, kMultiplier);
  return Fold(hash ^ 0x4b33a62ed433d4a3, 0x8bb84b93962eacc9);
}

FilterBuilder::FilterBuilder(double bits_per_key) : bits_per_key_(bits_per_key) {
  CHECK(bits_per_key > 0);
}

void FilterBuilder::Add(std::string_view user_key) { hashes_.push_back(FilterHash(user_key)); }

void FilterBuilder::LeaveOut(std::string_view user_key) { left_out_.set(DomainOf(user_key)); }

size_t FilterBuilder::LineCount() const {
  const double bits = static_cast<double>(hashes_.size()) * bits_per_key_;
  return static_cast<size_t>(std::ceil(bits / kLineBits));
}

size_t FilterBuilder::EstimatedBytes() const { return LineCount() * kLineBytes + kTailBytes; }

std::string FilterBuilder::Finish() const {
  const size_t line_count = LineCount();
  const uint32_t probe_count = ProbeCount(bits_per_key_);
  std::string out;
  out.reserve(line_count * kLineBytes + kTailBytes);
  out.assign(line_count * kLineBytes, '\0');
  for (const uint64_t hash : hashes_) {
    char* line = out.data() + LineOf(hash, line_count) * kLineBytes;
    ForEachBit(hash, probe_count, [line](uint32_t bit) {
      line[bit / 8] = static_cast<char>(static_cast<unsigned char>(line[bit / 8]) | 1U << bit % 8);
      return true;
    });
  }
  for (size_t byte = 0; byte < kLeftOutBytes; ++byte) {
    unsigned value = 0;
    for (size_t bit = 0; bit < 8; ++bit) value |= left_out_[byte * 8 + bit] ? 1U << bit : 0U;
    out.push_back(static_cast<char>(value));
  }
  io::PutFixed32(&out, probe_count);
  io::PutFixed32(&out, static_cast<uint32_t>(line_count));
  return out;
}

io::Result<FilterReader> FilterReader::Decode(std::string_view contents) {
  if (contents.size() < kTailBytes) return io::Status::Corruption("filter too short");
  const char* tail = contents.data() + contents.size() - kTailBytes;
  FilterReader filter;
  filter.present_ = true;
  filter.probe_count_ = io::DecodeFixed32(tail + kLeftOutBytes);
  const size_t line_count = io::DecodeFixed32(tail + kLeftOutBytes + 4);
  if (filter.probe_count_ == 0 || filter.probe_count_ > kProbeCountMax ||
      line_count * kLineBytes != contents.size() - kTailBytes) {
    return io::Status::Corruption("filter length does not match its line count");
  }
  for (size_t bit = 0; bit < 256; ++bit) {
    filter.left_out_[bit] = (static_cast<unsigned char>(tail[bit / 8]) >> bit % 8 & 1) != 0;
  }
  filter.lines_.resize(line_count);
  static_assert(sizeof(Line) == kLineBytes);
  for (size_t i = 0; i < line_count; ++i) {
    std::memcpy(filter.lines_[i].bits.data(), contents.data() + i * kLineBytes, kLineBytes);
  }
  return filter;
}

bool FilterReader::MayContain(std::string_view user_key) const {
  if (!present_ || left_out_[DomainOf(user_key)]) return true;
  if (lines_.empty()) return false;
  const uint64_t hash = FilterHash(user_key);
  const Line& line = lines_[LineOf(hash, lines_.size())];
  return ForEachBit(hash, probe_count_,
                    [&line](uint32_t bit) { return (line.bits[bit / 8] >> bit % 8 & 1) != 0; });
}

}  // namespace terracefs::lsm
