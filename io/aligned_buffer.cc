#include "io/aligned_buffer.h"

#include <array>
#include <bit>
#include <cstdlib>
#include <utility>
#include <vector>

#include "io/base/check.h"
#include "io/base/mutex.h"
#include "io/base/units.h"
#include "io/storage.h"

namespace terracefs::io {
namespace {

constexpr size_t kPooledBytesMax = 2 * kMiB;
// What each size may keep for later: 16 MiB over ten sizes is 160 MiB at the very most, and what is
// kept was in use at the same time before.
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kKeptBytesPerSize = 0;  // reuse would hide a use after free from the sanitizer
#else
constexpr size_t kKeptBytesPerSize = 16 * kMiB;
#endif
constexpr size_t kSmallestShift = std::countr_zero(kDirectAlignment);
constexpr size_t kSizeCount = std::countr_zero(size_t{kPooledBytesMax}) - kSmallestShift + 1;

class Pool {
 public:
  std::byte* Take(size_t bytes) {
    if (IsPooled(bytes)) {
      Size& size = SizeOf(bytes);
      MutexLock lock(size.mutex);
      if (!size.kept.empty()) {
        std::byte* data = size.kept.back();
        size.kept.pop_back();
        return data;
      }
    }
    auto* data = static_cast<std::byte*>(std::aligned_alloc(kDirectAlignment, bytes));
    CHECK(data != nullptr);
    return data;
  }

  void Give(std::byte* data, size_t bytes) {
    if (IsPooled(bytes)) {
      Size& size = SizeOf(bytes);
      MutexLock lock(size.mutex);
      if ((size.kept.size() + 1) * bytes <= kKeptBytesPerSize) {
        size.kept.push_back(data);
        return;
      }
    }
    std::free(data);
  }

 private:
  struct Size {
    Mutex mutex;
    std::vector<std::byte*> kept GUARDED_BY(mutex);
  };
  static bool IsPooled(size_t bytes) {
    return std::has_single_bit(bytes) && bytes >= kDirectAlignment && bytes <= kPooledBytesMax;
  }
  Size& SizeOf(size_t bytes) {
    return sizes_[static_cast<size_t>(std::countr_zero(bytes)) - kSmallestShift];
  }

  std::array<Size, kSizeCount> sizes_;
};

// Never destroyed: buffers of static objects may come back after any destructor of ours.
Pool& ProcessPool() {
  static Pool* const pool = new Pool;
  return *pool;
}

}  // namespace

AlignedBuffer::AlignedBuffer(size_t bytes) : capacity_(RoundUp(bytes, kDirectAlignment)) {
  CHECK(capacity_ >= bytes);
  if (capacity_ > 0) data_ = ProcessPool().Take(capacity_);
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) ProcessPool().Give(data_, capacity_);
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) ProcessPool().Give(data_, capacity_);
    data_ = std::exchange(other.data_, nullptr);
    capacity_ = std::exchange(other.capacity_, 0);
  }
  return *this;
}

}  // namespace terracefs::io
