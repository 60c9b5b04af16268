// The engine by itself: named workloads shaped like what the filesystem does to it. Prints one line
// per workload: operations and MiB per second, p50 and p99 in microseconds, bytes written per user
// byte, and a hash of what was read.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/base/crc32c.h"
#include "io/base/random.h"
#include "io/open_storage.h"
#include "lsm/db.h"

namespace {

using terracefs::io::Random;
using terracefs::io::Status;
namespace io = terracefs::io;
namespace lsm = terracefs::lsm;

constexpr size_t kPageBytes = 4096;

struct Parameters {
  std::string directory;
  uint64_t pages = 262'144;  // 1 GiB
  uint64_t records = 200'000;
  uint64_t syncs = 5'000;
  uint64_t seed = 1;
  bool posix = false;
  bool keep = false;
};

void Must(const Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "lsm_bench: %s: %s\n", what, status.ToString().c_str());
  std::exit(1);
}
template <typename T>
T Must(io::Result<T> result, const char* what) {
  if (!result.ok()) Must(result.status(), what);
  return std::move(result).value();
}

std::string PageKey(uint64_t file, uint64_t page) {
  std::string key = "e";
  io::PutOrdered64(&key, file);
  io::PutOrdered64(&key, page * kPageBytes);
  return key;
}
std::string RecordKey(uint64_t i) {
  std::string key = "i";
  io::PutOrdered64(&key, i);
  return key;
}

std::string_view DomainOf(std::string_view key) { return key.substr(0, 1); }
std::string_view GroupOf(std::string_view key) { return key.substr(0, 9); }

class Bench {
 public:
  explicit Bench(const Parameters& parameters) : parameters_(parameters), random_(parameters.seed) {
    store_ = parameters.directory + "/lsm_bench.store";
    std::filesystem::remove_all(store_);
    if (mkdir(store_.c_str(), 0755) != 0) Must(Status::IoError("mkdir", store_, errno), "setup");
    storage_ = Must(
        io::OpenStorage(store_, parameters.posix ? io::IoBackend::kPosix : io::IoBackend::kUring),
        "open storage");
    options_.domain_of = DomainOf;
    options_.group_of = GroupOf;
    Must(lsm::Db::Create(options_, *storage_), "create");
    Reopen();
    page_.resize(kPageBytes);
    for (char& c : page_) c = static_cast<char>(random_.Next());
  }
  ~Bench() {
    Must(db_->Close(), "close");
    db_.reset();
    if (!parameters_.keep) std::filesystem::remove_all(store_);
  }

