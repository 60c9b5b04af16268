#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/check.h"
#include "io/base/mutex.h"
#include "io/storage.h"

namespace terracefs::lsm::table_test {

// Files in memory, for tests that count and fail single reads of tables. Requests move their bytes
// when they are waited for, not before, so that code which looks too early reads garbage, and a
// file whose requests nobody waited for dies. Reads and writes obey the rules of direct files. Safe
// from any thread.
class MemoryStorage final : public io::Storage {
 public:
  struct Read {
    std::string name;
    uint64_t offset = 0;
    size_t bytes = 0;
    int submission = 0;  // Start calls so far
  };

  io::Result<std::unique_ptr<io::File>> Open(std::string_view name,
                                             const io::OpenOptions& options) override {
    if (on_open) on_open();
    io::MutexLock lock(mutex_);
    ++open_count_;
    std::shared_ptr<std::string>& content = files_[std::string(name)];
    if (content == nullptr) {
      if (!options.create) {
        files_.erase(std::string(name));
        return io::Status::NotFound("no such file", name);
      }
      content = std::make_shared<std::string>();
    }
    if (options.truncate) content->clear();
    return std::unique_ptr<io::File>(new MemoryFile(*this, std::string(name), content));
  }
  io::Result<bool> Exists(std::string_view name) override {
    io::MutexLock lock(mutex_);
    return files_.contains(std::string(name));
  }
  io::Status Remove(std::string_view name) override {
    io::MutexLock lock(mutex_);
    return files_.erase(std::string(name)) > 0 ? io::Status::Ok() : io::Status::NotFound("file");
  }
  io::Status Rename(std::string_view, std::string_view) override {
    return io::Status::NotSupported("rename");
  }
  io::Result<std::vector<std::string>> List() override { return io::Status::NotSupported("list"); }
  io::Status SyncDirectory() override { return io::Status::Ok(); }
  io::Result<std::unique_ptr<io::StorageLock>> Lock(std::string_view) override {
    return io::Status::NotSupported("lock");
  }
  io::Result<std::unique_ptr<io::StorageLock>> LockShared(std::string_view) override {
    return io::Status::NotSupported("lock");
  }
  io::Result<uint64_t> FreeBytes() override { return uint64_t{1} << 40; }
  const char* backend() const override { return "memory"; }

  // The bytes of a file, to be looked at and damaged. Not while others use it.
  std::string& content(std::string_view name) {
    io::MutexLock lock(mutex_);
    return *files_.at(std::string(name));
  }
  // Creates or replaces.
  void SetContent(std::string_view name, std::string bytes) {
    io::MutexLock lock(mutex_);
    files_[std::string(name)] = std::make_shared<std::string>(std::move(bytes));
  }

  std::vector<Read> TakeReads() {
    io::MutexLock lock(mutex_);
    return std::exchange(reads_, {});
  }
  int open_count() {
    io::MutexLock lock(mutex_);
    return open_count_;
  }
  size_t in_flight_max() {
    io::MutexLock lock(mutex_);
    return std::exchange(in_flight_max_, 0);
  }
  // The `index`-th request from now on fails (0: the next one); if `sticky` all after it do, too.
  void FailRequest(int index, bool sticky = false) {
    io::MutexLock lock(mutex_);
    fail_in_ = index;
    fail_sticky_ = sticky;
  }
  void StopFailing() {
    io::MutexLock lock(mutex_);
    fail_in_ = -1;
  }
  int injected_count() {
    io::MutexLock lock(mutex_);
    return injected_count_;
  }

  std::function<void()> on_open;  // set before use

 private:
  class MemoryFile final : public io::File {
   public:
    MemoryFile(MemoryStorage& storage, std::string name, std::shared_ptr<std::string> content)
        : File(std::move(name), true), storage_(storage), content_(std::move(content)) {}
    ~MemoryFile() override { CHECK(outstanding_.load() == 0); }

    void Start(std::span<io::IoRequest* const> requests) override {
      Prepare(requests);
      outstanding_ += static_cast<int>(requests.size());
      io::MutexLock lock(storage_.mutex_);
      ++storage_.submission_count_;
      for (const io::IoRequest* request : requests) {
        if (request->kind == io::IoRequest::Kind::kRead) {
          std::memset(request->data, 0xdb, request->bytes);
          storage_.reads_.push_back(
              {name(), request->offset, request->bytes, storage_.submission_count_});
        }
      }
      storage_.in_flight_ += requests.size();
      storage_.in_flight_max_ = std::max(storage_.in_flight_max_, storage_.in_flight_);
    }

    io::Status Wait(io::IoRequest& request) override {
      CheckStartedHere(request);
      CHECK(!request.done);
      --outstanding_;
      io::MutexLock lock(storage_.mutex_);
      --storage_.in_flight_;
      request.done = true;
      const bool fails = storage_.fail_in_ == 0;
      if (storage_.fail_in_ > 0) --storage_.fail_in_;
      if (fails) {
        if (!storage_.fail_sticky_) storage_.fail_in_ = -1;
        ++storage_.injected_count_;
        request.status = io::Status::IoError("injected", name(), 5);
      } else if (request.kind == io::IoRequest::Kind::kRead) {
        if (request.offset + request.bytes > content_->size()) {
          request.status = io::Status::IoError("short read", name(), 5);
        } else {
          std::memcpy(request.data, content_->data() + request.offset, request.bytes);
        }
      } else if (request.kind == io::IoRequest::Kind::kWrite) {
        if (content_->size() < request.offset + request.bytes) {
          content_->resize(request.offset + request.bytes);
        }
        std::memcpy(content_->data() + request.offset, request.data, request.bytes);
      }
      return request.status;
    }
    io::Result<uint64_t> SizeBytes() override {
      io::MutexLock lock(storage_.mutex_);
      return uint64_t{content_->size()};
    }
    io::Status Truncate(uint64_t bytes) override {
      io::MutexLock lock(storage_.mutex_);
      content_->resize(bytes);
      return io::Status::Ok();
    }
    io::Status Allocate(uint64_t) override { return io::Status::Ok(); }

   private:
    MemoryStorage& storage_;
    const std::shared_ptr<std::string> content_;
    std::atomic<int> outstanding_{0};
  };

  io::Mutex mutex_;
  std::map<std::string, std::shared_ptr<std::string>> files_ GUARDED_BY(mutex_);
  std::vector<Read> reads_ GUARDED_BY(mutex_);
  int submission_count_ GUARDED_BY(mutex_) = 0;
  int open_count_ GUARDED_BY(mutex_) = 0;
  size_t in_flight_ GUARDED_BY(mutex_) = 0;
  size_t in_flight_max_ GUARDED_BY(mutex_) = 0;
  int fail_in_ GUARDED_BY(mutex_) = -1;
  bool fail_sticky_ GUARDED_BY(mutex_) = false;
  int injected_count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace terracefs::lsm::table_test
