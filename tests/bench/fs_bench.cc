// fs_bench: named workloads on several filesystems side by side, as medians and ratios.
//
//   fs_bench [options] NAME=DIR NAME=DIR ...             measures directories that exist
//   fs_bench [options] --setup WORKDIR --terracefs BIN   mounts everything itself, and unmounts it
//
// The targets named "bindfs" and "ext4" are what the others are compared with.
//
// How the comparison is kept fair. A round runs every workload once on every target. The targets
// take turns workload by workload, in an order shuffled anew each time from the printed seed, so
// drift of the machine touches all alike and nobody always goes first; ratios are formed within a
// round for the same reason. All targets get the same names, bytes and access order. After a run
// everything is synced and the machine has to fall quiet before the next target starts; before a
// cold run the kernel's caches are dropped. Content is made before the clock starts and checked
// after it stops.
//
// What cannot be equalised, and has to be kept in mind when reading the table:
//  - drop_caches empties the kernel's caches, not a daemon's memory. Memtable, block cache and
//  inode
//    table of TerraceFS stay warm in a "cold" row; what bindfs serves lives in the ext4 below and
//    does become cold. Only a remount would empty a daemon.
//  - sync and syncfs do not reach a daemon behind a plain FUSE mount. The fsync of a directory
//  does,
//    and is a barrier for all of TerraceFS. The files of bindfs are on ext4, which sync writes out.
//  - A compaction that a limiter spreads over minutes outlasts the wait for quiet, which is
//  bounded.
//    The waits that ran out are counted and printed. Other work on the machine shows there, too.
//  - Everything shares one disk and, below, one ext4 journal.
//  - bindfs keeps file pages twice and answers O_DIRECT from the page cache of ext4. As it comes it
//    has one thread, and built on libfuse 2, as in Debian 12, it gets its writes in pieces of 4
//    KiB:
//    --bindfs-options multithreaded,big_writes makes it a stronger opponent.
//  - While a block that was read is checked with the clock stopped, readahead goes on.

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Json = nlohmann::ordered_json;
using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kStreamBlocks = kMiB / kBlockBytes;
constexpr uint64_t kOpsPerFsync = 8;  // So many random accesses are asked for per fsync.
constexpr int kMaxThreads = 2;
constexpr milliseconds kQuietWindow{100};
constexpr milliseconds kQuietLimit{2000};
constexpr double kQuietBusyShare = 0.1;
constexpr seconds kStuckLimit{10};              // For a call that does not return after SIGINT.
constexpr const char* kCommandTimeout = "120";  // Seconds, for mkfs, mount and umount.
constexpr int kExitSkipped = 77;                // What ctest is to be told as SKIP_RETURN_CODE.
constexpr int kExitInterrupted = 130;
constexpr const char* kDropCachesPath = "/proc/sys/vm/drop_caches";
constexpr const char* kEnableUringPath = "/sys/module/fuse/parameters/enable_uring";

// Exceptions, because mounts have to be undone on every way out, and destructors do that.
struct BenchError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Interrupted {};

std::atomic<bool> interrupted{false};  // Set by the signal handler, polled between operations.

[[noreturn]] void Fail(const std::string& where, const std::string& what, const std::string& path,
                       int error) {
  if (interrupted) throw Interrupted{};  // A call that the signal broke off is not a failure.
  const std::string reason =
      ": " + std::string(strerror(error)) + " (errno " + std::to_string(error);
  throw BenchError(where + ": " + what + " " + path + (error == 0 ? "" : reason + ")"));
}

struct Plan {
  uint64_t files = 10'000;
  uint64_t large_bytes = 1024 * kMiB;
  uint64_t ops = 16'384;
  uint64_t rounds = 3;
  uint64_t seed = 0;
  bool tiny = false;
  bool drops_caches = false;
};

struct Target {
  std::string name;
  std::string directory;
  bool is_own_mount = false;
  std::string label() const { return "target " + name; }
  std::string tree() const { return directory + "/fs_bench." + std::to_string(getpid()); }
};

