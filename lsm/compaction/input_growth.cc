#include "lsm/compaction/input_growth.h"

#include <algorithm>

#include "lsm/compaction/garbage.h"

namespace terracefs::lsm {
namespace {

constexpr uint64_t kGrandparentBytesMaxFactor = 10;
constexpr size_t kIntraLevel0FilesMin = 4;

// Tables [begin, end) of a level.
struct Window {
  size_t begin = 0;
  size_t end = 0;
};

Window WindowOf(const Version& version, int level, const FileMeta& file) {
  const std::vector<FileRef>& files = version.files(level);
  Window window;
  window.begin = window.end = version.FindFile(level, file.smallest_user_key());
  while (window.end < files.size() &&
         files[window.end]->smallest_user_key() <= file.largest_user_key()) {
    ++window.end;
  }
  return window;
}

// Source and target windows of a merge of two neighbouring levels, as they grow.
class RatioGrowth {
 public:
  RatioGrowth(const PickContext& context, int level)
      : context_(context),
        source_files_(context.version().files(level)),
        target_files_(context.version().files(level + 1)),
        target_level_(level + 1) {}

  // False if the table or what it meets is taken.
  bool Begin(size_t index) {
    source_ = {index, index + 1};
    if (context_.IsTaken(*source_files_[index])) return false;
    target_ = WindowOf(context_.version(), target_level_, *source_files_[index]);
    source_bytes_ = source_files_[index]->info.file_bytes;
    target_bytes_ = BytesOf(target_);
    seed_ratio_ = Ratio(source_bytes_, target_bytes_);
    return !AnyTaken(target_);
  }
  double seed_ratio() const { return seed_ratio_; }

  void Grow() {
    while (source_.begin > 0 && TryTake(source_.begin - 1)) --source_.begin;
    while (source_.end < source_files_.size() && TryTake(source_.end)) ++source_.end;
  }
  std::vector<FileRef> source() const {
    return {source_files_.begin() + static_cast<ptrdiff_t>(source_.begin),
            source_files_.begin() + static_cast<ptrdiff_t>(source_.end)};
  }

 private:
  static double Ratio(uint64_t source_bytes, uint64_t target_bytes) {
    return static_cast<double>(source_bytes) /
           static_cast<double>(std::max<uint64_t>(target_bytes, 1));
  }
  uint64_t BytesOf(Window window) const {
    uint64_t bytes = 0;
    for (size_t i = window.begin; i < window.end; ++i) bytes += target_files_[i]->info.file_bytes;
    return bytes;
  }
  bool AnyTaken(Window window) const {
    for (size_t i = window.begin; i < window.end; ++i) {
      if (context_.IsTaken(*target_files_[i])) return true;
    }
    return false;
  }
  // Takes the neighbour `index` in if that makes the whole cheaper than the first table was.
  bool TryTake(size_t index) {
    const FileMeta& file = *source_files_[index];
    if (context_.IsTaken(file)) return false;
    const Window more = WindowOf(context_.version(), target_level_, file);
    // A gap would have tables rewritten for nothing, and make a merge of a move. (An empty window
    // has a place, too.)
    if (more.end < target_.begin || more.begin > target_.end) return false;
    const Window target{std::min(target_.begin, more.begin), std::max(target_.end, more.end)};
    const uint64_t target_bytes = BytesOf(target);
    const uint64_t source_bytes = source_bytes_ + file.info.file_bytes;
    if (AnyTaken(target) || Ratio(source_bytes, target_bytes) <= seed_ratio_ ||
        source_bytes + target_bytes >= MergeBytesMax(context_.options)) {
      return false;
    }
    target_ = target;
    source_bytes_ = source_bytes;
    target_bytes_ = target_bytes;
    return true;
  }

