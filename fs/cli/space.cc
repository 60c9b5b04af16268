#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "fs/cli/command.h"
#include "fs/cli/mount_client.h"
#include "fs/units.h"

namespace terracefs::fs {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  bool json = false;
  std::string mountpoint;
};

Json ToJson(const terracefs_space& space) {
  return {{"capacity", space.capacity_bytes},
          {"live", space.live_bytes},
          {"physical", space.physical_bytes},
          {"reclaimable",
           {{"tombstones", space.tombstone_bytes},
            {"blob_garbage", space.blob_garbage_bytes},
            {"open_unlinked", space.open_unlinked_bytes},
            {"snapshots", Json::object()},
            {"obsolete_files", space.obsolete_file_bytes}}},
          {"overhead",
           {{"log", space.log_bytes},
            {"spare", space.spare_bytes},
            {"metadata", space.metadata_bytes}}},
          {"eta_s", space.eta_s},
          {"rate", space.rate}};
}

void PrintLine(const char* what, uint64_t bytes, std::string_view remark = {}) {
  std::vector<std::string> cells = {what, FormatSize(bytes)};
  if (!remark.empty()) cells.emplace_back(remark);
  PrintRow({16, 12}, cells);
}

// When background work will have given it back, by itself.
std::string When(const terracefs_space& space) {
  if (space.rate == 0) return "as fast as the disk allows";
  return fmt::format("{} at least, at {}/s", FormatSeconds(static_cast<double>(space.eta_s)),
                     FormatSize(space.rate));
}

void PrintText(const terracefs_space& space) {
  const uint64_t garbage = space.tombstone_bytes + space.blob_garbage_bytes;
  const uint64_t reclaimable = garbage + space.open_unlinked_bytes + space.obsolete_file_bytes;
  PrintLine("capacity", space.capacity_bytes);
  PrintLine("on disk", space.physical_bytes);
  PrintLine("live", space.live_bytes);
  PrintLine("reclaimable", reclaimable, garbage > 0 ? When(space) : "");
  PrintLine("  tombstones", space.tombstone_bytes, "deleted or overwritten, still in tables");
  PrintLine("  blob garbage", space.blob_garbage_bytes,
            "deleted or overwritten, still in value files");
  PrintLine("  open unlinked", space.open_unlinked_bytes, "held by whoever has the files open");
  PrintLine("  obsolete files", space.obsolete_file_bytes, "held by reads under way");
  PrintLine("overhead", space.log_bytes + space.spare_bytes + space.metadata_bytes);
  PrintLine("  log", space.log_bytes, "spare logs included");
  PrintLine("  spare", space.spare_bytes, "preallocated for contents to come");
  PrintLine("  metadata", space.metadata_bytes);
}

int Run(const Arguments& arguments) {
  const io::Result<MountClient> client = MountClient::Open(arguments.mountpoint);
  if (!client.ok()) return Fail("space", client.status());
  const io::Result<terracefs_space> space = client->Space();
  if (!space.ok()) return Fail("space", space.status());
  if (arguments.json) {
    fmt::print("{}\n", ToJson(*space).dump());
  } else {
    PrintText(*space);
  }
  return kExitDone;
}

}  // namespace

Command AddSpace(CLI::App& root) {
  CLI::App* const app = root.add_subcommand(
      "space", "Shows where the bytes are, which ones come back, when, and what holds them");
  const auto arguments = std::make_shared<Arguments>();
  app->add_flag("--json", arguments->json, "Print one JSON object");
  app->add_option("MOUNTPOINT", arguments->mountpoint, "Where the store is mounted")->required();
  app->footer("Example: terracefs space /mnt");
  return {app, [arguments] { return Run(*arguments); }};
}

}  // namespace terracefs::fs
