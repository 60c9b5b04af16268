#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "fs/control/ioctl.h"
#include "fs/control/jobs.h"
#include "fs/control/live_settings.h"
#include "fs/control/op_stats.h"
#include "fs/file_system.h"
#include "fs/mount_options.h"
#include "fs/schema/inode_number.h"
#include "io/base/bytes.h"
#include "io/base/result.h"
#include "io/storage.h"
#include "lsm/db.h"

namespace terracefs::fs {

// One ioctl request as the kernel hands it on. Nothing in it can be trusted.
struct ControlRequest {
  uint32_t command = 0;
  io::Bytes input;  // good during the call only
  size_t output_bytes_max = 0;
  uint32_t uid = 0;
  const char* transport = "";    // over which it came: "dev" or "uring"
  InodeNumber ino = kRootInode;  // of the file on which it was called
};

// What the control plane reports on and acts upon; all borrowed.
struct ControlTargets {
  FileSystem& file_system;
  lsm::Db& db;
  const io::Storage& storage;
  const OpStats& op_stats;
  const io::Clock& clock;
};

struct ControlSettings {
  std::string store_path;
  uint32_t owner_uid = 0;  // may change things, besides root
  MountOptions mount;      // with which the engine was opened
};

// Answers the commands of fs/control/ioctl.h. Safe from any thread.
class Control {
 public:
  Control(const ControlTargets& targets, ControlSettings settings);

  // True for commands of this interface; all others are ENOTTY without a call of Handle.
  static bool IsOurs(uint32_t command);
  // The bytes of the answer's struct, or Posix(EINVAL, ENOTTY, EPERM, ENOENT ...). May wait for the
  // disk.
  io::Result<std::string> Handle(const ControlRequest& request);
  // Cancels all jobs and waits for them.
  void Shutdown() { jobs_.Shutdown(); }

 private:
  bool MayChange(uint32_t uid) const { return uid == 0 || uid == settings_.owner_uid; }
  io::Status Compact(const ControlRequest& request, terracefs_compact* data);
  io::Status Job(const ControlRequest& request, terracefs_job* data);
  // The job as it stands then; nothing if there is none of that number.
  io::Result<std::optional<JobReport>> ActOnJob(const ControlRequest& request, uint32_t action,
                                                uint64_t id);
  io::Status Stats(const ControlRequest& request, terracefs_stats* data);
  io::Status Space(const ControlRequest& request, terracefs_space* data);
  io::Status Config(const ControlRequest& request, terracefs_config* data);
  io::Status Sync(const ControlRequest& request, terracefs_sync* data);
  io::Status Remount(uint32_t flags);
  // Checks the frame, copies the struct in, has `handler` work on it and copies it out.
  template <typename Struct>
  io::Result<std::string> Run(const ControlRequest& request,
                              io::Status (Control::*handler)(const ControlRequest&, Struct*));

  const ControlTargets targets_;
  const ControlSettings settings_;
  const int64_t started_ns_;
  LiveSettings live_settings_;
  Jobs jobs_;
};

}  // namespace terracefs::fs
