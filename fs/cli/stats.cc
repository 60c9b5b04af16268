#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "fs/cli/command.h"
#include "fs/cli/mount_client.h"
#include "fs/units.h"
#include "lsm/options.h"

namespace terracefs::fs {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  bool json = false;
  std::string watch;
  std::string mountpoint;
};

double Milli(uint64_t value) { return static_cast<double>(value) / 1000; }

Json Requests(const terracefs_stats& stats) {
  Json requests = Json::object();
  for (const terracefs_op_stats& op : stats.op) {
    if (op.count == 0) continue;
    requests[FieldText(op.name)] = {
        {"count", op.count}, {"p50_us", op.p50_us}, {"p99_us", op.p99_us}, {"max_us", op.max_us}};
  }
  return requests;
}

Json Levels(const terracefs_stats& stats) {
  Json levels = Json::array();
  for (int i = 0; i < lsm::kLevelCount; ++i) {
    const terracefs_level_stats& level = stats.level[i];
    levels.push_back({{"level", i},
                      {"files", level.files},
                      {"bytes", level.bytes},
                      {"target_bytes", level.target_bytes},
                      {"score", Milli(level.score_milli)},
                      {"tombstones", level.tombstones},
                      {"garbage_bytes", level.garbage_bytes},
                      {"jobs", level.jobs},
                      {"bytes_read", level.bytes_read},
                      {"bytes_written", level.bytes_written},
                      {"seconds", static_cast<double>(level.nanoseconds) / 1e9}});
  }
  return levels;
}

Json Counts(const terracefs_count (&counts)[TERRACEFS_COUNTS]) {
  Json json = Json::object();
  for (const terracefs_count& count : counts) {
    if (const std::string name = FieldText(count.name); !name.empty()) json[name] = count.count;
  }
  return json;
}

Json Compaction(const terracefs_stats& stats) {
  return {{"running", stats.jobs_running},
          {"jobs", stats.jobs_done},
          {"bytes_read", stats.compaction_bytes_read},
          {"bytes_written", stats.compaction_bytes_written},
          {"pending_bytes", stats.compaction_pending_bytes},
          {"trivial_moves", stats.trivial_moves},
          {"delete_only", stats.delete_only},
          {"dropped", Counts(stats.dropped)},
          {"jobs_by_reason", Counts(stats.job_reason)}};
}

Json ToJson(const terracefs_stats& stats) {
  return {
      {"version", FieldText(stats.program_version)},
      {"uptime_s", stats.uptime_s},
      {"fuse", {{"transport", FieldText(stats.transport)}, {"requests", Requests(stats)}}},
      {"io",
       {{"backend", FieldText(stats.io_backend)},
        {"submitted", stats.io_submitted},
        {"completed", stats.io_completed},
        {"bytes_read", stats.io_bytes_read},
        {"bytes_written", stats.io_bytes_written},
        {"fsyncs", stats.io_fsyncs}}},
      {"write_path",
       {{"wal_bytes", stats.wal_bytes},
        {"blob_bytes", stats.blob_bytes},
        {"flush_bytes", stats.flush_bytes},
        {"stall_ms", stats.stall_ms}}},
      {"levels", Levels(stats)},
      {"compaction", Compaction(stats)},
      {"limiter",
       {{"rate", stats.limiter_rate},
        {"mode", FieldText(stats.limiter_mode)},
        {"bytes", stats.limiter_bytes},
        {"waited_ms", stats.limiter_waited_ms}}},
      {"cache",
       {{"hits", stats.cache_hits}, {"misses", stats.cache_misses}, {"bytes", stats.cache_bytes}}},
      {"memtable_bytes", stats.memtable_bytes},
      {"live_table_bytes", stats.live_table_bytes},
      {"log_file_bytes", stats.log_file_bytes},
      {"user_bytes_written", stats.user_bytes_written},
      {"write_amplification", Milli(stats.write_amplification_milli)}};
}

void PrintRequests(const terracefs_stats& stats) {
  const std::vector<int> widths = {12, 12, 10, 10, 10};
  PrintRow(widths, {"request", "count", "p50 us", "p99 us", "max us"});
  for (const terracefs_op_stats& op : stats.op) {
    if (op.count == 0) continue;
    PrintRow(widths, {FieldText(op.name), std::to_string(op.count), std::to_string(op.p50_us),
                      std::to_string(op.p99_us), std::to_string(op.max_us)});
  }
}

