// fs_compare TESTED REFERENCE: the same random operations on two filesystems, and every result,
// error, content and attribute compared. See --help, and scripts/compare_with_ext4.sh, which mounts
// both. In the tradition of fsx and fsstress.
//
// The run is a sequence of rounds. In each, several processes work at the same time. Each has a
// tree of its own, and all share one, where a lock makes an operation on both sides one step.
// Between rounds, when all files are closed, the trees are compared as a whole, after dropping
// caches or remounting in turn.
//
// What is not compared, because it is each filesystem's own affair: inode numbers (but which names
// share one is), sizes of directories, st_blocks, the order of listings, access times that nobody
// set (mount with noatime), and times more exactly than the clocks tick.

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "io/base/random.h"
#include "io/unique_fd.h"
#include "tests/compare/operations.h"
#include "tests/compare/side.h"
#include "tests/compare/tree.h"

namespace terracefs::compare {
namespace {

using io::Random;
using io::UniqueFd;

constexpr size_t kHistoryMax = 50'000;
constexpr size_t kHistoryShown = 25;
constexpr int64_t kClockTickNs = 20'000'000;  // the kernel's coarse clock, with room
constexpr gid_t kCommonGroup = 2000;
constexpr size_t kKindsMax = 128;

// How often each kind of operation ran and succeeded, in memory that all processes share.
struct Tally {
  std::array<std::atomic<uint64_t>, kKindsMax> runs;
  std::array<std::atomic<uint64_t>, kKindsMax> successes;
};

struct Plan {
  std::array<std::string, kSideCount> directories;
  uint64_t operations = 100'000;
  int processes = 2;
  uint64_t per_round = 10'000;  // operations of one process
  uint64_t seed = 0;
  int only_process = -1;
  std::vector<std::string> only;
  std::vector<std::string> without;
  std::string remount;
  std::string trace;
  bool ignores_times = false;
};

bool Contains(const std::vector<std::string>& list, const std::string& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// Indexes into AllOperationKinds(), each as often as its weight.
std::vector<size_t> Lots(const Plan& plan) {
  std::vector<size_t> lots;
  const std::vector<OperationKind>& kinds = AllOperationKinds();
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (!plan.only.empty() && !Contains(plan.only, kinds[i].group)) continue;
    if (Contains(plan.without, kinds[i].group)) continue;
    lots.insert(lots.end(), kinds[i].weight, i);
  }
  return lots;
}

// One object as it looks on one side.
struct Seen {
  std::string name;
  int error = 0;
  struct statx status = {};
};

std::string ParentOf(std::string path) {
  while (path.ends_with('/')) path.pop_back();
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

Seen Look(const std::string& path, int flags) {
  Seen seen{path, 0, {}};
  if (statx(AT_FDCWD, path.c_str(), flags, STATX_BASIC_STATS, &seen.status) != 0) {
    seen.error = errno;
  }
  return seen;
}

std::vector<Seen> LookAtAll(const Side& side, const Operation& operation) {
  std::vector<Seen> all;
  for (const std::string& path : operation.paths) {
    all.push_back(Look(ParentOf(path), 0));
    all.push_back(Look(path, AT_SYMLINK_NOFOLLOW));
    const bool is_link = all.back().error == 0 && S_ISLNK(all.back().status.stx_mode);
    all.push_back(is_link ? Look(path, 0) : all.back());
  }
  for (const int slot : operation.slots) {
    Seen seen{fmt::format("slot{}", slot), 0, {}};
    const int fd = side.slots[static_cast<size_t>(slot)];
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &seen.status) != 0) seen.error = errno;
    all.push_back(seen);
  }
  return all;
}

int64_t Nanoseconds(const statx_timestamp& time) {
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

int64_t NowNs() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// One process and one tree, on both sides.
class Pair {
 public:
  Pair(const Plan& plan, const std::string& tree) : ignores_times_(plan.ignores_times) {
    for (size_t i = 0; i < kSideCount; ++i) {
      roots_[i] = UniqueFd(
          open((plan.directories[i] + "/" + tree).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      sides_[i].root = roots_[i].get();
    }
  }
  ~Pair() {
    for (Side& side : sides_) {
      for (const int fd : side.slots) {
        if (fd >= 0) close(fd);
      }
    }
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  // Runs it on both sides. Returns what differs, or an empty text.
  std::string Run(const Operation& operation);
  bool succeeded() const { return outcomes_[kReference].value >= 0; }

 private:
  static void Become(const User& user);
  std::string DescribeOutcomes() const;
  // Compares one object; `which` is its place in what was looked at.
  std::string Compare(const Operation& operation, size_t which) const;
  std::string CompareChanges(const Seen& tested_before, const Seen& tested,
                             const Seen& reference_before, const Seen& reference) const;

  const bool ignores_times_;
  std::array<UniqueFd, kSideCount> roots_;
  std::array<Side, kSideCount> sides_;
  std::array<Outcome, kSideCount> outcomes_;
  std::array<int64_t, kSideCount> started_ns_ = {};  // of the latest operation
  std::array<std::vector<Seen>, kSideCount> before_;
  std::array<std::vector<Seen>, kSideCount> after_;
  std::set<uint64_t> dirty_mappings_;  // reference inodes whose times are anybody's guess
};

// The process keeps its saved uid 0, so that it can come back; its capabilities go meanwhile.
void Pair::Become(const User& user) {
  const bool failed =
      user.uid == 0
          ? setresuid(0, 0, 0) != 0 || setresgid(0, 0, 0) != 0 || setgroups(0, nullptr) != 0
          : setgroups(1, &kCommonGroup) != 0 || setresgid(user.gid, user.gid, 0) != 0 ||
                setresuid(user.uid, user.uid, 0) != 0;
  if (failed) {
    perror("fs_compare: cannot change user");
    _exit(2);
  }
}

std::string Pair::Run(const Operation& operation) {
  for (size_t i = 0; i < kSideCount; ++i) {
    if (fchdir(sides_[i].root) != 0) return fmt::format("no root on side {}: errno {}", i, errno);
    before_[i] = LookAtAll(sides_[i], operation);
    started_ns_[i] = NowNs();
    umask(operation.umask);
    if (operation.user.uid != 0) Become(operation.user);
    outcomes_[i] = operation.run(sides_[i]);
    if (operation.user.uid != 0) Become({});
    umask(0);
    after_[i] = LookAtAll(sides_[i], operation);
  }
  if (operation.leaves_dirty_mapping) {
    for (const Seen& seen : after_[kReference]) {
      if (seen.error == 0) dirty_mappings_.insert(seen.status.stx_ino);
    }
  }
  std::string difference;
  if (outcomes_[kTested] != outcomes_[kReference]) difference = DescribeOutcomes();
  for (size_t i = 0; i < after_[kTested].size(); ++i) difference += Compare(operation, i);
  return difference;
}

std::string DescribeOutcome(const Outcome& outcome) {
  if (outcome.value < 0) {
    return fmt::format("{} errno {} ({}) {}", outcome.value, outcome.error, strerror(outcome.error),
                       outcome.data.substr(0, 200));
  }
  const bool is_text = std::all_of(outcome.data.begin(), outcome.data.end(),
                                   [](char c) { return (c >= ' ' && c <= '~') || c == '\n'; });
  return fmt::format("{}, {} bytes{}", outcome.value, outcome.data.size(),
                     is_text ? ": " + outcome.data.substr(0, 2000) : "");
}

std::string Pair::DescribeOutcomes() const {
  const auto& [tested, reference] = outcomes_;
  std::string text = fmt::format("  tested:    {}\n  reference: {}\n", DescribeOutcome(tested),
                                 DescribeOutcome(reference));
  if (tested.data.size() == reference.data.size() && tested.data != reference.data) {
    const auto [a, b] =
        std::mismatch(tested.data.begin(), tested.data.end(), reference.data.begin());
    text += fmt::format("  first difference at byte {}: {:02x} instead of {:02x}\n",
                        a - tested.data.begin(), static_cast<unsigned char>(*a),
                        static_cast<unsigned char>(*b));
  }
  return text;
}

std::string Pair::Compare(const Operation& operation, size_t which) const {
  const Seen& tested = after_[kTested][which];
  const Seen& reference = after_[kReference][which];
  if (tested.error != reference.error) {
    return fmt::format("  {} afterwards: errno {} instead of {}\n", tested.name, tested.error,
                       reference.error);
  }
  if (tested.error != 0) return "";
  std::string text = AttributeDifference(tested.status, reference.status);
  const Seen& tested_before = before_[kTested][which];
  const Seen& reference_before = before_[kReference][which];
  const bool has_before = tested_before.error == 0 && reference_before.error == 0 &&
                          tested_before.status.stx_ino == tested.status.stx_ino &&
                          reference_before.status.stx_ino == reference.status.stx_ino;
  if (has_before && !S_ISFIFO(reference.status.stx_mode) && operation.compares_times &&
      !ignores_times_ && !dirty_mappings_.contains(reference.status.stx_ino)) {
    text += CompareChanges(tested_before, tested, reference_before, reference);
  }
  if (text.empty()) return "";
  return fmt::format("  {} afterwards: {}(mode {:o})\n", tested.name, text,
                     reference.status.stx_mode);
}

// Which times moved. One that stood still on one side only may have done so within a clock tick.
std::string Pair::CompareChanges(const Seen& tested_before, const Seen& tested,
                                 const Seen& reference_before, const Seen& reference) const {
  std::string text;
  const auto compare = [&](const char* what, statx_timestamp statx::*time) {
    const int64_t tested_was = Nanoseconds(tested_before.status.*time);
    const int64_t reference_was = Nanoseconds(reference_before.status.*time);
    const bool tested_moved = tested_was != Nanoseconds(tested.status.*time);
    const bool reference_moved = reference_was != Nanoseconds(reference.status.*time);
    const int64_t still_was = tested_moved ? reference_was : tested_was;
    if (tested_moved == reference_moved) return;
    const int64_t started = started_ns_[tested_moved ? kReference : kTested];
    if (still_was <= started && still_was > started - kClockTickNs) return;
    text += fmt::format("{} {}; ", what, tested_moved ? "has moved" : "has not moved");
  };
  compare("atime", &statx::stx_atime);
  compare("mtime", &statx::stx_mtime);
  compare("ctime", &statx::stx_ctime);
  return text;
}

// --- One process ---------------------------------------------------------------------------------

// A lock among the processes: that of the whole of a file in memory that they inherit.
class SharedLock {
 public:
  explicit SharedLock(int fd, bool wanted) : fd_(wanted ? fd : -1) {
    if (fd_ >= 0 && lockf(fd_, F_LOCK, 0) != 0) _exit(2);
  }
  ~SharedLock() {
    if (fd_ >= 0 && lockf(fd_, F_ULOCK, 0) != 0) _exit(2);
  }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  const int fd_;
};

std::string OwnTree(int process) { return fmt::format("own{}", process); }
constexpr const char* kSharedTree = "shared";

class Process {
 public:
  Process(const Plan& plan, int number, uint64_t round, int lock, Tally* tally)
      : plan_(plan),
        number_(number),
        round_(round),
        lock_(lock),
        tally_(tally),
        lots_(Lots(plan)),
        random_(plan.seed * 1'000'003 + static_cast<uint64_t>(number) * 7'919 + round * 104'729),
        own_(plan, OwnTree(number)),
        shared_(plan, kSharedTree) {
    random_ = Random(random_.Next());
    if (!plan.trace.empty()) {
      trace_.open(fmt::format("{}.{}", plan.trace, number), std::ios::app);
    }
  }

  // Returns false after a difference, which it has printed.
  bool Run() {
    for (uint64_t i = 0; i < plan_.per_round; ++i) {
      if (!Step(i)) return false;
    }
    for (const bool in_shared : {false, true}) {
      for (int slot = 0; slot < kSlotCount; ++slot) {
        if (!Perform(plan_.per_round, in_shared, CloseSlot(slot))) return false;
      }
    }
    return true;
  }

 private:
  bool Step(uint64_t number) {
    const size_t kind = lots_[random_.Uniform(lots_.size())];
    const bool in_shared = random_.OneIn(8);
    Operation operation = AllOperationKinds()[kind].make(random_);
    switch (random_.Uniform(8)) {
      case 0:
        operation.user = {1001, 1001};
        break;
      case 1:
        operation.user = {1002, 1001};
        break;
      default:
        break;
    }
    constexpr std::array<mode_t, 4> kMasks = {0, 0, 022, 077};
    operation.umask = kMasks[random_.Uniform(kMasks.size())];
    operation.slots.push_back(static_cast<int>(random_.Uniform(kSlotCount)));  // a bystander
    if (in_shared && operation.leaves_dirty_mapping) return true;
    tally_->runs[kind].fetch_add(1, std::memory_order_relaxed);
    if (!Perform(number, in_shared, operation)) return false;
    const bool succeeded = (in_shared ? shared_ : own_).succeeded();
    if (succeeded) tally_->successes[kind].fetch_add(1, std::memory_order_relaxed);
    return true;
  }

  bool Perform(uint64_t number, bool in_shared, const Operation& operation) {
    std::string line =
        fmt::format("{}.{} {}{}", round_, number, in_shared ? "shared: " : "", operation.text);
    if (operation.user.uid != 0) line += fmt::format(" as {}", operation.user.uid);
    if (operation.umask != 0) line += fmt::format(" umask {:o}", operation.umask);
    if (trace_.is_open()) trace_ << line << std::endl;
    std::string difference;
    {
      const SharedLock lock(lock_, in_shared);
      difference = (in_shared ? shared_ : own_).Run(operation);
    }
    if (difference.empty()) {
      history_.push_back(std::move(line));
      if (history_.size() > kHistoryMax) history_.pop_front();
      return true;
    }
    Report(line, in_shared, operation, difference);
    return false;
  }

  void Report(const std::string& line, bool in_shared, const Operation& operation,
              const std::string& difference) const {
    std::string text = fmt::format("DIFFERENCE, seed {}, process {}, operation {}\n{}", plan_.seed,
                                   number_, line, difference);
    text += "the last operations on the same objects, latest first:\n";
    size_t shown = 0;
    for (auto past = history_.rbegin(); past != history_.rend() && shown < kHistoryShown; ++past) {
      if (!Concerns(*past, in_shared, operation)) continue;
      text += "  " + *past + "\n";
      ++shown;
    }
    fputs(text.c_str(), stderr);
  }

  static bool Concerns(const std::string& line, bool in_shared, const Operation& operation) {
    if ((line.find("shared: ") != std::string::npos) != in_shared) return false;
    for (std::string path : operation.paths) {
      while (path.ends_with('/')) path.pop_back();
      if (line.find("'" + path + "'") != std::string::npos) return true;
    }
    for (const int slot : operation.slots) {
      const size_t at = line.find(fmt::format("slot{}", slot));
      if (at == std::string::npos) continue;
      const size_t next = at + fmt::format("slot{}", slot).size();
      if (next >= line.size() || isdigit(static_cast<unsigned char>(line[next])) == 0) return true;
    }
    return false;
  }

  const Plan& plan_;
  const int number_;
  const uint64_t round_;
  const int lock_;
  Tally* const tally_;
  const std::vector<size_t> lots_;
  Random random_;
  Pair own_;
  Pair shared_;
  std::deque<std::string> history_;
  std::ofstream trace_;
};

// --- All of them ---------------------------------------------------------------------------------

std::vector<pid_t> children;  // for the signal handler; changes only while signals are blocked

void EndChildren() {
  for (const pid_t child : children) kill(child, SIGKILL);
}

volatile sig_atomic_t is_remounting = 0;
volatile sig_atomic_t delayed_signal = 0;

// A remount is finished first: nobody else would know that something is mounted again.
void OnSignal(int number) {
  if (is_remounting != 0) {
    delayed_signal = number;
    return;
  }
  EndChildren();
  _exit(128 + number);
}

class Run {
 public:
  explicit Run(const Plan& plan) : plan_(plan), lock_(memfd_create("fs_compare", MFD_CLOEXEC)) {
    void* const memory =
        mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    tally_ = new (memory) Tally();
  }

  int RunAll() {
    MakeTrees();
    const auto processes = static_cast<uint64_t>(plan_.processes);
    const uint64_t rounds = std::max<uint64_t>(1, plan_.operations / (plan_.per_round * processes));
    for (uint64_t round = 0; round < rounds; ++round) {
      if (!RunRound(round) || !CompareAll(round)) {
        fmt::print(stderr, "again: --seed {} --processes {} --per-round {}, with the same groups\n",
                   plan_.seed, plan_.processes, plan_.per_round);
        return 1;
      }
      fmt::print("round {} of {}: {} operations\n", round + 1, rounds,
                 (round + 1) * plan_.per_round * processes);
      fflush(stdout);
    }
    PrintTally();
    return 0;
  }

 private:
  void MakeTrees() const {
    umask(0);
    for (const std::string& directory : plan_.directories) {
      for (int i = 0; i < plan_.processes; ++i) mkdir((directory + "/" + OwnTree(i)).c_str(), 0777);
      mkdir((directory + "/" + kSharedTree).c_str(), 0777);
    }
  }

  bool RunRound(uint64_t round) {
    sigset_t signals;
    sigset_t before;
    sigfillset(&signals);
    sigprocmask(SIG_BLOCK, &signals, &before);
    for (int i = 0; i < plan_.processes; ++i) {
      if (plan_.only_process >= 0 && i != plan_.only_process) continue;
      const pid_t child = fork();
      if (child < 0) std::abort();
      if (child == 0) {
        children.clear();
        sigprocmask(SIG_SETMASK, &before, nullptr);
        bool is_same = false;
        {
          Process process(plan_, i, round, lock_.get(), tally_);
          is_same = process.Run();
        }
        _exit(is_same ? 0 : 1);
      }
      children.push_back(child);
    }
    sigprocmask(SIG_SETMASK, &before, nullptr);
    bool is_same = true;
    for (size_t left = children.size(); left > 0; --left) {
      int status = 0;
      const pid_t child = waitpid(-1, &status, 0);
      sigprocmask(SIG_BLOCK, &signals, &before);
      std::erase(children, child);
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        if (is_same) fmt::print(stderr, "process {} ended with status {:x}\n", child, status);
        is_same = false;
        EndChildren();
      }
      sigprocmask(SIG_SETMASK, &before, nullptr);
    }
    return is_same;
  }

  // As things are, after dropping the kernel's caches, and after mounting anew, in turn.
  bool CompareAll(uint64_t round) const {
    std::string when = "as it is";
    if (round % 4 == 3 && !plan_.remount.empty()) {
      when = "after mounting anew";
      is_remounting = 1;
      // NOLINTNEXTLINE(bugprone-command-processor): the command is whoever runs this's own.
      const int status = system(plan_.remount.c_str());
      is_remounting = 0;
      if (delayed_signal != 0) OnSignal(delayed_signal);
      if (status != 0) {
        fmt::print(stderr, "the command of --remount failed\n");
        return false;
      }
    } else if (round % 2 == 1) {
      when = "after dropping caches";
      std::ofstream("/proc/sys/vm/drop_caches") << "3";
    }
    const std::vector<std::string> differences =
        TreeDifferences(plan_.directories[kTested], plan_.directories[kReference]);
    if (differences.empty()) return true;
    fmt::print(stderr, "DIFFERENCE in the trees {}, seed {}, after round {}:\n  {}\n", when,
               plan_.seed, round, fmt::join(differences, "\n  "));
    return false;
  }

  void PrintTally() const {
    const std::vector<OperationKind>& kinds = AllOperationKinds();
    uint64_t total = 0;
    for (size_t i = 0; i < kinds.size(); ++i) {
      const uint64_t runs = tally_->runs[i];
      total += runs;
      if (runs == 0) continue;
      fmt::print("{:18} {:>9} of which {:>9} succeeded\n", kinds[i].name, runs,
                 tally_->successes[i].load());
    }
    fmt::print("{} operations, no difference, seed {}\n", total, plan_.seed);
  }

  const Plan& plan_;
  const UniqueFd lock_;
  Tally* tally_ = nullptr;
};

int Main(int argc, char** argv) {
  CLI::App app("Runs the same random operations on two filesystems and compares everything.",
               "fs_compare");
  Plan plan;
  std::string groups = "Groups of operations:";
  std::set<std::string> names;
  for (const OperationKind& kind : AllOperationKinds()) names.insert(kind.group);
  for (const std::string& name : names) groups += " " + name;
  app.footer(groups);
  app.option_defaults()->always_capture_default();
  app.add_option("TESTED", plan.directories[kTested], "an empty directory")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("REFERENCE", plan.directories[kReference], "an empty directory")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--ops", plan.operations, "operations of all processes together");
  app.add_option("--processes", plan.processes)->check(CLI::Range(1, 64));
  app.add_option("--per-round", plan.per_round, "operations of a process between comparisons")
      ->check(CLI::Range(1, 1'000'000'000));
  app.add_option("--seed", plan.seed, "of everything")->default_str("random");
  app.add_option("--process", plan.only_process, "run only this one, from 0, to replay");
  app.add_option("--only", plan.only, "groups")->delimiter(',')->check(CLI::IsMember(names));
  app.add_option("--without", plan.without, "groups")->delimiter(',')->check(CLI::IsMember(names));
  app.add_option("--remount", plan.remount, "shell command that mounts TESTED anew");
  app.add_option("--trace", plan.trace, "write all operations to PREFIX.process");
  app.add_flag("--ignore-times", plan.ignores_times, "do not compare which times moved");
  CLI11_PARSE(app, argc, argv);
  if (app.count("--seed") == 0) plan.seed = io::SecretNumber() % 1'000'000'000;
  if (geteuid() != 0) {
    fmt::print(stderr, "fs_compare: has to be root, to act as other users\n");
    return 2;
  }
  if (Lots(plan).empty()) {
    fmt::print(stderr, "fs_compare: no operation is left\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) signal(number, OnSignal);
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;  // the comparison of trees keeps a descriptor per level
  setrlimit(RLIMIT_NOFILE, &files);
  fmt::print("seed {}\n", plan.seed);
  fflush(stdout);
  return Run(plan).RunAll();
}

}  // namespace
}  // namespace terracefs::compare

int main(int argc, char** argv) { return terracefs::compare::Main(argc, argv); }
