#include "fs/control/control.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <type_traits>
#include <vector>

#include "fs/control/space_report.h"
#include "io/base/check.h"

namespace terracefs::fs {
namespace {

constexpr size_t kIoctlBytesMax = (1 << 14) - 1;  // what the size field of a request code can say
static_assert(sizeof(terracefs_compact) <= kIoctlBytesMax);
static_assert(sizeof(terracefs_job) <= kIoctlBytesMax);
static_assert(sizeof(terracefs_stats) <= kIoctlBytesMax);
static_assert(sizeof(terracefs_space) <= kIoctlBytesMax);
static_assert(sizeof(terracefs_config) <= kIoctlBytesMax);
static_assert(sizeof(terracefs_sync) <= kIoctlBytesMax);
// The structs are the same for every compiler and for 32-bit programs: no padding anywhere.
static_assert(sizeof(terracefs_compact) == 128);
static_assert(sizeof(terracefs_job) == 64 + 16 * 72 + 256 + 64);
static_assert(sizeof(terracefs_stats) ==
              8 + 4 * 32 + 1024 + 8 * (28 + 10 * 8 + 32) + 32 * (32 + 4 * 8) + 2 * 16 * 40);
static_assert(sizeof(terracefs_space) == 8 + 12 * 8 + 16 * 8);
static_assert(sizeof(terracefs_config) == 16 + 16 * (32 + 96) + 64);
static_assert(sizeof(terracefs_sync) == 64);
static_assert(lsm::kLevelCount <= TERRACEFS_LEVELS);
static_assert(kOpCount <= TERRACEFS_OPS);

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint32_t kSyncFlags = TERRACEFS_SYNC_READ_ONLY | TERRACEFS_SYNC_WRITABLE |
                                TERRACEFS_SYNC_NOATIME | TERRACEFS_SYNC_RELATIME |
                                TERRACEFS_SYNC_STRICTATIME;
constexpr uint64_t kCompactFlags = TERRACEFS_COMPACT_SELF_LEVEL | TERRACEFS_COMPACT_DRY_RUN |
                                   TERRACEFS_COMPACT_PATH | TERRACEFS_COMPACT_VACUUM;

// Cuts at the end of the field, which is already zeroed and always keeps one zero at its end.
template <size_t kBytes>
void CopyText(std::string_view text, char (*field)[kBytes]) {
  std::memcpy(*field, text.data(), std::min(text.size(), kBytes - 1));
}

// Nothing if no zero byte ends it.
template <size_t kBytes>
std::optional<std::string> TextOf(const char (&field)[kBytes]) {
  const size_t size = strnlen(field, kBytes);
  if (size == kBytes) return std::nullopt;
  return std::string(field, size);
}

template <size_t kCount>
bool AllZero(const __u64 (&values)[kCount]) {
  return std::all_of(std::begin(values), std::end(values), [](__u64 value) { return value == 0; });
}

void FillCounts(const std::map<std::string, uint64_t>& counts,
                terracefs_count (*out)[TERRACEFS_COUNTS]) {
  size_t next = 0;
  for (const auto& [name, count] : counts) {
    if (next == TERRACEFS_COUNTS) return;
    CopyText(name, &(*out)[next].name);
    (*out)[next].count = count;
    ++next;
  }
}

const char* LimiterMode(const lsm::DbStats& stats) {
  if (stats.rate_auto) return "auto";
  return stats.limiter.rate == 0 ? "unlimited" : "fixed";
}

void FillEngine(const lsm::DbStats& db, terracefs_stats* data) {
  data->wal_bytes = db.wal_bytes;
  data->blob_bytes = db.blob_bytes;
  data->flush_bytes = db.flush_bytes;
  data->stall_ms = db.stall_ns / kNsPerMs;
  data->jobs_running = db.jobs_running;
  data->jobs_done = db.jobs_done;
  data->compaction_bytes_read = db.compaction_bytes_read;
  data->compaction_bytes_written = db.compaction_bytes_written;
  data->compaction_pending_bytes = db.compaction_pending_bytes;
  data->trivial_moves = db.trivial_moves;
  data->delete_only = db.delete_only;
  CopyText(LimiterMode(db), &data->limiter_mode);
  data->limiter_rate = db.limiter.rate;
  data->limiter_bytes = db.limiter.bytes;
  data->limiter_waited_ms = db.limiter.waited_ns / kNsPerMs;
  data->cache_hits = db.cache.hits;
  data->cache_misses = db.cache.misses;
  data->cache_bytes = db.cache.bytes;
  data->memtable_bytes = db.memtable_bytes;
  data->live_table_bytes = db.live_table_bytes;
  data->log_file_bytes = db.log_file_bytes;
  data->user_bytes_written = db.user_bytes_written;
  const double written = static_cast<double>(db.wal_bytes) + static_cast<double>(db.blob_bytes) +
                         static_cast<double>(db.flush_bytes) +
                         static_cast<double>(db.compaction_bytes_written);
  if (db.user_bytes_written > 0) {
    data->write_amplification_milli =
        static_cast<__u64>(1000 * written / static_cast<double>(db.user_bytes_written));
  }
  for (size_t i = 0; i < db.levels.size(); ++i) {
    const lsm::LevelStats& level = db.levels[i];
    data->level[i] = {.files = level.files,
                      .bytes = level.bytes,
                      .target_bytes = level.target_bytes,
                      .score_milli = static_cast<__u64>(std::max(0.0, 1000 * level.score)),
                      .tombstones = level.tombstones,
                      .garbage_bytes = level.garbage_bytes,
                      .jobs = level.jobs,
                      .bytes_read = level.bytes_read,
                      .bytes_written = level.bytes_written,
                      .nanoseconds = level.job_ns};
  }
  FillCounts(db.dropped, &data->dropped);
  FillCounts(db.jobs_by_reason, &data->job_reason);
}

void FillRequests(const OpStats& stats, terracefs_stats* data) {
  constexpr uint64_t kNsPerUs = 1000;
  size_t next = 0;
  for (size_t i = 0; i < kOpCount; ++i) {
    const auto op = static_cast<Op>(i);
    const OpSummary summary = stats.Summary(op);
    if (summary.count == 0) continue;
    terracefs_op_stats& out = data->op[next++];
    CopyText(OpName(op), &out.name);
    out.count = summary.count;
    out.p50_us = (summary.p50_ns + kNsPerUs / 2) / kNsPerUs;
    out.p99_us = (summary.p99_ns + kNsPerUs / 2) / kNsPerUs;
    out.max_us = (summary.max_ns + kNsPerUs / 2) / kNsPerUs;
  }
}

void FillStorage(const io::Storage& storage, terracefs_stats* data) {
  const io::StorageStats& stats = storage.stats();
  constexpr auto kRelaxed = std::memory_order_relaxed;
  CopyText(storage.backend(), &data->io_backend);
  data->io_submitted = stats.submitted.load(kRelaxed);
  data->io_completed = stats.completed.load(kRelaxed);
  data->io_bytes_read = stats.bytes_read.load(kRelaxed);
  data->io_bytes_written = stats.bytes_written.load(kRelaxed);
  data->io_fsyncs = stats.fsyncs.load(kRelaxed);
}

}  // namespace

Control::Control(const ControlTargets& targets, ControlSettings settings)
    : targets_(targets),
      settings_(std::move(settings)),
      started_ns_(targets.clock.SteadyNs()),
      live_settings_(targets.db, settings_.mount),
      jobs_(targets.db, targets.clock) {}

bool Control::IsOurs(uint32_t command) { return _IOC_TYPE(command) == TERRACEFS_IOC_MAGIC; }

template <typename Struct>
io::Result<std::string> Control::Run(const ControlRequest& request,
                                     io::Status (Control::*handler)(const ControlRequest&,
                                                                    Struct*)) {
  static_assert(std::is_trivially_copyable_v<Struct>);
  // The size is part of the code, and the kernel copies as much as the code says.
  if (_IOC_SIZE(request.command) != sizeof(Struct) ||
      _IOC_DIR(request.command) != (_IOC_READ | _IOC_WRITE) ||
      request.input.size() != sizeof(Struct) || request.output_bytes_max < sizeof(Struct)) {
    return io::Status::Posix(EINVAL);
  }
  Struct data;
  std::memcpy(&data, request.input.data(), sizeof data);
  if (data.version != TERRACEFS_IOC_VERSION) return io::Status::Posix(EINVAL);
  TRY((this->*handler)(request, &data));
  return std::string(reinterpret_cast<const char*>(&data), sizeof data);
}

io::Result<std::string> Control::Handle(const ControlRequest& request) {
  if (!IsOurs(request.command)) return io::Status::Posix(ENOTTY);
  switch (_IOC_NR(request.command)) {
    case _IOC_NR(TERRACEFS_IOC_COMPACT):
      return Run(request, &Control::Compact);
    case _IOC_NR(TERRACEFS_IOC_JOB):
      return Run(request, &Control::Job);
    case _IOC_NR(TERRACEFS_IOC_STATS):
      return Run(request, &Control::Stats);
    case _IOC_NR(TERRACEFS_IOC_SPACE):
      return Run(request, &Control::Space);
    case _IOC_NR(TERRACEFS_IOC_CONFIG):
      return Run(request, &Control::Config);
    case _IOC_NR(TERRACEFS_IOC_SYNC):
      return Run(request, &Control::Sync);
    default:
      return io::Status::Posix(ENOTTY);
  }
}

io::Status Control::Compact(const ControlRequest& request, terracefs_compact* data) {
  if (!MayChange(request.uid)) return io::Status::Posix(EPERM);
  if ((data->flags & ~kCompactFlags) != 0 || !AllZero(data->reserved)) {
    return io::Status::Posix(EINVAL);
  }
  if (data->level < -1 || data->level >= lsm::kLevelCount) return io::Status::Posix(EINVAL);
  if (settings_.mount.read_only) return io::Status::Posix(EROFS);
  CompactionJob compaction;
  compaction.request.level = data->level;
  compaction.request.self_level = (data->flags & TERRACEFS_COMPACT_SELF_LEVEL) != 0;
  compaction.request.vacuum = (data->flags & TERRACEFS_COMPACT_VACUUM) != 0;
  compaction.request.reclaim_bytes = data->reclaim_bytes;
  compaction.dry_run = (data->flags & TERRACEFS_COMPACT_DRY_RUN) != 0;
  if ((data->flags & TERRACEFS_COMPACT_PATH) != 0) compaction.top = request.ino;
  data->job = TRY(jobs_.StartCompaction(compaction));
  return io::Status::Ok();
}

io::Result<std::optional<JobReport>> Control::ActOnJob(const ControlRequest& request,
                                                       uint32_t action, uint64_t id) {
  bool found = false;
  switch (action) {
    case TERRACEFS_JOB_STATUS:
      return jobs_.Find(id);
    case TERRACEFS_JOB_NEXT:
      return jobs_.FindNext(id);
    case TERRACEFS_JOB_CANCEL:
    case TERRACEFS_JOB_PAUSE:
    case TERRACEFS_JOB_RESUME:
      break;
    default:
      return io::Status::Posix(EINVAL);
  }
  if (!MayChange(request.uid)) return io::Status::Posix(EPERM);
  if (action == TERRACEFS_JOB_CANCEL) found = jobs_.Cancel(id);
  if (action == TERRACEFS_JOB_PAUSE) found = jobs_.Pause(id);
  if (action == TERRACEFS_JOB_RESUME) found = jobs_.Resume(id);
  if (!found) return std::optional<JobReport>();
  return jobs_.Find(id);
}

io::Status Control::Job(const ControlRequest& request, terracefs_job* data) {
  if (!AllZero(data->reserved)) return io::Status::Posix(EINVAL);
  const std::optional<JobReport> report = TRY(ActOnJob(request, data->action, data->job));
  if (!report) return io::Status::Posix(ENOENT);

  const __u32 action = data->action;
  *data = terracefs_job{};
  data->version = TERRACEFS_IOC_VERSION;
  data->action = action;
  data->job = report->id;
  data->state = static_cast<__u32>(report->state);
  data->flags = report->is_estimate ? TERRACEFS_JOB_ESTIMATE : 0;
  data->bytes_read = report->bytes_read;
  data->bytes_written = report->bytes_written;
  data->bytes_reclaimed = report->bytes_reclaimed;
  data->nanoseconds = report->nanoseconds;
  CopyText(report->message, &data->message);
  const size_t count = std::min<size_t>(report->passes.size(), TERRACEFS_PASSES);
  data->pass_count = static_cast<__u32>(count);
  for (size_t i = 0; i < count; ++i) {
    const JobPass& pass = report->passes[i];
    terracefs_pass& out = data->pass[i];
    CopyText(pass.name, &out.name);
    out.bytes_done = pass.bytes_done;
    out.bytes_total = pass.bytes_total;
    out.bytes_read = pass.bytes_read;
    out.bytes_written = pass.bytes_written;
    out.nanoseconds = pass.nanoseconds;
  }
  return io::Status::Ok();
}

io::Status Control::Stats(const ControlRequest& request, terracefs_stats* data) {
  if (!AllZero(data->reserved)) return io::Status::Posix(EINVAL);
  *data = terracefs_stats{};
  data->version = TERRACEFS_IOC_VERSION;
  data->daemon_pid = static_cast<__u32>(getpid());
  CopyText(TERRACEFS_VERSION, &data->program_version);
  CopyText(request.transport, &data->transport);
  CopyText(settings_.store_path, &data->store_path);
  const int64_t up_ns = targets_.clock.SteadyNs() - started_ns_;
  data->uptime_s = static_cast<__u64>(up_ns) / 1'000'000'000;
  FillStorage(targets_.storage, data);
  FillEngine(targets_.db.Stats(), data);
  FillRequests(targets_.op_stats, data);
  return io::Status::Ok();
}

io::Status Control::Space(const ControlRequest&, terracefs_space* data) {
  if (data->flags != 0 || !AllZero(data->reserved)) return io::Status::Posix(EINVAL);
  const SpaceReport report = TRY(ReportSpace(targets_.file_system, targets_.db));
  *data = terracefs_space{};
  data->version = TERRACEFS_IOC_VERSION;
  data->capacity_bytes = report.capacity;
  data->live_bytes = report.live;
  data->physical_bytes = report.physical;
  data->tombstone_bytes = report.tombstones;
  data->blob_garbage_bytes = report.blob_garbage;
  data->open_unlinked_bytes = report.open_unlinked;
  data->obsolete_file_bytes = report.obsolete_files;
  data->log_bytes = report.log;
  data->spare_bytes = report.spare;
  data->metadata_bytes = report.metadata;
  data->rate = report.rate;
  data->eta_s = report.eta_s;
  return io::Status::Ok();
}

io::Status Control::Config(const ControlRequest& request, terracefs_config* data) {
  if (!AllZero(data->reserved)) return io::Status::Posix(EINVAL);
  const uint32_t action = data->action;
  std::vector<std::string_view> keys;
  const std::optional<std::string> key = TextOf(data->setting[0].key);
  const std::optional<std::string> value = TextOf(data->setting[0].value);
  if (!key || !value) return io::Status::Posix(EINVAL);
  switch (action) {
    case TERRACEFS_CONFIG_LIST:
      keys = LiveSettings::Keys();
      break;
    case TERRACEFS_CONFIG_SET:
      if (!MayChange(request.uid)) return io::Status::Posix(EPERM);
      // The reason would not reach the caller; the command line finds it out beforehand.
      if (!live_settings_.Set(*key, *value).ok()) return io::Status::Posix(EINVAL);
      keys = {*key};
      break;
    case TERRACEFS_CONFIG_GET:
      keys = {*key};
      break;
    default:
      return io::Status::Posix(EINVAL);
  }
  CHECK(keys.size() <= TERRACEFS_SETTINGS);
  *data = terracefs_config{};
  data->version = TERRACEFS_IOC_VERSION;
  data->action = action;
  for (const std::string_view name : keys) {
    const io::Result<std::string> in_force = live_settings_.Get(name);
    if (!in_force.ok()) return io::Status::Posix(EINVAL);
    terracefs_setting& out = data->setting[data->count++];
    CopyText(name, &out.key);
    CopyText(*in_force, &out.value);
  }
  return io::Status::Ok();
}

io::Status Control::Remount(uint32_t flags) {
  constexpr uint32_t kBoth = TERRACEFS_SYNC_READ_ONLY | TERRACEFS_SYNC_WRITABLE;
  if ((flags & kBoth) == kBoth) return io::Status::Posix(EINVAL);
  FileSystem& file_system = targets_.file_system;
  if ((flags & kBoth) != 0) {
    TRY(file_system.SetReadOnly((flags & TERRACEFS_SYNC_READ_ONLY) != 0));
  }
  if ((flags & TERRACEFS_SYNC_NOATIME) != 0) file_system.SetAtimePolicy(AtimePolicy::kNone);
  if ((flags & TERRACEFS_SYNC_RELATIME) != 0) file_system.SetAtimePolicy(AtimePolicy::kRelative);
  if ((flags & TERRACEFS_SYNC_STRICTATIME) != 0) file_system.SetAtimePolicy(AtimePolicy::kStrict);
  return io::Status::Ok();
}

// Anybody may, but for what a remount changes: it is sync(2) for a mount that sync(2) does not
// reach.
io::Status Control::Sync(const ControlRequest& request, terracefs_sync* data) {
  if ((data->flags & ~kSyncFlags) != 0 || !AllZero(data->reserved)) {
    return io::Status::Posix(EINVAL);
  }
  if (data->flags != 0) {
    if (!MayChange(request.uid)) return io::Status::Posix(EPERM);
    TRY(Remount(data->flags));
  }
  const bool read_only = settings_.mount.read_only;
  if (!read_only) TRY(targets_.file_system.Sync());
  data->durable_sequence = read_only ? 0 : targets_.db.DurableSequence();
  return io::Status::Ok();
}

}  // namespace terracefs::fs
