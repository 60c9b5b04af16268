#include "lsm/compaction/vacuum_picker.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "io/base/units.h"
#include "lsm/compaction/input_growth.h"

namespace terracefs::lsm {
namespace {

// Values that one plan moves, unless a single table has more of them.
uint64_t MovedBytesMax(const PickContext& context) {
  return std::min(256 * io::kMiB, context.values->free_bytes / 2);
}
// A file with this share of garbage goes even if nothing presses.
constexpr double kNearlyAllGarbage = 0.8;
// While garbage presses, files with less than this part of garbage_ratio are still left alone: to
// move so much for so little would make matters worse. If known garbage is what presses, there are
// files with more: the average is kLimitShare * kPressesFrom of the ratio.
constexpr double kVictimRatioMin = 1.0 / 3;
// Victims hold at least this part of the live values together, so that the tables, too, are
// rewritten for something.
constexpr uint64_t kVictimsPerStore = 32;
// A slice grows by tables that are at least so good, against the first.
constexpr double kNeighbourRateMin = 0.5;

// Scattered: at least so many pages, fewer than so many that lie together, and no more than this
// part of the table's bytes above it.
constexpr uint64_t kScatteredPagesMin = 1024;
constexpr uint64_t kScatteredPages = 32;
constexpr double kOverlapShareMax = 0.25;

// A value file and who refers to it, bytes.
struct Holding {
  FileNumber file = 0;
  uint64_t garbage_bytes = 0;
  double share = 0;  // of the file that is garbage
  uint64_t unflushed_bytes = 0;
  uint64_t level0_bytes = 0;
  uint64_t below_bytes = 0;  // on levels >= 1
  uint64_t free_bytes = 0;   // of those, in tables that are not taken

  bool only_below() const { return unflushed_bytes == 0 && level0_bytes == 0; }
};

bool IsQuarantined(const PickContext& context, const FileMeta& table) {
  return context.quarantined != nullptr && context.quarantined->contains(table.number);
}

// Files with garbage that could be vacuumed, most garbage by share first.
std::vector<Holding> FindHoldings(const PickContext& context) {
  const ValueScope& scope = *context.values;
  std::unordered_map<FileNumber, Holding> by_number;
  for (const ValueFileGarbage& file : MeasureValueFiles(context.version())) {
    if (scope.writing.contains(file.file) || scope.avoided.contains(file.file)) continue;
    const auto found = scope.unflushed.find(file.file);
    const uint64_t unflushed = found == scope.unflushed.end() ? 0 : found->second;
    if (file.file_bytes <= file.used_bytes + unflushed) continue;
    Holding holding;
    holding.file = file.file;
    holding.garbage_bytes = file.file_bytes - file.used_bytes - unflushed;
    holding.share =
        static_cast<double>(holding.garbage_bytes) / static_cast<double>(file.file_bytes);
    holding.unflushed_bytes = unflushed;
    by_number.emplace(file.file, holding);
  }
  if (by_number.empty()) return {};
  for (int level = 0; level < kLevelCount; ++level) {
    for (const FileRef& table : context.version().files(level)) {
      const bool damaged = IsQuarantined(context, *table);
      const bool taken = context.IsTaken(*table);
      for (const ValueUse& use : table->info.value_uses) {
        const auto it = by_number.find(use.file);
        if (it == by_number.end()) continue;
        if (damaged) {  // the file cannot go as long as the table is there
          by_number.erase(it);
          continue;
        }
        (level == 0 ? it->second.level0_bytes : it->second.below_bytes) += use.bytes;
        if (level > 0 && !taken) it->second.free_bytes += use.bytes;
      }
    }
  }
  std::vector<Holding> holdings;
  for (const auto& [number, holding] : by_number) holdings.push_back(holding);
  std::sort(holdings.begin(), holdings.end(), [](const Holding& a, const Holding& b) {
    return a.share != b.share ? a.share > b.share : a.file < b.file;
  });
  return holdings;
}

// Files to be vacuumed.
class Victims {
 public:
  void Add(const Holding& holding) {
    const uint64_t below = std::max<uint64_t>(holding.below_bytes, 1);
    gains_.emplace(holding.file,
                   static_cast<double>(holding.garbage_bytes) / static_cast<double>(below));
    garbage_bytes_ += holding.garbage_bytes;
    below_bytes_ += holding.below_bytes;
  }
  bool empty() const { return gains_.empty(); }
  bool Contains(FileNumber file) const { return gains_.contains(file); }
  uint64_t garbage_bytes() const { return garbage_bytes_; }
  uint64_t below_bytes() const { return below_bytes_; }  // to be moved

