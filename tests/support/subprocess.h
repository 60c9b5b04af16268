#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace terracefs::testing {

struct ProcessResult {
  int exit_code = -1;  // 128 + N if signal N ended it, as a shell says it
  std::string out;
  std::string err;
  bool timed_out = false;  // it was killed
};

// Runs a program, found in PATH, to its end and collects what it says.
ProcessResult RunProcess(const std::vector<std::string>& arguments,
                         std::chrono::seconds timeout = std::chrono::seconds(60));

// Starts a program without waiting for it; -1 if that fails.
pid_t StartProcess(const std::vector<std::string>& arguments);
// Waits for a child; its exit code as above, or -1 if it does not end in time.
int WaitProcess(pid_t pid, std::chrono::seconds timeout = std::chrono::seconds(60));
// Waits for any process, child or not, to end; false if it does not.
bool WaitGone(pid_t pid, std::chrono::seconds timeout = std::chrono::seconds(60));

// Runs `body` in a child process as this user and group, without supplementary groups, and returns
// what it returns. Needs root. What must not be shared, like EXPECTs, does not belong in there.
int RunAsUser(uid_t uid, gid_t gid, const std::function<int()>& body);

}  // namespace terracefs::testing
