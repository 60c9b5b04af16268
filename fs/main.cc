#include <optional>

#include "fs/cli/command.h"
#include "fs/cli/mount_helper.h"

int main(int argc, char** argv) {
  const std::optional<int> helped = terracefs::fs::RunAsMountHelper(argc, argv);
  return helped ? *helped : terracefs::fs::RunCommandLine(argc, argv);
}
