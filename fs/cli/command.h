#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/status.h"

namespace CLI {
class App;
}

namespace terracefs::fs {

// What every command exits with.
inline constexpr int kExitDone = 0;
inline constexpr int kExitUsage = 1;
inline constexpr int kExitRefused = 2;      // by the system
inline constexpr int kExitOperational = 8;  // it failed on the way
inline constexpr int kExitMountFailed = 32;
inline constexpr int kExitCancelled = 130;

// Prints `terracefs: what: why` as one line on stderr and returns `exit_code`.
int Fail(int exit_code, std::string_view what, std::string_view why);
// The same with the exit code that fits the error.
int Fail(std::string_view what, const io::Status& status);
int ExitCodeOf(const io::Status& status);
// Line ends and control characters become blanks, so that no file name breaks a line.
std::string OneLine(std::string_view text);
// Prints a line of columns on stdout, the first to the left, all others to the right of their
// `widths`. Cells without a width come after two blanks, as they are.
void PrintRow(const std::vector<int>& widths, const std::vector<std::string>& cells);

// A subcommand that has been declared to the parser; `run` is called if it is the one asked for.
struct Command {
  CLI::App* app = nullptr;
  std::function<int()> run;
};
Command AddMkfs(CLI::App& root);
Command AddMount(CLI::App& root);
Command AddUmount(CLI::App& root);
Command AddCompact(CLI::App& root);
Command AddJob(CLI::App& root);
Command AddStats(CLI::App& root);
Command AddSpace(CLI::App& root);
Command AddConfig(CLI::App& root);
Command AddSync(CLI::App& root);

// Parses the command line and runs it; the process's exit code.
int RunCommandLine(int argc, char** argv);

}  // namespace terracefs::fs
