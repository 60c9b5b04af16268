#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "fs/cli/command.h"
#include "fs/store.h"
#include "fs/units.h"
#include "io/base/log.h"

namespace terracefs::fs {
namespace {

struct Arguments {
  std::string size;
  std::string label;
  bool force = false;
  std::string store;
};

int Run(const Arguments& arguments) {
  CreateStoreOptions options;
  if (!arguments.size.empty()) {
    const io::Result<uint64_t> bytes = ParseSize(arguments.size);
    if (!bytes.ok()) return Fail("mkfs: --size", bytes.status());
    if (*bytes == 0) return Fail(kExitUsage, "mkfs: --size", "a filesystem of no size");
    options.size_bytes = *bytes;
  }
  options.label = arguments.label;
  options.force = arguments.force;
  options.uid = getuid();
  options.gid = getgid();
  io::SetLogLevel("warn").IgnoreError("a level that exists");
  const io::Status status = Store::Create(arguments.store, options);
  if (!status.ok()) return Fail("mkfs", status);
  return kExitDone;
}

}  // namespace

Command AddMkfs(CLI::App& root) {
  CLI::App* const app = root.add_subcommand("mkfs", "Makes an empty filesystem in a directory");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("--size", arguments->size, "Capacity, for example 20G (default: the disk's)");
  app->add_option("--label", arguments->label, "A name for the store");
  app->add_flag("--force", arguments->force, "Replace the terracefs store that is there");
  app->add_option("STORE", arguments->store, "Directory; made if missing, empty otherwise")
      ->required();
  app->footer("Example: terracefs mkfs --size 20G --label home /srv/store");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
