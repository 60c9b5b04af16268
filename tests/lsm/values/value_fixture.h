#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/base/mutex.h"
#include "io/base/random.h"
#include "io/base/units.h"
#include "io/storage.h"
#include "lsm/file_names.h"
#include "lsm/values/value_files.h"
#include "lsm/values/value_log.h"
#include "tests/support/sim_storage.h"

namespace terracefs::lsm::values_test {

// Their numbers alone.
inline std::vector<FileNumber> TakeObsolete(ValueFiles& files) {
  std::vector<FileNumber> numbers;
  for (const ValueFiles::Obsolete& file : files.TakeObsolete()) numbers.push_back(file.number);
  return numbers;
}

// A simulated disk whose writes can be held up, and which tells what it was asked for. Safe from
// any thread.
class WatchedStorage final : public io::Storage {
 public:
  struct Operation {
    std::string name;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    int submission = 0;  // Start calls so far
    bool operator==(const Operation&) const = default;
  };

  testing::SimStorage sim;
  testing::FaultRules& faults() { return sim.faults(); }

  // While closed, no write begins.
  void CloseGate() { SetGate(false); }
  void OpenGate() { SetGate(true); }
  void WaitForHeldWrites(size_t count) {
    io::MutexLock lock(mutex_);
    while (held_count_ < count) changed_.Wait(mutex_);
  }
  std::vector<Operation> TakeReads() {
    io::MutexLock lock(mutex_);
    return std::exchange(reads_, {});
  }
  std::vector<Operation> TakeWrites() {
    io::MutexLock lock(mutex_);
    return std::exchange(writes_, {});
  }
  int TakeSyncCount() { return sync_count_.exchange(0); }
  int TakeDirectorySyncCount() { return directory_sync_count_.exchange(0); }
  int TakeOpenCount() { return open_count_.exchange(0); }
  uint64_t read_bytes_in_flight_max() const { return in_flight_max_; }

  io::Result<std::unique_ptr<io::File>> Open(std::string_view name,
                                             const io::OpenOptions& options) override {
    ++open_count_;
    auto file = TRY(sim.Open(name, options));
    return std::unique_ptr<io::File>(new WatchedFile(*this, std::move(file), std::string(name)));
  }
  io::Result<bool> Exists(std::string_view name) override { return sim.Exists(name); }
  io::Status Remove(std::string_view name) override { return sim.Remove(name); }
  io::Status Rename(std::string_view source, std::string_view target) override {
    return sim.Rename(source, target);
  }
  io::Result<std::vector<std::string>> List() override { return sim.List(); }
  io::Status SyncDirectory() override {
    ++directory_sync_count_;
    return sim.SyncDirectory();
  }
  io::Result<std::unique_ptr<io::StorageLock>> Lock(std::string_view name) override {
    return sim.Lock(name);
  }
  io::Result<std::unique_ptr<io::StorageLock>> LockShared(std::string_view name) override {
    return sim.LockShared(name);
  }
  io::Result<uint64_t> FreeBytes() override { return sim.FreeBytes(); }
  const char* backend() const override { return "watched"; }

 private:
  class WatchedFile final : public io::File {
   public:
    WatchedFile(WatchedStorage& storage, std::unique_ptr<io::File> file, std::string name)
        : File(std::move(name), file->direct()), storage_(storage), file_(std::move(file)) {}
    void Start(std::span<io::IoRequest* const> requests) override {
      storage_.Note(name(), requests);
      file_->Start(requests);
    }
    io::Status Wait(io::IoRequest& request) override {
      if (request.kind == io::IoRequest::Kind::kRead) storage_.in_flight_ -= request.bytes;
      return file_->Wait(request);
    }
    io::Result<uint64_t> SizeBytes() override { return file_->SizeBytes(); }
    io::Status Truncate(uint64_t bytes) override { return file_->Truncate(bytes); }
    io::Status Allocate(uint64_t bytes) override { return file_->Allocate(bytes); }

   private:
    WatchedStorage& storage_;
    const std::unique_ptr<io::File> file_;
  };

  void SetGate(bool open) {
    io::MutexLock lock(mutex_);
    gate_open_ = open;
    changed_.NotifyAll();
  }
  void Note(const std::string& name, std::span<io::IoRequest* const> requests) {
    io::MutexLock lock(mutex_);
    ++submission_count_;
    for (const io::IoRequest* request : requests) {
      const Operation operation{name, request->offset, request->bytes, submission_count_};
      switch (request->kind) {
        case io::IoRequest::Kind::kRead:
          reads_.push_back(operation);
          in_flight_ += request->bytes;
          in_flight_max_ = std::max<uint64_t>(in_flight_max_, in_flight_);
          break;
        case io::IoRequest::Kind::kWrite:
          ++held_count_;
          changed_.NotifyAll();
          while (!gate_open_) changed_.Wait(mutex_);
          --held_count_;
          writes_.push_back(operation);
          break;
        case io::IoRequest::Kind::kSync:
          ++sync_count_;
          break;
      }
    }
  }

