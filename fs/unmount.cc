#include "fs/unmount.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "io/unique_fd.h"

namespace terracefs::fs {
namespace {

class SpawnActions {
 public:
  SpawnActions() { posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

std::string ReadAll(int fd) {
  std::string text;
  std::array<char, 512> piece;
  for (;;) {
    const ssize_t bytes = read(fd, piece.data(), piece.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return text;
    text.append(piece.data(), static_cast<size_t>(bytes));
  }
}

io::Status RunFusermount(const std::string& mountpoint, bool lazily) {
  std::vector<const char*> arguments = {"fusermount3", "-u"};
  if (lazily) arguments.push_back("-z");
  arguments.insert(arguments.end(), {"--", mountpoint.c_str(), nullptr});
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return io::Status::IoError("pipe", {}, errno);
  const io::UniqueFd reader(ends[0]);
  io::UniqueFd writer(ends[1]);
  SpawnActions actions;
  posix_spawn_file_actions_adddup2(actions.get(), writer.get(), STDERR_FILENO);
  pid_t child = 0;
  const int error = posix_spawnp(&child, "fusermount3", actions.get(), nullptr,
                                 const_cast<char* const*>(arguments.data()), environ);
  if (error != 0) return io::Status::IoError("cannot run fusermount3", {}, error);
  writer.Reset();
  std::string said = ReadAll(reader.get());
  int outcome = 0;
  while (waitpid(child, &outcome, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0) return io::Status::Ok();
  if (said.find("busy") != std::string::npos) return io::Status::Busy("it is in use");
  said.resize(std::min(said.find('\n'), said.size()));
  return io::Status::IoError(said.empty() ? "fusermount3 failed" : said, {}, 0);
}

}  // namespace

io::Status Unmount(const std::string& mountpoint, bool lazily) {
  const int flags = UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0);
  if (umount2(mountpoint.c_str(), flags) == 0) return io::Status::Ok();
  switch (errno) {
    case EPERM:
      return RunFusermount(mountpoint, lazily);
    case EBUSY:
      return io::Status::Busy("it is in use");
    default:
      return io::Status::IoError("unmount", mountpoint, errno);
  }
}

}  // namespace terracefs::fs
