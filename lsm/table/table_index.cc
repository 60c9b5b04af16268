#include "lsm/table/table_index.h"

#include "io/base/coding.h"

namespace terracefs::lsm {

void TableIndexBuilder::Add(std::string_view last_key, uint64_t block_bytes) {
  io::PutLengthPrefixed(&entries_, last_key);
  io::PutVarint64(&entries_, block_bytes);
  ++count_;
}

std::string TableIndexBuilder::Finish() const {
  std::string out;
  out.reserve(EstimatedBytes());
  io::PutFixed32(&out, count_);
  out += entries_;
  return out;
}

io::Result<TableIndex> TableIndex::Decode(std::string_view contents, uint64_t data_bytes) {
  io::Decoder in(contents);
  uint32_t count = 0;
  if (!in.GetFixed32(&count) || count == 0) return io::Status::Corruption("table index is empty");
  // An entry has at least its two lengths and a key's trailer: `count` cannot make us allocate much
  // more than the index itself.
  if (count > in.rest().size() / (kKeyTrailerBytes + 2)) {
    return io::Status::Corruption("table index shorter than its count");
  }
  TableIndex index;
  index.blocks_.reserve(count);
  index.keys_.reserve(in.rest().size());
  BlockHandle handle;
  for (uint32_t i = 0; i < count; ++i) {
    std::string_view key;
    if (!in.GetLengthPrefixed(&key) || !in.GetVarint64(&handle.bytes)) {
      return io::Status::Corruption("table index does not parse");
    }
    if (key.size() < kKeyTrailerBytes ||
        (i > 0 && CompareInternal(index.last_key(i - 1), key) >= 0)) {
      return io::Status::Corruption("table index keys do not ascend");
    }
    if (handle.bytes == 0 || handle.bytes > kBlockBytesMax || handle.end() > data_bytes) {
      return io::Status::Corruption("table index block does not fit the file");
    }
    index.blocks_.push_back({handle.offset, static_cast<uint32_t>(handle.bytes),
                             static_cast<uint32_t>(index.keys_.size()),
                             static_cast<uint32_t>(key.size())});
    index.keys_ += key;
    handle.offset = handle.end();
  }
  if (!in.empty() || handle.offset != data_bytes) {
    return io::Status::Corruption("table index does not cover the file");
  }
  return index;
}

size_t TableIndex::FindBlock(std::string_view internal_key) const {
  size_t low = 0;
  size_t high = blocks_.size();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (CompareInternal(last_key(middle), internal_key) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

size_t TableIndex::FindUserKey(std::string_view user_key) const {
  size_t low = 0;
  size_t high = blocks_.size();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (UserKey(last_key(middle)) < user_key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace terracefs::lsm
