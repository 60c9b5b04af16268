#include "lsm/values/value_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "io/base/crc32c.h"
#include "lsm/compression.h"
#include "lsm/values/value_reader.h"
#include "tests/lsm/values/value_fixture.h"

namespace terracefs::lsm::values_test {
namespace {

using io::StatusCode;
using ::testing::HasSubstr;
using Operation = WatchedStorage::Operation;

// A file of plain pages.
struct PlainFile {
  PlainFile(WatchedStorage& storage, FileNumber number, size_t count)
      : pages(NoisePages(count, number)) {
    std::string contents;
    for (size_t i = 0; i < count; ++i) {
      contents += pages[i];
      ValueReference reference;
      reference.file = number;
      reference.page = i;
      reference.crc = io::Crc32c(io::AsBytes(pages[i]));
      references.push_back(reference);
    }
    storage.sim.PutContents(BlobName(number), contents);
  }
  Pages pages;
  std::vector<ValueReference> references;
};

// A file of one compressed record, of more than a page, behind an empty page.
struct RecordFile {
  explicit RecordFile(WatchedStorage& storage, FileNumber number) {
    std::string text;
    for (size_t i = 0; i < 4; ++i) {
      pages.push_back(TextPage(i));
      pages.back().replace(0, 1500, NoisePage(i).substr(0, 1500));
      text += pages.back();
    }
    std::string frame;
    EXPECT_TRUE(Compress(text, 1, &frame));
    frame_bytes = frame.size();
    for (size_t i = 0; i < 4; ++i) {
      ValueReference reference;
      reference.file = number;
      reference.page = 1;
      reference.codec = ValueCodec::kZstd;
      reference.crc = io::Crc32c(io::AsBytes(pages[i]));
      reference.record_bytes = static_cast<uint32_t>(frame.size());
      reference.record_pages = 4;
      reference.index = static_cast<uint8_t>(i);
      references.push_back(reference);
    }
    EXPECT_EQ(references[0].stored_pages(), 2U);
    frame.resize(2 * kValuePageBytes);
    stored = frame;
    storage.sim.PutContents(BlobName(number), std::string(kValuePageBytes, '\0') + frame);
  }
  Pages pages;
  std::vector<ValueReference> references;
  std::string stored;
  size_t frame_bytes = 0;
};

std::vector<std::pair<uint64_t, uint64_t>> PagesRead(WatchedStorage& storage) {
  std::vector<std::pair<uint64_t, uint64_t>> reads;
  for (const Operation& read : storage.TakeReads()) {
    reads.emplace_back(read.offset / kValuePageBytes, read.bytes / kValuePageBytes);
  }
  return reads;
}
using Reads = std::vector<std::pair<uint64_t, uint64_t>>;  // page, pages

template <typename T>
std::vector<T> Pick(const std::vector<T>& all, const std::vector<size_t>& indices) {
  std::vector<T> picked;
  for (const size_t index : indices) picked.push_back(all[index]);
  return picked;
}

TEST(ValueFilesReadTest, WhatLiesTogetherIsReadTogether) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile file(storage, 3, 40);
  const auto expect_reads = [&](const std::vector<size_t>& indices, const Reads& reads) {
    ExpectReadable(files, Pick(file.references, indices), Pick(file.pages, indices));
    EXPECT_EQ(PagesRead(storage), reads);
  };
  expect_reads({}, {});
  expect_reads({7}, {{7, 1}});
  expect_reads({0, 1, 2}, {{0, 3}});
  expect_reads({39, 38, 37}, {{37, 3}});
  expect_reads({5, 5, 5}, {{5, 1}});
  expect_reads({0, 9}, {{0, 10}});
  expect_reads({0, 10}, {{0, 1}, {10, 1}});
  expect_reads({29, 2, 20, 11, 2}, {{2, 28}});
  expect_reads({30, 2, 20, 12}, {{2, 1}, {12, 9}, {30, 1}});
}

TEST(ValueFilesReadTest, RequestsAreBounded) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  constexpr size_t kPages = 20 * io::kMiB / kValuePageBytes;
  const PlainFile file(storage, 3, kPages);
  ExpectReadable(files, file.references, file.pages);
  const auto reads = storage.TakeReads();
  EXPECT_EQ(reads.size(), 10U);
  for (const Operation& read : reads) EXPECT_EQ(read.bytes, ValueReader::kRequestBytesMax);
  EXPECT_EQ(reads[0].submission, reads[7].submission) << "in one submission";
  EXPECT_EQ(storage.read_bytes_in_flight_max(), ValueReader::kInFlightBytesMax);
}

