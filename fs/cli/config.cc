#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "fs/cli/command.h"
#include "fs/cli/mount_client.h"
#include "fs/control/live_settings.h"

namespace terracefs::fs {
namespace {

struct Arguments {
  terracefs_config_action action = TERRACEFS_CONFIG_LIST;
  std::string key;
  std::string value;
  std::string mountpoint;
};

// The daemon says only that it refuses, so what it would say is found out here, by the same code.
io::Status Check(const Arguments& arguments) {
  if (arguments.action == TERRACEFS_CONFIG_SET) {
    return LiveSettings::Check(arguments.key, arguments.value);
  }
  if (arguments.action == TERRACEFS_CONFIG_GET) return LiveSettings::CheckKey(arguments.key);
  return io::Status::Ok();
}

int Run(const Arguments& arguments) {
  std::string what = "config";
  if (!arguments.key.empty()) what += ": " + arguments.key;
  if (const io::Status status = Check(arguments); !status.ok()) return Fail(what, status);
  const io::Result<MountClient> client = MountClient::Open(arguments.mountpoint);
  if (!client.ok()) return Fail("config", client.status());
  const io::Result<terracefs_config> answer =
      client->Config(arguments.action, arguments.key, arguments.value);
  if (!answer.ok()) return Fail(kExitRefused, what, answer.status().message());
  const uint64_t count = std::min<uint64_t>(answer->count, TERRACEFS_SETTINGS);
  for (uint64_t i = 0; i < count && arguments.action != TERRACEFS_CONFIG_SET; ++i) {
    const terracefs_setting& setting = answer->setting[i];
    if (arguments.action == TERRACEFS_CONFIG_LIST) fmt::print("{}=", FieldText(setting.key));
    fmt::print("{}\n", FieldText(setting.value));
  }
  return kExitDone;
}

}  // namespace

Command AddConfig(CLI::App& root) {
  CLI::App* const app = root.add_subcommand("config", "Shows and changes a mount's live settings");
  const auto arguments = std::make_shared<Arguments>();
  const auto add = [&](const char* name, const char* what, terracefs_config_action action,
                       const char* example) {
    CLI::App* const command = app->add_subcommand(name, what);
    if (action != TERRACEFS_CONFIG_LIST) {
      command->add_option("KEY", arguments->key, "The setting")->required();
    }
    if (action == TERRACEFS_CONFIG_SET) {
      command->add_option("VALUE", arguments->value, "As in the mount option of that name")
          ->required();
    }
    command->add_option("MOUNTPOINT", arguments->mountpoint, "Where the store is mounted")
        ->required();
    command->footer(example);
    command->callback([arguments, action] { arguments->action = action; });
  };
  add("list", "Shows all", TERRACEFS_CONFIG_LIST, "Example: terracefs config list /mnt");
  add("get", "Shows one", TERRACEFS_CONFIG_GET, "Example: terracefs config get cache /mnt");
  add("set", "Changes one until the mount ends", TERRACEFS_CONFIG_SET,
      "Example: terracefs config set compaction_rate 20M /mnt");
  app->require_subcommand(1);
  std::string known;
  for (const std::string_view key : LiveSettings::Keys()) known += " " + std::string(key);
  app->footer("Settings:" + known +
              "\nThey hold until the mount ends; mount options say what the next one begins with.\n"
              "Example: terracefs config set compaction_rate 20M /mnt");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
