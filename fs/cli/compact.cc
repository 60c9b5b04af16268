#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "fs/cli/command.h"
#include "fs/cli/job_view.h"
#include "fs/cli/mount_client.h"
#include "fs/units.h"
#include "lsm/options.h"

namespace terracefs::fs {
namespace {

struct Arguments {
  std::string path;
  int level = -1;
  bool self_level = false;
  std::string reclaim;
  bool vacuum = false;
  bool dry_run = false;
  bool no_wait = false;
  bool json = false;
  std::string mountpoint;
};

int Run(const Arguments& arguments) {
  terracefs_compact request{};
  request.level = arguments.level;
  if (arguments.self_level) request.flags |= TERRACEFS_COMPACT_SELF_LEVEL;
  if (arguments.vacuum) request.flags |= TERRACEFS_COMPACT_VACUUM;
  if (arguments.dry_run) request.flags |= TERRACEFS_COMPACT_DRY_RUN;
  if (!arguments.reclaim.empty()) {
    const io::Result<uint64_t> bytes = ParseSize(arguments.reclaim);
    if (!bytes.ok()) return Fail("compact: --reclaim", bytes.status());
    if (*bytes == 0) return Fail(kExitUsage, "compact: --reclaim", "needs a size above 0");
    request.reclaim_bytes = *bytes;
  }
  io::Result<MountClient> client = MountClient::Open(arguments.mountpoint);
  if (!client.ok()) return Fail("compact", client.status());
  if (!arguments.path.empty()) {
    request.flags |= TERRACEFS_COMPACT_PATH;
    client = client->At(arguments.mountpoint, arguments.path);
    if (!client.ok()) return Fail("compact: --path", client.status());
  }
  const HeldSignals signals;
  const io::Result<uint64_t> id = client->StartCompaction(request);
  if (!id.ok()) return Fail("compact", id.status());
  if (arguments.no_wait) {
    const io::Result<terracefs_job> job = client->Job(*id, TERRACEFS_JOB_STATUS);
    if (!job.ok()) return Fail("compact", job.status());
    fmt::print("{}\n", arguments.json ? JobToJson(*job).dump() : fmt::format("job {}", *id));
    return kExitDone;
  }
  PassPrinter printer(arguments.json);
  const io::Result<JobEnd> end = FollowJob(*client, *id, signals, &printer);
  if (!end.ok()) return Fail("compact", end.status());
  return ReportJobEnd("compact", *end, arguments.json);
}

}  // namespace

Command AddCompact(CLI::App& root) {
  CLI::App* const app = root.add_subcommand("compact", "Gives back what deletions left behind");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("--path", arguments->path,
                  "Only this file or directory tree of the mount (also relative to MOUNTPOINT)")
      ->check([](const std::string& path) { return path.empty() ? "needs a path" : ""; });
  app->add_option("--level", arguments->level, "Only this level, into the next")
      ->check(CLI::Range(0, lsm::kLevelCount - 1));
  app->add_flag("--self-level", arguments->self_level,
                "Rewrite tables on their own level, nothing sinks");
  app->add_option("--reclaim", arguments->reclaim, "Stop when so many bytes came back")
      ->type_name("SIZE");
  app->add_flag("--vacuum", arguments->vacuum,
                "Value files, too, down to (nearly) no garbage, after the levels");
  app->add_flag("--dry-run", arguments->dry_run,
                "Only say what it would read, write and give back");
  app->add_flag("--no-wait", arguments->no_wait, "Start it and print the job's number");
  app->add_flag("--json", arguments->json, "Print one JSON object");
  app->add_option("MOUNTPOINT", arguments->mountpoint, "Where the store is mounted")->required();
  app->footer(
      "Ctrl-C cancels the job.\n"
      "Example: terracefs compact /mnt\n"
      "         terracefs compact --vacuum /mnt\n"
      "         terracefs compact --path /mnt/old --reclaim 2G --dry-run /mnt");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
