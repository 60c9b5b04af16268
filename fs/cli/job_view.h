#pragma once

#include <signal.h>

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "fs/cli/mount_client.h"
#include "io/base/result.h"

namespace terracefs::fs {

std::string JobStateName(uint32_t state);
// It has ended, well or not.
bool IsOver(const terracefs_job& job);
// As the interface's `compact --json`.
nlohmann::ordered_json JobToJson(const terracefs_job& job);
// One line: bytes read, written and given back (or what would be), and the time taken.
std::string JobSummary(const terracefs_job& job);

// Shows passes as they go, in the manner of fsck: on stderr a bar for the current pass, if it is a
// terminal, and on stdout a line for each that is over. Not thread-safe.
class PassPrinter {
 public:
  explicit PassPrinter(bool quiet);
  void Show(const terracefs_job& job);

 private:
  void ClearBar();

  const bool quiet_;
  const bool has_terminal_;
  bool bar_shown_ = false;
  uint32_t printed_ = 0;  // passes that have their line
};

struct JobEnd {
  terracefs_job job{};
  bool interrupted = false;  // the user pressed Ctrl-C, or the process got SIGTERM
};

// While it exists, SIGINT and SIGTERM wait to be asked for. Made before a job is started, so that
// no Ctrl-C leaves one behind.
class HeldSignals {
 public:
  HeldSignals();
  ~HeldSignals();
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  // Waits for the interval at which a job is looked at; true, and at once, if one of them came.
  bool Await() const;

 private:
  sigset_t held_;
  sigset_t before_;
};

// Follows a job to its end. Ctrl-C cancels it, and then its end is still waited for.
io::Result<JobEnd> FollowJob(const MountClient& client, uint64_t id, const HeldSignals& signals,
                             PassPrinter* printer);

// What a command that followed a job exits with, after saying why on stderr if it failed.
int ReportJobEnd(std::string_view what, const JobEnd& end, bool json);

}  // namespace terracefs::fs
