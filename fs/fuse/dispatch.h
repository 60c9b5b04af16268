#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "fs/fuse/reply.h"
#include "fs/fuse/service.h"

namespace terracefs::fs {

// One request while it is worked on.
struct Call {
  Service& service;
  FileSystem& file_system;
  OpContext context;
  Reply reply;
};

// A request's thread as libfuse knows it. While one exists, the thread cannot be cancelled: libfuse
// ends ring threads by pthread_cancel, and no C++ frame of ours survives that. A ring thread that
// has ever had one waits, when it ends, until all deferred requests have been answered, because
// libfuse frees the rings' memory, which the answers need, as soon as the ring threads are gone.
class TransportScope {
 public:
  TransportScope(Service& service, bool over_uring);
  ~TransportScope();
  TransportScope(const TransportScope&) = delete;
  TransportScope& operator=(const TransportScope&) = delete;

 private:
  const bool over_uring_;
  int cancel_state_ = 0;
};

// The caller, as the filesystem wants to know it.
OpContext ContextOf(fuse_req_t request);
// Memory for an answer of up to `bytes`, good until the request is answered or, on this thread,
// until the next call: the ring's own, which saves a copy, or one that belongs to the thread.
io::MutableBytes AnswerMemory(fuse_req_t request, size_t bytes);

namespace dispatch_internal {

// What a deferred request keeps of its arguments, which libfuse takes back when the callback
// returns.
inline std::string Keep(std::string_view text) { return std::string(text); }
inline std::vector<std::byte> Keep(io::Bytes bytes) { return {bytes.begin(), bytes.end()}; }
template <typename T>
T Keep(const T& value) {
  return value;
}

template <typename Attempt, typename... Kept>
void DeferAttempt(Call call, Attempt attempt, Kept... kept) {
  struct Deferred {
    Call call;
    std::tuple<Kept...> arguments;
  };
  Service& service = call.service;
  call.context.may_wait = true;
  // Shared only because a std::function has to be copyable.
  auto deferred = std::make_shared<Deferred>(
      Deferred{std::move(call), std::tuple<Kept...>(std::move(kept)...)});
  service.Defer([deferred = std::move(deferred), attempt] {
    std::apply([&](const auto&... arguments) { attempt(deferred->call, arguments...); },
               deferred->arguments);
  });
}

}  // namespace dispatch_internal

inline Call MakeCall(fuse_req_t request, Op op) {
  Service& service = *static_cast<Service*>(fuse_req_userdata(request));
  const ServiceTargets& targets = service.targets();
  return {service, targets.file_system, ContextOf(request),
          Reply(request, op, targets.op_stats, targets.clock)};
}

// Answers a request in place if that needs no waiting, otherwise from a thread of the pool.
// `attempt` is called as attempt(call, arguments...) and returns true once it has answered; false
// means that it would have had to wait, and that nothing has happened. It must not refer to
// anything but its parameters.
template <typename Attempt, typename... Arguments>
void Serve(fuse_req_t request, Op op, Attempt attempt, Arguments... arguments) noexcept {
  Call call = MakeCall(request, op);
  call.context.may_wait = false;
  const TransportScope scope(call.service, call.reply.over_uring());
  if (attempt(call, arguments...)) return;
  dispatch_internal::DeferAttempt(std::move(call), attempt, dispatch_internal::Keep(arguments)...);
}

// Answers a request from a thread of the pool in any case.
template <typename Attempt, typename... Arguments>
void ServeLater(fuse_req_t request, Op op, Attempt attempt, Arguments... arguments) noexcept {
  Call call = MakeCall(request, op);
  const TransportScope scope(call.service, call.reply.over_uring());
  dispatch_internal::DeferAttempt(std::move(call), attempt, dispatch_internal::Keep(arguments)...);
}

// Answers a request with what is known without asking the filesystem.
template <typename Answer>
void ServeNow(fuse_req_t request, Op op, Answer answer) noexcept {
  Call call = MakeCall(request, op);
  const TransportScope scope(call.service, call.reply.over_uring());
  answer(call);
}

// True if the attempt has to be made again by a thread that may wait.
inline bool MustWait(const Call& call, const io::Status& status) {
  return status.Is(io::StatusCode::kWouldBlock) && !call.context.may_wait;
}

}  // namespace terracefs::fs
