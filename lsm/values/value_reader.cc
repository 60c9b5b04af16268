#include "lsm/values/value_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>

#include "io/base/crc32c.h"
#include "lsm/file_names.h"
#include "lsm/values/record_codec.h"

namespace terracefs::lsm {
namespace {

auto RecordKey(const ValueReference& reference) {
  return std::tie(reference.file, reference.page, reference.codec, reference.record_bytes,
                  reference.record_pages);
}

std::string PlaceOf(const ValueReference& reference) {
  return fmt::format("{} at byte {}", FileName(FileKind::kBlob, reference.file),
                     reference.page * kValuePageBytes);
}

}  // namespace

ValueReader::ValueReader(std::span<ValueFiles::ReadItem> items,
                         const ValueFiles::ReadSettings& settings, PagesInFlight* in_flight,
                         OpenFile open)
    : items_(items), settings_(settings), in_flight_(in_flight), open_(std::move(open)) {}

io::Status ValueReader::Read() {
  SortItems();
  GroupRecords();
  if (!settings_.cache_only) {
    ReadStretches();
  } else {
    for (const Record& record : records_) Fail(record, io::Status::WouldBlock());
  }
  for (const ValueFiles::ReadItem& item : items_) {
    if (!item.status.ok()) return item.status;
  }
  return io::Status::Ok();
}

void ValueReader::SortItems() {
  order_.resize(items_.size());
  for (size_t i = 0; i < items_.size(); ++i) {
    items_[i].status = io::Status::Ok();
    order_[i] = i;
  }
  const auto before = [this](size_t a, size_t b) {
    return RecordKey(items_[a].reference) < RecordKey(items_[b].reference);
  };
  if (!std::is_sorted(order_.begin(), order_.end(), before)) {
    std::sort(order_.begin(), order_.end(), before);
  }
}

// Memory first: what is not there any more has been written.
void ValueReader::GroupRecords() {
  for (size_t first = 0; first < order_.size();) {
    Record record{first, 1};
    while (first + record.count < order_.size() &&
           RecordKey(items_[order_[first + record.count]].reference) ==
               RecordKey(reference(record))) {
      ++record.count;
    }
    if (!CopyFromMemory(record)) records_.push_back(record);
    first += record.count;
  }
}

bool ValueReader::CopyFromMemory(const Record& record) {
  if (in_flight_ == nullptr) return false;
  const ValueReference& where = reference(record);
  if (where.codec == ValueCodec::kPlain) {
    std::byte* const out = items_[order_[record.first]].out;
    if (!in_flight_->ReadInFlight(where.file, where.page, out)) return false;
    Deliver(record, out);
    return true;
  }
  std::vector<std::byte> stored;
  for (uint64_t page = where.page; page < where.end_page(); ++page) {
    stored.resize(stored.size() + kValuePageBytes);
    std::byte* const out = stored.data() + stored.size() - kValuePageBytes;
    if (!in_flight_->ReadInFlight(where.file, page, out)) return false;
  }
  Deliver(record, stored.data());
  return true;
}

uint64_t ValueReader::StretchBytesMax() const {
  if (settings_.limiter == nullptr) return kRequestBytesMax;
  return std::min(kRequestBytesMax, settings_.limiter->RequestBytesMax());
}

std::vector<ValueReader::Stretch> ValueReader::PlanStretches() const {
  const uint64_t pages_max = StretchBytesMax() / kValuePageBytes;
  std::vector<Stretch> stretches;
  for (size_t i = 0; i < records_.size(); ++i) {
    const ValueReference& where = reference(records_[i]);
    if (!stretches.empty()) {
      Stretch& last = stretches.back();
      const uint64_t end_page = std::max(last.end_page, where.end_page());
      if (last.file == where.file && where.page <= last.end_page + kGapPagesMax &&
          end_page - last.page <= pages_max) {
        last.end_page = end_page;
        ++last.count;
        continue;
      }
    }
    stretches.push_back({where.file, where.page, where.end_page(), i, 1});
  }
  return stretches;
}

void ValueReader::ReadStretches() {
  for (const Stretch& stretch : PlanStretches()) {
    while (!requests_.empty() && request_bytes_ + stretch.bytes() > kInFlightBytesMax) {
      FinishOldest();
    }
    std::shared_ptr<io::File> file = TakeFile(stretch);
    if (file == nullptr) continue;
    if (settings_.limiter != nullptr) {
      Submit();  // nothing waits for another's tokens
      Acquire(stretch.bytes());
    }
    // Sizes that the buffers' pool keeps.
    Request& request = requests_.emplace_back();
    request.stretch = stretch;
    request.file = std::move(file);
    request.buffer = io::AlignedBuffer(std::bit_ceil(stretch.bytes()));
    request.io.kind = io::IoRequest::Kind::kRead;
    request.io.offset = stretch.page * kValuePageBytes;
    request.io.data = request.buffer.data();
    request.io.bytes = stretch.bytes();
    request_bytes_ += stretch.bytes();
    unsubmitted_.push_back(&request.io);
  }
  while (!requests_.empty()) FinishOldest();
}

// Null if it cannot be opened; the stretch has failed then.
std::shared_ptr<io::File> ValueReader::TakeFile(const Stretch& stretch) {
  if (!requests_.empty() && requests_.back().stretch.file == stretch.file) {
    return requests_.back().file;
  }
  Submit();
  auto file = open_(stretch.file);
  if (file.ok()) return std::move(file).value();
  Fail(stretch, file.status());
  return nullptr;
}

// All that wait for it are of the file of the last one.
void ValueReader::Submit() {
  if (unsubmitted_.empty()) return;
  requests_.back().file->Start(unsubmitted_);
  unsubmitted_.clear();
}

void ValueReader::FinishOldest() {
  Submit();
  Request& request = requests_.front();
  const Stretch& stretch = request.stretch;
  const io::Status status = request.file->Wait(request.io);
  if (status.ok()) {
    for (size_t i = stretch.first; i < stretch.first + stretch.count; ++i) {
      const uint64_t page = reference(records_[i]).page - stretch.page;
      Deliver(records_[i], request.buffer.data() + page * kValuePageBytes);
    }
  } else if (stretch.count == 1) {
    Fail(stretch, status);
  } else {
    ReadOneByOne(request);
  }
  request_bytes_ -= stretch.bytes();
  requests_.pop_front();
}

// A page that cannot be read must not take its neighbours with it.
void ValueReader::ReadOneByOne(const Request& request) {
  for (size_t i = request.stretch.first; i < request.stretch.first + request.stretch.count; ++i) {
    const ValueReference& where = reference(records_[i]);
    const uint64_t bytes = where.stored_pages() * kValuePageBytes;
    Acquire(bytes);
    const io::Status status =
        request.file->ReadFull(where.page * kValuePageBytes, {request.buffer.data(), bytes});
    if (status.ok()) {
      Deliver(records_[i], request.buffer.data());
    } else {
      Fail(records_[i], status);
    }
  }
}

void ValueReader::Acquire(uint64_t bytes) const {
  if (settings_.limiter != nullptr) settings_.limiter->Acquire(bytes, settings_.priority);
}

// `stored` is the record as it lies in the file; it may be where the first item wants its value.
void ValueReader::Deliver(const Record& record, const std::byte* stored) {
  const ValueReference& where = reference(record);
  std::string text;
  const std::byte* pages = stored;
  if (where.codec == ValueCodec::kZstd) {
    const io::Status status =
        UncompressRecord(where, {stored, where.stored_pages() * kValuePageBytes}, &text);
    if (!status.ok()) {
      Fail(record, io::Status::Corruption(status.message(), PlaceOf(where)));
      return;
    }
    pages = io::AsBytes(text).data();
  }
  for (size_t i = record.first; i < record.first + record.count; ++i) {
    ValueFiles::ReadItem& item = items_[order_[i]];
    const std::byte* const page = pages + item.reference.index * kValuePageBytes;
    if (item.out != page) std::memcpy(item.out, page, kValuePageBytes);
    Check(item);
  }
}

void ValueReader::Check(ValueFiles::ReadItem& item) const {
  const uint32_t crc = io::Crc32c({item.out, kValuePageBytes});
  if (crc == item.reference.crc) return;
  item.status = io::Status::Corruption(
      fmt::format("value has crc {:#010x}, expected {:#010x}", crc, item.reference.crc),
      PlaceOf(item.reference));
}

void ValueReader::Fail(const Record& record, const io::Status& status) {
  for (size_t i = record.first; i < record.first + record.count; ++i) {
    items_[order_[i]].status = status;
  }
}

void ValueReader::Fail(const Stretch& stretch, const io::Status& status) {
  for (size_t i = stretch.first; i < stretch.first + stretch.count; ++i) {
    Fail(records_[i], status);
  }
}

}  // namespace terracefs::lsm
