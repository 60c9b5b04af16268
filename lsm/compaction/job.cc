#include "lsm/compaction/job.h"

#include <algorithm>

#include "lsm/compaction/output_cutter.h"
#include "lsm/level_iterator.h"
#include "lsm/merging_iterator.h"

namespace terracefs::lsm {
namespace {

// Dead entries are stepped over one by one this often before the merge seeks past their range.
constexpr int kDeadStepsBeforeSeek = 8;

std::unique_ptr<Iterator> NewInputIterator(const JobEnvironment& environment,
                                           const CompactionPlan& plan, io::IoPriority priority) {
  const TableIteratorFactory open = [&environment, priority](const FileRef& file) {
    auto table = environment.tables.Get(file->number);
    if (!table.ok()) return NewErrorIterator(table.status());
    return (*table)->NewJobIterator(&environment.limiter, priority);
  };
  std::vector<std::unique_ptr<Iterator>> children;
  for (size_t side = 0; side < plan.inputs.size(); ++side) {
    if (plan.inputs[side].empty()) continue;
    if (side == 0 && plan.level == 0) {
      // Newest first, as the version orders them.
      for (const FileRef& file : plan.inputs[side]) children.push_back(open(file));
    } else {
      children.push_back(NewLevelIterator(plan.inputs[side], open, {}));
    }
  }
  return NewMergingIterator(std::move(children));
}

// Copies what survives from `input` to `writer`.
class MergeLoop {
 public:
  MergeLoop(Iterator& input, DropRules& rules, OutputCutter* cutter, TableSetWriter& writer)
      : input_(input), rules_(rules), cutter_(cutter), writer_(writer) {}

  // `step` is called for each entry, before it is judged.
  io::Status Run(const std::function<io::Status()>& step) {
    int dead_steps = 0;
    input_.SeekToFirst();
    while (input_.Valid()) {
      TRY(step());
      ++visited_;
      const DropRule rule = rules_.Judge(input_.key());
      if (rule == DropRule::kDropRange && ++dead_steps > kDeadStepsBeforeSeek) {
        skipped_ = true;
        dead_steps = 0;
        input_.Seek(MakeSeekKey(rules_.dead_until(), kSequenceMax));
        continue;
      }
      if (rule != DropRule::kDropRange) dead_steps = 0;
      if (rule == DropRule::kNone) TRY(Keep());
      input_.Next();
    }
    return input_.status();
  }

  uint64_t visited() const { return visited_; }
  bool skipped() const { return skipped_; }

 private:
  io::Status Keep() {
    if (cutter_ != nullptr &&
        cutter_->ShouldCutBefore(UserKey(input_.key()), writer_.open_table_bytes()) &&
        writer_.has_open_table()) {
      TRY(writer_.Cut());
      cutter_->Restart();
    }
    return writer_.Add(input_.key(), input_.value());
  }