TEST(ValueFilesReadTest, ManyFilesAreReadAtOnce) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  std::vector<ValueReference> references;
  Pages pages;
  for (FileNumber number = 1; number <= 5; ++number) {
    const PlainFile file(storage, number, 30);
    for (const size_t i : {size_t{25}, size_t{0}}) {
      references.push_back(file.references[i]);
      pages.push_back(file.pages[i]);
    }
  }
  std::reverse(references.begin(), references.end());
  std::reverse(pages.begin(), pages.end());
  ExpectReadable(files, references, pages);
  EXPECT_EQ(storage.read_bytes_in_flight_max(), 10 * kValuePageBytes) << "none was waited for";
  std::vector<int> submissions;
  for (const Operation& read : storage.TakeReads()) submissions.push_back(read.submission);
  EXPECT_EQ(submissions, (std::vector<int>{1, 1, 2, 2, 3, 3, 4, 4, 5, 5}));
}

TEST(ValueFilesReadTest, RecordIsReadOnceForAllItsValues) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const RecordFile file(storage, 3);
  const std::vector<size_t> indices = {3, 0, 2, 2, 1};
  ExpectReadable(files, Pick(file.references, indices), Pick(file.pages, indices));
  EXPECT_EQ(PagesRead(storage), (Reads{{1, 2}}));
}

TEST(ValueFilesReadTest, LimiterIsChargedForWhatIsRead) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile file(storage, 3, 300);
  io::RateLimiter limiter(16 * io::kMiB, io::SystemClock());
  ValueFiles::ReadSettings settings;
  settings.limiter = &limiter;
  settings.priority = io::IoPriority::kScrub;
  ExpectReadable(files, file.references, file.pages, settings);
  EXPECT_EQ(limiter.stats().bytes, 300 * kValuePageBytes);
  EXPECT_EQ(limiter.stats().bytes_by_priority[static_cast<size_t>(io::IoPriority::kScrub)],
            300 * kValuePageBytes);
  for (const Operation& read : storage.TakeReads()) {
    EXPECT_LE(read.bytes, limiter.RequestBytesMax());
  }
}

TEST(ValueFilesReadTest, EveryDamagedByteOfAPlainValueIsFound) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile file(storage, 3, 3);
  for (const uint64_t offset : {0U, 1U, 2047U, 4088U, 4095U}) {
    storage.sim.CorruptByte(BlobName(3), kValuePageBytes + offset);
    const ReadResult read(files, file.references);
    EXPECT_TRUE(read.status.Is(StatusCode::kCorruption));
    EXPECT_THAT(read.status.message(), HasSubstr("value has crc "));
    EXPECT_THAT(read.status.message(), HasSubstr(", expected "));
    EXPECT_THAT(read.status.message(), HasSubstr("000003.blob at byte 4096"));
    EXPECT_TRUE(read.items[0].status.ok());
    EXPECT_FALSE(read.items[1].status.ok());
    EXPECT_TRUE(read.items[2].status.ok());
    EXPECT_TRUE(read.pages[0] == file.pages[0] && read.pages[2] == file.pages[2]);
    storage.sim.CorruptByte(BlobName(3), kValuePageBytes + offset);
  }
  ExpectReadable(files, file.references, file.pages);
}

TEST(ValueFilesReadTest, DamagedRecordsNeverGiveWrongValues) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const RecordFile file(storage, 3);
  size_t found_count = 0;
  for (size_t offset = 0; offset < file.stored.size(); offset += offset < 40 ? 1 : 37) {
    storage.sim.CorruptByte(BlobName(3), kValuePageBytes + offset);
    const ReadResult read(files, file.references);
    for (size_t i = 0; i < read.items.size(); ++i) {
      if (read.items[i].status.ok()) {
        EXPECT_TRUE(read.pages[i] == file.pages[i]) << offset;
      } else {
        EXPECT_TRUE(read.items[i].status.Is(StatusCode::kCorruption));
        EXPECT_THAT(read.items[i].status.message(), HasSubstr("000003.blob at byte 4096"));
      }
    }
    if (offset < file.frame_bytes) {
      EXPECT_FALSE(read.status.ok()) << offset;
      ++found_count;
    } else {
      EXPECT_TRUE(read.status.ok()) << "padding, byte " << offset;
    }
    storage.sim.CorruptByte(BlobName(3), kValuePageBytes + offset);
  }
  EXPECT_GT(found_count, 100U);
}

