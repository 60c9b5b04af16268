#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/file_system.h"
#include "io/base/result.h"
#include "io/base/units.h"
#include "io/open_storage.h"
#include "lsm/options.h"

namespace terracefs::fs {

enum class Transport : uint8_t { kAuto, kDev, kUring };

// Everything that `-o` says; the defaults are those of the mount options in the README.
struct MountOptions {
  bool read_only = false;
  bool allow_other = false;
  bool allow_root = false;
  bool no_dev = false;
  bool no_suid = false;
  bool no_exec = false;
  bool sync = false;     // every change is durable before the call returns
  bool dirsync = false;  // every change of a name
  // Asked for by name; only root may.
  bool dev_or_suid = false;
  AtimePolicy atime = AtimePolicy::kRelative;
  // False: ACLs are neither checked nor shown, but kept.
  bool acl = true;
  bool writeback = false;
  Transport transport = Transport::kAuto;
  io::IoBackend io = io::IoBackend::kUring;

  int64_t commit_ms = 5000;
  uint64_t cache_bytes = 256 * io::kMiB;
  uint64_t memtable_bytes = 64 * io::kMiB;
  bool compaction_rate_auto = true;
  uint64_t compaction_rate = lsm::kRateAuto;  // bytes per second; 0 = unlimited
  int compaction_workers = 1;
  int64_t delete_deadline_ms = 600'000;
  double garbage_ratio = 0.3;
  uint64_t inline_max_bytes = 16 * io::kKiB;
  int value_zstd_level = 0;  // of value files; 0 = none

  std::string log_level = "info";
  std::string log_file;  // empty: syslog, or stderr in the foreground
};

// The options in the arguments of all `-o`, empty ones left out; they point into `lists`.
std::vector<std::string_view> SplitMountOptions(const std::vector<std::string>& lists);
// Parses the arguments of all `-o`, each a list separated by commas. The last mention of an option
// wins. InvalidArgument, as one line that names the option, for what is unknown, malformed or out
// of range; NotSupported for options that a later version brings.
io::Result<MountOptions> ParseMountOptions(const std::vector<std::string>& lists);

// Sets one option that takes a value. InvalidArgument, as one line that does not name the option,
// if there is none of that name, or for what is malformed or out of range; what `options` says of
// it is then unspecified.
io::Status SetMountOption(std::string_view name, std::string_view value, MountOptions* options);

// What the options say to the engine.
void ApplyToEngine(const MountOptions& options, lsm::Options* engine);

}  // namespace terracefs::fs
