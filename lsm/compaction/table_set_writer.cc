#include "lsm/compaction/table_set_writer.h"

#include <cmath>
#include <numbers>

#include "io/base/log.h"
#include "lsm/compaction/level_targets.h"
#include "lsm/file_names.h"

namespace terracefs::lsm {
namespace {

constexpr int kZstdLevel = 1;
constexpr double kFilterBitsLast = 10;
constexpr double kFilterBitsMax = 20;  // more probes than a reader should make

}  // namespace

TableOptions TableOptionsFor(const Options& options, int level, int base_level, int deepest_level) {
  TableOptions table;
  table.block_bytes = options.block_bytes;
  table.zstd_level = IsCompressedLevel(level, base_level) ? kZstdLevel : 0;
  // Bits per key for a false positive rate of p: -ln p / (ln 2)^2.
  const double bits_per_step =
      std::log(options.level_multiplier) / (std::numbers::ln2 * std::numbers::ln2);
  const int steps =
      level == 0 ? std::max(deepest_level - base_level + 1, 0) : std::max(deepest_level - level, 0);
  table.filter_bits_per_key = std::min(kFilterBitsLast + steps * bits_per_step, kFilterBitsMax);
  table.filter_key = options.filter_key;
  return table;
}

TableSetWriter::TableSetWriter(const JobEnvironment& environment, const TableOptions& table_options,
                               io::IoPriority priority, SequenceNumber drop_sequence)
    : environment_(environment),
      table_options_(table_options),
      priority_(priority),
      drop_sequence_(drop_sequence) {}

TableSetWriter::~TableSetWriter() {
  CloseOpenTable();
  RemoveTables(environment_, finished_);
}

uint64_t TableSetWriter::open_table_weight() const {
  if (!builder_) return 0;
  const double share = static_cast<double>(builder_->value_pages() * kValuePageBytes) /
                       static_cast<double>(environment_.options.table_value_bytes);
  const double bytes = share * static_cast<double>(environment_.options.table_bytes);
  return std::max(builder_->EstimatedFileBytes(), static_cast<uint64_t>(bytes));
}

void TableSetWriter::CloseOpenTable() {
  builder_.reset();
  if (open_number_ == 0) return;
  environment_.storage.Remove(FileName(FileKind::kTable, std::exchange(open_number_, 0)))
      .IgnoreError("an orphan; the next open removes it");
}

io::Status TableSetWriter::Add(std::string_view internal_key, std::string_view value) {
  if (!builder_) {
    open_number_ = environment_.new_file_number();
    io::OpenOptions options;
    options.write = options.create = options.exclusive = options.direct = true;
    std::unique_ptr<io::File> file =
        TRY(environment_.storage.Open(FileName(FileKind::kTable, open_number_), options));
    builder_ = std::make_unique<TableBuilder>(std::move(file), table_options_,
                                              &environment_.limiter, priority_);
  }
  ++entry_count_;
  return builder_->Add(internal_key, value);
}

io::Status TableSetWriter::Cut() {
  if (!builder_) return io::Status::Ok();
  auto file = std::make_shared<FileMeta>();
  file->number = open_number_;
  file->info = TRY(builder_->Finish());
  file->drop_sequence = drop_sequence_;
  builder_.reset();
  // Whoever the entries came from holds the files.
  for (const ValueUse& use : file->info.value_uses) {
    ValueFileRef value_file = environment_.value_files.Find(use.file);
    if (value_file == nullptr) {
      return io::Status::Corruption("a table refers to a value file that is not there",
                                    FileName(FileKind::kBlob, use.file));
    }
    file->value_files.push_back(std::move(value_file));
  }
  finished_bytes_ += file->info.file_bytes;
  finished_.push_back(file);
  open_number_ = 0;
  TRY(environment_.tables.Get(file->number));
  return io::Status::Ok();
}

io::Result<std::vector<FileRef>> TableSetWriter::Finish() {
  TRY(Cut());
  if (!finished_.empty()) TRY(environment_.storage.SyncDirectory());
  return std::exchange(finished_, {});
}

void RemoveTables(const JobEnvironment& environment, const std::vector<FileRef>& files) {
  for (const FileRef& file : files) {
    environment.tables.Evict(file->number);
    environment.storage.Remove(FileName(FileKind::kTable, file->number))
        .IgnoreError("an orphan; the next open removes it");
  }
}

}  // namespace terracefs::lsm
