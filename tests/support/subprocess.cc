#include "tests/support/subprocess.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "io/base/check.h"
#include "io/unique_fd.h"

namespace terracefs::testing {
namespace {

using std::chrono::steady_clock;

int ExitCodeOf(int outcome) {
  return WIFSIGNALED(outcome) ? 128 + WTERMSIG(outcome) : WEXITSTATUS(outcome);
}

std::vector<char*> Pointers(const std::vector<std::string>& arguments) {
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

struct Pipe {
  io::UniqueFd reader;
  io::UniqueFd writer;
  Pipe() {
    std::array<int, 2> ends{};
    CHECK(pipe2(ends.data(), O_CLOEXEC) == 0);
    reader = io::UniqueFd(ends[0]);
    writer = io::UniqueFd(ends[1]);
  }
};

// Reads what is there; false at the end.
bool Drain(int fd, std::string* text) {
  std::array<char, 4096> piece;
  const ssize_t bytes = read(fd, piece.data(), piece.size());
  if (bytes <= 0) return bytes < 0 && errno == EINTR;
  text->append(piece.data(), static_cast<size_t>(bytes));
  return true;
}

// Collects both streams until they end; false if the time is over before.
bool Collect(int out_fd, int err_fd, steady_clock::time_point give_up, ProcessResult* result) {
  std::array<pollfd, 2> waiting = {pollfd{out_fd, POLLIN, 0}, pollfd{err_fd, POLLIN, 0}};
  while (waiting[0].fd >= 0 || waiting[1].fd >= 0) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(give_up - steady_clock::now());
    if (left.count() <= 0) return false;
    if (poll(waiting.data(), waiting.size(), static_cast<int>(left.count())) < 0) continue;
    if (waiting[0].revents != 0 && !Drain(out_fd, &result->out)) waiting[0].fd = -1;
    if (waiting[1].revents != 0 && !Drain(err_fd, &result->err)) waiting[1].fd = -1;
  }
  return true;
}

}  // namespace

ProcessResult RunProcess(const std::vector<std::string>& arguments, std::chrono::seconds timeout) {
  const auto give_up = steady_clock::now() + timeout;
  Pipe out;
  Pipe err;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out.writer.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.writer.get(), STDERR_FILENO);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, arguments.front().c_str(), &actions, nullptr,
                                 Pointers(arguments).data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ProcessResult result;
  if (error != 0) return result;
  out.writer.Reset();
  err.writer.Reset();
  if (!Collect(out.reader.get(), err.reader.get(), give_up, &result)) {
    result.timed_out = true;
    kill(pid, SIGKILL);
  }
  int outcome = 0;
  while (waitpid(pid, &outcome, 0) < 0 && errno == EINTR) {
  }
  result.exit_code = ExitCodeOf(outcome);
  return result;
}

pid_t StartProcess(const std::vector<std::string>& arguments) {
  pid_t pid = -1;
  if (posix_spawnp(&pid, arguments.front().c_str(), nullptr, nullptr, Pointers(arguments).data(),
                   environ) != 0) {
    return -1;
  }
  return pid;
}

bool WaitGone(pid_t pid, std::chrono::seconds timeout) {
  const io::UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process.valid()) return true;
  pollfd waiting{process.get(), POLLIN, 0};
  return poll(&waiting, 1, static_cast<int>(timeout.count() * 1000)) > 0;
}

int WaitProcess(pid_t pid, std::chrono::seconds timeout) {
  if (!WaitGone(pid, timeout)) return -1;
  int outcome = 0;
  if (waitpid(pid, &outcome, 0) != pid) return -1;
  return ExitCodeOf(outcome);
}

int RunAsUser(uid_t uid, gid_t gid, const std::function<int()>& body) {
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(gid, gid, gid) != 0 ||
        setresuid(uid, uid, uid) != 0) {
      _exit(255);
    }
    _exit(body());
  }
  return WaitProcess(pid);
}

}  // namespace terracefs::testing
