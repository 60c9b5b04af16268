#include "io/base/clock.h"

#include <ctime>

namespace terracefs::io {
namespace {

int64_t Now(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

class MachineClock final : public Clock {
 public:
  int64_t WallNs() const override { return Now(CLOCK_REALTIME); }
  int64_t SteadyNs() const override { return Now(CLOCK_MONOTONIC); }
};

}  // namespace

const Clock& SystemClock() {
  static const MachineClock clock;
  return clock;
}

}  // namespace terracefs::io
