#include "lsm/compaction/estimate.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "io/base/random.h"
#include "lsm/compaction/drop_rules.h"
#include "lsm/compaction/garbage.h"
#include "lsm/compaction/input_growth.h"
#include "lsm/compaction/skipped_tables.h"
#include "lsm/compression.h"
#include "lsm/level_iterator.h"
#include "lsm/merging_iterator.h"

namespace terracefs::lsm {
namespace {

// A store up to this size is read as a whole.
constexpr uint64_t kWholeBytesMax = 64 * io::kMiB;
constexpr size_t kSampleCount = 2048;
constexpr uint64_t kSampleBytesMax = io::kMiB;  // per level

// Index, filter, block trailers and padding of a table, per byte of entries.
constexpr double kTableOverhead = 0.015;
// Smaller tables calibrate nothing, and no calibration is by more than this factor.
constexpr uint64_t kCalibrationBytesMin = io::kMiB;
constexpr double kCalibrationMax = 1.5;

struct SampleEntry {
  std::string key;  // internal
  double bytes = 0;
  double packed_bytes = 0;  // were its block compressed
  int level = 0;
};

// How the entries of the samples, weighted, fared in one pass.
struct Fate {
  double in_bytes = 0;
  double out_bytes = 0;   // of the same kind
  double file_bytes = 0;  // that they take up in a table of the output level
};

class Sampler {
 public:
  Sampler(const JobEnvironment& environment, const PickContext& context,
          const std::vector<ManualSlice>& passes)
      : environment_(environment), context_(context), passes_(passes), fates_(passes.size()) {}

  io::Status Run(const std::function<io::Status()>& stop) {
    std::vector<FileRef> tables;
    std::vector<uint64_t> ends;  // of the tables, were they one behind the other
    uint64_t total = 0;
    for (int level = 0; level < kLevelCount; ++level) {
      for (const FileRef& file : context_.version().files(level)) {
        tables.push_back(file);
        total += file->info.file_bytes;
        ends.push_back(total);
      }
    }
    if (total <= kWholeBytesMax) return TakeSpan("", "", UINT64_MAX, 1);
    // The same every time, so that asking twice gives one answer.
    io::Random random(1);
    for (size_t i = 0; i < kSampleCount; ++i) {
      TRY(stop());
      const uint64_t at = random.Uniform(total);
      const auto end = std::upper_bound(ends.begin(), ends.end(), at);
      const FileMeta& file = *tables[static_cast<size_t>(end - ends.begin())];
      const std::shared_ptr<TableReader> table = TRY(environment_.tables.Get(file.number));
      TRY(TakeTile(table->BlockAt(at - (*end - file.info.file_bytes)).last));
    }
    return io::Status::Ok();
  }

  // Per byte of entries that go in: what comes out, and how much of a file that is.
  double share(size_t pass) const {
    const Fate& fate = fates_[pass];
    return fate.in_bytes == 0 ? 1 : fate.out_bytes / fate.in_bytes;
  }
  double file_share(size_t pass) const {
    const Fate& fate = fates_[pass];
    if (fate.in_bytes == 0) return 1;
    return fate.file_bytes / fate.in_bytes * Calibration(OutputLevel(passes_[pass]));
  }

 private:
  int OutputLevel(const ManualSlice& pass) const {
    if (pass.in_place) return pass.level;
    return pass.level == 0 ? context_.targets.base_level : pass.level + 1;
  }

  // What an entry takes up in a file of the level.
  double FileBytes(const SampleEntry& entry, int level) const {
    return (IsCompressedLevel(level, context_.targets.base_level) ? entry.packed_bytes
                                                                  : entry.bytes) +
           kTableOverhead * entry.bytes;
  }

  // By how much the files of a level are larger than the samples would have them. Small tables say
  // nothing: they are mostly what every table needs.
  double Calibration(int level) const {
    const auto& [entry_bytes, file_bytes] = sampled_[static_cast<size_t>(level)];
    uint64_t level_entry_bytes = 0;
    uint64_t level_file_bytes = 0;
    for (const FileRef& file : context_.version().files(level)) {
      if (file->info.file_bytes < kCalibrationBytesMin) continue;
      level_entry_bytes += file->info.raw_bytes;
      level_file_bytes += file->info.file_bytes;
    }
    if (file_bytes == 0 || level_entry_bytes == 0) return 1;
    return std::clamp(static_cast<double>(level_file_bytes) /
                          static_cast<double>(level_entry_bytes) * entry_bytes / file_bytes,
                      1 / kCalibrationMax, kCalibrationMax);
  }

