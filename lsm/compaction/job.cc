#include "lsm/compaction/job.h"

#include <algorithm>
#include <thread>

#include "io/thread_pool.h"
#include "lsm/compaction/output_cutter.h"
#include "lsm/compaction/skipped_tables.h"
#include "lsm/compaction/value_mover.h"
#include "lsm/level_iterator.h"
#include "lsm/merging_iterator.h"

namespace terracefs::lsm {
namespace {

// Dead entries are stepped over one by one this often before the merge seeks past their range.
constexpr int kDeadStepsBeforeSeek = 8;
// `stop` is asked once in so many entries.
constexpr uint64_t kEntriesPerStop = 32;
constexpr uint64_t kSubcompactionTables = 2;

// The user keys of one part of a merge: [begin, end), no bounds where empty.
struct KeySpan {
  std::string begin;
  std::string end;
};

// Copies what survives from `input` to `writer`.
class MergeLoop {
 public:
  // `mover` may be null.
  MergeLoop(Iterator& input, DropRules& rules, OutputCutter& cutter, TableSetWriter& writer)
      : input_(input), rules_(rules), cutter_(cutter), writer_(writer) {}

  void SetMover(ValueMover* mover) { mover_ = mover; }

  io::Status Run(const KeySpan& span, const std::function<io::Status()>& step) {
    int dead_steps = 0;
    if (span.begin.empty()) {
      input_.SeekToFirst();
    } else {
      input_.Seek(MakeSeekKey(span.begin, kSequenceMax));
    }
    while (input_.Valid()) {
      if (!span.end.empty() && UserKey(input_.key()) >= span.end) break;
      if (visited_ % kEntriesPerStop == 0) TRY(step());
      ++visited_;
      const DropRule rule = rules_.Judge(input_.key(), input_.value());
      if (rule == DropRule::kDropRange && ++dead_steps > kDeadStepsBeforeSeek) {
        skipped_ = true;
        dead_steps = 0;
        input_.Seek(MakeSeekKey(rules_.dead_until(), kSequenceMax));
        continue;
      }
      if (rule != DropRule::kDropRange) dead_steps = 0;
      if (rule == DropRule::kNone) TRY(Keep());
      if (rule == DropRule::kHidden) TRY(CountHidden());
      input_.Next();
    }
    TRY(input_.status());
    return mover_ == nullptr ? io::Status::Ok() : mover_->Finish();
  }

  // The next entry of the output.
  io::Status Emit(std::string_view key, std::string_view value) {
    if (cutter_.ShouldCutBefore(UserKey(key), writer_.open_table_weight()) &&
        writer_.has_open_table()) {
      TRY(writer_.Cut());
      cutter_.Restart();
    }
    return writer_.Add(key, value);
  }

  // Bytes in value files that dropped entries referred to.
  uint64_t hidden_value_bytes() const { return hidden_value_bytes_; }

  uint64_t visited() const { return visited_; }
  bool skipped() const { return skipped_; }

 private:
  io::Status Pass(std::string_view key, std::string_view value) {
    return mover_ == nullptr ? Emit(key, value) : mover_->Add(key, value);
  }

  io::Status CountHidden() {
    if (KeyKind(input_.key()) != EntryKind::kReference) return io::Status::Ok();
    hidden_value_bytes_ += TRY(ValueReference::Decode(input_.value()))
    .ShareBytes();
    return io::Status::Ok();
  }

  io::Status Keep() {
    if (!rules_.becomes_tombstone()) return Pass(input_.key(), input_.value());
    tombstone_key_.clear();
    AppendInternalKey(&tombstone_key_, UserKey(input_.key()), KeySequence(input_.key()),
                      EntryKind::kDelete);
    tombstone_value_.clear();
    io::PutFixed64(&tombstone_value_, static_cast<uint64_t>(rules_.now_seconds()));
    return Pass(tombstone_key_, tombstone_value_);
  }

  Iterator& input_;
  DropRules& rules_;
  OutputCutter& cutter_;
  TableSetWriter& writer_;
  ValueMover* mover_ = nullptr;
  uint64_t visited_ = 0;
  uint64_t hidden_value_bytes_ = 0;
  bool skipped_ = false;
  std::string tombstone_key_;
  std::string tombstone_value_;
};

// What a loop did with its entries.
struct EntryCounts {
  uint64_t visited = 0;
  uint64_t written = 0;
  uint64_t dropped = 0;
  bool skipped = false;  // a dead run was passed over unread

