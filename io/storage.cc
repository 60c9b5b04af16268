#include "io/storage.h"

#include "io/base/check.h"

namespace terracefs::io {
namespace {

Status RunOne(File& file, IoRequest& request) {
  IoRequest* const list[] = {&request};
  file.Start(list);
  return file.Wait(request);
}

// Its address names the thread: no call into the kernel, and never zero.
thread_local const char kThreadMark = 0;

bool IsAligned(const IoRequest& request) {
  return request.offset % kDirectAlignment == 0 && request.bytes % kDirectAlignment == 0 &&
         reinterpret_cast<uintptr_t>(request.data) % kDirectAlignment == 0;
}

}  // namespace

void File::Prepare(std::span<IoRequest* const> requests) const {
  IoRequest* previous = nullptr;
  for (IoRequest* request : requests) {
    CHECK(!request->in_flight);
    if (request->kind != IoRequest::Kind::kSync) {
      CHECK(request->data != nullptr || request->bytes == 0);
      CHECK(!direct_ || IsAligned(*request));
    }
    request->status = Status::Ok();
    request->done = false;
    request->sync_owed = false;
    request->stalled_count = 0;
    request->transferred_bytes = 0;
    request->backend_file = nullptr;
    request->starter = &kThreadMark;
    request->linked = nullptr;
    request->follows = previous != nullptr && previous->link_next;
    if (request->follows) previous->linked = request;
    previous = request;
  }
}

void File::CheckStartedHere(const IoRequest& request) { CHECK(request.starter == &kThreadMark); }

Status File::ReadFull(uint64_t offset, MutableBytes out) {
  if (out.empty()) return Status::Ok();
  IoRequest request;
  request.kind = IoRequest::Kind::kRead;
  request.offset = offset;
  request.data = out.data();
  request.bytes = out.size();
  return RunOne(*this, request);
}

Status File::Write(uint64_t offset, Bytes data) {
  if (data.empty()) return Status::Ok();
  IoRequest request;
  request.kind = IoRequest::Kind::kWrite;
  request.offset = offset;
  request.data = const_cast<std::byte*>(data.data());
  request.bytes = data.size();
  return RunOne(*this, request);
}

Status File::WriteDurable(uint64_t offset, Bytes data) {
  if (data.empty()) return Sync();
  IoRequest request;
  request.kind = IoRequest::Kind::kWrite;
  request.durable = true;
  request.offset = offset;
  request.data = const_cast<std::byte*>(data.data());
  request.bytes = data.size();
  return RunOne(*this, request);
}

Status File::Sync() {
  IoRequest request;
  request.kind = IoRequest::Kind::kSync;
  return RunOne(*this, request);
}

}  // namespace terracefs::io
