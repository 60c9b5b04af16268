#include "fs/mount_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <thread>

#include "fs/units.h"

namespace terracefs::fs {
namespace {

constexpr uint64_t kLogBytesMin = 16 * io::kMiB;  // more than one batch

// Bounds that keep a slip of the keyboard from taking the machine down.
constexpr uint64_t kCacheBytesMin = io::kMiB;
constexpr uint64_t kMemtableBytesMin = io::kMiB;
constexpr uint64_t kMemtableBytesMax = 4 * io::kGiB;
constexpr uint64_t kCompactionRateMin = io::kMiB;
constexpr int kSubcompactionsMax = 4;
constexpr int64_t kCommitMsMax = 3'600'000;
constexpr int64_t kDeleteDeadlineMsMin = 1000;
constexpr double kGarbageRatioMin = 0.01;
constexpr double kGarbageRatioMax = 1;

constexpr uint64_t kInlineBytesMax = 8 * io::kMiB;  // the largest write
constexpr int kZstdLevelMax = 19;                   // beyond, memory is counted in hundreds of MiB

constexpr std::array<std::string_view, 1> kLater = {"remote_compactor"};

using Flag = std::function<void(MountOptions*)>;
using Value = std::function<io::Status(std::string_view value, MountOptions*)>;

io::Status OutOfRange(std::string_view value, std::string_view range) {
  return io::Status::InvalidArgument(fmt::format("'{}' is out of range ({})", value, range));
}

io::Result<uint64_t> SizeBetween(std::string_view value, uint64_t least, uint64_t most) {
  const uint64_t bytes = TRY(ParseSize(value));
  if (bytes < least || bytes > most) {
    return OutOfRange(value, fmt::format("{} to {}", FormatSize(least), FormatSize(most)));
  }
  return bytes;
}

io::Status SetCompactionRate(std::string_view value, MountOptions* options) {
  options->compaction_rate_auto = value == "auto";
  if (options->compaction_rate_auto) {
    options->compaction_rate = lsm::kRateAuto;
    return io::Status::Ok();
  }
  const uint64_t rate = TRY(ParseSize(value));
  if (rate != 0 && rate < kCompactionRateMin) {
    return OutOfRange(value, "auto, 0 = unlimited, or at least 1M a second");
  }
  options->compaction_rate = rate;
  return io::Status::Ok();
}

io::Status SetCompactionWorkers(std::string_view value, MountOptions* options) {
  const uint64_t count = TRY(ParseCount(value));
  if (count < 1 || count > lsm::kCompactionWorkersMax) {
    return OutOfRange(value, fmt::format("1 to {}", lsm::kCompactionWorkersMax));
  }
  options->compaction_workers = static_cast<int>(count);
  return io::Status::Ok();
}

io::Status SetCommit(std::string_view value, MountOptions* options) {
  const int64_t ms = TRY(ParseDurationMs(value));
  if (ms > kCommitMsMax) return OutOfRange(value, "0 = only when asked, to 1h");
  options->commit_ms = ms;
  return io::Status::Ok();
}

io::Status SetDeleteDeadline(std::string_view value, MountOptions* options) {
  const int64_t ms = TRY(ParseDurationMs(value));
  if (ms < kDeleteDeadlineMsMin) return OutOfRange(value, "at least 1s");
  options->delete_deadline_ms = ms;
  return io::Status::Ok();
}

io::Status SetGarbageRatio(std::string_view value, MountOptions* options) {
  const double ratio = TRY(ParseFraction(value));
  if (ratio < kGarbageRatioMin || ratio > kGarbageRatioMax) {
    return OutOfRange(value, fmt::format("{} to {}", kGarbageRatioMin, kGarbageRatioMax));
  }
  options->garbage_ratio = ratio;
  return io::Status::Ok();
}

io::Status SetCompress(std::string_view value, MountOptions* options) {
  constexpr std::string_view kZstd = "zstd";
  if (value == "none") {
    options->value_zstd_level = 0;
    return io::Status::Ok();
  }
  if (value == kZstd) {
    options->value_zstd_level = 1;
    return io::Status::Ok();
  }
  const std::string range = fmt::format("none, zstd or zstd:1 to zstd:{}", kZstdLevelMax);
  if (!value.starts_with("zstd:")) return OutOfRange(value, range);
  const io::Result<uint64_t> level = ParseCount(value.substr(kZstd.size() + 1));
  if (!level.ok() || *level < 1 || *level > kZstdLevelMax) return OutOfRange(value, range);
  options->value_zstd_level = static_cast<int>(*level);
  return io::Status::Ok();
}

io::Status SetTransport(std::string_view value, MountOptions* options) {
  if (value == "auto") {
    options->transport = Transport::kAuto;
  } else if (value == "dev") {
    options->transport = Transport::kDev;
  } else if (value == "uring") {
    options->transport = Transport::kUring;
  } else {
    return OutOfRange(value, "auto, dev or uring");
  }
  return io::Status::Ok();
}

io::Status SetIo(std::string_view value, MountOptions* options) {
  if (value != "uring" && value != "posix") return OutOfRange(value, "uring or posix");
  options->io = value == "uring" ? io::IoBackend::kUring : io::IoBackend::kPosix;
  return io::Status::Ok();
}

io::Status SetLogLevel(std::string_view value, MountOptions* options) {
  constexpr std::array<std::string_view, 7> kLevels = {"trace", "debug",    "info", "warn",
                                                       "err",   "critical", "off"};
  for (const std::string_view level : kLevels) {
    if (level != value) continue;
    options->log_level = value;
    return io::Status::Ok();
  }
  return OutOfRange(value, "trace, debug, info, warn, err, critical or off");
}

io::Status SetLogFile(std::string_view value, MountOptions* options) {
  if (value.empty()) return io::Status::InvalidArgument("needs a path");
  options->log_file = value;
  return io::Status::Ok();
}

const std::map<std::string_view, Flag>& Flags() {
  static const std::map<std::string_view, Flag> flags = {
      {"ro", [](MountOptions* o) { o->read_only = true; }},
      {"rw", [](MountOptions* o) { o->read_only = false; }},
      {"allow_other", [](MountOptions* o) { o->allow_other = true; }},
      {"allow_root", [](MountOptions* o) { o->allow_root = true; }},
      {"default_permissions", [](MountOptions*) {}},
      {"nodev", [](MountOptions* o) { o->no_dev = true; }},
      {"nosuid", [](MountOptions* o) { o->no_suid = true; }},
      {"noexec", [](MountOptions* o) { o->no_exec = true; }},
      {"exec", [](MountOptions* o) { o->no_exec = false; }},
      {"dev",
       [](MountOptions* o) {
         o->no_dev = false;
         o->dev_or_suid = true;
       }},
      {"suid",
       [](MountOptions* o) {
         o->no_suid = false;
         o->dev_or_suid = true;
       }},
      {"sync", [](MountOptions* o) { o->sync = true; }},
      {"async", [](MountOptions* o) { o->sync = o->dirsync = false; }},
      {"dirsync", [](MountOptions* o) { o->dirsync = true; }},
      {"noatime", [](MountOptions* o) { o->atime = AtimePolicy::kNone; }},
      {"relatime", [](MountOptions* o) { o->atime = AtimePolicy::kRelative; }},
      {"strictatime", [](MountOptions* o) { o->atime = AtimePolicy::kStrict; }},
      {"acl", [](MountOptions* o) { o->acl = true; }},
      {"noacl", [](MountOptions* o) { o->acl = false; }},
      {"atime", [](MountOptions* o) { o->atime = AtimePolicy::kRelative; }},
      {"writeback", [](MountOptions* o) { o->writeback = true; }},
      {"nowriteback", [](MountOptions* o) { o->writeback = false; }},
  };
  return flags;
}

const std::map<std::string_view, Value>& Values() {
  static const std::map<std::string_view, Value> values = {
      {"commit", SetCommit},
      {"cache",
       [](std::string_view value, MountOptions* o) -> io::Status {
         o->cache_bytes = TRY(SizeBetween(value, kCacheBytesMin, INT64_MAX));
         return io::Status::Ok();
       }},
      {"memtable",
       [](std::string_view value, MountOptions* o) -> io::Status {
         o->memtable_bytes = TRY(SizeBetween(value, kMemtableBytesMin, kMemtableBytesMax));
         return io::Status::Ok();
       }},
      {"compaction_rate", SetCompactionRate},
      {"compaction_workers", SetCompactionWorkers},
      {"delete_deadline", SetDeleteDeadline},
      {"garbage_ratio", SetGarbageRatio},
      {"compress", SetCompress},
      {"inline_max",
       [](std::string_view value, MountOptions* o) -> io::Status {
         o->inline_max_bytes = TRY(SizeBetween(value, 0, kInlineBytesMax));
         return io::Status::Ok();
       }},
      {"transport", SetTransport},
      {"io", SetIo},
      {"log_level", SetLogLevel},
      {"log_file", SetLogFile},
  };
  return values;
}

// Words of fstab that are for mount(8), systemd and others, and say nothing to a filesystem; and
// what is so in any case.
bool IsForOthers(std::string_view name) {
  constexpr std::array<std::string_view, 18> kWords = {
      "defaults", "auto",          "noauto",     "user",   "nouser",   "users",
      "owner",    "group",         "_netdev",    "nofail", "lazytime", "nolazytime",
      "diratime", "nostrictatime", "norelatime", "silent", "loud",     "comment"};
  return name.starts_with("x-") || name.starts_with("X-") ||
         std::find(kWords.begin(), kWords.end(), name) != kWords.end();
}

io::Status ApplyOne(std::string_view text, MountOptions* options) {
  const size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  if (IsForOthers(name)) return io::Status::Ok();
  for (const std::string_view later : kLater) {
    if (name == later) {
      return io::Status::NotSupported(
          fmt::format("option {}: not supported by this version", name));
    }
  }
  if (const auto flag = Flags().find(name); flag != Flags().end()) {
    if (equals != std::string_view::npos) {
      return io::Status::InvalidArgument(fmt::format("option {}: takes no value", name));
    }
    flag->second(options);
    return io::Status::Ok();
  }
  if (!Values().contains(name)) {
    return io::Status::InvalidArgument(fmt::format("unknown option '{}'", text));
  }
  if (equals == std::string_view::npos) {
    return io::Status::InvalidArgument(fmt::format("option {}: needs a value", name));
  }
  const io::Status status = SetMountOption(name, text.substr(equals + 1), options);
  if (status.ok()) return status;
  return io::Status::InvalidArgument(fmt::format("option {}: {}", name, status.message()));
}

}  // namespace

io::Status SetMountOption(std::string_view name, std::string_view value, MountOptions* options) {
  const auto known = Values().find(name);
  if (known == Values().end()) {
    return io::Status::InvalidArgument(fmt::format("unknown option '{}'", name));
  }
  return known->second(value, options);
}

std::vector<std::string_view> SplitMountOptions(const std::vector<std::string>& lists) {
  std::vector<std::string_view> options;
  for (const std::string_view list : lists) {
    for (size_t begin = 0; begin <= list.size();) {
      const size_t end = std::min(list.find(',', begin), list.size());
      // `-o ,ro` and an empty `-o ''` come out of scripts; they say nothing.
      if (end > begin) options.push_back(list.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return options;
}

io::Result<MountOptions> ParseMountOptions(const std::vector<std::string>& lists) {
  MountOptions options;
  for (const std::string_view option : SplitMountOptions(lists)) TRY(ApplyOne(option, &options));
  if (options.allow_other && options.allow_root) {
    return io::Status::InvalidArgument("options allow_other and allow_root exclude each other");
  }
  return options;
}

void ApplyToEngine(const MountOptions& options, lsm::Options* engine) {
  engine->memtable_bytes = options.memtable_bytes;
  // A log ends with its memtable, and the memtable with its log.
  engine->log_file_bytes = std::max(options.memtable_bytes, kLogBytesMin);
  engine->block_cache_bytes = options.cache_bytes;
  engine->commit_interval_ms = options.commit_ms;
  engine->compaction_workers = options.compaction_workers;
  // Half of the machine at most.
  engine->subcompactions_max =
      std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 2, 1, kSubcompactionsMax);
  engine->compaction_rate = options.compaction_rate;
  engine->delete_deadline_ms = options.delete_deadline_ms;
  engine->garbage_ratio = options.garbage_ratio;
  engine->inline_max_bytes = options.inline_max_bytes;
  engine->value_zstd_level = options.value_zstd_level;
  engine->read_only = options.read_only;
}

}  // namespace terracefs::fs