  EntryCounts& operator+=(const EntryCounts& other) {
    visited += other.visited;
    written += other.written;
    dropped += other.dropped;
    skipped |= other.skipped;
    return *this;
  }
};

EntryCounts CountsOf(const MergeLoop& loop, const DropRules& rules, const TableSetWriter& writer) {
  EntryCounts counts{loop.visited(), writer.entry_count(), 0, loop.skipped()};
  for (const DropRule rule : kDropRules) counts.dropped += rules.dropped(rule);
  return counts;
}

// Every entry that was read is accounted for, and every entry that was to be read was (R4, Q3).
io::Status CheckCounts(uint64_t expected, const EntryCounts& counts) {
  if (counts.visited != counts.written + counts.dropped ||
      (!counts.skipped && counts.visited != expected)) {
    return io::Status::Corruption("merge lost entries: expected " + std::to_string(expected) +
                                  ", read " + std::to_string(counts.visited) + ", wrote " +
                                  std::to_string(counts.written) + ", dropped " +
                                  std::to_string(counts.dropped));
  }
  return io::Status::Ok();
}

void CountDrops(const DropRules& rules, JobCounters* counters) {
  for (const DropRule rule : kDropRules) {
    counters->dropped[static_cast<size_t>(rule)] += rules.dropped(rule);
  }
}

// One part of a merge, run by one thread.
class MergePart {
 public:
  MergePart(const JobEnvironment& environment, const MergeJob& job,
            const std::array<std::vector<FileRef>, 2>& inputs, const std::vector<FileRef>& skipped,
            KeySpan span, JobCounters* counters)
      : environment_(environment),
        job_(job),
        span_(std::move(span)),
        counters_(counters),
        priority_(job.plan.level == 0 ? io::IoPriority::kL0 : io::IoPriority::kCompaction),
        rules_(ScopeOf(environment, job)),
        cutter_(environment.options, job.plan.output_level, job.plan.grandparents, skipped),
        writer_(environment,
                TableOptionsFor(environment.options, job.plan.output_level, job.targets.base_level,
                                std::max(job.shape.version->DeepestLevel(), job.plan.output_level)),
                priority_, job.shape.drop_sequence),
        input_(NewInput(environment, inputs)) {}

  void Run() {
    MergeLoop loop(*input_, rules_, cutter_, writer_);
    ValueMover mover(environment_, job_.plan, [&](std::string_view key, std::string_view value) {
      return loop.Emit(key, value);
    });
    if (job_.plan.MovesValues()) loop.SetMover(&mover);
    mover_ = &mover;
    status_ = loop.Run(span_, [&]() -> io::Status {
      CountBytes();
      return job_.stop();
    });
    if (status_.ok()) {
      auto outputs = writer_.Finish();
      status_ = outputs.status();
      if (outputs.ok()) outputs_ = std::move(outputs).value();
    }
    CountBytes();
    mover_ = nullptr;
    counts_ = CountsOf(loop, rules_, writer_);
    hidden_value_bytes_ = loop.hidden_value_bytes();
    unreadable_value_files_ = mover.unreadable_files();
    // In this thread, for they wait for the reads and writes that the thread has begun.
    input_.reset();
    writer_.CloseOpenTable();
  }

  const io::Status& status() const { return status_; }
  const EntryCounts& counts() const { return counts_; }
  const DropRules& rules() const { return rules_; }
  const std::vector<FileRef>& outputs() const { return outputs_; }
  uint64_t hidden_value_bytes() const { return hidden_value_bytes_; }
  const std::set<FileNumber>& unreadable_value_files() const { return unreadable_value_files_; }

 private:
  // Adds what was moved since the last time to the totals.
  void CountBytes() {
    const uint64_t read =
        bytes_read_.load(std::memory_order_relaxed) + mover_->bytes_read() - counted_read_;
    const uint64_t written = writer_.bytes() + mover_->bytes_written() - counted_written_;
    counters_->moved_value_bytes.fetch_add(mover_->bytes_written() - counted_moved_,
                                           std::memory_order_relaxed);
    counted_moved_ = mover_->bytes_written();
    counted_read_ += read;
    counted_written_ += written;
    counters_->bytes_read.fetch_add(read, std::memory_order_relaxed);
    counters_->bytes_written.fetch_add(written, std::memory_order_relaxed);
    job_.bytes->read.fetch_add(read, std::memory_order_relaxed);
    job_.bytes->written.fetch_add(written, std::memory_order_relaxed);
  }