  // The ends of all blocks of all levels divide the user keys into tiles. This is the one that ends
  // with `last`, and was the more likely to be drawn the larger the block is that ends it: so it
  // has to count the less.
  io::Status TakeTile(const std::string& last) {
    std::string after;
    uint64_t block_bytes = 0;
    for (int level = 0; level < kLevelCount; ++level) {
      const std::vector<FileRef>& files = context_.version().files(level);
      // Where they are in order, only the table that may hold the key and the one before it matter.
      const size_t found = context_.version().FindFile(level, last);
      const size_t begin = level == 0 || found == 0 ? 0 : found - 1;
      const size_t past = level == 0 ? files.size() : std::min(found + 1, files.size());
      for (size_t i = begin; i < past; ++i) {
        const FileMeta& file = *files[i];
        if (last < file.smallest_user_key()) continue;
        if (last > file.largest_user_key()) {
          if (after < file.largest_user_key()) after = file.largest_user_key();
          continue;
        }
        const std::shared_ptr<TableReader> table = TRY(environment_.tables.Get(file.number));
        const TableReader::BlockSpan block = table->BlockOf(last);
        if (block.last == last) block_bytes += block.bytes;
        if (block.after && *block.after < last) after = std::max(after, *block.after);
      }
    }
    const char successor = '\0';
    return TakeSpan(after + successor, last + successor, kSampleBytesMax,
                    1 / static_cast<double>(std::max<uint64_t>(block_bytes, 1)));
  }

  // Entries with user keys in [begin, end) (no bound if empty), at most `bytes_max` of each level.
  io::Status TakeSpan(const std::string& begin, std::string end, uint64_t bytes_max,
                      double weight) {
    std::vector<SampleEntry> entries;
    for (int level = 0; level < kLevelCount; ++level) {
      TRY(TakeLevel(level, begin, bytes_max, &end, &entries));
    }
    // A level that was too much has moved the end.
    std::erase_if(entries, [&](const SampleEntry& entry) {
      return !end.empty() && UserKey(entry.key) >= end;
    });
    for (const SampleEntry& entry : entries) {
      auto& [entry_bytes, file_bytes] = sampled_[static_cast<size_t>(entry.level)];
      entry_bytes += weight * entry.bytes;
      file_bytes += weight * FileBytes(entry, entry.level);
    }
    std::sort(entries.begin(), entries.end(), [](const SampleEntry& a, const SampleEntry& b) {
      return CompareInternal(a.key, b.key) < 0;
    });
    Simulate(std::move(entries), weight);
    return io::Status::Ok();
  }

  io::Status TakeLevel(int level, const std::string& begin, uint64_t bytes_max, std::string* end,
                       std::vector<SampleEntry>* entries) {
    const std::string bound = *end;
    ReadOptions options;
    options.fill_cache = false;
    options.upper_bound = bound;
    const TableIteratorFactory open = [&](const FileRef& file) {
      auto table = environment_.tables.Get(file->number);
      if (!table.ok()) return NewErrorIterator(table.status());
      const uint64_t bytes = (*table)->ApproximateBytes(begin, bound);
      environment_.limiter.Acquire(std::min(bytes, bytes_max) + environment_.options.block_bytes,
                                   io::IoPriority::kScrub);
      return (*table)->NewIterator(options);
    };
    std::vector<std::unique_ptr<Iterator>> children;
    const std::vector<FileRef> files = bound.empty()
                                           ? context_.version().files(level)
                                           : context_.version().Overlapping(level, begin, bound);
    for (const FileRef& file : files) children.push_back(NewLevelIterator({file}, open, bound));
    if (children.empty()) return io::Status::Ok();
    const std::unique_ptr<Iterator> it = NewMergingIterator(std::move(children));
    uint64_t bytes = 0;
    std::string block;
    size_t block_begin = entries->size();
    for (it->Seek(MakeSeekKey(begin, kSequenceMax)); it->Valid(); it->Next()) {
      if (!bound.empty() && UserKey(it->key()) >= bound) break;
      if (bytes >= bytes_max) {
        *end = UserKey(it->key());
        break;
      }
      const uint64_t entry_bytes = it->key().size() + it->value().size();
      bytes += entry_bytes;
      entries->push_back({std::string(it->key()), static_cast<double>(entry_bytes), 0, level});
      block.append(it->key()).append(it->value());
      if (block.size() >= environment_.options.block_bytes)
        PackBlock(&block, &block_begin, entries);
    }
    PackBlock(&block, &block_begin, entries);
    return it->status();
  }

