#include "lsm/compression.h"

#include <fmt/format.h>
#include <zstd.h>

#include <memory>

#include "io/base/check.h"

namespace terracefs::lsm {
namespace {

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

}  // namespace

bool Compress(std::string_view input, int zstd_level, std::string* output) {
  return CompressWithin(input, zstd_level, input.size() - input.size() / 8, output);
}

bool CompressWithin(std::string_view input, int zstd_level, size_t bytes_max, std::string* output) {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  CHECK(context != nullptr);
  // With no room for a poor result zstd gives up early instead of finishing it.
  output->resize(bytes_max);
  const size_t bytes = ZSTD_compressCCtx(context.get(), output->data(), output->size(),
                                         input.data(), input.size(), zstd_level);
  if (ZSTD_isError(bytes)) return false;
  output->resize(bytes);
  return true;
}

io::Status Uncompress(std::string_view input, size_t bytes_max, std::string* output) {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  CHECK(context != nullptr);
  const unsigned long long bytes = ZSTD_getFrameContentSize(input.data(), input.size());
  if (bytes == ZSTD_CONTENTSIZE_UNKNOWN || bytes == ZSTD_CONTENTSIZE_ERROR || bytes > bytes_max) {
    return io::Status::Corruption("compressed block without a believable length");
  }
  output->resize(bytes);
  const size_t written = ZSTD_decompressDCtx(context.get(), output->data(), output->size(),
                                             input.data(), input.size());
  if (ZSTD_isError(written)) {
    return io::Status::Corruption(fmt::format("compressed block: {}", ZSTD_getErrorName(written)));
  }
  if (written != bytes) {
    return io::Status::Corruption(
        fmt::format("compressed block has {} bytes, expected {}", written, bytes));
  }
  return io::Status::Ok();
}

}  // namespace terracefs::lsm
