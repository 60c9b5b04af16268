#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace terracefs::compare {

// The two filesystems that are compared.
enum SideIndex { kTested = 0, kReference = 1 };
inline constexpr int kSideCount = 2;

inline constexpr int kSlotCount = 12;  // open files that a process keeps in one tree

// One process's view of one tree on one side. An operation finds the current directory at the root
// of the tree, so its paths are relative.
struct Side {
  int root = -1;  // an open directory
  std::array<int, kSlotCount> slots = [] {
    std::array<int, kSlotCount> closed{};
    closed.fill(-1);
    return closed;
  }();
};

// What an operation came to; the same on both sides, or something is wrong.
struct Outcome {
  int64_t value = 0;
  int error = 0;     // errno, if value is -1
  std::string data;  // bytes read, names listed ...

  bool operator==(const Outcome&) const = default;
};

// The outcome of a system call that just returned `value`.
inline Outcome Called(int64_t value) { return {value, value < 0 ? errno : 0, {}}; }

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
};

// One operation with all its arguments, to be run once on each side.
struct Operation {
  std::string text;                // says all that matters to whoever reads a difference
  std::vector<std::string> paths;  // objects whose attributes are compared before and after
  std::vector<int> slots;          // open files, likewise
  std::function<Outcome(Side&)> run;
  bool compares_times = true;
  // The data that it leaves in a mapping reaches the file, and its times, when the kernel pleases.
  bool leaves_dirty_mapping = false;
  User user = {};
  mode_t umask = 0;
};

}  // namespace terracefs::compare
