#include "fs/control/space_report.h"

#include <algorithm>

#include "fs/schema/limits.h"
#include "fs/schema/records.h"

namespace terracefs::fs {
namespace {

uint64_t Less(uint64_t a, uint64_t b) { return a - std::min(a, b); }

// What `page_count` pages take of `live` bytes that hold all pages: a page each, or their share if
// the pages are smaller than that, being compressed or still in memory.
uint64_t ShareOfPages(uint64_t page_count, uint64_t page_count_total, uint64_t live) {
  if (page_count == 0) return 0;
  const double bytes_each = std::min(
      static_cast<double>(kPageBytes),
      static_cast<double>(live) / static_cast<double>(std::max(page_count, page_count_total)));
  return std::min(live, static_cast<uint64_t>(static_cast<double>(page_count) * bytes_each));
}

}  // namespace

io::Result<SpaceReport> ReportSpace(FileSystem& file_system, lsm::Db& db) {
  const lsm::SpaceStats space = TRY(db.Space());
  const int64_t page_count = db.Counter(static_cast<uint8_t>(CounterId::kPages));
  SpaceReport report;
  report.capacity = TRY(file_system.StatFs())
  .capacity_bytes;
  report.physical = space.physical_bytes;
  report.tombstones = std::min(space.table_garbage_bytes, space.table_bytes);
  report.blob_garbage = space.value_garbage_bytes;
  report.obsolete_files = space.obsolete_bytes;
  report.log = space.log_bytes;
  report.spare = space.value_spare_bytes;
  // For the engine a file is alive until it is removed for good.
  report.live = space.table_bytes - report.tombstones + space.value_bytes;
  report.open_unlinked =
      ShareOfPages(TRY(file_system.UnlinkedPageCount()),
                   static_cast<uint64_t>(std::max<int64_t>(0, page_count)), report.live);
  report.live -= report.open_unlinked;
  report.metadata = Less(report.physical, report.live + report.tombstones + report.blob_garbage +
                                              report.open_unlinked + report.obsolete_files +
                                              report.log + report.spare);
  report.rate = db.Stats().limiter.rate;
  if (report.rate > 0) {
    report.eta_s = (report.tombstones + report.blob_garbage + report.rate - 1) / report.rate;
  }
  return report;
}

}  // namespace terracefs::fs
