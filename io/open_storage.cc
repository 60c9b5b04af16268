#include "io/open_storage.h"

#include <atomic>

#include "io/base/log.h"
#include "io/posix_storage.h"
#include "io/uring_storage.h"

namespace terracefs::io {

Result<std::unique_ptr<Storage>> OpenStorage(const std::string& path, IoBackend wanted) {
  if (wanted == IoBackend::kPosix) return OpenPosixStorage(path);
  Result<std::unique_ptr<Storage>> storage = OpenUringStorage(path);
  if (storage.ok() || !storage.status().Is(StatusCode::kNotSupported)) return storage;
  static std::atomic_flag said = ATOMIC_FLAG_INIT;
  if (!said.test_and_set()) {
    IoLog().warn("falling back from io_uring to blocking calls: {}", storage.status().message());
  }
  return OpenPosixStorage(path);
}

}  // namespace terracefs::io