  const PickContext& context_;
  const std::vector<FileRef>& source_files_;
  const std::vector<FileRef>& target_files_;
  const int target_level_;
  Window source_;
  Window target_;
  uint64_t source_bytes_ = 0;
  uint64_t target_bytes_ = 0;
  double seed_ratio_ = 0;
};

}  // namespace

uint64_t MergeBytesMax(const Options& options) {
  return static_cast<uint64_t>(options.merge_tables_max) * options.table_bytes;
}

uint64_t TotalBytes(const std::vector<FileRef>& files) {
  uint64_t bytes = 0;
  for (const FileRef& file : files) bytes += file->info.file_bytes;
  return bytes;
}

bool PickContext::AnyTaken(const std::vector<FileRef>& files) const {
  return std::any_of(files.begin(), files.end(),
                     [this](const FileRef& file) { return IsTaken(*file); });
}

std::vector<FileRef> GrowLevel0(const Version& version, const FileRef& seed) {
  std::string smallest(seed->smallest_user_key());
  std::string largest(seed->largest_user_key());
  for (;;) {
    std::vector<FileRef> files = version.Overlapping(0, smallest, largest);
    bool grown = false;
    for (const FileRef& file : files) {
      if (file->smallest_user_key() < smallest) {
        smallest = file->smallest_user_key();
        grown = true;
      }
      if (file->largest_user_key() > largest) {
        largest = file->largest_user_key();
        grown = true;
      }
    }
    if (!grown) return files;
  }
}

static void FindGrandparents(const PickContext& context, CompactionPlan* plan) {
  if (plan->output_level == 0 || plan->output_level + 1 >= kLevelCount) return;
  plan->grandparents = context.version().Overlapping(
      plan->output_level + 1, plan->smallest_user_key(), plan->largest_user_key());
}

CompactionPlan CompletePlan(const PickContext& context, int level, std::vector<FileRef> source,
                            const char* reason) {
  CompactionPlan plan;
  plan.level = level;
  plan.output_level = level == 0 ? context.targets.base_level : level + 1;
  plan.reason = reason;
  plan.inputs[0] = std::move(source);
  plan.inputs[1] = context.version().Overlapping(plan.output_level, plan.smallest_user_key(),
                                                 plan.largest_user_key());
  FindGrandparents(context, &plan);
  // Nothing to merge with, nothing to drop, nothing to compress, and the next merge stays
  // affordable (Q24). Level-0 tables must also not overlap each other.
  const bool clean = std::none_of(plan.inputs[0].begin(), plan.inputs[0].end(),
                                  [](const FileRef& file) { return HasGarbage(*file); });
  const bool alone = level > 0 || plan.inputs[0].size() == 1;
  const bool as_compressed = IsCompressedLevel(level, context.targets.base_level) ==
                             IsCompressedLevel(plan.output_level, context.targets.base_level);
  if (plan.inputs[1].empty() && clean && alone && as_compressed &&
      TotalBytes(plan.grandparents) <= kGrandparentBytesMaxFactor * context.options.table_bytes) {
    plan.kind = CompactionPlan::Kind::kMove;
  }
  return plan;
}

CompactionPlan InPlacePlan(const PickContext& context, int level, std::vector<FileRef> source,
                           const char* reason) {
  CompactionPlan plan;
  plan.level = plan.output_level = level;
  plan.reason = reason;
  plan.inputs[0] = std::move(source);
  FindGrandparents(context, &plan);
  return plan;
}

bool MayRun(const PickContext& context, const CompactionPlan& plan) {
  return !context.AnyTaken(plan.inputs[0]) && !context.AnyTaken(plan.inputs[1]) &&
         !context.in_use.Conflicts(plan);
}

std::optional<CompactionPlan> PickByRatio(const PickContext& context, int level) {
  const size_t count = context.version().files(level).size();
  struct Seed {
    size_t index;
    double ratio;
  };
  std::vector<Seed> seeds;
  RatioGrowth growth(context, level);
  for (size_t i = 0; i < count; ++i) {
    if (growth.Begin(i)) seeds.push_back({i, growth.seed_ratio()});
  }
  std::stable_sort(seeds.begin(), seeds.end(),
                   [](const Seed& a, const Seed& b) { return a.ratio > b.ratio; });
  for (const Seed& seed : seeds) {
    growth.Begin(seed.index);
    growth.Grow();
    CompactionPlan plan = CompletePlan(context, level, growth.source(), "size");
    if (MayRun(context, plan)) return plan;
  }
  return std::nullopt;
}

std::optional<CompactionPlan> PickRoundRobin(const PickContext& context, int level) {
  const std::vector<FileRef>& files = context.version().files(level);
  std::string_view pointer;
  if (context.compact_pointers != nullptr) {
    pointer = (*context.compact_pointers)[static_cast<size_t>(level)];
  }
  size_t first = 0;
  while (first < files.size() && !pointer.empty() && files[first]->largest_user_key() <= pointer) {
    ++first;
  }
  if (first == files.size()) first = 0;
  for (size_t step = 0; step < files.size(); ++step) {
    const size_t seed = (first + step) % files.size();
    CompactionPlan plan = CompletePlan(context, level, {files[seed]}, "size");
    if (!MayRun(context, plan)) continue;
    // C4: more of the source for the same target.
    const size_t target_count = plan.inputs[1].size();
    for (size_t end = seed + 1; end < files.size() && target_count > 0; ++end) {
      std::vector<FileRef> more(files.begin() + static_cast<ptrdiff_t>(seed),
                                files.begin() + static_cast<ptrdiff_t>(end) + 1);
      CompactionPlan grown = CompletePlan(context, level, std::move(more), "size");
      if (grown.inputs[1].size() != target_count || !MayRun(context, grown) ||
          grown.InputBytes() >= MergeBytesMax(context.options)) {
        break;
      }
      plan = std::move(grown);
    }
    return plan;
  }
  return std::nullopt;
}

std::optional<CompactionPlan> PickLevel0(const PickContext& context) {
  const std::vector<FileRef>& files = context.version().files(0);
  std::optional<CompactionPlan> best;
  std::set<FileNumber> seen;
  for (auto seed = files.rbegin(); seed != files.rend(); ++seed) {  // oldest first
    if (seen.contains((*seed)->number)) continue;
    std::vector<FileRef> pile = GrowLevel0(context.version(), *seed);
    for (const FileRef& file : pile) seen.insert(file->number);
    if (context.AnyTaken(pile)) continue;
    CompactionPlan plan = CompletePlan(context, 0, std::move(pile), "level 0");
    if (!MayRun(context, plan)) continue;
    if (plan.kind == CompactionPlan::Kind::kMove) return plan;
    if (!best || plan.inputs[0].size() > best->inputs[0].size()) best = std::move(plan);
  }
  return best;
}

std::optional<CompactionPlan> PickIntraLevel0(const PickContext& context) {
  // The longest run, of tables that are adjacent in history, so that their order among the others
  // stays (Q19). Those that are the result of such a merge already are left out: they would be
  // rewritten again and again.
  const std::vector<FileRef>& files = context.version().files(0);
  std::vector<FileRef> best;
  std::vector<FileRef> run;
  const auto end_run = [&] {
    if (run.size() > best.size()) best = run;
    run.clear();
  };
  uint64_t smallest = UINT64_MAX;
  for (const FileRef& file : files) smallest = std::min(smallest, file->info.file_bytes);
  for (const FileRef& file : files) {
    const bool large =
        file->info.file_bytes >= 2 * std::max(context.options.memtable_bytes, smallest);
    if (context.IsTaken(*file) || large) {
      end_run();
    } else {
      run.push_back(file);
    }
  }
  end_run();
  if (best.size() < kIntraLevel0FilesMin) return std::nullopt;
  CompactionPlan plan = InPlacePlan(context, 0, std::move(best), "level 0 in itself");
  if (!MayRun(context, plan)) return std::nullopt;
  return plan;
}

}  // namespace terracefs::lsm
