#include "fs/daemon.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "fs/control/control.h"
#include "fs/control/op_stats.h"
#include "fs/fuse/service.h"
#include "fs/fuse/session.h"
#include "fs/store.h"
#include "io/base/log.h"

namespace terracefs::fs {
namespace {

// Takes all the file descriptors that are to be had, and says how many tables may use: the more
// stay open, the fewer have to be opened for a read, but their indexes take memory.
size_t OpenTableCountMax() {
  constexpr rlim_t kOtherDescriptors = 128;
  constexpr rlim_t kLeast = 16;
  constexpr rlim_t kMost = 4096;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kLeast;
  rlimit raised{limit.rlim_max, limit.rlim_max};
  if (limit.rlim_cur < limit.rlim_max && setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  // Compactions open tables beside the cache's.
  const rlim_t half =
      limit.rlim_cur > kOtherDescriptors ? (limit.rlim_cur - kOtherDescriptors) / 2 : rlim_t{0};
  return std::clamp(half, kLeast, kMost);
}

io::Result<std::unique_ptr<Store>> OpenStore(const DaemonOptions& options) {
  OpenStoreOptions open;
  open.io = options.mount.io;
  open.mountpoint = options.mountpoint;
  open.file_system.read_only = options.mount.read_only;
  open.file_system.atime = options.mount.atime;
  ApplyToEngine(options.mount, &open.engine);
  open.engine.open_table_count_max = OpenTableCountMax();
  return Store::Open(options.store_path, open);
}

// From the opened store to the end of the mount.
io::Status ServeStore(const DaemonOptions& options, Store& store,
                      const std::function<void()>& live) {
  const io::Clock& clock = io::SystemClock();
  const auto op_stats = std::make_unique<OpStats>();
  Control control(
      {store.file_system(), store.db(), store.storage(), *op_stats, clock},
      {.store_path = options.store_path, .owner_uid = getuid(), .mount = options.mount});
  Service service({.file_system = store.file_system(),
                   .db = store.db(),
                   .control = control,
                   .op_stats = *op_stats,
                   .clock = clock,
                   .read_only = options.mount.read_only,
                   .writeback = options.mount.writeback,
                   .acl = options.mount.acl,
                   .sync_names = options.mount.sync || options.mount.dirsync,
                   .sync_attributes = options.mount.sync});
  const SessionOptions session_options{options.store_path, options.mountpoint, options.mount};
  const std::unique_ptr<Session> session = TRY(Session::Mount(session_options, service));
  store.SetHolderState(HolderState::kMounted);
  const io::Status status = session->Serve([&] {
    io::FsLog().info("mounted {} ({}) at {}", options.store_path, store.identity().uuid,
                     options.mountpoint);
    live();
  });
  store.SetHolderState(HolderState::kUnmounting);
  if (!status.ok()) io::FsLog().error("serving {}: {}", options.mountpoint, status.ToString());
  control.Shutdown();
  return status;
}

}  // namespace

io::Status RunDaemon(const DaemonOptions& options, const std::function<void()>& live) {
  const std::unique_ptr<Store> store = TRY(OpenStore(options));
  const io::Status served = ServeStore(options, *store, live);
  const io::Status closed = store->Close();
  if (!closed.ok()) {
    io::FsLog().error("closing {}: {}", options.store_path, closed.ToString());
  } else if (served.ok()) {
    io::FsLog().info("unmounted {}", options.mountpoint);
  }
  return served.ok() ? closed : served;
}

}  // namespace terracefs::fs
