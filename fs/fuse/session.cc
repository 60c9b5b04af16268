#include "fs/fuse/session.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "fs/fuse/fuse_log.h"
#include "fs/fuse/mount_arguments.h"
#include "fs/fuse/ops.h"
#include "fs/mount_table.h"
#include "fs/unmount.h"
#include "io/base/check.h"
#include "io/base/log.h"
#include "io/base/units.h"

namespace terracefs::fs {
namespace {

constexpr unsigned kReadAheadKib = 1024;
// Threads that read /dev/fuse. None of them ever waits for the disk, so more than there are CPUs
// only take turns waking up (fewer gave 1.6 times the stats with two clients on two CPUs).
constexpr unsigned kDeviceThreadsMin = 2;
constexpr unsigned kDeviceThreadsMax = 16;
constexpr int kWakeSignal = SIGUSR1;  // ends a system call of the loop's thread, nothing else
constexpr int kWakeIntervalMs = 100;
constexpr int kLoopEndPatienceMs = 5000;
// Smaller files are gone from the kernel's cache within milliseconds.
constexpr uint64_t kDroppedBytesMin = 64 * io::kMiB;
constexpr size_t kDropperThreads = 4;
constexpr int kDropWaits = 5;
constexpr std::chrono::microseconds kDropWait{200};

sigset_t UnmountSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

// Files that are mapped and dirty come to us as writes.
void FlushKernelCache(const std::string& mountpoint) {
  const io::UniqueFd root(open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid() || syncfs(root.get()) != 0) {
    io::FsLog().warn("cannot flush the kernel's cache: {}", std::strerror(errno));
  }
}

// Read-ahead starts at 128 KiB whatever FUSE_INIT agreed on; only root can raise it.
void RaiseReadAhead(const std::string& mountpoint) {
  const std::optional<MountEntry> mount = FindMount(mountpoint);
  if (!mount || mount->type != kMountType) return;
  const std::string path = "/sys/class/bdi/" + mount->device + "/read_ahead_kb";
  std::ofstream file(path);
  file << kReadAheadKib;
  file.close();
  if (!file) io::FsLog().debug("read-ahead stays as it is: {} is not to be written", path);
}

io::Status MountFailure(const StderrCapture& capture) {
  std::string reason = TakeLibfuseError();
  const std::string said = capture.LastLine();  // fusermount3 knows more than libfuse
  if (!said.empty()) reason = said;
  if (reason.starts_with("fuse: ")) reason.erase(0, strlen("fuse: "));
  if (reason.empty()) reason = "the kernel refused without a reason";
  return io::Status::IoError(reason, {}, 0);
}

}  // namespace

void PrepareSignals() {
  const sigset_t set = UnmountSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART: the interruption is all it is for
  sigaction(kWakeSignal, &action, nullptr);
}

void Session::Destroy::operator()(fuse_session* session) const { fuse_session_destroy(session); }

Session::Session(const SessionOptions& options, Service& service)
    : options_(options), service_(service), droppers_("fs-drop", kDropperThreads, SIZE_MAX) {}

io::Result<std::unique_ptr<Session>> Session::Mount(const SessionOptions& options,
                                                    Service& service) {
  auto session = std::unique_ptr<Session>(new Session(options, service));
  TRY(session->Start());
  return session;
}

io::Status Session::Start() {
  RouteLibfuseLog();
  const sigset_t set = UnmountSignals();
  signals_ = io::UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
  loop_ended_ = io::UniqueFd(eventfd(0, EFD_CLOEXEC));
  if (!signals_.valid() || !loop_ended_.valid()) {
    return io::Status::IoError("cannot wait for signals", {}, errno);
  }
  const Transport transport = TRY(ChooseTransport(options_.mount.transport));
  std::vector<std::string> texts = FuseArguments(options_, transport, geteuid() == 0);
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());

  service_.on_init = [this] { NoteInit(); };
  service_.invalidate_attributes = [this](InodeNumber ino) { InvalidateAttributes(ino); };
  // With the write-back cache it would write what is dirty, instead of forgetting it.
  if (!options_.mount.writeback) {
    service_.targets().file_system.SetUnlinkObserver(
        [this](InodeNumber ino, uint64_t bytes) { DropCachedPages(ino, bytes); });
  }
  service_.flush_pages = [this](InodeNumber ino, uint64_t offset, uint64_t end) {
    FlushPages(ino, offset, end);
  };
  const StderrCapture capture;
  session_.reset(fuse_session_new(&arguments, &Operations(), sizeof(fuse_lowlevel_ops), &service_));
  fuse_opt_free_args(&arguments);
  if (session_ == nullptr) return MountFailure(capture);
  if (fuse_session_mount(session_.get(), options_.mountpoint.c_str()) != 0) {
    return MountFailure(capture);
  }
  mounted_ = true;
  TakeLibfuseError();
  return io::Status::Ok();
}

Session::~Session() {
  // Does nothing if the kernel has ended the connection already.
  if (mounted_) fuse_session_unmount(session_.get());
  service_.on_init = nullptr;
  service_.invalidate_attributes = nullptr;
  service_.targets().file_system.SetUnlinkObserver(nullptr);
  service_.flush_pages = nullptr;
}

void Session::NoteInit() {
  io::MutexLock lock(mutex_);
  initialised_ = true;
  changed_.NotifyAll();
}

