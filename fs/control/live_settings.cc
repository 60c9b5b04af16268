#include "fs/control/live_settings.h"

#include <fmt/format.h>

#include <array>

#include "fs/units.h"
#include "io/base/log.h"

namespace terracefs::fs {
namespace {

using io::Result;
using io::Status;

struct Setting {
  std::string_view key;
  void (*apply)(const MountOptions& options, lsm::Db& db);
  // The engine is asked where it knows, so that this is what is in force.
  std::string (*show)(const MountOptions& options, const lsm::DbStats& stats);
};

constexpr std::array kSettings = {
    Setting{"compaction_rate",
            [](const MountOptions& options, lsm::Db& db) {
              db.SetCompactionRate(options.compaction_rate);
            },
            [](const MountOptions&, const lsm::DbStats& stats) {
              return stats.rate_auto ? std::string("auto") : ExactSize(stats.limiter.rate);
            }},
    Setting{"compaction_workers",
            [](const MountOptions& options, lsm::Db& db) {
              db.SetCompactionWorkers(options.compaction_workers);
            },
            [](const MountOptions&, const lsm::DbStats& stats) {
              return std::to_string(stats.compaction_workers);
            }},
    Setting{"delete_deadline",
            [](const MountOptions& options, lsm::Db& db) {
              db.SetDeleteDeadline(options.delete_deadline_ms);
            },
            [](const MountOptions&, const lsm::DbStats& stats) {
              return ExactDuration(stats.delete_deadline_ms);
            }},
    Setting{
        "garbage_ratio",
        [](const MountOptions& options, lsm::Db& db) { db.SetGarbageRatio(options.garbage_ratio); },
        [](const MountOptions&, const lsm::DbStats& stats) {
          return fmt::format("{}", stats.garbage_ratio);
        }},
    Setting{"compress",
            [](const MountOptions& options, lsm::Db& db) {
              db.SetValueCompression(options.value_zstd_level);
            },
            [](const MountOptions& options, const lsm::DbStats&) {
              return options.value_zstd_level == 0
                         ? std::string("none")
                         : fmt::format("zstd:{}", options.value_zstd_level);
            }},
    Setting{
        "commit",
        [](const MountOptions& options, lsm::Db& db) { db.SetCommitInterval(options.commit_ms); },
        [](const MountOptions&, const lsm::DbStats& stats) {
          return ExactDuration(stats.commit_interval_ms);
        }},
    Setting{"cache",
            [](const MountOptions& options, lsm::Db& db) { db.SetCacheBytes(options.cache_bytes); },
            [](const MountOptions& options, const lsm::DbStats&) {
              return ExactSize(options.cache_bytes);
            }},
    Setting{"log_level",
            [](const MountOptions& options, lsm::Db&) {
              io::SetLogLevel(options.log_level).IgnoreError("the parser knows the levels");
            },
            [](const MountOptions& options, const lsm::DbStats&) { return options.log_level; }},
};

Result<const Setting*> Find(std::string_view key) {
  std::string known;
  for (const Setting& setting : kSettings) {
    if (setting.key == key) return &setting;
    known += known.empty() ? "" : ", ";
    known += setting.key;
  }
  return Status::InvalidArgument(fmt::format("no such setting '{}' (there are {})", key, known));
}

}  // namespace

LiveSettings::LiveSettings(lsm::Db& db, const MountOptions& options) : db_(db), options_(options) {}

std::vector<std::string_view> LiveSettings::Keys() {
  std::vector<std::string_view> keys;
  keys.reserve(kSettings.size());
  for (const Setting& setting : kSettings) keys.push_back(setting.key);
  return keys;
}

Status LiveSettings::CheckKey(std::string_view key) { return Find(key).status(); }

Status LiveSettings::Check(std::string_view key, std::string_view value) {
  TRY(Find(key));
  MountOptions ignored;
  return SetMountOption(key, value, &ignored);
}

Result<std::string> LiveSettings::Get(std::string_view key) const {
  const Setting* const setting = TRY(Find(key));
  const lsm::DbStats stats = db_.Stats();
  io::MutexLock lock(mutex_);
  return setting->show(options_, stats);
}

Status LiveSettings::Set(std::string_view key, std::string_view value) {
  const Setting* const setting = TRY(Find(key));
  {
    // Over the call of the engine, so that of two who set the same the later one wins in both.
    io::MutexLock lock(mutex_);
    MountOptions changed = options_;
    TRY(SetMountOption(key, value, &changed));
    options_ = changed;
    setting->apply(options_, db_);
  }
  io::FsLog().info("config: {} is now {}", key, value);
  return Status::Ok();
}

}  // namespace terracefs::fs