  uint64_t BytesIn(const FileMeta& table) const {
    uint64_t bytes = 0;
    for (const ValueUse& use : table.info.value_uses) {
      if (Contains(use.file)) bytes += use.bytes;
    }
    return bytes;
  }
  // What moving the table's values is worth, per byte of the table and of values that is written.
  // A file's garbage is shared out over what holds it, so that the last values in a file are worth
  // all of it.
  double RateOf(const FileMeta& table) const {
    double gain = 0;
    uint64_t bytes = 0;
    for (const ValueUse& use : table.info.value_uses) {
      const auto it = gains_.find(use.file);
      if (it == gains_.end()) continue;
      gain += it->second * static_cast<double>(use.bytes);
      bytes += use.bytes;
    }
    return gain / static_cast<double>(std::max<uint64_t>(bytes + table.info.file_bytes, 1));
  }

 private:
  std::unordered_map<FileNumber, double> gains_;  // garbage per byte to be moved
  uint64_t garbage_bytes_ = 0;
  uint64_t below_bytes_ = 0;
};

CompactionPlan VacuumPlan(const PickContext& context, const Victims& victims, int level,
                          std::vector<FileRef> tables) {
  CompactionPlan plan = InPlacePlan(context, level, std::move(tables), "vacuum");
  for (const FileRef& table : plan.inputs[0]) {
    for (const ValueUse& use : table->info.value_uses) {
      if (victims.Contains(use.file)) plan.moved_value_files.insert(use.file);
    }
  }
  return plan;
}

// A run of neighbouring tables of a level that grows from one.
class Slice {
 public:
  Slice(const PickContext& context, const Victims& victims, int level, size_t seed)
      : context_(context),
        victims_(victims),
        level_(level),
        files_(context.version().files(level)),
        begin_(seed),
        end_(seed + 1),
        rate_min_(kNeighbourRateMin * victims.RateOf(*files_[seed])),
        moved_bytes_(victims.BytesIn(*files_[seed])),
        table_bytes_(files_[seed]->info.file_bytes) {}

  // Only by tables that may be rewritten now.
  void Grow() {
    while (end_ < files_.size() && TryTake(begin_, end_ + 1, *files_[end_])) ++end_;
    while (begin_ > 0 && TryTake(begin_ - 1, end_, *files_[begin_ - 1])) --begin_;
  }
  CompactionPlan Plan() const { return PlanOf(begin_, end_); }

 private:
  CompactionPlan PlanOf(size_t begin, size_t end) const {
    return VacuumPlan(context_, victims_, level_,
                      {files_.begin() + static_cast<ptrdiff_t>(begin),
                       files_.begin() + static_cast<ptrdiff_t>(end)});
  }
  bool TryTake(size_t begin, size_t end, const FileMeta& table) {
    const uint64_t moved_bytes = moved_bytes_ + victims_.BytesIn(table);
    const uint64_t table_bytes = table_bytes_ + table.info.file_bytes;
    if (moved_bytes == moved_bytes_ || moved_bytes > MovedBytesMax(context_) ||
        table_bytes >= MergeBytesMax(context_.options) || victims_.RateOf(table) < rate_min_ ||
        !MayRun(context_, PlanOf(begin, end))) {
      return false;
    }
    moved_bytes_ = moved_bytes;
    table_bytes_ = table_bytes;
    return true;
  }