  Iterator& input_;
  DropRules& rules_;
  OutputCutter* const cutter_;
  TableSetWriter& writer_;
  uint64_t visited_ = 0;
  bool skipped_ = false;
};

void CountDrops(const DropRules& rules, JobCounters* counters) {
  for (const DropRule rule : {DropRule::kHidden, DropRule::kTombstone, DropRule::kDropRange}) {
    counters->dropped[static_cast<size_t>(rule)] += rules.dropped(rule);
  }
}

// Every entry that was read is accounted for, and every entry that was to be read was (R4, Q3).
io::Status CheckCounts(uint64_t expected, const MergeLoop& loop, const DropRules& rules,
                       const TableSetWriter& writer) {
  const uint64_t dropped = rules.dropped(DropRule::kHidden) + rules.dropped(DropRule::kTombstone) +
                           rules.dropped(DropRule::kDropRange);
  if (loop.visited() != writer.entry_count() + dropped ||
      (!loop.skipped() && loop.visited() != expected)) {
    return io::Status::Corruption("merge lost entries: expected " + std::to_string(expected) +
                                  ", read " + std::to_string(loop.visited()) + ", wrote " +
                                  std::to_string(writer.entry_count()) + ", dropped " +
                                  std::to_string(dropped));
  }
  return io::Status::Ok();
}

}  // namespace

io::Result<VersionEdit> RunMerge(const JobEnvironment& environment, const CompactionPlan& plan,
                                 const Shape& shape, SequenceNumber smallest_snapshot,
                                 const std::function<io::Status()>& stop, JobCounters* counters) {
  const io::IoPriority priority =
      plan.level == 0 ? io::IoPriority::kL0 : io::IoPriority::kCompaction;
  uint64_t entries = 0;
  for (const auto& side : plan.inputs) {
    for (const FileRef& file : side) entries += file->info.entry_count;
  }
  const std::unique_ptr<Iterator> input = NewInputIterator(environment, plan, priority);
  DropRules rules({shape.version.get(), plan.output_level, shape.drops.get(), smallest_snapshot});
  OutputCutter cutter(environment.options, plan.grandparents);
  TableSetWriter writer(environment, plan.output_level, priority, shape.drop_sequence);
  MergeLoop loop(*input, rules, &cutter, writer);
  uint64_t written = 0;
  const auto count_and_ask = [&]() -> io::Status {
    counters->bytes_written.fetch_add(writer.bytes() - written, std::memory_order_relaxed);
    written = writer.bytes();
    return stop();
  };
  TRY(loop.Run(count_and_ask));
  TRY(CheckCounts(entries, loop, rules, writer));
  VersionEdit edit;
  const std::vector<FileRef> outputs = TRY(writer.Finish());
  counters->bytes_written.fetch_add(writer.bytes() - written, std::memory_order_relaxed);
  for (const FileRef& file : outputs) edit.added_files.push_back({plan.output_level, file});
  for (const FileRef& file : plan.inputs[0]) {
    edit.removed_files.push_back({plan.level, file->number});
  }
  for (const FileRef& file : plan.inputs[1]) {
    edit.removed_files.push_back({plan.output_level, file->number});
  }
  CountDrops(rules, counters);
  return edit;
}

io::Result<VersionEdit> RunFlush(const JobEnvironment& environment, const MemTable& table,
                                 const Shape& shape, SequenceNumber smallest_snapshot,
                                 std::atomic<uint64_t>* flushed_bytes, JobCounters* counters) {
  VersionEdit edit;
  std::vector<DropRange> own;
  for (const DroppedRange& dropped : table.dropped_ranges()) {
    own.push_back({dropped.begin, dropped.end, dropped.sequence, table.oldest_deletion_seconds()});
  }
  edit.added_drops = JoinRanges(std::move(own));
  DropRangeSet drops = *shape.drops;
  SequenceNumber drop_sequence = shape.drop_sequence;
  for (const DropRange& drop : edit.added_drops) {
    drops.Add(drop.begin, drop.end);
    drop_sequence = std::max(drop_sequence, drop.sequence);
  }

  const std::unique_ptr<Iterator> input = table.NewIterator();
  // A tombstone whose key no table can hold has nothing to shadow: output level -1 asks all levels.
  DropRules rules({shape.version.get(), -1, &drops, smallest_snapshot});
  TableSetWriter writer(environment, 0, io::IoPriority::kFlush, drop_sequence);
  MergeLoop loop(*input, rules, nullptr, writer);
  TRY(loop.Run([] { return io::Status::Ok(); }));
  TRY(CheckCounts(table.entry_count(), loop, rules, writer));
  for (const FileRef& file : TRY(writer.Finish())) edit.added_files.push_back({0, file});
  flushed_bytes->fetch_add(writer.bytes(), std::memory_order_relaxed);
  CountDrops(rules, counters);
  return edit;
}

}  // namespace terracefs::lsm
