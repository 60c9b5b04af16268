#include "io/sequential_writer.h"

#include <algorithm>
#include <cstring>

#include "io/base/check.h"
#include "io/base/units.h"

namespace terracefs::io {

SequentialWriter::SequentialWriter(File& file, RateLimiter* limiter, IoPriority priority)
    : file_(file), limiter_(limiter), priority_(priority) {}

SequentialWriter::~SequentialWriter() {
  for (Slot& slot : slots_) WaitFor(slot).IgnoreError("the file was given up or is finished");
}

Status SequentialWriter::Append(std::string_view data) {
  while (!data.empty()) {
    if (!error_.ok()) return error_;
    Slot& slot = slots_[current_];
    // Memory is taken when it is needed: most small files never fill their first buffer.
    if (slot.buffer.empty()) slot.buffer = AlignedBuffer(kBufferBytes);
    if (used_bytes_ == 0) request_bytes_ = RequestBytes();
    const size_t bytes = std::min(data.size(), request_bytes_ - used_bytes_);
    std::memcpy(slot.buffer.data() + used_bytes_, data.data(), bytes);
    used_bytes_ += bytes;
    offset_ += bytes;
    data.remove_prefix(bytes);
    if (used_bytes_ == request_bytes_) {
      if (Status status = SubmitCurrent(); !status.ok()) return status;
    }
  }
  return error_;
}

// A slow limiter lets little through at a time.
size_t SequentialWriter::RequestBytes() const {
  if (limiter_ == nullptr) return kBufferBytes;
  const uint64_t bytes = std::min<uint64_t>(kBufferBytes, limiter_->RequestBytesMax());
  return bytes / kDirectAlignment * kDirectAlignment;
}

Status SequentialWriter::Finish() {
  if (used_bytes_ > 0 && error_.ok()) {
    SubmitCurrent().IgnoreError("kept in error_, and waited for below");
  }
  for (Slot& slot : slots_) WaitFor(slot).IgnoreError("kept in error_");
  if (!error_.ok()) return error_;
  error_ = CutToLength();
  if (error_.ok()) error_ = file_.Sync();
  return error_;
}

// Asks for the size instead of trusting our padding alone: the caller may have preallocated.
Status SequentialWriter::CutToLength() {
  const uint64_t size_bytes = TRY(file_.SizeBytes());
  return size_bytes == offset_ ? Status::Ok() : file_.Truncate(offset_);
}

// Sends the current buffer off and makes the next one free. The rest of a buffer that is not full
// is written as zeros up to the alignment, and cut off by Finish.
Status SequentialWriter::SubmitCurrent() {
  Slot& slot = slots_[current_];
  const size_t bytes = RoundUp(used_bytes_, kDirectAlignment);
  std::memset(slot.buffer.data() + used_bytes_, 0, bytes - used_bytes_);
  if (limiter_ != nullptr) limiter_->Acquire(bytes, priority_);

  slot.request = IoRequest{};
  slot.request.kind = IoRequest::Kind::kWrite;
  slot.request.offset = written_offset_;
  slot.request.data = slot.buffer.data();
  slot.request.bytes = bytes;
  IoRequest* const requests[] = {&slot.request};
  file_.Start(requests);
  slot.in_flight = true;

  written_offset_ += bytes;
  used_bytes_ = 0;
  current_ = (current_ + 1) % kBufferCount;
  return WaitFor(slots_[current_]);
}

// The first error is kept: those after it are mostly its consequences.
Status SequentialWriter::WaitFor(Slot& slot) {
  if (slot.in_flight) {
    slot.in_flight = false;
    Status status = file_.Wait(slot.request);
    if (error_.ok()) error_ = std::move(status);
  }
  return error_;
}

}  // namespace terracefs::io