  io::Mutex mutex_;
  io::CondVar changed_;
  bool gate_open_ GUARDED_BY(mutex_) = true;
  size_t held_count_ GUARDED_BY(mutex_) = 0;
  int submission_count_ GUARDED_BY(mutex_) = 0;
  std::vector<Operation> reads_ GUARDED_BY(mutex_);
  std::vector<Operation> writes_ GUARDED_BY(mutex_);
  std::atomic<uint64_t> in_flight_{0};
  std::atomic<uint64_t> in_flight_max_{0};
  std::atomic<int> sync_count_{0};
  std::atomic<int> directory_sync_count_{0};
  std::atomic<int> open_count_{0};
};

// A page that no codec makes smaller.
inline std::string NoisePage(uint64_t seed) {
  std::string page(kValuePageBytes, '\0');
  io::Random random(seed);
  for (size_t i = 0; i < page.size(); i += 8) io::EncodeFixed64(page.data() + i, random.Next());
  return page;
}
// One that shrinks to less than a tenth, different for every seed.
inline std::string TextPage(uint64_t seed) {
  std::string page;
  while (page.size() < kValuePageBytes) page += "value " + std::to_string(seed) + " ";
  page.resize(kValuePageBytes);
  return page;
}
using Pages = std::vector<std::string>;
inline Pages NoisePages(size_t count, uint64_t seed = 1) {
  Pages pages;
  for (size_t i = 0; i < count; ++i) pages.push_back(NoisePage(seed * 1'000'000 + i));
  return pages;
}
inline Pages TextPages(size_t count, uint64_t seed = 1) {
  Pages pages;
  for (size_t i = 0; i < count; ++i) pages.push_back(TextPage(seed * 1'000'000 + i));
  return pages;
}
inline std::vector<std::string_view> Views(const Pages& pages) {
  return {pages.begin(), pages.end()};
}

// One ValueFiles::Read of all references.
struct ReadResult {
  explicit ReadResult(ValueFiles& files, const std::vector<ValueReference>& references,
                      const ValueFiles::ReadSettings& settings = {})
      : pages(references.size(), std::string(kValuePageBytes, '?')) {
    for (size_t i = 0; i < references.size(); ++i) {
      items.push_back({references[i], reinterpret_cast<std::byte*>(pages[i].data()), {}});
    }
    status = files.Read(items, settings);
  }
  Pages pages;
  std::vector<ValueFiles::ReadItem> items;
  io::Status status;
};

inline void ExpectReadable(ValueFiles& files, const std::vector<ValueReference>& references,
                           const Pages& pages, const ValueFiles::ReadSettings& settings = {}) {
  const ReadResult read(files, references, settings);
  ASSERT_TRUE(read.status.ok()) << read.status.ToString();
  ASSERT_EQ(references.size(), pages.size());
  for (size_t i = 0; i < pages.size(); ++i) EXPECT_TRUE(read.pages[i] == pages[i]) << i;
}

// A log with its files. Members are destroyed in the order that an engine keeps.
struct LogStore {
  explicit LogStore(io::Storage& storage_in, uint64_t full_bytes_in = 64 * io::kMiB)
      : full_bytes(full_bytes_in), storage(storage_in), files(storage_in, 100) {
    log.emplace(
        storage, files, [this] { return next_number++; }, [this] { return full_bytes.load(); });
    files.SetPagesInFlight(&*log);
  }
  ~LogStore() { CloseLog(); }
  void CloseLog() {
    log.reset();
    files.SetPagesInFlight(nullptr);
  }
  // Keeps the holders.
  std::vector<ValueReference> Append(const Pages& pages, int zstd_level = 0) {
    auto appended = log->Append(Views(pages), zstd_level);
    EXPECT_TRUE(appended.ok()) << appended.status().ToString();
    if (!appended.ok()) return {};
    EXPECT_EQ(appended->references.size(), pages.size());
    for (ValueFileRef& holder : appended->holders) holders.push_back(std::move(holder));
    return std::move(appended->references);
  }
  io::Status TryAppend(const Pages& pages) {
    auto appended = log->Append(Views(pages), 0);
    return appended.ok() ? io::Status::Ok() : appended.status();
  }

  std::atomic<uint64_t> full_bytes;
  io::Storage& storage;
  std::atomic<FileNumber> next_number{1};
  ValueFiles files;
  std::vector<ValueFileRef> holders;
  std::optional<ValueLog> log;
};

inline std::string BlobName(FileNumber number) { return FileName(FileKind::kBlob, number); }
inline uint64_t SizeOf(const testing::SimStorage& sim, FileNumber number) {
  const auto contents = sim.Contents(BlobName(number));
  return contents.ok() ? contents->size() : 0;
}

// Everything is there for another process after a power cut that loses all it can lose.
inline void ExpectDurable(const testing::SimStorage& sim,
                          const std::vector<ValueReference>& references, const Pages& pages) {
  const auto clone = sim.CrashClone(1, testing::CrashMode::kLoseAllUnsynced);
  ValueFiles files(*clone, 10);
  ExpectReadable(files, references, pages);
}

}  // namespace terracefs::lsm::values_test