uint64_t Mix(uint64_t x) {  // The finaliser of splitmix64.
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

template <typename Range>
uint64_t MixAll(const Range& values) {
  uint64_t hash = 0;
  for (const auto value : values) hash = Mix(hash ^ static_cast<uint64_t>(value));
  return hash;
}

struct alignas(kBlockBytes) Block {  // Aligned for O_DIRECT.
  std::array<uint64_t, kBlockBytes / sizeof(uint64_t)> words = {};
};

// Every word of a block depends on its identity, so a block of another file, offset or round is
// noticed wherever it differs. The pattern underneath is random: nothing compresses.
const Block kPattern = [] {
  Block block;
  for (size_t i = 0; i < block.words.size(); ++i) block.words[i] = Mix(i);
  return block;
}();

void FillBlock(Block& block, uint64_t identity) {
  for (size_t i = 0; i < block.words.size(); ++i) block.words[i] = kPattern.words[i] ^ identity;
}

class UniqueFd {
 public:
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&&) = delete;
  ~UniqueFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct Worker;

// What a workload counts. A piece of a stream is 1 MiB, so its rate is in MiB/s.
enum class Count { kFiles, kStreamPieces, kRandomOps, kFsyncs };

// What the kernel's drop_caches takes.
enum DropCaches { kDropNothing = 0, kDropPages = 1, kDropNames = 2, kDropAll = 3 };

struct Workload {
  const char* name;
  int threads;
  Count count;
  DropCaches drop;
  void (*run)(Worker&);
  void (*verify)(Worker&) = nullptr;  // Not timed, after dropping the caches.

  std::string label() const { return std::string(name) + "/" + std::to_string(threads); }
  const char* unit() const { return count == Count::kStreamPieces ? "MiB/s" : "ops/s"; }
  bool has_latency() const { return count == Count::kFiles || count == Count::kFsyncs; }

  // Each thread has a folder. Workloads that go on with each other's files share it.
  std::string Folder(int thread) const {
    const char* kind = count == Count::kFiles ? "meta" : count == Count::kFsyncs ? "logs" : "data";
    return kind + std::to_string(threads) + ".t" + std::to_string(thread);
  }
  uint64_t CountPerThread(const Plan& plan) const {
    const auto share = static_cast<uint64_t>(threads);
    if (count == Count::kFiles) return plan.files / share;
    if (count == Count::kStreamPieces) return plan.large_bytes / kMiB;
    if (count == Count::kRandomOps) return plan.ops;
    return std::max<uint64_t>(plan.ops / kOpsPerFsync / share, 1);
  }
};

// What one thread does in one run: its folder, its share of the work, its clock and its results.
// Names are relative to the open folder, so the length of a target's path costs nothing.
struct Worker {
  const Plan& plan;
  const Target& target;
  const Workload& workload;
  const uint64_t round;
  const int thread;
  const uint64_t count = workload.CountPerThread(plan);
  const std::string path = target.tree() + "/" + workload.Folder(thread);
  UniqueFd folder = UniqueFd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::vector<int64_t> latencies_ns = {};
  int64_t busy_ns = 0;
  uint64_t digest = 0;  // Of all that was read; a sum, so the order does not matter.

  [[noreturn]] void Fail(const char* what, const std::string& name, int error = errno) const {
    ::Fail(target.label() + ", workload " + workload.label(), what, path + "/" + name, error);
  }

  template <typename Operation>
  void Time(const Operation& operation) {
    if (interrupted) throw Interrupted{};
    const auto begin = SteadyClock::now();
    operation();
    latencies_ns.push_back(std::chrono::nanoseconds(SteadyClock::now() - begin).count());
    busy_ns += latencies_ns.back();
  }

  // Who a block is. `kind` is 's'mall file, 'l'arge file, 'r'ewritten part of it, 'a'ppended log.
  uint64_t Identity(char kind, uint64_t file, uint64_t block) const {
    return MixAll(std::array{plan.seed, round, static_cast<uint64_t>(kind), file, block,
                             static_cast<uint64_t>(workload.threads * kMaxThreads + thread)});
  }

  // 0 .. limit-1 in an order that is the same for all targets. `salt` tells runs apart.
  std::vector<uint64_t> Shuffled(uint64_t limit, const std::string& salt) const {
    std::vector<uint64_t> order(limit);
    std::iota(order.begin(), order.end(), uint64_t{0});
    std::mt19937_64 random(Identity('o', MixAll(salt), limit));
    std::shuffle(order.begin(), order.end(), random);
    return order;
  }

  // Passes on the result of a call, unless that is the -1 of a failure.
  template <typename Result>
  Result Must(const char* call, const std::string& name, Result result) const {
    if (result < 0) Fail(call, name);
    return result;
  }
  UniqueFd Open(const std::string& name, int flags) const {
    return UniqueFd(
        Must("open", name, openat(folder.get(), name.c_str(), flags | O_CLOEXEC, 0644)));
  }
  void Close(UniqueFd& fd, const std::string& name) const {  // Late write errors arrive here.
    Must("close", name, close(fd.release()));
  }
  void Write(const UniqueFd& fd, const Block* blocks, uint64_t bytes, uint64_t offset,
             const std::string& name) const {
    const auto at = static_cast<off_t>(offset);
    const ssize_t done = Must("write", name, pwrite(fd.get(), blocks, bytes, at));
    if (static_cast<uint64_t>(done) != bytes) Fail("short write to", name, 0);
  }
  void Read(const UniqueFd& fd, Block* blocks, uint64_t bytes, uint64_t offset,
            const std::string& name) const {
    const auto at = static_cast<off_t>(offset);
    const ssize_t done = Must("read", name, pread(fd.get(), blocks, bytes, at));
    if (static_cast<uint64_t>(done) != bytes) Fail("short read of", name, 0);
  }

  // Checks every byte of a block that was read, and takes what was read into the digest.
  void Check(const Block& block, uint64_t identity, const std::string& name) {
    uint64_t difference = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < block.words.size(); ++i) {
      difference |= block.words[i] ^ kPattern.words[i] ^ identity;
      sum += block.words[i];
    }
    if (difference != 0) Fail("wrong content in", name, 0);
    digest += Mix(sum);
  }
};

const std::string kLarge = "large";
const std::string kLog = "log";

std::string FileName(char prefix, uint64_t index) { return prefix + std::to_string(index); }

void Create(Worker& w) {
  Block block;
  for (uint64_t i = 0; i < w.count; ++i) {
    const std::string name = FileName('f', i);
    FillBlock(block, w.Identity('s', i, 0));
    w.Time([&] {
      UniqueFd fd = w.Open(name, O_WRONLY | O_CREAT | O_EXCL);
      w.Write(fd, &block, kBlockBytes, 0, name);
      w.Close(fd, name);
    });
  }
}

void StatOne(Worker& w, const std::string& name) {
  struct stat info = {};
  w.Time([&] {
    w.Must("stat", name, fstatat(w.folder.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW));
  });
  const bool is_right = S_ISREG(info.st_mode) && info.st_size == static_cast<off_t>(kBlockBytes);
  if (!is_right) w.Fail("wrong type or size of", name, 0);
  w.digest += MixAll(name);
}

void Stat(Worker& w) {
  for (const uint64_t i : w.Shuffled(w.count, "stat")) StatOne(w, FileName('f', i));
}

