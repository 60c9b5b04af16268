#include <CLI/CLI.hpp>
#include <memory>

#include "fs/cli/command.h"
#include "fs/cli/mount_client.h"

namespace terracefs::fs {
namespace {

int Run(const std::string& mountpoint) {
  const io::Result<MountClient> client = MountClient::Open(mountpoint);
  if (!client.ok()) return Fail("sync", client.status());
  const io::Status status = client->Sync();
  return status.ok() ? kExitDone : Fail("sync", status);
}

}  // namespace

Command AddSync(CLI::App& root) {
  CLI::App* const app = root.add_subcommand("sync", "Makes everything so far durable");
  const auto mountpoint = std::make_shared<std::string>();
  app->add_option("MOUNTPOINT", *mountpoint, "Where the store is mounted")->required();
  app->footer("Example: terracefs sync /mnt");
  return {app, [mountpoint] { return Run(*mountpoint); }};
}

}  // namespace terracefs::fs
