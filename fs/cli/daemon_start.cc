#include "fs/cli/daemon_start.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include "fs/cli/command.h"
#include "io/base/log.h"
#include "io/unique_fd.h"

namespace terracefs::fs {
namespace {

// What the child writes: one of these, and after kFailed the reason until the end of the pipe.
constexpr char kLive = 'L';
constexpr char kFailed = 'F';

void LeaveTerminal() {
  setsid();
  if (chdir("/") != 0) io::FsLog().warn("cannot leave the working directory");
  const io::UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.get(), stream);
}

void WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t bytes = write(fd, text.data(), text.size());
    if (bytes < 0 && errno != EINTR) return;  // nobody listens any more
    if (bytes > 0) text.remove_prefix(static_cast<size_t>(bytes));
  }
}

[[noreturn]] void RunChild(const DaemonBody& body, io::UniqueFd report) {
  LeaveTerminal();
  const io::Status status = body([&report] {
    WriteAll(report.get(), {&kLive, 1});
    report.Reset();
  });
  if (!status.ok() && report.valid()) {
    WriteAll(report.get(), kFailed + status.message());
    report.Reset();
  }
  io::FlushLogs();
  _exit(DaemonExitCode(status));
}

// Reads until the pipe ends or a live daemon has reported; passes on a wish to stop.
std::string AwaitReport(int report, pid_t child, bool* interrupted) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  const io::UniqueFd signals(signalfd(-1, &stop, SFD_CLOEXEC));
  std::array<pollfd, 2> waiting = {pollfd{report, POLLIN, 0}, pollfd{signals.get(), POLLIN, 0}};
  std::string text;
  for (;;) {
    if (poll(waiting.data(), waiting.size(), -1) < 0) continue;  // only EINTR
    signalfd_siginfo signal{};
    if (waiting[1].revents != 0 && read(signals.get(), &signal, sizeof signal) > 0) {
      *interrupted = true;
      kill(child, SIGTERM);
    }
    if (waiting[0].revents == 0) continue;
    std::array<char, 512> piece;
    const ssize_t bytes = read(report, piece.data(), piece.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return text;
    text.append(piece.data(), static_cast<size_t>(bytes));
    if (text.front() == kLive) return text;
  }
}

}  // namespace

int DaemonExitCode(const io::Status& status) { return status.ok() ? kExitDone : kExitOperational; }

DaemonStart StartInBackground(const DaemonBody& body) {
  DaemonStart start;
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    start.status = io::Status::IoError("pipe", {}, errno);
    return start;
  }
  const io::UniqueFd reader(ends[0]);
  io::UniqueFd writer(ends[1]);
  const pid_t child = fork();
  if (child < 0) {
    start.status = io::Status::IoError("fork", {}, errno);
    return start;
  }
  if (child == 0) RunChild(body, std::move(writer));

  writer.Reset();
  const std::string report = AwaitReport(reader.get(), child, &start.interrupted);
  if (!report.empty() && report.front() == kLive && !start.interrupted) return start;
  int outcome = 0;
  while (waitpid(child, &outcome, 0) < 0 && errno == EINTR) {
  }
  if (!report.empty() && report.front() == kFailed) {
    start.status = io::Status::IoError(std::string_view(report).substr(1), {}, 0);
  } else {
    start.status = io::Status::IoError("the daemon ended while it was starting", {}, 0);
  }
  return start;
}

}  // namespace terracefs::fs
