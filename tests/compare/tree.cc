#include "tests/compare/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <memory>
#include <set>

#include "io/base/units.h"
#include "io/unique_fd.h"

namespace terracefs::compare {
namespace {

using io::kKiB;
using io::kMiB;
using io::UniqueFd;

constexpr size_t kDifferencesMax = 20;
constexpr time_t kRunSecondsMax = 24 * 3600;
constexpr off_t kReadWhole = static_cast<off_t>(4 * kMiB);  // larger files are sparse
constexpr off_t kPiece = static_cast<off_t>(256 * kKiB);
constexpr int kHoleSamples = 8;

using Directory = std::array<UniqueFd, kSideCount>;
template <typename T>
using Both = std::array<T, kSideCount>;

class TreeComparison {
 public:
  void CompareDirectories(const std::string& path, const Both<int>& folders);
  std::vector<std::string> TakeDifferences() { return std::move(differences_); }

 private:
  bool is_full() const { return differences_.size() >= kDifferencesMax; }
  void Report(const std::string& path, const std::string& what) {
    differences_.push_back(path + ": " + what);
  }
  // Reports if they differ.
  void Compare(const std::string& path, const char* what, const Both<std::string>& values);
  void CompareObject(const std::string& path, const std::string& name, const Both<int>& folders);
  void CompareContents(const std::string& path, const std::string& name, const Both<int>& folders,
                       off_t size);
  void ComparePiece(const std::string& path, const Both<UniqueFd>& fds, off_t begin, off_t end);

