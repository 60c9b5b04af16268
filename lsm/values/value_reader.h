#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "io/aligned_buffer.h"
#include "io/storage.h"
#include "lsm/values/value_files.h"

namespace terracefs::lsm {

// One ValueFiles::Read. Used once, by one thread.
class ValueReader {
 public:
  // Records with no more pages than this between them are read together: that costs less than
  // another request.
  static constexpr uint64_t kGapPagesMax = 8;
  static constexpr uint64_t kRequestBytesMax = 2 << 20;
  static constexpr uint64_t kInFlightBytesMax = 16 << 20;

  using OpenFile = std::function<io::Result<std::shared_ptr<io::File>>(FileNumber)>;
  // `in_flight` may be null.
  ValueReader(std::span<ValueFiles::ReadItem> items, const ValueFiles::ReadSettings& settings,
              PagesInFlight* in_flight, OpenFile open);
  io::Status Read();

 private:
  // A record and the items it serves: order_[first, first + count).
  struct Record {
    size_t first = 0;
    size_t count = 0;
  };
  // What one request reads: records_[first, first + count).
  struct Stretch {
    FileNumber file = 0;
    uint64_t page = 0;
    uint64_t end_page = 0;
    size_t first = 0;
    size_t count = 0;

    uint64_t bytes() const { return (end_page - page) * kValuePageBytes; }
  };
  struct Request {
    Stretch stretch;
    std::shared_ptr<io::File> file;
    io::AlignedBuffer buffer;
    io::IoRequest io;
  };

  void SortItems();
  void GroupRecords();
  bool CopyFromMemory(const Record& record);
  std::vector<Stretch> PlanStretches() const;
  uint64_t StretchBytesMax() const;
  void ReadStretches();
  std::shared_ptr<io::File> TakeFile(const Stretch& stretch);
  void Submit();
  void FinishOldest();
  void ReadOneByOne(const Request& request);
  void Acquire(uint64_t bytes) const;
  void Deliver(const Record& record, const std::byte* stored);
  void Check(ValueFiles::ReadItem& item) const;
  void Fail(const Record& record, const io::Status& status);
  void Fail(const Stretch& stretch, const io::Status& status);

  const ValueReference& reference(const Record& record) const {
    return items_[order_[record.first]].reference;
  }

  const std::span<ValueFiles::ReadItem> items_;
  const ValueFiles::ReadSettings& settings_;
  PagesInFlight* const in_flight_;
  const OpenFile open_;
  std::vector<size_t> order_;     // items by place
  std::vector<Record> records_;   // that have to be read from disk
  std::deque<Request> requests_;  // submitted, apart from the last unsubmitted_.size() ones
  std::vector<io::IoRequest*> unsubmitted_;  // all of one file
  uint64_t request_bytes_ = 0;               // sum over requests_
};

}  // namespace terracefs::lsm
