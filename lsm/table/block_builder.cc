#include "lsm/table/block_builder.h"

#include <algorithm>

#include "io/base/coding.h"

namespace terracefs::lsm {

void BlockBuilder::Add(std::string_view key, std::string_view value) {
  const auto offset = static_cast<uint32_t>(buffer_.size());
  size_t shared = 0;
  if (restarts_.empty() || entries_since_restart_ >= kRestartEntries ||
      offset - restarts_.back() >= kRestartBytes) {
    restarts_.push_back(offset);
    entries_since_restart_ = 0;
  } else {
    const size_t shared_max = std::min(last_key_.size(), key.size());
    while (shared < shared_max && last_key_[shared] == key[shared]) ++shared;
  }
  char lengths[15];
  char* end = io::EncodeVarint32(lengths, static_cast<uint32_t>(shared));
  end = io::EncodeVarint32(end, static_cast<uint32_t>(key.size() - shared));
  end = io::EncodeVarint32(end, static_cast<uint32_t>(value.size()));
  buffer_.append(lengths, static_cast<size_t>(end - lengths));
  buffer_.append(key.substr(shared));
  buffer_.append(value);
  last_key_.resize(shared);
  last_key_.append(key.substr(shared));
  ++entries_since_restart_;
}

std::string_view BlockBuilder::Finish() {
  for (const uint32_t offset : restarts_) io::PutFixed32(&buffer_, offset);
  io::PutFixed32(&buffer_, static_cast<uint32_t>(restarts_.size()));
  return buffer_;
}

void BlockBuilder::Reset() {
  buffer_.clear();
  restarts_.clear();
  entries_since_restart_ = 0;
  last_key_.clear();
}

}  // namespace terracefs::lsm