  static DropRules::Scope ScopeOf(const JobEnvironment& environment, const MergeJob& job) {
    DropRules::Scope scope;
    scope.version = job.shape.version.get();
    scope.output_level = job.plan.output_level;
    scope.drops = job.shape.drops.get();
    scope.smallest_snapshot = job.smallest_snapshot;
    scope.filter = environment.options.compaction_filter;
    scope.now_seconds = job.now_seconds;
    if (job.plan.output_level == 0) {
      for (const FileRef& file : job.shape.version->files(0)) {
        const auto& own = job.plan.inputs[0];
        if (std::find(own.begin(), own.end(), file) == own.end()) {
          scope.level0_rest.push_back(file);
        }
      }
    }
    return scope;
  }

  std::unique_ptr<Iterator> NewInput(const JobEnvironment& environment,
                                     const std::array<std::vector<FileRef>, 2>& inputs) {
    const TableIteratorFactory open = [this, &environment](const FileRef& file) {
      auto table = environment.tables.Get(file->number);
      if (!table.ok()) return NewErrorIterator(table.status());
      return (*table)->NewJobIterator({&environment.limiter, priority_, &bytes_read_});
    };
    const auto in_span = [this](const FileRef& file) {
      return (span_.begin.empty() || file->largest_user_key() >= span_.begin) &&
             (span_.end.empty() || file->smallest_user_key() < span_.end);
    };
    std::vector<std::unique_ptr<Iterator>> children;
    for (size_t side = 0; side < inputs.size(); ++side) {
      std::vector<FileRef> files;
      std::copy_if(inputs[side].begin(), inputs[side].end(), std::back_inserter(files), in_span);
      if (files.empty()) continue;
      if (side == 0 && job_.plan.level == 0) {
        // Newest first, as the version orders them.
        for (const FileRef& file : files) children.push_back(open(file));
      } else {
        children.push_back(NewLevelIterator(std::move(files), open, {}));
      }
    }
    return NewMergingIterator(std::move(children));
  }