  // The entries from `*begin` on would make a block.
  static void PackBlock(std::string* block, size_t* begin, std::vector<SampleEntry>* entries) {
    std::string packed;
    const bool smaller = !block->empty() && Compress(*block, 1, &packed);
    const double share =
        smaller ? static_cast<double>(packed.size()) / static_cast<double>(block->size()) : 1;
    for (; *begin < entries->size(); ++*begin) {
      (*entries)[*begin].packed_bytes = (*entries)[*begin].bytes * share;
    }
    block->clear();
  }

  void Simulate(std::vector<SampleEntry> entries, double weight) {
    for (size_t i = 0; i < passes_.size(); ++i) {
      const ManualSlice& pass = passes_[i];
      const int output_level = OutputLevel(pass);
      DropRules::Scope scope;
      scope.version = context_.shape.version.get();
      scope.output_level = output_level;
      scope.drops = context_.shape.drops.get();
      scope.smallest_snapshot = context_.smallest_snapshot;
      scope.filter = context_.options.compaction_filter;
      scope.now_seconds = context_.now_seconds;
      DropRules rules(std::move(scope));
      std::vector<SampleEntry> left;
      for (SampleEntry& entry : entries) {
        if (entry.level != pass.level && entry.level != output_level) {
          left.push_back(std::move(entry));
          continue;
        }
        fates_[i].in_bytes += weight * entry.bytes;
        if (rules.Judge(entry.key, {}) != DropRule::kNone) continue;
        fates_[i].out_bytes += weight * entry.bytes;
        fates_[i].file_bytes += weight * FileBytes(entry, output_level);
        entry.level = output_level;
        left.push_back(std::move(entry));
      }
      entries = std::move(left);
    }
  }

  const JobEnvironment& environment_;
  const PickContext& context_;
  const std::vector<ManualSlice>& passes_;
  std::vector<Fate> fates_;
  std::array<std::pair<double, double>, kLevelCount> sampled_{};  // bytes of entries, in files
};

// A level as the passes before have left it: tables that are still as they were, and what was
// written to it since.
struct Level {
  std::set<FileNumber> gone;
  uint64_t new_bytes = 0;      // in files
  uint64_t new_raw_bytes = 0;  // keys and values
  std::string new_begin;       // hull of what is new
  std::string new_end;

  void Add(uint64_t bytes, uint64_t raw_bytes, std::string_view begin, std::string_view end) {
    if (new_bytes == 0 || begin < new_begin) new_begin = begin;
    if (new_bytes == 0 || end > new_end) new_end = end;
    new_bytes += bytes;
    new_raw_bytes += raw_bytes;
  }
};

class Calculator {
 public:
  Calculator(const JobEnvironment& environment, const PickContext& context, const Sampler& sampler)
      : environment_(environment), context_(context), sampler_(sampler) {}

  CompactionEstimate::Pass Run(size_t index, const ManualSlice& pass) {
    return pass.in_place ? RunInPlace(index, pass) : RunMergeDown(index, pass);
  }

 private:
  CompactionEstimate::Pass RunMergeDown(size_t index, const ManualSlice& pass) {
    Level& source = levels_[static_cast<size_t>(pass.level)];
    CompactionEstimate::Pass result;
    uint64_t raw = source.new_raw_bytes;
    uint64_t bytes = source.new_bytes;
    std::string begin = source.new_begin;
    std::string end = source.new_end;
    int output_level = pass.level == 0 ? context_.targets.base_level : pass.level + 1;
    std::set<FileNumber> targets;
    const auto take_target = [&](const FileRef& file) {
      const Level& output = levels_[static_cast<size_t>(output_level)];
      if (output.gone.contains(file->number) || !targets.insert(file->number).second) return;
      raw += file->info.raw_bytes;
      bytes += file->info.file_bytes;
    };
    if (bytes > 0) {
      for (const FileRef& file : context_.version().Overlapping(output_level, begin, end)) {
        take_target(file);
      }
    }
    const bool carried = bytes > 0;
    ManualSlice slice = pass;
    while (auto plan = PickManual(context_, slice)) {
      uint64_t source_bytes = 0;
      uint64_t source_raw = 0;
      for (const FileRef& file : plan->inputs[0]) {
        slice.cursor =
            std::max(slice.cursor, std::make_optional(std::string(file->largest_user_key())));
        if (source.gone.contains(file->number)) continue;
        source_bytes += file->info.file_bytes;
        source_raw += file->info.raw_bytes;
      }
      if (source_bytes == 0) continue;
      if (plan->kind == CompactionPlan::Kind::kMove && !carried) {
        levels_[static_cast<size_t>(output_level)].Add(
            source_bytes, source_raw, plan->smallest_user_key(), plan->largest_user_key());
        continue;
      }
      if (bytes == 0 || plan->smallest_user_key() < begin) begin = plan->smallest_user_key();
      if (bytes == 0 || plan->largest_user_key() > end) end = plan->largest_user_key();
      bytes += source_bytes;
      raw += source_raw;
      const std::vector<FileRef> skipped = FindSkippedTables(environment_, *plan);
      for (const FileRef& file : plan->inputs[1]) {
        if (std::find(skipped.begin(), skipped.end(), file) == skipped.end()) take_target(file);
      }
    }
    if (bytes == 0) return result;
    result.bytes_read = bytes;
    const double raw_left = static_cast<double>(raw) * sampler_.share(index);
    result.bytes_written =
        static_cast<uint64_t>(static_cast<double>(raw) * sampler_.file_share(index));
    Level& output = levels_[static_cast<size_t>(output_level)];
    output.gone.insert(targets.begin(), targets.end());
    output.Add(result.bytes_written, static_cast<uint64_t>(raw_left), begin, end);
    source = Level();
    for (const FileRef& file : context_.version().files(pass.level)) {
      source.gone.insert(file->number);
    }
    return result;
  }

