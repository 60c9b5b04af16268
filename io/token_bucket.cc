#include "io/token_bucket.h"

#include <algorithm>

#include "io/base/check.h"
#include "io/base/units.h"

namespace terracefs::io {
namespace {

__extension__ typedef unsigned __int128 Uint128;  // NOLINT(modernize-use-using): __extension__

constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr uint64_t kBurstsPerSecond = 100;
constexpr uint64_t kBurstBytesMin = 256 * kKiB;
// Above this a limit is none; it keeps every sum below far from the ends of its type.
constexpr uint64_t kRateMax = uint64_t{1} << 50;

}  // namespace

TokenBucket::TokenBucket(uint64_t bytes_per_second, int64_t now_ns)
    : rate_(std::min(bytes_per_second, kRateMax)), tokens_(burst()), refilled_at_ns_(now_ns) {}

uint64_t TokenBucket::burst() const { return std::max(rate_ / kBurstsPerSecond, kBurstBytesMin); }

void TokenBucket::SetRate(uint64_t bytes_per_second, int64_t now_ns) {
  Refill(now_ns);
  const bool was_unlimited = rate_ == 0;
  rate_ = std::min(bytes_per_second, kRateMax);
  tokens_ = was_unlimited ? burst() : std::min(tokens_, burst());
}

bool TokenBucket::TryTake(uint64_t bytes, int64_t now_ns) {
  DCHECK(bytes <= burst());
  if (rate_ == 0) return true;
  Refill(now_ns);
  if (tokens_ < bytes) return false;
  tokens_ -= bytes;
  return true;
}

int64_t TokenBucket::NsUntil(uint64_t bytes, int64_t now_ns) {
  if (rate_ == 0) return 0;
  Refill(now_ns);
  if (bytes <= tokens_) return 0;
  const Uint128 needed = Uint128{bytes - tokens_} * kNsPerSecond - carried_;
  return static_cast<int64_t>((needed + rate_ - 1) / rate_);
}

void TokenBucket::Refill(int64_t now_ns) {
  if (now_ns <= refilled_at_ns_) return;
  const auto elapsed_ns = static_cast<uint64_t>(now_ns - refilled_at_ns_);
  refilled_at_ns_ = now_ns;
  const Uint128 grown = Uint128{elapsed_ns} * rate_ + carried_;
  const Uint128 whole = grown / kNsPerSecond;
  if (whole >= burst() - tokens_) {
    tokens_ = burst();
    carried_ = 0;
  } else {
    tokens_ += static_cast<uint64_t>(whole);
    carried_ = static_cast<uint64_t>(grown % kNsPerSecond);
  }
}

}  // namespace terracefs::io
