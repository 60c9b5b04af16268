#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "fs/cli/command.h"
#include "fs/cli/job_view.h"
#include "fs/cli/mount_client.h"
#include "fs/control/jobs.h"

namespace terracefs::fs {
namespace {

struct Arguments {
  std::string action;
  bool json = false;
  std::string mountpoint;
  uint64_t id = 0;  // 0: the newest
};

void Print(const terracefs_job& job, bool json) {
  if (json) {
    fmt::print("{}\n", JobToJson(job).dump());
  } else {
    fmt::print("job {}: {}: {}\n", job.job, JobStateName(job.state), JobSummary(job));
  }
}

// Newest first. Ids are given out in order, so the newest says where the others are.
io::Result<std::vector<terracefs_job>> AllJobs(const MountClient& client) {
  std::vector<terracefs_job> jobs;
  const io::Result<terracefs_job> newest = client.Job(0, TERRACEFS_JOB_STATUS);
  if (newest.status().Is(io::StatusCode::kNotFound)) return jobs;
  if (!newest.ok()) return newest.status();
  jobs.push_back(*newest);
  constexpr uint64_t kRemembered = kRunningJobsMax + kFinishedJobsMax;
  const uint64_t last = newest->job;
  for (uint64_t id = last - 1; id > 0 && last - id < kRemembered; --id) {
    const io::Result<terracefs_job> job = client.Job(id, TERRACEFS_JOB_STATUS);
    if (job.status().Is(io::StatusCode::kNotFound)) continue;
    if (!job.ok()) return job.status();
    jobs.push_back(*job);
  }
  return jobs;
}

int List(const MountClient& client, const Arguments& arguments) {
  const io::Result<std::vector<terracefs_job>> jobs = AllJobs(client);
  if (!jobs.ok()) return Fail("job list", jobs.status());
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
  const bool cancel = arguments.action == "cancel";
  return Show(*client, arguments, cancel ? TERRACEFS_JOB_CANCEL : TERRACEFS_JOB_STATUS);
}

}  // namespace

Command AddJob(CLI::App& root) {
  CLI::App* const app = root.add_subcommand("job", "Lists, follows and cancels long-running jobs");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("ACTION", arguments->action, "list, status, wait or cancel")
      ->required()
      ->check(CLI::IsMember({"list", "status", "wait", "cancel"}));
  app->add_flag("--json", arguments->json, "Print one JSON object");
  app->add_option("MOUNTPOINT", arguments->mountpoint, "Where the store is mounted")->required();
  app->add_option("ID", arguments->id, "The job's number (default: the newest)");
  app->footer("Example: terracefs job status /mnt 3");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
