#include "fs/cli/job_view.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "fs/cli/command.h"
#include "fs/units.h"

namespace terracefs::fs {
namespace {

constexpr double kNsPerSecond = 1e9;
constexpr long kPollIntervalNs = 100'000'000;
constexpr size_t kBarCells = 40;

double Seconds(uint64_t ns) { return static_cast<double>(ns) / kNsPerSecond; }

uint32_t PassCount(const terracefs_job& job) {
  return std::min<uint32_t>(job.pass_count, TERRACEFS_PASSES);
}

bool IsEstimate(const terracefs_job& job) { return (job.flags & TERRACEFS_JOB_ESTIMATE) != 0; }

std::string Bar(const terracefs_pass& pass) {
  const double part = pass.bytes_total == 0 ? 0
                                            : static_cast<double>(pass.bytes_done) /
                                                  static_cast<double>(pass.bytes_total);
  const double bounded = std::clamp(part, 0.0, 1.0);
  const auto full = static_cast<size_t>(bounded * kBarCells);
  return fmt::format("{:<10} |{}{}| {:5.1f}%", FieldText(pass.name), std::string(full, '='),
                     std::string(kBarCells - full, ' '), 100 * bounded);
}

}  // namespace

HeldSignals::HeldSignals() {
  sigemptyset(&held_);
  sigaddset(&held_, SIGINT);
  sigaddset(&held_, SIGTERM);
  sigprocmask(SIG_BLOCK, &held_, &before_);
}

HeldSignals::~HeldSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

bool HeldSignals::Await() const {
  const timespec interval{0, kPollIntervalNs};
  return sigtimedwait(&held_, nullptr, &interval) > 0;
}

std::string JobStateName(uint32_t state) {
  switch (state) {
    case TERRACEFS_JOB_RUNNING:
      return "running";
    case TERRACEFS_JOB_DONE:
      return "done";
    case TERRACEFS_JOB_FAILED:
      return "failed";
    case TERRACEFS_JOB_CANCELLED:
      return "cancelled";
    case TERRACEFS_JOB_PAUSED:
      return "paused";
    default:
      return "unknown";
  }
}

bool IsOver(const terracefs_job& job) {
  return job.state != TERRACEFS_JOB_RUNNING && job.state != TERRACEFS_JOB_PAUSED;
}

nlohmann::ordered_json JobToJson(const terracefs_job& job) {
  auto passes = nlohmann::ordered_json::array();
  for (uint32_t i = 0; i < PassCount(job); ++i) {
    const terracefs_pass& pass = job.pass[i];
    passes.push_back({{"name", FieldText(pass.name)},
                      {"bytes_read", pass.bytes_read},
                      {"bytes_written", pass.bytes_written},
                      {"seconds", Seconds(pass.nanoseconds)}});
  }
  nlohmann::ordered_json json = {{"job", job.job},
                                 {"state", JobStateName(job.state)},
                                 {"passes", std::move(passes)},
                                 {"bytes_read", job.bytes_read},
                                 {"bytes_written", job.bytes_written},
                                 {"bytes_reclaimed", job.bytes_reclaimed},
                                 {"seconds", Seconds(job.nanoseconds)}};
  if (IsEstimate(job)) json["estimate"] = true;
  if (const std::string message = FieldText(job.message); !message.empty()) {
    json["message"] = message;
  }
  return json;
}

std::string JobSummary(const terracefs_job& job) {
  const auto format =
      [&](fmt::format_string<std::string, std::string, std::string, std::string> text) {
        return fmt::format(text, FormatSize(job.bytes_read), FormatSize(job.bytes_written),
                           FormatSize(job.bytes_reclaimed),
                           FormatSeconds(Seconds(job.nanoseconds)));
      };
  return IsEstimate(job) ? format("would read {}, write {}, give back {}; estimated in {}")
                         : format("read {}, wrote {}, gave back {}, took {}");
}

PassPrinter::PassPrinter(bool quiet) : quiet_(quiet), has_terminal_(isatty(STDERR_FILENO) == 1) {}

void PassPrinter::ClearBar() {
  if (bar_shown_) std::fputs("\r\033[K", stderr);
  bar_shown_ = false;
}

void PassPrinter::Show(const terracefs_job& job) {
  const bool running = !IsOver(job);
  const uint32_t begun = PassCount(job);
  const uint32_t over = running && begun > 0 ? begun - 1 : begun;
  ClearBar();
  for (; printed_ < over && !quiet_; ++printed_) {
    const terracefs_pass& pass = job.pass[printed_];
    if (IsEstimate(job)) {
      fmt::print("Pass {}: {}: would read {}, write {}\n", printed_ + 1, FieldText(pass.name),
                 FormatSize(pass.bytes_read), FormatSize(pass.bytes_written));
    } else {
      fmt::print("Pass {}: {}: read {}, wrote {}, {}\n", printed_ + 1, FieldText(pass.name),
                 FormatSize(pass.bytes_read), FormatSize(pass.bytes_written),
                 FormatSeconds(Seconds(pass.nanoseconds)));
    }
    std::fflush(stdout);
  }
  if (!running || begun == 0 || !has_terminal_) return;
  fmt::print(stderr, "Pass {}: {}{}", begun, Bar(job.pass[begun - 1]),
             job.state == TERRACEFS_JOB_PAUSED ? " (paused)" : "");
  std::fflush(stderr);
  bar_shown_ = true;
}

io::Result<JobEnd> FollowJob(const MountClient& client, uint64_t id, const HeldSignals& signals,
                             PassPrinter* printer) {
  JobEnd end;
  for (;;) {
    end.job = TRY(client.Job(id, TERRACEFS_JOB_STATUS));
    printer->Show(end.job);
    if (IsOver(end.job)) return end;
    id = end.job.job;  // 0 was the newest, and stays that one
    if (!signals.Await()) continue;
    end.interrupted = true;
    TRY(client.Job(id, TERRACEFS_JOB_CANCEL));
  }
}

int ReportJobEnd(std::string_view what, const JobEnd& end, bool json) {
  if (json) fmt::print("{}\n", JobToJson(end.job).dump());
  switch (end.job.state) {
    case TERRACEFS_JOB_DONE:
      if (!json) fmt::print("{}\n", JobSummary(end.job));
      return end.interrupted ? kExitCancelled : kExitDone;
    case TERRACEFS_JOB_CANCELLED:
      if (!json) fmt::print("cancelled: {}\n", JobSummary(end.job));
      return kExitCancelled;
    default:
      return Fail(kExitOperational, what, FieldText(end.job.message));
  }
}

}  // namespace terracefs::fs