  const JobEnvironment& environment_;
  const MergeJob& job_;
  const KeySpan span_;
  JobCounters* const counters_;
  const io::IoPriority priority_;
  std::atomic<uint64_t> bytes_read_{0};
  ValueMover* mover_ = nullptr;  // while it runs
  uint64_t hidden_value_bytes_ = 0;
  std::set<FileNumber> unreadable_value_files_;
  uint64_t counted_read_ = 0;
  uint64_t counted_written_ = 0;
  uint64_t counted_moved_ = 0;  // of these, values
  DropRules rules_;
  OutputCutter cutter_;
  TableSetWriter writer_;
  std::unique_ptr<Iterator> input_;
  io::Status status_;
  EntryCounts counts_;
  std::vector<FileRef> outputs_;
};

}  // namespace

std::vector<std::string> SplitPoints(const Options& options, const std::vector<FileRef>& files,
                                     int count_max) {
  std::vector<std::pair<std::string_view, uint64_t>> begins;
  uint64_t total = 0;
  for (const FileRef& file : files) {
    begins.emplace_back(file->smallest_user_key(), file->info.file_bytes);
    total += file->info.file_bytes;
  }
  std::sort(begins.begin(), begins.end());
  const uint64_t least = kSubcompactionTables * options.table_bytes;
  const auto wanted = std::min<uint64_t>(static_cast<uint64_t>(count_max), total / least);
  std::vector<std::string> points;
  uint64_t passed = 0;
  uint64_t part = 0;  // since the last point; a large table may have passed the next shares, too
  for (size_t i = 0; i < begins.size() && points.size() + 1 < wanted; ++i) {
    if (i > 0 && passed >= (points.size() + 1) * total / wanted && part >= least &&
        total - passed >= least && begins[i - 1].first < begins[i].first) {
      points.emplace_back(begins[i].first);
      part = 0;
    }
    passed += begins[i].second;
    part += begins[i].second;
  }
  return points;
}

io::Result<MergeResult> RunMerge(const JobEnvironment& environment, const MergeJob& job,
                                 JobCounters* counters) {
  const CompactionPlan& plan = job.plan;
  const std::vector<FileRef> skipped = FindSkippedTables(environment, plan);
  std::array<std::vector<FileRef>, 2> inputs = plan.inputs;
  std::erase_if(inputs[1], [&](const FileRef& file) {
    return std::find(skipped.begin(), skipped.end(), file) != skipped.end();
  });
  uint64_t entries = 0;
  std::vector<FileRef> all;
  for (const auto& side : inputs) {
    for (const FileRef& file : side) entries += file->info.entry_count;
    all.insert(all.end(), side.begin(), side.end());
  }

  // A piece of history on level 0 stays whole.
  const int parts_max = plan.output_level == 0 ? 1 : environment.options.subcompactions_max;
  std::vector<std::string> points = SplitPoints(environment.options, all, parts_max);
  std::vector<std::unique_ptr<MergePart>> parts;
  for (size_t i = 0; i <= points.size(); ++i) {
    KeySpan span{i == 0 ? "" : points[i - 1], i == points.size() ? "" : points[i]};
    parts.push_back(
        std::make_unique<MergePart>(environment, job, inputs, skipped, std::move(span), counters));
  }
  std::vector<std::thread> threads;
  for (size_t i = 1; i < parts.size(); ++i) {
    threads.emplace_back([&part = *parts[i]] {
      io::SetThreadName("lsm-compact");
      part.Run();
    });
  }
  parts.front()->Run();
  for (std::thread& thread : threads) thread.join();

  MergeResult result;
  io::Status status;
  EntryCounts counts;
  for (const auto& part : parts) {
    if (status.ok()) status = part->status();
    counts += part->counts();
    result.hidden_value_bytes += part->hidden_value_bytes();
    for (const FileRef& file : part->outputs()) {
      result.edit.added_files.push_back({plan.output_level, file});
    }
  }
  if (status.ok()) status = CheckCounts(entries, counts);
  if (!status.ok()) {
    for (const auto& part : parts) {
      RemoveTables(environment, part->outputs());
      if (job.unreadable_value_files == nullptr) continue;
      job.unreadable_value_files->insert(part->unreadable_value_files().begin(),
                                         part->unreadable_value_files().end());
    }
    return status;
  }
  for (const auto& part : parts) CountDrops(part->rules(), counters);
  counters->tables_skipped.fetch_add(skipped.size(), std::memory_order_relaxed);
  result.skipped_count = skipped.size();
  for (size_t side = 0; side < inputs.size(); ++side) {
    const int level = side == 0 ? plan.level : plan.output_level;
    for (const FileRef& file : inputs[side]) {
      result.edit.removed_files.push_back({level, file->number});
    }
  }
  return result;
}

io::Result<VersionEdit> RunFlush(const JobEnvironment& environment, const MemTable& table,
                                 const Shape& shape, SequenceNumber smallest_snapshot,
                                 const std::function<io::Status()>& stop, JobCounters* counters,
                                 uint64_t* hidden_value_bytes) {
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
  DropRules::Scope scope;
  scope.version = shape.version.get();
  scope.output_level = -1;
  scope.drops = &drops;
  scope.smallest_snapshot = smallest_snapshot;
  DropRules rules(std::move(scope));
  OutputCutter cutter(environment.options, 0, {}, {});
  const LevelTargets targets = ComputeLevelTargets(environment.options, *shape.version);
  TableSetWriter writer(
      environment,
      TableOptionsFor(environment.options, 0, targets.base_level,
                      std::max(shape.version->DeepestLevel(), targets.base_level)),
      io::IoPriority::kFlush, drop_sequence);
  MergeLoop loop(*input, rules, cutter, writer);
  TRY(loop.Run({}, stop));
  TRY(CheckCounts(table.entry_count(), CountsOf(loop, rules, writer)));
  for (const FileRef& file : TRY(writer.Finish())) edit.added_files.push_back({0, file});
  counters->flushed_bytes.fetch_add(writer.bytes(), std::memory_order_relaxed);
  CountDrops(rules, counters);
  if (hidden_value_bytes != nullptr) *hidden_value_bytes = loop.hidden_value_bytes();
  return edit;
}

}  // namespace terracefs::lsm