  CompactionEstimate::Pass RunInPlace(size_t index, const ManualSlice& pass) {
    const Level& level = levels_[static_cast<size_t>(pass.level)];
    CompactionEstimate::Pass result;
    const CompactionPlan extent = ManualExtent(context_, pass);
    uint64_t raw = 0;
    for (const FileRef& file : extent.inputs[0]) {
      if (level.gone.contains(file->number)) continue;
      raw += file->info.raw_bytes;
      result.bytes_read += file->info.file_bytes;
      result.bytes_written += file->info.file_bytes - GarbageBytes(*file);
    }
    // Where all tables are taken, the samples know better.
    if (!pass.only_garbage) {
      result.bytes_written =
          static_cast<uint64_t>(static_cast<double>(raw) * sampler_.file_share(index));
    }
    return result;
  }

  const JobEnvironment& environment_;
  const PickContext& context_;
  const Sampler& sampler_;
  std::array<Level, kLevelCount> levels_;
};

void Add(CompactionEstimate* estimate, CompactionEstimate::Pass pass) {
  estimate->bytes_read += pass.bytes_read;
  estimate->bytes_written += pass.bytes_written;
  estimate->bytes_reclaimed =
      estimate->bytes_read - std::min(estimate->bytes_read, estimate->bytes_written);
  estimate->passes.push_back(std::move(pass));
}

}  // namespace

io::Result<CompactionEstimate> EstimatePasses(const JobEnvironment& environment,
                                              const PickContext& context,
                                              const std::vector<ManualSlice>& passes,
                                              const std::function<io::Status()>& stop) {
  Sampler sampler(environment, context, passes);
  TRY(sampler.Run(stop));
  Calculator calculator(environment, context, sampler);
  CompactionEstimate estimate;
  for (size_t i = 0; i < passes.size(); ++i) {
    CompactionEstimate::Pass pass = calculator.Run(i, passes[i]);
    pass.name = PassName(passes[i].level);
    Add(&estimate, std::move(pass));
  }
  return estimate;
}

CompactionEstimate EstimateReclaim(const JobEnvironment& environment, const PickContext& now,
                                   const std::vector<KeyRange>& ranges, uint64_t goal_bytes) {
  PickContext context = now;
  std::set<FileNumber> done;
  context.quarantined = &done;
  CompactionEstimate estimate;
  CompactionEstimate::Pass pass;
  pass.name = "reclaim";
  uint64_t reclaimed = 0;
  while (reclaimed < goal_bytes) {
    const std::optional<CompactionPlan> plan = PickReclaim(context, ranges);
    if (!plan) break;
    const std::vector<FileRef> skipped = FindSkippedTables(environment, *plan);
    for (const auto& side : plan->inputs) {
      for (const FileRef& file : side) {
        if (!done.insert(file->number).second ||
            std::find(skipped.begin(), skipped.end(), file) != skipped.end()) {
          continue;
        }
        const uint64_t garbage = GarbageBytes(*file);
        reclaimed += garbage;
        pass.bytes_read += file->info.file_bytes;
        pass.bytes_written += file->info.file_bytes - garbage;
      }
    }
  }
  Add(&estimate, std::move(pass));
  return estimate;
}

}  // namespace terracefs::lsm
