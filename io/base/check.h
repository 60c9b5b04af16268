#pragma once

namespace terracefs::io {

// Prints `file:line: check failed: text` to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* text) noexcept;

}  // namespace terracefs::io

// CHECK states a fact that only a bug of ours can break; it is always on. DCHECK is for hot paths
// and is on in debug and sanitizer builds only. What the disk, user or kernel can cause is a
// Status.
#define CHECK(condition) \
  ((condition) ? (void)0 : ::terracefs::io::CheckFailed(__FILE__, __LINE__, #condition))
#if defined(TERRACEFS_DCHECK) || defined(_GLIBCXX_ASSERTIONS) || defined(__SANITIZE_ADDRESS__) || \
    defined(__SANITIZE_THREAD__)
#define DCHECK(condition) CHECK(condition)
#else
#define DCHECK(condition) ((void)sizeof(!(condition)))
#endif
#define UNREACHABLE() ::terracefs::io::CheckFailed(__FILE__, __LINE__, "unreachable")