void Session::InvalidateAttributes(InodeNumber ino) {
  // A negative offset: the attributes only, no cached pages, whose locks a write may hold. Then the
  // kernel waits for nothing that we would have to answer.
  const int error = fuse_lowlevel_notify_inval_inode(session_.get(), ino.value, -1, 0);
  if (error == 0 || error == -ENOENT) return;  // the kernel has forgotten it: just as well
  io::FsLog().warn("the kernel keeps old attributes of inode {}: {}", ino.value,
                   std::strerror(-error));
}

void Session::DropCachedPages(InodeNumber ino, uint64_t bytes) {
  if (bytes < kDroppedBytesMin) return;
  const auto begun = std::make_shared<std::atomic<bool>>(false);
  droppers_.Submit([this, ino, begun] {
    begun->store(true);
    // The kernel holds the inode meanwhile, so the last reference goes in this thread. An error
    // means that it has gone already.
    fuse_lowlevel_notify_inval_inode(session_.get(), ino.value, 0, 0);
  });
  // Nothing says when the kernel has got so far. If this is too short, the request only takes as
  // long as it would have anyway.
  for (int i = 0; i < kDropWaits && !begun->load(); ++i) std::this_thread::sleep_for(kDropWait);
  std::this_thread::sleep_for(kDropWait);
}

void Session::FlushPages(InodeNumber ino, uint64_t offset, uint64_t end) {
  const int error =
      fuse_lowlevel_notify_inval_inode(session_.get(), ino.value, static_cast<off_t>(offset),
                                       end == 0 ? 0 : static_cast<off_t>(end - offset));
  if (error == 0 || error == -ENOENT) return;
  io::FsLog().warn("the kernel may keep dirty pages of inode {}: {}", ino.value,
                   std::strerror(-error));
}

void Session::AwaitLife(const std::function<void()>& live) noexcept {
  io::SetThreadName("fs-live");
  {
    io::MutexLock lock(mutex_);
    while (!initialised_ && !ended_) changed_.Wait(mutex_);
    if (!initialised_) return;
  }
  // An answer also proves that the kernel has taken in what FUSE_INIT agreed on. If the mount is
  // ended meanwhile, the call fails with it.
  struct statvfs ignored {};
  if (statvfs(options_.mountpoint.c_str(), &ignored) != 0) {
    io::FsLog().error("the mount does not answer: {}", std::strerror(errno));
    kill(getpid(), SIGTERM);  // what serves nobody ends
    return;
  }
  RaiseReadAhead(options_.mountpoint);
  live();
}

bool Session::WaitForLoopEnd(int timeout_ms) {
  pollfd waiting{loop_ended_.get(), POLLIN, 0};
  return poll(&waiting, 1, timeout_ms) > 0;
}

void Session::AwaitSignals() noexcept {
  io::SetThreadName("fs-signal");
  std::array<pollfd, 2> waiting = {pollfd{signals_.get(), POLLIN, 0},
                                   pollfd{loop_ended_.get(), POLLIN, 0}};
  for (;;) {
    if (poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[1].revents != 0) return;
    if (waiting[0].revents == 0) continue;
    signalfd_siginfo signal{};
    if (read(signals_.get(), &signal, sizeof signal) != sizeof signal) continue;
    io::FsLog().info("unmounting {}: signal {} from process {}", options_.mountpoint,
                     signal.ssi_signo, signal.ssi_pid);
    UnmountBySignal();
    return;
  }
}

void Session::UnmountBySignal() {
  const io::Status unmounted = Unmount(options_.mountpoint, /*lazily=*/false);
  if (unmounted.ok()) {
    // The kernel ends the connection, and with it the loop, unless another mount namespace holds on
    // to the filesystem.
    if (WaitForLoopEnd(kLoopEndPatienceMs)) return;
    io::FsLog().warn("{} is mounted elsewhere too: ending it; whoever uses it gets errors",
                     options_.mountpoint);
  } else {
    io::FsLog().warn("cannot unmount {} ({}): detaching it; whoever uses it gets errors",
                     options_.mountpoint, unmounted.message());
    FlushKernelCache(options_.mountpoint);
    Unmount(options_.mountpoint, /*lazily=*/true)
        .IgnoreError("the session ends in any case, and the mount is dead then");
  }
  // Libfuse before 3.17 does not wake the loop when it is told to end, and a signal may come
  // between its look at the flag and its sleep: hence more than once.
  do {
    fuse_session_exit(session_.get());
    pthread_kill(main_thread_, kWakeSignal);
  } while (!WaitForLoopEnd(kWakeIntervalMs));
}

io::Status Session::Serve(const std::function<void()>& live) {
  main_thread_ = pthread_self();
  std::thread life([this, &live] { AwaitLife(live); });
  std::thread signals([this] { AwaitSignals(); });

  fuse_loop_config* const config = fuse_loop_cfg_create();
  CHECK(config != nullptr);
  fuse_loop_cfg_set_clone_fd(config, 0);
  fuse_loop_cfg_set_max_threads(config, std::clamp(std::thread::hardware_concurrency(),
                                                   kDeviceThreadsMin, kDeviceThreadsMax));
  const int outcome = fuse_session_loop_mt(session_.get(), config);
  fuse_loop_cfg_destroy(config);

  service_.WaitForDeferred();
  // Ends the connection if the kernel has not: a call that waits for the mount must not be
  // waited for.
  fuse_session_unmount(session_.get());
  mounted_ = false;
  {
    io::MutexLock lock(mutex_);
    ended_ = true;
    changed_.NotifyAll();
  }
  eventfd_write(loop_ended_.get(), 1);
  life.join();
  signals.join();
  // Positive: a signal, which asked for just this.
  if (outcome < 0) return io::Status::IoError("the fuse transport failed", {}, -outcome);
  return io::Status::Ok();
}

}  // namespace terracefs::fs