TEST(ValueFilesReadTest, ReferencesToTheWrongPlaceAreCorruption) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile plain(storage, 3, 3);
  const RecordFile record(storage, 4);
  ValueReference wrong_page = plain.references[0];
  wrong_page.page = 1;
  ValueReference wrong_length = record.references[0];
  wrong_length.record_bytes -= 1;
  ValueReference wrong_count = record.references[0];
  wrong_count.record_pages = 5;
  ValueReference wrong_index = record.references[0];
  wrong_index.index = 1;
  ValueReference no_record = record.references[0];
  no_record.file = 3;
  for (const ValueReference& reference :
       {wrong_page, wrong_length, wrong_count, wrong_index, no_record}) {
    const ReadResult read(files, {reference, record.references[0]});
    EXPECT_TRUE(read.items[0].status.Is(StatusCode::kCorruption)) << read.status.ToString();
    EXPECT_TRUE(read.items[1].status.ok());
    EXPECT_TRUE(read.pages[1] == record.pages[0]);
  }
}

TEST(ValueFilesReadTest, MissingFileIsCorruption) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile file(storage, 3, 2);
  ValueReference missing = file.references[0];
  missing.file = 2;
  ValueReference other = file.references[0];
  other.file = 4;
  const ReadResult read(files, {missing, file.references[1], other, missing});
  EXPECT_TRUE(read.status.Is(StatusCode::kCorruption));
  EXPECT_THAT(read.status.message(), HasSubstr("value file is missing"));
  EXPECT_THAT(read.status.message(), HasSubstr("000002.blob"));
  EXPECT_TRUE(read.items[1].status.ok());
  EXPECT_TRUE(read.pages[1] == file.pages[1]);
  EXPECT_TRUE(read.items[2].status.Is(StatusCode::kCorruption));
  EXPECT_TRUE(read.items[3].status.Is(StatusCode::kCorruption));
  EXPECT_EQ(files.open_count(), 1U);
}

TEST(ValueFilesReadTest, FailedOpenIsTriedAgain) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile file(storage, 3, 1);
  testing::FaultRule rule;
  rule.operation = testing::FaultOperation::kOpen;
  storage.faults().Add(rule);
  EXPECT_TRUE(ReadResult(files, file.references).status.Is(StatusCode::kIoError));
  ExpectReadable(files, file.references, file.pages);
}

TEST(ValueFilesReadTest, FailedPageDoesNotTakeItsNeighboursWithIt) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile file(storage, 3, 4);
  testing::FaultRule rule;
  rule.operation = testing::FaultOperation::kRead;
  rule.fault_count = 2;  // all together, then the first alone
  storage.faults().Add(rule);
  const ReadResult read(files, file.references);
  EXPECT_TRUE(read.status.Is(StatusCode::kIoError));
  EXPECT_TRUE(read.items[0].status.Is(StatusCode::kIoError));
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_TRUE(read.items[i].status.ok());
    EXPECT_TRUE(read.pages[i] == file.pages[i]);
  }
  // Past the end of the file, and only that.
  std::vector<ValueReference> references = file.references;
  references[2].page = 4;
  const ReadResult past(files, references);
  EXPECT_TRUE(past.items[2].status.Is(StatusCode::kIoError));
  EXPECT_THAT(past.status.message(), HasSubstr("short read"));
  for (const size_t i : {0U, 1U, 3U}) EXPECT_TRUE(past.pages[i] == file.pages[i]);
  // A single one fails without a second try.
  storage.TakeReads();
  storage.faults().Add(rule);
  EXPECT_FALSE(ReadResult(files, {file.references[0]}).status.ok());
  EXPECT_EQ(storage.TakeReads().size(), 1U);
}

// Stored pages by file and page.
class FakePages final : public PagesInFlight {
 public:
  bool ReadInFlight(FileNumber file, uint64_t page, std::byte* out) override {
    ++asked_count;
    const auto found = pages.find({file, page});
    if (found == pages.end()) return false;
    std::memcpy(out, found->second.data(), kValuePageBytes);
    return true;
  }
  std::map<std::pair<FileNumber, uint64_t>, std::string> pages;
  int asked_count = 0;
};

