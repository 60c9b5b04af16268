#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "io/base/status.h"

namespace terracefs::lsm {

// Forward iteration over sorted entries. The engine's own iterators yield internal keys
// (lsm/key.h); Db::NewIterator yields user keys. Not thread-safe; may be moved between threads. An
// error makes the iterator invalid: end of data is `!Valid() && status().ok()` and nothing else.
class Iterator {
 public:
  virtual ~Iterator() = default;
  virtual bool Valid() const = 0;
  virtual void SeekToFirst() = 0;
  // To the first entry at or after `target` (a key of the iterator's own sort).
  virtual void Seek(std::string_view target) = 0;
  // Requires Valid().
  virtual void Next() = 0;
  // Require Valid(). Stay good until the next call that moves or destroys the iterator.
  virtual std::string_view key() const = 0;
  virtual std::string_view value() const = 0;
  // Requires Valid(). Of the value that is stored: also where value() does not give it (keys_only).
  virtual size_t value_bytes() const { return value().size(); }
  virtual io::Status status() const = 0;
};

}  // namespace terracefs::lsm
