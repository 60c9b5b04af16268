#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "fs/cli/command.h"
#include "fs/cli/job_view.h"
#include "fs/cli/mount_client.h"

namespace terracefs::fs {
namespace {

struct Arguments {
  std::string action;
  bool json = false;
  std::string mountpoint;
  uint64_t id = 0;  // 0: the newest
};

// Those that are one call.
const std::map<std::string, terracefs_job_action> kActions = {
    {"status", TERRACEFS_JOB_STATUS},
    {"pause", TERRACEFS_JOB_PAUSE},
    {"resume", TERRACEFS_JOB_RESUME},
    {"cancel", TERRACEFS_JOB_CANCEL},
};

void Print(const terracefs_job& job, bool json) {
  if (json) {
    fmt::print("{}\n", JobToJson(job).dump());
  } else {
    fmt::print("job {}: {}: {}\n", job.job, JobStateName(job.state), JobSummary(job));
  }
}

// Newest first.
int List(const MountClient& client, const Arguments& arguments) {
  io::Result<std::vector<terracefs_job>> jobs = client.Jobs();
  if (!jobs.ok()) return Fail("job list", jobs.status());
  std::reverse(jobs->begin(), jobs->end());
  if (!arguments.json) {
    for (const terracefs_job& job : *jobs) Print(job, false);
    return kExitDone;
  }
  auto list = nlohmann::ordered_json::array();
  for (const terracefs_job& job : *jobs) list.push_back(JobToJson(job));
  fmt::print("{}\n", nlohmann::ordered_json{{"jobs", std::move(list)}}.dump());
  return kExitDone;
}

int Show(const MountClient& client, const Arguments& arguments, terracefs_job_action action) {
  const std::string what = "job " + arguments.action;
  uint64_t id = arguments.id;
  if (id == 0) {
    const io::Result<terracefs_job> newest = client.Job(0, TERRACEFS_JOB_STATUS);
    if (!newest.ok()) return Fail(what, newest.status());
    id = newest->job;
  }
  const io::Result<terracefs_job> job = client.Job(id, action);
  if (!job.ok()) return Fail(what, job.status());
  Print(*job, arguments.json);
  return kExitDone;
}

int Wait(const MountClient& client, const Arguments& arguments) {
  const HeldSignals signals;
  PassPrinter printer(arguments.json);
  const io::Result<JobEnd> end = FollowJob(client, arguments.id, signals, &printer);
  if (!end.ok()) return Fail("job wait", end.status());
  return ReportJobEnd("job wait", *end, arguments.json);
}

int Run(const Arguments& arguments) {
  const io::Result<MountClient> client = MountClient::Open(arguments.mountpoint);
  if (!client.ok()) return Fail("job " + arguments.action, client.status());
  if (arguments.action == "list") return List(*client, arguments);
  if (arguments.action == "wait") return Wait(*client, arguments);
  return Show(*client, arguments, kActions.at(arguments.action));
}

}  // namespace

Command AddJob(CLI::App& root) {
  CLI::App* const app = root.add_subcommand("job", "Lists, follows and steers long-running jobs");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("ACTION", arguments->action, "list, status, wait, pause, resume or cancel")
      ->required()
      ->check(CLI::IsMember({"list", "status", "wait", "pause", "resume", "cancel"}));
  app->add_flag("--json", arguments->json, "Print one JSON object");
  app->add_option("MOUNTPOINT", arguments->mountpoint, "Where the store is mounted")->required();
  app->add_option("ID", arguments->id, "The job's number (default: the newest)");
  app->footer("Example: terracefs job pause /mnt 3");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
