#include "fs/store_lock.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "fs/mount_table.h"
#include "io/base/clock.h"
#include "io/base/log.h"
#include "io/unique_fd.h"
#include "lsm/file_names.h"

namespace terracefs::fs {
namespace {

// Between the end of a holder that cannot be waited for and the next look at its lock.
constexpr std::chrono::milliseconds kRetryInterval{20};

// A daemon notices that its mount is gone only a moment after everybody else, so its own word is
// not enough: the mount table of its namespace decides.
bool IsFinishing(const LockHolder& holder) {
  if (holder.state == HolderState::kUnmounting) return true;
  if (holder.state != HolderState::kMounted || holder.pid == 0) return false;
  const std::vector<MountEntry> mounts = ReadMountTable(holder.pid);
  if (mounts.empty()) return false;  // its /proc entry is not ours to read: believe what it says
  return std::none_of(mounts.begin(), mounts.end(), [&](const MountEntry& entry) {
    return entry.type == kMountType && entry.mountpoint == holder.mountpoint;
  });
}

io::Status BusyStatus(const LockHolder& holder, bool waited) {
  const std::string who = holder.pid != 0 ? fmt::format("process {}", holder.pid) : "a process";
  if (waited) {
    return io::Status::Busy(fmt::format("store is in use: {} has not finished its unmount from {}",
                                        who, holder.mountpoint));
  }
  switch (holder.state) {
    case HolderState::kMounted:
      return io::Status::Busy(
          fmt::format("store is already mounted at {} by {}", holder.mountpoint, who));
    case HolderState::kStarting:
      return io::Status::Busy(
          fmt::format("store is being mounted at {} by {}", holder.mountpoint, who));
    case HolderState::kFormatting:
      return io::Status::Busy(fmt::format("store is being formatted by {}", who));
    case HolderState::kUnmounting:
    case HolderState::kUnknown:
      break;
  }
  return io::Status::Busy(fmt::format("store is in use by {}", who));
}

// A reader that is finishing its unmount has nothing to finish.
constexpr std::chrono::milliseconds kReadersPatience{1000};

using LockResult = io::Result<std::unique_ptr<io::StorageLock>>;

LockResult AwaitLock(io::Storage& storage, std::chrono::milliseconds patience, bool shared) {
  const io::Clock& clock = io::SystemClock();
  const int64_t begin_ns = clock.SteadyNs();
  const auto left_of = [&](std::chrono::milliseconds whole) {
    return std::chrono::nanoseconds(whole) - std::chrono::nanoseconds(clock.SteadyNs() - begin_ns);
  };
  for (;;) {
    LockResult lock =
        shared ? storage.LockShared(lsm::kLockFileName) : storage.Lock(lsm::kLockFileName);
    if (lock.ok() || !lock.status().Is(io::StatusCode::kBusy)) return lock;
    if (!shared && storage.LockShared(lsm::kLockFileName).ok()) {
      // What the file says is of the last who held it alone, and so of none of these.
      if (left_of(std::min(patience, kReadersPatience)).count() <= 0) {
        return io::Status::Busy("store is mounted read-only by another process");
      }
      std::this_thread::sleep_for(kRetryInterval);
      continue;
    }
    const LockHolder holder = ReadLockHolder(storage);
    if (!IsFinishing(holder)) return BusyStatus(holder, false);
    const std::chrono::nanoseconds left = left_of(patience);
    if (left.count() <= 0) return BusyStatus(holder, true);
    WaitForExit(holder.pid, std::chrono::duration_cast<std::chrono::milliseconds>(left));
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(left, kRetryInterval));
  }
}

}  // namespace

bool WaitForExit(int pid, std::chrono::milliseconds patience) {
  const io::UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process.valid()) return true;
  pollfd waiting{process.get(), POLLIN, 0};
  const auto timeout_ms = std::clamp<int64_t>(patience.count(), 0, INT32_MAX);
  int ready = 0;
  do {
    ready = poll(&waiting, 1, static_cast<int>(timeout_ms));
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

io::Result<std::unique_ptr<io::StorageLock>> TakeStoreLock(io::Storage& storage,
                                                           std::chrono::milliseconds patience) {
  return AwaitLock(storage, patience, /*shared=*/false);
}

io::Result<std::unique_ptr<io::StorageLock>> TakeStoreLockToRead(
    io::Storage& storage, std::chrono::milliseconds patience) {
  LockResult lock = AwaitLock(storage, patience, /*shared=*/true);
  if (lock.ok() || !lock.status().Is(io::StatusCode::kNotFound)) return lock;
  io::FsLog().warn("the store has no {} file: nobody is kept from writing to it meanwhile",
                   lsm::kLockFileName);
  return std::unique_ptr<io::StorageLock>();
}

}  // namespace terracefs::fs
