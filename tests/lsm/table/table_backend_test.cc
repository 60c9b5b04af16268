// Tables on the real backends, where reads are truly in flight.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/open_storage.h"
#include "tests/lsm/table/table_fixture.h"
#include "tests/support/temp_dir.h"

namespace terracefs::lsm::table_test {
namespace {

class TableBackendTest : public ::testing::TestWithParam<io::IoBackend> {};

TEST_P(TableBackendTest, WritesAndReadsTables) {
  const testing::TempDir directory;
  auto opened = io::OpenStorage(directory.path(), GetParam());
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  io::Storage& storage = **opened;
  const Model model = Pages(2000);
  BlockCache cache(64 << 20);
  std::vector<std::shared_ptr<TableReader>> tables;
  for (FileNumber number = 1; number <= 2; ++number) {
    ASSERT_TRUE(WriteTable(storage, number, model).ok());
    auto table = OpenTable(storage, number, &cache);
    ASSERT_TRUE(table.ok()) << table.status().ToString();
    tables.push_back(std::move(table).value());
  }

  const auto job = tables[0]->NewJobIterator({});
  job->SeekToFirst();
  EXPECT_TRUE(ExpectRest(*job, model.begin(), model.end()).ok());
  job->SeekToFirst();  // given up with reads in flight, here and by the destructor
  job->Seek(Key(PageKey(1990)));
  EXPECT_TRUE(ExpectRest(*job, model.lower_bound(Key(PageKey(1990))), model.end()).ok());
  job->SeekToFirst();

  ReadOptions cache_only;
  cache_only.cache_only = true;
  std::vector<MissingBlock> missing;
  for (uint64_t page = 0; page < 2000; page += 37) {
    for (const auto& table : tables) {
      MissingBlock block;
      if (!table->Get(cache_only, PageKey(page), kSequenceMax, &block).ok()) {
        missing.push_back(block);
      }
    }
  }
  ASSERT_TRUE(TableReader::ReadBlocks(missing).ok());
  for (uint64_t page = 0; page < 2000; page += 37) {
    for (const auto& table : tables) {
      const auto found = table->Get(cache_only, PageKey(page), kSequenceMax, nullptr);
      ASSERT_TRUE(found.ok());
      ASSERT_TRUE(IsRight(model, PageKey(page), kSequenceMax, found.value()));
    }
  }

  const std::string bound = PageKey(1500);
  ReadOptions bounded;
  bounded.upper_bound = bound;
  const auto range = tables[1]->NewIterator(bounded);
  range->Seek(Key(PageKey(100)));
  EXPECT_TRUE(ExpectRest(*range, model.lower_bound(Key(PageKey(100))),
                         model.lower_bound(Key(PageKey(1500))))
                  .ok());
  EXPECT_TRUE(tables[1]->Verify(nullptr, io::IoPriority::kScrub).ok());
}

// TSan misjudges memory that the kernel writes through a ring.
#if defined(__SANITIZE_THREAD__)
INSTANTIATE_TEST_SUITE_P(Backends, TableBackendTest, ::testing::Values(io::IoBackend::kPosix));
#else
INSTANTIATE_TEST_SUITE_P(Backends, TableBackendTest,
                         ::testing::Values(io::IoBackend::kUring, io::IoBackend::kPosix));
#endif

}  // namespace
}  // namespace terracefs::lsm::table_test
