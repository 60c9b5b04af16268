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

  // Appends pages of kValuePageBytes each; compresses as ValueLog::Append does.
  io::Result<std::vector<ValueReference>> Append(std::span<const std::string_view> pages,
                                                 int zstd_level);
  // Ends the open file, syncs all files and the directory. The files stay as long as the returned
  // holders, or somebody else, hold them.
  io::Result<std::vector<ValueFileRef>> Finish();
  uint64_t bytes() const { return bytes_; }  // written so far

 private:
  // Private members are the implementer's.
  uint64_t bytes_ = 0;
};

}  // namespace terracefs::lsm
