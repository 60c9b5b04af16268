#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fs/fuse/service.h"
#include "fs/mount_options.h"
#include "io/base/mutex.h"
#include "io/base/result.h"
#include "io/thread_pool.h"
#include "io/unique_fd.h"

struct fuse_session;

namespace terracefs::fs {

struct SessionOptions {
  std::string source;      // what /proc/mounts shows
  std::string mountpoint;  // absolute, without symbolic links
  MountOptions mount;
};

// Blocks the signals that ask for a clean unmount (SIGINT, SIGTERM, SIGHUP) in this thread and
// those it makes, so that Session::Serve can wait for them, and ignores SIGPIPE. Call before any
// thread exists.
void PrepareSignals();

// A mount and the libfuse session that serves it. Not thread-safe.
class Session {
 public:
  // Mounts. `service` is borrowed, and outlives the session. IoError or NotSupported say in one
  // line why it did not work.
  static io::Result<std::unique_ptr<Session>> Mount(const SessionOptions& options,
                                                    Service& service);
  // Unmounts if that has not happened yet.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Serves requests until the filesystem is unmounted, by whomever, or a signal asks for that.
  // `live` is called once, from another thread, as soon as the mount has answered a request; not at
  // all if it never does. All requests have been answered when this returns. Error: the transport
  // failed.
  io::Status Serve(const std::function<void()>& live);

 private:
  struct Destroy {
    void operator()(fuse_session* session) const;
  };

  Session(const SessionOptions& options, Service& service);
  io::Status Start();
  void NoteInit() EXCLUDES(mutex_);
  void InvalidateAttributes(InodeNumber ino);
  // Lets the kernel drop what it has cached of a file of `bytes` bytes that has just lost its last
  // name, before the request that took it is answered: otherwise whoever sent that does it and
  // waits, for half a second if it is 10 GiB.
  void DropCachedPages(InodeNumber ino, uint64_t bytes);
  void FlushPages(InodeNumber ino, uint64_t offset, uint64_t end);
  // Body of the thread that tells when the mount answers.
  void AwaitLife(const std::function<void()>& live) noexcept EXCLUDES(mutex_);
  // Body of the thread that waits for signals.
  void AwaitSignals() noexcept;
  // Unmounts as a user would: what is dirty in the kernel's cache still reaches us. If somebody
  // uses the mount, detaches it and ends the session under them.
  void UnmountBySignal();
  // False if `timeout_ms` passed before the loop ended.
  bool WaitForLoopEnd(int timeout_ms);

  const SessionOptions options_;
  Service& service_;
  std::unique_ptr<fuse_session, Destroy> session_;
  bool mounted_ = false;
  io::UniqueFd signals_;
  io::UniqueFd loop_ended_;  // an eventfd
  unsigned long main_thread_ = 0;

  io::Mutex mutex_;
  io::CondVar changed_;
  bool initialised_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;

  io::ThreadPool droppers_;  // the last member: its threads use the session
};

}  // namespace terracefs::fs
