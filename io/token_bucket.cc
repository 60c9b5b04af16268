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
    : rate_(std::min(bytes_per_second, kRateMax)),
      tokens_(static_cast<int64_t>(burst())),
      refilled_at_ns_(now_ns) {}

uint64_t TokenBucket::burst() const { return std::max(rate_ / kBurstsPerSecond, kBurstBytesMin); }

void TokenBucket::SetRate(uint64_t bytes_per_second, int64_t now_ns) {
  Refill(now_ns);
  const bool was_unlimited = rate_ == 0;
  rate_ = std::min(bytes_per_second, kRateMax);
  carried_ = 0;
  const auto full = static_cast<int64_t>(burst());
  tokens_ = was_unlimited ? full : std::min(tokens_, full);
  TakeAsDebt(0, now_ns);  // a lower rate forgives sooner (invariant 3)
}

bool TokenBucket::TryTake(uint64_t bytes, int64_t now_ns) {
  DCHECK(bytes <= burst());
  if (rate_ == 0) return true;
  Refill(now_ns);
  if (tokens_ < static_cast<int64_t>(bytes)) return false;
  tokens_ -= static_cast<int64_t>(bytes);
  return true;
}

void TokenBucket::TakeAsDebt(uint64_t bytes, int64_t now_ns) {
  if (rate_ == 0) return;
  Refill(now_ns);
  const auto debt_max = static_cast<int64_t>(std::max(rate_, burst()));
  // More at once than the bucket and the largest debt hold is forgotten anyway.
  tokens_ -= static_cast<int64_t>(std::min(bytes, 4 * kRateMax));
  tokens_ = std::max(tokens_, -debt_max);
}

int64_t TokenBucket::NsUntil(uint64_t bytes, int64_t now_ns) {
  if (rate_ == 0) return 0;
  Refill(now_ns);
  const int64_t missing = static_cast<int64_t>(bytes) - tokens_;
  if (missing <= 0) return 0;
  const Uint128 needed = Uint128{static_cast<uint64_t>(missing)} * kNsPerSecond - carried_;
  return static_cast<int64_t>((needed + rate_ - 1) / rate_);
}

void TokenBucket::Refill(int64_t now_ns) {
  if (now_ns <= refilled_at_ns_) return;
  const auto elapsed_ns = static_cast<uint64_t>(now_ns - refilled_at_ns_);
  refilled_at_ns_ = now_ns;
  const Uint128 grown = Uint128{elapsed_ns} * rate_ + carried_;
  const Uint128 whole = grown / kNsPerSecond;
  const auto full = static_cast<int64_t>(burst());
  const auto wanted = static_cast<uint64_t>(full - tokens_);
  if (whole >= wanted) {
    tokens_ = full;
    carried_ = 0;
  } else {
    tokens_ += static_cast<int64_t>(whole);
    carried_ = static_cast<uint64_t>(grown % kNsPerSecond);
  }
}

}  // namespace terracefs::io