void PrintLevels(const terracefs_stats& stats) {
  const std::vector<int> widths = {12, 12, 10, 10, 10, 12, 12};
  PrintRow(widths, {"level", "bytes", "files", "score", "tombstones", "garbage", "written"});
  for (int i = 0; i < lsm::kLevelCount; ++i) {
    const terracefs_level_stats& level = stats.level[i];
    if (level.files == 0) continue;
    PrintRow(widths,
             {std::to_string(i), FormatSize(level.bytes), std::to_string(level.files),
              fmt::format("{:.2f}", Milli(level.score_milli)), std::to_string(level.tombstones),
              FormatSize(level.garbage_bytes), FormatSize(level.bytes_written)});
  }
}

void PrintText(const terracefs_stats& stats) {
  fmt::print("terracefs {}, process {}, up {}, transport {}, io {}\n",
             FieldText(stats.program_version), static_cast<uint32_t>(stats.daemon_pid),
             FormatSeconds(static_cast<double>(stats.uptime_s)), FieldText(stats.transport),
             FieldText(stats.io_backend));
  fmt::print("store {}: tables {}, logs {}, memory {}\n", FieldText(stats.store_path),
             FormatSize(stats.live_table_bytes), FormatSize(stats.log_file_bytes),
             FormatSize(stats.memtable_bytes));
  fmt::print("written by users {}, log {}, flush {}, compaction {}: {:.2f} times; stalled {} ms\n",
             FormatSize(stats.user_bytes_written), FormatSize(stats.wal_bytes),
             FormatSize(stats.flush_bytes), FormatSize(stats.compaction_bytes_written),
             Milli(stats.write_amplification_milli), uint64_t{stats.stall_ms});
  fmt::print("compaction: {} running, {} done, {} pending, {} moved, {} dropped unread\n",
             uint64_t{stats.jobs_running}, uint64_t{stats.jobs_done},
             FormatSize(stats.compaction_pending_bytes), uint64_t{stats.trivial_moves},
             uint64_t{stats.delete_only});
  const std::string rate =
      stats.limiter_rate == 0 ? "unlimited" : FormatSize(stats.limiter_rate) + "/s";
  fmt::print("limiter: {} ({}), {} let through\n", rate, FieldText(stats.limiter_mode),
             FormatSize(stats.limiter_bytes));
  fmt::print("cache: {}, {} hits, {} misses\n", FormatSize(stats.cache_bytes),
             uint64_t{stats.cache_hits}, uint64_t{stats.cache_misses});
  PrintLevels(stats);
  PrintRequests(stats);
}

int Run(const Arguments& arguments) {
  std::chrono::milliseconds interval{0};
  if (!arguments.watch.empty()) {
    const io::Result<int64_t> ms = ParseDurationMs(arguments.watch);
    if (!ms.ok()) return Fail("stats: --watch", ms.status());
    if (*ms <= 0) return Fail(kExitUsage, "stats: --watch", "needs a duration above 0");
    interval = std::chrono::milliseconds(*ms);
  }
  const io::Result<MountClient> client = MountClient::Open(arguments.mountpoint);
  if (!client.ok()) return Fail("stats", client.status());
  for (;;) {
    const io::Result<terracefs_stats> stats = client->Stats();
    if (!stats.ok()) return Fail("stats", stats.status());
    if (arguments.json) {
      fmt::print("{}\n", ToJson(*stats).dump());
    } else {
      PrintText(*stats);
    }
    std::fflush(stdout);
    if (interval.count() == 0) return kExitDone;
    std::this_thread::sleep_for(interval);
    if (!arguments.json) fmt::print("\n");
  }
}

}  // namespace

Command AddStats(CLI::App& root) {
  CLI::App* const app = root.add_subcommand("stats", "Shows what the mount has done so far");
  const auto arguments = std::make_shared<Arguments>();
  app->add_flag("--json", arguments->json, "Print one JSON object (with --watch: one a line)");
  app->add_option("--watch", arguments->watch, "Again and again, this long apart, until Ctrl-C");
  app->add_option("MOUNTPOINT", arguments->mountpoint, "Where the store is mounted")->required();
  app->footer("Example: terracefs stats --watch 5s /mnt");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