  const PickContext& context_;
  const Victims& victims_;
  const int level_;
  const std::vector<FileRef>& files_;
  size_t begin_;
  size_t end_;
  const double rate_min_;
  uint64_t moved_bytes_;
  uint64_t table_bytes_;
};

// The best slice, growing from the best table that is free. `or_conflicting`: if none is free, the
// best that is not damaged.
std::optional<CompactionPlan> PickSlice(const PickContext& context, const Victims& victims,
                                        bool or_conflicting) {
  struct Seed {
    int level = 0;
    size_t index = 0;
    double rate = 0;
  };
  std::vector<Seed> seeds;
  for (int level = 1; level < kLevelCount; ++level) {
    const std::vector<FileRef>& files = context.version().files(level);
    for (size_t i = 0; i < files.size(); ++i) {
      const uint64_t moved_bytes = victims.BytesIn(*files[i]);
      if (moved_bytes == 0 || IsQuarantined(context, *files[i])) continue;
      // The copies must have room.
      if (moved_bytes + files[i]->info.file_bytes > context.values->free_bytes / 2) continue;
      seeds.push_back({level, i, victims.RateOf(*files[i])});
    }
  }
  std::stable_sort(seeds.begin(), seeds.end(),
                   [](const Seed& a, const Seed& b) { return a.rate > b.rate; });
  for (const Seed& seed : seeds) {
    Slice slice(context, victims, seed.level, seed.index);
    if (!MayRun(context, slice.Plan())) continue;
    slice.Grow();
    return slice.Plan();
  }
  if (!or_conflicting || seeds.empty()) return std::nullopt;
  return Slice(context, victims, seeds.front().level, seeds.front().index).Plan();
}

// The worst of them, enough to be worth rewriting tables for.
Victims ChooseVictims(const std::vector<Holding>& worst_first, double share_min,
                      uint64_t enough_bytes, bool only_free, bool only_below) {
  Victims victims;
  for (const Holding& holding : worst_first) {
    if (holding.share < share_min || victims.below_bytes() >= enough_bytes) break;
    if ((only_below && !holding.only_below()) || holding.below_bytes == 0 ||
        (only_free && holding.free_bytes == 0)) {
      continue;
    }
    victims.Add(holding);
  }
  return victims;
}

// Whether less is to be written than is set free.
bool PaysOff(const PickContext& context, const Victims& victims) {
  uint64_t bytes = victims.below_bytes();
  for (int level = 1; level < kLevelCount; ++level) {
    for (const FileRef& table : context.version().files(level)) {
      if (victims.BytesIn(*table) > 0) bytes += table->info.file_bytes;
    }
  }
  return bytes < victims.garbage_bytes();
}

// Whether level 0 should be merged down before anything is moved: it holds most of the worst file,
// which could not go otherwise, or hides more than is known. Merging tables of references costs
// little.
bool IsLevel0First(const PickContext& context, const ValueGarbage& garbage,
                   const std::vector<Holding>& worst_first, double share_min) {
  if (!worst_first.empty()) {
    const Holding& worst = worst_first.front();
    if (worst.share >= share_min && worst.level0_bytes > worst.below_bytes) return true;
  }
  uint64_t bytes = 0;
  for (const FileRef& table : context.version().files(0)) bytes += ValueBytes(*table);
  return context.values->hidden_share * static_cast<double>(bytes) >
         static_cast<double>(garbage.known_bytes);
}

bool DoesLevel0Hold(const std::vector<Holding>& holdings, double share_min) {
  return std::any_of(holdings.begin(), holdings.end(), [&](const Holding& holding) {
    return holding.share >= share_min && holding.level0_bytes > 0;
  });
}

std::optional<CompactionPlan> PickPressingVacuum(const PickContext& context,
                                                 const ValueGarbage& garbage,
                                                 const std::vector<Holding>& worst_first,
                                                 uint64_t enough_bytes) {
  const double share_min = kVictimRatioMin * context.garbage_ratio;
  if (IsLevel0First(context, garbage, worst_first, share_min)) {
    if (auto plan = PickLevel0(context)) return plan;
  }
  // What other jobs have taken may well be a vacuum: more victims would go too early, unless it is
  // late already.
  const bool only_free = garbage.slows > 0;
  for (const bool only_below : {true, false}) {
    const Victims victims =
        ChooseVictims(worst_first, share_min, enough_bytes, only_free, only_below);
    if (victims.empty()) continue;
    if (auto plan = PickSlice(context, victims, false)) return plan;
  }
  return DoesLevel0Hold(worst_first, share_min) ? PickLevel0(context) : std::nullopt;
}

bool IsScattered(const PickContext& context, const FileMeta& table) {
  const TableInfo& info = table.info;
  // Files that are tiny end runs by themselves.
  const uint64_t pages_per_file = context.values->full_file_bytes / kValuePageBytes;
  const uint64_t together = std::min(kScatteredPages, pages_per_file / 2);
  return info.value_pages >= kScatteredPagesMin && info.value_pages < together * info.value_runs;
}

bool RefersToAvoided(const PickContext& context, const FileMeta& table) {
  return std::any_of(
      table.info.value_uses.begin(), table.info.value_uses.end(),
      [&](const ValueUse& use) { return context.values->avoided.contains(use.file); });
}

// Whether merges will rewrite the table soon: much of the levels above lies over it.
bool IsOverlapped(const PickContext& context, int level, const FileMeta& table) {
  const Version& version = context.version();
  double above = 0;
  for (int upper = 0; upper < level; ++upper) {
    for (const FileRef& other :
         version.Overlapping(upper, table.smallest_user_key(), table.largest_user_key())) {
      const size_t met =
          version.Overlapping(level, other->smallest_user_key(), other->largest_user_key()).size();
      above += static_cast<double>(other->info.file_bytes) /
               static_cast<double>(std::max<size_t>(met, 1));
    }
  }
  return above > kOverlapShareMax * static_cast<double>(table.info.file_bytes);
}

CompactionPlan OrderPlan(const PickContext& context, int level, std::vector<FileRef> tables) {
  CompactionPlan plan = InPlacePlan(context, level, std::move(tables), "value order");
  plan.moves_all_values = true;
  return plan;
}

}  // namespace

std::optional<CompactionPlan> PickVacuum(const PickContext& context) {
  if (context.values == nullptr) return std::nullopt;
  const ValueGarbage garbage =
      MeasureValueGarbage(context.version(), *context.values, context.garbage_ratio,
                          FullValueFileBytes(0, context.options.value_file_bytes));
  const std::vector<Holding> holdings = FindHoldings(context);
  const uint64_t enough_bytes =
      std::min(std::max(context.values->full_file_bytes, garbage.live_bytes / kVictimsPerStore),
               MovedBytesMax(context));
  if (garbage.presses) return PickPressingVacuum(context, garbage, holdings, enough_bytes);
  const bool quiet = context.values->quiet;
  const double share_min =
      quiet ? context.garbage_ratio : std::max(kNearlyAllGarbage, context.garbage_ratio);
  // What newer tables hold, too, waits: it could not go yet. In a quiet store it would wait long.
  const Victims victims = ChooseVictims(holdings, share_min, enough_bytes, false, !quiet);
  if (!victims.empty() && (quiet || PaysOff(context, victims))) {
    if (auto plan = PickSlice(context, victims, false)) return plan;
  }
  return quiet && DoesLevel0Hold(holdings, share_min) ? PickLevel0(context) : std::nullopt;
}

std::optional<CompactionPlan> PickScattered(const PickContext& context) {
  if (context.values == nullptr || !context.values->quiet) return std::nullopt;
  const int level = context.version().DeepestLevel();
  if (level == 0) return std::nullopt;
  const std::vector<FileRef>& files = context.version().files(level);
  const auto wanted = [&](const FileMeta& table) {
    return IsScattered(context, table) && !RefersToAvoided(context, table) &&
           !IsOverlapped(context, level, table);
  };
  for (size_t begin = 0; begin < files.size(); ++begin) {
    if (!wanted(*files[begin])) continue;
    CompactionPlan plan = OrderPlan(context, level, {files[begin]});
    if (!MayRun(context, plan)) continue;
    uint64_t moved_bytes = ValueBytes(*files[begin]);
    if (moved_bytes > context.values->free_bytes / 2) continue;
    for (size_t end = begin + 1; end < files.size() && wanted(*files[end]); ++end) {
      moved_bytes += ValueBytes(*files[end]);
      std::vector<FileRef> tables = plan.inputs[0];
      tables.push_back(files[end]);
      CompactionPlan grown = OrderPlan(context, level, std::move(tables));
      if (moved_bytes > MovedBytesMax(context) ||
          grown.InputBytes() >= MergeBytesMax(context.options) || !MayRun(context, grown)) {
        break;
      }
      plan = std::move(grown);
    }
    return plan;
  }
  return std::nullopt;
}

std::optional<CompactionPlan> PickManualVacuum(const PickContext& context, double share_min,
                                               FileNumber limit) {
  if (context.values == nullptr) return std::nullopt;
  std::vector<Holding> holdings = FindHoldings(context);
  std::erase_if(holdings, [&](const Holding& holding) { return holding.file >= limit; });
  const Victims victims = ChooseVictims(holdings, share_min, UINT64_MAX, false, false);
  if (victims.empty()) return std::nullopt;
  return PickSlice(context, victims, true);
}

}  // namespace terracefs::lsm