  std::vector<std::string> differences_;
  std::map<uint64_t, uint64_t> reference_inode_;  // of each tested inode
  std::map<uint64_t, uint64_t> tested_inode_;
};

void TreeComparison::Compare(const std::string& path, const char* what,
                             const Both<std::string>& values) {
  if (values[kTested] == values[kReference]) return;
  Report(path, fmt::format("{}: {} instead of {}", what, values[kTested], values[kReference]));
}

std::set<std::string> NamesIn(int folder) {
  std::set<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(
      fdopendir(openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), closedir);
  while (const dirent* const entry = listing == nullptr ? nullptr : readdir(listing.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != ".." && name != "lost+found") names.insert(name);
  }
  return names;
}

void TreeComparison::CompareDirectories(const std::string& path, const Both<int>& folders) {
  const Both<std::set<std::string>> names = {NamesIn(folders[kTested]),
                                             NamesIn(folders[kReference])};
  Compare(path, "entries",
          {fmt::format("{}", fmt::join(names[kTested], " ")),
           fmt::format("{}", fmt::join(names[kReference], " "))});
  for (const std::string& name : names[kReference]) {
    if (is_full()) return;
    if (names[kTested].contains(name)) CompareObject(path + "/" + name, name, folders);
  }
}

std::string TargetOf(int folder, const std::string& name) {
  std::string target(4096, '\0');
  const ssize_t length = readlinkat(folder, name.c_str(), target.data(), target.size());
  if (length < 0) return fmt::format("errno {}", errno);
  return target.substr(0, static_cast<size_t>(length));
}

// All extended attributes as one text. There is no lgetxattrat, so paths are relative.
std::string XattrsOf(int folder, const std::string& name) {
  if (fchdir(folder) != 0) return "no folder";
  std::string list(64 * kKiB, '\0');
  const ssize_t length = llistxattr(name.c_str(), list.data(), list.size());
  if (length < 0) return fmt::format("errno {}", errno);
  std::map<std::string, std::string> values;
  std::string value(64 * kKiB, '\0');
  for (size_t at = 0; at < static_cast<size_t>(length);) {
    const std::string key = list.c_str() + at;
    at += key.size() + 1;
    const ssize_t bytes = lgetxattr(name.c_str(), key.c_str(), value.data(), value.size());
    values[key] =
        bytes < 0 ? fmt::format("errno {}", errno)
                  : fmt::format(
                        "{} bytes, hash {:x}", bytes,
                        std::hash<std::string_view>()({value.data(), static_cast<size_t>(bytes)}));
  }
  std::string text;
  for (const auto& [key, described] : values) text += fmt::format("{}={}; ", key, described);
  return text;
}

void TreeComparison::CompareObject(const std::string& path, const std::string& name,
                                   const Both<int>& folders) {
  Both<struct statx> status = {};
  for (size_t side = 0; side < kSideCount; ++side) {
    if (statx(folders[side], name.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status[side]) !=
        0) {
      return Report(path, fmt::format("statx on side {}: errno {}", side, errno));
    }
  }
  const std::string difference = AttributeDifference(status[kTested], status[kReference]);
  if (!difference.empty()) Report(path, difference);
  const uint64_t tested = status[kTested].stx_ino;
  const uint64_t reference = status[kReference].stx_ino;
  const bool was_seen = !reference_inode_.emplace(tested, reference).second;
  if (!tested_inode_.emplace(reference, tested).second != was_seen ||
      reference_inode_[tested] != reference) {
    Report(path, "hard links join other names");
  }
  if (was_seen) return;
  Compare(path, "extended attributes",
          {XattrsOf(folders[kTested], name), XattrsOf(folders[kReference], name)});
  const mode_t type = status[kReference].stx_mode & S_IFMT;
  if (type == S_IFLNK) {
    Compare(path, "target",
            {TargetOf(folders[kTested], name), TargetOf(folders[kReference], name)});
  } else if (type == S_IFREG && difference.empty()) {
    CompareContents(path, name, folders, static_cast<off_t>(status[kReference].stx_size));
  } else if (type == S_IFDIR && difference.empty()) {
    const Both<UniqueFd> inner = {
        UniqueFd(openat(folders[kTested], name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
        UniqueFd(openat(folders[kReference], name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
    CompareDirectories(path, {inner[kTested].get(), inner[kReference].get()});
  }
}

void TreeComparison::ComparePiece(const std::string& path, const Both<UniqueFd>& fds, off_t begin,
                                  off_t end) {
  Both<std::string> pieces;
  for (off_t at = begin; at < end && !is_full(); at += kPiece) {
    const auto length = static_cast<size_t>(std::min(kPiece, end - at));
    for (size_t side = 0; side < kSideCount; ++side) {
      pieces[side].assign(length, '\0');
      const ssize_t count = pread(fds[side].get(), pieces[side].data(), length, at);
      if (count != static_cast<ssize_t>(length)) {
        return Report(path, fmt::format("read of {} at {} on side {}: {}, errno {}", length, at,
                                        side, count, errno));
      }
    }
    if (pieces[kTested] == pieces[kReference]) continue;
    const auto [tested, reference] =
        std::mismatch(pieces[kTested].begin(), pieces[kTested].end(), pieces[kReference].begin());
    return Report(path, fmt::format("content at {}: {:02x} instead of {:02x}",
                                    at + (tested - pieces[kTested].begin()),
                                    static_cast<unsigned char>(*tested),
                                    static_cast<unsigned char>(*reference)));
  }
}

// Small files as a whole; of large ones what either side holds data for, and samples of the holes.
void TreeComparison::CompareContents(const std::string& path, const std::string& name,
                                     const Both<int>& folders, off_t size) {
  const Both<UniqueFd> fds = {
      UniqueFd(openat(folders[kTested], name.c_str(), O_RDONLY | O_CLOEXEC)),
      UniqueFd(openat(folders[kReference], name.c_str(), O_RDONLY | O_CLOEXEC))};
  if (size <= kReadWhole) return ComparePiece(path, fds, 0, size);
  for (const UniqueFd& fd : fds) {
    off_t end = 0;
    while (!is_full()) {
      const off_t begin = lseek(fd.get(), end, SEEK_DATA);
      if (begin < 0) break;
      // A filesystem that knows no holes says that everything is data: the other side knows better.
      end = lseek(fd.get(), begin, SEEK_HOLE);
      if (begin == 0 && end == size) break;
      ComparePiece(path, fds, begin, end);
    }
  }
  for (off_t i = 0; i < kHoleSamples; ++i) {
    const off_t begin = size / kHoleSamples * i;
    ComparePiece(path, fds, begin, begin + kPiece / kHoleSamples);
  }
  ComparePiece(path, fds, size - kPiece, size);
}

}  // namespace

bool IsRecent(const statx_timestamp& stamp) {
  const time_t now = time(nullptr);
  return stamp.tv_sec >= now - kRunSecondsMax && stamp.tv_sec <= now + 1;
}

std::string AttributeDifference(const struct statx& tested, const struct statx& reference) {
  std::string text;
  const auto compare = [&text](const char* what, uint64_t a, uint64_t b, const char* format) {
    if (a != b) {
      text += fmt::format("{} {} instead of {}; ", what, fmt::format(fmt::runtime(format), a),
                          fmt::format(fmt::runtime(format), b));
    }
  };
  compare("mode", tested.stx_mode, reference.stx_mode, "{:o}");
  compare("nlink", tested.stx_nlink, reference.stx_nlink, "{}");
  compare("uid", tested.stx_uid, reference.stx_uid, "{}");
  compare("gid", tested.stx_gid, reference.stx_gid, "{}");
  compare("rdev major", tested.stx_rdev_major, reference.stx_rdev_major, "{}");
  compare("rdev minor", tested.stx_rdev_minor, reference.stx_rdev_minor, "{}");
  if (!S_ISDIR(reference.stx_mode)) compare("size", tested.stx_size, reference.stx_size, "{}");
  // Reading and writing a FIFO moves its times, but never reaches a FUSE daemon.
  const bool is_fifo = S_ISFIFO(reference.stx_mode);
  const auto compare_times = [&text, is_fifo](const char* what, const statx_timestamp& a,
                                              const statx_timestamp& b) {
    if (is_fifo || (IsRecent(a) && IsRecent(b))) return;
    if (a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec) return;
    text += fmt::format("{} {}.{:09} instead of {}.{:09}; ", what, a.tv_sec, a.tv_nsec, b.tv_sec,
                        b.tv_nsec);
  };
  compare_times("atime", tested.stx_atime, reference.stx_atime);
  compare_times("mtime", tested.stx_mtime, reference.stx_mtime);
  compare_times("ctime", tested.stx_ctime, reference.stx_ctime);
  return text;
}

std::vector<std::string> TreeDifferences(const std::string& tested, const std::string& reference) {
  TreeComparison comparison;
  const Both<UniqueFd> roots = {
      UniqueFd(open(tested.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
      UniqueFd(open(reference.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
  const UniqueFd here(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  comparison.CompareDirectories(".", {roots[kTested].get(), roots[kReference].get()});
  std::vector<std::string> differences = comparison.TakeDifferences();
  if (fchdir(here.get()) != 0) differences.emplace_back("no way back from the comparison");
  return differences;
}

}  // namespace terracefs::compare