  void Run() {
    const uint64_t megabyte_batches = parameters_.pages / 256;
    Measure("fill_seq_1m", megabyte_batches, 256 * kPageBytes, [&](uint64_t i) {
      lsm::WriteBatch batch;
      batch.Reserve(256 * (kPageBytes + 32));
      for (uint64_t page = 0; page < 256; ++page) batch.Put(PageKey(1, i * 256 + page), page_);
      Must(db_->Write(std::move(batch)), "write");
      if (i + 1 == megabyte_batches) Must(db_->Sync(), "sync");
    });
    Measure("records_batch4", parameters_.records, 400, [&](uint64_t i) {
      lsm::WriteBatch batch;
      for (uint64_t k = 0; k < 4; ++k) batch.Put(RecordKey(i * 4 + k), std::string(100, 'r'));
      Must(db_->Write(std::move(batch)), "write");
    });
    Measure("sync_4k", parameters_.syncs, kPageBytes, [&](uint64_t i) {
      lsm::WriteBatch batch;
      batch.Put(PageKey(2, i), page_);
      Must(db_->Write(std::move(batch), true), "write");
    });
    Measure("overwrite_random_4k", parameters_.pages / 2, kPageBytes, [&](uint64_t) {
      lsm::WriteBatch batch;
      batch.Put(PageKey(1, random_.Uniform(parameters_.pages)), page_);
      Must(db_->Write(std::move(batch)), "write");
    });
    Must(db_->Flush(), "flush");
    db_->WaitForQuiescence();
    Reopen();
    Measure("get_page_random_cold", std::min<uint64_t>(parameters_.pages / 8, 30'000), kPageBytes,
            [&](uint64_t) {
              Hash(Must(db_->Get({}, PageKey(1, random_.Uniform(parameters_.pages))), "get"));
            });
    Measure("get_record_random", parameters_.records, 100, [&](uint64_t) {
      Hash(Must(db_->Get({}, RecordKey(random_.Uniform(parameters_.records * 4))), "get"));
    });
    Reopen();
    Measure("scan_256k", parameters_.pages / 64, 64 * kPageBytes, [&](uint64_t i) {
      const std::string end = PageKey(1, (i + 1) * 64);
      lsm::ReadOptions options;
      options.upper_bound = end;
      const auto it = db_->NewIterator(options);
      for (it->Seek(PageKey(1, i * 64)); it->Valid(); it->Next()) {
        hash_ = io::Crc32c(io::AsBytes(it->value().substr(0, 64)), hash_);
      }
      Must(it->status(), "scan");
    });
    Measure("drop_and_compact", 1, parameters_.pages * kPageBytes, [&](uint64_t) {
      lsm::WriteBatch batch;
      batch.DropRange("e", "f");
      Must(db_->Write(std::move(batch)), "drop");
      lsm::JobControl cancel;
      Must(db_->Compact({}, cancel, nullptr), "compact");
    });
    std::printf("tables left: %.1f MiB\n",
                static_cast<double>(db_->Stats().live_table_bytes) / (1 << 20));
  }

 private:
  void Reopen() {
    if (db_) Must(db_->Close(), "close");
    db_.reset();
    db_ = Must(lsm::Db::Open(options_, *storage_), "open");
  }
  void Hash(const std::optional<lsm::PinnedValue>& value) {
    if (value) hash_ = io::Crc32c(io::AsBytes(value->view()), hash_);
  }

  void Measure(const char* name, uint64_t count, uint64_t bytes_each,
               const std::function<void(uint64_t)>& operation) {
    const io::Clock& clock = io::SystemClock();
    std::vector<int64_t> latencies;
    latencies.reserve(count);
    hash_ = 0;
    const uint64_t written_before = storage_->stats().bytes_written.load();
    const int64_t begin = clock.SteadyNs();
    for (uint64_t i = 0; i < count; ++i) {
      const int64_t start = clock.SteadyNs();
      operation(i);
      latencies.push_back(clock.SteadyNs() - start);
    }
    const double seconds = static_cast<double>(clock.SteadyNs() - begin) / 1e9;
    const uint64_t written = storage_->stats().bytes_written.load() - written_before;
    std::sort(latencies.begin(), latencies.end());
    const auto us = [&](double q) {
      return static_cast<double>(
                 latencies[static_cast<size_t>(q * static_cast<double>(count - 1))]) /
             1e3;
    };
    const double user_bytes = static_cast<double>(count) * static_cast<double>(bytes_each);
    std::printf(
        "%-22s %10.0f op/s %8.1f MiB/s  p50 %8.1f p99 %8.1f max %9.1f us  wrote/user %5.2f  hash "
        "%08x\n",
        name, static_cast<double>(count) / seconds, user_bytes / seconds / (1 << 20), us(0.5),
        us(0.99), us(1.0), static_cast<double>(written) / user_bytes, hash_);
    std::fflush(stdout);
  }

  const Parameters parameters_;
  Random random_;
  std::string store_;
  lsm::Options options_;
  std::unique_ptr<io::Storage> storage_;
  std::unique_ptr<lsm::Db> db_;
  std::string page_;
  uint32_t hash_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Parameters parameters;
  bool tiny = false;
  CLI::App app{"Benchmark of the engine: fill, sync, overwrite, get, scan, drop"};
  app.add_option("directory", parameters.directory, "where the store is made")->required();
  app.add_option("--pages", parameters.pages, "4 KiB pages to fill");
  app.add_option("--records", parameters.records, "batches of four small records");
  app.add_option("--syncs", parameters.syncs, "durable writes");
  app.add_option("--seed", parameters.seed, "of the random choices");
  app.add_flag("--posix", parameters.posix, "pread/pwrite instead of io_uring");
  app.add_flag("--keep", parameters.keep, "leave the store behind");
  app.add_flag("--tiny", tiny, "everything very small");
  CLI11_PARSE(app, argc, argv);
  if (tiny) {
    parameters.pages = 2048;
    parameters.records = 1000;
    parameters.syncs = 20;
  }
  std::printf("seed %llu\n", static_cast<unsigned long long>(parameters.seed));
  Bench(parameters).Run();
  return 0;
}
