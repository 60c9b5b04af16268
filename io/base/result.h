#pragma once

#include <optional>
#include <utility>

#include "io/base/check.h"
#include "io/base/status.h"

namespace terracefs::io {

// A value of T, or the Status that says why there is none. Not thread-safe; a value.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    DCHECK(!status_.ok());
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }
  T& value() & {
    DCHECK(ok());
    return *value_;
  }
  const T& value() const& {
    DCHECK(ok());
    return *value_;
  }
  T value() && {
    DCHECK(ok());
    return *std::move(value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

namespace result_internal {
inline void TakeValue(Status&&) {}
template <typename T>
T TakeValue(Result<T>&& result) {
  return std::move(result).value();
}
inline Status TakeStatus(Status&& status) { return std::move(status); }
template <typename T>
Status TakeStatus(Result<T>&& result) {
  return std::move(result).status();
}
}  // namespace result_internal

}  // namespace terracefs::io

// Evaluates a Status or Result expression; returns its error from the enclosing function, or
// yields its value (nothing for a Status).
#define TRY(expression)                                                            \
  __extension__({                                                                  \
    auto try_result_ = (expression);                                               \
    if (!try_result_.ok()) [[unlikely]]                                            \
      return ::terracefs::io::result_internal::TakeStatus(std::move(try_result_)); \
    ::terracefs::io::result_internal::TakeValue(std::move(try_result_));           \
  })
