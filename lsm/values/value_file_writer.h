#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "io/rate_limiter.h"
#include "io/sequential_writer.h"
#include "io/storage.h"
#include "lsm/values/record_codec.h"
#include "lsm/values/value_files.h"

namespace terracefs::lsm {

// Writes value files front to back for a job (vacuum), beside the log. Charges the limiter. Values
// are readable only after Finish. Not thread-safe: one thread. What was written but not handed out
// by Finish is removed by the destructor (it becomes obsolete with its last holder).
class ValueFileWriter {
 public:
  // A file is ended when it has reached `full_file_bytes`.
  ValueFileWriter(io::Storage& storage, ValueFiles& files,
                  std::function<FileNumber()> new_file_number, io::RateLimiter* limiter,
                  io::IoPriority priority, uint64_t full_file_bytes);
  ~ValueFileWriter();
  ValueFileWriter(const ValueFileWriter&) = delete;
  ValueFileWriter& operator=(const ValueFileWriter&) = delete;

  // Appends pages of kValuePageBytes each; compresses as ValueLog::Append does. Not after Finish.
  // After an error everything later fails with it.
  io::Result<std::vector<ValueReference>> Append(std::span<const std::string_view> pages,
                                                 int zstd_level);
  // Ends the open file, syncs all files and the directory. The files stay as long as the returned
  // holders, or somebody else, hold them.
  io::Result<std::vector<ValueFileRef>> Finish();
  uint64_t bytes() const { return bytes_; }  // written so far

 private:
  struct OpenFile {
    ValueFileRef holder;
    std::unique_ptr<io::File> file;
    std::unique_ptr<io::SequentialWriter> writer;  // of `file`, and destroyed before it
  };
  io::Result<std::vector<ValueReference>> AppendRecords(std::span<const std::string_view> pages,
                                                        int zstd_level);
  io::Status AppendRecord(const ValueRecord& record, std::span<const std::string_view> pages,
                          std::vector<ValueReference>* references);
  io::Status CreateFile();
  io::Status EndFile();

  io::Storage& storage_;
  ValueFiles& value_files_;
  const std::function<FileNumber()> new_file_number_;
  io::RateLimiter* const limiter_;
  const io::IoPriority priority_;
  const uint64_t full_file_bytes_;
  OpenFile open_;                       // file null: there is none
  std::vector<ValueFileRef> finished_;  // in order
  io::Status error_;                    // the first one; everything later fails with it
  bool is_finished_ = false;
  uint64_t bytes_ = 0;
};

}  // namespace terracefs::lsm
