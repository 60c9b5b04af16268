#pragma once

#include <memory>
#include <string_view>

#include "lsm/iterator.h"
#include "lsm/key.h"
#include "lsm/values/value_files.h"
#include "lsm/view.h"

namespace terracefs::lsm {

// Hears what iterators meet, so that scans, too, tell compaction where it is worth while (A4).
// Called from any thread.
class ReadSampler {
 public:
  // About once in a mebibyte that is read: the current key.
  virtual void Sample(const View& view, std::string_view user_key) = 0;
  // Many tombstones and old versions had to be passed to get to (or give up at) `user_key`.
  virtual void CrossedGarbage(const View& view, std::string_view user_key,
                              uint64_t entry_count) = 0;

 protected:
  ~ReadSampler() = default;
};

// Visible entries, of which some are references.
class VisibleIterator : public Iterator {
 public:
  // Whether value() is an encoded ValueReference rather than the value itself. Requires Valid().
  virtual bool is_reference() const = 0;
};

// The user's view of `input` (internal keys) at `snapshot`: the newest visible version of each key,
// deleted keys left out, ending before user key `upper_bound` (empty: no bound; the caller keeps
// its memory). `view` is kept alive with it; null, as `sampler`: nobody hears. Seek takes a user
// key.
std::unique_ptr<VisibleIterator> NewVisibleIterator(std::unique_ptr<Iterator> input,
                                                    SequenceNumber snapshot,
                                                    std::string_view upper_bound,
                                                    std::shared_ptr<const View> view,
                                                    ReadSampler* sampler);

// `entries` with values in place of references: read one by one from `files`, or empty if that is
// null. `cache_only` as in ReadOptions. `files` outlives it.
std::unique_ptr<Iterator> NewValueIterator(std::unique_ptr<VisibleIterator> entries,
                                           ValueFiles* files, bool cache_only);

}  // namespace terracefs::lsm
