#include "io/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace terracefs::io {

void CheckFailed(const char* file, int line, const char* text) noexcept {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, text);
  std::abort();
}

}  // namespace terracefs::io