TEST(ValueFilesReadTest, MemoryIsAskedFirst) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile plain(storage, 3, 3);
  const RecordFile record(storage, 4);
  FakePages memory;
  files.SetPagesInFlight(&memory);
  memory.pages[{3, 1}] = plain.pages[1];
  memory.pages[{4, 1}] = record.stored.substr(0, kValuePageBytes);
  std::vector<ValueReference> references = plain.references;
  references.push_back(plain.references[1]);
  Pages pages = plain.pages;
  pages.push_back(plain.pages[1]);
  references.insert(references.end(), record.references.begin(), record.references.end());
  pages.insert(pages.end(), record.pages.begin(), record.pages.end());
  ExpectReadable(files, references, pages);
  EXPECT_EQ(PagesRead(storage), (Reads{{0, 3}, {1, 2}})) << "a record that is there only in part";
  memory.pages[{4, 2}] = record.stored.substr(kValuePageBytes);
  ValueFiles::ReadSettings settings;
  settings.cache_only = true;
  const ReadResult read(files, references, settings);
  EXPECT_TRUE(read.status.Is(StatusCode::kWouldBlock));
  for (size_t i = 0; i < references.size(); ++i) {
    const bool on_disk = i == 0 || i == 2;
    EXPECT_TRUE(read.items[i].status.Is(on_disk ? StatusCode::kWouldBlock : StatusCode::kOk)) << i;
    if (!on_disk) {
      EXPECT_TRUE(read.pages[i] == pages[i]) << i;
    }
  }
  EXPECT_TRUE(storage.TakeReads().empty());
  // What is in memory is checked as well.
  memory.pages[{3, 1}][100] ^= 1;
  EXPECT_TRUE(ReadResult(files, references).items[1].status.Is(StatusCode::kCorruption));
}

TEST(ValueFilesOpenTest, LeastRecentlyReadAreClosed) {
  WatchedStorage storage;
  ValueFiles files(storage, 2);
  std::vector<PlainFile> plain;
  for (FileNumber number = 1; number <= 3; ++number) plain.emplace_back(storage, number, 2);
  const auto opens = [&](FileNumber number) {
    storage.TakeOpenCount();
    ExpectReadable(files, plain[number - 1].references, plain[number - 1].pages);
    return storage.TakeOpenCount();
  };
  EXPECT_EQ(files.open_count(), 0U);
  EXPECT_EQ(opens(1), 1);
  EXPECT_EQ(opens(2), 1);
  EXPECT_EQ(opens(1), 0);
  EXPECT_EQ(opens(3), 1);
  EXPECT_EQ(files.open_count(), 2U);
  EXPECT_EQ(opens(1), 0) << "was read after 2";
  EXPECT_EQ(opens(2), 1);
  EXPECT_EQ(opens(3), 1);
}

// One Read of more files than may be open keeps what it still reads.
TEST(ValueFilesOpenTest, FilesInUseStayOpenForTheirReaders) {
  WatchedStorage storage;
  ValueFiles files(storage, 1);
  std::vector<ValueReference> references;
  Pages pages;
  for (FileNumber number = 1; number <= 6; ++number) {
    const PlainFile file(storage, number, 30);
    references.insert(references.end(), file.references.begin(), file.references.end());
    pages.insert(pages.end(), file.pages.begin(), file.pages.end());
  }
  ExpectReadable(files, references, pages);
  EXPECT_EQ(files.open_count(), 1U);
}

TEST(ValueFilesOpenTest, ConcurrentReadersOpenOnce) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile file(storage, 1, 20);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) ExpectReadable(files, file.references, file.pages);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(storage.TakeOpenCount(), 1);
}

