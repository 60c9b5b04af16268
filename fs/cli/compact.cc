#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "fs/cli/command.h"
#include "fs/cli/job_view.h"
#include "fs/cli/mount_client.h"
#include "lsm/options.h"

namespace terracefs::fs {
namespace {

struct Arguments {
  int level = -1;
  bool no_wait = false;
  bool json = false;
  std::string mountpoint;
};

int Run(const Arguments& arguments) {
  const io::Result<MountClient> client = MountClient::Open(arguments.mountpoint);
  if (!client.ok()) return Fail("compact", client.status());
  const HeldSignals signals;
  const io::Result<uint64_t> id = client->StartCompaction(arguments.level);
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
  app->add_option("--level", arguments->level, "Only this level, into the next")
      ->check(CLI::Range(0, lsm::kLevelCount - 1));
  app->add_flag("--no-wait", arguments->no_wait, "Start it and print the job's number");
  app->add_flag("--json", arguments->json, "Print one JSON object");
  app->add_option("MOUNTPOINT", arguments->mountpoint, "Where the store is mounted")->required();
  app->footer("Ctrl-C cancels the job.\nExample: terracefs compact /mnt");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
