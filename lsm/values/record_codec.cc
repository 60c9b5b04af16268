#include "lsm/values/record_codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/base/check.h"
#include "io/base/crc32c.h"
#include "io/base/units.h"
#include "lsm/compression.h"

namespace terracefs::lsm {
namespace {

// Only to see whether a run is worth a try.
constexpr int kProbeLevel = 1;

// False if the run does not get smaller by a page.
bool CompressRun(std::span<const std::string_view> run, int zstd_level, ValueRecord* record) {
  if (run.size() < 2) return false;
  std::string frame;
  if (!Compress(run[0], kProbeLevel, &frame)) return false;
  std::string text;
  text.reserve(run.size() * kValuePageBytes);
  for (const std::string_view page : run) text.append(page);
  if (!CompressWithin(text, zstd_level, (run.size() - 1) * kValuePageBytes, &frame)) return false;
  record->codec = ValueCodec::kZstd;
  record->page_count = static_cast<uint8_t>(run.size());
  record->bytes = static_cast<uint32_t>(frame.size());
  frame.resize(io::RoundUp(frame.size(), kValuePageBytes), '\0');
  record->stored = std::move(frame);
  return true;
}

}  // namespace

std::vector<ValueRecord> MakeValueRecords(std::span<const std::string_view> pages, int zstd_level) {
  for (const std::string_view page : pages) CHECK(page.size() == kValuePageBytes);
  if (zstd_level == 0) return std::vector<ValueRecord>(pages.size());
  std::vector<ValueRecord> records;
  for (size_t first = 0; first < pages.size(); first += kRecordPagesMax) {
    const auto run = pages.subspan(first, std::min(kRecordPagesMax, pages.size() - first));
    ValueRecord record;
    if (CompressRun(run, zstd_level, &record)) {
      records.push_back(std::move(record));
    } else {
      records.resize(records.size() + run.size());
    }
  }
  return records;
}

void AppendReferences(const ValueRecord& record, std::span<const std::string_view> pages,
                      FileNumber file, uint64_t page, std::vector<ValueReference>* references) {
  ValueReference reference;
  reference.file = file;
  reference.page = page;
  reference.codec = record.codec;
  reference.record_bytes = record.bytes;
  reference.record_pages = record.page_count;
  for (size_t index = 0; index < record.page_count; ++index) {
    reference.index = static_cast<uint8_t>(index);
    reference.crc = io::Crc32c(io::AsBytes(pages[index]));
    references->push_back(reference);
  }
}

io::Status UncompressRecord(const ValueReference& reference, io::Bytes stored, std::string* pages) {
  const size_t expected = reference.record_pages * kValuePageBytes;
  const std::string_view frame = io::AsView(stored).substr(0, reference.record_bytes);
  TRY(Uncompress(frame, expected, pages));
  if (pages->size() == expected) return io::Status::Ok();
  return io::Status::Corruption(
      fmt::format("record has {} bytes, expected {}", pages->size(), expected));
}

}  // namespace terracefs::lsm