void ReadSmall(Worker& w) {
  Block block;
  for (const uint64_t i : w.Shuffled(w.count, "read")) {
    const std::string name = FileName('f', i);
    w.Time([&] {
      UniqueFd fd = w.Open(name, O_RDONLY);
      w.Read(fd, &block, kBlockBytes, 0, name);
      w.Close(fd, name);
    });
    w.Check(block, w.Identity('s', i, 0), name);
  }
}

std::vector<std::string> ListFolder(const Worker& w) {
  UniqueFd fd = w.Open(".", O_RDONLY | O_DIRECTORY);
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(fdopendir(fd.get()), closedir);
  if (listing == nullptr) w.Fail("opendir", ".");
  fd.release();  // Belongs to `listing` now.
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(listing.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  if (errno != 0) w.Fail("readdir", ".");
  return names;
}

// The listing is one more "latency" among those of the stats, too few to touch p50 or p99.
void ReaddirStat(Worker& w) {
  std::vector<std::string> names;
  w.Time([&] { names = ListFolder(w); });
  if (names.size() != w.count) w.Fail("wrong number of entries in", ".", 0);
  for (const std::string& name : names) StatOne(w, name);
}

void Rename(Worker& w) {
  for (uint64_t i = 0; i < w.count; ++i) {
    const std::string source = FileName('f', i);
    const std::string target = FileName('g', i);
    const int folder = w.folder.get();
    w.Time([&] {
      w.Must("rename", source, renameat(folder, source.c_str(), folder, target.c_str()));
    });
  }
}

void Unlink(Worker& w) {
  for (uint64_t i = 0; i < w.count; ++i) {
    const std::string name = FileName('g', i);
    w.Time([&] { w.Must("unlink", name, unlinkat(w.folder.get(), name.c_str(), 0)); });
  }
}

void VerifyEmpty(Worker& w) {
  if (!ListFolder(w).empty()) w.Fail("entries left in", ".", 0);
}

void WriteSequential(Worker& w) {
  std::vector<Block> blocks(kStreamBlocks);
  UniqueFd fd = w.Open(kLarge, O_WRONLY | O_CREAT | O_EXCL);
  for (uint64_t piece = 0; piece < w.count; ++piece) {
    for (uint64_t i = 0; i < kStreamBlocks; ++i) {
      FillBlock(blocks[i], w.Identity('l', 0, piece * kStreamBlocks + i));
    }
    w.Time([&] { w.Write(fd, blocks.data(), kMiB, piece * kMiB, kLarge); });
  }
  w.Time([&] { w.Must("fsync", kLarge, fsync(fd.get())); });
  w.Close(fd, kLarge);
}

// Reads the large file from end to end, of which some blocks may have been written again.
void ReadWholeLarge(Worker& w, const std::vector<bool>& rewritten) {
  std::vector<Block> blocks(kStreamBlocks);
  UniqueFd fd = w.Open(kLarge, O_RDONLY);
  for (uint64_t first = 0; first < rewritten.size(); first += kStreamBlocks) {
    w.Time([&] { w.Read(fd, blocks.data(), kMiB, first * kBlockBytes, kLarge); });
    for (uint64_t i = 0; i < kStreamBlocks; ++i) {
      w.Check(blocks[i], w.Identity(rewritten[first + i] ? 'r' : 'l', 0, first + i), kLarge);
    }
  }
}

void ReadSequential(Worker& w) {
  ReadWholeLarge(w, std::vector<bool>(w.count * kStreamBlocks, false));
}

// The blocks of `count` random accesses: none comes twice before all have come once.
std::vector<uint64_t> RandomBlocks(const Worker& w) {
  std::vector<uint64_t> blocks = w.Shuffled(w.plan.large_bytes / kBlockBytes, w.workload.name);
  const size_t distinct = blocks.size();
  blocks.resize(w.count);
  for (size_t i = distinct; i < blocks.size(); ++i) blocks[i] = blocks[i - distinct];
  return blocks;
}

void ReadRandomWith(Worker& w, int flags) {
  Block block;
  UniqueFd fd = w.Open(kLarge, O_RDONLY | flags);
  for (const uint64_t index : RandomBlocks(w)) {
    w.Time([&] { w.Read(fd, &block, kBlockBytes, index * kBlockBytes, kLarge); });
    w.Check(block, w.Identity('l', 0, index), kLarge);
  }
}
void ReadRandom(Worker& w) { ReadRandomWith(w, 0); }
void ReadRandomDirect(Worker& w) { ReadRandomWith(w, O_DIRECT); }

void WriteRandom(Worker& w) {
  Block block;
  UniqueFd fd = w.Open(kLarge, O_WRONLY);
  for (const uint64_t index : RandomBlocks(w)) {
    FillBlock(block, w.Identity('r', 0, index));
    w.Time([&] { w.Write(fd, &block, kBlockBytes, index * kBlockBytes, kLarge); });
  }
  w.Time([&] { w.Must("fsync", kLarge, fsync(fd.get())); });
  w.Close(fd, kLarge);
}

void VerifyLarge(Worker& w) {
  std::vector<bool> rewritten(w.plan.large_bytes / kBlockBytes, false);
  for (const uint64_t index : RandomBlocks(w)) rewritten[index] = true;
  ReadWholeLarge(w, rewritten);
}

void AppendFsync(Worker& w) {
  Block block;
  UniqueFd fd = w.Open(kLog, O_WRONLY | O_CREAT | O_EXCL | O_APPEND);
  for (uint64_t i = 0; i < w.count; ++i) {
    FillBlock(block, w.Identity('a', 0, i));
    w.Time([&] {
      w.Write(fd, &block, kBlockBytes, i * kBlockBytes, kLog);
      w.Must("fsync", kLog, fsync(fd.get()));
    });
  }
  w.Close(fd, kLog);
}

void VerifyLog(Worker& w) {
  Block block;
  UniqueFd fd = w.Open(kLog, O_RDONLY);
  for (uint64_t i = 0; i < w.count; ++i) {
    w.Read(fd, &block, kBlockBytes, i * kBlockBytes, kLog);
    w.Check(block, w.Identity('a', 0, i), kLog);
  }
  const ssize_t beyond = pread(fd.get(), &block, 1, static_cast<off_t>(w.count * kBlockBytes));
  if (beyond != 0) w.Fail("no clean end of", kLog, beyond < 0 ? errno : 0);
}

// In this order, because each works on what those before it left. The cold read of small files
// drops pages only: if it dropped the names as well it would be a second row about stat.
std::vector<Workload> Workloads() {
  std::vector<Workload> list;
  for (int threads = 1; threads <= kMaxThreads; ++threads) {
    list.push_back({"create", threads, Count::kFiles, kDropNothing, Create});
    list.push_back({"stat_cold", threads, Count::kFiles, kDropNames, Stat});
    list.push_back({"read_cold", threads, Count::kFiles, kDropPages, ReadSmall});
    list.push_back({"readdir_stat_cold", threads, Count::kFiles, kDropNames, ReaddirStat});
    list.push_back({"rename", threads, Count::kFiles, kDropNothing, Rename});
    list.push_back({"unlink", threads, Count::kFiles, kDropNothing, Unlink, VerifyEmpty});
  }
  list.push_back({"seq_write", 1, Count::kStreamPieces, kDropNothing, WriteSequential});
  list.push_back({"seq_read_cold", 1, Count::kStreamPieces, kDropAll, ReadSequential});
  list.push_back({"rand_read_cold", 1, Count::kRandomOps, kDropAll, ReadRandom});
  list.push_back({"rand_read_direct", 1, Count::kRandomOps, kDropAll, ReadRandomDirect});
  list.push_back({"rand_write", 1, Count::kRandomOps, kDropAll, WriteRandom, VerifyLarge});
  for (int threads = 1; threads <= kMaxThreads; ++threads) {
    list.push_back({"append_fsync", threads, Count::kFsyncs, kDropNothing, AppendFsync, VerifyLog});
  }
  return list;
}

struct Sample {
  double rate = 0;
  double p50_us = 0;
  double p99_us = 0;
  uint64_t digest = 0;
};

struct Results {
  std::vector<Workload> workloads = Workloads();
  std::vector<Target> targets;
  std::vector<std::string> remarks;                       // What must not be overlooked.
  std::vector<std::vector<std::vector<Sample>>> samples;  // [workload][target][round]
  uint64_t digest = 0;
  uint64_t quiet_waits = 0;
  uint64_t quiet_waits_expired = 0;
};

void Remark(Results& results, const std::string& text) {
  fprintf(stderr, "\n*** %s\n\n", text.c_str());
  results.remarks.push_back(text);
}

// {all time, idle time} of all CPUs. Waiting for the disk is not idleness here.
std::array<uint64_t, 2> CpuTicks() {
  std::ifstream file("/proc/stat");
  std::string label;
  std::array<uint64_t, 8> ticks{};  // user nice system idle iowait irq softirq steal
  file >> label;
  for (uint64_t& tick : ticks) file >> tick;
  return {std::accumulate(ticks.begin(), ticks.end(), uint64_t{0}), ticks[3]};
}

// Waits until the daemons have done what they were left with. Looking at the CPUs finds all of it,
// whoever does it: flush, compaction, forgotten inodes, write-back, journal.
void WaitUntilQuiet(const Plan& plan, Results& results) {
  if (plan.tiny) return;
  ++results.quiet_waits;
  auto before = CpuTicks();
  for (auto waited = kQuietWindow; waited <= kQuietLimit; waited += kQuietWindow) {
    std::this_thread::sleep_for(kQuietWindow);
    if (interrupted) throw Interrupted{};
    const auto after = CpuTicks();
    const double all = static_cast<double>(after[0] - before[0]);
    const double idle = static_cast<double>(after[1] - before[1]);
    if (all - idle <= kQuietBusyShare * all) return;
    before = after;
  }
  ++results.quiet_waits_expired;
}

void Settle(const Plan& plan, const Target& target, Results& results) {
  const std::string where = target.label() + ", settling";
  const UniqueFd fd(open(target.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) Fail(where, "open", target.directory, errno);
  // EINVAL is how a filesystem says that its directories know no fsync.
  if (fsync(fd.get()) != 0 && errno != EINVAL) Fail(where, "fsync", target.directory, errno);
  if (syncfs(fd.get()) != 0) Fail(where, "syncfs", target.directory, errno);
  sync();
  WaitUntilQuiet(plan, results);
}

void Drop(const Plan& plan, DropCaches what, Results& results) {
  if (what == kDropNothing || !plan.drops_caches) return;
  const UniqueFd fd(open(kDropCachesPath, O_WRONLY | O_CLOEXEC));
  const std::string digit = std::to_string(static_cast<int>(what));
  if (write(fd.get(), digit.data(), 1) != 1) Fail("cold run", "write to", kDropCachesPath, errno);
  WaitUntilQuiet(plan, results);  // Forgetting inodes is work for the daemons.
}

// Waits for all, then passes on the first failure. A worker notices an interrupt after its current
// call. In a dead daemon that call never returns; aborting the connection makes it.
void Join(std::vector<std::future<void>>& runs, const Target& target) {
  SteadyClock::duration waited{0};
  for (std::future<void>& run : runs) {
    auto turn = SteadyClock::now();
    while (run.wait_for(milliseconds(50)) != std::future_status::ready) {
      if (interrupted) waited += SteadyClock::now() - turn;
      turn = SteadyClock::now();
      // The unmount itself may well be refused as busy: the abort comes before that.
      if (waited > kStuckLimit && target.is_own_mount) umount2(target.directory.c_str(), MNT_FORCE);
    }
  }
  for (std::future<void>& run : runs) run.get();
}

std::vector<Worker> RunThreads(const Plan& plan, const Target& target, const Workload& workload,
                               uint64_t round, void (*body)(Worker&)) {
  std::vector<Worker> workers;
  workers.reserve(static_cast<size_t>(workload.threads));
  for (int t = 0; t < workload.threads; ++t) {
    workers.push_back(Worker{plan, target, workload, round, t});
    workers.back().Must("open", ".", workers.back().folder.get());
  }
  std::vector<std::future<void>> runs;
  runs.reserve(workers.size());
  for (Worker& w : workers) runs.push_back(std::async(std::launch::async, [body, &w] { body(w); }));
  Join(runs, target);
  return workers;
}

double PercentileUs(std::vector<int64_t>& values_ns, double fraction) {
  const auto rank =
      static_cast<std::ptrdiff_t>(fraction * static_cast<double>(values_ns.size() - 1));
  std::nth_element(values_ns.begin(), values_ns.begin() + rank, values_ns.end());
  return static_cast<double>(values_ns[static_cast<size_t>(rank)]) / 1000;
}

Sample RunOnce(const Plan& plan, const Target& target, const Workload& workload, uint64_t round,
               Results& results) {
  Drop(plan, workload.drop, results);
  std::vector<int64_t> latencies_ns;
  uint64_t count = 0;
  int64_t busy_ns = 1;  // Of the slowest thread, which decides.
  Sample sample;
  for (const Worker& worker : RunThreads(plan, target, workload, round, workload.run)) {
    latencies_ns.insert(latencies_ns.end(), worker.latencies_ns.begin(), worker.latencies_ns.end());
    count += worker.count;
    busy_ns = std::max(busy_ns, worker.busy_ns);
    sample.digest += worker.digest;
  }
  sample.rate = static_cast<double>(count) * 1e9 / static_cast<double>(busy_ns);
  sample.p50_us = PercentileUs(latencies_ns, 0.50);
  sample.p99_us = PercentileUs(latencies_ns, 0.99);
  Settle(plan, target, results);
  if (workload.verify != nullptr) {
    Drop(plan, kDropAll, results);
    for (const Worker& worker : RunThreads(plan, target, workload, round, workload.verify)) {
      sample.digest += worker.digest;
    }
  }
  return sample;
}

// The files of one round on one target. They go away with it, also after a failure.
class RoundTree {
 public:
  RoundTree(const Target& target, const std::vector<Workload>& workloads) : path_(target.tree()) {
    // Only one level: a mistyped directory must not come into being.
    if (mkdir(path_.c_str(), 0755) != 0) Fail(target.label(), "mkdir", path_, errno);
    for (const Workload& workload : workloads) {
      for (int t = 0; t < workload.threads; ++t) {
        std::filesystem::create_directories(path_ + "/" + workload.Folder(t));
      }
    }
  }
  RoundTree(const RoundTree&) = delete;
  ~RoundTree() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
    if (error) fprintf(stderr, "cannot remove %s: %s\n", path_.c_str(), error.message().c_str());
  }

 private:
  const std::string path_;
};

void RunRound(const Plan& plan, uint64_t round, std::mt19937_64& random, Results& results) {
  std::vector<std::unique_ptr<RoundTree>> trees;
  for (const Target& target : results.targets) {
    trees.push_back(std::make_unique<RoundTree>(target, results.workloads));
  }
  std::vector<size_t> order(results.targets.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t w = 0; w < results.workloads.size(); ++w) {
    const Workload& workload = results.workloads[w];
    std::shuffle(order.begin(), order.end(), random);
    fprintf(stderr, "round %" PRIu64 "/%" PRIu64 " %s:", round + 1, plan.rounds,
            workload.label().c_str());
    for (const size_t t : order) {
      const Target& target = results.targets[t];
      const Sample sample = RunOnce(plan, target, workload, round, results);
      results.samples[w][t].push_back(sample);
      fprintf(stderr, " %s %.0f", target.name.c_str(), sample.rate);
      if (sample.digest != results.samples[w][order[0]].back().digest) {
        Fail(target.label() + ", workload " + workload.label(), "read other data than target",
             results.targets[order[0]].name, 0);
      }
    }
    fprintf(stderr, " %s\n", workload.unit());
    results.digest = Mix(results.digest ^ results.samples[w][order[0]].back().digest);
  }
}

void RunRounds(const Plan& plan, Results& results) {
  const std::vector<std::vector<Sample>> no_samples(results.targets.size());
  results.samples.assign(results.workloads.size(), no_samples);
  std::mt19937_64 random(plan.seed);
  for (uint64_t round = 0; round < plan.rounds; ++round) {
    RunRound(plan, round, random, results);
    for (const Target& target : results.targets) Settle(plan, target, results);
  }
}

template <typename Projection>
double MedianOf(size_t count, const Projection& projection) {
  std::vector<double> values;
  for (size_t i = 0; i < count; ++i) values.push_back(projection(i));
  std::sort(values.begin(), values.end());
  return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

// The ratios of one workload, keyed "target/baseline": every target to bindfs, then to ext4.
Json Ratios(const Results& results, size_t w) {
  Json ratios = Json::object();
  for (const std::string baseline : {"bindfs", "ext4"}) {
    const std::string suffix = "/" + baseline;
    for (size_t b = 0; b < results.targets.size(); ++b) {
      for (size_t t = 0; t < results.targets.size(); ++t) {
        const std::string& name = results.targets[t].name;
        if (results.targets[b].name != baseline || name == baseline || name == "ext4") continue;
        const std::vector<Sample>& target_rounds = results.samples[w][t];
        const std::vector<Sample>& baseline_rounds = results.samples[w][b];
        ratios[name + suffix] = MedianOf(target_rounds.size(), [&](size_t r) {
          return target_rounds[r].rate / baseline_rounds[r].rate;
        });
      }
    }
  }
  return ratios;
}

Json Report(const Plan& plan, const Results& results) {
  Json report = {{"seed", plan.seed},
                 {"files", plan.files},
                 {"file_bytes_large", plan.large_bytes},
                 {"ops", plan.ops},
                 {"rounds", plan.rounds},
                 {"caches_dropped", plan.drops_caches},
                 {"quiet_waits", results.quiet_waits},
                 {"quiet_waits_expired", results.quiet_waits_expired},
                 {"result_hash", results.digest},
                 {"remarks", results.remarks}};
  for (size_t w = 0; w < results.workloads.size(); ++w) {
    const Workload& workload = results.workloads[w];
    Json row = {{"name", workload.label()}, {"unit", workload.unit()}};
    for (size_t t = 0; t < results.targets.size(); ++t) {
      const std::vector<Sample>& rounds = results.samples[w][t];
      Json& cell = row["targets"][results.targets[t].name];
      cell["median"] = MedianOf(rounds.size(), [&](size_t r) { return rounds[r].rate; });
      for (const Sample& sample : rounds) cell["rounds"].push_back(sample.rate);
      if (!workload.has_latency()) continue;
      cell["p50_us"] = MedianOf(rounds.size(), [&](size_t r) { return rounds[r].p50_us; });
      cell["p99_us"] = MedianOf(rounds.size(), [&](size_t r) { return rounds[r].p99_us; });
    }
    row["ratios"] = Ratios(results, w);
    report["workloads"].push_back(row);
  }
  return report;
}

// The column of a target or of a ratio; the name of the product is left out of the latter.
std::string Heading(const std::string& name) {
  const size_t begin = name.find("terracefs-");
  const bool is_ratio = name.find('/') != std::string::npos;
  return is_ratio && begin == 0 ? name.substr(strlen("terracefs-")) : name;
}
int Width(const std::string& name) {
  return std::max(12, static_cast<int>(Heading(name).size()) + 2);
}

void PrintRates(const Json& rows) {
  printf("\n%-20s unit ", "workload/threads");
  for (const char* group : {"targets", "ratios"}) {
    for (const auto& [name, cell] : rows[0][group].items()) {
      printf("%*s", Width(name), Heading(name).c_str());
    }
  }
  std::string behind;
  for (const Json& row : rows) {
    const auto label = row["name"].get<std::string>();
    printf("\n%-20s %s", label.c_str(), row["unit"].get<std::string>().c_str());
    for (const auto& [name, cell] : row["targets"].items()) {
      printf("%*.0f", Width(name), cell["median"].get<double>());
    }
    for (const auto& [name, ratio] : row["ratios"].items()) {
      const bool is_behind = name.ends_with("/bindfs") && ratio.get<double>() < 1;
      printf("%*.2f%c", Width(name) - 1, ratio.get<double>(), is_behind ? '!' : ' ');
      if (is_behind) behind += " " + label + "(" + Heading(name) + ")";
    }
  }
  printf("\nMedians of the rounds; a ratio is the median of the ratios within each round.\n");
  if (!behind.empty()) printf("! slower than bindfs:%s\n", behind.c_str());
}

void PrintLatencies(const Json& rows) {
  printf("\n%-20s", "us, p50 / p99");
  for (const auto& [name, cell] : rows[0]["targets"].items()) printf("%*s", 20, name.c_str());
  for (const Json& row : rows) {
    if (!row["targets"].front().contains("p50_us")) continue;
    printf("\n%-20s", row["name"].get<std::string>().c_str());
    for (const Json& cell : row["targets"]) {
      printf("%10.1f /%8.1f", cell["p50_us"].get<double>(), cell["p99_us"].get<double>());
    }
  }
  printf("\n");
}

void Print(const Plan& plan, const Results& results, const Json& report) {
  PrintRates(report["workloads"]);
  PrintLatencies(report["workloads"]);
  printf("\nseed %" PRIu64 ", %" PRIu64 " files, %" PRIu64 " MiB, %" PRIu64 " ops, %" PRIu64
         " rounds; %" PRIu64 " of %" PRIu64 " waits for quiet expired\n",
         plan.seed, plan.files, plan.large_bytes / kMiB, plan.ops, plan.rounds,
         results.quiet_waits_expired, results.quiet_waits);
  printf("result hash %016" PRIx64 ": every byte read was right, the same on all targets\n",
         results.digest);
  for (const std::string& remark : results.remarks) printf("*** %s\n", remark.c_str());
}

struct Outcome {
  bool ok;
  std::string output;
};

// Runs a command to its end. Its output goes to a file, because a daemon that it leaves behind
// would keep a pipe open for ever. timeout(1) bounds it and gives it a process group of its own:
// the terminal's ^C is for us, and must not end a command that unmounts.
Outcome RunCommand(std::vector<std::string> arguments, const std::string& log_path) {
  arguments.insert(arguments.begin(), {"timeout", "--kill-after=5", kCommandTimeout});
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t child = fork();  // Safe: no other thread runs meanwhile.
  if (child < 0) return {false, "fork: " + std::string(strerror(errno))};
  if (child == 0) {
    signal(SIGPIPE, SIG_DFL);
    const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (dup2(null, 0) == 0 && dup2(log, 1) == 1 && dup2(log, 2) == 2) execvp(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  std::ifstream log(log_path);
  std::string output{std::istreambuf_iterator<char>(log), std::istreambuf_iterator<char>()};
  while (output.ends_with('\n')) output.pop_back();
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
    output += " (exit code " + std::to_string(WEXITSTATUS(status)) + ")";
  }
  return {status == 0, output};
}

bool IsMountPoint(const std::string& path) {
  struct stat inner = {};
  struct stat outer = {};
  // A mount whose daemon is gone does not answer stat; it is a mount all the same.
  if (stat(path.c_str(), &inner) != 0) return errno != ENOENT;
  const std::string parent = std::filesystem::path(path).parent_path();
  return stat(parent.c_str(), &outer) == 0 && inner.st_dev != outer.st_dev;
}

// Allows FUSE over io_uring if a switch is all it takes. Returns why not, else "". The switch stays
// on: by the end other mounts may rely on it.
std::string AllowUring() {
  std::string value;
  std::ifstream(kEnableUringPath) >> value;
  if (value.empty()) return std::string("there is no ") + kEnableUringPath;
  if (value == "Y") return "";
  std::ofstream file(kEnableUringPath);
  file << "1\n";
  file.close();
  return file ? "" : std::string("cannot write 1 to ") + kEnableUringPath;
}

// All that --setup makes, in a new folder below WORKDIR. The destructor takes it down again.
class Stage {
 public:
  struct Options {
    std::string work_directory;
    std::string terracefs;
    std::vector<std::string> transports = {"dev", "uring"};
    std::string bindfs_options;
  };

  explicit Stage(const Options& options) : options_(options) {
    std::filesystem::create_directories(options.work_directory);
    root_ = std::filesystem::canonical(options.work_directory) / "fs_bench.XXXXXX";
    if (mkdtemp(root_.data()) == nullptr) Fail("setup", "mkdtemp", root_, errno);
  }
  Stage(const Stage&) = delete;
  ~Stage() {  // NOLINT(bugprone-exception-escape): only for lack of memory.
    // After a failure, stores and logs are worth a look.
    bool keeps_files = std::uncaught_exceptions() > 0 && !interrupted;
    for (const std::string& path : mounts_) keeps_files = !Unmount(path) || keeps_files;
    std::error_code error;
    if (!keeps_files) std::filesystem::remove_all(root_, error);
    if (keeps_files || error) fprintf(stderr, "files left in %s\n", root_.c_str());
  }

  void AddTargets(Results& results) {
    for (const std::string& transport : options_.transports) AddTerracefs(transport, results);
    AddBindfs(results);
    results.targets.push_back({"ext4", NewFolder("ext4")});
    struct statfs info = {};
    if (statfs(root_.c_str(), &info) != 0) Fail("setup", "statfs", root_, errno);
    if (info.f_type != EXT4_SUPER_MAGIC) {
      Remark(results, "the work directory is not on ext4: the target named ext4 is what is there");
    }
  }

 private:
  std::string NewFolder(const std::string& name) const {
    std::filesystem::create_directory(root_ + "/" + name);
    return root_ + "/" + name;
  }

  // Noted as a mount before the command runs, so that half a mount is taken down, too.
  Outcome Mount(const std::string& path, const std::vector<std::string>& command) {
    mounts_.push_back(path);
    Outcome outcome = RunCommand(command, path + ".log");
    if (interrupted) throw Interrupted{};
    if (outcome.ok && !IsMountPoint(path)) return {false, "it claims success, nothing is mounted"};
    return outcome;
  }

  void AddBindfs(Results& results) {
    const std::string source = NewFolder("bindfs.source");
    const std::string path = NewFolder("bindfs");
    std::vector<std::string> command = {"bindfs", source, path};
    if (!options_.bindfs_options.empty())
      command.insert(command.end(), {"-o", options_.bindfs_options});
    const Outcome outcome = Mount(path, command);
    if (!outcome.ok) Fail("target bindfs", "mount", path + ": " + outcome.output, 0);
    results.targets.push_back({"bindfs", path, true});
  }

  // io_uring may be out of reach on a machine, so that target may be left out, but not in silence.
  void AddTerracefs(const std::string& transport, Results& results) {
    const Target target{"terracefs-" + transport, NewFolder("terracefs-" + transport), true};
    std::string trouble = transport == "uring" ? AllowUring() : "";
    if (trouble.empty()) trouble = MountTerracefs(transport, target.directory, results);
    if (trouble.empty()) {
      results.targets.push_back(target);
    } else if (transport == "uring") {
      Remark(results, "SKIPPED " + target.label() + ": " + trouble);
    } else {
      Fail(target.label(), "mount", target.directory + ": " + trouble, 0);
    }
  }

  // Returns what went wrong, or "".
  std::string MountTerracefs(const std::string& transport, const std::string& path,
                             Results& results) {
    const std::string& binary = options_.terracefs;
    const std::string store = NewFolder("store-" + transport);
    const Outcome made = RunCommand({binary, "mkfs", store}, store + ".log");
    if (!made.ok) Fail("setup", binary + " mkfs", store + ": " + made.output, 0);
    const Outcome mounted =
        Mount(path, {binary, "mount", "-o", "transport=" + transport, store, path});
    if (!mounted.ok) return mounted.output;
    const Outcome stats = RunCommand({binary, "stats", "--json", path}, path + ".stats.log");
    const Json json = Json::parse(stats.output, nullptr, false);
    const Json actual =
        json.is_object() ? json.value(Json::json_pointer("/fuse/transport"), Json()) : Json();
    if (actual.is_string() && actual != transport) return "the mount reports " + actual.dump();
    if (!actual.is_string()) {
      Remark(results,
             "UNCONFIRMED transport " + transport + ": no /fuse/transport in stats --json");
    }
    return "";
  }

  bool Unmount(const std::string& path) const {
    if (!IsMountPoint(path)) return true;
    if (!path.ends_with("/bindfs")) {
      const Outcome own = RunCommand({options_.terracefs, "umount", path}, path + ".umount.log");
      if (own.ok && !IsMountPoint(path)) return true;
      fprintf(stderr, "umount %s: %s\n", path.c_str(), own.output.c_str());
    }
    const Outcome lazy = RunCommand({"fusermount3", "-u", "-z", path}, path + ".umount.log");
    if (!lazy.ok) fprintf(stderr, "fusermount3 %s: %s\n", path.c_str(), lazy.output.c_str());
    return !IsMountPoint(path);
  }

  const Options options_;
  std::string root_;
  std::vector<std::string> mounts_;
};

struct CommandLine {
  Plan plan;
  Stage::Options stage;
  std::vector<std::string> directories;
  std::string json_path;
};

void Define(CLI::App& app, CommandLine& line) {
  Plan& plan = line.plan;
  app.footer(
      "Example: fs_bench --setup /var/tmp --terracefs build/release/terracefs\n"
      "Example: fs_bench --rounds 5 mine=/mnt/mine bindfs=/mnt/bindfs ext4=/srv/plain");
  app.option_defaults()->always_capture_default();
  app.add_option("target", line.directories, "NAME=DIR, any number of them");
  app.add_option("--setup", line.stage.work_directory,
                 "make and mount everything in this directory");
  app.add_option("--terracefs", line.stage.terracefs, "the binary that --setup shall measure");
  app.add_option("--transports", line.stage.transports, "for --setup")->delimiter(',');
  app.add_option("--bindfs-options", line.stage.bindfs_options, "its -o, for --setup");
  app.add_option("--files", plan.files, "small files per workload")
      ->check(CLI::Range(2, 10'000'000));
  app.add_option("--file-bytes-large", plan.large_bytes, "size of the large file, such as 1G")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--ops", plan.ops, "random accesses; an eighth as many fsyncs")
      ->check(CLI::Range(1, 1'000'000'000));
  app.add_option("--rounds", plan.rounds, "turns that each target gets")
      ->check(CLI::Range(1, 1000));
  app.add_option("--seed", plan.seed, "of order and content")->default_str("random");
  app.add_flag("--tiny", plan.tiny, "a test of seconds: small where no size is given, no waits");
  app.add_option("--json", line.json_path, "write the results to this file, too");
}

void Complete(const CLI::App& app, CommandLine& line, Results& results) {
  Plan& plan = line.plan;
  const auto set_default = [&app](const char* option, uint64_t& value, uint64_t with) {
    if (app.count(option) == 0) value = with;
  };
  set_default("--seed", plan.seed, std::random_device()());
  if (plan.tiny) {
    set_default("--files", plan.files, 32);
    set_default("--file-bytes-large", plan.large_bytes, 2 * kMiB);
    set_default("--ops", plan.ops, 64);
    set_default("--rounds", plan.rounds, 2);
  }
  if (plan.large_bytes == 0 || plan.large_bytes % kMiB != 0) {
    throw BenchError("--file-bytes-large has to be a multiple of 1 MiB");
  }
  for (const std::string& text : line.directories) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) throw BenchError("not NAME=DIR: " + text);
    results.targets.push_back({text.substr(0, equals), text.substr(equals + 1)});
  }
  if (line.directories.empty() == line.stage.work_directory.empty()) {
    throw BenchError("give either NAME=DIR ... or --setup WORKDIR");
  }
  plan.drops_caches = access(kDropCachesPath, W_OK) == 0;
  if (!plan.drops_caches)
    Remark(results, "NOT ROOT: no caches are dropped, the cold rows are warm");
}

void Measure(const CommandLine& line, Results& results) {
  RunRounds(line.plan, results);
  const Json report = Report(line.plan, results);
  Print(line.plan, results, report);
  if (line.json_path.empty()) return;
  std::ofstream file(line.json_path);
  file << report.dump(2) << "\n";
  file.close();
  if (!file) Fail("--json", "cannot write", line.json_path, errno);
}

int Run(CommandLine& line, Results& results) {
  fprintf(stderr, "seed %" PRIu64 "\n", line.plan.seed);
  if (line.stage.work_directory.empty()) {
    Measure(line, results);
    return 0;
  }
  if (access("/dev/fuse", R_OK | W_OK) != 0) {
    Remark(results, "SKIPPED everything: /dev/fuse: " + std::string(strerror(errno)));
    return kExitSkipped;
  }
  if (line.stage.terracefs.empty()) {
    Remark(results, "no --terracefs: only bindfs and ext4 are measured");
    line.stage.transports.clear();
  }
  Stage stage(line.stage);
  stage.AddTargets(results);
  Measure(line, results);
  return 0;
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): only for lack of memory.
int main(int argc, char** argv) {
  CLI::App app("Compares filesystems: named workloads in alternation, medians and ratios.",
               "fs_bench");
  CommandLine line;
  Define(app, line);
  CLI11_PARSE(app, argc, argv);
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = true; };
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);  // A pager that closes must not leave mounts behind.
  try {
    Results results;
    Complete(app, line, results);
    return Run(line, results);
  } catch (const Interrupted&) {
    fprintf(stderr, "\nfs_bench: interrupted\n");
    return kExitInterrupted;
  } catch (const std::exception& error) {
    fprintf(stderr, "\nfs_bench: %s\n", error.what());
    return 1;
  }
}