TEST(ValueFilesOpenTest, ConcurrentReadersCloseEachOthersFiles) {
  WatchedStorage storage;
  ValueFiles files(storage, 2);
  std::vector<PlainFile> plain;
  for (FileNumber number = 1; number <= 6; ++number) plain.emplace_back(storage, number, 20);
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    threads.emplace_back([&, seed] {
      io::Random random(seed);
      for (int round = 0; round < 200; ++round) {
        std::vector<ValueReference> references;
        Pages pages;
        for (int i = 0; i < 6; ++i) {
          const PlainFile& file = plain[random.Uniform(6)];
          const size_t page = random.Uniform(20);
          references.push_back(file.references[page]);
          pages.push_back(file.pages[page]);
        }
        ExpectReadable(files, references, pages);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(files.open_count(), 2U);
}

TEST(ValueFilesTest, ObsoleteWithTheLastHolder) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  ValueFileRef file = files.Add(7, 4096);
  EXPECT_EQ(file->number(), 7U);
  EXPECT_EQ(file->bytes(), 4096U);
  ValueFileRef other = files.Find(7);
  EXPECT_EQ(other, file);
  EXPECT_EQ(files.Find(8), nullptr);
  file.reset();
  EXPECT_TRUE(files.TakeObsolete().empty());
  EXPECT_FALSE(files.IsObsolete(7));
  other.reset();
  EXPECT_EQ(files.Find(7), nullptr);
  EXPECT_TRUE(files.IsObsolete(7));
  EXPECT_EQ(TakeObsolete(files), (std::vector<FileNumber>{7}));
  EXPECT_TRUE(files.TakeObsolete().empty()) << "handed out once";
  EXPECT_TRUE(files.IsObsolete(7));
  files.Forget(7);
  EXPECT_FALSE(files.IsObsolete(7));
}

TEST(ValueFilesTest, AllAreAscendingAndAlive) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  std::vector<ValueFileRef> held;
  for (const FileNumber number : {5U, 2U, 9U, 7U}) held.push_back(files.Add(number, number * 4096));
  held.erase(held.begin() + 2);
  std::vector<FileNumber> numbers;
  for (const ValueFileRef& file : files.All()) {
    numbers.push_back(file->number());
    EXPECT_EQ(file->bytes(), file->number() * 4096);
  }
  EXPECT_EQ(numbers, (std::vector<FileNumber>{2, 5, 7}));
  EXPECT_EQ(TakeObsolete(files), (std::vector<FileNumber>{9}));
}

TEST(ValueFilesTest, NothingBecomesObsoleteAfterStopCollecting) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  ValueFileRef first = files.Add(1, 0);
  ValueFileRef second = files.Add(2, 0);
  first.reset();
  files.StopCollecting();
  second.reset();
  EXPECT_EQ(files.Find(2), nullptr);
  EXPECT_FALSE(files.IsObsolete(2));
  EXPECT_EQ(TakeObsolete(files), (std::vector<FileNumber>{1})) << "was so before";
}

TEST(ValueFilesTest, TakenFilesAreClosed) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  const PlainFile plain(storage, 1, 2);
  const PlainFile other(storage, 2, 2);
  ValueFileRef file = files.Add(1, 2 * kValuePageBytes);
  ExpectReadable(files, plain.references, plain.pages);
  ExpectReadable(files, other.references, other.pages);
  EXPECT_EQ(files.open_count(), 2U);
  file.reset();
  EXPECT_EQ(files.open_count(), 2U);
  EXPECT_EQ(files.TakeObsolete().size(), 1U);
  EXPECT_EQ(files.open_count(), 1U);
}

// Whoever finds a file while its last holder lets go of it either has it or finds nothing.
TEST(ValueFilesTest, FindNeverBringsBackTheDead) {
  WatchedStorage storage;
  ValueFiles files(storage, 10);
  std::atomic<FileNumber> newest{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const FileNumber number = newest;
        if (const ValueFileRef found = files.Find(number)) {
          EXPECT_EQ(found->number(), number);
          EXPECT_FALSE(files.IsObsolete(number));
        }
        for (const ValueFileRef& file : files.All()) EXPECT_FALSE(files.IsObsolete(file->number()));
      }
    });
  }
  constexpr FileNumber kCount = 3000;
  std::vector<FileNumber> obsolete;
  for (FileNumber number = 1; number <= kCount; ++number) {
    const ValueFileRef file = files.Add(number, 0);
    newest = number;
    for (const FileNumber taken : TakeObsolete(files)) obsolete.push_back(taken);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  for (const FileNumber taken : TakeObsolete(files)) obsolete.push_back(taken);
  std::sort(obsolete.begin(), obsolete.end());
  ASSERT_EQ(obsolete.size(), kCount) << "each once";
  for (FileNumber number = 1; number <= kCount; ++number) EXPECT_EQ(obsolete[number - 1], number);
}

}  // namespace
}  // namespace terracefs::lsm::values_test
