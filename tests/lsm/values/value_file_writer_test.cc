#include "lsm/values/value_file_writer.h"

#include <gtest/gtest.h>

#include "tests/lsm/values/value_fixture.h"

namespace terracefs::lsm::values_test {
namespace {

using io::StatusCode;
using testing::FaultOperation;
using testing::FaultRule;

struct WriterStore {
  WatchedStorage storage;
  ValueFiles files{storage, 10};
  FileNumber next_number = 1;

  ValueFileWriter Writer(uint64_t full_bytes = io::kGiB, io::RateLimiter* limiter = nullptr) {
    return {storage,   files, [this] { return next_number++; }, limiter, io::IoPriority::kVacuum,
            full_bytes};
  }
};

void AppendAll(std::vector<ValueReference>* all, io::Result<std::vector<ValueReference>> more) {
  ASSERT_TRUE(more.ok()) << more.status().ToString();
  all->insert(all->end(), more->begin(), more->end());
}

TEST(ValueFileWriterTest, FinishedValuesAreDurable) {
  for (const int zstd_level : {0, 1}) {
    WriterStore store;
    Pages pages = NoisePages(300);
    const Pages text = TextPages(300);
    pages.insert(pages.end(), text.begin(), text.end());
    std::vector<ValueReference> references;
    std::vector<ValueFileRef> holders;
    {
      ValueFileWriter writer = store.Writer();
      for (size_t first = 0; first < pages.size(); first += 50) {
        const Pages some(pages.begin() + static_cast<ptrdiff_t>(first),
                         pages.begin() + static_cast<ptrdiff_t>(first + 50));
        AppendAll(&references, writer.Append(Views(some), zstd_level));
      }
      EXPECT_EQ(writer.bytes(), references.back().end_page() * kValuePageBytes);
      auto finished = writer.Finish();
      ASSERT_TRUE(finished.ok()) << finished.status().ToString();
      holders = std::move(finished).value();
    }
    ASSERT_EQ(holders.size(), 1U);
    EXPECT_EQ(holders[0]->number(), 1U);
    EXPECT_EQ(holders[0]->bytes(), references.back().end_page() * kValuePageBytes);
    EXPECT_EQ(SizeOf(store.storage.sim, 1), holders[0]->bytes());
    ExpectReadable(store.files, references, pages);
    ExpectDurable(store.storage.sim, references, pages);
    EXPECT_EQ(references.back().codec, zstd_level == 0 ? ValueCodec::kPlain : ValueCodec::kZstd);
    EXPECT_EQ(references.front().codec, ValueCodec::kPlain);
    for (size_t i = 1; i < references.size(); ++i) {
      EXPECT_TRUE(references[i].Follows(references[i - 1])) << i;
    }
  }
}

TEST(ValueFileWriterTest, FilesEndWhenTheyAreFull) {
  WriterStore store;
  ValueFileWriter writer = store.Writer(10 * kValuePageBytes);
  const Pages pages = NoisePages(25);
  std::vector<ValueReference> references;
  AppendAll(&references, writer.Append(Views(pages), 0));
  for (size_t i = 0; i < 25; ++i) {
    EXPECT_EQ(references[i].file, 1 + i / 10);
    EXPECT_EQ(references[i].page, i % 10);
  }
  const auto holders = writer.Finish();
  ASSERT_TRUE(holders.ok());
  ASSERT_EQ(holders->size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*holders)[i]->number(), i + 1);
    EXPECT_EQ((*holders)[i]->bytes(), (i < 2 ? 10 : 5) * kValuePageBytes);
  }
  EXPECT_EQ(writer.bytes(), 25 * kValuePageBytes);
  ExpectDurable(store.storage.sim, references, pages);
}

// A record lies in one file, which may become a little larger than full.
TEST(ValueFileWriterTest, RecordsDoNotStraddleFiles) {
  WriterStore store;
  ValueFileWriter writer = store.Writer(3 * kValuePageBytes);
  Pages pages;
  for (size_t i = 0; i < 64; ++i) {
    pages.push_back(TextPage(i));
    pages.back().replace(0, 2000, NoisePage(i).substr(0, 2000));
  }
  std::vector<ValueReference> references;
  AppendAll(&references, writer.Append(Views(pages), 1));
  const auto holders = writer.Finish();
  ASSERT_TRUE(holders.ok());
  EXPECT_EQ(holders->size(), 4U);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(references[i].file, 1 + i / 16);
  ExpectDurable(store.storage.sim, references, pages);
}

