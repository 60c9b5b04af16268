#include "fs/fuse/dispatch.h"

#include <pthread.h>

namespace terracefs::fs {
namespace {

struct RingThread {
  Service* service = nullptr;
  // libfuse cancels the threads of its rings when the session ends, and being cancelled while
  // waiting here would end the process: with writes that nothing has made durable.
  ~RingThread() {
    if (service == nullptr) return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    service->WaitForDeferred();
  }
};
thread_local RingThread ring_thread;

struct ThreadMemory {
  std::unique_ptr<std::byte[]> data;
  size_t bytes = 0;
};
thread_local ThreadMemory thread_memory;

}  // namespace

TransportScope::TransportScope(Service& service, bool over_uring) : over_uring_(over_uring) {
  if (!over_uring_) return;  // libfuse itself keeps its other threads from being cancelled here
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state_);
  ring_thread.service = &service;
}

TransportScope::~TransportScope() {
  if (over_uring_) pthread_setcancelstate(cancel_state_, nullptr);
}

OpContext ContextOf(fuse_req_t request) {
  const fuse_ctx* const caller = fuse_req_ctx(request);
  OpContext context;
  context.uid = caller->uid;
  context.gid = caller->gid;
  context.pid = static_cast<uint32_t>(caller->pid);
  context.umask = caller->umask;
  return context;
}

io::MutableBytes AnswerMemory([[maybe_unused]] fuse_req_t request, size_t bytes) {
#if TERRACEFS_LIBFUSE_HAS_URING
  char* payload = nullptr;
  size_t payload_bytes = 0;
  if (fuse_req_is_uring(request) &&
      fuse_req_get_payload(request, &payload, &payload_bytes, nullptr) == 0 &&
      payload_bytes >= bytes) {
    return {reinterpret_cast<std::byte*>(payload), bytes};
  }
#endif
  if (thread_memory.bytes < bytes) {
    // Not zeroed: only what a filesystem operation has written is sent.
    thread_memory.data.reset(new std::byte[bytes]);
    thread_memory.bytes = bytes;
  }
  return {thread_memory.data.get(), bytes};
}

}  // namespace terracefs::fs
