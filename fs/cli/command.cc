#include "fs/cli/command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>

namespace terracefs::fs {

std::string OneLine(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

void PrintRow(const std::vector<int>& widths, const std::vector<std::string>& cells) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i >= widths.size()) {
      line += "  " + cells[i];
    } else if (i == 0) {
      line += fmt::format("{:<{}}", cells[i], widths[i]);
    } else {
      line += fmt::format(" {:>{}}", cells[i], widths[i]);
    }
  }
  fmt::print("{}\n", line);
}

int Fail(int exit_code, std::string_view what, std::string_view why) {
  const std::string line = "terracefs: " + OneLine(what) + ": " + OneLine(why) + "\n";
  std::fputs(line.c_str(), stderr);
  return exit_code;
}

int ExitCodeOf(const io::Status& status) {
  using io::StatusCode;
  switch (status.code()) {
    case StatusCode::kOk:
      return kExitDone;
    case StatusCode::kInvalidArgument:
      return kExitUsage;
    case StatusCode::kBusy:
    case StatusCode::kNoSpace:
    case StatusCode::kNotFound:
    case StatusCode::kNotSupported:
    case StatusCode::kPosix:
      return kExitRefused;
    case StatusCode::kCancelled:
      return kExitCancelled;
    case StatusCode::kIoError: {
      const int error = status.os_errno();
      const bool refused = error == EACCES || error == EPERM || error == EROFS || error == ENOENT ||
                           error == ENOTDIR || error == EEXIST;
      return refused ? kExitRefused : kExitOperational;
    }
    case StatusCode::kCorruption:
    case StatusCode::kShuttingDown:
    case StatusCode::kWouldBlock:
      break;
  }
  return kExitOperational;
}

int Fail(std::string_view what, const io::Status& status) {
  return Fail(ExitCodeOf(status), what, status.message());
}

int RunCommandLine(int argc, char** argv) {
  CLI::App root("TerraceFS: a POSIX filesystem on an engine of its own", "terracefs");
  root.set_version_flag("--version", "terracefs " TERRACEFS_VERSION);
  root.require_subcommand(0, 1);  // none is told below: an unknown one has to be named
  root.footer("Example: terracefs mkfs /srv/store && terracefs mount /srv/store /mnt");
  const std::array commands = {AddMkfs(root),    AddMount(root),  AddUmount(root),
                               AddCompact(root), AddJob(root),    AddStats(root),
                               AddSpace(root),   AddConfig(root), AddSync(root)};
  try {
    root.parse(argc, argv);
  } catch (const CLI::Success& asked) {
    root.exit(asked);  // --help and --version, which print
    return kExitDone;
  } catch (const CLI::ParseError& error) {
    std::string_view what = "usage";
    for (const Command& command : commands) {
      if (command.app->parsed()) what = command.app->get_name();
    }
    return Fail(kExitUsage, what, error.what());
  }
  for (const Command& command : commands) {
    if (command.app->parsed()) return command.run();
  }
  return Fail(kExitUsage, "usage", "A subcommand is required, see terracefs --help");
}

}  // namespace terracefs::fs