TEST(ValueFileWriterTest, NothingAppendedMakesNoFile) {
  WriterStore store;
  ValueFileWriter writer = store.Writer();
  std::vector<ValueReference> references;
  AppendAll(&references, writer.Append({}, 1));
  const auto holders = writer.Finish();
  ASSERT_TRUE(holders.ok());
  EXPECT_TRUE(holders->empty());
  EXPECT_TRUE(store.storage.List()->empty());
  EXPECT_EQ(store.storage.TakeDirectorySyncCount(), 0);
}

TEST(ValueFileWriterTest, WhatIsNotFinishedBecomesObsolete) {
  WriterStore store;
  {
    ValueFileWriter writer = store.Writer(4 * kValuePageBytes);
    const Pages pages = NoisePages(10);
    ASSERT_TRUE(writer.Append(Views(pages), 0).ok());
    EXPECT_EQ(store.files.All().size(), 3U);
    EXPECT_TRUE(store.files.TakeObsolete().empty());
  }
  EXPECT_EQ(store.files.TakeObsolete().size(), 3U);
}

TEST(ValueFileWriterTest, FilesLiveAsLongAsTheirHolders) {
  WriterStore store;
  {
    ValueFileWriter writer = store.Writer();
    ASSERT_TRUE(writer.Append(Views(NoisePages(10)), 0).ok());
    auto holders = writer.Finish();
    ASSERT_TRUE(holders.ok());
    EXPECT_EQ(holders->at(0).use_count(), 1);
  }
  EXPECT_EQ(TakeObsolete(store.files), (std::vector<FileNumber>{1}));
}

TEST(ValueFileWriterTest, LimiterIsChargedForWhatIsWritten) {
  WriterStore store;
  io::RateLimiter limiter(64 * io::kMiB, io::SystemClock());
  ValueFileWriter writer = store.Writer(io::kGiB, &limiter);
  ASSERT_TRUE(writer.Append(Views(NoisePages(700)), 0).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(limiter.stats().bytes_by_priority[static_cast<size_t>(io::IoPriority::kVacuum)],
            700 * kValuePageBytes);
}

// Whatever fails, once: either it is told, or everything is durable.
TEST(ValueFileWriterTest, AnyFailureIsToldAndKept) {
  const Pages pages = NoisePages(25);
  for (uint64_t index = 0; index < 14; ++index) {
    WriterStore store;
    FaultRule rule;
    rule.pass_count = index;
    store.storage.faults().Add(rule);
    std::vector<ValueReference> references;
    {
      ValueFileWriter writer = store.Writer(10 * kValuePageBytes);
      auto appended = writer.Append(Views(pages), 0);
      if (appended.ok()) references = *appended;
      io::Status again = writer.Append({}, 0).status();
      EXPECT_EQ(again.ok(), appended.ok());
      auto finished = writer.Finish();
      if (!appended.ok()) {
        EXPECT_EQ(finished.status().ToString(), appended.status().ToString());
      }
      const bool injected = store.storage.faults().injected_count() > 0;
      EXPECT_EQ(finished.ok(), !injected) << index;
      if (finished.ok()) ExpectDurable(store.storage.sim, references, pages);
      if (index == 13) {
        EXPECT_FALSE(injected) << "the loop reaches the end";
      }
    }
    EXPECT_TRUE(store.files.All().empty()) << "no holder is left behind";
  }
}

TEST(ValueFileWriterTest, FullDiskIsNoSpace) {
  WriterStore store;
  store.storage.sim.SetCapacityBytes(64 * io::kKiB);
  ValueFileWriter writer = store.Writer();
  auto appended = writer.Append(Views(NoisePages(600)), 0);
  const io::Status status = writer.Finish().status();
  EXPECT_TRUE(status.Is(StatusCode::kNoSpace)) << status.ToString();
}

}  // namespace
}  // namespace terracefs::lsm::values_test
