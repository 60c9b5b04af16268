#include "lsm/values/value_file_writer.h"

#include <algorithm>

#include "io/base/check.h"
#include "lsm/file_names.h"

namespace terracefs::lsm {

ValueFileWriter::ValueFileWriter(io::Storage& storage, ValueFiles& files,
                                 std::function<FileNumber()> new_file_number,
                                 io::RateLimiter* limiter, io::IoPriority priority,
                                 uint64_t full_file_bytes)
    : storage_(storage),
      value_files_(files),
      new_file_number_(std::move(new_file_number)),
      limiter_(limiter),
      priority_(priority),
      full_file_bytes_(full_file_bytes) {}

ValueFileWriter::~ValueFileWriter() = default;

io::Result<std::vector<ValueReference>> ValueFileWriter::Append(
    std::span<const std::string_view> pages, int zstd_level) {
  CHECK(!is_finished_);
  if (!error_.ok()) return error_;
  auto references = AppendRecords(pages, zstd_level);
  if (!references.ok()) error_ = references.status();
  return references;
}

io::Result<std::vector<ValueReference>> ValueFileWriter::AppendRecords(
    std::span<const std::string_view> pages, int zstd_level) {
  std::vector<ValueReference> references;
  references.reserve(pages.size());
  while (!pages.empty()) {
    // One run at a time, so that compressed copies of a large append do not pile up.
    auto run = pages.first(std::min(kRecordPagesMax, pages.size()));
    pages = pages.subspan(run.size());
    for (const ValueRecord& record : MakeValueRecords(run, zstd_level)) {
      TRY(AppendRecord(record, run.first(record.page_count), &references));
      run = run.subspan(record.page_count);
    }
  }
  return references;
}

io::Status ValueFileWriter::AppendRecord(const ValueRecord& record,
                                         std::span<const std::string_view> pages,
                                         std::vector<ValueReference>* references) {
  if (open_.file != nullptr && open_.writer->offset() >= full_file_bytes_) TRY(EndFile());
  if (open_.file == nullptr) TRY(CreateFile());
  AppendReferences(record, pages, open_.holder->number(), open_.writer->offset() / kValuePageBytes,
                   references);
  const std::string_view bytes = record.Bytes(pages);
  TRY(open_.writer->Append(bytes));
  bytes_ += bytes.size();
  open_.holder->set_bytes(open_.writer->offset());
  return io::Status::Ok();
}

io::Status ValueFileWriter::CreateFile() {
  const FileNumber number = new_file_number_();
  io::OpenOptions options;
  options.write = true;
  options.create = true;
  options.exclusive = true;
  options.direct = true;
  open_.file = TRY(storage_.Open(FileName(FileKind::kBlob, number), options));
  open_.holder = value_files_.Add(number, 0);
  open_.writer = std::make_unique<io::SequentialWriter>(*open_.file, limiter_, priority_);
  return io::Status::Ok();
}

io::Status ValueFileWriter::EndFile() {
  TRY(open_.writer->Finish());
  finished_.push_back(std::move(open_.holder));
  open_.writer.reset();
  open_.file.reset();
  return io::Status::Ok();
}

io::Result<std::vector<ValueFileRef>> ValueFileWriter::Finish() {
  CHECK(!is_finished_);
  is_finished_ = true;
  if (error_.ok() && open_.file != nullptr) error_ = EndFile();
  if (error_.ok() && !finished_.empty()) error_ = storage_.SyncDirectory();
  if (!error_.ok()) return error_;
  return std::move(finished_);
}

}  // namespace terracefs::lsm
